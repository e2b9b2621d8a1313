//! One column's values while its batch is open, of whatever layout.
//!
//! Refuses to know names and metadata of columns. It is an enum so that appending a value costs a
//! predictable branch and no dynamic call.

use arrow_array::ArrayRef;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_schema::DataType;

use crate::schema::Type;
use crate::schema::model::{Field, Int};

pub use super::bytes::Bytes;
pub use super::nested::{List, Tuple};
pub use super::primitive::Fixed;
pub use super::text::Text;
use super::{Error, Full};

#[derive(Debug)]
pub enum Builder {
    I8(Fixed<i8>),
    I16(Fixed<i16>),
    I32(Fixed<i32>),
    I64(Fixed<i64>),
    U8(Fixed<u8>),
    U16(Fixed<u16>),
    U32(Fixed<u32>),
    U64(Fixed<u64>),
    F32(Fixed<f32>),
    F64(Fixed<f64>),
    Text(Text),
    Bytes(Bytes),
    List(List),
    Tuple(Tuple),
}

/// Runs the same expression on every layout of a machine number, and others on the rest.
macro_rules! each {
    ($self:expr, $fixed:ident => $run:expr, { $($other:pat => $with:expr),* $(,)? }) => {
        match $self {
            Builder::I8($fixed) => $run,
            Builder::I16($fixed) => $run,
            Builder::I32($fixed) => $run,
            Builder::I64($fixed) => $run,
            Builder::U8($fixed) => $run,
            Builder::U16($fixed) => $run,
            Builder::U32($fixed) => $run,
            Builder::U64($fixed) => $run,
            Builder::F32($fixed) => $run,
            Builder::F64($fixed) => $run,
            $($other => $with),*
        }
    };
}

/// Runs the same expression on two builders of one layout.
macro_rules! pairs {
    ($pair:expr, $a:ident, $b:ident => $run:expr, { $($other:pat => $with:expr),* $(,)? }) => {
        match $pair {
            (Builder::I8($a), Builder::I8($b)) => $run,
            (Builder::I16($a), Builder::I16($b)) => $run,
            (Builder::I32($a), Builder::I32($b)) => $run,
            (Builder::I64($a), Builder::I64($b)) => $run,
            (Builder::U8($a), Builder::U8($b)) => $run,
            (Builder::U16($a), Builder::U16($b)) => $run,
            (Builder::U32($a), Builder::U32($b)) => $run,
            (Builder::U64($a), Builder::U64($b)) => $run,
            (Builder::F32($a), Builder::F32($b)) => $run,
            (Builder::F64($a), Builder::F64($b)) => $run,
            $($other => $with),*
        }
    };
}

impl Builder {
    pub fn new(ty: &Type) -> Self {
        let nullable = ty.is_nullable();
        match ty.bare() {
            Type::Int(int) => Builder::int(*int, nullable),
            Type::Float32 => Builder::F32(Fixed::new(nullable)),
            Type::Float64 => Builder::F64(Fixed::new(nullable)),
            Type::Decimal { precision, .. } => match precision {
                0..=9 => Builder::I32(Fixed::new(nullable)),
                10..=18 => Builder::I64(Fixed::new(nullable)),
                19..=38 => Builder::Bytes(Bytes::new(16, nullable)),
                _ => Builder::Bytes(Bytes::new(32, nullable)),
            },
            Type::Bool => Builder::U8(Fixed::new(nullable)),
            Type::Enum8(_) => Builder::I8(Fixed::new(nullable)),
            Type::Enum16(_) => Builder::I16(Fixed::new(nullable)),
            Type::Date => Builder::U16(Fixed::new(nullable)),
            Type::Date32 => Builder::I32(Fixed::new(nullable)),
            Type::DateTime { .. } | Type::Ipv4 => Builder::U32(Fixed::new(nullable)),
            Type::DateTime64 { .. } => Builder::I64(Fixed::new(nullable)),
            Type::FixedString(width) => Builder::Bytes(Bytes::new(*width, nullable)),
            Type::Uuid | Type::Ipv6 => Builder::Bytes(Bytes::new(16, nullable)),
            Type::Array(element) => Builder::List(List::new(vec![Builder::new(element)])),
            Type::Map(key, value) => {
                let pair = Tuple::new(vec![Builder::new(key), Builder::new(value)]);
                Builder::List(List::new(vec![Builder::Tuple(pair)]))
            }
            Type::Tuple(fields) => Builder::tuple(fields),
            Type::Nested(fields) => Builder::List(List::new(vec![Builder::tuple(fields)])),
            // `bare` has taken the last two off.
            Type::String | Type::Json | Type::LowCardinality(_) | Type::Nullable(_) => {
                Builder::Text(Text::new(nullable))
            }
        }
    }

    /// A column of its own of type Nested: one child per field. Deeper down Nested is an array of tuples.
    pub fn column(ty: &Type) -> Self {
        match ty {
            Type::Nested(fields) => {
                Builder::List(List::new(fields.iter().map(|field| Builder::new(&field.ty)).collect()))
            }
            other => Builder::new(other),
        }
    }

    fn tuple(fields: &[Field]) -> Self {
        Builder::Tuple(Tuple::new(fields.iter().map(|field| Builder::new(&field.ty)).collect()))
    }

    fn int(int: Int, nullable: bool) -> Self {
        match (int.signed, int.bits) {
            (true, 8) => Builder::I8(Fixed::new(nullable)),
            (true, 16) => Builder::I16(Fixed::new(nullable)),
            (true, 32) => Builder::I32(Fixed::new(nullable)),
            (true, 64) => Builder::I64(Fixed::new(nullable)),
            (false, 8) => Builder::U8(Fixed::new(nullable)),
            (false, 16) => Builder::U16(Fixed::new(nullable)),
            (false, 32) => Builder::U32(Fixed::new(nullable)),
            (false, 64) => Builder::U64(Fixed::new(nullable)),
            (_, 128) => Builder::Bytes(Bytes::new(16, nullable)),
            (_, _) => Builder::Bytes(Bytes::new(32, nullable)),
        }
    }

    pub fn len(&self) -> usize {
        each!(self, fixed => fixed.rows(), {
            Builder::Text(text) => text.rows(),
            Builder::Bytes(bytes) => bytes.rows(),
            Builder::List(list) => list.rows(),
            Builder::Tuple(tuple) => tuple.rows(),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of values and offsets held; the null bitmap is not counted.
    pub fn bytes(&self) -> usize {
        match self {
            Builder::I8(_) | Builder::U8(_) => self.len(),
            Builder::I16(_) | Builder::U16(_) => self.len() * 2,
            Builder::I32(_) | Builder::U32(_) | Builder::F32(_) => self.len() * 4,
            Builder::I64(_) | Builder::U64(_) | Builder::F64(_) => self.len() * 8,
            Builder::Text(text) => text.value_bytes() + text.rows() * 4,
            Builder::Bytes(bytes) => bytes.value_bytes(),
            Builder::List(list) => list.value_bytes(),
            Builder::Tuple(tuple) => tuple.value_bytes(),
        }
    }

    pub fn nullable(&self) -> bool {
        each!(self, fixed => fixed.nullable(), {
            Builder::Text(text) => text.nullable(),
            Builder::Bytes(bytes) => bytes.nullable(),
            Builder::List(_) | Builder::Tuple(_) => false,
        })
    }

    /// Whether the row is NULL. Lists and tuples never are.
    pub fn is_null(&self, row: usize) -> bool {
        each!(self, fixed => fixed.is_null(row), {
            Builder::Text(text) => text.is_null(row),
            Builder::Bytes(bytes) => bytes.is_null(row),
            Builder::List(_) | Builder::Tuple(_) => false,
        })
    }

    /// Appends NULL. Lists and tuples cannot hold it; for them this is a fault of the caller.
    pub fn push_null(&mut self) -> Result<(), Full> {
        each!(self, fixed => { fixed.push_null(); Ok(()) }, {
            Builder::Text(text) => { text.push_null(); Ok(()) },
            Builder::Bytes(bytes) => bytes.push_null(),
            Builder::List(_) | Builder::Tuple(_) => Err(Full),
        })
    }

    /// Appends a copy of another builder's row; both must be of one type.
    pub fn push_from(&mut self, other: &Builder, row: usize) -> Result<(), Full> {
        pairs!((self, other), a, b => { a.push_from(b, row); Ok(()) }, {
            (Builder::Text(a), Builder::Text(b)) => a.push_from(b, row),
            (Builder::Bytes(a), Builder::Bytes(b)) => a.push_from(b, row),
            (Builder::List(a), Builder::List(b)) => a.push_from(b, row),
            (Builder::Tuple(a), Builder::Tuple(b)) => a.push_from(b, row),
            _ => Err(Full),
        })
    }

    /// Whether the last value equals another builder's row. Lists and tuples are never equal.
    pub fn last_equals(&self, other: &Builder, row: usize) -> bool {
        pairs!((self, other), a, b => a.last_equals(b, row), {
            (Builder::Text(a), Builder::Text(b)) => a.last_equals(b, row),
            (Builder::Bytes(a), Builder::Bytes(b)) => a.last_equals(b, row),
            _ => false,
        })
    }

    pub fn truncate(&mut self, rows: usize) {
        each!(self, fixed => fixed.truncate(rows), {
            Builder::Text(text) => text.truncate(rows),
            Builder::Bytes(bytes) => bytes.truncate(rows),
            Builder::List(list) => list.truncate(rows),
            Builder::Tuple(tuple) => tuple.truncate(rows),
        });
    }

    /// The array of all rows; the builder is empty afterwards, with room for as many again.
    pub fn finish(&mut self, ty: &DataType) -> Result<ArrayRef, Error> {
        match self {
            Builder::I8(fixed) => fixed.finish::<Int8Type>(),
            Builder::I16(fixed) => fixed.finish::<Int16Type>(),
            Builder::I32(fixed) => fixed.finish::<Int32Type>(),
            Builder::I64(fixed) => fixed.finish::<Int64Type>(),
            Builder::U8(fixed) => fixed.finish::<UInt8Type>(),
            Builder::U16(fixed) => fixed.finish::<UInt16Type>(),
            Builder::U32(fixed) => fixed.finish::<UInt32Type>(),
            Builder::U64(fixed) => fixed.finish::<UInt64Type>(),
            Builder::F32(fixed) => fixed.finish::<Float32Type>(),
            Builder::F64(fixed) => fixed.finish::<Float64Type>(),
            Builder::Text(text) => text.finish(),
            Builder::Bytes(bytes) => bytes.finish(),
            Builder::List(list) => {
                let DataType::List(field) = ty else { return Err(Error::Layout) };
                list.finish(std::slice::from_ref(field.as_ref()))?.pop().ok_or(Error::Layout)
            }
            Builder::Tuple(tuple) => tuple.finish(ty),
        }
    }
}
