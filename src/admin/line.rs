//! Orders to the processes of the line: each is told by itself, and what each said is told.
//!
//! Refuses to know Kafka, and to give an order that has no right and no line in the trail: whoever calls this is a
//! command. A pause is said again and again until it ends, so that a process that is new is told as well.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use chrono::{SecondsFormat, Utc};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::console::{self, Lines};
use super::key;
use crate::crypt;
use crate::telemetry::control::{Act, Key, Order, PATH, Pause, Reply};

/// Between two tellings of a pause.
const TELL_EVERY: Duration = Duration::from_secs(3);
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A reload reads files and asks servers; the line answers within 25 s whatever comes of it.
const RELOAD_MAX: Duration = Duration::from_secs(28);
const TOLD_AT_A_TIME: usize = 50;
/// Of what pods said, so many stand in an error.
const SAID_MAX: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the line cannot be controlled from here: there is no key for it\nhint: set admin.console.control_key_file here and telemetry.control.key_file of the line to the same key"
    )]
    NoControl,
    #[error("no process of the line is known\nhint: check admin.console.lines, and whether pods run")]
    NoPods,
    #[error(
        "no process of the line did it: {0}\nhint: the line must have the same key, and read what is named"
    )]
    Refused(String),
    #[error("no process of the line answers: {0}\nhint: check admin.console.lines, and whether pods run")]
    Unreachable(String),
    #[error(
        "the pause was cancelled, and the topic is read again\nhint: see what each pod said in the job's events"
    )]
    Cancelled,
    #[error("this process ends; the topic stays paused until {0}\nhint: resume it with POST /v1/line/resume")]
    Left(String),
}

/// What one process said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PodSaid {
    pub address: String,
    /// Whether it did it.
    pub ok: bool,
    pub said: String,
    #[serde(skip)]
    is_over: bool,
    #[serde(skip)]
    is_silent: bool,
}

/// What every process said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcome {
    pub pods: Vec<PodSaid>,
}

/// A pause that is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub topic: String,
    pub span: Duration,
    pub reason: String,
    pub actor: String,
}

/// How a pause is watched and ended.
pub struct Watched<'a> {
    pub stop: CancellationToken,
    /// Whether it is to end because this process does.
    pub is_closing: &'a (dyn Fn() -> bool + Send + Sync),
    pub tell: &'a (dyn Fn(Value) + Send + Sync),
}

/// What gives orders.
pub struct LineControl {
    lines: Lines,
    key: Option<Key>,
}

impl Outcome {
    /// Whether one of them did it.
    fn judged(self) -> Result<Outcome, Error> {
        if self.pods.is_empty() {
            return Err(Error::NoPods);
        }
        if self.pods.iter().any(|pod| pod.ok) {
            return Ok(self);
        }
        let said = self.pods.iter().take(SAID_MAX).map(|pod| format!("{}: {}", pod.address, pod.said));
        let said = said.collect::<Vec<_>>().join("; ");
        let is_silent = self.pods.iter().all(|pod| pod.is_silent);
        Err(if is_silent { Error::Unreachable(said) } else { Error::Refused(said) })
    }
}

impl LineControl {
    /// # Errors
    /// A key that cannot be read.
    pub fn new(config: &console::Config, crypt: &crypt::Config) -> Result<LineControl, key::Error> {
        let read = |path| key::Key::read(path, "admin.console.control_key_file", crypt);
        let key = config.control_key_file.as_deref().map(read).transpose()?;
        let key = key.map(|key| Key::new(key.expose()));
        Ok(LineControl { lines: Lines::new(&config.lines), key })
    }

    /// # Errors
    /// No key to give orders with.
    pub fn check(&self) -> Result<(), Error> {
        self.key.as_ref().map(drop).ok_or(Error::NoControl)
    }

    /// Who would be told.
    pub async fn plan(&self) -> Outcome {
        let (addresses, faults) = self.lines.resolve().await;
        let told = |address: String| PodSaid::of(address, Reply::done("it would be told"));
        Outcome {
            pods: addresses.into_iter().map(told).chain(faults.into_iter().map(PodSaid::lost)).collect(),
        }
    }

    /// Gives an order to every process.
    ///
    /// # Errors
    /// None of them did it.
    pub async fn order(&self, actor: &str, act: Act) -> Result<Outcome, Error> {
        self.check()?;
        self.tell(&Order { actor: actor.to_owned(), act }).await.judged()
    }

    /// Pauses a topic, and goes on saying so until it ends.
    ///
    /// # Errors
    /// Nobody pauses at first; or it was cancelled.
    pub async fn pause(&self, wanted: Wanted, watched: Watched<'_>) -> Result<Outcome, Error> {
        self.check()?;
        let id = uuid::Uuid::new_v4().to_string();
        let (begun, now) = (Instant::now(), Utc::now());
        let ends = begun + wanted.span;
        let until = (now + wanted.span).to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut last: Option<Outcome> = None;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if let Some(last) = last.clone().filter(|_| left.is_zero()) {
                return Ok(last);
            }
            let said = self.tell(&wanted.order(&id, &until, left)).await;
            let is_over = said.pods.iter().any(|pod| pod.is_over);
            let (read, total) = (begun.elapsed().min(wanted.span).as_secs(), wanted.span.as_secs());
            (watched.tell)(match last.as_ref() == Some(&said) {
                true => json!({ "read": read, "total": total }),
                false => json!({ "read": read, "total": total, "until": until, "pods": said.pods }),
            });
            if is_over {
                // Whoever was told of it again meanwhile hears that it is over.
                self.resume(&wanted, &id).await;
                return Ok(said);
            }
            // What nobody began is no pause; of one that has begun processes may be away for a while.
            last = Some(if last.is_none() { said.judged()? } else { said });
            let next = (Instant::now() + TELL_EVERY).min(ends);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = watched.stop.cancelled() => {
                    if (watched.is_closing)() {
                        return Err(Error::Left(until));
                    }
                    let said = self.resume(&wanted, &id).await;
                    (watched.tell)(json!({ "pods": said.pods }));
                    return Err(Error::Cancelled);
                }
            }
        }
    }

    async fn resume(&self, wanted: &Wanted, id: &str) -> Outcome {
        let act = Act::Resume { topic: wanted.topic.clone(), id: Some(id.to_owned()) };
        self.tell(&Order { actor: wanted.actor.clone(), act }).await
    }

    /// Tells every process, side by side; what each said, by its address.
    async fn tell(&self, order: &Order) -> Outcome {
        let (addresses, faults) = self.lines.resolve().await;
        let body = serde_json::to_vec(order).unwrap_or_default();
        let within = if order.act == Act::Reload { RELOAD_MAX } else { ANSWER_MAX };
        let told: Vec<_> =
            addresses.into_iter().map(|address| self.tell_one(address, &body, within)).collect();
        let mut pods: Vec<PodSaid> = stream::iter(told).buffer_unordered(TOLD_AT_A_TIME).collect().await;
        pods.sort_by(|a, b| a.address.cmp(&b.address));
        pods.extend(faults.into_iter().map(PodSaid::lost));
        Outcome { pods }
    }

    async fn tell_one(&self, address: String, body: &[u8], within: Duration) -> PodSaid {
        let said = self.hand_over(&address, body, within).await;
        match said {
            Ok(reply) => PodSaid::of(address, reply),
            Err(why) => PodSaid::lost((address, why)),
        }
    }

    async fn hand_over(&self, address: &str, body: &[u8], within: Duration) -> Result<Reply, String> {
        let token = self.key.as_ref().and_then(|key| key.token(body, Utc::now()));
        let token = token.ok_or("the order cannot be signed")?;
        let request = Request::post(format!("http://{address}{PATH}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", token.expose()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_vec()))
            .map_err(|error| error.to_string())?;
        let (status, answer) = self.lines.send(request, within).await?;
        match (status, serde_json::from_slice::<Reply>(&answer)) {
            (_, Ok(reply)) => Ok(reply),
            (StatusCode::NOT_FOUND, _) => {
                Ok(Reply::refused("it takes no orders: telemetry.control.key_file is not set there"))
            }
            (status, Err(_)) => Ok(Reply::refused(format!("it answers {status}"))),
        }
    }
}

impl Wanted {
    fn order(&self, id: &str, until: &str, left: Duration) -> Order {
        let pause = Pause {
            id: id.to_owned(),
            topic: self.topic.clone(),
            for_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            until: until.to_owned(),
            reason: self.reason.clone(),
        };
        Order { actor: self.actor.clone(), act: Act::Pause(pause) }
    }
}

impl PodSaid {
    fn of(address: String, Reply { ok, said, is_over }: Reply) -> PodSaid {
        PodSaid { address, ok, said, is_over, is_silent: false }
    }

    fn lost((address, why): (String, String)) -> PodSaid {
        PodSaid { address, ok: false, said: why, is_over: false, is_silent: true }
    }
}
