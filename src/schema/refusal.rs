//! Types that are well formed and that ClickHouse refuses all the same with its default settings.
//!
//! Refuses to read text. The parts of what it judges have been judged before.

use super::model::{Field, Type};

/// `FixedString`'s largest length in ClickHouse.
const FIXED_STRING_BYTES_MAX: usize = 0x00FF_FFFF;

/// What ClickHouse refuses although it is well formed; `ty`'s parts have been checked.
pub(super) fn check(ty: &Type) -> Result<(), String> {
    match ty {
        Type::Decimal { precision, scale } => match (precision, scale) {
            (1..=76, scale) if scale <= precision => Ok(()),
            (1..=76, _) => Err(format!("the scale {scale} is larger than the precision {precision}")),
            _ => Err(format!("the precision {precision} is outside of 1 to 76")),
        },
        Type::FixedString(bytes) if !(1..=FIXED_STRING_BYTES_MAX).contains(bytes) => {
            Err(format!("the length is outside of 1 to {FIXED_STRING_BYTES_MAX}"))
        }
        Type::DateTime64 { precision: 10.., .. } => Err("the precision is outside of 0 to 9".to_owned()),
        Type::Enum8(members) => check_members(members, i16::from(i8::MIN)..=i16::from(i8::MAX)),
        Type::Enum16(members) => check_members(members, i16::MIN..=i16::MAX),
        Type::LowCardinality(inner) => match &**inner {
            Type::String | Type::FixedString(_) | Type::Uuid => Ok(()),
            Type::Nullable(inner) if matches!(**inner, Type::String | Type::FixedString(_) | Type::Uuid) => {
                Ok(())
            }
            other => Err(format!("LowCardinality suits String, FixedString and UUID only, not {other}")),
        },
        Type::Nullable(inner) => match &**inner {
            Type::LowCardinality(_) => {
                Err("Nullable cannot hold LowCardinality; write LowCardinality(Nullable(…))".to_owned())
            }
            other @ (Type::Array(_)
            | Type::Map(..)
            | Type::Tuple(_)
            | Type::Nested(_)
            | Type::Nullable(_)) => Err(format!("Nullable cannot hold {other}")),
            _ => Ok(()),
        },
        Type::Map(key, value) => check_key(key).and_then(|()| not_nested(value)),
        Type::Array(inner) => not_nested(inner),
        Type::Tuple(fields) | Type::Nested(fields) => check_fields(ty, fields),
        _ => Ok(()),
    }
}

fn check_members(members: &[(String, i16)], range: std::ops::RangeInclusive<i16>) -> Result<(), String> {
    if let Some((name, value)) = members.iter().find(|(_, value)| !range.contains(value)) {
        return Err(format!(
            "the number {value} of '{name}' is outside of {} to {}",
            range.start(),
            range.end()
        ));
    }
    let mut names = std::collections::HashSet::new();
    if let Some((name, _)) = members.iter().find(|(name, _)| !names.insert(name)) {
        return Err(format!("the name '{name}' stands twice"));
    }
    match members.iter().zip(members.iter().skip(1)).find(|(a, b)| a.1 == b.1) {
        Some((a, b)) => Err(format!("'{}' and '{}' have the same number", a.0, b.0)),
        None => Ok(()),
    }
}

/// Keys come from JSON, where they are text, so that only kinds with one plain spelling are taken.
fn check_key(key: &Type) -> Result<(), String> {
    match key {
        Type::LowCardinality(inner) if !inner.is_nullable() => Ok(()),
        Type::Int(_) | Type::String | Type::FixedString(_) | Type::Uuid | Type::Ipv4 | Type::Ipv6 => Ok(()),
        Type::Date | Type::Date32 | Type::DateTime { .. } | Type::Enum8(_) | Type::Enum16(_) => Ok(()),
        other => Err(format!("a Map cannot have keys of {other}")),
    }
}

fn not_nested(inner: &Type) -> Result<(), String> {
    match inner {
        Type::Nested(_) => Err("Nested stands for a whole column only; use Array(Tuple(…)) here".to_owned()),
        _ => Ok(()),
    }
}

fn check_fields(ty: &Type, fields: &[Field]) -> Result<(), String> {
    let named = fields.iter().filter(|field| field.name.is_some()).count();
    let nested = matches!(ty, Type::Nested(_));
    if named != fields.len() && (named != 0 || nested) {
        return Err("some fields have no name".to_owned());
    }
    let mut names = std::collections::HashSet::new();
    for field in fields {
        not_nested(&field.ty)?;
        match field.name.as_deref() {
            Some("") => return Err("a field's name is empty".to_owned()),
            Some(name) if name.contains('\0') => return Err("a field's name holds a NUL".to_owned()),
            Some("null") => return Err("ClickHouse reserves the field name `null`".to_owned()),
            Some(name) if !names.insert(name) => return Err(format!("the field `{name}` stands twice")),
            _ => {}
        }
    }
    Ok(())
}
