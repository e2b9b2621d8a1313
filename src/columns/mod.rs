//! Rows of one table as Arrow columns that can still be taken back.
//!
//! Refuses to know JSON, records and servers. The arrays it finishes are laid out as ClickHouse's wire
//! wants them, so that encoding is mostly copying:
//!
//! | ClickHouse | Arrow array | content |
//! |---|---|---|
//! | Int8–64, UInt8–64 | Int8–64, UInt8–64 | as is |
//! | Bool | UInt8 | 0, 1 |
//! | Enum8, Enum16 | Int8, Int16 | the values |
//! | Date, Date32, DateTime, DateTime64 | UInt16, Int32, UInt32, Int64 | days or ticks |
//! | Decimal to 9, to 18 digits | Int32, Int64 | unscaled |
//! | Int128/UInt128, Decimal to 38 digits | FixedSizeBinary(16) | little endian |
//! | Int256/UInt256, Decimal to 76 digits | FixedSizeBinary(32) | little endian |
//! | Float32, Float64 | Float32, Float64 | as is |
//! | String, JSON | Utf8 | bytes; JSON as its text |
//! | FixedString(n) | FixedSizeBinary(n) | padded with zero bytes |
//! | UUID | FixedSizeBinary(16) | two little-endian halves, high first |
//! | IPv4, IPv6 | UInt32, FixedSizeBinary(16) | number; network order |
//! | LowCardinality(T) | as T | |
//! | Nullable(T) | as T, with a null buffer, field nullable | |
//! | Array(T) | List | |
//! | Map(K, V) | List of Struct(key, value) | |
//! | Tuple | Struct | |
//! | Nested | one List per field, named `column.field` | |
//!
//! Each field's metadata [`WIRE_TYPE`] holds the type name for the wire: the column's ClickHouse type with
//! every `LowCardinality` taken off (the server converts).

/// Key of a field's metadata under which the ClickHouse type's name on the wire stands.
pub const WIRE_TYPE: &str = "clickhouse.type";

pub mod builder;
mod bytes;
mod layout;
mod nested;
mod nulls;
mod primitive;
mod text;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};

use crate::schema::{Table, Type};

use builder::Builder;

/// Offsets are 32 bits on the wire; no column takes a value that would lead beyond this many bytes or
/// elements.
pub const COLUMN_BYTES_MAX: usize = 0x7fff_ffff;

/// From this many bytes in one column on, [`Columns::is_full`] asks for the batch to be closed. A record
/// below the same size then always finds room.
pub const COLUMN_BYTES_CLOSE: usize = 1 << 30;

/// A value found no room below [`COLUMN_BYTES_MAX`]; nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the column would pass 2 GiB in one batch")]
pub struct Full;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a column's array could not be built: {0}")]
    Arrow(#[from] ArrowError),
    #[error("values of {0} bytes are too wide for a column")]
    Width(usize),
    #[error("a column's layout and its type disagree")]
    Layout,
}

/// The open rows of one table.
#[derive(Debug)]
pub struct Columns {
    /// One per column of the table, in its order.
    builders: Vec<Builder>,
    /// Which builders hold values of varying size.
    varying: Vec<usize>,
    /// Bytes per row in all the others.
    fixed_row_bytes: usize,
    rows: usize,
    /// One field per array: a Nested column gives several.
    schema: SchemaRef,
}

impl Columns {
    pub fn new(table: &Table) -> Self {
        let builders: Vec<Builder> = table.columns.iter().map(|column| Builder::column(&column.ty)).collect();
        let width = |builder: &Builder| match builder {
            Builder::I8(_) | Builder::U8(_) => Some(1),
            Builder::I16(_) | Builder::U16(_) => Some(2),
            Builder::I32(_) | Builder::U32(_) | Builder::F32(_) => Some(4),
            Builder::I64(_) | Builder::U64(_) | Builder::F64(_) => Some(8),
            Builder::Bytes(bytes) => Some(bytes.width()),
            Builder::Text(_) | Builder::List(_) | Builder::Tuple(_) => None,
        };
        let varying = (0..builders.len()).filter(|n| builders.get(*n).and_then(width).is_none()).collect();
        let fixed_row_bytes = builders.iter().filter_map(width).sum();
        let fields: Vec<Field> =
            table.columns.iter().flat_map(|column| fields(&column.name, &column.ty)).collect();
        Columns { builders, varying, fixed_row_bytes, rows: 0, schema: Arc::new(Schema::new(fields)) }
    }

    /// Whole rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of values and offsets held; null bitmaps and spare capacity are not counted.
    pub fn bytes(&self) -> usize {
        let varying = self.varying.iter().filter_map(|n| self.builders.get(*n)).map(Builder::bytes);
        self.rows * self.fixed_row_bytes + varying.sum::<usize>()
    }

    /// Whether a column has grown so far that the batch must be closed before the next record.
    pub fn is_full(&self) -> bool {
        self.bytes() >= COLUMN_BYTES_CLOSE
    }

    /// The schema of the batches that [`Columns::finish`] gives.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Takes back every row from `rows` on, and whatever was appended of a row that never was closed.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        for builder in &mut self.builders {
            builder.truncate(self.rows);
        }
    }

    /// All rows as one Arrow batch, without copying; the columns are empty afterwards and have room for
    /// as much again.
    pub fn finish(&mut self) -> Result<RecordBatch, Error> {
        self.truncate(self.rows);
        let rows = std::mem::take(&mut self.rows);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        let mut fields = self.schema.fields().iter();
        let result = self.builders.iter_mut().try_for_each(|builder| match builder {
            Builder::List(list) => {
                let elements: Vec<Field> = fields
                    .by_ref()
                    .take(list.children().len())
                    .filter_map(|field| layout::list_element(field))
                    .collect();
                arrays.extend(list.finish(&elements)?);
                Ok(())
            }
            other => {
                let field = fields.next().ok_or(Error::Layout)?;
                arrays.push(other.finish(field.data_type())?);
                Ok(())
            }
        });
        if let Err(error) = result {
            self.truncate(0);
            return Err(error);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }

    /// The column's builder, by its index in the table. Whoever pushes to it closes the row with
    /// [`Columns::close_row`] or takes it back with [`Columns::truncate`].
    #[inline]
    pub fn builder(&mut self, column: usize) -> Option<&mut Builder> {
        self.builders.get_mut(column)
    }

    /// Counts a row to which every column has got its value.
    #[inline]
    pub fn close_row(&mut self) {
        self.rows += 1;
    }
}

/// The values of a batch that is closed, with room for as many in their place. Spare room is given back first: nobody
/// counts it, and a closed batch may wait for long.
fn hand_over<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    let mut closed = std::mem::replace(values, next);
    closed.shrink_to_fit();
    closed
}

fn fields(name: &str, ty: &Type) -> Vec<Field> {
    let with_wire =
        |field: Field, wire: String| field.with_metadata(HashMap::from([(WIRE_TYPE.to_owned(), wire)]));
    match ty {
        Type::Nested(inner) => inner
            .iter()
            .map(|field| {
                let array = Type::Array(Box::new(field.ty.clone()));
                let name = format!("{name}.{}", field.name.as_deref().unwrap_or_default());
                with_wire(layout::field(&name, &array), array.wire_name())
            })
            .collect(),
        other => vec![with_wire(layout::field(name, other), other.wire_name())],
    }
}
