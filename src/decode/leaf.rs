//! One column as the plan sees it: its type, its default ready to copy, and its rules.
//!
//! Refuses to know where in the record the value stands. Defaults and allowed values are converted once,
//! by the same code that converts a record's values.

use serde_json::Value;

use crate::columns::Columns;
use crate::columns::builder::Builder;
use crate::record::Record;
use crate::schema::model::{Column, Meta, TimeFormat};

use super::Error;
use super::check::Checks;
use super::fast::{Fast, Tested};
use super::fault::{Fault, Result};
use super::json::{Cursor, Keys};
use super::plan::source;
use super::reject::{Reason, Rejection};
use super::value::{Context, Kind, Rules, Shape, Unknown};
use super::{DEPTH_MAX_DEFAULT, number};

#[derive(Debug)]
pub struct Leaf {
    pub column: usize,
    pub shape: Shape,
    pub required: bool,
    /// A single row.
    pub default: Option<Builder>,
    rules: Rules,
    checks: Option<Box<Checks>>,
    fast: Option<Fast>,
}

impl Leaf {
    pub fn new(index: usize, column: &Column) -> std::result::Result<Self, Error> {
        let mut shape = Shape::column(&column.ty);
        let rules = Rules { coercion: column.coercion, time_format: column.time_format };
        let default = match &column.default {
            None => None,
            Some(Value::Null) if shape.nullable => {
                let mut row = Builder::column(&column.ty);
                shape.push_null(&mut row).map_err(|fault| default_error(column, fault.into_rejection()))?;
                Some(row)
            }
            Some(value) => {
                let row = ready(column, &mut shape, std::slice::from_ref(value));
                Some(row.map_err(|rejection| default_error(column, rejection))?)
            }
        };
        let allowed = &column.constraints.one_of;
        let one_of = match allowed.as_slice() {
            [] => None,
            allowed => Some(ready(column, &mut shape, allowed).map_err(|rejection| Error::Allowed {
                column: column.name.clone(),
                rejection: Box::new(rejection),
            })?),
        };
        let checks = Checks::new(&column.constraints, &shape, one_of)
            .map_err(|problem| Error::Constraint { column: column.name.clone(), problem })?
            .map(Box::new);
        let fast = Fast::new(&shape, rules, &Builder::column(&column.ty), checks.as_deref());
        Ok(Leaf { column: index, shape, required: column.required, default, rules, checks, fast })
    }

    pub fn forget_fast_way(&mut self) {
        self.fast = None;
    }

    /// Refuses a type that cannot hold what Kafka knows.
    pub fn for_meta(self, meta: Meta, column: &Column) -> std::result::Result<Self, Error> {
        let fits = match meta {
            Meta::Topic => matches!(self.shape.kind, Kind::String | Kind::FixedString | Kind::Enum(_)),
            Meta::Partition | Meta::Offset => matches!(self.shape.kind, Kind::Int),
            Meta::Timestamp => matches!(self.shape.kind, Kind::Int | Kind::Time(_)),
            Meta::Key => !matches!(
                self.shape.kind,
                Kind::Json | Kind::Array(_) | Kind::Map { .. } | Kind::Tuple(_) | Kind::Nested(_)
            ),
        };
        if fits { Ok(self) } else { Err(source(column, "its type cannot hold this metadata")) }
    }

    #[inline]
    pub fn read(&mut self, cursor: &mut Cursor<'_>, cx: &mut Context, columns: &mut Columns) -> Result {
        let to = columns.builder(self.column).ok_or_else(Fault::layout)?;
        if let Some(fast) = &mut self.fast {
            match fast.read(cursor, to, cx.reference_ms) {
                Some(Tested::Yes) => return Ok(()),
                Some(Tested::No) => return self.test(to, cx.reference_ms),
                None => {}
            }
        }
        self.read_slowly(cursor, cx, to)
    }

    fn test(&self, value: &Builder, reference_ms: i64) -> Result {
        self.checks.as_ref().map_or(Ok(()), |checks| checks.test(value, reference_ms))
    }

    /// Reads whatever the value's form, and finds what is wrong with it.
    fn read_slowly(&mut self, cursor: &mut Cursor<'_>, cx: &mut Context, to: &mut Builder) -> Result {
        if cursor.peek() == b'n' {
            cursor.literal("null")?;
            return self.null(to);
        }
        self.shape.read_present(self.rules, cursor, cx, to)?;
        self.test(to, cx.reference_ms)
    }

    fn null(&self, to: &mut Builder) -> Result {
        match &self.default {
            Some(default) if !self.shape.nullable && self.rules.coercion.null_as_default => {
                to.push_from(default, 0).map_err(|full| self.shape.fault(full.into(), "a default"))
            }
            _ => self.shape.push_null(to),
        }
    }

    /// Fills the column from what Kafka knows about the record.
    pub fn read_meta(&self, meta: Meta, record: &Record<'_>, cx: &Context, columns: &mut Columns) -> Result {
        let found = match meta {
            Meta::Topic => self.meta_text(record.topic, columns)?,
            Meta::Partition => self.meta_number(record.partition.0.into(), columns)?,
            Meta::Offset => self.meta_number(record.offset.0, columns)?,
            Meta::Timestamp => match record.timestamp_ms {
                Some(millis) => self.meta_number(millis, columns)?,
                None => return self.absent(columns),
            },
            Meta::Key => match record.key.map(std::str::from_utf8) {
                Some(Ok(key)) => self.meta_text(key, columns)?,
                Some(Err(_)) => return Err(Fault::new(Reason::InvalidUtf8, "the record's key is not UTF-8")),
                None => return self.absent(columns),
            },
        };
        self.test(found, cx.reference_ms)
    }

    fn meta_text<'c>(&self, text: &str, columns: &'c mut Columns) -> Result<&'c Builder> {
        let to = columns.builder(self.column).ok_or_else(Fault::layout)?;
        let result = self.shape.push_text(text, self.rules, to);
        result.map_err(|reason| self.shape.fault(reason, "the record's text"))?;
        Ok(to)
    }

    /// A number, or for a column of time the milliseconds since 1970.
    fn meta_number<'c>(&self, value: i64, columns: &'c mut Columns) -> Result<&'c Builder> {
        let to = columns.builder(self.column).ok_or_else(Fault::layout)?;
        let value = match &self.shape.kind {
            Kind::Time(time) => time.ticks_of_millis(value),
            _ => Ok(value),
        };
        let result = value.and_then(|value| number::push_i64(to, value));
        result.map_err(|reason| self.shape.fault(reason, "the record's number"))?;
        Ok(to)
    }
}

fn default_error(column: &Column, rejection: Rejection) -> Error {
    Error::Default { column: column.name.clone(), rejection: Box::new(rejection) }
}

/// Values from the table file as rows of the column's type. They may be written as text where JSON or
/// YAML would lose digits, and times in ISO whatever records use.
fn ready(column: &Column, shape: &mut Shape, values: &[Value]) -> std::result::Result<Builder, Rejection> {
    let mut rows = Builder::column(&column.ty);
    let mut cx = Context {
        scratch: String::new(),
        keys: Keys::new(),
        rest: String::new(),
        ignored: 0,
        unknown: Unknown::Reject,
        reference_ms: 0,
    };
    for value in values {
        let mut rules = Rules { coercion: column.coercion, time_format: column.time_format };
        rules.coercion.from_string = true;
        rules.coercion.integral_float = true;
        if value.is_string() {
            rules.time_format = TimeFormat::Iso;
        }
        let text = value.to_string();
        let mut cursor = Cursor::new(&text, DEPTH_MAX_DEFAULT);
        shape.read(rules, &mut cursor, &mut cx, &mut rows).map_err(Fault::into_rejection)?;
    }
    Ok(rows)
}
