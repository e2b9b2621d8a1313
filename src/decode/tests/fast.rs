//! The fast ways against the general one: the same verdicts and the same rows for every form of a value.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::columns::builder::Builder;
use crate::decode::fast::Fast;
use crate::decode::json::Cursor;
use crate::decode::value::{Rules, Shape};

/// A column of each type that has a fast way, with and without rules.
fn columns() -> Vec<Column> {
    let with = |name: &str, ty: Type, set: fn(&mut Column)| {
        let mut column = column(name, ty);
        set(&mut column);
        column
    };
    let time = |precision| Type::DateTime64 { precision, zone: None };
    let names = || vec![("a".into(), 1), ("ab".into(), -2), ("ä\"".into(), 3)];
    vec![
        with("i8", int(8, true), |_| ()),
        with("u16", int(16, false), |c| c.constraints.min = Some("100".into())),
        with("i32", nullable(int(32, true)), |c| c.constraints.max = Some("1000000".into())),
        with("u64", int(64, false), |c| c.constraints.one_of = vec![7.into(), 123_456_789.into()]),
        with("f64", nullable(Type::Float64), |c| c.constraints.min = Some("-1.5".into())),
        with("d", Type::Decimal { precision: 9, scale: 2 }, |c| c.constraints.max = Some("99".into())),
        with("d18", Type::Decimal { precision: 18, scale: 18 }, |c| c.coercion.truncate = true),
        with("s", Type::String, |c| c.constraints.length_max = Some(3)),
        with("p", nullable(Type::String), |c| {
            c.constraints.pattern = regex::Regex::new("^https?://").ok();
            c.constraints.length_min = Some(9);
        }),
        with("r", Type::String, |c| c.constraints.pattern = regex::Regex::new("^[a-z]+$").ok()),
        with("t3", time(3), |c| c.constraints.past_max = Some(Duration::from_secs(3600))),
        with("t9", nullable(time(9)), |c| c.constraints.min = Some("2023-11-14T22:13:20Z".into())),
        with("t0", Type::DateTime { zone: None }, |_| ()),
        with("tz", Type::DateTime { zone: Some(chrono_tz::Tz::Europe__Berlin) }, |c| {
            c.coercion.truncate = true
        }),
        with("e", Type::Enum8(names()), |_| ()),
        with("n", nullable(Type::Enum16(names())), |c| c.constraints.one_of = vec!["a".into()]),
        with("u", Type::Uuid, |_| ()),
        with("ip", nullable(Type::Ipv4), |_| ()),
        with("b", Type::Bool, |c| c.coercion.from_string = true),
        with("x", int(64, true), |c| c.coercion.from_string = true),
    ]
}

/// One value as it may stand in a record: mostly in the usual form, of the type or of another.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,8})",
        2 => "-?[0-9]{1,21}",
        3 => "-?(0|[1-9][0-9]{0,17})\\.[0-9]{1,18}",
        1 => "-?[0-9]{1,3}(\\.[0-9]{0,2})?[eE][+-]?[0-9]{1,2}",
        3 => "\"[a-cA-Cä ]{0,12}\"",
        1 => "\"([a-c]|\\\\n|\\\\u00e4|\\\\\"|\t){0,4}\"",
        2 => "\"https?:/{1,2}[a-zä]{0,9}\"",
        4 => "\"20(23-11-14|24-02-29|23-02-29|[0-9]{2}-[01][0-9]-[0-3][0-9])[T t]\
              (22:1[0-4]|[0-2][0-9]:[0-6][0-9]):[0-6][0-9](\\.[0-9]{0,10})?(Z|z|[+]01:00|)\"",
        2 => "\"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\"",
        1 => "\"[0-9a-g]{8}-[0-9a-f]{3}[0-9a-f-]{2}[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\"",
        3 => "\"([0-9]|[1-9][0-9]|[12][0-9]{2})(\\.([0-9]|0?[1-9][0-9]|[12][0-9]{2})){2,4}\"",
        2 => prop::sample::select(vec!["true", "false", "null", "nul", "\"true\"", "[]", "{}", "", "\"", "-"])
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    /// Each column alone, in records that follow one another, so that what is remembered is used.
    #[test]
    fn both_ways_come_to_the_same(
        which in any::<prop::sample::Index>(),
        values in prop::collection::vec((value(), "[ ]{0,1}", "(,\"o\":[0-9]{0,2})?"), 1..6),
        cut in prop::option::weighted(0.1, 0_usize..60),
    ) {
        let columns = columns();
        let tested = columns[which.index(columns.len())].clone();
        let (mut fast, mut general) =
            (Bench::new(table(vec![tested.clone()])), Bench::new(table(vec![tested.clone()])));
        general.decoder = general.decoder.in_the_general_way();
        for (value, space, other) in &values {
            let text = format!("{{\"{}\":{space}{value}{other}{space}}}", tested.name);
            let bytes = &text.as_bytes()[..cut.unwrap_or(text.len()).min(text.len())];
            let (one, two) = (fast.decode(bytes), general.decode(bytes));
            prop_assert_eq!(format!("{:?}", one), format!("{:?}", two), "{}", text);
        }
        prop_assert_eq!(fast.columns.bytes(), general.columns.bytes());
        prop_assert_eq!(fast.finish(), general.finish());
    }
}

#[test]
fn usual_values_are_taken_the_fast_way() {
    for (name, value) in [
        ("i8", "-7"),
        ("u16", "200"),
        ("i32", "null"),
        ("u64", " 7"),
        ("f64", "12.25"),
        ("d", "1.5"),
        ("s", "\"abc\""),
        ("t3", "\"2023-11-14T22:13:20.123Z\""),
        ("t0", "\"2023-11-14T22:13:20Z\""),
        ("e", "\"ab\""),
        ("u", "\"01234567-89ab-cdef-0123-456789ABCDEF\""),
        ("ip", "\"10.0.200.1\""),
        ("b", "true"),
    ] {
        let column = columns().into_iter().find(|column| column.name == name).unwrap();
        let (shape, mut to) = (Shape::column(&column.ty), Builder::column(&column.ty));
        let mut fast = Fast::new(&shape, Rules::default(), &to, None).unwrap();
        let mut cursor = Cursor::new(value, 1);
        assert!(fast.read(&mut cursor, &mut to, 0).is_some(), "{name}");
        assert_eq!((cursor.position(), to.len()), (value.len(), 1), "{name}");
    }
}
