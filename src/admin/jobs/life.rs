//! A job from its first row to its last: written down, let in, watched, and written down again.
//!
//! Refuses to begin what is not in the table, unless it may go unwritten, and what is under way already. A job that breaks
//! down ends alone.

use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tokio::time::{Instant, interval_at};

use super::{Ask, History, Job, Jobs, State, stamp, told};
use crate::clickhouse;
use crate::telemetry::metrics::METRICS;

/// Between two signs of life at least.
const RENEWAL_MIN: Duration = Duration::from_millis(10);

impl Jobs {
    pub(super) fn spawn<W>(&self, id: String, work: W)
    where
        W: Future<Output = Result<Value, Value>> + Send + 'static,
    {
        let jobs = self.clone();
        self.0.tasks.spawn(async move {
            let (state, result) = match jobs.enter(&id).await {
                Ok(()) => (None, jobs.watch(&id, work).await),
                Err((state, why)) => {
                    // It was no request that could be repeated.
                    jobs.forget_key(&id);
                    (Some(state), Err(why))
                }
            };
            let ended = stamp(Utc::now());
            jobs.change(&id, |job| {
                job.state = match (&result, state) {
                    (_, Some(state)) => state,
                    (Ok(_), None) => State::Done,
                    (Err(_), None) if job.is_cancelled => State::Cancelled,
                    (Err(_), None) => State::Failed,
                };
                job.ended = ended;
                match result {
                    Ok(value) => job.result = Some(value),
                    Err(error) => job.error = Some(error),
                }
                jobs.count(job);
            });
            jobs.remember(&id).await;
        });
    }

    pub(super) fn count(&self, job: &Job) {
        METRICS.admin.jobs.with_label_values(&[job.action.as_str(), job.state.name()]).inc();
        if !job.schedule.is_empty() {
            METRICS.fleet.schedule_runs.with_label_values(&[job.schedule.as_str(), job.state.name()]).inc();
        }
    }

    /// Writes the job down, and looks whether it is the only one of its kind. Of two that begin at a time at least one
    /// sees the other, and is not begun.
    async fn enter(&self, id: &str) -> Result<(), (State, Value)> {
        let (Some(history), Some((job, ask, row))) = (self.history(), self.row(id)) else { return Ok(()) };
        let unwritten = |error: clickhouse::Error| {
            let text = format!("the job was not begun, because it could not be written down: {error}");
            (State::Failed, told(503, "unwritten", &text))
        };
        if !history.begin(&job, &ask, row).await.map_err(unwritten)? {
            return Ok(());
        }
        if let Some(other) = history.same(&ask, id).await.map_err(unwritten)? {
            let text = format!("the same request is job {}", other.job.id);
            return Err((State::Skipped, told(409, "repeated", &text)));
        }
        if let Some(run) = &ask.run {
            let open = history.open(&run.schedule).await.map_err(unwritten)?;
            // Of its own process it is known already.
            if let Some(other) = open.iter().find(|other| other.job.instance != job.instance) {
                let text = format!("another run of {} is under way, job {}", run.schedule, other.job.id);
                return Err((State::Skipped, told(409, "overlap", &text)));
            }
        }
        Ok(())
    }

    /// Waits for the work, in a task of its own, so that work that breaks down ends its job and nothing else.
    async fn watch<W>(&self, id: &str, work: W) -> Result<Value, Value>
    where
        W: Future<Output = Result<Value, Value>> + Send + 'static,
    {
        let mut work = tokio::spawn(work);
        let lease = self.history().map_or(self.0.config.lease.0, History::lease);
        let every = (lease / 3).max(RENEWAL_MIN);
        let mut ticks = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                result = &mut work => return result.unwrap_or_else(|error| {
                    Err(told(500, "internal", &format!("the job broke down: {error}")))
                }),
                _ = ticks.tick() => self.remember(id).await,
            }
        }
    }

    /// Adds a row to the table that says how the job is. Where that fails the lease runs out.
    pub(super) async fn remember(&self, id: &str) {
        let (Some(history), Some((job, ask, row))) = (self.history(), self.row(id)) else { return };
        if let Err(error) = history.put(&job, &ask, row).await {
            tracing::error!(%error, job = id, state = job.state.name(), "the table of jobs cannot be written");
        }
    }

    /// The job as it is, for the next row.
    fn row(&self, id: &str) -> Option<(Job, Ask, u32)> {
        let mut kept = self.0.kept.lock();
        let one = kept.iter_mut().find(|one| one.job.id == id)?;
        one.rows += 1;
        Some((one.job.clone(), one.ask.clone(), one.rows))
    }
}
