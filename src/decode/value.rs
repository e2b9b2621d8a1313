//! One JSON value into one column, by the column's type.
//!
//! Refuses to know fields, paths and rules beyond the type. Whatever it may have appended before a fault
//! is for the caller to take back.

use crate::columns::Full;
use crate::columns::builder::Builder;
use crate::schema::Type;
use crate::schema::model::{Coercion, TimeFormat};

use super::fault::{Fault, Result};
use super::json::{Cursor, Keys, Number};
use super::nested::TupleShape;
use super::number;
use super::reject::Reason;
use super::text::{self, Names};
use super::time::TimeType;
use super::wide::Wide;

/// What is reused from value to value and from record to record.
#[derive(Debug)]
pub struct Context {
    pub scratch: String,
    pub keys: Keys,
    /// The unknown fields of this record, as `"key":value,` one after another.
    pub rest: String,
    /// Unknown fields of this record that were left out.
    pub ignored: u64,
    pub unknown: Unknown,
    /// Milliseconds since 1970 that bounds of time are measured from.
    pub reference_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    Ignore,
    Reject,
    Keep,
}

/// How a column wants its values read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    pub coercion: Coercion,
    pub time_format: TimeFormat,
}

/// A type, compiled.
#[derive(Debug)]
pub struct Shape {
    pub kind: Kind,
    pub nullable: bool,
    /// For messages.
    name: Box<str>,
}

#[derive(Debug)]
pub enum Kind {
    /// Up to 64 bits.
    Int,
    WideInt {
        bits: u16,
        signed: bool,
    },
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bool,
    String,
    FixedString,
    Uuid,
    Time(TimeType),
    Enum(Names),
    Ipv4,
    Ipv6,
    Json,
    Array(Box<Shape>),
    Map {
        key: Box<Shape>,
        value: Box<Shape>,
    },
    Tuple(Box<TupleShape>),
    /// A column of type Nested: an array of objects, each field into a list of its own.
    Nested(Box<TupleShape>),
}

impl From<Full> for Reason {
    fn from(_: Full) -> Self {
        Reason::TooLarge
    }
}

impl Shape {
    /// A column of its own.
    pub fn column(ty: &Type) -> Self {
        match ty {
            Type::Nested(fields) => Shape {
                kind: Kind::Nested(Box::new(TupleShape::new(fields))),
                nullable: false,
                name: "Nested".into(),
            },
            other => Shape::new(other),
        }
    }

    pub fn new(ty: &Type) -> Self {
        let bare = ty.bare();
        let kind = match bare {
            Type::Int(int) if int.bits <= 64 => Kind::Int,
            Type::Int(int) => Kind::WideInt { bits: int.bits, signed: int.signed },
            Type::Float32 => Kind::Float32,
            Type::Float64 => Kind::Float64,
            Type::Decimal { precision, scale } => Kind::Decimal { precision: *precision, scale: *scale },
            Type::Bool => Kind::Bool,
            Type::FixedString(_) => Kind::FixedString,
            Type::Uuid => Kind::Uuid,
            Type::Enum8(values) | Type::Enum16(values) => Kind::Enum(Names::new(values)),
            Type::Ipv4 => Kind::Ipv4,
            Type::Ipv6 => Kind::Ipv6,
            Type::Json => Kind::Json,
            Type::Array(element) => Kind::Array(Box::new(Shape::new(element))),
            Type::Map(key, value) => {
                Kind::Map { key: Box::new(Shape::new(key)), value: Box::new(Shape::new(value)) }
            }
            Type::Tuple(fields) => Kind::Tuple(Box::new(TupleShape::new(fields))),
            Type::Nested(fields) => Kind::Array(Box::new(Shape {
                kind: Kind::Tuple(Box::new(TupleShape::new(fields))),
                nullable: false,
                name: "Nested".into(),
            })),
            time => TimeType::new(time).map_or(Kind::String, Kind::Time),
        };
        let name = match bare {
            Type::Enum8(_) | Type::Enum16(_) => "an enumeration".into(),
            Type::Tuple(_) | Type::Nested(_) | Type::Map(..) | Type::Array(_) => {
                bare.wire_name().split('(').next().unwrap_or_default().into()
            }
            other => other.wire_name().into(),
        };
        Shape { kind, nullable: ty.is_nullable(), name }
    }

    /// Reads the value at the cursor, null included.
    #[inline]
    pub fn read(
        &mut self,
        rules: Rules,
        cursor: &mut Cursor<'_>,
        cx: &mut Context,
        to: &mut Builder,
    ) -> Result {
        if cursor.peek() == b'n' {
            cursor.literal("null")?;
            return self.push_null(to);
        }
        self.read_present(rules, cursor, cx, to)
    }

    pub fn push_null(&self, to: &mut Builder) -> Result {
        if !self.nullable {
            return Err(self.null_fault());
        }
        to.push_null().map_err(|full| self.fault(full.into(), "null"))
    }

    #[cold]
    pub fn null_fault(&self) -> Fault {
        Fault::new(Reason::NullValue, format!("expected {}, found null", self.name))
    }

    /// Reads the value at the cursor, which [`Cursor::peek`] has shown not to be null.
    #[inline]
    pub fn read_present(
        &mut self,
        rules: Rules,
        cursor: &mut Cursor<'_>,
        cx: &mut Context,
        to: &mut Builder,
    ) -> Result {
        match cursor.peek() {
            b'"' => {
                let text = cursor.string(&mut cx.scratch)?;
                self.push_text(text, rules, to).map_err(|reason| self.text_fault(reason, text))
            }
            b'-' | b'0'..=b'9' => self.read_number(rules, cursor, to),
            b't' => self.read_bool(true, rules, cursor, to),
            b'f' => self.read_bool(false, rules, cursor, to),
            b'{' | b'[' => self.read_nested(rules, cursor, cx, to),
            _ => Err(cursor.invalid("a value")),
        }
    }

    /// Appends what a text stands for.
    #[inline]
    pub fn push_text(&self, text: &str, rules: Rules, to: &mut Builder) -> std::result::Result<(), Reason> {
        match (&self.kind, &mut *to) {
            (Kind::String, Builder::Text(to)) => Ok(to.push(text)?),
            (Kind::Time(time), to) if rules.time_format == TimeFormat::Iso => {
                number::push_i64(to, time.ticks_of_text(text, rules.coercion.truncate)?)
            }
            (Kind::Enum(names), to) => {
                number::push_i64(to, i64::from(names.get(text).ok_or(Reason::NotInEnum)?))
            }
            (Kind::Uuid, Builder::Bytes(to)) => {
                Ok(to.push(&text::uuid(text.as_bytes()).ok_or(Reason::BadFormat)?)?)
            }
            (Kind::FixedString, Builder::Bytes(to)) if text.len() > to.width() => Err(Reason::BadLength),
            (Kind::FixedString, Builder::Bytes(to)) => Ok(to.push(text.as_bytes())?),
            (Kind::Ipv4, Builder::U32(to)) => {
                to.push(text::ipv4(text).ok_or(Reason::BadFormat)?);
                Ok(())
            }
            (Kind::Ipv6, Builder::Bytes(to)) => Ok(to.push(&text::ipv6(text).ok_or(Reason::BadFormat)?)?),
            _ if !rules.coercion.from_string => Err(Reason::WrongType),
            (Kind::Bool, Builder::U8(to)) => {
                to.push(match text {
                    "true" => 1,
                    "false" => 0,
                    _ => return Err(Reason::BadFormat),
                });
                Ok(())
            }
            (Kind::Int | Kind::WideInt { .. } | Kind::Float32 | Kind::Float64, _)
            | (Kind::Decimal { .. } | Kind::Time(_), _) => {
                let number = Number::parse(text).ok_or(Reason::BadFormat)?;
                self.push_number(&number, rules, to)
            }
            _ => Err(Reason::WrongType),
        }
    }

    #[inline]
    fn read_number(&self, rules: Rules, cursor: &mut Cursor<'_>, to: &mut Builder) -> Result {
        if matches!(self.kind, Kind::Int)
            && let Some(value) = cursor.small_integer()
        {
            return number::push_i64(to, value).map_err(|reason| self.fault(reason, "a number"));
        }
        let number = cursor.number()?;
        self.push_number(&number, rules, to).map_err(|reason| self.number_fault(reason, &number))
    }

    fn push_number(
        &self,
        number: &Number<'_>,
        rules: Rules,
        to: &mut Builder,
    ) -> std::result::Result<(), Reason> {
        match (&self.kind, &mut *to) {
            (Kind::Float64, Builder::F64(to)) => to.push(number::double(number)?),
            (Kind::Float32, Builder::F32(to)) => to.push(number::single(number)?),
            (Kind::Int, to) => number::push_wide(to, number::whole(number, rules.coercion)?)?,
            (Kind::WideInt { bits, signed }, Builder::Bytes(to)) => {
                push_bytes(number::whole(number, rules.coercion)?, (*bits, *signed), to)?;
            }
            (Kind::Decimal { precision, scale }, to) => {
                if let (Some(value), Builder::I32(_) | Builder::I64(_)) =
                    (number::small_decimal(number, *precision, *scale), &*to)
                {
                    return number::push_i64(to, value);
                }
                let value = number::decimal(number, *precision, *scale, rules.coercion.truncate)?;
                match to {
                    Builder::Bytes(to) => {
                        push_bytes(value, (if *precision > 38 { 256 } else { 128 }, true), to)?
                    }
                    to => number::push_wide(to, value)?,
                }
            }
            (Kind::Time(time), to) => {
                number::push_i64(
                    to,
                    time.ticks_of_unix(number, rules.time_format, rules.coercion.truncate)?,
                )?;
            }
            (Kind::Bool, Builder::U8(to)) if rules.coercion.bool_from_number => {
                to.push(match number.text {
                    "0" => 0,
                    "1" => 1,
                    _ => return Err(Reason::OutOfRange),
                });
            }
            (Kind::String, Builder::Text(to)) if rules.coercion.to_string => to.push(number.text)?,
            (Kind::Enum(names), to) if rules.coercion.to_string => {
                let value = Wide::scaled(number, 0)?.value.to_i64().filter(|_| number.plain);
                let value = value.filter(|value| names.has_value(*value));
                number::push_i64(to, value.ok_or(Reason::NotInEnum)?)?;
            }
            _ => return Err(Reason::WrongType),
        }
        Ok(())
    }

    fn read_bool(&self, value: bool, rules: Rules, cursor: &mut Cursor<'_>, to: &mut Builder) -> Result {
        let word = if value { "true" } else { "false" };
        cursor.literal(word)?;
        match (&self.kind, to) {
            (Kind::Bool, Builder::U8(to)) => {
                to.push(u8::from(value));
                Ok(())
            }
            (Kind::String, Builder::Text(to)) if rules.coercion.to_string => {
                to.push(word).map_err(|full| self.fault(full.into(), "a boolean"))
            }
            _ => Err(self.fault(Reason::WrongType, "a boolean")),
        }
    }

    fn read_nested(
        &mut self,
        rules: Rules,
        cursor: &mut Cursor<'_>,
        cx: &mut Context,
        to: &mut Builder,
    ) -> Result {
        let object = cursor.peek() == b'{';
        match (&mut self.kind, &mut *to) {
            (Kind::Json, Builder::Text(to)) if object => {
                let start = cursor.position();
                cursor.skip(Some(&mut cx.keys))?;
                to.push(cursor.since(start)).map_err(|full| self.fault(full.into(), "an object"))
            }
            (Kind::Array(element), Builder::List(list)) if !object => {
                element.read_array(rules, cursor, cx, list)
            }
            (Kind::Map { key, value }, Builder::List(list)) if object => {
                super::nested::read_map((key, value), rules, cursor, cx, list)
            }
            (Kind::Tuple(tuple), Builder::Tuple(to)) => tuple.read(rules, cursor, cx, to.children_mut()),
            (Kind::Nested(tuple), Builder::List(list)) if !object => {
                tuple.read_nested(rules, cursor, cx, list)
            }
            _ => {
                // The reason is only the wrong type if the text is JSON at all.
                cursor.skip(None)?;
                Err(self.fault(Reason::WrongType, if object { "an object" } else { "an array" }))
            }
        }
    }

    #[cold]
    fn text_fault(&self, reason: Reason, text: &str) -> Fault {
        self.fault(reason, &format!("a string of {} bytes", text.len()))
    }

    #[cold]
    fn number_fault(&self, reason: Reason, number: &Number<'_>) -> Fault {
        self.fault(
            reason,
            if number.plain { "a whole number" } else { "a number with a fraction or exponent" },
        )
    }

    #[cold]
    pub fn fault(&self, reason: Reason, found: &str) -> Fault {
        let name = &self.name;
        let detail = match reason {
            Reason::OutOfRange => format!("{found} is outside the range of {name}"),
            Reason::PrecisionLoss => format!("{found} has digits that {name} cannot hold"),
            Reason::BadFormat => format!("{found} is not written as {name} demands"),
            Reason::NotInEnum => format!("{found} is none of the column's names"),
            Reason::BadLength => format!("{found} is too long for {name}"),
            Reason::TooLarge => format!("{found} finds no room in the column's batch"),
            _ => format!("expected {name}, found {found}"),
        };
        Fault::new(reason, detail)
    }
}

fn push_bytes(
    value: Wide,
    (bits, signed): (u16, bool),
    to: &mut crate::columns::builder::Bytes,
) -> std::result::Result<(), Reason> {
    let bytes = value.to_bytes(bits, signed).ok_or(Reason::OutOfRange)?;
    Ok(to.push(bytes.get(..to.width()).unwrap_or_default())?)
}
