//! Properties on random documents: agreement with a reference parser, and no trace of what was rejected.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

use super::*;
use crate::decode::json::Cursor;

/// Depth is bounded at the same place as in the reference: it refuses its 128th level.
const REFERENCE_DEPTH: usize = 127;

fn ours(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut cursor = Cursor::new(text, REFERENCE_DEPTH);
    cursor.skip(None).and_then(|()| cursor.end()).is_ok()
}

/// The reference keeps numbers as doubles; where one is beyond them it stops, and has no answer.
fn reference(bytes: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\\u{1}ä😀/]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[a-c\"ä]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, edit_byte()), 0..4);
    (json(), any::<bool>(), edits).prop_map(|(value, pretty, edits)| {
        let mut bytes =
            if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        for (place, kind, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => bytes.truncate(place),
            }
        }
        bytes
    })
}

fn edit_byte() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(b"{}[]\",:\\u0123456789dDeE+-. \t\n/tfn".to_vec()), any::<u8>()]
}

fn wide_table() -> Table {
    let array = Type::Array(Box::new(nullable(int(64, true))));
    table(vec![
        column("i", int(64, true)),
        column("f", nullable(Type::Float64)),
        column("s", nullable(Type::String)),
        column("b", nullable(Type::Bool)),
        column("l", array),
        column("o.x", nullable(int(16, true))),
        column(
            "t",
            Type::Tuple(vec![
                crate::schema::model::Field { name: Some("p".into()), ty: nullable(Type::String) },
                crate::schema::model::Field { name: Some("q".into()), ty: nullable(Type::Float64) },
            ]),
        ),
        column(
            "n",
            Type::Nested(vec![
                crate::schema::model::Field { name: Some("k".into()), ty: Type::String },
                crate::schema::model::Field { name: Some("v".into()), ty: nullable(int(8, false)) },
            ]),
        ),
        column("m", Type::Map(Box::new(Type::String), Box::new(nullable(int(32, true))))),
    ])
}

fn optional(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop_oneof![4 => inner, 1 => Just(Value::Null)]
}

/// A record that fits [`wide_table`].
fn good() -> impl Strategy<Value = Value> {
    let text = || optional(any::<String>().prop_map(Value::from));
    let floats = || optional(prop_oneof![any::<f64>(), -1e6..1e6_f64].prop_map(Value::from));
    let ints = prop::collection::vec(optional(any::<i64>().prop_map(Value::from)), 0..5);
    let map = prop::collection::hash_map("[a-z]{0,4}", optional(any::<i32>().prop_map(Value::from)), 0..4);
    let nested = prop::collection::vec((any::<String>(), any::<u8>()), 0..4);
    let bools = optional(any::<bool>().prop_map(Value::from));
    (any::<i64>(), floats(), text(), bools, ints, any::<i16>(), (text(), floats()), nested, map).prop_map(
        |(i, f, s, b, l, x, (p, q), n, m)| {
            let n: Vec<Value> = n.into_iter().map(|(k, v)| serde_json::json!({"k": k, "v": v})).collect();
            serde_json::json!({
                "m": m, "i": i, "f": f, "s": s, "b": b, "l": l, "o": {"x": x}, "t": [p, q], "n": n,
            })
        },
    )
}

/// What the reference makes of one of our simple columns, as text.
fn expected(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => u8::from(*value).to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap().to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(expected).collect::<Vec<_>>().join(",")),
        Value::Object(_) => panic!("not compared"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_grammar_is_the_reference_parsers(bytes in mutated()) {
        if let Some(reference) = reference(&bytes) {
            prop_assert_eq!(ours(&bytes), reference, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn doubles_are_the_nearest(text in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,18})?(e-?[0-9]{1,2})?") {
        let row = decoded(table(vec![column("v", Type::Float64)]), &format!("{{\"v\":{text}}}")).unwrap();
        prop_assert_eq!(&row[0], &text.parse::<f64>().unwrap().to_string());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), edited in mutated()) {
        let mut bench = Bench::new(wide_table());
        let _ = bench.decode(&bytes);
        let _ = bench.decode(&edited);
        prop_assert_eq!(bench.finish().num_columns(), 10);
    }

    #[test]
    fn values_are_the_reference_parsers(record in good()) {
        let row = decoded(wide_table(), &record.to_string()).unwrap();
        for (n, name) in ["i", "f", "s", "b", "l"].iter().enumerate() {
            prop_assert_eq!(&row[n], &expected(&record[*name]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]

    /// Each record is followed by a broken copy of itself, cut or bent at a random place.
    #[test]
    fn what_is_rejected_leaves_no_trace(
        records in prop::collection::vec((good(), any::<prop::sample::Index>(), edit_byte()), 1..20)
    ) {
        let (mut mixed, mut alone) = (Bench::new(wide_table()), Bench::new(wide_table()));
        for (record, place, byte) in &records {
            let text = record.to_string().into_bytes();
            let mut broken = text.clone();
            broken[place.index(text.len())] = *byte;
            let cut = &text[..place.index(text.len())];
            prop_assert!(mixed.decode(cut).is_err());
            // A bent record may still be good; then both sides get it.
            if mixed.decode(&broken).is_ok() {
                alone.decode(&broken).unwrap();
            }
            mixed.decode(&text).unwrap();
            alone.decode(&text).unwrap();
        }
        prop_assert_eq!(mixed.columns.bytes(), alone.columns.bytes());
        prop_assert_eq!(mixed.finish(), alone.finish());
        mixed.decode(records[0].0.to_string().as_bytes()).unwrap();
        alone.decode(records[0].0.to_string().as_bytes()).unwrap();
        prop_assert_eq!(mixed.finish(), alone.finish());
    }
}
