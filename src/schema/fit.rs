//! Whether a value written in a table file fits a type, as strictly as a record's value would be judged.
//!
//! Refuses to convert anything. Its one leniency is for numbers that JSON cannot carry exactly: Decimal
//! and integers of 128 and 256 bits may be written in quotes.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::Value;

use super::decimal::Decimal;
use super::model::{Field, TimeFormat, Type};

/// Days since 1970 of 1900-01-01 and 2299-12-31, the ends of `Date32` and `DateTime64`.
const DAYS: (i64, i64) = (-25_567, 120_529);
const NANOS_PER_SECOND: i128 = 1_000_000_000;

pub(super) fn value(value: &Value, ty: &Type, format: TimeFormat, truncate: bool) -> Result<(), String> {
    Fit { format, truncate }.value(value, ty)
}

struct Fit {
    format: TimeFormat,
    truncate: bool,
}

impl Fit {
    fn value(&self, value: &Value, ty: &Type) -> Result<(), String> {
        match (ty, value) {
            (Type::LowCardinality(inner), _) => self.value(value, inner),
            (Type::Nullable(_), Value::Null) => Ok(()),
            (Type::Nullable(inner), _) => self.value(value, inner),
            (_, Value::Null) => Err("null is for Nullable types".to_owned()),
            (Type::Int(int), _) => {
                let quoted = value.is_string() && int.bits <= 64;
                let number = Decimal::of_value(value).filter(|_| !quoted && !value.is_f64());
                holds(
                    number.is_some_and(|number| number.fits_int(*int)),
                    "a whole number in its range is needed",
                )
            }
            (Type::Float32 | Type::Float64, Value::Number(_)) => Ok(()),
            (Type::Decimal { precision, scale }, _) => {
                let number = Decimal::of_value(value);
                holds(
                    number.is_some_and(|number| number.fits(*precision, *scale)),
                    "a number of so many digits is needed",
                )
            }
            (Type::Bool, Value::Bool(_))
            | (Type::String, Value::String(_))
            | (Type::Json, Value::Object(_)) => Ok(()),
            (Type::FixedString(bytes), Value::String(text)) => {
                holds(text.len() <= *bytes, "the text is too long")
            }
            (Type::Enum8(members) | Type::Enum16(members), Value::String(text)) => {
                holds(members.iter().any(|(name, _)| name == text), "it is not among the names")
            }
            (Type::Uuid, Value::String(text)) => {
                holds(text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(), "it is no UUID")
            }
            (Type::Ipv4, Value::String(text)) => {
                holds(text.parse::<std::net::Ipv4Addr>().is_ok(), "it is no IPv4 address")
            }
            (Type::Ipv6, Value::String(text)) => {
                holds(text.parse::<std::net::Ipv6Addr>().is_ok(), "it is no IPv6 address")
            }
            (Type::Date | Type::Date32 | Type::DateTime { .. } | Type::DateTime64 { .. }, _) => {
                self.time(value, ty)
            }
            (Type::Array(inner), Value::Array(items)) => {
                items.iter().try_for_each(|item| self.value(item, inner))
            }
            (Type::Map(key, inner), Value::Object(entries)) => {
                entries.iter().try_for_each(|(name, value)| {
                    self.key(name, key)?;
                    self.value(value, inner)
                })
            }
            (Type::Tuple(fields), _) => self.fields(value, fields),
            (Type::Nested(fields), Value::Array(rows)) => {
                rows.iter().try_for_each(|row| self.fields(row, fields))
            }
            _ => Err("a value of another kind is needed".to_owned()),
        }
    }

    fn key(&self, name: &str, ty: &Type) -> Result<(), String> {
        match ty.bare() {
            Type::Int(int) => {
                holds(Decimal::parse(name).is_some_and(|number| number.fits_int(*int)), "a key does not fit")
            }
            bare => self.value(&Value::String(name.to_owned()), bare),
        }
    }

    fn fields(&self, value: &Value, fields: &[Field]) -> Result<(), String> {
        match value {
            Value::Array(items)
                if items.len() == fields.len() && fields.iter().all(|field| field.name.is_none()) =>
            {
                items.iter().zip(fields).try_for_each(|(item, field)| self.value(item, &field.ty))
            }
            Value::Object(entries) => {
                let named = |key: &String| fields.iter().any(|field| field.name.as_ref() == Some(key));
                if let Some(key) = entries.keys().find(|key| !named(key)) {
                    return Err(format!("there is no field `{key}`"));
                }
                fields.iter().try_for_each(|field| {
                    let name = field.name.as_deref().ok_or("a list is needed")?;
                    match entries.get(name) {
                        Some(value) => self.value(value, &field.ty),
                        None if field.ty.is_nullable() => Ok(()),
                        None => Err(format!("the field `{name}` is missing")),
                    }
                })
            }
            _ => Err("a value for every field is needed".to_owned()),
        }
    }

    fn time(&self, value: &Value, ty: &Type) -> Result<(), String> {
        let (nanos, digits) = match (self.format, value) {
            (TimeFormat::Iso, Value::String(text)) => match ty {
                Type::Date | Type::Date32 => date(text)?,
                _ => date_time(text)?,
            },
            (TimeFormat::Iso, _) => return Err("a time as text is needed".to_owned()),
            (format, Value::Number(number)) => {
                let ticks = number.as_i64().ok_or("a whole number is needed")?;
                unix(format, ticks)
            }
            _ => return Err("a number since 1970 is needed".to_owned()),
        };
        let seconds = nanos.div_euclid(NANOS_PER_SECOND);
        let days = seconds.div_euclid(86_400);
        let (in_range, digits_max) = match ty {
            Type::Date => ((0..=65_535).contains(&days), 9),
            Type::DateTime { .. } => ((0..=i128::from(u32::MAX)).contains(&seconds), 0),
            Type::DateTime64 { precision: 9, .. } => {
                (i64::try_from(nanos).is_ok() && days >= i128::from(DAYS.0), 9)
            }
            Type::DateTime64 { precision, .. } => (in_days(days), usize::from(*precision)),
            _ => (in_days(days), 9),
        };
        if !in_range {
            return Err("the time is outside of the type's range".to_owned());
        }
        holds(self.truncate || digits <= digits_max, "the time is finer than the type")
    }
}

fn in_days(days: i128) -> bool {
    (i128::from(DAYS.0)..=i128::from(DAYS.1)).contains(&days)
}

fn holds(fits: bool, otherwise: &str) -> Result<(), String> {
    if fits { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Nanoseconds since 1970, and how many digits of the second's fraction are needed.
fn date(text: &str) -> Result<(i128, usize), String> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "a date as YYYY-MM-DD is needed")?;
    Ok(nanos_of(date.and_time(chrono::NaiveTime::MIN).and_utc()))
}

fn date_time(text: &str) -> Result<(i128, usize), String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|time| time.and_utc()))
        .map(nanos_of)
        .map_err(|_| "a time as in RFC 3339 is needed".to_owned())
}

fn nanos_of(time: DateTime<Utc>) -> (i128, usize) {
    let nanos = i128::from(time.timestamp()) * NANOS_PER_SECOND + i128::from(time.timestamp_subsec_nanos());
    (nanos, fraction_digits(nanos))
}

fn unix(format: TimeFormat, ticks: i64) -> (i128, usize) {
    let nanos_per_tick = match format {
        TimeFormat::Iso | TimeFormat::UnixSeconds => NANOS_PER_SECOND,
        TimeFormat::UnixMillis => 1_000_000,
        TimeFormat::UnixMicros => 1_000,
        TimeFormat::UnixNanos => 1,
    };
    let nanos = i128::from(ticks) * nanos_per_tick;
    (nanos, fraction_digits(nanos))
}

fn fraction_digits(nanos: i128) -> usize {
    let mut fraction = nanos.rem_euclid(NANOS_PER_SECOND);
    let mut digits = if fraction == 0 { 0 } else { 9 };
    while fraction != 0 && fraction % 10 == 0 {
        fraction /= 10;
        digits -= 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_fit_or_do_not() {
        for (ty, good, bad) in [
            ("UInt8", json!([0, 255]), json!([-1, 256, 1.0, "1", null])),
            (
                "Int128",
                json!([1, "170141183460469231731687303715884105727"]),
                json!(["170141183460469231731687303715884105728", "1.5"]),
            ),
            ("Decimal(5, 2)", json!([1, 999.99, "-999.99"]), json!([1000, "0.001", "x"])),
            ("FixedString(2)", json!(["ab", ""]), json!(["abc", "äb"])),
            ("Enum8('a' = 1)", json!(["a"]), json!(["b", 1])),
            (
                "Date",
                json!(["1970-01-01", "2149-06-06"]),
                json!(["1969-12-31", "2149-06-07", "2020-01-01T00:00:00Z"]),
            ),
            ("Date32", json!(["1900-01-01", "2299-12-31"]), json!(["1899-12-31", "2300-01-01"])),
            (
                "DateTime",
                json!(["2106-02-07T06:28:15Z"]),
                json!(["2106-02-07T06:28:16Z", "2000-01-01T00:00:00.5Z"]),
            ),
            (
                "DateTime64(3)",
                json!(["2000-01-01 00:00:00.125"]),
                json!(["2000-01-01T00:00:00.1234Z", "2000-01-01", 5]),
            ),
            ("Array(Nullable(Bool))", json!([[], [true, null]]), json!([[1], true])),
            ("Map(UInt8, String)", json!([{"1": "a"}]), json!([{"x": "a"}, {"1": 1}])),
            ("Tuple(a Int8, b Nullable(Int8))", json!([{"a": 1}]), json!([{"b": 1}, {"a": 1, "c": 1}])),
            ("Tuple(Int8, String)", json!([[1, "a"]]), json!([[1], {"a": 1}])),
            ("Nested(a Int8)", json!([[], [{"a": 1}]]), json!([{"a": [1]}, [{}]])),
            ("UUID", json!(["00000000-0000-0000-0000-000000000000"]), json!(["0", ""])),
            ("IPv4", json!(["10.0.0.1"]), json!(["10.0.0.256", "::1"])),
            ("JSON", json!([{}]), json!(["{}", []])),
        ] {
            let parsed: Type = ty.parse().unwrap();
            for value in good.as_array().unwrap() {
                assert_eq!(super::value(value, &parsed, TimeFormat::Iso, false), Ok(()), "{ty}: {value}");
            }
            for value in bad.as_array().unwrap() {
                assert!(super::value(value, &parsed, TimeFormat::Iso, false).is_err(), "{ty}: {value}");
            }
        }
    }
}
