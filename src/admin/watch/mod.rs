//! Health watch: looks at the servers and at the process itself on an interval, and says what changed.
//!
//! Refuses to mend, and to let one thing that hangs keep another from being looked at. Each state comes with a sentence
//! and what to do; a webhook is told when one changes, never when it stays.

mod backups;
mod beside;
mod certificates;
mod config;
mod keys;
mod servers;
pub mod upkeep;
mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::join_all;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use config::{Config, Webhook};
pub use webhook::Error;

use self::servers::{Counted, Server};
use self::webhook::{Sending, Teller, Told};
use crate::admin::audit::Chain;
use crate::admin::backup::Backups;
use crate::clickhouse;
use crate::crypt;
use crate::kafka;
use crate::kafka::leader::Candidate;
use crate::telemetry::metrics::{METRICS, Metrics};
use crate::telemetry::{Health, Status};

const STATES: [&str; 3] = ["ok", "degraded", "failing"];

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// It works, and needs somebody.
    Degraded,
    /// It does not.
    Failing,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Failing => "failing",
        }
    }
}

/// What was seen at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub state: State,
    pub sentence: String,
    pub hint: String,
}

impl Finding {
    fn ok(sentence: &str) -> Finding {
        Finding::new(State::Ok, sentence, "")
    }

    fn new(state: State, sentence: &str, hint: &str) -> Finding {
        Finding { state, sentence: sentence.to_owned(), hint: hint.to_owned() }
    }

    /// The worse of two; the first of two alike.
    fn worse(self, other: Finding) -> Finding {
        if other.state > self.state { other } else { self }
    }
}

/// One thing that is looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub sentence: String,
    /// What to do; empty when nothing is.
    pub hint: String,
    /// Since when it is in this state.
    pub since: String,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The worst of them.
    pub state: State,
    /// When it was looked last; empty before the first look.
    pub looked_at: String,
    pub checks: Vec<Check>,
}

/// What is looked at.
pub struct Setup<'a> {
    /// What opens a key in an envelope.
    pub crypt: &'a crypt::Config,
    pub config: &'a Config,
    pub clickhouse: &'a clickhouse::Config,
    pub kafka: &'a kafka::Config,
    /// The trail as a file, if there is one.
    pub chain: Option<Arc<Chain>>,
    /// This process among those of which one leads; none where nothing is scheduled.
    pub candidate: Option<Arc<Candidate>>,
    /// Certificates of our own that are in use, each with the setting that names it.
    pub certificates: Vec<(&'static str, PathBuf)>,
    /// Backups whose policies are looked at.
    pub backups: Option<Backups>,
    pub health: Option<Health>,
    pub instance: String,
}

/// The watch.
pub struct Watch {
    config: Config,
    servers: Vec<Server>,
    kafka: kafka::Config,
    chain: Option<Arc<Chain>>,
    candidate: Option<Arc<Candidate>>,
    certificates: Vec<(&'static str, PathBuf)>,
    backups: Option<Backups>,
    health: Option<Health>,
    instance: String,
    teller: Teller,
    sending: Mutex<Option<Sending>>,
    seen: Arc<Mutex<Seen>>,
    /// Brokers are being asked, and the trail is being read.
    is_asking: Arc<AtomicBool>,
    is_reading: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    looked_at: String,
    checks: BTreeMap<&'static str, Check>,
    counted: BTreeMap<String, Counted>,
    /// The verdict on the trail, and when it was verified.
    trail: Option<(Instant, Finding)>,
}

impl Watch {
    /// Looks at nothing yet. Needs a runtime around the call.
    ///
    /// # Errors
    /// A webhook that cannot be used, or a configuration of ClickHouse that cannot work.
    pub fn new(setup: Setup<'_>) -> Result<Watch, Error> {
        let Setup { config, crypt, clickhouse, kafka, chain, candidate, .. } = setup;
        let Setup { certificates, backups, health, instance, .. } = setup;
        let (teller, sending) = webhook::open(&config.webhook, crypt)?;
        Ok(Watch {
            servers: Server::all(clickhouse, config.timeout)?,
            config: config.clone(),
            kafka: kafka.clone(),
            chain,
            candidate,
            certificates,
            backups,
            health,
            instance,
            teller,
            sending: Mutex::new(sending),
            seen: Arc::default(),
            is_asking: Arc::default(),
            is_reading: Arc::default(),
        })
    }

    /// Looks again and again, until it is to end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let sending = self.sending.lock().take();
        let telling = sending.map(|sending| tokio::spawn(sending.run(stop.clone())));
        loop {
            self.look(Utc::now()).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.config.interval.0) => {}
            }
        }
        if let Some(telling) = telling {
            // Its panic was logged by the hook.
            let _ = telling.await;
        }
    }

    /// How everything was at the last look.
    pub fn report(&self) -> Report {
        let seen = self.seen.lock();
        let checks: Vec<Check> = seen.checks.values().cloned().collect();
        let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
        Report { state, looked_at: seen.looked_at.clone(), checks }
    }

    /// Looks at everything now, and says what changed.
    pub async fn look(&self, now: DateTime<Utc>) -> Report {
        let per_server = join_all(self.servers.iter().map(|server| self.server(server)));
        let (servers, kafka, trail, backups) =
            tokio::join!(per_server, self.kafka(), self.trail(), self.backups(now));
        let mut found = merge(&servers);
        found.push(("kafka", kafka));
        found.extend(trail.map(|finding| ("audit_trail", finding)));
        found.extend(backups.map(|finding| ("backups", finding)));
        found.extend(
            certificates::look(&self.certificates, self.config.certificate_left_min.0, now)
                .map(|finding| ("certificates", finding)),
        );
        found.extend(self.leader().map(|finding| ("leader", finding)));
        self.settle(found, now);
        self.report()
    }

    /// Takes over what was seen, and tells of changes.
    fn settle(&self, found: Vec<(&'static str, Finding)>, now: DateTime<Utc>) {
        let at = now.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut seen = self.seen.lock();
        seen.looked_at.clone_from(&at);
        for (name, finding) in found {
            let before = seen.checks.get(name).map(|check| (check.state, check.since.clone()));
            let is_new = before.as_ref().is_none_or(|(state, _)| *state != finding.state);
            let since =
                before.as_ref().filter(|_| !is_new).map_or_else(|| at.clone(), |(_, since)| since.clone());
            let Finding { state, sentence, hint } = finding;
            let check = Check { name, state, sentence, hint, since };
            Metrics::set_state(&METRICS.fleet.health, &[name], state.name(), &STATES);
            if let Some(health) = &self.health {
                health.set_component(name, status(&check));
            }
            // What is well at the first look is no news.
            if is_new && (before.is_some() || state != State::Ok) {
                let before = before.map_or("", |(state, _)| state.name());
                tracing::warn!(
                    check = name,
                    before,
                    state = state.name(),
                    sentence = check.sentence,
                    "health has changed"
                );
                let id = uuid::Uuid::new_v4().to_string();
                self.teller.tell(Told {
                    id,
                    at: at.clone(),
                    instance: self.instance.clone(),
                    before,
                    check: check.clone(),
                });
            }
            seen.checks.insert(name, check);
        }
    }

    async fn server(&self, server: &Server) -> Vec<(&'static str, Finding)> {
        let config = &self.config;
        let answers = self.within("clickhouse", &server.host, async {
            server.answers().await.map(|()| Finding::ok("every endpoint answers"))
        });
        let answers = match answers.await {
            finding if finding.state == State::Ok => finding,
            finding => {
                let hint = "check the server and clickhouse.endpoints";
                return vec![("clickhouse", Finding::new(State::Failing, &finding.sentence, hint))];
            }
        };
        let (disks, replicas, mutations, parts) = tokio::join!(
            self.within("disks", &server.host, server.disks(config)),
            self.within("replicas", &server.host, server.replicas(config)),
            self.within("mutations", &server.host, server.mutations(config)),
            self.within("parts", &server.host, server.parts(config)),
        );
        let before = self.seen.lock().counted.get(&server.host).copied().unwrap_or_default();
        if let Ok(Ok(counted)) = timeout(config.timeout.0, server.measure(before)).await {
            self.seen.lock().counted.insert(server.host.clone(), counted);
        }
        vec![
            ("clickhouse", answers),
            ("disks", disks),
            ("replicas", replicas),
            ("mutations", mutations),
            ("parts", parts),
        ]
    }

    /// A look, which says itself why it could not be taken.
    async fn within(
        &self,
        what: &str,
        host: &str,
        look: impl Future<Output = Result<Finding, clickhouse::Error>>,
    ) -> Finding {
        let why = match timeout(self.config.timeout.0, look).await {
            Ok(Ok(finding)) => {
                return Finding { sentence: format!("{host}: {}", finding.sentence), ..finding };
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {}", self.config.timeout),
        };
        let why = why.lines().next().unwrap_or_default();
        let hint =
            "this user needs SELECT on system.disks, replicas, mutations, parts, tables, metrics and events";
        Finding::new(State::Degraded, &format!("{host}: {what} cannot be looked at: {why}"), hint)
    }
}

/// By check the worst of all servers. Some endpoints that do not answer are not all.
fn merge(servers: &[Vec<(&'static str, Finding)>]) -> Vec<(&'static str, Finding)> {
    let mut merged: BTreeMap<&'static str, Finding> = BTreeMap::new();
    for (name, finding) in servers.iter().flatten() {
        let worst = match merged.remove(name) {
            Some(known) => known.worse(finding.clone()),
            None => finding.clone(),
        };
        merged.insert(name, worst);
    }
    let answer = |all: &Vec<(&'static str, Finding)>| {
        all.iter().any(|(name, finding)| *name == "clickhouse" && finding.state == State::Ok)
    };
    if let Some(worst) = merged.get_mut("clickhouse").filter(|_| servers.iter().any(answer)) {
        worst.state = worst.state.min(State::Degraded);
    }
    merged.into_iter().collect()
}

fn status(check: &Check) -> Status {
    match check.state {
        State::Ok => Status::Ok,
        State::Degraded => Status::Degraded(check.sentence.clone()),
        State::Failing => Status::Down(check.sentence.clone()),
    }
}
