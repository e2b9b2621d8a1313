//! Which Arrow type holds which ClickHouse type: the table of this module's head, as code.
//!
//! Refuses to hold values. It agrees with `Builder::new` on every type.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};

use crate::schema::Type;
use crate::schema::model;

/// The Arrow type of a column or an element.
pub fn data_type(ty: &Type) -> DataType {
    match ty.bare() {
        Type::Int(int) => int_type(*int),
        Type::Float32 => DataType::Float32,
        Type::Float64 => DataType::Float64,
        Type::Decimal { precision, .. } => match precision {
            0..=9 => DataType::Int32,
            10..=18 => DataType::Int64,
            19..=38 => DataType::FixedSizeBinary(16),
            _ => DataType::FixedSizeBinary(32),
        },
        Type::Bool => DataType::UInt8,
        Type::Enum8(_) => DataType::Int8,
        Type::Enum16(_) => DataType::Int16,
        Type::Date => DataType::UInt16,
        Type::Date32 => DataType::Int32,
        Type::DateTime { .. } | Type::Ipv4 => DataType::UInt32,
        Type::DateTime64 { .. } => DataType::Int64,
        Type::FixedString(width) => DataType::FixedSizeBinary(i32::try_from(*width).unwrap_or(i32::MAX)),
        Type::Uuid | Type::Ipv6 => DataType::FixedSizeBinary(16),
        Type::Array(element) => DataType::List(Arc::new(element_field(element))),
        Type::Map(key, value) => {
            let pair = Fields::from(vec![field("key", key), field("value", value)]);
            DataType::List(Arc::new(Field::new("entries", DataType::Struct(pair), false)))
        }
        Type::Tuple(fields) => tuple_type(fields),
        Type::Nested(fields) => DataType::List(Arc::new(Field::new("item", tuple_type(fields), false))),
        Type::String | Type::Json | Type::LowCardinality(_) | Type::Nullable(_) => DataType::Utf8,
    }
}

pub fn field(name: &str, ty: &Type) -> Field {
    Field::new(name, data_type(ty), ty.is_nullable())
}

/// The field inside a list.
pub fn element_field(ty: &Type) -> Field {
    field("item", ty)
}

fn tuple_type(fields: &[model::Field]) -> DataType {
    let fields = fields.iter().enumerate().map(|(n, element)| match &element.name {
        Some(name) => field(name, &element.ty),
        None => field(&(n + 1).to_string(), &element.ty),
    });
    DataType::Struct(fields.collect())
}

fn int_type(int: model::Int) -> DataType {
    match (int.signed, int.bits) {
        (true, 8) => DataType::Int8,
        (true, 16) => DataType::Int16,
        (true, 32) => DataType::Int32,
        (true, 64) => DataType::Int64,
        (false, 8) => DataType::UInt8,
        (false, 16) => DataType::UInt16,
        (false, 32) => DataType::UInt32,
        (false, 64) => DataType::UInt64,
        (_, 128) => DataType::FixedSizeBinary(16),
        (_, _) => DataType::FixedSizeBinary(32),
    }
}

/// The field of a list field's elements.
pub fn list_element(field: &Field) -> Option<Field> {
    match field.data_type() {
        DataType::List(element) => Some(element.as_ref().clone()),
        _ => None,
    }
}
