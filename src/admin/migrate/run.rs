//! Runs a plan, statement by statement and host by host, with a row of the journal before and after each.
//!
//! Refuses to send anything that is not in the journal, or without the lock. A statement whose answer is not known
//! is found out first; what cannot be found out stops the run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::files::{Folder, Kind};
use super::host::Host;
use super::journal::{Direction, Journal, Outcome, Record};
use super::lock::Lock;
use super::plan::{Scope, Step};
use super::pragma::Target;
use super::probe::{Doubt, Found};
use super::state::State;
use super::statement::{Effect, Reading};
use crate::clickhouse::{self, Class};
use crate::faults::{Faults, Point};
use crate::telemetry::metrics::METRICS;

/// How long a request whose connection broke may still be on its way.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);

/// One statement on one host, done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event {
    pub file: String,
    pub statement: u32,
    pub host: String,
    pub outcome: Outcome,
    /// How that is known, where it was found out.
    pub note: String,
    pub took_ms: u64,
}

/// Told of each event as it happens.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A run under the lock.
pub struct Run<'a> {
    pub folder: &'a Folder,
    pub hosts: &'a [Host],
    pub journal: &'a Journal,
    pub lock: &'a Lock,
    pub state: State,
    pub database: &'a str,
    pub target: Target,
    pub timeout: Duration,
    pub actor: String,
    pub faults: &'a Faults,
    pub observer: &'a Observer,
    /// Once it is cancelled no other statement begins.
    pub stop: &'a CancellationToken,
    pub events: Vec<Event>,
}

impl Run<'_> {
    /// # Errors
    /// The first statement that failed, or whose outcome cannot be found out; what was done before stays done.
    pub async fn all(&mut self, steps: &[Step<'_>]) -> Result<(), Error> {
        // Hosts on which the file at hand is run, and those that its `skip_if` leaves out.
        let (mut run, mut skipped) = (BTreeSet::new(), BTreeSet::new());
        let mut begun = tokio::time::Instant::now();
        for (index, step) in steps.iter().enumerate() {
            let key = &step.migration.key;
            for host in &step.hosts {
                if self.stop.is_cancelled() {
                    return Err(Error::Cancelled { file: step.file(), statement: step.number });
                }
                if !self.is_begun(step, host) && self.says_skip(step, host).await? {
                    skipped.insert(host.clone());
                }
                if skipped.contains(host) {
                    self.skip(step, host, "`skip_if` of the file holds").await?;
                } else {
                    run.insert(host.clone());
                    self.one(step, host).await?;
                }
            }
            if steps.get(index + 1).is_none_or(|next| next.migration.key != *key) {
                self.verify(step, &run).await?;
                if !run.is_empty() {
                    let durations = &METRICS.admin.migration_duration;
                    let took = begun.elapsed().as_secs_f64();
                    durations.with_label_values(&[step.direction.name()]).observe(took);
                }
                begun = tokio::time::Instant::now();
                run.clear();
                skipped.clear();
            }
        }
        Ok(())
    }

    /// Whether anything of the file, as it is now, was tried on the host.
    fn is_begun(&self, step: &Step<'_>, host: &str) -> bool {
        let is_current = |record: &Record| {
            record.outcome != Outcome::Skipped
                && (step.migration.key.kind != Kind::Repeatable || record.file_sha256 == step.script().sha256)
        };
        let trace = self.state.trace(&step.migration.key, host);
        trace.is_some_and(|trace| match step.direction {
            Direction::Up => trace.up.values().any(is_current),
            Direction::Down => trace.down.values().any(is_current),
        })
    }

    fn host(&self, name: &str) -> Result<Host, Error> {
        let host = self.hosts.iter().find(|host| host.name == name);
        host.cloned().ok_or_else(|| Error::Answer(format!("there is no endpoint {name}")))
    }

    async fn says_skip(&self, step: &Step<'_>, host: &str) -> Result<bool, Error> {
        match &step.script().pragmas.skip_if {
            Some(select) => self.host(host)?.is_true(select).await,
            None => Ok(false),
        }
    }

    /// What the file says of its effect, once all of it was run.
    async fn verify(&self, step: &Step<'_>, hosts: &BTreeSet<String>) -> Result<(), Error> {
        let Some(select) = &step.script().pragmas.verify else { return Ok(()) };
        for host in hosts {
            if !self.host(host)?.is_true(select).await? {
                return Err(Error::NotVerified { file: step.file(), host: host.clone() });
            }
        }
        Ok(())
    }

    async fn one(&mut self, step: &Step<'_>, host_name: &str) -> Result<(), Error> {
        let host = self.host(host_name)?;
        let begun = tokio::time::Instant::now();
        if let Some(sent) = self.latest(step, host_name).filter(|record| record.outcome == Outcome::Sent) {
            let is_same = sent.statement_sha256 == step.statement.sha256;
            match self.settle(step, &host, sent, "").await? {
                true if is_same => return Ok(()),
                // It is done as it was written then; repeatable files are run again as they are now.
                true if step.migration.key.kind != Kind::Repeatable => {
                    return Err(Error::Changed(vec![step.file()]));
                }
                _ => {}
            }
        }
        if let Some(select) = &step.statement.pragmas.skip_if
            && host.is_true(select).await?
        {
            return self.skip(step, host_name, "`skip_if` holds").await;
        }
        self.lock.check()?;
        let mut record = self.record(step, &host, Outcome::Sent);
        record.started = host.now().await?.1;
        record.query_id = format!("{}{}", self.lock.query_prefix(), record.seq);
        self.write(&record).await?;
        self.faults.point(Point::MigrationJournalled);
        // Writing may have taken longer than the lease.
        self.lock.check()?;
        let settings = step.statement.pragmas.settings.clone();
        let timeout = step.statement.pragmas.timeout.map_or(self.timeout, |timeout| timeout.0);
        let answer = host.run(&step.filled.sql, &record.query_id, settings, timeout).await;
        self.faults.point(Point::MigrationAnswered);
        let error = match answer {
            Ok(()) => {
                let done = self.followed(&record, &host, Outcome::Done).await?;
                return self.tell(step, &done, begun.elapsed());
            }
            Err(error) => error,
        };
        let message = step.filled.hide(&error.to_string());
        if had_no_effect(&error, step) {
            let failed =
                Record { error: message.clone(), ..self.followed_by(&record, &host, Outcome::Failed).await? };
            self.write(&failed).await?;
            return Err(self.failed(step, host_name, message));
        }
        if error.exception().is_none() {
            // The request may still be on its way, and must not arrive after it was looked for.
            tokio::time::sleep(ARRIVAL_MAX).await;
        }
        match self.settle(step, &host, record, &message).await? {
            true => Ok(()),
            false => Err(self.failed(step, host_name, message)),
        }
    }

    fn failed(&self, step: &Step<'_>, host: &str, message: String) -> Error {
        Error::Statement { file: step.file(), statement: step.number, host: host.to_owned(), message }
    }

    /// Finds out what became of a statement that was sent; whether it is done.
    async fn settle(
        &mut self,
        step: &Step<'_>,
        host: &Host,
        sent: Record,
        error: &str,
    ) -> Result<bool, Error> {
        let timeout = step.statement.pragmas.timeout.map_or(self.timeout, |timeout| timeout.0);
        if !host.wait_for_end(&sent.query_id, timeout).await? {
            let (file, waited_s) = (step.file(), timeout.as_secs());
            return Err(Error::StillRunning {
                file,
                statement: step.number,
                host: host.name.clone(),
                waited_s,
            });
        }
        // Of a statement that is written otherwise now, only the logs and `verify` can tell.
        let other = Reading::of("");
        let is_same = sent.statement_sha256 == step.statement.sha256;
        let doubt = Doubt {
            query_id: &sent.query_id,
            started: &sent.started,
            reading: if is_same { &step.statement.reading } else { &other },
            verify: step.verify,
            database: self.database,
        };
        let (outcome, note) = match host.find_out(&doubt).await? {
            Found::Done(how) => (Outcome::Done, how),
            Found::NotDone(how) if error.is_empty() => (Outcome::Undone, how),
            Found::NotDone(how) => (Outcome::Failed, how),
            Found::Unknown(why) => {
                let look_at = step
                    .statement
                    .reading
                    .object()
                    .map_or_else(|| "what it changes".to_owned(), |object| format!("`{object}`"));
                let key = &step.migration.key;
                return Err(Error::Unknown {
                    statement: format!("{}, statement {} on {}", step.file(), step.number, host.name),
                    started: sent.started,
                    why: if error.is_empty() { why } else { format!("{why}; the error was: {error}") },
                    advice: format!(
                        "look at {look_at}, then `penstock migrate mark {key} --statement {} --as done` or `--as undone`, \
                         and run it again",
                        step.number
                    ),
                });
            }
        };
        let record = self.followed_by(&sent, host, outcome).await?;
        let record = Record { note: note.to_owned(), error: error.to_owned(), ..record };
        self.lock.check()?;
        self.write(&record).await?;
        self.tell(step, &record, Duration::ZERO)?;
        Ok(outcome == Outcome::Done)
    }

    async fn skip(&mut self, step: &Step<'_>, host_name: &str, note: &str) -> Result<(), Error> {
        let host = self.host(host_name)?;
        self.lock.check()?;
        let now = host.now().await?.1;
        let record = self.record(step, &host, Outcome::Skipped);
        let record = Record { started: now.clone(), finished: now, note: note.to_owned(), ..record };
        self.write(&record).await?;
        self.tell(step, &record, Duration::ZERO)
    }

    fn latest(&self, step: &Step<'_>, host: &str) -> Option<Record> {
        self.state.trace(&step.migration.key, host)?.latest(step.direction, step.number).cloned()
    }

    /// A row for the statement, with the next number.
    fn record(&self, step: &Step<'_>, host: &Host, outcome: Outcome) -> Record {
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.name.clone()).collect();
        let scope = Scope { folder: self.folder, state: &self.state, hosts: &hosts, target: self.target };
        Record {
            seq: self.state.next_seq(),
            file: step.file(),
            outcome,
            actor: self.actor.clone(),
            ..scope.record(step.migration, step.direction, (step.number, step.statement), &host.name)
        }
    }

    /// The row that takes the place of one that said "sent".
    async fn followed_by(&self, sent: &Record, host: &Host, outcome: Outcome) -> Result<Record, Error> {
        let finished = host.now().await?.1;
        Ok(Record { seq: self.state.next_seq(), outcome, finished, replaces: sent.seq, ..sent.clone() })
    }

    async fn followed(&mut self, sent: &Record, host: &Host, outcome: Outcome) -> Result<Record, Error> {
        let record = self.followed_by(sent, host, outcome).await?;
        self.lock.check()?;
        self.write(&record).await?;
        Ok(record)
    }

    async fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.journal.write(record).await?;
        self.state.add(record);
        Ok(())
    }

    fn tell(&mut self, step: &Step<'_>, record: &Record, took: Duration) -> Result<(), Error> {
        let event = Event {
            file: step.file(),
            statement: step.number,
            host: record.host.clone(),
            outcome: record.outcome,
            note: record.note.clone(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        (self.observer)(&event);
        self.events.push(event);
        Ok(())
    }
}

/// Whether the error alone says that nothing was carried out: the server did not understand, or was not reached.
fn had_no_effect(error: &clickhouse::Error, step: &Step<'_>) -> bool {
    let is_data = matches!(step.statement.reading.effect, Effect::Insert(_));
    error.surely_not_executed()
        || (error.exception().is_some()
            && error.class() == Class::Stop
            && !is_data
            && !error.is_from_a_view())
}
