//! Prints a [`Type`] as ClickHouse spells it, and quotes identifiers and literals for its SQL.
//!
//! Refuses to know where the text goes. What it quotes cannot end its own quotes (invariant I11), and
//! what it prints `ty` reads back as the same type.

use std::fmt::{self, Display, Write};

use super::model::{Field, Type};
use super::ty::ESCAPES;

/// Words that ClickHouse itself quotes when they name a field.
const QUOTED_WORDS: [&str; 12] =
    ["all", "table", "distinct", "select", "from", "null", "not", "and", "or", "as", "true", "false"];

/// An identifier between backticks, whatever it holds.
pub fn identifier(name: &str) -> String {
    quoted(name, '`')
}

/// A string literal between single quotes, whatever it holds.
pub fn literal(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match ESCAPES.iter().find(|(raw, _)| *raw == c) {
            Some((_, letter)) => out.extend(['\\', *letter]),
            None if c == quote => out.extend(['\\', c]),
            None => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// A name as the server prints it: between backticks only where it needs them.
pub(super) fn name_as_printed(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !QUOTED_WORDS.iter().any(|word| word.eq_ignore_ascii_case(name));
    if plain { name.to_owned() } else { identifier(name) }
}

impl Type {
    /// The type's name on the wire: as printed, with every `LowCardinality` taken off, since the server
    /// converts.
    pub fn wire_name(&self) -> String {
        self.without_low_cardinality().to_string()
    }

    /// The same type with every `LowCardinality` in it taken off.
    pub fn without_low_cardinality(&self) -> Type {
        let boxed = |inner: &Type| Box::new(inner.without_low_cardinality());
        let all = |fields: &[Field]| {
            fields
                .iter()
                .map(|field| Field { name: field.name.clone(), ty: field.ty.without_low_cardinality() })
                .collect()
        };
        match self {
            Type::LowCardinality(inner) => inner.without_low_cardinality(),
            Type::Nullable(inner) => Type::Nullable(boxed(inner)),
            Type::Array(inner) => Type::Array(boxed(inner)),
            Type::Map(key, value) => Type::Map(boxed(key), boxed(value)),
            Type::Tuple(fields) => Type::Tuple(all(fields)),
            Type::Nested(fields) => Type::Nested(all(fields)),
            other => other.clone(),
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Int(int) => write!(f, "{}Int{}", if int.signed { "" } else { "U" }, int.bits),
            Type::Float32 => f.write_str("Float32"),
            Type::Float64 => f.write_str("Float64"),
            Type::Decimal { precision, scale } => write!(f, "Decimal({precision}, {scale})"),
            Type::Bool => f.write_str("Bool"),
            Type::String => f.write_str("String"),
            Type::FixedString(bytes) => write!(f, "FixedString({bytes})"),
            Type::Uuid => f.write_str("UUID"),
            Type::Date => f.write_str("Date"),
            Type::Date32 => f.write_str("Date32"),
            Type::DateTime { zone: None } => f.write_str("DateTime"),
            Type::DateTime { zone: Some(zone) } => write!(f, "DateTime({})", literal(zone.name())),
            Type::DateTime64 { precision, zone: None } => write!(f, "DateTime64({precision})"),
            Type::DateTime64 { precision, zone: Some(zone) } => {
                write!(f, "DateTime64({precision}, {})", literal(zone.name()))
            }
            Type::Enum8(members) => members_of(f, "Enum8", members),
            Type::Enum16(members) => members_of(f, "Enum16", members),
            Type::Ipv4 => f.write_str("IPv4"),
            Type::Ipv6 => f.write_str("IPv6"),
            Type::Json => f.write_str("JSON"),
            Type::LowCardinality(inner) => write!(f, "LowCardinality({inner})"),
            Type::Nullable(inner) => write!(f, "Nullable({inner})"),
            Type::Array(inner) => write!(f, "Array({inner})"),
            Type::Map(key, value) => write!(f, "Map({key}, {value})"),
            Type::Tuple(fields) => fields_of(f, "Tuple", fields),
            Type::Nested(fields) => fields_of(f, "Nested", fields),
        }
    }
}

fn members_of(f: &mut fmt::Formatter<'_>, name: &str, members: &[(String, i16)]) -> fmt::Result {
    let members = members.iter().map(|(name, value)| format!("{} = {value}", literal(name)));
    listed(f, name, members)
}

fn fields_of(f: &mut fmt::Formatter<'_>, name: &str, fields: &[Field]) -> fmt::Result {
    let fields = fields.iter().map(|field| match &field.name {
        Some(name) => format!("{} {}", name_as_printed(name), field.ty),
        None => field.ty.to_string(),
    });
    listed(f, name, fields)
}

fn listed(f: &mut fmt::Formatter<'_>, name: &str, items: impl Iterator<Item = String>) -> fmt::Result {
    write!(f, "{name}(")?;
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        f.write_str(&item)?;
    }
    f.write_char(')')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::model::Int;
    use proptest::prelude::*;

    fn scalar() -> impl Strategy<Value = Type> {
        let zone = prop_oneof![
            Just(None),
            Just(Some(chrono_tz::Tz::UTC)),
            Just(Some(chrono_tz::Europe::Berlin)),
            Just(Some(chrono_tz::America::Argentina::Buenos_Aires))
        ];
        let member = ("[a-z'\\\\\n\t`ü\u{0} ]{0,6}", any::<i8>());
        let members = prop::collection::vec(member, 1..5).prop_map(|members| {
            let by_value: std::collections::BTreeMap<i16, String> =
                members.into_iter().map(|(name, value)| (i16::from(value), name)).collect();
            by_value.into_iter().map(|(value, name)| (format!("{name}{value}"), value)).collect()
        });
        let members = members.prop_map(|members: Vec<(String, i16)>| members).boxed();
        prop_oneof![
            (prop::sample::select(vec![8, 16, 32, 64, 128, 256]), any::<bool>())
                .prop_map(|(bits, signed)| Type::Int(Int { bits, signed })),
            prop::sample::select(vec![
                Type::Float32,
                Type::Float64,
                Type::Bool,
                Type::String,
                Type::Uuid,
                Type::Date,
                Type::Date32,
                Type::Ipv4,
                Type::Ipv6,
                Type::Json,
                Type::LowCardinality(Box::new(Type::String)),
                Type::LowCardinality(Box::new(Type::Nullable(Box::new(Type::FixedString(2))))),
            ]),
            (1_u8..=76).prop_flat_map(
                |precision| (0..=precision).prop_map(move |scale| Type::Decimal { precision, scale })
            ),
            (1_usize..=300).prop_map(Type::FixedString),
            zone.clone().prop_map(|zone| Type::DateTime { zone }),
            (0_u8..=9, zone).prop_map(|(precision, zone)| Type::DateTime64 { precision, zone }),
            members.clone().prop_map(Type::Enum8),
            members.prop_map(Type::Enum16),
        ]
    }

    fn any_type() -> impl Strategy<Value = Type> {
        scalar().prop_recursive(3, 24, 4, |inner| {
            let names = "[a-z_`\\\\ é0-9]{1,5}";
            let fields = prop::collection::vec((names, inner.clone()), 1..4).prop_map(|fields| {
                let named = |(index, (name, ty)): (usize, (String, Type))| Field {
                    name: Some(format!("{name}{index}")),
                    ty,
                };
                fields.into_iter().enumerate().map(named).collect::<Vec<_>>()
            });
            prop_oneof![
                scalar()
                    .prop_filter("not twice", |ty| !ty.is_nullable() && ty.bare() == ty)
                    .prop_map(|ty| Type::Nullable(Box::new(ty))),
                inner.clone().prop_map(|ty| Type::Array(Box::new(ty))),
                inner.clone().prop_map(|ty| Type::Map(Box::new(Type::String), Box::new(ty))),
                prop::collection::vec(inner, 1..3).prop_map(|types| Type::Tuple(
                    types.into_iter().map(|ty| Field { name: None, ty }).collect()
                )),
                fields.prop_map(Type::Tuple),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_prints_parses_to_the_same(ty in any_type()) {
            prop_assert_eq!(ty.to_string().parse::<Type>(), Ok(ty));
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in "[A-Za-z0-9(), '`=\\\\é-]{0,40}") {
            let _ = text.parse::<Type>();
        }
    }

    #[test]
    fn types_print_as_the_server_prints_them() {
        for (written, printed) in [
            ("Decimal", "Decimal(10, 0)"),
            ("Decimal(5)", "Decimal(5, 0)"),
            ("Decimal32(3)", "Decimal(9, 3)"),
            ("Decimal256( 7 )", "Decimal(76, 7)"),
            ("DateTime64", "DateTime64(3)"),
            ("DateTime64(3,'Europe/Berlin')", "DateTime64(3, 'Europe/Berlin')"),
            ("Enum('b'=2,'a'=1)", "Enum8('a' = 1, 'b' = 2)"),
            ("Enum8('a'=5,'b')", "Enum8('a' = 5, 'b' = 6)"),
            ("Enum('a' = 200)", "Enum16('a' = 200)"),
            (
                r"Enum16('it\'s'=1,'b\\c'=2,'n\nl'=3,'q'''=-4)",
                r"Enum16('q\'' = -4, 'it\'s' = 1, 'b\\c' = 2, 'n\nl' = 3)",
            ),
            (
                "Tuple(`a b` Int8,`select` Int8,c Array( String ))",
                "Tuple(`a b` Int8, `select` Int8, c Array(String))",
            ),
            (
                "Map(LowCardinality(String),Nullable(Float64))",
                "Map(LowCardinality(String), Nullable(Float64))",
            ),
            ("Nested(a.b Int8)", ""),
            ("Nested(a Int8, `b\\`c` String)", r"Nested(a Int8, `b\`c` String)"),
            ("Tuple(Int8,String)", "Tuple(Int8, String)"),
        ] {
            match written.parse::<Type>() {
                Ok(ty) => assert_eq!(ty.to_string(), printed),
                Err(error) => assert!(printed.is_empty(), "{error}"),
            }
        }
    }

    #[test]
    fn what_the_server_refuses_is_refused_with_its_place() {
        for (text, position, part) in [
            ("", 1, "a type was expected"),
            ("int64", 1, "did you mean `Int64`"),
            ("Array(Strnig)", 7, "did you mean `String`"),
            ("Nullable(Array(Int8))", 1, "cannot hold"),
            ("Nullable(Tuple(Int8))", 1, "cannot hold"),
            ("Nullable(LowCardinality(String))", 1, "LowCardinality(Nullable(…))"),
            ("LowCardinality(UInt32)", 1, "suits"),
            ("LowCardinality(Enum8('a'))", 1, "suits"),
            ("Map(Nullable(String), Int8)", 1, "keys"),
            ("Map(LowCardinality(Nullable(String)), Int8)", 1, "keys"),
            ("Map(Float64, Int8)", 1, "keys"),
            ("Tuple(a Int8, String)", 1, "no name"),
            ("Tuple(`null` Int8)", 1, "reserves"),
            ("Array(Nested(a Int8))", 1, "whole column"),
            ("FixedString(0)", 1, "length"),
            ("FixedString(16777216)", 1, "length"),
            ("Decimal(77, 0)", 1, "precision"),
            ("Decimal(5, 6)", 1, "scale"),
            ("DateTime64(10)", 1, "precision"),
            ("DateTime('Mars/Olympus')", 10, "time zone"),
            ("Enum8('a' = 128)", 1, "outside"),
            ("Enum8('a' = 1, 'b' = 1)", 1, "same number"),
            ("Enum8('a' = 1, 'a' = 2)", 1, "twice"),
            ("Enum8('a", 8, "missing"),
            ("String String", 8, "nothing more"),
            ("Array(String", 13, "`)` was expected"),
            ("JSON(max_dynamic_paths=8)", 5, "nothing more"),
        ] {
            let error = text.parse::<Type>().expect_err(text);
            assert!(error.message.contains(part), "{text}: {error}");
            assert_eq!(error.position, position, "{text}: {error}");
        }
        let deep = format!("{}Int8{}", "Array(".repeat(5000), ")".repeat(5000));
        assert!(deep.parse::<Type>().expect_err("deep").message.contains("deeper"));
    }

    #[test]
    fn the_wire_has_no_low_cardinality() {
        let ty: Type =
            "Map(LowCardinality(String), Array(LowCardinality(Nullable(String))))".parse().unwrap();
        assert_eq!(ty.wire_name(), "Map(String, Array(Nullable(String)))");
    }

    #[test]
    fn quotes_cannot_be_ended_from_inside() {
        assert_eq!(identifier(r"a`; DROP TABLE x; --\"), r"`a\`; DROP TABLE x; --\\`");
        assert_eq!(literal("it's\n\\"), r"'it\'s\n\\'");
        assert_eq!(identifier("größe"), "`größe`");
    }
}
