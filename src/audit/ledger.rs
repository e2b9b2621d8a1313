//! The account of a stretch of offsets: what each of them was, and what the table has for it.
//!
//! Refuses to ask anybody: it compares what was read with what was found. Every offset is exactly one of: a row,
//! left out by a rule, dead-lettered, no record at all; the counts of [`Counts`] add up to the stretch.

use std::collections::BTreeMap;

use serde::Serialize;

use super::offsets::{Offsets, Sums};
use crate::record::{Offset, OffsetRange};

/// Hours since 1970 of a Kafka timestamp; `None` where no record has one.
pub type Hour = Option<i64>;

/// What an offset is by Kafka and by the table file of today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kafka hands no record out: compacted, a marker, or of an aborted transaction.
    Absent,
    Row,
    Filtered,
    Rejected,
}

/// Neighbouring offsets with what they are.
#[derive(Clone, Debug)]
pub struct Chunk {
    first: i64,
    len: usize,
    entries: Vec<(Kind, Hour)>,
}

/// What holds for the topic as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Every dead letter that was ever published is still there.
    pub letters_complete: bool,
    /// Records may have been compacted away after their rows were written.
    pub compacted: bool,
}

/// How many offsets, or rows, of each sort. `rows_expected + filtered + dead_lettered + absent + deleted` is the
/// number of offsets looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records that Kafka handed out.
    pub records: u64,
    /// Offsets that must have a row.
    pub rows_expected: u64,
    pub rows_found: u64,
    /// Left out by rule: tombstones, and records of subjects that were erased later.
    pub filtered: u64,
    /// Rejected by the decoder, or refused by the server.
    pub dead_lettered: u64,
    /// Offsets without a record: compacted, markers, aborted transactions.
    pub absent: u64,
    /// Deleted by retention, with neither a row nor a dead letter that would tell what they were.
    pub deleted: u64,
    /// Offsets that must have a row and have none.
    pub missing_rows: u64,
    /// Rejected records with neither a dead letter nor a row.
    pub missing_letters: u64,
    /// Rows beyond the one that an offset may have.
    pub surplus_rows: u64,
    /// Rows of records that today's table file would not make a row of, or that are compacted away. Expected.
    pub rows_of_old: u64,
    /// Rejected records whose dead letters may have been deleted since.
    pub letters_unproven: u64,
}

/// One way in which table and topic differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    MissingRow,
    MissingLetter,
    /// More than one row.
    Doubled,
    /// A row and a dead letter.
    RowAndLetter,
    /// A row, though there is no record, or one without a value.
    RowOfNothing,
}

/// Neighbouring offsets with the same fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub fault: Fault,
    pub range: OffsetRange,
    /// Missing or surplus rows, or missing letters.
    pub count: u64,
    /// Of the first of them.
    pub hour: Hour,
}

/// What became of a chunk.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    pub hours: BTreeMap<Hour, Counts>,
    pub findings: Vec<Finding>,
}

/// Hours since 1970.
pub fn hour_of(timestamp_ms: Option<i64>) -> Hour {
    timestamp_ms.map(|ms| ms.div_euclid(3_600_000))
}

impl Chunk {
    /// An empty account of the range; ranges longer than the address space are cut.
    pub fn new(range: OffsetRange) -> Chunk {
        let len = usize::try_from(range.next.0.saturating_sub(range.first.0)).unwrap_or(0);
        Chunk { first: range.first.0, len, entries: Vec::with_capacity(len) }
    }

    pub fn range(&self) -> OffsetRange {
        let len = i64::try_from(self.len).unwrap_or(i64::MAX);
        OffsetRange { first: Offset(self.first), next: Offset(self.first.saturating_add(len)) }
    }

    /// Whether the offset comes after this chunk.
    pub fn ends_before(&self, offset: Offset) -> bool {
        self.range().next <= offset
    }

    /// The record at this offset. Offsets rise from call to call; those left out have no record. Whatever lies
    /// outside of the range is ignored.
    pub fn put(&mut self, offset: Offset, kind: Kind, hour: Hour) {
        let Ok(index) = usize::try_from(offset.0.saturating_sub(self.first)) else { return };
        if self.entries.len() <= index && index < self.len {
            // What lies before a record without one of its own is told with its hour.
            self.entries.resize(index, (Kind::Absent, hour));
            self.entries.push((kind, hour));
        }
    }

    /// No more records come; gives the hour of the last one.
    pub fn finish(&mut self, hour_before: Hour) -> Hour {
        let last = self.entries.last().map_or(hour_before, |(_, hour)| *hour);
        self.entries.resize(self.len, (Kind::Absent, last));
        last
    }

    fn offsets(&self) -> impl Iterator<Item = (Offset, Kind, Hour)> {
        (self.first..).zip(&self.entries).map(|(offset, (kind, hour))| (Offset(offset), *kind, *hour))
    }

    /// The sums that the table shows if it has each expected row once and nothing else.
    pub fn expected(&self, letters: &Offsets) -> Sums {
        let mut sums = Sums::default();
        for (offset, kind, _) in self.offsets() {
            if kind == Kind::Row && !letters.contains(offset) {
                sums.add(offset.0.abs_diff(self.first));
            }
        }
        sums
    }
}

/// The account of a chunk that is finished. `found` are the offsets in the table with their numbers of rows, in
/// order; `None` says that exactly the expected rows are there.
pub fn judge(chunk: &Chunk, letters: &Offsets, rules: Rules, found: Option<&[(Offset, u64)]>) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let mut found = found.map(|found| found.iter().peekable());
    for (offset, kind, hour) in chunk.offsets() {
        let has_letter = letters.contains(offset);
        let rows = match &mut found {
            None => u64::from(kind == Kind::Row && !has_letter),
            Some(found) => {
                while found.next_if(|(other, _)| *other < offset).is_some() {}
                found.next_if(|(other, _)| *other == offset).map_or(0, |(_, rows)| *rows)
            }
        };
        let counts = verdicts.hours.entry(hour).or_default();
        counts.records += u64::from(kind != Kind::Absent);
        counts.rows_found += rows;
        if let Some((fault, count)) = one(counts, kind, has_letter, rows, rules) {
            let range = OffsetRange { first: offset, next: offset.next() };
            let finding = Finding { fault, range, count, hour };
            if !join(&mut verdicts.findings, &finding) {
                verdicts.findings.push(finding);
            }
        }
    }
    verdicts
}

/// Counts one offset; gives what is wrong with it and how often.
fn one(counts: &mut Counts, kind: Kind, has_letter: bool, rows: u64, rules: Rules) -> Option<(Fault, u64)> {
    let surplus = |counts: &mut Counts, fault, count| {
        counts.surplus_rows += count;
        (0 < count).then_some((fault, count))
    };
    if has_letter {
        counts.dead_lettered += 1;
        return surplus(counts, Fault::RowAndLetter, rows);
    }
    match kind {
        Kind::Row if rows == 0 => {
            counts.rows_expected += 1;
            counts.missing_rows += 1;
            Some((Fault::MissingRow, 1))
        }
        Kind::Row => {
            counts.rows_expected += 1;
            surplus(counts, Fault::Doubled, rows - 1)
        }
        // It became a row under an earlier table file, or before it was compacted away.
        Kind::Rejected if 0 < rows => {
            counts.rows_expected += 1;
            counts.rows_of_old += 1;
            surplus(counts, Fault::Doubled, rows - 1)
        }
        Kind::Absent if 0 < rows && rules.compacted => {
            counts.rows_expected += 1;
            counts.rows_of_old += 1;
            surplus(counts, Fault::Doubled, rows - 1)
        }
        Kind::Rejected if rules.letters_complete => {
            counts.dead_lettered += 1;
            counts.missing_letters += 1;
            Some((Fault::MissingLetter, 1))
        }
        Kind::Rejected => {
            counts.dead_lettered += 1;
            counts.letters_unproven += 1;
            None
        }
        Kind::Filtered => {
            counts.filtered += 1;
            surplus(counts, Fault::RowOfNothing, rows)
        }
        Kind::Absent => {
            counts.absent += 1;
            surplus(counts, Fault::RowOfNothing, rows)
        }
    }
}

/// Makes the finding part of one that it goes on from; says whether there was one.
pub fn join(findings: &mut [Finding], later: &Finding) -> bool {
    // Faults of different sorts alternate where they are many, hence the look at the last few.
    let mut last = findings.iter_mut().rev().take(4);
    let found = last.find(|f| f.fault == later.fault && f.range.next == later.range.first);
    if let Some(found) = found {
        found.range.next = later.range.next;
        found.count += later.count;
        return true;
    }
    false
}

/// The account of offsets below the start of the log: what is not in the table or the dead letters any more
/// cannot be told apart. `sums` is what the table has for the range.
pub fn judge_deleted(range: OffsetRange, letters: &Offsets, sums: &Sums) -> Counts {
    let offsets = range.next.0.saturating_sub(range.first.0).max(0).unsigned_abs();
    let rows_expected = sums.distinct.min(offsets);
    let dead_lettered = letters.count_in(range).min(offsets - rows_expected);
    Counts {
        rows_expected,
        rows_found: sums.rows,
        dead_lettered,
        deleted: offsets - rows_expected - dead_lettered,
        surplus_rows: sums.rows.saturating_sub(sums.distinct),
        ..Counts::default()
    }
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.records += other.records;
        self.rows_expected += other.rows_expected;
        self.rows_found += other.rows_found;
        self.filtered += other.filtered;
        self.dead_lettered += other.dead_lettered;
        self.absent += other.absent;
        self.deleted += other.deleted;
        self.missing_rows += other.missing_rows;
        self.missing_letters += other.missing_letters;
        self.surplus_rows += other.surplus_rows;
        self.rows_of_old += other.rows_of_old;
        self.letters_unproven += other.letters_unproven;
    }

    /// Whether everything is where it belongs.
    pub fn is_complete(&self) -> bool {
        self.missing_rows == 0 && self.missing_letters == 0 && self.surplus_rows == 0
    }

    /// The offsets looked at.
    pub fn offsets(&self) -> u64 {
        self.rows_expected + self.filtered + self.dead_lettered + self.absent + self.deleted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { letters_complete: true, compacted: false };

    fn range(first: i64, next: i64) -> OffsetRange {
        OffsetRange { first: Offset(first), next: Offset(next) }
    }

    fn letters(offsets: &[i64]) -> Offsets {
        let mut all = Offsets::default();
        offsets.iter().for_each(|offset| all.insert(Offset(*offset)));
        all.seal();
        all
    }

    /// Rows at 10, 11, 14; a tombstone at 12; a rejected record at 15; nothing at 13, 16 and 17.
    fn chunk() -> Chunk {
        let mut chunk = Chunk::new(range(10, 18));
        for (offset, kind, hour) in [
            (10, Kind::Row, 1),
            (11, Kind::Row, 1),
            (12, Kind::Filtered, 1),
            (14, Kind::Row, 2),
            (15, Kind::Rejected, 2),
        ] {
            chunk.put(Offset(offset), kind, Some(hour));
        }
        assert_eq!(chunk.finish(None), Some(2));
        chunk
    }

    fn found(rows: &[(i64, u64)]) -> Vec<(Offset, u64)> {
        rows.iter().map(|(offset, rows)| (Offset(*offset), *rows)).collect()
    }

    fn total(verdicts: &Verdicts) -> Counts {
        verdicts.hours.values().fold(Counts::default(), |mut all, one| {
            all.add(one);
            all
        })
    }

    #[test]
    fn every_offset_is_accounted_for_by_hour() {
        let verdicts = judge(&chunk(), &letters(&[15]), RULES, None);
        assert!(verdicts.findings.is_empty());
        let of = |hour| verdicts.hours[&Some(hour)];
        let first = Counts { records: 3, rows_expected: 2, rows_found: 2, filtered: 1, ..Counts::default() };
        let second = Counts {
            records: 2,
            rows_expected: 1,
            rows_found: 1,
            dead_lettered: 1,
            absent: 3,
            ..Counts::default()
        };
        assert_eq!((of(1), of(2)), (first, second));
    }

    #[test]
    fn each_fault_is_named_with_its_offsets() {
        let finding = |fault, first, next, count, hour| Finding {
            fault,
            range: range(first, next),
            count,
            hour: Some(hour),
        };
        let cases = [
            (vec![(14, 1)], vec![15], vec![finding(Fault::MissingRow, 10, 12, 2, 1)]),
            (vec![(10, 1), (11, 3), (14, 1)], vec![15], vec![finding(Fault::Doubled, 11, 12, 2, 1)]),
            (vec![(10, 1), (11, 1), (14, 1)], vec![], vec![finding(Fault::MissingLetter, 15, 16, 1, 2)]),
            (
                vec![(10, 1), (11, 1), (14, 1), (15, 1)],
                vec![15],
                vec![finding(Fault::RowAndLetter, 15, 16, 1, 2)],
            ),
            (
                vec![(10, 1), (11, 1), (12, 1), (13, 2), (14, 1)],
                vec![15],
                vec![finding(Fault::RowOfNothing, 12, 14, 3, 1)],
            ),
            // Refused by the server, and rejected today but a row of an earlier table file.
            (vec![(10, 1), (14, 1), (15, 1)], vec![11], vec![]),
        ];
        for (rows, with_letters, expected) in cases {
            let verdicts = judge(&chunk(), &letters(&with_letters), RULES, Some(&found(&rows)));
            assert_eq!(verdicts.findings, expected, "{rows:?} {with_letters:?}");
            assert_eq!(total(&verdicts).is_complete(), expected.is_empty());
        }
    }

    #[test]
    fn what_can_not_be_proven_is_no_fault() {
        let lenient = Rules { letters_complete: false, compacted: true };
        let rows = found(&[(10, 1), (11, 1), (13, 1), (14, 1)]);
        let verdicts = judge(&chunk(), &letters(&[]), lenient, Some(&rows));
        let all = total(&verdicts);
        assert!(all.is_complete() && verdicts.findings.is_empty());
        assert_eq!((all.letters_unproven, all.rows_of_old, all.absent), (1, 1, 2));
        let sums = Sums { rows: 5, distinct: 4, ..Sums::default() };
        let gone = judge_deleted(range(0, 10), &letters(&[3, 12]), &sums);
        assert_eq!((gone.rows_expected, gone.dead_lettered, gone.deleted, gone.surplus_rows), (4, 1, 5, 1));
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            4 => Just(Kind::Row),
            1 => Just(Kind::Absent),
            1 => Just(Kind::Filtered),
            1 => Just(Kind::Rejected),
        ]
    }

    proptest! {
        /// Whatever is read and found: every offset is counted once, every row is explained, the findings hold
        /// exactly what the counts do, and sums agree exactly when there is nothing to be told of the table.
        #[test]
        fn nothing_is_counted_twice_or_not_at_all(
            entries in prop::collection::vec((kind(), any::<bool>(), 0u64..3), 1..60),
            letters_complete: bool,
            compacted: bool,
        ) {
            let rules = Rules { letters_complete, compacted };
            let first = 1_000;
            let mut chunk = Chunk::new(range(first, first + entries.len() as i64));
            let (mut with_letters, mut rows) = (Offsets::default(), Vec::new());
            let mut in_table = Sums::default();
            for (offset, (kind, letter, copies)) in (first..).zip(&entries) {
                if *kind != Kind::Absent {
                    chunk.put(Offset(offset), *kind, Some(offset / 7));
                    if *letter && *kind == Kind::Rejected {
                        with_letters.insert(Offset(offset));
                    }
                }
                if 0 < *copies {
                    rows.push((Offset(offset), *copies));
                    in_table.add(offset.abs_diff(first));
                }
            }
            in_table.rows = rows.iter().map(|(_, copies)| copies).sum();
            with_letters.seal();
            chunk.finish(None);
            let verdicts = judge(&chunk, &with_letters, rules, Some(&rows));
            let all = total(&verdicts);
            prop_assert_eq!(all.offsets(), entries.len() as u64);
            prop_assert_eq!(all.rows_found, in_table.rows);
            prop_assert_eq!(all.rows_found + all.missing_rows, all.rows_expected + all.surplus_rows);
            let count = |faults: &[Fault]| -> u64 {
                verdicts.findings.iter().filter(|f| faults.contains(&f.fault)).map(|f| f.count).sum()
            };
            prop_assert_eq!(count(&[Fault::MissingRow]), all.missing_rows);
            prop_assert_eq!(count(&[Fault::MissingLetter]), all.missing_letters);
            prop_assert_eq!(
                count(&[Fault::Doubled, Fault::RowAndLetter, Fault::RowOfNothing]),
                all.surplus_rows
            );
            let as_expected = chunk.expected(&with_letters) == in_table;
            prop_assert_eq!(as_expected, all.missing_rows == 0 && all.surplus_rows == 0 && all.rows_of_old == 0);
            if as_expected {
                prop_assert_eq!(total(&judge(&chunk, &with_letters, rules, None)), all);
            }
        }
    }
}
