//! The table file as people write it: its keys, their types and their documentation.
//!
//! Refuses to judge what stands there beyond its form. Every key is optional here, even those that the
//! published schema demands, so that one missing key does not hide the faults in the others.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::lifecycle::LifecycleFile;
use super::model::{Coercion, Format, Meta, TimeFormat, Tombstones};
use crate::units::Span;

/// One table: where its records come from, its columns, and how it is stored.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TableFile {
    /// Name of the table in ClickHouse.
    #[schemars(required)]
    pub table: Option<String>,
    /// Database of the table. Left out: the connection's database.
    pub database: Option<String>,
    /// Kafka topics whose records become rows. A name that starts with `^` is a regular expression.
    #[schemars(required, length(min = 1))]
    pub topics: Option<Vec<String>>,
    /// The columns, in the order of the table. May be left out with `json_schema`.
    #[schemars(length(max = 10000))]
    pub columns: Option<Vec<ColumnFile>>,
    /// A JSON Schema document (draft 2020-12 or 07) whose properties become columns; its path is
    /// relative to this file. Columns listed in `columns` add to them or take their place.
    pub json_schema: Option<String>,
    /// What happens to a field that no column takes: `ignore` (left out and counted, the default),
    /// `reject`, or `{keep: column}` (all of them kept in that JSON column).
    pub unknown_fields: Option<UnknownFieldsFile>,
    /// What happens to a record without a value: `reject` (the default) or `skip`.
    pub tombstones: Option<TombstonesFile>,
    /// Table engine with its arguments. Left out: `MergeTree`.
    pub engine: Option<String>,
    /// Columns or expressions of the sorting key. An empty list means that rows stay unsorted.
    pub order_by: Option<Vec<String>>,
    /// Expression of the partition key.
    pub partition_by: Option<String>,
    /// `SETTINGS` of the table.
    #[schemars(with = "Option<std::collections::BTreeMap<String, Scalar>>")]
    pub settings: Option<Map<String, Value>>,
    /// Columns whose value names a person; `penstock erase` deletes that person's rows by them.
    pub subject_columns: Option<Vec<String>>,
    /// What becomes of the rows with age: deleted, moved, recompressed, rolled up, cleared column by column.
    pub lifecycle: Option<LifecycleFile>,
}

/// One column.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnFile {
    /// Name of the column in ClickHouse.
    #[schemars(required)]
    pub name: Option<String>,
    /// ClickHouse type, such as `Nullable(DateTime64(3))`. May be left out where `json_schema` has it.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// Where the value stands in the record: keys separated by dots, or a list of keys. Left out: the
    /// column's name.
    pub path: Option<PathFile>,
    /// What of Kafka's metadata the value is, instead of a field of the record.
    pub from: Option<FromFile>,
    /// `true` rejects a record without this field even though the column could hold NULL.
    pub required: Option<bool>,
    /// Value for a record without this field.
    #[serde(default, deserialize_with = "present")]
    pub default: Option<Value>,
    /// The value must be one of these.
    #[serde(rename = "enum")]
    pub one_of: Option<Vec<Value>>,
    /// Smallest number allowed. Write it in quotes when it has more than 15 digits.
    pub min: Option<Scalar>,
    /// Largest number allowed. Write it in quotes when it has more than 15 digits.
    pub max: Option<Scalar>,
    /// Bounds of a text's length in characters, of an array's or map's in elements.
    pub length: Option<LengthFile>,
    /// Regular expression that must match somewhere in the text; anchor it with `^` and `$`.
    pub pattern: Option<String>,
    /// Textual format that a String must have.
    pub format: Option<FormatFile>,
    /// Times further back than this before the record's timestamp are rejected, such as `365d`.
    pub past_max: Option<Span>,
    /// Times further ahead than this of the record's timestamp are rejected, such as `5m`.
    pub future_max: Option<Span>,
    /// What may be turned into the column's type: `strict` (nothing, the default), `lenient`
    /// (everything), or a list of what is allowed.
    pub coerce: Option<CoerceFile>,
    /// How a time is written: `iso` (the default), or as a number since 1970 in the named unit.
    pub time_format: Option<TimeFormatFile>,
    /// What becomes of the value of a String before anybody sees it: `redact`, `{keep_last: 4}`,
    /// `{pseudonym: KEY}` or `{encrypt: KEY}`, with the name of a key of the ring.
    pub protect: Option<ProtectFile>,
}

/// `default: null` is something else than no default.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Scalar {
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
}

impl Scalar {
    pub fn value(&self) -> Value {
        match self {
            Scalar::Bool(value) => json!(value),
            Scalar::Number(number) => Value::Number(number.clone()),
            Scalar::Text(text) => json!(text),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum PathFile {
    Dotted(String),
    Keys(Vec<String>),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LengthFile {
    pub min: Option<usize>,
    pub max: Option<usize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UnknownFieldsFile {
    Ignore,
    Reject,
    Keep(String),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProtectFile {
    Redact,
    KeepLast(usize),
    Pseudonym(String),
    Encrypt(String),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum CoerceFile {
    Preset(Preset),
    Allowed(Vec<Flag>),
}

impl CoerceFile {
    pub fn coercion(&self) -> Coercion {
        let mut coercion = Coercion::default();
        let allowed = match self {
            CoerceFile::Preset(Preset::Strict) => &[][..],
            CoerceFile::Preset(Preset::Lenient) => &Flag::ALL[..],
            CoerceFile::Allowed(flags) => flags,
        };
        for flag in allowed {
            match flag {
                Flag::FromString => coercion.from_string = true,
                Flag::ToString => coercion.to_string = true,
                Flag::IntegralFloat => coercion.integral_float = true,
                Flag::BoolFromNumber => coercion.bool_from_number = true,
                Flag::Truncate => coercion.truncate = true,
                Flag::NullAsDefault => coercion.null_as_default = true,
            }
        }
        coercion
    }

    pub fn names(&self, flag: Flag) -> bool {
        matches!(self, CoerceFile::Allowed(flags) if flags.contains(&flag))
    }
}

/// Enumerations of the file whose variants stand for those of the model.
macro_rules! written {
    ($($name:ident => $model:ty { $($text:literal $variant:ident => $value:expr),* $(,)? })*) => {$(
        #[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
        pub(super) enum $name { $(#[serde(rename = $text)] $variant),* }

        impl $name {
            pub fn model(self) -> $model {
                match self { $($name::$variant => $value),* }
            }
        }
    )*};
}

written! {
    FromFile => Meta {
        "$topic" Topic => Meta::Topic,
        "$partition" Partition => Meta::Partition,
        "$offset" Offset => Meta::Offset,
        "$timestamp" Timestamp => Meta::Timestamp,
        "$key" Key => Meta::Key,
    }
    FormatFile => Format {
        "uuid" Uuid => Format::Uuid,
        "date-time" DateTime => Format::DateTime,
        "date" Date => Format::Date,
        "ipv4" Ipv4 => Format::Ipv4,
        "ipv6" Ipv6 => Format::Ipv6,
    }
    TimeFormatFile => TimeFormat {
        "iso" Iso => TimeFormat::Iso,
        "unix_s" Seconds => TimeFormat::UnixSeconds,
        "unix_ms" Millis => TimeFormat::UnixMillis,
        "unix_us" Micros => TimeFormat::UnixMicros,
        "unix_ns" Nanos => TimeFormat::UnixNanos,
    }
    TombstonesFile => Tombstones {
        "reject" Reject => Tombstones::Reject,
        "skip" Skip => Tombstones::Skip,
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Preset {
    Strict,
    Lenient,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Flag {
    FromString,
    ToString,
    IntegralFloat,
    BoolFromNumber,
    Truncate,
    NullAsDefault,
}

impl Flag {
    const ALL: [Flag; 6] = [
        Flag::FromString,
        Flag::ToString,
        Flag::IntegralFloat,
        Flag::BoolFromNumber,
        Flag::Truncate,
        Flag::NullAsDefault,
    ];
}
