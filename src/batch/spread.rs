//! Over how many of the table's partition keys a batch is spread, and the same rows ordered by key.
//!
//! Refuses to know ClickHouse's functions but for those that people partition by; of any other expression it
//! says nothing. Each key of an insert becomes a part of its own, and the server refuses an insert with too
//! many. Times are taken in UTC: where the table's zone is another, a key here can stand for two there, which
//! is why the limit (`batch.partition_keys_max`) is half of the server's.

use std::hash::Hash;
use std::ops::Range;

use ahash::AHashMap;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, make_array};
use arrow_data::transform::MutableArrayData;
use arrow_schema::{ArrowError, DataType};

use super::buffer::Sealed;
use super::provenance::Slot;
use crate::columns::WIRE_TYPE;
use crate::record::Offset;

const SECONDS_PER_DAY: i64 = 86_400;

/// A table's `PARTITION BY`, as far as it is understood: a column, or a date function of one, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionBy(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    unit: Unit,
    column: String,
}

/// What of the column makes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Value,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

const FUNCTIONS: [(&str, Unit); 9] = [
    ("toYYYYMM", Unit::Month),
    ("toYYYYMMDD", Unit::Day),
    ("toDate", Unit::Day),
    ("toStartOfMonth", Unit::Month),
    ("toStartOfDay", Unit::Day),
    ("toStartOfHour", Unit::Hour),
    ("toYear", Unit::Year),
    ("toStartOfYear", Unit::Year),
    ("toMonday", Unit::Week),
];

/// The rows of one partition key, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Tells the keys of one batch apart; in order of appearance.
    pub key: u32,
    pub rows: Vec<u32>,
}

/// A batch whose rows are ordered so that each piece touches few keys.
#[derive(Debug)]
pub struct Spread {
    pub batch: RecordBatch,
    /// The row in the original batch of each row.
    pub rows: Vec<u32>,
    /// Where each piece ends.
    pub ends: Vec<usize>,
}

impl PartitionBy {
    /// Understands `column`, `f(column)`, and tuples of those. `None` for what it does not know.
    pub fn parse(text: &str) -> Option<PartitionBy> {
        let text = text.trim();
        let inner = text.strip_prefix("tuple").unwrap_or(text).trim_start();
        let inner = inner.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text).trim();
        if inner.is_empty() {
            return Some(PartitionBy(Vec::new()));
        }
        inner.split(',').map(term).collect::<Option<Vec<_>>>().map(PartitionBy)
    }

    /// How many keys the batch touches. `None` when a column is missing or of a type that makes no key here.
    pub fn keys(&self, batch: &RecordBatch) -> Option<usize> {
        let keys = self.numbers(batch)?;
        // Keys are numbered in order of appearance.
        Some(keys.iter().max().map_or(0, |key| *key as usize + 1))
    }

    /// A number for each row that tells its key from those of the other rows.
    fn numbers(&self, batch: &RecordBatch) -> Option<Vec<u32>> {
        let mut keys: Vec<u32> = vec![0; batch.num_rows()];
        for term in &self.0 {
            let array = batch.column_by_name(&term.column)?;
            let wire = batch.schema().field_with_name(&term.column).ok()?.metadata().get(WIRE_TYPE).cloned();
            let own = term.unit.numbers(array, wire.as_deref().unwrap_or_default())?;
            keys = dense(keys.into_iter().zip(own));
        }
        Some(keys)
    }
}

fn term(text: &str) -> Option<Term> {
    let text = text.trim();
    let (unit, column) = match text.split_once('(') {
        None => (Unit::Value, text),
        Some((function, rest)) => {
            let unit = FUNCTIONS.iter().find(|(name, _)| *name == function.trim())?.1;
            (unit, rest.strip_suffix(')')?.trim())
        }
    };
    let quoted = column.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    let column = quoted.unwrap_or(column);
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let is_name = !column.is_empty() && column.chars().all(plain) && !column.starts_with(char::is_numeric);
    is_name.then(|| Term { unit, column: column.to_owned() })
}

impl Unit {
    fn numbers(self, array: &ArrayRef, wire: &str) -> Option<Vec<u32>> {
        if self == Unit::Value {
            return values(array);
        }
        let wire = wire.strip_prefix("Nullable(").unwrap_or(wire);
        let ticks = integers(array)?;
        let seconds: i64 = match wire.split(['(', ')']).next()? {
            "Date" | "Date32" => SECONDS_PER_DAY,
            "DateTime" => 1,
            "DateTime64" => {
                let scale = wire.split(['(', ',', ')']).nth(1)?.trim().parse().ok()?;
                let per_second = 10_i64.checked_pow(scale)?;
                return Some(dense(ticks.map(|t| t.map(|t| self.of_seconds(t.div_euclid(per_second))))));
            }
            _ => return None,
        };
        Some(dense(ticks.map(|t| t.map(|t| self.of_seconds(t.saturating_mul(seconds))))))
    }

    fn of_seconds(self, seconds: i64) -> i64 {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        match self {
            Unit::Value => seconds,
            Unit::Hour => seconds.div_euclid(3600),
            Unit::Day => days,
            // The first day of 1970 was a Thursday.
            Unit::Week => (days + 3).div_euclid(7),
            Unit::Month => month(days),
            Unit::Year => month(days).div_euclid(12),
        }
    }
}

/// Months from year 0 to the day with this number, counted from 1970-01-01, in the Gregorian calendar.
fn month(days: i64) -> i64 {
    // Years that begin in March have their leap day at the end; eras of 400 years are all alike.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let months_since_march = (5 * day + 2) / 153;
    (era * 400 + year) * 12 + months_since_march + 2
}

/// Numbers the values in order of appearance.
fn dense<T: Hash + Eq + Copy>(values: impl Iterator<Item = T>) -> Vec<u32> {
    let mut known: AHashMap<T, u32> = AHashMap::new();
    let mut last: Option<(T, u32)> = None;
    let number = |value: T| {
        // Neighbours are mostly alike.
        if let Some((before, number)) = last
            && before == value
        {
            return number;
        }
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let number = *known.entry(value).or_insert(next);
        last = Some((value, number));
        number
    };
    values.map(number).collect()
}

fn values(array: &ArrayRef) -> Option<Vec<u32>> {
    match array.data_type() {
        DataType::Utf8 => Some(dense(array.as_string::<i32>().iter())),
        DataType::FixedSizeBinary(_) => Some(dense(array.as_fixed_size_binary().iter())),
        _ => integers(array).map(dense),
    }
}

fn integers(array: &ArrayRef) -> Option<Box<dyn Iterator<Item = Option<i64>> + '_>> {
    macro_rules! widened {
        ($($data_type:ident => $primitive:ty),*) => {
            match array.data_type() {
                $(DataType::$data_type => {
                    Box::new(array.as_primitive::<$primitive>().iter().map(|value| value.map(i64::from)))
                })*
                // Which value it is does not matter, only which are equal.
                DataType::UInt64 => Box::new(
                    array.as_primitive::<UInt64Type>().iter().map(|value| value.map(u64::cast_signed)),
                ),
                _ => return None,
            }
        };
    }
    Some(widened!(
        Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
        UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type
    ))
}

/// The batch's rows by partition key, in order of appearance; `None` when its keys are not understood.
pub fn groups(batch: &RecordBatch, by: &PartitionBy) -> Option<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for (row, key) in (0..).zip(by.numbers(batch)?) {
        if groups.len() <= key as usize {
            groups.push(Group { key, rows: Vec::new() });
        }
        if let Some(group) = groups.get_mut(key as usize) {
            group.rows.push(row);
        }
    }
    Some(groups)
}

/// The batch reordered into pieces of at most `keys_max` keys each. The same batch always gives the same.
pub fn pieces(batch: &RecordBatch, by: &PartitionBy, keys_max: usize) -> Result<Option<Spread>, ArrowError> {
    let Some(groups) = groups(batch, by) else { return Ok(None) };
    let (mut rows, mut ends): (Vec<u32>, Vec<usize>) = (Vec::new(), Vec::new());
    for piece in groups.chunks(keys_max.max(1)) {
        let mut of_piece: Vec<u32> = piece.iter().flat_map(|group| group.rows.iter().copied()).collect();
        of_piece.sort_unstable();
        rows.extend(of_piece);
        ends.push(rows.len());
    }
    Ok(Some(Spread { batch: take(batch, &rows)?, rows, ends }))
}

impl Sealed {
    /// Orders the rows of its batch into pieces of at most `keys_max` partition keys each, and gives where each ends;
    /// `None` when they have no more than that already. Must be called before anything of the batch is sent, for
    /// afterwards it never changes (invariant I3).
    pub fn spread(
        &mut self,
        batch: &RecordBatch,
        by: &PartitionBy,
        keys_max: usize,
    ) -> Result<Option<(RecordBatch, Vec<usize>)>, ArrowError> {
        let Some(spread) = pieces(batch, by, keys_max)?.filter(|spread| 1 < spread.ends.len()) else {
            return Ok(None);
        };
        self.order = Some(spread.rows);
        Ok(Some((spread.batch, spread.ends)))
    }

    /// Whether the rows were ordered by partition key.
    pub fn is_spread(&self) -> bool {
        self.order.is_some()
    }

    /// The record that became this row.
    pub fn locate(&self, row: usize) -> Option<(Slot, Offset)> {
        let row = match &self.order {
            Some(order) => *order.get(row)? as usize,
            None => row,
        };
        self.provenance.locate(row)
    }
}

fn take(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch, ArrowError> {
    let runs = runs(rows);
    let column = |array: &ArrayRef| {
        let data = array.to_data();
        let mut taken = MutableArrayData::new(vec![&data], false, rows.len());
        for run in &runs {
            taken.try_extend(0, run.start, run.end)?;
        }
        Ok(make_array(taken.freeze()))
    };
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>, ArrowError>>()?;
    RecordBatch::try_new(batch.schema(), columns)
}

/// Rows that follow each other as ranges.
fn runs(rows: &[u32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in rows.iter().map(|row| *row as usize) {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray, UInt16Array, UInt32Array};
    use arrow_schema::{Field, Schema};
    use chrono::{DateTime, Datelike as _};
    use proptest::prelude::*;

    use super::*;

    fn batch(columns: Vec<(&str, &str, ArrayRef)>) -> RecordBatch {
        let field = |(name, wire, array): &(&str, &str, ArrayRef)| {
            let metadata = HashMap::from([(WIRE_TYPE.to_owned(), (*wire).to_owned())]);
            Field::new(*name, array.data_type().clone(), true).with_metadata(metadata)
        };
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|c| c.2).collect()).unwrap()
    }

    fn sample() -> RecordBatch {
        let hour = 3600;
        batch(vec![
            ("d", "Date", Arc::new(UInt16Array::from(vec![0, 30, 31, 365, 0]))),
            ("t", "DateTime('UTC')", Arc::new(UInt32Array::from(vec![0, hour - 1, hour, 86_400, 0]))),
            (
                "m",
                "Nullable(DateTime64(3))",
                Arc::new(Int64Array::from(vec![Some(-1), Some(0), Some(86_399_999), None, None])),
            ),
            ("s", "String", Arc::new(StringArray::from(vec!["a", "b", "a", "c", ""]))),
            ("f", "Float64", Arc::new(arrow_array::Float64Array::from(vec![0.0; 5]))),
        ])
    }

    #[test]
    fn common_expressions_are_understood() {
        let keys = |text: &str| PartitionBy::parse(text).and_then(|by| by.keys(&sample()));
        let cases = [
            ("tuple()", Some(1)),
            ("", Some(1)),
            ("toYYYYMM(d)", Some(3)),
            ("toYear( d )", Some(2)),
            ("d", Some(4)),
            ("toMonday(d)", Some(3)),
            ("toStartOfHour(t)", Some(3)),
            ("toDate(t)", Some(2)),
            ("toYYYYMMDD(`m`)", Some(3)),
            ("s", Some(4)),
            ("(toDate(t), s)", Some(4)),
            ("tuple(toYYYYMM(d), toDate(t))", Some(3)),
            ("f", None),
            ("toYYYYMM(s)", None),
            ("none", None),
            ("cityHash64(s) % 8", None),
            ("toYYYYMM(d + 1)", None),
            ("7", None),
        ];
        for (text, expected) in cases {
            assert_eq!(keys(text), expected, "{text}");
        }
    }

    #[test]
    fn pieces_hold_every_row_once_and_few_keys() {
        let by = PartitionBy::parse("s").unwrap();
        let spread = pieces(&sample(), &by, 2).unwrap().unwrap();
        assert_eq!((spread.rows.as_slice(), spread.ends.as_slice()), (&[0, 1, 2, 3, 4][..], &[3, 5][..]));
        let by = PartitionBy::parse("toYYYYMM(d)").unwrap();
        let spread = pieces(&sample(), &by, 1).unwrap().unwrap();
        assert_eq!((spread.rows.as_slice(), spread.ends.as_slice()), (&[0, 1, 4, 2, 3][..], &[3, 4, 5][..]));
        assert_eq!(
            spread.batch.column(3).as_string::<i32>(),
            &StringArray::from(vec!["a", "b", "", "a", "c"])
        );
        assert!(spread.batch.column(2).is_null(2) && spread.batch.column(2).is_null(4));
        assert_eq!(spread.batch.schema(), sample().schema());
    }

    proptest! {
        #[test]
        fn months_are_those_of_the_calendar(days in -200_000i64..200_000) {
            let date = DateTime::from_timestamp(days * SECONDS_PER_DAY, 0).unwrap();
            prop_assert_eq!(month(days), i64::from(date.year()) * 12 + i64::from(date.month0()));
        }

        #[test]
        fn groups_part_the_rows(keys in prop::collection::vec(0u32..40, 0..200), keys_max in 1usize..50) {
            let numbers: ArrayRef = Arc::new(UInt32Array::from(keys.clone()));
            let batch = batch(vec![("k", "UInt32", numbers)]);
            let by = PartitionBy::parse("k").unwrap();
            let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
            prop_assert_eq!(by.keys(&batch), Some(distinct.len()));
            let groups = groups(&batch, &by).unwrap();
            prop_assert_eq!(groups.len(), distinct.len());
            let spread = pieces(&batch, &by, keys_max).unwrap().unwrap();
            let mut all = spread.rows.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..).take(keys.len()).collect::<Vec<u32>>());
            let mut start = 0;
            for end in spread.ends {
                let piece = spread.batch.slice(start, end - start);
                prop_assert!(by.keys(&piece).unwrap() <= keys_max);
                start = end;
            }
            prop_assert_eq!(start, keys.len());
        }
    }
}
