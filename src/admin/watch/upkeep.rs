//! What is left to do about tables, counted for metrics: migrations, erasures, holds, rows past their age.
//!
//! Refuses to do any of it, and to leave a count that cannot be taken any more: what is not known is not told. Where
//! another process leads, it is left to that one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Config, keys};
use crate::admin::desk::Desk;
use crate::admin::desks::Files;
use crate::admin::erase::{Eraser, Stage, Standing as Erasures};
use crate::admin::lifecycle::{Lifecycles, Plan};
use crate::admin::migrate::{Migrator, Standing, Status};
use crate::kafka::leader::{self, Candidate};
use crate::telemetry::metrics::METRICS;

const MIGRATIONS: &str = "migrations";
const ERASURES: &str = "erasures";
const HOLDS: &str = "holds";
const LIFECYCLE: &str = "lifecycle";

/// What is looked at, and by whom.
pub struct Setup<'a> {
    pub config: &'a Config,
    pub desk: Desk,
    pub files: Files,
    pub migrator: Migrator,
    /// The file of the key ring.
    pub ring: Option<PathBuf>,
    /// This process among those of which one leads; none where every process looks.
    pub candidate: Option<Arc<Candidate>>,
}

pub struct Upkeep {
    config: Config,
    desk: Desk,
    files: Files,
    migrator: Migrator,
    ring: Option<PathBuf>,
    candidate: Option<Arc<Candidate>>,
    /// What could not be looked at the last time.
    unknown: Mutex<BTreeSet<&'static str>>,
}

impl Upkeep {
    pub fn new(setup: Setup<'_>) -> Upkeep {
        let Setup { config, desk, files, migrator, ring, candidate } = setup;
        let unknown = Mutex::default();
        Upkeep { config: config.clone(), desk, files, migrator, ring, candidate, unknown }
    }

    /// Looks again and again, until it is to end.
    pub async fn run(self, stop: CancellationToken) {
        let ages = keys::tell_ages(self.ring.clone(), self.config.interval.0);
        let looking = async { tokio::join!(Box::pin(self.often()), Box::pin(self.seldom()), ages) };
        stop.run_until_cancelled(looking).await;
    }

    fn is_mine(&self) -> bool {
        let standing = self.candidate.as_ref().map(|candidate| candidate.standing());
        // Where nobody can lead, each looks: what is left to do does not wait for Kafka.
        standing.is_none_or(|standing| standing != leader::Standing::Following)
    }

    /// What a few rows tell.
    async fn often(&self) {
        loop {
            match self.is_mine() {
                true => self.look().await,
                false => [MIGRATIONS, ERASURES, HOLDS].into_iter().for_each(forget),
            }
            tokio::time::sleep(self.config.interval.0).await;
        }
    }

    async fn look(&self) {
        let longest = self.config.timeout.0;
        if let Some(status) = self.within(MIGRATIONS, longest, self.migrator.status()).await {
            tell_migrations(&status);
        }
        let of_holds = Lifecycles::new(self.desk.clone(), &self.files.lifecycle, Vec::new());
        let Ok(lifecycles) = of_holds else { return };
        if let Some(holds) = self.within(HOLDS, longest, lifecycles.holds()).await {
            set(&METRICS.upkeep.holds, &[], holds.len() as u64);
        }
        let eraser = Eraser::new(lifecycles);
        if let Some(erasures) = self.within(ERASURES, longest, eraser.standing()).await {
            tell_erasures(&erasures);
        }
    }

    /// What more is read for.
    async fn seldom(&self) {
        let interval = self.config.lifecycle_interval.0;
        let (mut looked, mut told): (Option<Instant>, _) = (None, BTreeSet::new());
        while !interval.is_zero() {
            if !self.is_mine() {
                forget(LIFECYCLE);
                looked = None;
            } else if looked.is_none_or(|at| at.elapsed() >= interval) {
                looked = Some(Instant::now());
                let plan = async { self.files.lifecycles(self.desk.clone())?.plan(&[]).await };
                let longest = interval.max(self.config.timeout.0);
                if let Some(plan) = self.within(LIFECYCLE, longest, plan).await {
                    tell_lifecycle(&plan, &mut told);
                }
            }
            tokio::time::sleep(self.config.interval.0.min(interval)).await;
        }
    }

    /// What was seen, unless it cannot be: then what was known of it is forgotten, and why is said once.
    async fn within<T, E: std::fmt::Display>(
        &self,
        what: &'static str,
        longest: Duration,
        look: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let why = match timeout(longest, look).await {
            Ok(Ok(seen)) => {
                self.unknown.lock().remove(what);
                let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default();
                set(&METRICS.upkeep.looked, &[what], now);
                return Some(seen);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {longest:?}"),
        };
        forget(what);
        if self.unknown.lock().insert(what) {
            tracing::info!(what, why, "what is left to do cannot be counted");
        }
        None
    }
}

fn set(gauge: &IntGaugeVec, labels: &[&str], value: u64) {
    gauge.with_label_values(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Takes away every series about this.
fn forget(what: &'static str) {
    let all = &METRICS.upkeep;
    let gauges: &[&IntGaugeVec] = match what {
        MIGRATIONS => &[&all.migrations, &all.migrations_altered, &all.migrations_running],
        ERASURES => &[&all.erasures, &all.oldest_erasure],
        HOLDS => &[&all.holds],
        _ => &[&all.ttl_drift, &all.expired_rows, &all.expired_bytes, &all.droppable_bytes, &all.held_bytes],
    };
    gauges.iter().for_each(|gauge| gauge.reset());
    // A series that was never made cannot be removed, which is as well.
    let _ = all.looked.remove_label_values(&[what]);
}

fn tell_migrations(status: &Status) {
    let metrics = &METRICS.upkeep;
    for standing in Standing::ALL {
        let count = status.migrations.iter().filter(|one| one.standing == standing).count();
        set(&metrics.migrations, &[standing.name()], count as u64);
    }
    let changed = status.migrations.iter().filter(|one| one.changed).count();
    set(&metrics.migrations_altered, &[], (changed + status.missing.len()) as u64);
    set(&metrics.migrations_running, &[], u64::from(status.holder.is_some()));
}

fn tell_erasures(erasures: &Erasures) {
    let metrics = &METRICS.upkeep;
    let Erasures { received, deleted, verified, oldest_open_s } = *erasures;
    for (stage, count) in
        [(Stage::Received, received), (Stage::Deleted, deleted), (Stage::Verified, verified)]
    {
        set(&metrics.erasures, &[stage.name()], count);
    }
    set(&metrics.oldest_erasure, &[], oldest_open_s);
}

/// `told` are the tables that were told before.
fn tell_lifecycle(plan: &Plan, told: &mut BTreeSet<String>) {
    let metrics = &METRICS.upkeep;
    let by_table =
        [&metrics.expired_rows, &metrics.expired_bytes, &metrics.droppable_bytes, &metrics.held_bytes];
    let there: BTreeSet<String> =
        plan.tables.iter().filter(|one| one.exists).map(|one| one.table.name.clone()).collect();
    // A gap in the others would look to Prometheus as if nothing were left of them.
    for gone in told.difference(&there) {
        for gauge in by_table {
            let _ = gauge.remove_label_values(&[gone]);
        }
    }
    *told = there;
    let drift = plan.tables.iter().filter(|one| !one.exists || !one.statements.is_empty());
    set(&metrics.ttl_drift, &[], drift.count() as u64);
    for table in plan.tables.iter().filter(|one| one.exists) {
        let (over, label) = (table.over(), &[table.table.name.as_str()]);
        set(&metrics.expired_rows, label, over.rows);
        set(&metrics.expired_bytes, label, over.bytes);
        set(&metrics.droppable_bytes, label, over.droppable_bytes);
        set(&metrics.held_bytes, label, over.held_bytes);
    }
}
