//! Per type and reason: what lands as which value, and what is refused for which reason.

use super::*;
use crate::decode::Reason;
use crate::schema::model::{Field, Format};
use Reason::*;

/// Decodes `{"v": <value>}` into a column of one type.
fn one(column: Column, value: &str) -> Result<String, Reason> {
    let result = decoded(table(vec![column]), &format!("{{\"v\": {value}}}"));
    result.map(|row| row.join(";")).map_err(|rejection| {
        assert!(rejection.path.starts_with('v') || rejection.reason == InvalidJson, "{rejection}");
        rejection.reason
    })
}

fn run(ty: &Type, cases: &[(&str, Result<&str, Reason>)]) {
    for (value, expected) in cases {
        let expected = expected.map(str::to_owned);
        assert_eq!(one(column("v", ty.clone()), value), expected, "{ty:?} {value}");
    }
}

#[test]
fn integers_are_exact_or_refused() {
    run(
        &int(8, false),
        &[
            ("255", Ok("255")),
            ("300", Err(OutOfRange)),
            ("-1", Err(OutOfRange)),
            ("-0", Ok("0")),
            ("1.0", Err(WrongType)),
        ],
    );
    run(&int(8, true), &[("-128", Ok("-128")), ("128", Err(OutOfRange)), ("\"1\"", Err(WrongType))]);
    run(
        &int(64, true),
        &[("-9223372036854775808", Ok("-9223372036854775808")), ("9223372036854775808", Err(OutOfRange))],
    );
    run(
        &int(64, false),
        &[
            ("18446744073709551615", Ok("18446744073709551615")),
            ("18446744073709551616", Err(OutOfRange)),
            ("1e3", Err(WrongType)),
            ("true", Err(WrongType)),
            ("null", Err(NullValue)),
            ("[1]", Err(WrongType)),
            ("01", Err(InvalidJson)),
            ("NaN", Err(InvalidJson)),
            ("+1", Err(InvalidJson)),
        ],
    );
    run(&int(128, true), &[("-2", Ok("feffffffffffffffffffffffffffffff")), ("1e40", Err(WrongType))]);
    let limit = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    let all = "f".repeat(64);
    run(&int(256, false), &[(limit, Ok(&all)), (&format!("{limit}0"), Err(OutOfRange))]);
}

#[test]
fn floats_are_nearest_and_finite() {
    run(
        &Type::Float64,
        &[
            ("0.1", Ok("0.1")),
            ("-0.0", Ok("-0")),
            ("123456789012345678", Ok("123456789012345680")),
            ("1e400", Err(OutOfRange)),
            ("1.7976931348623157e308", Ok(&f64::MAX.to_string())),
            ("1e-400", Ok("0")),
            ("\"1\"", Err(WrongType)),
        ],
    );
    run(&Type::Float32, &[("16777217", Ok("16777216")), ("1e39", Err(OutOfRange)), ("0.1", Ok("0.1"))]);
}

#[test]
fn decimals_keep_every_digit() {
    run(
        &Type::Decimal { precision: 9, scale: 2 },
        &[
            ("1.25", Ok("125")),
            ("-1.2", Ok("-120")),
            ("1.250", Ok("125")),
            ("1.255", Err(PrecisionLoss)),
            ("1e2", Ok("10000")),
            ("9999999.99", Ok("999999999")),
            ("10000000", Err(OutOfRange)),
        ],
    );
    run(&Type::Decimal { precision: 38, scale: 0 }, &[("1", Ok("01000000000000000000000000000000"))]);
    let mut cut = column("v", Type::Decimal { precision: 18, scale: 1 });
    cut.coercion.truncate = true;
    assert_eq!(one(cut, "-1.29").as_deref(), Ok("-12"));
}

#[test]
fn texts_have_their_forms() {
    run(
        &Type::String,
        &[
            (r#""aä\u00e4\ud83d\ude00\n""#, Ok("aää😀\n")),
            (r#""\ud83d""#, Err(InvalidJson)),
            (r#""\ude00""#, Err(InvalidJson)),
            ("\"a\tb\"", Err(InvalidJson)),
            ("12", Err(WrongType)),
            ("{}", Err(WrongType)),
            ("\"0123456789abcdef\\\"\"", Ok("0123456789abcdef\"")),
        ],
    );
    run(&Type::FixedString(3), &[("\"ab\"", Ok("616200")), ("\"abcd\"", Err(BadLength))]);
    run(
        &Type::Uuid,
        &[
            ("\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\"", Ok("e711b35c04c4f061a0dbd36a00a67b90")),
            ("\"61f0c404-5cb3-11e7-907b-a6006ad3dbg0\"", Err(BadFormat)),
            ("\"61f0c4045cb311e7907ba6006ad3dba0\"", Err(BadFormat)),
        ],
    );
    run(
        &Type::Ipv4,
        &[
            ("\"1.2.3.4\"", Ok("16909060")),
            ("\"1.2.3.256\"", Err(BadFormat)),
            ("\"1.2.3.04\"", Err(BadFormat)),
        ],
    );
    run(&Type::Ipv6, &[("\"::1\"", Ok("00000000000000000000000000000001")), ("\"1.2.3.4\"", Err(BadFormat))]);
    run(&Type::Bool, &[("true", Ok("1")), ("0", Err(WrongType)), ("\"true\"", Err(WrongType))]);
    let names = Type::Enum8(vec![("a".into(), 1), ("b".into(), -2)]);
    run(&names, &[("\"b\"", Ok("-2")), ("\"c\"", Err(NotInEnum)), ("1", Err(WrongType))]);
    run(
        &Type::Json,
        &[
            (r#"{"b": [1, {"a":2}]}"#, Ok(r#"{"b": [1, {"a":2}]}"#)),
            ("[]", Err(WrongType)),
            (r#"{"b":{"a":1,"\u0061":2}}"#, Err(DuplicateKey)),
        ],
    );
}

#[test]
fn times_are_moments_or_refused() {
    run(
        &Type::Date,
        &[
            ("\"1970-01-01\"", Ok("0")),
            ("\"2149-06-06\"", Ok("65535")),
            ("\"2149-06-07\"", Err(OutOfRange)),
            ("\"1969-12-31\"", Err(OutOfRange)),
            ("\"2023-02-29\"", Err(BadFormat)),
            ("\"2024-2-9\"", Err(BadFormat)),
            ("\"2024-02-29T00:00:00Z\"", Err(BadFormat)),
            ("0", Err(WrongType)),
        ],
    );
    run(
        &Type::Date32,
        &[
            ("\"1900-01-01\"", Ok("-25567")),
            ("\"2299-12-31\"", Ok("120529")),
            ("\"1899-12-31\"", Err(OutOfRange)),
            ("\"2300-01-01\"", Err(OutOfRange)),
        ],
    );
    run(
        &Type::DateTime { zone: None },
        &[
            ("\"2024-02-29T12:00:00+02:00\"", Ok("1709200800")),
            ("\"2024-02-29 10:00:00\"", Ok("1709200800")),
            ("\"2024-02-29T10:00:00\"", Err(BadFormat)),
            ("\"2106-02-07T06:28:15Z\"", Ok("4294967295")),
            ("\"2106-02-07T06:28:16Z\"", Err(OutOfRange)),
            ("\"2107-01-01T00:00:00Z\"", Err(OutOfRange)),
            ("\"1969-12-31T23:59:59Z\"", Err(OutOfRange)),
            ("\"2016-12-31T23:59:60Z\"", Err(BadFormat)),
            ("\"2024-01-01T24:00:00Z\"", Err(BadFormat)),
            ("\"2024-01-01T00:00:00.5Z\"", Err(PrecisionLoss)),
            ("\"2024-01-01T00:00:00.000Z\"", Ok("1704067200")),
            ("\"01/02/2024 10:00:00\"", Err(BadFormat)),
            ("\"Thu, 29 Feb 2024 10:00:00 GMT\"", Err(BadFormat)),
        ],
    );
    let berlin = Some(chrono_tz::Europe::Berlin);
    run(
        &Type::DateTime { zone: berlin },
        &[
            ("\"2024-07-01 12:00:00\"", Ok("1719828000")),
            ("\"2024-03-31 02:30:00\"", Err(BadFormat)),
            ("\"2024-10-27 02:30:00\"", Err(BadFormat)),
            ("\"2024-10-27T02:30:00+01:00\"", Ok("1729992600")),
        ],
    );
    run(
        &Type::DateTime64 { precision: 3, zone: None },
        &[
            ("\"1969-12-31T23:59:59.999Z\"", Ok("-1")),
            ("\"2024-01-01 00:00:00.1234\"", Err(PrecisionLoss)),
            ("\"1899-12-31T23:59:59Z\"", Err(OutOfRange)),
            ("\"2299-12-31T23:59:59.999Z\"", Ok("10413791999999")),
            ("\"2300-01-01T00:00:00Z\"", Err(OutOfRange)),
            ("\"2024-01-01T00:00:00.Z\"", Err(BadFormat)),
        ],
    );
    run(
        &Type::DateTime64 { precision: 9, zone: None },
        &[
            ("\"2262-04-11T23:47:16.854775807Z\"", Ok("9223372036854775807")),
            ("\"2262-04-11T23:47:16.854775808Z\"", Err(OutOfRange)),
        ],
    );
}

#[test]
fn unix_times_are_exact_unless_cut() {
    let with = |ty: Type, format, truncate| {
        let mut column = column("v", ty);
        column.time_format = format;
        column.coercion.truncate = truncate;
        column
    };
    let millis = || Type::DateTime64 { precision: 3, zone: None };
    let seconds = || Type::DateTime { zone: None };
    for (column, value, expected) in [
        (with(millis(), TimeFormat::UnixSeconds, false), "1.5", Ok("1500")),
        (with(millis(), TimeFormat::UnixNanos, false), "1500000", Err(PrecisionLoss)),
        (with(millis(), TimeFormat::UnixNanos, true), "-1500000", Ok("-2")),
        (with(seconds(), TimeFormat::UnixMillis, false), "1700000000000", Ok("1700000000")),
        (with(seconds(), TimeFormat::UnixMillis, true), "1999", Ok("1")),
        (with(seconds(), TimeFormat::UnixSeconds, false), "4294967296", Err(OutOfRange)),
        (with(seconds(), TimeFormat::UnixSeconds, false), "\"1\"", Err(WrongType)),
        (with(Type::Date, TimeFormat::UnixSeconds, false), "86400", Ok("1")),
        (with(Type::Date, TimeFormat::UnixSeconds, false), "86401", Err(PrecisionLoss)),
        (with(Type::Date, TimeFormat::UnixSeconds, true), "86401", Ok("1")),
    ] {
        assert_eq!(one(column, value), expected.map(str::to_owned), "{value}");
    }
}

#[test]
fn coercions_do_what_they_say_and_no_more() {
    let with = |ty: Type, set: fn(&mut Coercion)| {
        let mut column = column("v", ty);
        set(&mut column.coercion);
        column
    };
    for (column, value, expected) in [
        (with(int(32, true), |c| c.from_string = true), "\"-12\"", Ok("-12")),
        (with(int(32, true), |c| c.from_string = true), "\" 12\"", Err(BadFormat)),
        (with(int(32, true), |c| c.from_string = true), "\"1.0\"", Err(WrongType)),
        (with(Type::Float64, |c| c.from_string = true), "\"NaN\"", Err(BadFormat)),
        (with(Type::Bool, |c| c.from_string = true), "\"true\"", Ok("1")),
        (with(Type::String, |c| c.to_string = true), "1.50", Ok("1.50")),
        (with(Type::String, |c| c.to_string = true), "true", Ok("true")),
        (with(Type::String, |c| c.to_string = true), "[]", Err(WrongType)),
        (with(int(32, true), |c| c.integral_float = true), "1.20e1", Ok("12")),
        (with(int(32, true), |c| c.integral_float = true), "1.5", Err(PrecisionLoss)),
        (with(Type::Bool, |c| c.bool_from_number = true), "1", Ok("1")),
        (with(Type::Bool, |c| c.bool_from_number = true), "2", Err(OutOfRange)),
        (with(int(8, true), |c| c.null_as_default = true), "null", Err(NullValue)),
    ] {
        assert_eq!(one(column, value), expected.map(str::to_owned), "{value}");
    }
    let mut default = with(int(8, true), |c| c.null_as_default = true);
    default.default = Some(7.into());
    assert_eq!(one(default, "null").as_deref(), Ok("7"));
}

#[test]
fn nested_values_carry_the_path_of_their_faults() {
    let array = |ty| Type::Array(Box::new(ty));
    run(
        &array(nullable(int(8, true))),
        &[("[1,null,3]", Ok("[1,null,3]")), ("[]", Ok("[]")), ("[1,]", Err(InvalidJson))],
    );
    run(&array(array(Type::String)), &[(r#"[["a"],[]]"#, Ok("[[a],[]]")), ("[[1]]", Err(WrongType))]);
    let map = Type::Map(Box::new(Type::String), Box::new(int(16, true)));
    run(
        &map,
        &[
            (r#"{"a":1,"b":2}"#, Ok("[(a,1),(b,2)]")),
            (r#"{"a":1,"a":2}"#, Err(DuplicateKey)),
            ("{}", Ok("[]")),
        ],
    );
    let fields = vec![
        Field { name: Some("x".into()), ty: int(8, true) },
        Field { name: Some("y".into()), ty: nullable(Type::String) },
    ];
    run(
        &Type::Tuple(fields.clone()),
        &[
            (r#"[1,"a"]"#, Ok("(1,a)")),
            (r#"{"y":"a","x":1,"z":0}"#, Ok("(1,a)")),
            (r#"{"x":1}"#, Ok("(1,null)")),
            (r#"{"y":"a"}"#, Err(MissingField)),
            ("[1]", Err(BadLength)),
            ("[1,null,2]", Err(BadLength)),
        ],
    );
    run(
        &Type::Nested(fields.clone()),
        &[(r#"[{"x":1},{"x":2,"y":"b"}]"#, Ok("[1,2];[null,b]")), ("[]", Ok("[];[]"))],
    );
    let rejection =
        decoded(table(vec![column("a.v", array(Type::Tuple(fields)))]), r#"{"a":{"v":[[1,"a"],{"x":300}]}}"#);
    assert_eq!(
        rejection.unwrap_err().to_string(),
        "out_of_range at a.v[1].x: a number is outside the range of Int8"
    );
}

#[test]
fn constraints_hold_exactly() {
    let with = |ty: Type, set: fn(&mut Constraints)| {
        let mut column = column("v", ty);
        set(&mut column.constraints);
        column
    };
    let wide = || int(256, true);
    for (column, value, expected) in [
        (with(int(8, true), |c| c.min = Some("0.5".into())), "0", Err(OutOfRange)),
        (with(int(8, true), |c| c.min = Some("0.5".into())), "1", Ok("1")),
        (
            with(Type::Decimal { precision: 9, scale: 2 }, |c| c.max = Some("1.255".into())),
            "1.26",
            Err(OutOfRange),
        ),
        (with(Type::Decimal { precision: 9, scale: 2 }, |c| c.max = Some("1.255".into())), "1.25", Ok("125")),
        (with(Type::Float64, |c| c.max = Some("1".into())), "1.0000000000000002", Err(OutOfRange)),
        (
            with(wide(), |c| c.min = Some("-100000000000000000000".into())),
            "-100000000000000000001",
            Err(OutOfRange),
        ),
        (with(Type::String, |c| c.length_max = Some(2)), "\"äöü\"", Err(BadLength)),
        (with(Type::String, |c| c.length_max = Some(3)), "\"äöü\"", Ok("äöü")),
        (with(Type::String, |c| c.length_min = Some(1)), "\"\"", Err(BadLength)),
        (with(Type::Array(Box::new(Type::Bool)), |c| c.length_max = Some(1)), "[true,true]", Err(BadLength)),
        (
            with(Type::String, |c| c.pattern = Some(regex::Regex::new("^a+$").unwrap())),
            "\"ab\"",
            Err(PatternMismatch),
        ),
        (
            with(Type::String, |c| c.format = Some(Format::DateTime)),
            "\"2024-01-01 00:00:00\"",
            Err(BadFormat),
        ),
        (with(Type::String, |c| c.one_of = vec!["a".into(), "b".into()]), "\"c\"", Err(NotInEnum)),
        (with(nullable(Type::String), |c| c.one_of = vec!["a".into()]), "null", Ok("null")),
        (
            with(Type::DateTime { zone: None }, |c| c.past_max = Some(std::time::Duration::from_secs(1))),
            "\"2023-11-14T22:13:18Z\"",
            Err(TimeOutOfBounds),
        ),
        (
            with(Type::DateTime { zone: None }, |c| c.future_max = Some(std::time::Duration::ZERO)),
            "\"2023-11-14T22:13:20Z\"",
            Ok("1700000000"),
        ),
        (
            with(Type::DateTime { zone: None }, |c| c.future_max = Some(std::time::Duration::ZERO)),
            "\"2023-11-14T22:13:21Z\"",
            Err(TimeOutOfBounds),
        ),
        (with(Type::Date, |c| c.min = Some("2024-01-01".into())), "\"2023-12-31\"", Err(OutOfRange)),
    ] {
        assert_eq!(one(column, value), expected.map(str::to_owned), "{value}");
    }
}
