//! Objects: absent and null fields, paths, unknown fields, metadata, and what is no object at all.

use super::*;
use crate::decode::{Error, Reason};
use crate::schema::model::Meta;

fn reason(table: Table, payload: &[u8]) -> (Reason, String) {
    let rejection = Bench::new(table).decode(payload).unwrap_err();
    (rejection.reason, rejection.path)
}

fn small() -> Table {
    table(vec![column("a", int(32, true)), column("o.b", nullable(Type::String))])
}

#[test]
fn what_is_no_record_is_told_apart() {
    let deep = format!("{{\"z\":{}", "[".repeat(10_000));
    let nested = |depth: usize| format!("{{\"a\":1,\"z\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    for (payload, expected) in [
        (&b""[..], (Reason::Empty, "")),
        (b" ", (Reason::InvalidJson, "")),
        (b"[1]", (Reason::NotAnObject, "")),
        (b"[1", (Reason::InvalidJson, "")),
        (b"null", (Reason::NotAnObject, "")),
        (b"\xef\xbb\xbf{\"a\":1}", (Reason::InvalidJson, "")),
        (b"{\"a\":1,\"z\":\"\xff\"}", (Reason::InvalidUtf8, "")),
        (b"{\"a\":1} x", (Reason::InvalidJson, "")),
        (b"{\"a\":1,}", (Reason::InvalidJson, "")),
        (b"{\"a\":1", (Reason::InvalidJson, "")),
        (b"{\"a\":1,\"a\":1}", (Reason::DuplicateKey, "a")),
        (b"{\"a\":1,\"\\u0061\":1}", (Reason::DuplicateKey, "a")),
        (b"{\"a\":1,\"z\":1,\"z\":1}", (Reason::DuplicateKey, "z")),
        (b"{\"a\":1,\"o\":5}", (Reason::WrongType, "o")),
        (b"{\"o\":{}}", (Reason::MissingField, "a")),
        (deep.as_bytes(), (Reason::TooDeep, "")),
        (nested(128).as_bytes(), (Reason::TooDeep, "")),
    ] {
        let (reason, path) = reason(small(), payload);
        assert_eq!(
            (reason, path.as_str()),
            expected,
            "{}",
            String::from_utf8_lossy(payload.get(..40).unwrap_or(payload))
        );
    }
    assert!(Bench::new(small()).decode(nested(127).as_bytes()).is_ok());
    let config = Config { record_bytes_max: crate::units::ByteSize(10), ..Config::default() };
    let mut bench = Bench::new(small());
    bench.decoder = Decoder::new(Arc::new(small()), &config).unwrap();
    assert_eq!(bench.decode(b"{\"a\":1    }").unwrap_err().reason, Reason::TooLarge);
}

#[test]
fn absent_takes_the_default_then_null_then_is_missing() {
    let mut required = column("r", nullable(Type::Bool));
    required.required = true;
    let mut filled = column("d", Type::Array(Box::new(Type::String)));
    filled.default = Some(serde_json::json!(["x", "y"]));
    let columns = || vec![required.clone(), filled.clone(), column("o.p.n", nullable(int(8, true)))];
    assert_eq!(decoded(table(columns()), r#"{"r":null}"#).unwrap(), ["null", "[x,y]", "null"]);
    assert_eq!(decoded(table(columns()), r#"{"r":true,"o":null}"#).unwrap(), ["1", "[x,y]", "null"]);
    assert_eq!(reason(table(columns()), b"{}"), (Reason::MissingField, "r".into()));
    assert_eq!(reason(table(columns()), br#"{"r":null,"d":null}"#), (Reason::NullValue, "d".into()));
}

#[test]
fn a_name_that_json_must_escape_is_found_in_every_form_of_a_record() {
    let quoted = || table(vec![column("a", int(8, true)), column("b\"", int(8, true))]);
    for text in [r#"{"a":1,"b\"":2}"#, "{\"a\":1,\n\"b\\\"\":2}", "{\"b\\\"\":2 ,\n\n\"a\":1}"] {
        assert_eq!(decoded(quoted(), text).unwrap(), ["1", "2"], "{text}");
    }
}

#[test]
fn a_value_can_be_read_by_several_columns() {
    let columns = vec![column("a", Type::Json), column("a.b", int(8, true)), column("a", Type::Json)];
    let row = decoded(table(columns), r#"{"a":{"c":[1],"b":2}}"#).unwrap();
    assert_eq!(row, [r#"{"c":[1],"b":2}"#, "2", r#"{"c":[1],"b":2}"#]);
}

#[test]
fn unknown_fields_are_counted_refused_or_kept() {
    let payload = br#"{"a":1,"z":{"k":[1, 2]},"o":{"b":"x","\u0079":null}, "w" :true}"#;
    let mut bench = Bench::new(small());
    bench.decode(payload).unwrap();
    bench.decode(b"{\"q\":1,\"a\":\"bad\"}").unwrap_err();
    assert_eq!((bench.decoder.take_unknown_fields(), bench.decoder.take_unknown_fields()), (3, 0));

    let strict = Table { unknown_fields: UnknownFields::Reject, ..small() };
    assert_eq!(reason(strict, payload), (Reason::UnknownField, "z".into()));

    let keeping = || {
        let mut table = small();
        table.columns.push(column("$rest", Type::Json));
        Table { unknown_fields: UnknownFields::Keep { column: 2 }, ..table }
    };
    let row = decoded(keeping(), std::str::from_utf8(payload).unwrap()).unwrap();
    assert_eq!(row[2], r#"{"z":{"k":[1, 2]},"o":{"\u0079":null},"w" :true}"#);
    assert_eq!(decoded(keeping(), r#"{"a":1,"o":{}}"#).unwrap()[2], "{}");
    assert_eq!(reason(keeping(), br#"{"a":1,"z":{"k":1,"k":2}}"#), (Reason::DuplicateKey, "z".into()));
}

#[test]
fn metadata_fills_columns() {
    let meta = |what, ty| Column { source: Source::Meta(what), ..column("m", ty) };
    let columns = vec![
        meta(Meta::Topic, Type::LowCardinality(Box::new(Type::String))),
        meta(Meta::Partition, int(16, false)),
        meta(Meta::Offset, int(64, true)),
        meta(Meta::Timestamp, nullable(Type::DateTime { zone: None })),
        meta(Meta::Key, Type::String),
    ];
    assert_eq!(decoded(table(columns), "{}").unwrap(), ["clicks", "3", "77", "null", "k1"]);
    let bad = table(vec![meta(Meta::Offset, Type::String)]);
    assert!(matches!(Decoder::new(Arc::new(bad), &Config::default()), Err(Error::Source { .. })));
}

#[test]
fn tombstones_follow_the_policy() {
    let record = Record {
        topic: "t",
        partition: Partition(0),
        offset: Offset(0),
        timestamp_ms: None,
        key: None,
        payload: None,
    };
    let verdict = |tombstones| {
        let mut bench = Bench::new(Table { tombstones, ..small() });
        bench.decoder.decode(&record, 0, &mut bench.columns)
    };
    assert!(matches!(verdict(Tombstones::Skip), Verdict::Filtered));
    assert!(matches!(verdict(Tombstones::Reject), Verdict::Rejected(r) if r.reason == Reason::Tombstone));
}

#[test]
fn the_rest_of_a_schema_is_evaluated() {
    let schema = serde_json::json!({"properties": {"l": {"items": {"multipleOf": 3}}}});
    let residual = Some(Arc::new(jsonschema::validator_for(&schema).unwrap()));
    let with = Table { residual, ..small() };
    let mut bench = Bench::new(with);
    bench.decode(br#"{"a":1,"l":[3,6]}"#).unwrap();
    let rejection = bench.decode(br#"{"a":1,"l":[3,47]}"#).unwrap_err();
    assert_eq!((rejection.reason, rejection.path.as_str()), (Reason::SchemaViolation, "l[1]"));
    assert!(!rejection.detail.contains("47"), "{rejection}");
    assert_eq!(bench.columns.rows(), 1);
}

#[test]
fn tables_that_cannot_be_filled_are_refused() {
    let refused = |change: fn(&mut Column)| {
        let mut column = column("v", int(8, true));
        change(&mut column);
        Decoder::new(Arc::new(table(vec![column])), &Config::default()).map(|_| ()).unwrap_err()
    };
    assert!(matches!(refused(|c| c.default = Some(300.into())), Error::Default { .. }));
    assert!(matches!(refused(|c| c.constraints.one_of = vec!["x".into()]), Error::Allowed { .. }));
    assert!(matches!(refused(|c| c.constraints.length_min = Some(1)), Error::Constraint { .. }));
    assert!(matches!(refused(|c| c.constraints.min = Some("x".into())), Error::Constraint { .. }));
    assert!(matches!(refused(|c| c.source = Source::Rest), Error::Rest));
}
