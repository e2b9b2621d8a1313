//! The Arrow record batch back out of the Native block that was made of it, for the few that are needed once more.
//!
//! Refuses blocks of others: the schema says what stands there, and what does not agree with it is an error. What was
//! read encodes to the same bytes again (invariant I3).

use std::io::{self, Read};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, SchemaRef};

use super::{Error, type_name};
use crate::clickhouse::wire_type::WireType;

/// Most bytes that are asked for at a time, so that a wrong length finds its end before it takes memory.
const STEP_BYTES: usize = 1 << 20;

/// Reads one block whose columns are those of the schema.
///
/// # Errors
/// The block ends early, or is another one.
pub fn read(source: &mut dyn Read, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let mut input = Input { source };
    let (columns, rows) = (input.varuint()?, input.varuint()?);
    if columns != schema.fields().len() {
        return Err(foreign());
    }
    let array = |field: &std::sync::Arc<Field>| {
        let wire = type_name(field)?;
        let ty = WireType::parse(wire).map_err(|text| Error::Type { column: field.name().clone(), text })?;
        input.head(field.name())?;
        input.head(wire)?;
        if rows == 0 {
            return Ok(arrow_array::new_empty_array(field.data_type()));
        }
        input.prefix(&ty)?;
        Ok(make_array(input.column(&ty, field.data_type(), rows)?))
    };
    let arrays = schema.fields().iter().map(array).collect::<Result<Vec<ArrayRef>, Error>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}

struct Input<'r> {
    source: &'r mut dyn Read,
}

impl Input<'_> {
    fn head(&mut self, expected: &str) -> Result<(), Error> {
        let length = self.varuint()?;
        match length == expected.len() && self.bytes(length)?.as_slice() == expected.as_bytes() {
            true => Ok(()),
            false => Err(foreign()),
        }
    }

    fn prefix(&mut self, ty: &WireType) -> Result<(), Error> {
        match ty {
            WireType::Json => self.bytes(8).map(|_| ()),
            WireType::Nullable(inner) | WireType::Array(inner) => self.prefix(inner),
            WireType::Tuple(parts) => parts.iter().try_for_each(|part| self.prefix(part)),
            WireType::Fixed(_) | WireType::String => Ok(()),
        }
    }

    fn column(&mut self, ty: &WireType, arrow: &DataType, rows: usize) -> Result<ArrayData, Error> {
        let WireType::Nullable(inner) = ty else { return self.values(ty, arrow, rows) };
        let flags = self.bytes(rows)?;
        let valid = BooleanBuffer::collect_bool(rows, |row| flags.as_slice().get(row) == Some(&0));
        let nulls = Some(NullBuffer::new(valid)).filter(|nulls| 0 < nulls.null_count());
        Ok(self.values(inner, arrow, rows)?.into_builder().nulls(nulls).build()?)
    }

    fn values(&mut self, ty: &WireType, arrow: &DataType, rows: usize) -> Result<ArrayData, Error> {
        let builder = ArrayData::builder(arrow.clone()).len(rows);
        let builder = match (ty, arrow) {
            (WireType::Fixed(width), _) => builder.add_buffer(self.bytes(width.saturating_mul(rows))?.into()),
            (WireType::String | WireType::Json, DataType::Utf8) => {
                let (offsets, values) = self.texts(rows)?;
                builder.add_buffer(offsets).add_buffer(values)
            }
            (WireType::Array(item), DataType::List(field)) => {
                let (offsets, items) = self.ends(rows)?;
                builder.add_buffer(offsets).add_child_data(self.column(item, field.data_type(), items)?)
            }
            (WireType::Tuple(parts), DataType::Struct(fields)) if parts.len() == fields.len() => {
                let part = |(part, field): (&WireType, &std::sync::Arc<Field>)| {
                    self.column(part, field.data_type(), rows)
                };
                let children = parts.iter().zip(fields).map(part).collect::<Result<Vec<_>, _>>()?;
                builder.child_data(children)
            }
            _ => return Err(foreign()),
        };
        Ok(builder.build()?)
    }

    fn texts(&mut self, rows: usize) -> Result<(Buffer, Buffer), Error> {
        let (mut offsets, mut values) = (vec![0_i32], Vec::new());
        for _ in 0..rows {
            let length = self.varuint()?;
            self.append(&mut values, length)?;
            offsets.push(i32::try_from(values.len()).map_err(|_| foreign())?);
        }
        Ok((Buffer::from_vec(offsets), Buffer::from_vec(values)))
    }

    fn ends(&mut self, rows: usize) -> Result<(Buffer, usize), Error> {
        let ends = self.bytes(rows.saturating_mul(8))?;
        let mut offsets = vec![0_i32];
        for end in ends.as_slice().as_chunks::<8>().0 {
            offsets.push(i32::try_from(u64::from_le_bytes(*end)).map_err(|_| foreign())?);
        }
        let items = offsets.last().and_then(|end| usize::try_from(*end).ok()).ok_or_else(foreign)?;
        Ok((Buffer::from_vec(offsets), items))
    }

    /// In a buffer that is aligned for values of any width.
    fn bytes(&mut self, length: usize) -> Result<MutableBuffer, Error> {
        let mut buffer = MutableBuffer::new(length.min(STEP_BYTES));
        while buffer.len() < length {
            let read = buffer.len();
            buffer.resize(read + (length - read).min(STEP_BYTES), 0);
            let room = buffer.as_slice_mut().get_mut(read..).unwrap_or_default();
            self.source.read_exact(room).map_err(Error::Back)?;
        }
        Ok(buffer)
    }

    fn append(&mut self, values: &mut Vec<u8>, length: usize) -> Result<(), Error> {
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        let read = (&mut *self.source).take(limit).read_to_end(values).map_err(Error::Back)?;
        if read == length { Ok(()) } else { Err(Error::Back(io::ErrorKind::UnexpectedEof.into())) }
    }

    fn varuint(&mut self) -> Result<usize, Error> {
        let (mut value, mut shift, mut byte) = (0_usize, 0_u32, [0x80_u8]);
        while byte[0] & 0x80 != 0 {
            self.source.read_exact(&mut byte).map_err(Error::Back)?;
            if usize::BITS <= shift {
                return Err(foreign());
            }
            value |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
        }
        Ok(value)
    }
}

fn foreign() -> Error {
    Error::Back(io::Error::new(io::ErrorKind::InvalidData, "it is not the block that was made"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::builder::{FixedSizeBinaryBuilder, Int32Builder, ListBuilder, StringBuilder};
    use arrow_array::{Float64Array, StringArray, StructArray, UInt16Array};
    use arrow_schema::{Fields, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::clickhouse::native::encode;

    type Row = (Option<u16>, String, Option<String>, Vec<Option<i32>>, [u8; 16], f64);

    fn batch(rows: &[Row]) -> RecordBatch {
        let mut lists = ListBuilder::new(Int32Builder::new());
        let mut ids = FixedSizeBinaryBuilder::new(16);
        for row in rows {
            lists.append_value(row.3.iter().copied());
            ids.append_value(row.4).unwrap();
        }
        let mut maps = ListBuilder::new(StringBuilder::new());
        rows.iter().for_each(|row| maps.append_value(row.3.iter().map(|_| Some(&row.1))));
        let numbers: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.5)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)));
        let parts = Fields::from(vec![
            Field::new("n", DataType::Float64, false),
            Field::new("t", DataType::Utf8, false),
        ]);
        let tuple = StructArray::new(parts, vec![numbers, texts.clone()], None);
        let json = StringArray::from_iter(rows.iter().map(|row| row.2.as_ref().map(|_| "{\"a\":1}")));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("Nullable(UInt16)", Arc::new(UInt16Array::from_iter(rows.iter().map(|row| row.0)))),
            ("String", texts),
            ("Nullable(String)", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.2.clone())))),
            ("Array(Nullable(Int32))", Arc::new(lists.finish())),
            ("Array(String)", Arc::new(maps.finish())),
            ("UUID", Arc::new(ids.finish())),
            ("Tuple(n Float64, t String)", Arc::new(tuple)),
            ("Nullable(JSON)", Arc::new(json)),
        ];
        let field = |(n, (wire, array)): (usize, &(&str, ArrayRef))| {
            Field::new(format!("c{n}"), array.data_type().clone(), true)
                .with_metadata(HashMap::from([("clickhouse.type".to_owned(), (*wire).to_owned())]))
        };
        let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_read_back_encodes_to_the_same_bytes(
            rows in prop::collection::vec(any::<Row>(), 0..40), cut in any::<prop::sample::Index>(),
        ) {
            let all = batch(&rows);
            let start = cut.index(rows.len() + 1);
            for part in [all.clone(), all.slice(start, rows.len() - start)] {
                let block = encode(&part).unwrap();
                let back = read(&mut block.as_ref(), part.schema_ref()).unwrap();
                prop_assert_eq!(back.num_rows(), part.num_rows());
                prop_assert_eq!(encode(&back).unwrap(), block.clone());
                let ends_early = block.slice(..block.len().saturating_sub(1));
                prop_assert!(read(&mut ends_early.as_ref(), part.schema_ref()).is_err());
            }
        }

        #[test]
        fn any_bytes_are_an_error_or_a_batch(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
            let rows = [(None, "a".to_owned(), None, vec![None, Some(1)], [7; 16], 0.5)];
            let mut block = encode(&batch(&rows)).unwrap().to_vec();
            let at = at.index(block.len());
            block.splice(at.., bytes);
            let _ = read(&mut block.as_slice(), batch(&rows).schema_ref());
        }
    }
}
