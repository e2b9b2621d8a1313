//! The loop of the leader: looks what is due, claims it, and begins it.
//!
//! Refuses to begin what it has not claimed, and to claim what it cannot know: a new leader reads the claims of earlier
//! ones and the table of jobs first. Due times that pass while a run is under way become one run, right after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::when::Due;
use super::{Schedule, Schedules, stamp};
use crate::admin::jobs::{self, Ask, Run};
use crate::clickhouse;
use crate::kafka::leader::{Candidate, Standing};
use crate::telemetry::metrics::METRICS;

/// Longest time between two looks at who leads.
const LOOK: Duration = Duration::from_millis(200);
/// After something failed.
const PAUSE: Duration = Duration::from_secs(1);

/// When each schedule was settled last, in seconds since 1970.
type Claims = BTreeMap<String, i64>;

pub struct Scheduler {
    schedules: Arc<Schedules>,
    candidate: Arc<Candidate>,
    /// The term whose claims are known.
    term: Option<u64>,
    claims: Claims,
    /// Runs of earlier leaders, or of somebody who asked elsewhere, may be under way.
    foreign: BTreeSet<String>,
}

impl Scheduler {
    pub fn new(schedules: Arc<Schedules>, candidate: Arc<Candidate>) -> Scheduler {
        Scheduler { schedules, candidate, term: None, claims: Claims::new(), foreign: BTreeSet::new() }
    }

    /// Until it is to end; what was begun goes on as a job.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = self.turn(Utc::now()).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn turn(&mut self, now: DateTime<Utc>) -> Duration {
        let Standing::Leading { term, claims } = self.candidate.standing() else {
            self.term = None;
            return LOOK;
        };
        if self.term != Some(term) {
            match self.take_over(&claims, now).await {
                // What is seen for the first time is due from now on, whoever leads later.
                Ok(is_new) if is_new && !self.claim(term, &self.claims).await => return PAUSE,
                Ok(_) => self.term = Some(term),
                Err(error) => {
                    tracing::warn!(%error, "what was run last is not known, so nothing is run");
                    return PAUSE;
                }
            }
        }
        if let Err(error) = self.look_abroad().await {
            tracing::warn!(%error, "what is under way is not known, so nothing is run");
            return PAUSE;
        }
        match self.begin_due(term, now).await {
            true => self.pause(Utc::now()),
            false => PAUSE,
        }
    }

    /// Learns what was claimed and what is under way; whether there is a schedule that nobody has seen before.
    async fn take_over(&mut self, claims: &str, now: DateTime<Utc>) -> Result<bool, clickhouse::Error> {
        let claimed: Claims = serde_json::from_str(claims).unwrap_or_default();
        let begun = match self.schedules.jobs.history() {
            Some(history) => history.last_due().await?,
            None => Claims::new(),
        };
        let settled = |one: &Schedule| {
            let both = [claimed.get(&one.name), begun.get(&one.name)];
            let last = both.into_iter().flatten().max().copied().unwrap_or(now.timestamp());
            (one.name.clone(), last)
        };
        self.claims = self.schedules.all.iter().map(settled).collect();
        self.foreign = self.schedules.all.iter().map(|one| one.name.clone()).collect();
        Ok(self.claims.keys().any(|name| !claimed.contains_key(name) && !begun.contains_key(name)))
    }

    /// Whether the brokers have taken these claims from this process as the leader.
    async fn claim(&self, term: u64, claims: &Claims) -> bool {
        let text = serde_json::to_string(claims).unwrap_or_default();
        match self.candidate.claim(term, text).await {
            Ok(()) => true,
            Err(error) => {
                // They may be there or not: the next term says it.
                tracing::warn!(%error, "this process may no longer lead, and runs nothing");
                false
            }
        }
    }

    /// Which of the runs that others began have ended.
    async fn look_abroad(&mut self) -> Result<(), clickhouse::Error> {
        for name in self.foreign.clone() {
            if !self.is_open_abroad(&name).await? {
                self.foreign.remove(&name);
            }
        }
        Ok(())
    }

    /// Whether another process has a run of it under way.
    async fn is_open_abroad(&self, name: &str) -> Result<bool, clickhouse::Error> {
        let Some(history) = self.schedules.jobs.history() else { return Ok(false) };
        let open = history.open(name).await?;
        Ok(open.iter().any(|one| one.job.instance != self.schedules.instance))
    }

    fn is_busy(&self, one: &Schedule) -> bool {
        self.foreign.contains(&one.name) || self.schedules.jobs.is_running(&one.name)
    }

    fn last(&self, one: &Schedule) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(*self.claims.get(&one.name)?, 0)
    }

    /// Whether everything that was due is claimed.
    async fn begin_due(&mut self, term: u64, now: DateTime<Utc>) -> bool {
        let schedules = Arc::clone(&self.schedules);
        let mut all: Vec<(&Schedule, Due, DateTime<Utc>)> = Vec::new();
        let mut claims = self.claims.clone();
        for one in &schedules.all {
            let Some(last) = self.last(one).filter(|_| !self.is_busy(one)) else { continue };
            let due = one.when.due(last, now, one.lateness);
            let Some(upto) = due.upto else { continue };
            match self.is_open_abroad(&one.name).await {
                Ok(false) => {}
                Ok(true) => {
                    self.foreign.insert(one.name.clone());
                    continue;
                }
                // Nothing is claimed that could not be written down: it stays due.
                Err(error) => {
                    tracing::warn!(%error, schedule = one.name, "what is due cannot be written down, and waits");
                    return false;
                }
            }
            claims.insert(one.name.clone(), upto.timestamp());
            all.push((one, due, upto));
        }
        if all.is_empty() {
            return true;
        }
        if !self.claim(term, &claims).await {
            self.term = None;
            return false;
        }
        self.claims = claims;
        for (one, due, upto) in all {
            self.settle(one, due, upto, now).await;
        }
        true
    }

    /// Says what was left out, and begins the run.
    async fn settle(&self, one: &Schedule, due: Due, upto: DateTime<Utc>, now: DateTime<Utc>) {
        let (actor, jobs) = (one.actor(&self.schedules.instance), &self.schedules.jobs);
        let ask = |due: DateTime<Utc>| Ask {
            action: "schedule.run",
            actor: actor.name.clone(),
            key: None,
            fingerprint: String::new(),
            run: Some(Run { schedule: one.name.clone(), due_s: Some(due.timestamp()) }),
            waits: false,
            may_go_unwritten: false,
        };
        if let Some(missed_upto) = due.missed_upto {
            let (missed, last) = (due.missed, stamp(missed_upto));
            METRICS.fleet.schedule_missed.with_label_values(&[one.name.as_str()]).inc_by(u64::from(missed));
            tracing::warn!(schedule = one.name, missed, last, "due times passed without a run");
            let text = format!(
                "{missed} due times up to {last} passed without a run\nhint: nobody led, or the run before took longer; \
                 `catch_up: true` makes up for the last of them"
            );
            jobs.skip(&ask(missed_upto), now, jobs::told(409, "missed", &text)).await;
        }
        if !due.is_run {
            return;
        }
        let ask = ask(upto);
        if let Err(error) = self.schedules.start(one, &actor, ask.clone()) {
            jobs.skip(&ask, now, jobs::told(503, "not_begun", &error.to_string())).await;
        }
    }

    /// Until something may be due.
    fn pause(&self, now: DateTime<Utc>) -> Duration {
        let next = self.schedules.all.iter().filter_map(|one| one.when.next(now.max(self.last(one)?))).min();
        let left = next.map(|next| (next - now).to_std().unwrap_or_default());
        left.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK)
    }
}
