//! One ClickHouse Native block from one Arrow record batch.
//!
//! Refuses to know tables and servers: what each column is on the wire stands in its field's metadata.
//! The arrays are laid out for the wire already, so a column without nulls and offsets is one copy.
//! The same batch always gives the same bytes, sliced or not (invariant I3).

pub(super) mod read;

use arrow_array::cast::AsArray;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::{NullBuffer, ToByteSlice};
use arrow_schema::{DataType, Field};
use bytes::Bytes;

use super::body::Out;
use super::wire_type::WireType;

/// Key of a field's metadata under which the type's name on the wire stands. Whoever builds the batch
/// and this encoder agree on the literal, because neither may import the other.
const WIRE_TYPE: &str = "clickhouse.type";

/// The version prefix of a JSON column that says its values follow as text.
const JSON_AS_STRING: u64 = 1;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("column `{0}` has no `clickhouse.type` in its metadata")]
    NoType(String),
    #[error("column `{column}`: {text}")]
    Type { column: String, text: String },
    #[error("column `{column}` of ClickHouse type `{wire}` cannot be written from an Arrow array of {arrow}")]
    Mismatch { column: String, wire: String, arrow: DataType },
    #[error("column `{column}`: {text}")]
    Nulls { column: String, text: &'static str },
    #[error("the batch cannot be made: {0}")]
    Select(#[from] arrow_schema::ArrowError),
    #[error("the batch cannot be written as an Arrow stream: {0}")]
    Stream(#[source] arrow_schema::ArrowError),
    #[error("the block cannot be compressed: {0}")]
    Compress(std::io::Error),
    #[error("the block cannot be read back: {0}")]
    Back(std::io::Error),
    #[error("the batch could not be encoded before, and nothing of it is left to send")]
    Broken,
}

/// Encodes the batch as one Native block: its columns in order, under the names of their fields.
///
/// # Errors
/// A field without a type for the wire, or an array whose layout is not the one its type asks for.
pub fn encode(batch: &RecordBatch) -> Result<Bytes, Error> {
    let mut block = Vec::with_capacity(size_hint(batch));
    let mut out = Out::new(&mut block);
    write(batch.clone(), &mut out)?;
    out.finish().map_err(Error::Compress)?;
    Ok(block.into())
}

/// The same, written piece by piece; each column is let go of once it is written.
pub(super) fn write(batch: RecordBatch, out: &mut Out<'_>) -> Result<(), Error> {
    let (schema, columns, rows) = batch.into_parts();
    out.varuint(columns.len());
    out.varuint(rows);
    for (field, array) in schema.fields().iter().zip(columns) {
        let wire = type_name(field)?;
        let ty = WireType::parse(wire).map_err(|text| Error::Type { column: field.name().clone(), text })?;
        out.text(field.name().as_bytes());
        out.text(wire.as_bytes());
        // A block without rows ends after the header of each column: no prefix and no data follow.
        if rows == 0 {
            continue;
        }
        let column = Column { name: field.name(), ty: &ty };
        column.prefix(out);
        column.data(out, &array)?;
    }
    Ok(())
}

/// The type that the field has on the wire.
pub(super) fn type_name(field: &Field) -> Result<&str, Error> {
    field.metadata().get(WIRE_TYPE).map(String::as_str).ok_or_else(|| Error::NoType(field.name().clone()))
}

/// Sliced arrays report their whole buffers, so the hint is taken in proportion to nothing smaller than
/// the rows: too large costs address space only.
pub(super) fn size_hint(batch: &RecordBatch) -> usize {
    let data: usize = batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum();
    // A string's offset takes four bytes in Arrow and its length one or two on the wire.
    data + batch.num_rows() + 64 * (batch.num_columns() + 1)
}

/// One column, or one level inside of it.
#[derive(Clone, Copy)]
struct Column<'a> {
    name: &'a str,
    ty: &'a WireType,
}

impl<'a> Column<'a> {
    fn inner(self, ty: &'a WireType) -> Column<'a> {
        Column { name: self.name, ty }
    }

    /// What stands before the values of the column: the version of every JSON inside, depth first.
    fn prefix(self, out: &mut Out<'_>) {
        match self.ty {
            WireType::Json => out.bytes(&JSON_AS_STRING.to_le_bytes()),
            WireType::Nullable(inner) | WireType::Array(inner) => self.inner(inner).prefix(out),
            WireType::Tuple(parts) => parts.iter().for_each(|part| self.inner(part).prefix(out)),
            WireType::Fixed(_) | WireType::String => {}
        }
    }

    fn data(self, out: &mut Out<'_>, array: &ArrayRef) -> Result<(), Error> {
        if let WireType::Nullable(inner) = self.ty {
            nulls(out, array.len(), array.nulls());
            return self.inner(inner).values(out, array);
        }
        if array.null_count() > 0 {
            return Err(self.nulls("the array has nulls and the type is not Nullable"));
        }
        self.values(out, array)
    }

    /// The values; those under a null are written as they stand, for nobody reads them. Only JSON is
    /// parsed by the server even there, and nothing at all is not JSON.
    fn values(self, out: &mut Out<'_>, array: &ArrayRef) -> Result<(), Error> {
        match (self.ty, array.data_type()) {
            (WireType::Json, DataType::Utf8) if array.null_count() > 0 => {
                let texts = array.as_string::<i32>().iter();
                texts.for_each(|text| out.text(text.unwrap_or("{}").as_bytes()));
                Ok(())
            }
            (WireType::String | WireType::Json, DataType::Utf8) => {
                strings(out, array.as_string::<i32>());
                Ok(())
            }
            (WireType::Fixed(width), _) => self.fixed(out, array, *width),
            (WireType::Array(item), DataType::List(_)) => self.list(out, array.as_list::<i32>(), item),
            (WireType::Tuple(parts), DataType::Struct(_)) => self.tuple(out, array.as_struct(), parts),
            _ => Err(self.mismatch(array)),
        }
    }

    fn fixed(self, out: &mut Out<'_>, array: &ArrayRef, width: usize) -> Result<(), Error> {
        let bytes = match array.data_type() {
            DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value_data()),
            _ => primitive_bytes(array),
        };
        match bytes {
            Some(bytes) if bytes.len() == width.saturating_mul(array.len()) => {
                out.bytes(bytes);
                Ok(())
            }
            _ => Err(self.mismatch(array)),
        }
    }

    fn list(self, out: &mut Out<'_>, array: &ListArray, item: &WireType) -> Result<(), Error> {
        let (first, last) = ends(array.offsets());
        for end in array.offsets().iter().skip(1) {
            // Offsets never fall, so the difference is not negative.
            out.bytes(&u64::from(end.abs_diff(first)).to_le_bytes());
        }
        let (start, len) = (to_usize(first), to_usize(last).saturating_sub(to_usize(first)));
        self.inner(item).data(out, &array.values().slice(start, len))
    }

    fn tuple(self, out: &mut Out<'_>, array: &StructArray, parts: &[WireType]) -> Result<(), Error> {
        if parts.len() != array.num_columns() {
            return Err(self.nulls("the struct has another number of fields than the tuple"));
        }
        parts.iter().zip(array.columns()).try_for_each(|(part, values)| self.inner(part).data(out, values))
    }

    fn mismatch(self, array: &ArrayRef) -> Error {
        Error::Mismatch {
            column: self.name.to_owned(),
            wire: format!("{:?}", self.ty),
            arrow: array.data_type().clone(),
        }
    }

    fn nulls(self, text: &'static str) -> Error {
        Error::Nulls { column: self.name.to_owned(), text }
    }
}

/// The bytes of a primitive array; ClickHouse and Arrow both lay them out little endian and dense.
fn primitive_bytes(array: &ArrayRef) -> Option<&[u8]> {
    use arrow_array::types as t;
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef) -> &[u8] {
        let array: &PrimitiveArray<T> = array.as_primitive();
        array.values().to_byte_slice()
    }
    Some(match array.data_type() {
        DataType::Int8 => of::<t::Int8Type>(array),
        DataType::Int16 => of::<t::Int16Type>(array),
        DataType::Int32 => of::<t::Int32Type>(array),
        DataType::Int64 => of::<t::Int64Type>(array),
        DataType::UInt8 => of::<t::UInt8Type>(array),
        DataType::UInt16 => of::<t::UInt16Type>(array),
        DataType::UInt32 => of::<t::UInt32Type>(array),
        DataType::UInt64 => of::<t::UInt64Type>(array),
        DataType::Float32 => of::<t::Float32Type>(array),
        DataType::Float64 => of::<t::Float64Type>(array),
        _ => return None,
    })
}

fn nulls(out: &mut Out<'_>, rows: usize, nulls: Option<&NullBuffer>) {
    match nulls {
        Some(nulls) if nulls.null_count() > 0 => nulls.iter().for_each(|valid| out.byte(u8::from(!valid))),
        _ => out.repeat(0, rows),
    }
}

fn strings(out: &mut Out<'_>, array: &StringArray) {
    let data = array.value_data();
    let mut offsets = array.offsets().iter();
    let Some(mut start) = offsets.next().map(|o| to_usize(*o)) else { return };
    for end in offsets {
        let end = to_usize(*end);
        out.text(data.get(start..end).unwrap_or_default());
        start = end;
    }
}

fn ends(offsets: &[i32]) -> (i32, i32) {
    (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0))
}

/// Arrow's offsets are never negative.
fn to_usize(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}
