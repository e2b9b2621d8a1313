//! What an audit found, by topic, partition and hour, for people and for programs.
//!
//! Refuses to grow with the topic: hours and findings are bounded, and what is left out is counted.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::Serialize;

use super::ledger::{Counts, Fault, Finding, Hour, Verdicts, join};
use crate::record::TopicPartition;

/// Hours told apart for one partition; timestamps come from producers and may be anything.
const HOURS_MAX: usize = 20_000;
/// Findings kept; the counts go on.
const FINDINGS_MAX: usize = 1_000;

/// One hour of one partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub table: String,
    pub topic: String,
    pub partition: i32,
    /// Hour of the Kafka timestamps, in UTC; `None` for offsets of which no timestamp is known.
    pub hour: Option<String>,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Offsets that are not as they must be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    pub table: String,
    pub topic: String,
    pub partition: i32,
    pub fault: Fault,
    /// First and last offset.
    pub first: i64,
    pub last: i64,
    /// Missing or surplus rows, or missing letters.
    pub count: u64,
    pub hour: Option<String>,
    pub sentence: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub complete: bool,
    pub rows: Vec<Row>,
    pub total: Counts,
    pub findings: Vec<Named>,
    /// Findings beyond those that are named.
    pub findings_left_out: u64,
    /// What the reader must know to understand the figures.
    pub notes: Vec<String>,
    /// Rows may come twice after a fault, by the level of delivery.
    #[serde(skip)]
    pub doubles_allowed: bool,
}

/// What is known of one partition so far.
#[derive(Debug, Default)]
pub struct Partial {
    hours: BTreeMap<Hour, Counts>,
    findings: Vec<Finding>,
    left_out: u64,
}

impl Partial {
    pub fn add(&mut self, verdicts: Verdicts) {
        for (hour, counts) in verdicts.hours {
            let is_known = self.hours.contains_key(&hour) || self.hours.len() < HOURS_MAX;
            self.hours.entry(if is_known { hour } else { None }).or_default().add(&counts);
        }
        for finding in verdicts.findings {
            if join(&mut self.findings, &finding) {
                continue;
            }
            match self.findings.len() < FINDINGS_MAX {
                true => self.findings.push(finding),
                false => self.left_out += 1,
            }
        }
    }

    /// Counts offsets of which no timestamp is known.
    pub fn add_untimed(&mut self, counts: &Counts) {
        self.hours.entry(None).or_default().add(counts);
    }
}

impl Report {
    pub fn new(doubles_allowed: bool) -> Report {
        Report { doubles_allowed, ..Report::default() }
    }

    /// Takes over what was found of one partition.
    pub fn add(&mut self, table: &str, source: &TopicPartition, partial: Partial) {
        for (hour, counts) in partial.hours {
            self.total.add(&counts);
            self.rows.push(Row {
                table: table.to_owned(),
                topic: source.topic.to_string(),
                partition: source.partition.0,
                hour: hour_text(hour),
                counts,
            });
        }
        self.findings_left_out += partial.left_out;
        for finding in partial.findings {
            if FINDINGS_MAX <= self.findings.len() {
                self.findings_left_out += 1;
                continue;
            }
            self.findings.push(Named {
                table: table.to_owned(),
                topic: source.topic.to_string(),
                partition: source.partition.0,
                fault: finding.fault,
                first: finding.range.first.0,
                last: finding.range.next.0.saturating_sub(1),
                count: finding.count,
                hour: hour_text(finding.hour),
                sentence: sentence(source, &finding, self.doubles_allowed),
            });
        }
    }

    /// To be called after the last partition.
    pub fn close(&mut self) {
        self.complete = self.total.is_complete();
    }

    /// What the figures come to, in one sentence.
    pub fn verdict(&self) -> String {
        let total = &self.total;
        if total.is_complete() {
            return format!(
                "complete: each of {} offsets is accounted for, {} of them are rows",
                total.offsets(),
                total.rows_expected
            );
        }
        let mut parts = Vec::new();
        for (count, what) in [
            (total.missing_rows, "rows are missing"),
            (total.missing_letters, "rejected records have neither a dead letter nor a row"),
            (total.surplus_rows, "rows are there beyond what is expected"),
        ] {
            if 0 < count {
                parts.push(format!("{count} {what}"));
            }
        }
        format!("not complete: {}", parts.join(", "))
    }
}

/// `2026-03-14T09:00Z`; hours that no calendar has are written as they are.
fn hour_text(hour: Hour) -> Option<String> {
    let hour = hour?;
    let time = hour.checked_mul(3600).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    Some(time.map_or_else(|| format!("hour {hour}"), |time| time.format("%Y-%m-%dT%H:00Z").to_string()))
}

fn sentence(source: &TopicPartition, finding: &Finding, doubles_allowed: bool) -> String {
    let (range, count) = (&finding.range, finding.count);
    let last = range.next.0.saturating_sub(1);
    let offsets = match range.first.0 == last {
        true => format!("offset {last}"),
        false => format!("offsets {} to {last}", range.first),
    };
    let what = match finding.fault {
        Fault::MissingRow => "no row and no dead letter".to_owned(),
        Fault::MissingLetter => "rejected, but there is neither a dead letter nor a row".to_owned(),
        Fault::Doubled if doubles_allowed => {
            format!("{count} rows too many: doubled, at_least_once allows it after a fault")
        }
        Fault::Doubled => format!("{count} rows too many: doubled"),
        Fault::RowAndLetter => format!("{count} rows, and a dead letter too"),
        Fault::RowOfNothing => format!("{count} rows, but there is no record that they could come from"),
    };
    format!("{source} {offsets}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, OffsetRange, Partition};

    fn finding(fault: Fault, first: i64, next: i64) -> Finding {
        let range = OffsetRange { first: Offset(first), next: Offset(next) };
        Finding { fault, range, count: range.next.0.abs_diff(first), hour: Some(492_000) }
    }

    #[test]
    fn findings_go_on_over_chunks_and_are_bounded() {
        let mut partial = Partial::default();
        let mut add = |findings: Vec<Finding>| partial.add(Verdicts { findings, ..Verdicts::default() });
        add(vec![finding(Fault::MissingRow, 5, 10)]);
        add(vec![finding(Fault::MissingRow, 10, 12), finding(Fault::Doubled, 20, 21)]);
        add((0..2_000).map(|n| finding(Fault::Doubled, 100 + 2 * n, 101 + 2 * n)).collect());
        let mut report = Report::new(true);
        let source = TopicPartition { topic: "t".into(), partition: Partition(3) };
        report.add("events", &source, partial);
        assert_eq!((report.findings.len(), report.findings_left_out), (1_000, 1_002));
        let first = &report.findings[0];
        assert_eq!((first.first, first.last, first.count), (5, 11, 7));
        assert_eq!(first.sentence, "t/3 offsets 5 to 11: no row and no dead letter");
        assert_eq!(first.hour.as_deref(), Some("2026-02-16T00:00Z"));
        assert!(report.findings[1].sentence.ends_with("at_least_once allows it after a fault"));
    }

    #[test]
    fn timestamps_that_are_nonsense_do_not_fill_the_memory() {
        let mut partial = Partial::default();
        let counts = Counts { records: 1, rows_expected: 1, ..Counts::default() };
        for hour in 0..25_000 {
            let hour = Some(hour * 1_000_000);
            partial.add(Verdicts { hours: BTreeMap::from([(hour, counts)]), ..Verdicts::default() });
        }
        let mut report = Report::new(false);
        let source = TopicPartition { topic: "t".into(), partition: Partition(0) };
        report.add("events", &source, partial);
        report.close();
        assert_eq!((report.rows.len(), report.total.records), (HOURS_MAX + 1, 25_000));
        assert!(report.complete && report.verdict().starts_with("complete: each of 25000 offsets"));
        assert!(report.rows.iter().any(|row| row.hour.as_deref().is_some_and(|h| h.starts_with("hour "))));
    }
}
