//! Rates, quantiles and times to catch up, from two snapshots of the same process.
//!
//! Refuses to know clocks and processes: two snapshots in, numbers out. A counter that went back began anew; what cannot
//! be known is left out, and nothing is ever infinite or no number.

use std::collections::BTreeMap;

use crate::telemetry::summary::{Buckets, Snapshot};

/// Shorter spans say more about the clock than about the line.
const SPAN_MIN_S: f64 = 0.2;
const QUANTILE: f64 = 0.99;
/// Longer times to catch up are as good as none.
const CATCH_UP_MAX_S: f64 = 30.0 * 86_400.0;
/// From here on a stage is what the others wait for.
const BOTTLENECK_MIN: f64 = 0.6;

/// What happened between two snapshots, of one process or of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub in_records_per_s: f64,
    pub in_bytes_per_s: f64,
    pub out_rows_per_s: f64,
    pub dead_letters_per_s: f64,
    pub tables: BTreeMap<String, TableRates>,
    pub e2e: Buckets,
    pub stages: BTreeMap<String, Busy>,
    pub flushes: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableRates {
    pub rows_per_s: f64,
    pub batches: u64,
    pub batch_rows: f64,
    pub insert: Buckets,
}

/// Seconds that a stage worked, of those that it had.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Busy {
    pub busy_s: f64,
    pub had_s: f64,
}

/// Seconds from one to the other, by the clock of the process; none if it is another process or no time.
pub fn span_s(before: &Snapshot, after: &Snapshot) -> Option<f64> {
    let span_s = after.at_ms.saturating_sub(before.at_ms) as f64 / 1000.0;
    (before.started_ms == after.started_ms && SPAN_MIN_S <= span_s).then_some(span_s)
}

/// What happened between two looks at the same process.
pub fn between(before: &Snapshot, after: &Snapshot) -> Option<Rates> {
    let span_s = span_s(before, after)?;
    let per_s = |count: u64| count as f64 / span_s;
    let mut rates = Rates { e2e: since(&before.e2e, &after.e2e), ..Rates::default() };
    for (name, topic) in &after.topics {
        let old = before.topics.get(name).cloned().unwrap_or_default();
        rates.in_records_per_s += per_s(more(old.records, topic.records));
        rates.in_bytes_per_s += per_s(more(old.bytes, topic.bytes));
        rates.dead_letters_per_s += per_s(more(old.dead_letters, topic.dead_letters));
    }
    for (name, table) in &after.tables {
        let old = before.tables.get(name).cloned().unwrap_or_default();
        let rows_per_s = per_s(more(old.rows, table.rows));
        rates.out_rows_per_s += rows_per_s;
        let batches = more(old.batches, table.batches);
        let batch_rows = more_s(old.batch_rows, table.batch_rows);
        let insert = since(&old.insert, &table.insert);
        rates.tables.insert(name.clone(), TableRates { rows_per_s, batches, batch_rows, insert });
        for (trigger, count) in &table.flushes {
            let old = old.flushes.get(trigger).copied().unwrap_or(0);
            *rates.flushes.entry(trigger.clone()).or_default() += more(old, *count);
        }
    }
    for (name, stage) in &after.stages {
        let old = before.stages.get(name).cloned().unwrap_or_default();
        let busy = Busy { busy_s: more_s(old.busy_s, stage.busy_s), had_s: span_s * stage.workers.max(0.0) };
        rates.stages.insert(name.clone(), busy);
    }
    Some(rates)
}

impl Rates {
    /// Adds what another process did.
    pub fn add(&mut self, other: &Rates) {
        self.in_records_per_s += other.in_records_per_s;
        self.in_bytes_per_s += other.in_bytes_per_s;
        self.out_rows_per_s += other.out_rows_per_s;
        self.dead_letters_per_s += other.dead_letters_per_s;
        self.e2e.add(&other.e2e);
        for (name, table) in &other.tables {
            let sum = self.tables.entry(name.clone()).or_default();
            sum.rows_per_s += table.rows_per_s;
            sum.batches += table.batches;
            sum.batch_rows += table.batch_rows;
            sum.insert.add(&table.insert);
        }
        for (name, stage) in &other.stages {
            let sum = self.stages.entry(name.clone()).or_default();
            sum.busy_s += stage.busy_s;
            sum.had_s += stage.had_s;
        }
        for (trigger, count) in &other.flushes {
            *self.flushes.entry(trigger.clone()).or_default() += count;
        }
    }

    /// Each trigger's part of all flushes; the most frequent first.
    pub fn flush_ratios(&self) -> Vec<(String, f64)> {
        let all: u64 = self.flushes.values().sum();
        let counted = self.flushes.iter().filter(|(_, count)| 0 < **count);
        let mut ratios: Vec<_> =
            counted.map(|(trigger, count)| (trigger.clone(), *count as f64 / all.max(1) as f64)).collect();
        ratios.sort_by(|a, b| b.1.total_cmp(&a.1));
        ratios
    }
}

impl TableRates {
    pub fn rows_per_batch(&self) -> Option<f64> {
        (0 < self.batches).then(|| self.batch_rows / self.batches as f64).filter(|rows| rows.is_finite())
    }
}

impl Busy {
    pub fn ratio(&self) -> Option<f64> {
        (0.0 < self.had_s).then(|| (self.busy_s / self.had_s).clamp(0.0, 1.0)).filter(|one| one.is_finite())
    }
}

/// The stage that works most, if it works so much that the others wait for it.
pub fn bottleneck<'s>(stages: impl Iterator<Item = (&'s str, Option<f64>)>) -> Option<&'s str> {
    let known = stages.filter_map(|(name, ratio)| Some((name, ratio?)));
    let most = known.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (BOTTLENECK_MIN <= most.1).then_some(most.0)
}

/// The value below which 99 of 100 lie; within a bucket as if they were spread evenly. Beyond the last bound that bound.
pub fn p99(buckets: &Buckets) -> Option<f64> {
    let all = *buckets.counts.last()?;
    if all == 0 {
        return None;
    }
    let rank = QUANTILE * all as f64;
    let (mut low, mut below) = (0.0, 0_u64);
    for (bound, count) in buckets.bounds.iter().zip(&buckets.counts) {
        if rank <= *count as f64 {
            let inside = count.saturating_sub(below).max(1) as f64;
            return Some(low + (bound - low) * ((rank - below as f64) / inside).clamp(0.0, 1.0));
        }
        (low, below) = (*bound, *count);
    }
    Some(low)
}

/// Seconds until nothing of a partition waits, if it goes on as between these looks at it.
pub fn catch_up_s(before: Option<u64>, now: Option<u64>, span_s: f64) -> Option<f64> {
    let now = now?;
    if now == 0 {
        return Some(0.0);
    }
    let less = before?.saturating_sub(now) as f64;
    let left_s = now as f64 * span_s / less;
    (left_s.is_finite() && left_s <= CATCH_UP_MAX_S).then_some(left_s)
}

/// What a counter has counted since; one that went back began at zero.
fn more(before: u64, after: u64) -> u64 {
    after.checked_sub(before).unwrap_or(after)
}

fn more_s(before: f64, after: f64) -> f64 {
    let more = if before <= after { after - before } else { after };
    if more.is_finite() { more.max(0.0) } else { 0.0 }
}

/// A histogram of what came since.
fn since(before: &Buckets, after: &Buckets) -> Buckets {
    let is_same = before.bounds == after.bounds && before.counts.len() == after.counts.len();
    let went_back = before.counts.iter().zip(&after.counts).any(|(before, after)| after < before);
    if !is_same || went_back {
        return after.clone();
    }
    let counts = before.counts.iter().zip(&after.counts).map(|(before, after)| after - before).collect();
    Buckets { bounds: after.bounds.clone(), counts }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::summary::{Stage, Table, Topic};

    /// A process that has counted this much by then.
    pub fn at(second: i64, records: u64, rows: u64) -> Snapshot {
        let topic = Topic { records, bytes: records * 100, ..Topic::default() };
        let flushes = [("rows".to_owned(), rows / 10), ("age".to_owned(), 0)].into();
        let insert = Buckets { bounds: vec![0.1, 1.0], counts: vec![rows / 20, rows / 10, rows / 10] };
        let table =
            Table { rows, batches: rows / 10, batch_rows: rows as f64, insert, flushes, ..Table::default() };
        Snapshot {
            at_ms: second * 1000,
            started_ms: 1,
            state: "running".to_owned(),
            is_live: true,
            topics: [("t".to_owned(), topic)].into(),
            tables: [("d".to_owned(), table)].into(),
            stages: [("insert".to_owned(), Stage { busy_s: second as f64 * 1.5, workers: 2.0 })].into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn what_was_counted_between_two_looks_becomes_rates() {
        let rates = between(&at(10, 1000, 500), &at(15, 2000, 1000)).unwrap();
        assert_eq!(
            (rates.in_records_per_s, rates.in_bytes_per_s, rates.out_rows_per_s),
            (200.0, 20_000.0, 100.0)
        );
        assert_eq!(rates.tables["d"].rows_per_batch(), Some(10.0));
        assert_eq!(rates.stages["insert"].ratio(), Some(0.75));
        assert_eq!(rates.flush_ratios(), [("rows".to_owned(), 1.0)]);
        let mut both = rates.clone();
        both.add(&rates);
        assert_eq!((both.out_rows_per_s, both.stages["insert"].ratio()), (200.0, Some(0.75)));
        assert_eq!(
            bottleneck([("decode", Some(0.4)), ("insert", Some(0.75)), ("commit", None)].into_iter()),
            Some("insert")
        );
        assert_eq!(bottleneck([("decode", Some(0.4))].into_iter()), None);
    }

    #[test]
    fn a_process_that_began_anew_is_not_compared_and_a_counter_that_went_back_began_at_zero() {
        let restarted = Snapshot { started_ms: 2, ..at(15, 10, 5) };
        assert_eq!(between(&at(10, 1000, 500), &restarted), None);
        assert_eq!(between(&at(10, 1000, 500), &at(10, 1000, 500)), None, "no time has passed");
        let back = between(&at(10, 1000, 500), &at(20, 100, 50)).unwrap();
        assert_eq!((back.in_records_per_s, back.out_rows_per_s), (10.0, 5.0));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let of = |counts: &[u64]| p99(&Buckets { bounds: vec![1.0, 2.0, 4.0], counts: counts.to_vec() });
        assert_eq!(of(&[0, 0, 0, 0]), None);
        assert_eq!(of(&[100, 100, 100, 100]), Some(0.99));
        assert_eq!(of(&[0, 100, 100, 100]), Some(1.99));
        assert_eq!(of(&[0, 0, 0, 100]), Some(4.0), "beyond the last bound");
        assert_eq!(p99(&Buckets::default()), None);
    }

    #[test]
    fn a_backlog_that_does_not_get_less_has_no_end() {
        assert_eq!(catch_up_s(Some(1000), Some(900), 10.0), Some(90.0));
        assert_eq!(catch_up_s(Some(900), Some(900), 10.0), None);
        assert_eq!(catch_up_s(Some(800), Some(900), 10.0), None);
        assert_eq!(catch_up_s(None, Some(900), 10.0), None);
        assert_eq!(catch_up_s(None, Some(0), 10.0), Some(0.0));
        assert_eq!(catch_up_s(Some(u64::MAX), Some(u64::MAX - 1), 10.0), None, "in no time that matters");
    }

    proptest! {
        #[test]
        fn no_number_is_infinite_negative_or_none(
            times in any::<(i64, i64)>(),
            counts in any::<(u64, u64, u64, u64)>(),
            floats in any::<(f64, f64, f64)>(),
            buckets in proptest::collection::vec(any::<u64>(), 0..5),
        ) {
            let make = |at_ms, records, rows, busy_s| {
                let mut snapshot = at(0, records % (1 << 40), rows % (1 << 40));
                snapshot.at_ms = at_ms;
                snapshot.stages.insert("insert".to_owned(), Stage { busy_s, workers: floats.2 });
                snapshot.e2e = Buckets { bounds: vec![0.1, 1.0], counts: buckets.clone() };
                snapshot
            };
            let (before, after) = (make(times.0, counts.0, counts.1, floats.0), make(times.1, counts.2, counts.3, floats.1));
            if let Some(rates) = between(&before, &after) {
                for rate in [rates.in_records_per_s, rates.in_bytes_per_s, rates.out_rows_per_s, rates.dead_letters_per_s] {
                    prop_assert!(rate.is_finite() && 0.0 <= rate, "{rates:?}");
                }
                for stage in rates.stages.values().filter_map(Busy::ratio) {
                    prop_assert!((0.0..=1.0).contains(&stage));
                }
                prop_assert!(rates.flush_ratios().iter().all(|(_, ratio)| (0.0..=1.0).contains(ratio)));
                prop_assert!(p99(&rates.e2e).is_none_or(f64::is_finite));
            }
            let left = catch_up_s(Some(counts.0), Some(counts.1), floats.0.abs());
            prop_assert!(left.is_none_or(|left| left.is_finite() && 0.0 <= left));
        }
    }
}
