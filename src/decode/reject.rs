//! Why a record was refused: a closed list of reasons with stable codes, the place and the finding.
//!
//! Refuses to hold the record's values: a rejection names the class of what was found ("a string of 12
//! bytes"), never its content, so that it can go to logs and metrics.

use std::fmt;

/// Codes are stable: dashboards, alerts and dead-letter filters are written against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    Tombstone,
    Empty,
    TooLarge,
    InvalidUtf8,
    InvalidJson,
    NotAnObject,
    TooDeep,
    DuplicateKey,
    MissingField,
    UnknownField,
    NullValue,
    WrongType,
    OutOfRange,
    PrecisionLoss,
    BadFormat,
    NotInEnum,
    BadLength,
    PatternMismatch,
    TimeOutOfBounds,
    SchemaViolation,
    /// ClickHouse refused the row; the detail has its code and message.
    RefusedByServer,
}

impl Reason {
    pub const ALL: [Reason; 21] = [
        Reason::Tombstone,
        Reason::Empty,
        Reason::TooLarge,
        Reason::InvalidUtf8,
        Reason::InvalidJson,
        Reason::NotAnObject,
        Reason::TooDeep,
        Reason::DuplicateKey,
        Reason::MissingField,
        Reason::UnknownField,
        Reason::NullValue,
        Reason::WrongType,
        Reason::OutOfRange,
        Reason::PrecisionLoss,
        Reason::BadFormat,
        Reason::NotInEnum,
        Reason::BadLength,
        Reason::PatternMismatch,
        Reason::TimeOutOfBounds,
        Reason::SchemaViolation,
        Reason::RefusedByServer,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Reason::Tombstone => "tombstone",
            Reason::Empty => "empty",
            Reason::TooLarge => "too_large",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::InvalidJson => "invalid_json",
            Reason::NotAnObject => "not_an_object",
            Reason::TooDeep => "too_deep",
            Reason::DuplicateKey => "duplicate_key",
            Reason::MissingField => "missing_field",
            Reason::UnknownField => "unknown_field",
            Reason::NullValue => "null_value",
            Reason::WrongType => "wrong_type",
            Reason::OutOfRange => "out_of_range",
            Reason::PrecisionLoss => "precision_loss",
            Reason::BadFormat => "bad_format",
            Reason::NotInEnum => "not_in_enum",
            Reason::BadLength => "bad_length",
            Reason::PatternMismatch => "pattern_mismatch",
            Reason::TimeOutOfBounds => "time_out_of_bounds",
            Reason::SchemaViolation => "schema_violation",
            Reason::RefusedByServer => "refused_by_server",
        }
    }
}

/// A refused record's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    /// Dotted path of the field, with `[n]` for elements; empty for the record itself.
    pub path: String,
    /// What was expected and what class of value was found; no content.
    pub detail: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason.code())?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        write!(f, ": {}", self.detail)
    }
}
