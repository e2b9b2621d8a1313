//! One Arrow IPC stream from one Arrow record batch, for whom Native blocks do not get through.
//!
//! Refuses to know tables and servers, as `native` does. Arrays go as they lie, but for the three kinds that ClickHouse
//! reads otherwise from Arrow than from a Native block: times with fractions, decimals and UUIDs. The same batch always
//! gives the same bytes (invariant I3).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types as t;
use arrow_array::{
    Array, ArrayRef, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, ListArray, RecordBatch,
    RecordBatchOptions, StructArray,
};
use arrow_buffer::{Buffer, i256};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::body::Out;
use super::native::{Error, type_name};
use super::wire_type::{self, WireType};

/// Digits of the Arrow decimals that hold ours.
const DIGITS_128: u8 = 38;
const DIGITS_256: u8 = 76;

/// Writes the batch as a stream of one record batch, its columns in order under the names of their fields.
///
/// # Errors
/// A field without a type for the wire, or an array whose layout is not the one its type asks for.
pub(super) fn write(batch: &RecordBatch, out: &mut Out<'_>) -> Result<(), Error> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let wire = type_name(field)?;
        let wrong = |text| Error::Type { column: field.name().clone(), text };
        // Whatever is not known there is not known here, and nothing nests deeper than that allows.
        WireType::parse(wire).map_err(wrong)?;
        let array = convert(wire, array).map_err(Error::Stream)?.ok_or_else(|| Error::Mismatch {
            column: field.name().clone(),
            wire: wire.to_owned(),
            arrow: array.data_type().clone(),
        })?;
        fields.push(Field::new(field.name(), array.data_type().clone(), field.is_nullable()));
        arrays.push(array);
    }
    let schema = Arc::new(Schema::new(fields));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let mut stream = StreamWriter::try_new(out, &schema).map_err(Error::Stream)?;
    RecordBatch::try_new_with_options(schema, arrays, &options)
        .and_then(|batch| stream.write(&batch))
        .and_then(|()| stream.finish())
        .map_err(Error::Stream)
}

/// The array as ClickHouse reads it from Arrow; `None` if it is not laid out as the type asks for.
fn convert(wire: &str, array: &ArrayRef) -> Result<Option<ArrayRef>, ArrowError> {
    let Ok((head, args)) = wire_type::head(wire) else { return Ok(None) };
    let converted = match (head, args.as_slice()) {
        ("Nullable", [inner]) => return convert(inner, array),
        ("Array", [inner]) => return list(array, |items| convert(inner, items)),
        ("Map", [key, value]) => {
            let parts = [format!("key {}", key.trim()), format!("value {}", value.trim())];
            return list(array, |pairs| tuple(&parts, pairs));
        }
        ("Tuple", parts) => return tuple(parts, array),
        ("UUID", []) => array.as_fixed_size_binary_opt().map(uuids),
        ("DateTime64", [scale, ..]) => array.as_primitive_opt().and_then(|ticks| times(scale, ticks)),
        ("Decimal", [_, scale]) | ("Decimal32" | "Decimal64" | "Decimal128" | "Decimal256", [scale]) => {
            scale.trim().parse().ok().and_then(|scale| decimals(array, scale))
        }
        _ => Some(Ok(Arc::clone(array))),
    };
    converted.transpose()
}

fn list(
    array: &ArrayRef,
    convert: impl FnOnce(&ArrayRef) -> Result<Option<ArrayRef>, ArrowError>,
) -> Result<Option<ArrayRef>, ArrowError> {
    let Some(list) = array.as_list_opt::<i32>() else { return Ok(None) };
    let DataType::List(item) = list.data_type() else { return Ok(None) };
    let Some(values) = convert(list.values())? else { return Ok(None) };
    let item = Field::new(item.name(), values.data_type().clone(), item.is_nullable());
    let list = ListArray::try_new(Arc::new(item), list.offsets().clone(), values, list.nulls().cloned())?;
    Ok(Some(Arc::new(list)))
}

fn tuple(parts: &[impl AsRef<str>], array: &ArrayRef) -> Result<Option<ArrayRef>, ArrowError> {
    let Some(tuple) = array.as_struct_opt().filter(|tuple| tuple.num_columns() == parts.len()) else {
        return Ok(None);
    };
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (n, (part, field)) in parts.iter().zip(tuple.fields()).enumerate() {
        let (name, ty) = wire_type::element(part.as_ref());
        // ClickHouse finds the elements by their names, and takes what it does not find for empty.
        let name = name.map_or_else(|| (n + 1).to_string(), str::to_owned);
        let Some(column) = convert(ty, tuple.column(n))? else { return Ok(None) };
        if name.contains('\\') {
            return Ok(None);
        }
        fields.push(Field::new(name, column.data_type().clone(), field.is_nullable()));
        arrays.push(column);
    }
    let length = array.len();
    let tuple = StructArray::try_new_with_length(fields.into(), arrays, tuple.nulls().cloned(), length)?;
    Ok(Some(Arc::new(tuple)))
}

/// In Native two little-endian halves, in Arrow the order of the text.
fn uuids(array: &FixedSizeBinaryArray) -> Result<ArrayRef, ArrowError> {
    let mut bytes = array.value_data().to_vec();
    bytes.chunks_exact_mut(8).for_each(<[u8]>::reverse);
    let (values, nulls) = (Buffer::from_vec(bytes), array.nulls().cloned());
    Ok(Arc::new(FixedSizeBinaryArray::try_new(array.value_length(), values, nulls)?))
}

/// Arrow has units of a thousand; whatever is between them goes as a decimal.
fn times(
    scale: &str,
    ticks: &arrow_array::PrimitiveArray<t::Int64Type>,
) -> Option<Result<ArrayRef, ArrowError>> {
    const ZONE: &str = "UTC";
    let scale = scale.trim().parse().ok()?;
    Some(Ok(match scale {
        0 => Arc::new(ticks.reinterpret_cast::<t::TimestampSecondType>().with_timezone(ZONE)),
        3 => Arc::new(ticks.reinterpret_cast::<t::TimestampMillisecondType>().with_timezone(ZONE)),
        6 => Arc::new(ticks.reinterpret_cast::<t::TimestampMicrosecondType>().with_timezone(ZONE)),
        9 => Arc::new(ticks.reinterpret_cast::<t::TimestampNanosecondType>().with_timezone(ZONE)),
        scale => return Some(decimal_128(ticks.unary(i128::from), scale)),
    }))
}

fn decimals(array: &ArrayRef, scale: i8) -> Option<Result<ArrayRef, ArrowError>> {
    if let Some(numbers) = array.as_primitive_opt::<t::Int32Type>() {
        return Some(decimal_128(numbers.unary(i128::from), scale));
    }
    if let Some(numbers) = array.as_primitive_opt::<t::Int64Type>() {
        return Some(decimal_128(numbers.unary(i128::from), scale));
    }
    let numbers = array.as_fixed_size_binary_opt()?;
    let nulls = numbers.nulls().cloned();
    match numbers.value_length() {
        16 => {
            let values: Vec<i128> = chunks(numbers).map(i128::from_le_bytes).collect();
            Some(Decimal128Array::try_new(values.into(), nulls).and_then(|all| decimal_128(all, scale)))
        }
        32 => {
            let values: Vec<i256> = chunks(numbers).map(i256::from_le_bytes).collect();
            let all = Decimal256Array::try_new(values.into(), nulls)
                .and_then(|all| all.with_precision_and_scale(DIGITS_256, scale));
            Some(all.map(|all| Arc::new(all) as ArrayRef))
        }
        _ => None,
    }
}

fn decimal_128(numbers: Decimal128Array, scale: i8) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(numbers.with_precision_and_scale(DIGITS_128, scale)?))
}

fn chunks<const N: usize>(array: &FixedSizeBinaryArray) -> impl Iterator<Item = [u8; N]> {
    array.value_data().chunks_exact(N).filter_map(|chunk| chunk.try_into().ok())
}
