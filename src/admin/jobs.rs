//! Work that outlives the request that asked for it: started, watched, cancelled, remembered for a while.
//!
//! Refuses to know what the work is, and to keep more than a number of jobs. A repeated request with the same key is
//! the same job, never a second one.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::metrics::METRICS;

/// Of a job's progress the latest events are kept.
const EVENTS_MAX: usize = 100;

/// What takes longer than a request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Jobs that run at a time; another one is refused until one ends.
    #[schemars(range(min = 1, max = 100))]
    pub running_max: u32,
    /// Jobs that are remembered, the running ones included; the oldest that has ended is forgotten first.
    #[schemars(range(min = 100, max = 100_000))]
    pub kept_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { running_max: 4, kept_max: 500 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0} jobs are running, and no more may\nhint: wait for one to end, or raise admin.jobs.running_max"
    )]
    Busy(u32),
    #[error("this Idempotency-Key was used with another request\nhint: take a new key for a new request")]
    KeyUsed,
    #[error("there is no job {0}\nhint: only the latest are remembered; the audit trail has them all")]
    Unknown(String),
    #[error("job {0} has ended\nhint: look at what came of it")]
    Ended(String),
    #[error("the process is ending\nhint: ask again when it is back")]
    Closed,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    Done,
    Failed,
    Cancelled,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

/// A job as it is told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Job {
    pub id: String,
    pub action: &'static str,
    pub actor: String,
    pub state: State,
    /// It was asked to end, and does so before its next statement.
    pub is_cancelled: bool,
    pub began: String,
    /// Empty while it runs.
    pub ended: String,
    /// Steps so far.
    pub steps: u64,
    /// The latest of them.
    pub events: VecDeque<Value>,
    /// What it gave.
    pub result: Option<Value>,
    /// What it failed with, as a problem.
    pub error: Option<Value>,
}

/// Who asks for a job, for what.
#[derive(Clone, Debug)]
pub struct Ask {
    pub action: &'static str,
    pub actor: String,
    /// What the client calls this request, so that a repetition is known.
    pub key: Option<String>,
    /// The same for the same request.
    pub fingerprint: String,
}

/// How the work is watched and ended.
#[derive(Clone)]
pub struct Handle {
    pub stop: CancellationToken,
    id: String,
    jobs: Jobs,
}

impl Handle {
    pub fn tell(&self, event: &impl Serialize) {
        let event = serde_json::to_value(event).unwrap_or_default();
        self.jobs.change(&self.id, |job| {
            job.steps += 1;
            job.events.push_back(event);
            if job.events.len() > EVENTS_MAX {
                job.events.pop_front();
            }
        });
    }
}

struct Kept {
    job: Job,
    ask: Ask,
    stop: CancellationToken,
}

struct Shared {
    config: Config,
    /// Oldest first.
    kept: Mutex<VecDeque<Kept>>,
    tasks: TaskTracker,
}

/// Every job that is remembered.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

impl Jobs {
    pub fn new(config: &Config) -> Jobs {
        Jobs(Arc::new(Shared { config: config.clone(), kept: Mutex::default(), tasks: TaskTracker::new() }))
    }

    /// Starts the work, or gives the job that the same request started before; the second says whether it is new.
    ///
    /// # Errors
    /// Too many jobs, or a key that belongs to another request.
    pub fn start<W>(
        &self,
        ask: Ask,
        now: DateTime<Utc>,
        work: impl FnOnce(Handle) -> W,
    ) -> Result<(Job, bool), Error>
    where
        W: Future<Output = Result<Value, Value>> + Send + 'static,
    {
        let mut kept = self.0.kept.lock();
        let is_same =
            |one: &&Kept| one.ask.key.is_some() && one.ask.key == ask.key && one.ask.actor == ask.actor;
        if let Some(known) = kept.iter().find(is_same) {
            return match known.ask.fingerprint == ask.fingerprint {
                true => Ok((known.job.clone(), false)),
                false => Err(Error::KeyUsed),
            };
        }
        if self.0.tasks.is_closed() {
            return Err(Error::Closed);
        }
        let is_running = |one: &&Kept| one.job.state == State::Running;
        if kept.iter().filter(is_running).count() >= usize_of(self.0.config.running_max) {
            return Err(Error::Busy(self.0.config.running_max));
        }
        if kept.len() >= usize_of(self.0.config.kept_max) {
            let oldest = kept.iter().position(|one| one.job.state != State::Running);
            oldest.and_then(|index| kept.remove(index));
        }
        let job = Job {
            id: uuid::Uuid::new_v4().to_string(),
            action: ask.action,
            actor: ask.actor.clone(),
            state: State::Running,
            is_cancelled: false,
            began: stamp(now),
            ended: String::new(),
            steps: 0,
            events: VecDeque::new(),
            result: None,
            error: None,
        };
        let stop = CancellationToken::new();
        kept.push_back(Kept { job: job.clone(), ask, stop: stop.clone() });
        drop(kept);
        let handle = Handle { stop, id: job.id.clone(), jobs: self.clone() };
        self.spawn(job.id.clone(), Box::pin(work(handle)));
        Ok((job, true))
    }

    fn spawn<W>(&self, id: String, work: W)
    where
        W: Future<Output = Result<Value, Value>> + Send + 'static,
    {
        let jobs = self.clone();
        self.0.tasks.spawn(async move {
            // In a task of its own, so that work that breaks down ends its job and nothing else.
            let result = match tokio::spawn(work).await {
                Ok(result) => result,
                Err(error) => Err(json!({
                    "type": "urn:penstock:problem:internal", "title": "Internal Server Error", "status": 500,
                    "detail": format!("the job broke down: {error}"),
                })),
            };
            let ended = stamp(Utc::now());
            jobs.change(&id, |job| {
                job.state = match &result {
                    Ok(_) => State::Done,
                    Err(_) if job.is_cancelled => State::Cancelled,
                    Err(_) => State::Failed,
                };
                METRICS.admin_jobs.with_label_values(&[job.action, job.state.name()]).inc();
                job.ended = ended;
                match result {
                    Ok(value) => job.result = Some(value),
                    Err(error) => job.error = Some(error),
                }
            });
        });
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(one) = self.0.kept.lock().iter_mut().find(|one| one.job.id == id) {
            change(&mut one.job);
        }
    }

    /// The latest, newest first.
    pub fn list(&self, count_max: usize) -> Vec<Job> {
        self.0.kept.lock().iter().rev().take(count_max).map(|one| one.job.clone()).collect()
    }

    /// # Errors
    /// One that is not remembered.
    pub fn get(&self, id: &str) -> Result<Job, Error> {
        let kept = self.0.kept.lock();
        let found = kept.iter().find(|one| one.job.id == id).map(|one| one.job.clone());
        found.ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    /// Asks a job to end. It does before its next step; what was done stays done.
    ///
    /// # Errors
    /// One that is not remembered, or has ended.
    pub fn cancel(&self, id: &str) -> Result<Job, Error> {
        let mut kept = self.0.kept.lock();
        let one = kept.iter_mut().find(|one| one.job.id == id);
        let one = one.ok_or_else(|| Error::Unknown(id.to_owned()))?;
        if one.job.state != State::Running {
            return Err(Error::Ended(id.to_owned()));
        }
        one.job.is_cancelled = true;
        one.stop.cancel();
        Ok(one.job.clone())
    }

    /// Takes nothing more in, asks every job to end, and waits for them.
    pub async fn close(&self) {
        self.0.tasks.close();
        for one in self.0.kept.lock().iter_mut().filter(|one| one.job.state == State::Running) {
            one.job.is_cancelled = true;
            one.stop.cancel();
        }
        self.0.tasks.wait().await;
    }
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn stamp(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn ask(key: Option<&str>, fingerprint: &str) -> Ask {
        let (key, fingerprint) = (key.map(str::to_owned), fingerprint.to_owned());
        Ask { action: "test.do", actor: "a".to_owned(), key, fingerprint }
    }

    async fn breaks() -> Result<Value, Value> {
        panic!("broken")
    }

    async fn ended(jobs: &Jobs, id: &str) -> Job {
        loop {
            let job = jobs.get(id).unwrap();
            if job.state != State::Running {
                return job;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_job_is_watched_until_it_ends_and_one_that_breaks_down_fails_alone() {
        let jobs = Jobs::new(&Config::default());
        let (go, gone) = oneshot::channel::<()>();
        let work = |handle: Handle| async move {
            for n in 0..EVENTS_MAX + 5 {
                handle.tell(&json!({ "n": n }));
            }
            gone.await.unwrap();
            Ok(json!(7))
        };
        let (job, is_new) = jobs.start(ask(None, ""), Utc::now(), work).unwrap();
        assert!(is_new && job.state == State::Running);
        while jobs.get(&job.id).unwrap().steps < 105 {
            tokio::task::yield_now().await;
        }
        let seen = jobs.get(&job.id).unwrap();
        assert_eq!((seen.events.len(), &seen.events[0]), (EVENTS_MAX, &json!({ "n": 5 })));
        go.send(()).unwrap();
        let job = ended(&jobs, &job.id).await;
        assert_eq!((job.state, job.result), (State::Done, Some(json!(7))));
        let (job, _) = jobs.start(ask(None, ""), Utc::now(), |_| breaks()).unwrap();
        assert_eq!(ended(&jobs, &job.id).await.state, State::Failed);
        assert!(matches!(jobs.cancel(&job.id), Err(Error::Ended(_))));
        assert!(matches!(jobs.get("x"), Err(Error::Unknown(_))));
    }

    #[tokio::test]
    async fn the_same_request_is_the_same_job_and_another_one_with_its_key_is_refused() {
        let jobs = Jobs::new(&Config::default());
        let work = |_| async { Ok(json!(1)) };
        let (first, _) = jobs.start(ask(Some("k"), "x"), Utc::now(), work).unwrap();
        ended(&jobs, &first.id).await;
        let (again, is_new) = jobs.start(ask(Some("k"), "x"), Utc::now(), work).unwrap();
        assert!(again.id == first.id && !is_new && again.state == State::Done);
        assert!(matches!(jobs.start(ask(Some("k"), "y"), Utc::now(), work), Err(Error::KeyUsed)));
        let other = Ask { actor: "b".to_owned(), ..ask(Some("k"), "y") };
        assert!(jobs.start(other, Utc::now(), work).unwrap().1, "keys are everybody's own");
        assert!(jobs.start(ask(None, "x"), Utc::now(), work).unwrap().1);
    }

    #[tokio::test]
    async fn jobs_are_bounded_cancelled_and_waited_for() {
        let jobs = Jobs::new(&Config { running_max: 2, kept_max: 3 });
        let waits = |handle: Handle| async move {
            handle.stop.cancelled().await;
            Err(json!("stopped"))
        };
        let (one, _) = jobs.start(ask(None, ""), Utc::now(), waits).unwrap();
        let (two, _) = jobs.start(ask(None, ""), Utc::now(), waits).unwrap();
        assert!(matches!(jobs.start(ask(None, ""), Utc::now(), waits), Err(Error::Busy(2))));
        assert!(jobs.cancel(&one.id).unwrap().is_cancelled);
        let ended_one = ended(&jobs, &one.id).await;
        assert_eq!((ended_one.state, ended_one.error), (State::Cancelled, Some(json!("stopped"))));
        let mut last = one.id.clone();
        for _ in 0..3 {
            last = jobs.start(ask(None, ""), Utc::now(), |_| async { Ok(json!(1)) }).unwrap().0.id;
            ended(&jobs, &last).await;
        }
        let kept: Vec<String> = jobs.list(10).into_iter().map(|job| job.id).collect();
        assert!(kept.len() == 3 && kept[0] == last && kept[2] == two.id, "the running one stays: {kept:?}");
        jobs.close().await;
        assert_eq!(jobs.get(&two.id).unwrap().state, State::Cancelled);
        assert!(matches!(jobs.start(ask(None, ""), Utc::now(), waits), Err(Error::Closed)));
    }
}
