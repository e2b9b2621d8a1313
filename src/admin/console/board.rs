//! Everything that is known of the line, and the summary that is made of it.
//!
//! Refuses to ask anybody: answers are handed in with the time. Bounded: so many pods, a quarter of an hour of history, a
//! hundred events. A pod that is gone stays for ten minutes, grey, and then goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

use super::assemble;
use super::problems::{Checked, PodView, Recent, View, problems};
use super::rates::{Rates, between};
use super::summary::{Backups, Event, JobLine, Level, Point, Problem, Summary, Totals};
use super::timeline::{Look, PodLook, changes};
use super::verdict::judge;
use crate::telemetry::summary::Snapshot;

/// Processes that are known at a time.
pub const PODS_MAX: usize = 200;
/// A pod that does not answer stays for so long.
const GONE_MAX_S: f64 = 600.0;
/// One that only is slow counts as there for so long.
const SLOW_MAX_S: f64 = 2.5;
/// One that no name leads to any more is asked for so long.
const UNRESOLVED_ASKED_S: f64 = 60.0;
/// Looks that are kept of each pod, so far apart; rates are taken over one step or two, quantiles over all.
const KEPT_MAX: usize = 6;
const KEPT_STEP_S: f64 = 5.0;
const HISTORY_S: f64 = 900.0;
const HISTORY_STEP_S: f64 = 4.5;
const TIMELINE_MAX: usize = 100;
const LETTERS_MAX: usize = 2000;

/// What stands beside the line: jobs, backups, checks of servers.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    pub jobs: Vec<JobLine>,
    pub newest_verified_at: Option<DateTime<Utc>>,
    /// Of backups.
    pub policies: Vec<String>,
    pub checks: Vec<Checked>,
}

/// Why a pod gave no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Nobody is there, in contrast to somebody slow.
    pub is_gone: bool,
    pub why: String,
}

/// What is said of the installation whatever happens.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub name: String,
    pub read_only: bool,
    /// For orders to the line.
    pub has_key: bool,
    pub runbook_url: Option<String>,
    pub is_configured: bool,
}

/// One process.
#[derive(Default)]
pub(super) struct Known {
    pub latest: Option<Arc<Snapshot>>,
    /// Oldest first, the latest not among them.
    kept: VecDeque<Arc<Snapshot>>,
    answered_at: Option<DateTime<Utc>>,
    asked_at: DateTime<Utc>,
    since: DateTime<Utc>,
    pub reachable: bool,
    resolved: bool,
    fault: String,
}

/// The state of the console.
#[derive(Default)]
pub struct Board {
    pub(super) said: Said,
    pub(super) pods: BTreeMap<String, Known>,
    lookups: Vec<(String, String)>,
    pub(super) beside: Beside,
    history: VecDeque<(DateTime<Utc>, Point)>,
    timeline: VecDeque<Event>,
    /// When each problem was first seen.
    since: BTreeMap<String, DateTime<Utc>>,
    level: Option<(Level, DateTime<Utc>)>,
    look: Option<Look>,
    letters: VecDeque<(DateTime<Utc>, String, String, u64)>,
}

impl Board {
    pub fn new(said: Said) -> Board {
        Board { said, ..Board::default() }
    }

    /// Where the names lead now, and which lead nowhere.
    pub fn resolved(
        &mut self,
        addresses: &BTreeSet<String>,
        faults: Vec<(String, String)>,
        now: DateTime<Utc>,
    ) {
        self.lookups = faults;
        for (address, pod) in &mut self.pods {
            pod.resolved = addresses.contains(address);
        }
        for address in addresses {
            if self.pods.len() < PODS_MAX && !self.pods.contains_key(address) {
                let pod = Known { resolved: true, since: now, asked_at: now, ..Known::default() };
                self.pods.insert(address.clone(), pod);
            }
        }
    }

    /// Whom to ask now: where names lead, and for a while whoever was there before.
    pub fn asked(&self, now: DateTime<Utc>) -> Vec<String> {
        let is_asked = |pod: &Known| {
            pod.resolved || seconds(pod.answered_at.unwrap_or(pod.since), now) < UNRESOLVED_ASKED_S
        };
        self.pods.iter().filter(|(_, pod)| is_asked(pod)).map(|(address, _)| address.clone()).collect()
    }

    /// What a pod answered, or why it did not.
    pub fn heard(&mut self, address: &str, answer: Result<Snapshot, Silence>, now: DateTime<Utc>) {
        let Some(pod) = self.pods.get_mut(address) else { return };
        pod.asked_at = now;
        match answer {
            Ok(snapshot) => {
                let before = pod.latest.clone();
                pod.take(snapshot, now);
                if let (Some(before), Some(after)) = (before, pod.latest.clone()) {
                    self.count_letters(&before, &after, now);
                }
            }
            Err(Silence { is_gone, why }) => {
                let silent_s = pod.answered_at.map_or(f64::INFINITY, |at| seconds(at, now));
                pod.reachable = pod.reachable && !is_gone && silent_s < SLOW_MAX_S;
                pod.fault = why;
            }
        }
    }

    pub fn beside(&mut self, beside: Beside) {
        self.beside = beside;
    }

    /// How everything is now, and what changed since the last time.
    pub fn summary(&mut self, now: DateTime<Utc>) -> Summary {
        self.pods
            .retain(|_, pod| pod.resolved || seconds(pod.answered_at.unwrap_or(pod.since), now) < GONE_MAX_S);
        self.letters.retain(|(at, ..)| seconds(*at, now) < HISTORY_S);
        let rates = self.rates();
        let totals = assemble::totals(self, &rates);
        let partitions = assemble::partitions(self);
        let partitions_total = self.reachable().map(|(_, _, snapshot)| snapshot.partitions_total).sum();
        let age_s = self.beside.newest_verified_at.map(|at| seconds(at, now));
        let newest_verified_at = self.beside.newest_verified_at.map(stamp);
        let view = View {
            is_configured: self.said.is_configured,
            pods: self.pods.iter().map(|(address, pod)| pod.view(address, now)).collect(),
            lookups: &self.lookups,
            totals: totals.clone(),
            partitions: partitions.clone(),
            checks: &self.beside.checks,
            letters: self.recent_letters(),
            backups: Backups { newest_verified_at, age_s, policies: self.beside.policies.clone() },
        };
        let problems = problems(&view);
        let mut verdict = judge(&view, &problems);
        let backups = view.backups;
        let mut summary = Summary {
            at: stamp(now),
            name: self.said.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            read_only: self.said.read_only,
            control: self.said.has_key && self.reachable().any(|(_, _, snapshot)| snapshot.control),
            runbook_url: self.said.runbook_url.clone(),
            flow: assemble::flow(self, &rates),
            pods: assemble::pods(self, now),
            partitions,
            partitions_total,
            tables: assemble::tables(self, &rates),
            jobs: self.beside.jobs.clone(),
            backups,
            ..Summary::default()
        };
        self.date(&mut summary, problems, now);
        let level = self.level.filter(|(level, _)| *level == verdict.level).unwrap_or((verdict.level, now));
        self.level = Some(level);
        verdict.since = stamp(level.1);
        summary.verdict = verdict;
        self.remember(&mut summary, &totals, now);
        summary
    }

    /// Since when each problem has been; of those that went nothing stays.
    fn date(&mut self, summary: &mut Summary, problems: Vec<Problem>, now: DateTime<Utc>) {
        let before = std::mem::take(&mut self.since);
        summary.problems = problems;
        for problem in &mut summary.problems {
            let since = before.get(&problem.id).copied().unwrap_or(now);
            problem.since = stamp(since);
            self.since.insert(problem.id.clone(), since);
        }
    }

    fn remember(&mut self, summary: &mut Summary, totals: &Totals, now: DateTime<Utc>) {
        if self.history.back().is_none_or(|(at, _)| HISTORY_STEP_S <= seconds(*at, now)) {
            let point = Point {
                at: stamp(now),
                records_per_s: totals.in_records_per_s,
                rows_per_s: totals.out_rows_per_s,
                p99_s: totals.e2e_p99_s,
                lag_s: totals.lag_s,
            };
            self.history.push_back((now, point));
        }
        while self.history.front().is_some_and(|(at, _)| HISTORY_S < seconds(*at, now)) {
            self.history.pop_front();
        }
        let looks = self.pods.iter().filter_map(|(address, pod)| {
            Some((address.clone(), PodLook::of(pod.latest.as_deref()?, pod.reachable)))
        });
        let look = Look::of(summary, looks.collect());
        // What is there at the first look is no news.
        if let Some(before) = &self.look {
            for (kind, sentence) in changes(before, &look).into_iter().rev() {
                self.timeline.push_front(Event { at: stamp(now), kind: kind.to_owned(), sentence });
            }
            self.timeline.truncate(TIMELINE_MAX);
        }
        self.look = Some(look);
        summary.history = self.history.iter().map(|(_, point)| point.clone()).collect();
        summary.timeline = self.timeline.iter().cloned().collect();
        summary.totals =
            Totals { freshness_good_ratio: assemble::freshness(&summary.history), ..totals.clone() };
    }

    /// Those that answer, by address.
    pub(super) fn reachable(&self) -> impl Iterator<Item = (&str, &Known, &Snapshot)> {
        let all = self.pods.iter().filter(|(_, pod)| pod.reachable);
        all.filter_map(|(address, pod)| Some((address.as_str(), pod, pod.latest.as_deref()?)))
    }

    /// What all of them did lately; over a longer time for quantiles. None before anybody was looked at twice.
    fn rates(&self) -> Option<(Rates, Rates)> {
        let mut sums: Option<(Rates, Rates)> = None;
        for (_, pod, _) in self.reachable() {
            let (Some(short), Some(long)) = (pod.rates(), pod.long_rates()) else { continue };
            let (short_sum, long_sum) = sums.get_or_insert_default();
            short_sum.add(&short);
            long_sum.add(&long);
        }
        sums
    }

    fn count_letters(&mut self, before: &Snapshot, after: &Snapshot, now: DateTime<Utc>) {
        if before.started_ms != after.started_ms {
            return;
        }
        for (name, topic) in &after.topics {
            let old = before.topics.get(name);
            for (reason, count) in &topic.reasons {
                let old = old.and_then(|old| old.reasons.get(reason)).copied().unwrap_or(0);
                let more = count.saturating_sub(old);
                if 0 < more {
                    self.letters.push_back((now, name.clone(), reason.clone(), more));
                }
            }
        }
        while LETTERS_MAX < self.letters.len() {
            self.letters.pop_front();
        }
    }

    fn recent_letters(&self) -> Vec<Recent> {
        let mut topics: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for (_, topic, reason, count) in &self.letters {
            *topics.entry(topic).or_default().entry(reason).or_default() += count;
        }
        let recent = |(topic, reasons): (&str, BTreeMap<&str, u64>)| Recent {
            topic: topic.to_owned(),
            count: reasons.values().sum(),
            reason: reasons
                .iter()
                .max_by_key(|(_, count)| **count)
                .map_or("", |(reason, _)| reason)
                .to_owned(),
        };
        topics.into_iter().map(recent).collect()
    }
}

impl Known {
    fn take(&mut self, snapshot: Snapshot, now: DateTime<Utc>) {
        (self.answered_at, self.reachable) = (Some(now), true);
        self.fault.clear();
        if self.latest.as_ref().is_some_and(|latest| latest.started_ms != snapshot.started_ms) {
            self.kept.clear();
            self.latest = None;
        }
        let step_ms = KEPT_STEP_S * 1000.0;
        let is_apart = |kept: &Arc<Snapshot>, latest: &Arc<Snapshot>| {
            step_ms <= latest.at_ms.saturating_sub(kept.at_ms) as f64
        };
        if let Some(latest) = self.latest.take()
            && self.kept.back().is_none_or(|kept| is_apart(kept, &latest))
        {
            self.kept.push_back(latest);
            if KEPT_MAX < self.kept.len() {
                self.kept.pop_front();
            }
        }
        self.latest = Some(Arc::new(snapshot));
    }

    /// The look that the latest is compared with: the newest that is a step away, or else the oldest.
    pub fn base(&self) -> Option<&Snapshot> {
        let latest = self.latest.as_ref()?;
        let step_ms = KEPT_STEP_S * 900.0;
        let apart = |kept: &&Arc<Snapshot>| step_ms <= latest.at_ms.saturating_sub(kept.at_ms) as f64;
        self.kept.iter().rev().find(apart).or(self.kept.front()).map(Arc::as_ref)
    }

    pub fn rates(&self) -> Option<Rates> {
        between(self.base()?, self.latest.as_deref()?)
    }

    fn long_rates(&self) -> Option<Rates> {
        between(self.kept.front()?, self.latest.as_deref()?)
    }

    pub fn age_s(&self, now: DateTime<Utc>) -> Option<f64> {
        self.answered_at.map(|at| seconds(at, now))
    }

    fn view<'a>(&'a self, address: &'a str, now: DateTime<Utc>) -> PodView<'a> {
        PodView {
            address,
            snapshot: self.latest.as_deref(),
            reachable: self.reachable,
            resolved: self.resolved,
            silent_s: self.age_s(now),
            fault: &self.fault,
        }
    }
}

pub(super) fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds().max(0) as f64 / 1000.0
}

pub(super) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
