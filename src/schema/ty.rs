//! ClickHouse's type text, read into [`Type`] and printed back as `system.columns.type` spells it.
//!
//! Refuses to know columns and values. It keeps two promises: whatever it reads ClickHouse accepts in a
//! table with default settings, and what it prints it reads back as the same type.

use std::str::FromStr;

use chrono_tz::Tz;

use super::model::{Field, Int, Type};
use super::refusal;

/// Types within types beyond this are refused, so that a hostile text cannot exhaust the stack.
const DEPTH_MAX: usize = 32;

/// Names that read as a simple type.
const SIMPLE: &[(&str, Type)] = &[
    ("Int8", int(8, true)),
    ("Int16", int(16, true)),
    ("Int32", int(32, true)),
    ("Int64", int(64, true)),
    ("Int128", int(128, true)),
    ("Int256", int(256, true)),
    ("UInt8", int(8, false)),
    ("UInt16", int(16, false)),
    ("UInt32", int(32, false)),
    ("UInt64", int(64, false)),
    ("UInt128", int(128, false)),
    ("UInt256", int(256, false)),
    ("Float32", Type::Float32),
    ("Float64", Type::Float64),
    ("Bool", Type::Bool),
    ("String", Type::String),
    ("UUID", Type::Uuid),
    ("Date", Type::Date),
    ("Date32", Type::Date32),
    ("IPv4", Type::Ipv4),
    ("IPv6", Type::Ipv6),
    ("JSON", Type::Json),
];

/// Names that take arguments; for finding what a misspelt name was meant to be.
const WITH_ARGUMENTS: [&str; 17] = [
    "Decimal",
    "Decimal32",
    "Decimal64",
    "Decimal128",
    "Decimal256",
    "FixedString",
    "DateTime",
    "DateTime64",
    "Enum8",
    "Enum16",
    "Enum",
    "LowCardinality",
    "Nullable",
    "Array",
    "Map",
    "Tuple",
    "Nested",
];

const fn int(bits: u16, signed: bool) -> Type {
    Type::Int(Int { bits, signed })
}

/// Why a type text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}, at character {position} of `{text}`")]
pub struct Error {
    pub text: String,
    /// Counted in characters from 1.
    pub position: usize,
    pub message: String,
}

impl FromStr for Type {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parser = Parser { text, rest: text, depth: 0 };
        let ty = parser.ty()?;
        parser.space();
        if parser.rest.is_empty() { Ok(ty) } else { Err(parser.fault("nothing more was expected")) }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn fault(&self, message: impl Into<String>) -> Error {
        self.fault_at(self.rest, message)
    }

    fn fault_at(&self, rest: &str, message: impl Into<String>) -> Error {
        let consumed = self.text.len().saturating_sub(rest.len());
        let position = self.text.get(..consumed).map_or(0, |read| read.chars().count()) + 1;
        Error { text: self.text.to_owned(), position, message: message.into() }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: char) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: char) -> Result<(), Error> {
        if self.take(token) { Ok(()) } else { Err(self.fault(format!("`{token}` was expected"))) }
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn ty(&mut self) -> Result<Type, Error> {
        self.space();
        let start = self.rest;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault(format!("types are nested deeper than {DEPTH_MAX} levels")));
        }
        let name = self.word();
        let ty = match SIMPLE.iter().find(|(simple, _)| *simple == name) {
            Some((_, ty)) => ty.clone(),
            None => self.with_arguments(name, start)?,
        };
        refusal::check(&ty).map_err(|message| self.fault_at(start, message))?;
        self.depth -= 1;
        Ok(ty)
    }

    fn with_arguments(&mut self, name: &str, start: &str) -> Result<Type, Error> {
        Ok(match name {
            "Decimal" => self.decimal()?,
            "Decimal32" => self.decimal_of(9)?,
            "Decimal64" => self.decimal_of(18)?,
            "Decimal128" => self.decimal_of(38)?,
            "Decimal256" => self.decimal_of(76)?,
            "FixedString" => Type::FixedString(self.one(Self::number)?),
            "DateTime" => Type::DateTime { zone: self.optional(Self::zone)? },
            "DateTime64" => self.date_time_64()?,
            "Enum8" => Type::Enum8(self.one(Self::members)?),
            "Enum16" => Type::Enum16(self.one(Self::members)?),
            "Enum" => {
                let members = self.one(Self::members)?;
                let small = members.iter().all(|(_, value)| i8::try_from(*value).is_ok());
                if small { Type::Enum8(members) } else { Type::Enum16(members) }
            }
            "LowCardinality" => Type::LowCardinality(Box::new(self.one(Self::ty)?)),
            "Nullable" => Type::Nullable(Box::new(self.one(Self::ty)?)),
            "Array" => Type::Array(Box::new(self.one(Self::ty)?)),
            "Map" => {
                let (key, value) = self.one(|parser| {
                    let key = parser.ty()?;
                    parser.expect(',')?;
                    Ok((key, parser.ty()?))
                })?;
                Type::Map(Box::new(key), Box::new(value))
            }
            "Tuple" => Type::Tuple(self.one(Self::fields)?),
            "Nested" => Type::Nested(self.one(Self::fields)?),
            _ => return Err(self.fault_at(start, unknown(name))),
        })
    }

    /// What `inner` reads, between parentheses.
    fn one<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.expect('(')?;
        let value = inner(self)?;
        self.expect(')')?;
        Ok(value)
    }

    fn optional<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<Option<T>, Error> {
        if !self.take('(') {
            return Ok(None);
        }
        let value = inner(self)?;
        self.expect(')')?;
        Ok(Some(value))
    }

    fn number<T: FromStr>(&mut self) -> Result<T, Error> {
        self.space();
        let start = self.rest;
        let end = start.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(start.len());
        let (digits, rest) = start.split_at(end);
        self.rest = rest;
        digits.parse().map_err(|_| self.fault_at(start, "a number that fits was expected"))
    }

    fn decimal(&mut self) -> Result<Type, Error> {
        let arguments = self.optional(|parser| {
            let precision = parser.number()?;
            let scale = if parser.take(',') { parser.number()? } else { 0 };
            Ok((precision, scale))
        })?;
        let (precision, scale) = arguments.unwrap_or((10, 0));
        Ok(Type::Decimal { precision, scale })
    }

    fn decimal_of(&mut self, precision: u8) -> Result<Type, Error> {
        Ok(Type::Decimal { precision, scale: self.one(Self::number)? })
    }

    fn date_time_64(&mut self) -> Result<Type, Error> {
        let arguments = self.optional(|parser| {
            let precision = parser.number()?;
            let zone = if parser.take(',') { Some(parser.zone()?) } else { None };
            Ok((precision, zone))
        })?;
        let (precision, zone) = arguments.unwrap_or((3, None));
        Ok(Type::DateTime64 { precision, zone })
    }

    fn zone(&mut self) -> Result<Tz, Error> {
        self.space();
        let start = self.rest;
        let name = self.quoted('\'')?;
        name.parse().map_err(|_| self.fault_at(start, format!("no time zone is called `{name}`")))
    }

    fn members(&mut self) -> Result<Vec<(String, i16)>, Error> {
        let mut members: Vec<(String, i16)> = Vec::new();
        let mut next = Some(1_i16);
        loop {
            let name = self.quoted('\'')?;
            let value = if self.take('=') {
                self.number()?
            } else {
                next.ok_or_else(|| self.fault("the implied number is too large"))?
            };
            next = value.checked_add(1);
            members.push((name, value));
            if !self.take(',') {
                break;
            }
        }
        members.sort_by_key(|(_, value)| *value);
        Ok(members)
    }

    fn fields(&mut self) -> Result<Vec<Field>, Error> {
        let mut fields = Vec::new();
        loop {
            self.space();
            fields.push(if self.rest.starts_with(['`', '"']) || self.word_then_type() {
                let name = match self.rest.chars().next() {
                    Some(quote @ ('`' | '"')) => self.quoted(quote)?,
                    _ => self.word().to_owned(),
                };
                Field { name: Some(name), ty: self.ty()? }
            } else {
                Field { name: None, ty: self.ty()? }
            });
            if !self.take(',') {
                return Ok(fields);
            }
        }
    }

    /// Whether a word and then the start of another one lie ahead: `name Type`, not `Type`.
    fn word_then_type(&self) -> bool {
        let mut ahead = Parser { text: self.text, rest: self.rest, depth: 0 };
        let first = ahead.word();
        ahead.space();
        !first.is_empty() && ahead.rest.starts_with(|c: char| c.is_ascii_alphabetic())
    }

    fn quoted(&mut self, quote: char) -> Result<String, Error> {
        self.expect(quote)?;
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            if c == quote {
                if !chars.as_str().starts_with(quote) {
                    self.rest = chars.as_str();
                    return Ok(text);
                }
                chars.next();
                text.push(quote);
            } else if c == '\\' {
                text.push(chars.next().map_or('\\', unescaped));
            } else {
                text.push(c);
            }
        }
        Err(self.fault(format!("the closing {quote} is missing")))
    }
}

fn unescaped(c: char) -> char {
    ESCAPES.iter().find(|(_, letter)| *letter == c).map_or(c, |(raw, _)| *raw)
}

/// Characters that are written as a backslash and a letter between quotes.
pub(super) const ESCAPES: [(char, char); 7] =
    [('\u{8}', 'b'), ('\u{c}', 'f'), ('\n', 'n'), ('\r', 'r'), ('\t', 't'), ('\0', '0'), ('\\', '\\')];

fn unknown(name: &str) -> String {
    let names = SIMPLE.iter().map(|(name, _)| *name).chain(WITH_ARGUMENTS);
    match super::fault::nearest(name, names) {
        Some(known) => format!("`{name}` is no type; did you mean `{known}`?"),
        None if name.is_empty() => "a type was expected".to_owned(),
        None => format!("`{name}` is no type"),
    }
}
