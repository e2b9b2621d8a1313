//! What stands beside the line, fetched now and then: jobs, backups, what the watch over the servers found.
//!
//! Refuses to wait for a server that hangs: what is not known in time is as it was.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::board::Beside;
use super::problems::Checked;
use super::summary::JobLine;
use crate::admin::backup::Backups;
use crate::admin::jobs::{Job, Jobs, State};
use crate::admin::watch::{self, Watch};

const JOBS_MAX: usize = 20;
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Both are in tables of ClickHouse, which nobody should have to ask for them each second.
const JOBS_EVERY: Duration = Duration::from_secs(3);
const BACKUPS_EVERY: Duration = Duration::from_secs(60);

/// Where it is fetched from.
pub struct Sources {
    pub jobs: Jobs,
    pub backups: Backups,
    pub watch: Arc<Watch>,
    /// Of backups.
    pub policies: Vec<String>,
}

/// What was fetched, and when.
pub struct Fetched {
    sources: Sources,
    known: Beside,
    jobs_at: Option<Instant>,
    backups_at: Option<Instant>,
}

impl Fetched {
    pub fn new(sources: Sources) -> Fetched {
        let known = Beside { policies: sources.policies.clone(), ..Beside::default() };
        Fetched { sources, known, jobs_at: None, backups_at: None }
    }

    /// Fetches what is due.
    pub async fn look(&mut self, now: Instant) -> Beside {
        let is_due =
            |at: Option<Instant>, every| at.is_none_or(|at| every <= now.saturating_duration_since(at));
        if is_due(self.jobs_at, JOBS_EVERY) {
            self.jobs_at = Some(now);
            if let Ok((jobs, _)) = timeout(ANSWER_MAX, self.sources.jobs.list(None, JOBS_MAX)).await {
                self.known.jobs = jobs.iter().map(line).collect();
            }
        }
        if is_due(self.backups_at, BACKUPS_EVERY) {
            self.backups_at = Some(now);
            if let Ok(Ok(entries)) = timeout(ANSWER_MAX, self.sources.backups.entries()).await {
                let sound = entries.0.iter().filter(|entry| entry.is_there() && entry.is_verified());
                self.known.newest_verified_at = sound.map(|entry| entry.at).max();
            }
        }
        self.known.checks = checks(&self.sources.watch.report());
        self.known.clone()
    }
}

/// What is not well.
fn checks(report: &watch::Report) -> Vec<Checked> {
    let ill = report.checks.iter().filter(|check| check.state != watch::State::Ok);
    let checked = ill.map(|check| Checked {
        name: check.name.to_owned(),
        is_failing: check.state == watch::State::Failing,
        sentence: check.sentence.clone(),
        hint: check.hint.clone(),
    });
    checked.collect()
}

fn line(job: &Job) -> JobLine {
    JobLine {
        id: job.id.clone(),
        action: job.action.clone(),
        state: job.state.name().to_owned(),
        progress: progress(job),
        actor: job.actor.clone(),
        started_at: job.began.clone(),
    }
}

/// How far a job is, where its last step has a part and a whole.
fn progress(job: &Job) -> Option<f64> {
    if job.state == State::Done {
        return Some(1.0);
    }
    let last = job.events.back()?;
    let number = |name: &str| last.get(name).and_then(Value::as_f64);
    let (done, all) = match (number("read"), number("total")) {
        (Some(read), Some(total)) => (read, total),
        _ => (number("done")?, number("bytes")?),
    };
    (0.0 < all).then(|| (done / all).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_is_a_part_of_a_whole_or_not_told() {
        let mut job = Job {
            id: String::new(),
            action: "backup.create".to_owned(),
            actor: "ann".to_owned(),
            instance: String::new(),
            schedule: String::new(),
            due: String::new(),
            state: State::Running,
            is_cancelled: false,
            began: "2026-03-14T09:26:53Z".to_owned(),
            ended: String::new(),
            steps: 0,
            events: [].into(),
            result: None,
            error: None,
        };
        assert_eq!(line(&job).progress, None);
        for (event, progress) in [
            (json!({ "what": "x", "done": 62, "bytes": 100 }), Some(0.62)),
            (json!({ "read": 5, "total": 4 }), Some(1.0)),
            (json!({ "read": 0, "total": 0 }), None),
            (json!({ "step": 1 }), None),
        ] {
            job.events.push_back(event);
            assert_eq!(line(&job).progress, progress);
        }
        job.state = State::Done;
        assert_eq!((line(&job).progress, line(&job).state.as_str()), (Some(1.0), "done"));
    }
}
