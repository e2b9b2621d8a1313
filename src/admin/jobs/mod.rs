//! Work that outlives the request that asked for it: started, watched, cancelled, remembered beyond the process.
//!
//! Refuses to know what the work is, to keep more than a number of jobs in memory, and to begin what cannot be written
//! down, but for what is asked of the line while the servers are away. A repeated request with the same key is the same
//! job, never a second one; of one schedule one run at a time.

mod history;
mod life;
mod model;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use history::{History, Setup};
pub use model::{Ask, Config, Job, Run, State};

use crate::clickhouse;

/// Jobs that wait at a time, such as pauses of topics.
const WAITING_MAX: u32 = 16;
/// How long the table is waited for by what may go unwritten.
const UNWRITTEN_AFTER: Duration = Duration::from_secs(1);
/// Of a job's progress the latest events are kept.
const EVENTS_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0} jobs are running, and no more may\nhint: wait for one to end, or raise admin.jobs.running_max"
    )]
    Busy(u32),
    #[error("{0} jobs wait for their end, and no more may\nhint: cancel one of them")]
    Waiting(u32),
    #[error("this Idempotency-Key was used with another request\nhint: take a new key for a new request")]
    KeyUsed,
    #[error("there is no job {0}\nhint: jobs are kept for admin.jobs.keep; the audit trail has them all")]
    Unknown(String),
    #[error("job {id} runs in another process\nhint: ask there: {instance}")]
    Elsewhere { id: String, instance: String },
    #[error("the table of jobs cannot be read")]
    Unread(#[from] clickhouse::Error),
    #[error("a run of {schedule} is under way, job {id}\nhint: wait for its end")]
    Overlap { schedule: String, id: String },
    #[error("job {0} has ended\nhint: look at what came of it")]
    Ended(String),
    #[error("the process is ending\nhint: ask again when it is back")]
    Closed,
}

/// How the work is watched and ended.
#[derive(Clone)]
pub struct Handle {
    pub stop: CancellationToken,
    id: String,
    jobs: Jobs,
}

impl Handle {
    /// Whether it is asked to end because the process does.
    pub fn is_closing(&self) -> bool {
        self.jobs.0.tasks.is_closed()
    }

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
    /// Rows of it in the table.
    rows: u32,
}

struct Shared {
    config: Config,
    instance: String,
    history: Option<History>,
    /// Oldest first.
    kept: Mutex<VecDeque<Kept>>,
    changes: AtomicU64,
    tasks: TaskTracker,
}

/// Every job that is remembered.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

impl Jobs {
    /// Without a history jobs are remembered as long as the process lives.
    pub fn new(config: &Config, instance: &str, history: Option<History>) -> Jobs {
        Jobs(Arc::new(Shared {
            config: config.clone(),
            instance: instance.to_owned(),
            history,
            kept: Mutex::default(),
            changes: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }))
    }

    pub fn history(&self) -> Option<&History> {
        self.0.history.as_ref()
    }

    /// Has the job at hand that the same request started before this process did, or in another one. To be called before
    /// [`Jobs::start`] of a request with a key.
    ///
    /// # Errors
    /// A table that cannot be read: then nobody knows whether it is a repetition.
    pub async fn recall(&self, ask: &Ask) -> Result<(), Error> {
        let (Some(history), Some(_)) = (self.history(), &ask.key) else { return Ok(()) };
        if self.0.kept.lock().iter().any(|one| one.is_same(ask)) {
            return Ok(());
        }
        let Some(found) = history.same(ask, "").await? else { return Ok(()) };
        let ask = Ask { fingerprint: found.fingerprint, ..ask.clone() };
        let mut kept = self.0.kept.lock();
        if !kept.iter().any(|one| one.is_same(&ask)) {
            self.make_room(&mut kept);
            // The oldest ends first, and this one is looked at right now.
            kept.push_back(Kept { job: found.job, ask, stop: CancellationToken::new(), rows: 0 });
        }
        Ok(())
    }

    fn make_room(&self, kept: &mut VecDeque<Kept>) {
        if kept.len() >= usize_of(self.0.config.kept_max) {
            let oldest =
                kept.iter().position(|one| one.job.state != State::Running || self.is_foreign(&one.job));
            oldest.and_then(|index| kept.remove(index));
        }
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
        if let Some(known) = kept.iter().find(|one| one.is_same(&ask)) {
            return match known.ask.fingerprint == ask.fingerprint {
                true => Ok((known.job.clone(), false)),
                false => Err(Error::KeyUsed),
            };
        }
        if self.0.tasks.is_closed() {
            return Err(Error::Closed);
        }
        let overlaps = |one: &&Kept| {
            ask.run.is_some()
                && one.job.state == State::Running
                && !self.is_foreign(&one.job)
                && one.ask.run.as_ref().map(|run| &run.schedule) == ask.run.as_ref().map(|run| &run.schedule)
        };
        if let Some(other) = kept.iter().find(overlaps) {
            return Err(Error::Overlap { schedule: other.job.schedule.clone(), id: other.job.id.clone() });
        }
        // Runs of schedules are as many as there are schedules, and were claimed already.
        let counts = |one: &&Kept| {
            let is_like_it = one.ask.run.is_none() && one.ask.waits == ask.waits;
            one.job.state == State::Running && is_like_it && !self.is_foreign(&one.job)
        };
        let most = if ask.waits { WAITING_MAX } else { self.0.config.running_max };
        if ask.run.is_none() && kept.iter().filter(counts).count() >= usize_of(most) {
            return Err(if ask.waits { Error::Waiting(most) } else { Error::Busy(most) });
        }
        self.make_room(&mut kept);
        let job = self.job(&ask, now);
        let stop = CancellationToken::new();
        kept.push_back(Kept { job: job.clone(), ask, stop: stop.clone(), rows: 0 });
        drop(kept);
        self.changed();
        let handle = Handle { stop, id: job.id.clone(), jobs: self.clone() };
        self.spawn(job.id.clone(), Box::pin(work(handle)));
        Ok((job, true))
    }

    /// Writes down that a run was not begun, and why.
    pub async fn skip(&self, ask: &Ask, now: DateTime<Utc>, why: Value) {
        let ended = Job { state: State::Skipped, ended: stamp(now), error: Some(why), ..self.job(ask, now) };
        {
            let mut kept = self.0.kept.lock();
            self.make_room(&mut kept);
            let (job, ask) = (ended.clone(), ask.clone());
            kept.push_back(Kept { job, ask, stop: CancellationToken::new(), rows: 0 });
        }
        self.count(&ended);
        self.remember(&ended.id).await;
    }

    fn job(&self, ask: &Ask, now: DateTime<Utc>) -> Job {
        let due = ask.run.as_ref().and_then(|run| DateTime::from_timestamp(run.due_s?, 0));
        Job {
            id: uuid::Uuid::new_v4().to_string(),
            action: ask.action.to_owned(),
            actor: ask.actor.clone(),
            instance: self.0.instance.clone(),
            schedule: ask.run.as_ref().map(|run| run.schedule.clone()).unwrap_or_default(),
            due: due.map(stamp).unwrap_or_default(),
            state: State::Running,
            is_cancelled: false,
            began: stamp(now),
            ended: String::new(),
            steps: 0,
            events: VecDeque::new(),
            result: None,
            error: None,
        }
    }

    fn is_foreign(&self, job: &Job) -> bool {
        job.instance != self.0.instance
    }

    fn forget_key(&self, id: &str) {
        if let Some(one) = self.0.kept.lock().iter_mut().find(|one| one.job.id == id) {
            one.ask.key = None;
        }
    }

    /// Whether this process has a run of the schedule under way.
    pub fn is_running(&self, schedule: &str) -> bool {
        let kept = self.0.kept.lock();
        kept.iter().any(|one| {
            one.job.schedule == schedule && one.job.state == State::Running && !self.is_foreign(&one.job)
        })
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(one) = self.0.kept.lock().iter_mut().find(|one| one.job.id == id) {
            change(&mut one.job);
        }
        self.changed();
    }

    fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Goes up with each step of a job, its first and its last among them.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// The latest, newest first; and whether those of other processes and of earlier ones are among them.
    pub async fn list(&self, schedule: Option<&str>, count_max: usize) -> (Vec<Job>, bool) {
        let is_meant =
            |one: &&Kept| schedule.is_none_or(|name| one.job.schedule == name) && !self.is_foreign(&one.job);
        let own = |kept: &VecDeque<Kept>| -> Vec<Job> {
            kept.iter().rev().filter(is_meant).take(count_max).map(|one| one.job.clone()).collect()
        };
        let Some(history) = self.history() else { return (own(&self.0.kept.lock()), true) };
        let found = match history.list(schedule, count_max).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the table of jobs cannot be read");
                return (own(&self.0.kept.lock()), false);
            }
        };
        // What this process runs it knows best.
        let mut all = own(&self.0.kept.lock());
        let known: std::collections::HashSet<String> = all.iter().map(|job| job.id.clone()).collect();
        all.extend(found.into_iter().map(|one| one.job).filter(|job| !known.contains(&job.id)));
        all.sort_by(|a, b| b.began.cmp(&a.began));
        all.truncate(count_max);
        (all, true)
    }

    /// # Errors
    /// One that is not remembered, or a table that cannot be read.
    pub async fn get(&self, id: &str) -> Result<Job, Error> {
        if let Some(job) = self.own(id) {
            return Ok(job);
        }
        let found = match self.history() {
            Some(history) => history.find(id).await?,
            None => None,
        };
        found.map(|found| found.job).ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    fn own(&self, id: &str) -> Option<Job> {
        let kept = self.0.kept.lock();
        kept.iter().find(|one| one.job.id == id && !self.is_foreign(&one.job)).map(|one| one.job.clone())
    }

    /// Asks a job to end. It does before its next step; what was done stays done.
    ///
    /// # Errors
    /// One that is not remembered, has ended, or is run by another process.
    pub async fn cancel(&self, id: &str) -> Result<Job, Error> {
        let job = self.get(id).await?;
        if job.state != State::Running {
            return Err(Error::Ended(id.to_owned()));
        }
        if self.is_foreign(&job) {
            return Err(Error::Elsewhere { id: job.id, instance: job.instance });
        }
        let mut kept = self.0.kept.lock();
        let one = kept.iter_mut().find(|one| one.job.id == id && one.job.state == State::Running);
        let one = one.ok_or_else(|| Error::Ended(id.to_owned()))?;
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

impl Kept {
    /// Whether it was asked for by the same person under the same key.
    fn is_same(&self, ask: &Ask) -> bool {
        self.ask.key.is_some() && self.ask.key == ask.key && self.ask.actor == ask.actor
    }
}

/// What stood in the way of a job, as a problem.
pub fn told(status: u16, code: &str, text: &str) -> Value {
    let (text, hint) = text.split_once("\nhint: ").unwrap_or((text, ""));
    json!({ "type": format!("urn:penstock:problem:{code}"), "title": "Error", "status": status, "detail": text, "hint": hint })
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
        Ask {
            action: "test.do",
            actor: "a".to_owned(),
            key,
            fingerprint,
            run: None,
            waits: false,
            may_go_unwritten: false,
        }
    }

    async fn breaks() -> Result<Value, Value> {
        panic!("broken")
    }

    async fn ended(jobs: &Jobs, id: &str) -> Job {
        loop {
            let job = jobs.get(id).await.unwrap();
            if job.state != State::Running {
                return job;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_job_is_watched_until_it_ends_and_one_that_breaks_down_fails_alone() {
        let jobs = Jobs::new(&Config::default(), "here", None);
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
        while jobs.get(&job.id).await.unwrap().steps < 105 {
            tokio::task::yield_now().await;
        }
        let seen = jobs.get(&job.id).await.unwrap();
        assert_eq!((seen.events.len(), &seen.events[0]), (EVENTS_MAX, &json!({ "n": 5 })));
        go.send(()).unwrap();
        let job = ended(&jobs, &job.id).await;
        assert_eq!((job.state, job.result), (State::Done, Some(json!(7))));
        let (job, _) = jobs.start(ask(None, ""), Utc::now(), |_| breaks()).unwrap();
        assert_eq!(ended(&jobs, &job.id).await.state, State::Failed);
        assert!(matches!(jobs.cancel(&job.id).await, Err(Error::Ended(_))));
        assert!(matches!(jobs.get("x").await, Err(Error::Unknown(_))));
    }

    #[tokio::test]
    async fn the_same_request_is_the_same_job_and_another_one_with_its_key_is_refused() {
        let jobs = Jobs::new(&Config::default(), "here", None);
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
    async fn what_is_asked_of_the_line_begins_without_the_table_and_nothing_else_does() {
        // Nobody listens there.
        let clickhouse = clickhouse::Config {
            endpoints: vec!["http://127.0.0.1:1".to_owned()],
            ..clickhouse::Config::default()
        };
        let config = Config::default();
        let keeping = crate::admin::rows::Keeping::alone("MergeTree");
        let history = History::new(&Setup { clickhouse: &clickhouse, config: &config, keeping }).unwrap();
        let jobs = Jobs::new(&config, "here", Some(history));
        let ask = Ask { may_go_unwritten: true, ..ask(Some("k"), "x") };
        let begun = std::time::Instant::now();
        jobs.recall(&ask).await.unwrap();
        let (job, _) = jobs.start(ask.clone(), Utc::now(), |_| async { Ok(json!(1)) }).unwrap();
        while jobs.get(&job.id).await.unwrap().state != State::Done {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(begun.elapsed() < UNWRITTEN_AFTER * 4, "{:?}", begun.elapsed());
        let (again, is_new) = jobs.start(ask.clone(), Utc::now(), |_| breaks()).unwrap();
        assert!(again.id == job.id && !is_new, "a repetition is known all the same");
        let strict = Ask { key: Some("other".to_owned()), may_go_unwritten: false, ..ask };
        let recall = tokio::time::timeout(Duration::from_millis(200), jobs.recall(&strict)).await;
        assert!(!matches!(recall, Ok(Ok(()))), "nobody knows whether it is a repetition");
    }

    #[tokio::test]
    async fn jobs_are_bounded_cancelled_and_waited_for() {
        let jobs = Jobs::new(&Config { running_max: 2, kept_max: 3, ..Config::default() }, "here", None);
        let waits = |handle: Handle| async move {
            handle.stop.cancelled().await;
            Err(json!("stopped"))
        };
        let (one, _) = jobs.start(ask(None, ""), Utc::now(), waits).unwrap();
        let (two, _) = jobs.start(ask(None, ""), Utc::now(), waits).unwrap();
        assert!(matches!(jobs.start(ask(None, ""), Utc::now(), waits), Err(Error::Busy(2))));
        assert!(jobs.cancel(&one.id).await.unwrap().is_cancelled);
        let ended_one = ended(&jobs, &one.id).await;
        assert_eq!((ended_one.state, ended_one.error), (State::Cancelled, Some(json!("stopped"))));
        let mut last = one.id.clone();
        for _ in 0..3 {
            last = jobs.start(ask(None, ""), Utc::now(), |_| async { Ok(json!(1)) }).unwrap().0.id;
            ended(&jobs, &last).await;
        }
        let kept: Vec<String> = jobs.list(None, 10).await.0.into_iter().map(|job| job.id).collect();
        assert!(kept.len() == 3 && kept[0] == last && kept[2] == two.id, "the running one stays: {kept:?}");
        jobs.close().await;
        assert_eq!(jobs.get(&two.id).await.unwrap().state, State::Cancelled);
        assert!(matches!(jobs.start(ask(None, ""), Utc::now(), waits), Err(Error::Closed)));
    }

    #[tokio::test]
    async fn of_one_schedule_one_run_at_a_time_beyond_the_limit_of_jobs_and_what_is_skipped_is_kept() {
        let jobs = Jobs::new(&Config { running_max: 1, ..Config::default() }, "here", None);
        let waits = |handle: Handle| async move {
            handle.stop.cancelled().await;
            Err(json!("stopped"))
        };
        let of = |name: &str| Ask {
            run: Some(Run { schedule: name.to_owned(), due_s: Some(60) }),
            ..ask(None, "")
        };
        jobs.start(ask(None, ""), Utc::now(), waits).unwrap();
        assert!(matches!(jobs.start(ask(None, ""), Utc::now(), waits), Err(Error::Busy(1))));
        let pause = || Ask { waits: true, ..ask(None, "") };
        (0..WAITING_MAX).for_each(|_| drop(jobs.start(pause(), Utc::now(), waits).unwrap()));
        assert!(matches!(jobs.start(pause(), Utc::now(), waits), Err(Error::Waiting(WAITING_MAX))));
        let (first, _) = jobs.start(of("a"), Utc::now(), waits).unwrap();
        assert_eq!((first.schedule.as_str(), first.due.as_str()), ("a", "1970-01-01T00:01:00.000Z"));
        assert!(jobs.is_running("a") && !jobs.is_running("b"));
        assert!(
            matches!(jobs.start(of("a"), Utc::now(), waits), Err(Error::Overlap { id, .. }) if id == first.id)
        );
        jobs.start(of("b"), Utc::now(), waits).unwrap();
        jobs.skip(&of("a"), Utc::now(), told(409, "missed", "late\nhint: x")).await;
        let (listed, _) = jobs.list(Some("a"), 10).await;
        assert_eq!((listed.len(), listed[0].state), (2, State::Skipped));
        assert_eq!(listed[0].error.as_ref().unwrap()["hint"], "x");
        jobs.close().await;
        assert!(!jobs.is_running("a"));
    }
}
