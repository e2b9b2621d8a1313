//! The model of a table that every later stage works from.
//!
//! Refuses to know how it was written down (YAML, JSON Schema) and how it is sent. A model that was
//! built by `load` holds: column names are unique, every column that may be absent has a default or is
//! nullable, and every constraint fits its column's type.

use std::sync::Arc;

use chrono_tz::Tz;

use super::lifecycle::Lifecycle;
use super::protect::Protect;
use crate::crypt::Ring;

/// A table file, compiled.
#[derive(Debug)]
pub struct Table {
    /// `None` takes the connection's database.
    pub database: Option<String>,
    pub name: String,
    pub topics: Vec<String>,
    pub columns: Vec<Column>,
    pub unknown_fields: UnknownFields,
    pub tombstones: Tombstones,
    /// As in `ENGINE = …`, with its arguments.
    pub engine: String,
    /// Expressions, without the parentheses.
    pub order_by: Vec<String>,
    pub partition_by: Option<String>,
    /// `SETTINGS` of the table, in the order of the file.
    pub settings: Vec<(String, String)>,
    /// Columns whose value names a person.
    pub subject_columns: Vec<String>,
    /// What becomes of rows with age.
    pub lifecycle: Option<Lifecycle>,
    /// The part of a referenced JSON Schema that could not be compiled into columns and constraints.
    /// Evaluated on every record of this table.
    pub residual: Option<Arc<jsonschema::Validator>>,
    /// The keys for columns that need some, once somebody has put them in.
    pub keys: Option<Arc<Ring>>,
}

/// What happens to a field of the record that no column takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// Left out, and counted.
    Ignore,
    /// The record is rejected.
    Reject,
    /// All of them are kept as one JSON object in the column with this index, whose source is
    /// [`Source::Rest`].
    Keep { column: usize },
}

/// What happens to a record without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tombstones {
    /// It is rejected and so dead-lettered.
    Reject,
    /// It is filtered: counted, and its offset completes.
    Skip,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub ty: Type,
    pub source: Source,
    /// Used when the field is absent (and for null with [`Coercion::null_as_default`]).
    /// `None` in a column that is not nullable means that the field is required.
    pub default: Option<serde_json::Value>,
    /// Absent is a rejection even though the column could hold NULL.
    pub required: bool,
    pub constraints: Constraints,
    pub coercion: Coercion,
    pub time_format: TimeFormat,
    /// What becomes of the value before anybody sees it.
    pub protect: Option<Protect>,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Keys from the record's root object downward; never empty.
    Path(Vec<String>),
    Meta(Meta),
    /// The unknown fields, as one JSON object.
    Rest,
}

/// What Kafka knows about the record. Written `$topic`, `$partition`, `$offset`, `$timestamp`, `$key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
}

/// Rules beyond the type. All empty by default.
#[derive(Clone, Debug, Default)]
pub struct Constraints {
    /// The value must equal one of these.
    pub one_of: Vec<serde_json::Value>,
    /// Inclusive, as decimal text so that 256-bit bounds are exact.
    pub min: Option<String>,
    /// Inclusive.
    pub max: Option<String>,
    /// In Unicode scalar values for text, in elements for arrays and maps.
    pub length_min: Option<usize>,
    pub length_max: Option<usize>,
    pub pattern: Option<regex::Regex>,
    pub format: Option<Format>,
    /// Times further back than this before the reference (the record's timestamp, else now) are rejected.
    pub past_max: Option<std::time::Duration>,
    /// Times further ahead than this of the reference are rejected.
    pub future_max: Option<std::time::Duration>,
}

/// A textual format that a String column can demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Uuid,
    /// RFC 3339, section 5.6.
    DateTime,
    Date,
    Ipv4,
    Ipv6,
}

/// What may be turned into the column's type. All off is strict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coercion {
    /// `"12"` into a number, `"true"` into Bool.
    pub from_string: bool,
    /// `12` or `true` into String, as written.
    pub to_string: bool,
    /// `12.0` into an integer; a fraction that is not zero is rejected all the same.
    pub integral_float: bool,
    /// `0` and `1` into Bool.
    pub bool_from_number: bool,
    /// Digits finer than the column's precision are cut off (times, decimals).
    pub truncate: bool,
    /// Null takes the default in a column that is not nullable.
    pub null_as_default: bool,
}

/// How a time column's value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339, or `YYYY-MM-DD hh:mm:ss[.fraction]` in the column's zone (UTC without one).
    #[default]
    Iso,
    UnixSeconds,
    UnixMillis,
    UnixMicros,
    UnixNanos,
}

/// A ClickHouse type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Int(Int),
    Float32,
    Float64,
    /// `precision` 1 to 76, `scale` 0 to `precision`.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bool,
    String,
    FixedString(usize),
    Uuid,
    /// Days since 1970 in 16 bits: 1970-01-01 to 2149-06-06.
    Date,
    /// 1900-01-01 to 2299-12-31.
    Date32,
    /// Seconds in 32 bits: 1970-01-01 to 2106-02-07T06:28:15Z.
    DateTime {
        zone: Option<Tz>,
    },
    /// Ticks of 10^-precision seconds; 1900-01-01 to 2299-12-31 (to 2262-04-11 with precision 9).
    DateTime64 {
        precision: u8,
        zone: Option<Tz>,
    },
    Enum8(Vec<(String, i16)>),
    Enum16(Vec<(String, i16)>),
    Ipv4,
    Ipv6,
    Json,
    LowCardinality(Box<Type>),
    Nullable(Box<Type>),
    Array(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Field>),
    /// Becomes one array column per field, all of one length per row.
    Nested(Vec<Field>),
}

/// `Int8` to `Int256`, `UInt8` to `UInt256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// 8, 16, 32, 64, 128 or 256.
    pub bits: u16,
    pub signed: bool,
}

/// An element of a Tuple or Nested; only a Tuple's may be without a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: Option<String>,
    pub ty: Type,
}

impl Type {
    /// Whether NULL can be stored: `Nullable(T)` and `LowCardinality(Nullable(T))`.
    pub fn is_nullable(&self) -> bool {
        match self {
            Type::Nullable(_) => true,
            Type::LowCardinality(inner) => inner.is_nullable(),
            _ => false,
        }
    }

    /// The type without `Nullable` and `LowCardinality` around it.
    pub fn bare(&self) -> &Type {
        match self {
            Type::Nullable(inner) | Type::LowCardinality(inner) => inner.bare(),
            other => other,
        }
    }
}
