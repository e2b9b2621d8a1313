//! Turns a record's bytes into column values by the compiled table, validating in the same pass.
//!
//! Refuses to do I/O and to know where records come from or go. It never panics, whatever the bytes,
//! and a rejected record leaves no trace in the columns (invariant I6).

mod check;
mod erased;
mod fast;
mod fault;
mod fields;
pub mod json;
mod leaf;
mod nested;
mod number;
mod pattern;
mod plan;
mod protect;
pub mod reject;
mod swar;
mod text;
mod time;
mod value;
mod wide;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::Columns;
use crate::record::Record;
use crate::schema::Table;
use crate::schema::model::{Meta, Tombstones};
use crate::schema::subject::Erased;
use crate::units::ByteSize;

use erased::Lookout;
use fault::Fault;
use json::{Cursor, Keys};
use plan::Plan;
use protect::Protection;
use value::{Context, Unknown};

pub use reject::{Reason, Rejection};

/// Values nested deeper than this are refused unless configured otherwise.
const DEPTH_MAX_DEFAULT: usize = 128;

/// The deepest nesting that may be configured: each level takes a few hundred bytes of stack.
const DEPTH_MAX_LIMIT: usize = 1024;

/// A record may be half as large as a column at most, so that every record finds room in empty columns.
const RECORD_BYTES_LIMIT: u64 = 1 << 30;

/// How records are decoded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Records with a longer value (in bytes) are rejected; at most 1GiB.
    pub record_bytes_max: ByteSize,
    /// Records with objects and arrays nested deeper than this many levels are rejected; 1 to 1024.
    pub depth_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { record_bytes_max: ByteSize::mib(32), depth_max: DEPTH_MAX_DEFAULT }
    }
}

/// Why a table cannot be decoded into.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the default of column `{column}` does not fit its type ({rejection})\nhint: write it as a record's field would have it"
    )]
    Default { column: String, rejection: Box<Rejection> },
    #[error(
        "an allowed value of column `{column}` does not fit its type ({rejection})\nhint: write it as a record's field would have it"
    )]
    Allowed { column: String, rejection: Box<Rejection> },
    #[error(
        "a constraint does not fit column `{column}`: {problem}\nhint: take it away or change the column's type"
    )]
    Constraint { column: String, problem: &'static str },
    #[error("column `{column}` cannot be filled: {problem}\nhint: change its path or its type")]
    Source { column: String, problem: &'static str },
    #[error(
        "unknown fields can be kept in one column of type JSON or String only\nhint: let `unknown_fields` name that column, and no other have it as its source"
    )]
    Rest,
    #[error(
        "column `{column}` needs the key `{key}`, and no key ring is at hand\nhint: set crypt.keyring_file to the ring that has it"
    )]
    Keys { column: String, key: String },
    #[error("column `{column}` cannot be protected: {source}")]
    Key { column: String, source: Box<crate::crypt::Error> },
    #[error(
        "`record_bytes_max` is beyond 1GiB\nhint: the broker's own limit (message.max.bytes) is usually a few MiB"
    )]
    RecordBytes,
    #[error(
        "`depth_max` must be from 1 to {DEPTH_MAX_LIMIT}\nhint: leave it out to have {DEPTH_MAX_DEFAULT}"
    )]
    Depth,
}

/// What became of one record, and so of its offset.
#[derive(Debug)]
pub enum Verdict {
    /// A row was appended; the offset completes when the row's batch is written.
    Decoded,
    /// Left out by a rule that was asked for; the offset completes at once.
    Filtered,
    /// Nothing was appended; the offset completes when the dead letter is acknowledged.
    Rejected(Box<Rejection>),
}

/// Decodes the records of one table. One per thread: it learns the order of keys and reuses its buffers.
#[derive(Debug)]
pub struct Decoder {
    table: Arc<Table>,
    config: Config,
    plan: Plan,
    context: Context,
    unknown_fields: u64,
    lookout: Lookout,
    protection: Protection,
}

impl Decoder {
    /// # Errors
    /// See [`Error`]; also a table that hides values with keys that it does not have.
    pub fn new(table: Arc<Table>, config: &Config) -> Result<Self, Error> {
        let protection = Protection::new(&table)?;
        Ok(Decoder { protection, ..Decoder::judging(table, config)? })
    }

    /// For verdicts alone: it hides nothing and needs no keys, so its rows must not leave the process.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn judging(table: Arc<Table>, config: &Config) -> Result<Self, Error> {
        if config.record_bytes_max.0 > RECORD_BYTES_LIMIT {
            return Err(Error::RecordBytes);
        }
        if !(1..=DEPTH_MAX_LIMIT).contains(&config.depth_max) {
            return Err(Error::Depth);
        }
        let plan = Plan::new(&table)?;
        let context = Context {
            scratch: String::new(),
            keys: Keys::new(),
            rest: String::new(),
            ignored: 0,
            unknown: plan.unknown,
            reference_ms: 0,
        };
        Ok(Decoder {
            table,
            config: config.clone(),
            plan,
            context,
            unknown_fields: 0,
            lookout: Lookout::default(),
            protection: Protection::default(),
        })
    }

    /// The same without the fast ways, to compare the two: verdicts and rows must not differ.
    pub fn in_the_general_way(mut self) -> Self {
        self.plan.root.forget_fast_ways();
        self
    }

    /// From now on [`Decoder::takes_back`] looks for these.
    pub fn leave_out(&mut self, erased: &Arc<Erased>) {
        self.lookout = Lookout::new(&self.table, erased);
    }

    /// Takes the row that was decoded last back if its subject was erased after the record was published, in milliseconds
    /// since 1970; when that was is asked for only if it matters, and a record without a time is one of before.
    #[inline]
    pub fn takes_back(&mut self, columns: &mut Columns, published_ms: impl FnOnce() -> Option<i64>) -> bool {
        let Some(until) = self.lookout.until(columns) else { return false };
        let is_of_before = published_ms().is_none_or(|ms| ms <= until);
        if is_of_before {
            columns.truncate(columns.rows().saturating_sub(1));
        }
        is_of_before
    }

    /// The table whose rows it makes.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Empty columns that fit this decoder's table.
    pub fn columns(&self) -> Columns {
        Columns::new(&self.table)
    }

    /// Appends the record as one row, or nothing. Bounds of time are measured from the record's own
    /// timestamp, or from `now_ms` (milliseconds since 1970) if it has none.
    ///
    /// A rejection names the first fault in the order of the text, then of what is absent.
    /// `columns` must come from [`Decoder::columns`] of a decoder of the same table, and must not be full
    /// ([`Columns::is_full`]).
    pub fn decode(&mut self, record: &Record<'_>, now_ms: i64, columns: &mut Columns) -> Verdict {
        let Some(payload) = record.payload else { return self.tombstone() };
        self.context.reference_ms = record.timestamp_ms.unwrap_or(now_ms);
        let row = self.row(payload, record, columns);
        match row.and_then(|()| self.protection.apply(record, columns)) {
            Ok(()) => {
                columns.close_row();
                self.unknown_fields += self.context.ignored;
                Verdict::Decoded
            }
            Err(fault) => {
                columns.truncate(columns.rows());
                Verdict::Rejected(Box::new(fault.into_rejection()))
            }
        }
    }

    /// Unknown fields that were left out of decoded rows since the last call.
    pub fn take_unknown_fields(&mut self) -> u64 {
        std::mem::take(&mut self.unknown_fields)
    }

    fn tombstone(&self) -> Verdict {
        match self.table.tombstones {
            Tombstones::Skip => Verdict::Filtered,
            Tombstones::Reject => {
                let fault = Fault::new(Reason::Tombstone, "the record has no value");
                Verdict::Rejected(Box::new(fault.into_rejection()))
            }
        }
    }

    fn row(&mut self, payload: &[u8], record: &Record<'_>, columns: &mut Columns) -> fault::Result {
        let text = self.text(payload)?;
        let cx = &mut self.context;
        cx.keys.clear();
        cx.rest.clear();
        cx.ignored = 0;
        let mut cursor = Cursor::new(text, self.config.depth_max);
        if cursor.peek() != b'{' {
            return Err(not_an_object(&mut cursor));
        }
        self.plan.root.read(&mut cursor, cx, columns)?;
        cursor.end()?;
        for (meta, leaf) in &self.plan.meta {
            leaf.read_meta(*meta, record, cx, columns).map_err(|fault| fault.at_key(meta_name(*meta)))?;
        }
        if cx.unknown == Unknown::Keep {
            self.keep_rest(columns)?;
        }
        match &self.table.residual {
            Some(residual) => evaluate(residual, text),
            None => Ok(()),
        }
    }

    #[inline]
    fn text<'p>(&self, payload: &'p [u8]) -> fault::Result<&'p str> {
        if payload.is_empty() {
            return Err(Fault::new(Reason::Empty, "the record's value has no bytes"));
        }
        if payload.len() > self.config.record_bytes_max.as_usize() {
            let detail = format!("{} bytes are more than {}", payload.len(), self.config.record_bytes_max);
            return Err(Fault::new(Reason::TooLarge, detail));
        }
        simdutf8::basic::from_utf8(payload).map_err(|_| not_utf8(payload))
    }

    fn keep_rest(&mut self, columns: &mut Columns) -> fault::Result {
        let rest = &mut self.context.rest;
        rest.pop();
        rest.insert(0, '{');
        rest.push('}');
        let column = self.plan.rest.and_then(|column| columns.builder(column));
        let Some(crate::columns::builder::Builder::Text(column)) = column else {
            return Err(Fault::layout());
        };
        column.push(rest).map_err(|full| Fault::new(full.into(), "unknown fields find no room in the batch"))
    }
}

/// The fast check does not tell the place.
#[cold]
fn not_utf8(payload: &[u8]) -> Fault {
    let place = std::str::from_utf8(payload).map_or_else(|error| error.valid_up_to(), str::len);
    Fault::new(Reason::InvalidUtf8, format!("not UTF-8 from byte {place} on"))
}

/// Whether anything else is wrong with a record that does not begin as an object.
#[cold]
fn not_an_object(cursor: &mut Cursor<'_>) -> Fault {
    match cursor.skip(None).and_then(|()| cursor.end()) {
        Ok(()) => Fault::new(Reason::NotAnObject, "expected an object, found another value"),
        Err(fault) => fault,
    }
}

/// Evaluates what the compiled plan could not express.
fn evaluate(residual: &jsonschema::Validator, text: &str) -> fault::Result {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| {
        Fault::new(
            Reason::SchemaViolation,
            "the record cannot be held as a value tree to evaluate its schema",
        )
    })?;
    let Some(error) = residual.iter_errors(&value).next() else { return Ok(()) };
    let place = error.instance_path().to_string();
    let detail = format!("the schema's rule {} does not hold", error.schema_path());
    Err(place.split('/').skip(1).collect::<Vec<_>>().iter().rev().fold(
        Fault::new(Reason::SchemaViolation, detail),
        |fault, step| match step.parse::<usize>() {
            Ok(index) => fault.at_index(index),
            Err(_) => fault.at_key(&step.replace("~1", "/").replace("~0", "~")),
        },
    ))
}

fn meta_name(meta: Meta) -> &'static str {
    match meta {
        Meta::Topic => "$topic",
        Meta::Partition => "$partition",
        Meta::Offset => "$offset",
        Meta::Timestamp => "$timestamp",
        Meta::Key => "$key",
    }
}

#[cfg(test)]
mod tests;
