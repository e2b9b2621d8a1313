//! The client against a real ClickHouse: every type there and back, and errors as they really come.
//!
//! Refuses to start servers: `PENSTOCK_TEST_CLICKHOUSE` holds the address of one whose user `default`
//! has no password and may create tables. Each test has a database of its own.

// A test may stop at what it did not expect, its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{FixedSizeBinaryBuilder, Int32Builder, ListBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StructArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{Field, Fields, Schema};
use penstock::clickhouse::{Class, Client, Compression, Config, Error, Format, Insert, quote_identifier};
use penstock::units::Secret;
use serde_json::json;

pub fn config() -> Config {
    // Tests are told where the server is by the environment, which only `config` reads otherwise.
    #[allow(clippy::disallowed_methods)]
    let url = std::env::var("PENSTOCK_TEST_CLICKHOUSE").expect(
        "PENSTOCK_TEST_CLICKHOUSE must hold the address of a ClickHouse, such as http://127.0.0.1:8123",
    );
    Config { endpoints: vec![url], ..Config::default() }
}

/// A client whose database is empty and its own.
pub async fn fresh(database: &str, config: Config) -> Client {
    let setup = Client::new(&config).unwrap();
    let name = [("db", json!(database))];
    setup.execute("DROP DATABASE IF EXISTS {db:Identifier}", &name).await.unwrap();
    setup.execute("CREATE DATABASE {db:Identifier}", &name).await.unwrap();
    Client::new(&Config { database: database.to_owned(), ..config }).unwrap()
}

fn field(name: &str, wire: &str, array: &ArrayRef) -> Field {
    Field::new(name, array.data_type().clone(), true)
        .with_metadata(HashMap::from([("clickhouse.type".to_owned(), wire.to_owned())]))
}

pub fn batch(columns: Vec<(&str, &str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(name, wire, array)| field(name, wire, array)).collect();
    let arrays = columns.into_iter().map(|(_, _, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

pub fn into(table: &str, batch: RecordBatch) -> Insert {
    let token = format!("{table}-{}", batch.num_rows());
    Insert { table: table.to_owned(), batch: batch.into(), token, ..Insert::default() }
}

fn fixed<const N: usize>(values: [[u8; N]; 3]) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter(values.into_iter()).unwrap())
}

fn nullable_fixed(values: [Option<[u8; 2]>; 3]) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(2);
    for value in values {
        match value {
            Some(value) => builder.append_value(value).unwrap(),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn texts(values: [&str; 3]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Lists of the lengths given over one run of items.
fn lists(lengths: [usize; 3], items: ArrayRef) -> ArrayRef {
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), items, None))
}

fn structs(parts: Vec<ArrayRef>) -> ArrayRef {
    let fields: Fields = parts
        .iter()
        .enumerate()
        .map(|(i, p)| Field::new(format!("f{i}"), p.data_type().clone(), true))
        .collect();
    Arc::new(StructArray::new(fields, parts, None))
}

/// Columns as in the contract: the table's type, the type on the wire, three values, their texts.
type Case = (&'static str, &'static str, ArrayRef, [&'static str; 3]);

fn numbers() -> Vec<Case> {
    vec![
        ("Int8", "Int8", Arc::new(Int8Array::from(vec![-128, 0, 127])), ["-128", "0", "127"]),
        ("Int16", "Int16", Arc::new(Int16Array::from(vec![i16::MIN, 0, i16::MAX])), ["-32768", "0", "32767"]),
        ("Int32", "Int32", Arc::new(Int32Array::from(vec![i32::MIN, 0, 7])), ["-2147483648", "0", "7"]),
        (
            "Int64",
            "Int64",
            Arc::new(Int64Array::from(vec![i64::MIN, -1, 7])),
            ["-9223372036854775808", "-1", "7"],
        ),
        ("UInt8", "UInt8", Arc::new(UInt8Array::from(vec![0, 1, 255])), ["0", "1", "255"]),
        ("UInt16", "UInt16", Arc::new(UInt16Array::from(vec![0, 1, u16::MAX])), ["0", "1", "65535"]),
        ("UInt32", "UInt32", Arc::new(UInt32Array::from(vec![0, 1, u32::MAX])), ["0", "1", "4294967295"]),
        (
            "UInt64",
            "UInt64",
            Arc::new(UInt64Array::from(vec![0, 1, u64::MAX])),
            ["0", "1", "18446744073709551615"],
        ),
        (
            "Float32",
            "Float32",
            Arc::new(Float32Array::from(vec![0.5, -1.25, f32::NAN])),
            ["0.5", "-1.25", "nan"],
        ),
        (
            "Float64",
            "Float64",
            Arc::new(Float64Array::from(vec![0.1, f64::INFINITY, -0.0])),
            ["0.1", "inf", "-0"],
        ),
        ("Bool", "Bool", Arc::new(UInt8Array::from(vec![1, 0, 1])), ["true", "false", "true"]),
        (
            "Int128",
            "Int128",
            fixed([i128::MIN.to_le_bytes(), (-1_i128).to_le_bytes(), 5_i128.to_le_bytes()]),
            ["-170141183460469231731687303715884105728", "-1", "5"],
        ),
        (
            "UInt128",
            "UInt128",
            fixed([0_u128.to_le_bytes(), 1_u128.to_le_bytes(), u128::MAX.to_le_bytes()]),
            ["0", "1", "340282366920938463463374607431768211455"],
        ),
        ("UInt256", "UInt256", fixed([wide(0), wide(1), wide(77)]), ["0", "1", "77"]),
        ("Int256", "Int256", fixed([[0xff; 32], wide(1), wide(77)]), ["-1", "1", "77"]),
        (
            "Decimal(9, 2)",
            "Decimal(9, 2)",
            Arc::new(Int32Array::from(vec![-150, 1, 12345])),
            ["-1.5", "0.01", "123.45"],
        ),
        (
            "Decimal(18, 3)",
            "Decimal(18, 3)",
            Arc::new(Int64Array::from(vec![-1, 0, 12000])),
            ["-0.001", "0", "12"],
        ),
        (
            "Decimal(38, 4)",
            "Decimal(38, 4)",
            fixed([(-15_000_i128).to_le_bytes(), 1_i128.to_le_bytes(), 0_i128.to_le_bytes()]),
            ["-1.5", "0.0001", "0"],
        ),
        ("Decimal(76, 1)", "Decimal(76, 1)", fixed([wide(0), wide(15), [0xff; 32]]), ["0", "1.5", "-0.1"]),
    ]
}

fn wide(low: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = low;
    bytes
}

fn names_and_times() -> Vec<Case> {
    vec![
        (
            "Enum8('a' = -1, 'b, (' = 2)",
            "Enum8('a' = -1, 'b, (' = 2)",
            Arc::new(Int8Array::from(vec![-1, 2, -1])),
            ["a", "b, (", "a"],
        ),
        (
            "Enum16('x' = 300)",
            "Enum16('x' = 300)",
            Arc::new(Int16Array::from(vec![300, 300, 300])),
            ["x", "x", "x"],
        ),
        (
            "Date",
            "Date",
            Arc::new(UInt16Array::from(vec![0, 1, u16::MAX])),
            ["1970-01-01", "1970-01-02", "2149-06-06"],
        ),
        (
            "Date32",
            "Date32",
            Arc::new(Int32Array::from(vec![-1, 0, 40000])),
            ["1969-12-31", "1970-01-01", "2079-07-08"],
        ),
        (
            "DateTime('UTC')",
            "DateTime('UTC')",
            Arc::new(UInt32Array::from(vec![0, 86_400, u32::MAX])),
            ["1970-01-01 00:00:00", "1970-01-02 00:00:00", "2106-02-07 06:28:15"],
        ),
        (
            "DateTime64(3, 'UTC')",
            "DateTime64(3, 'UTC')",
            Arc::new(Int64Array::from(vec![-1, 0, 1_700_000_000_123])),
            ["1969-12-31 23:59:59.999", "1970-01-01 00:00:00.000", "2023-11-14 22:13:20.123"],
        ),
    ]
}

fn others() -> Vec<Case> {
    let uuid = |text: &str| {
        let (high, low) = uuid::Uuid::parse_str(text).unwrap().as_u64_pair();
        [high.to_le_bytes(), low.to_le_bytes()].concat().try_into().unwrap()
    };
    let id = "01234567-89ab-cdef-0123-456789abcdef";
    vec![
        ("String", "String", texts(["", "grün", &LONG]), ["", "grün", &LONG]),
        ("FixedString(2)", "FixedString(2)", fixed([*b"ab", *b"cd", *b"ef"]), ["ab", "cd", "ef"]),
        (
            "UUID",
            "UUID",
            fixed::<16>([[0; 16], uuid(id), [0; 16]]),
            ["00000000-0000-0000-0000-000000000000", id, "00000000-0000-0000-0000-000000000000"],
        ),
        (
            "IPv4",
            "IPv4",
            Arc::new(UInt32Array::from(vec![0, 0x7f00_0001, u32::MAX])),
            ["0.0.0.0", "127.0.0.1", "255.255.255.255"],
        ),
        (
            "IPv6",
            "IPv6",
            fixed([[0; 16], std::net::Ipv6Addr::LOCALHOST.octets(), [0xfe; 16]]),
            ["::", "::1", "fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe"],
        ),
        ("LowCardinality(String)", "String", texts(["a", "b", "a"]), ["a", "b", "a"]),
        (
            "LowCardinality(Nullable(String))",
            "Nullable(String)",
            Arc::new(StringArray::from(vec![Some("a"), None, Some("")])),
            ["a", "\\N", ""],
        ),
        (
            "Nullable(Int32)",
            "Nullable(Int32)",
            Arc::new(Int32Array::from(vec![None, Some(5), None])),
            ["\\N", "5", "\\N"],
        ),
        (
            "Nullable(Enum8('a' = 5))",
            "Nullable(Enum8('a' = 5))",
            Arc::new(Int8Array::from(vec![Some(5), None, None])),
            ["a", "\\N", "\\N"],
        ),
        (
            "Nullable(FixedString(2))",
            "Nullable(FixedString(2))",
            nullable_fixed([Some(*b"xy"), None, Some(*b"zz")]),
            ["xy", "\\N", "zz"],
        ),
        (
            "JSON",
            "JSON",
            texts(["{}", r#"{"a":{"b":1}}"#, r#"{"s":"x"}"#]),
            ["{}", r#"{"a":{"b":1}}"#, r#"{"s":"x"}"#],
        ),
    ]
}

fn all() -> impl Iterator<Item = Case> {
    numbers().into_iter().chain(names_and_times()).chain(others()).chain(nested())
}

/// Longer than one byte can say.
static LONG: std::sync::LazyLock<&'static str> = std::sync::LazyLock::new(|| "x".repeat(300).leak());

fn nested() -> Vec<Case> {
    let map = || structs(vec![texts(["k", "l", "m"]), Arc::new(UInt64Array::from(vec![1, 2, 3]))]);
    let maybe: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let mut of_lists = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    for (lengths, start) in [(vec![2, 0], 0), (vec![], 2), (vec![1], 2)] {
        let mut next = start;
        for length in lengths {
            for _ in 0..length {
                of_lists.values().values().append_value(next);
                next += 1;
            }
            of_lists.values().append(true);
        }
        of_lists.append(true);
    }
    let mut strings = ListBuilder::new(StringBuilder::new());
    strings.append_value([Some("a"), Some("b")]);
    strings.append_value(Vec::<Option<&str>>::new());
    strings.append_value([Some("it's")]);
    vec![
        (
            "Array(Nullable(Int32))",
            "Array(Nullable(Int32))",
            lists([1, 0, 2], maybe),
            ["[1]", "[]", "[NULL,3]"],
        ),
        (
            "Array(LowCardinality(String))",
            "Array(String)",
            Arc::new(strings.finish()),
            ["['a','b']", "[]", "['it\\'s']"],
        ),
        (
            "Array(Array(Int32))",
            "Array(Array(Int32))",
            Arc::new(of_lists.finish()),
            ["[[0,1],[]]", "[]", "[[2]]"],
        ),
        (
            "Map(String, UInt64)",
            "Map(String, UInt64)",
            lists([2, 0, 1], map()),
            ["{'k':1,'l':2}", "{}", "{'m':3}"],
        ),
        ("Tuple(a String, b UInt64)", "Tuple(a String, b UInt64)", map(), ["('k',1)", "('l',2)", "('m',3)"]),
        (
            "Tuple(Nullable(Int32), Array(UInt8))",
            "Tuple(Nullable(Int32), Array(UInt8))",
            structs(vec![
                Arc::new(Int32Array::from(vec![None, Some(2), None])),
                lists([0, 2, 1], Arc::new(UInt8Array::from(vec![1, 2, 3]))),
            ]),
            ["(NULL,[])", "(2,[1,2])", "(NULL,[3])"],
        ),
        (
            "Array(JSON)",
            "Array(JSON)",
            lists([1, 0, 1], Arc::new(StringArray::from(vec![r#"{"a":1}"#, r#"{"b":2}"#]))),
            [r#"['{"a":1}']"#, "[]", r#"['{"b":2}']"#],
        ),
        (
            "Nullable(JSON)",
            "Nullable(JSON)",
            Arc::new(StringArray::from(vec![Some(r#"{"a":1}"#), None, Some("{}")])),
            [r#"{"a":1}"#, "\\N", "{}"],
        ),
    ]
}

fn column_text(text: &[u8]) -> Vec<String> {
    // TabSeparated escapes quotes of nested values; one level of backslashes is taken off again.
    let text = std::str::from_utf8(text).unwrap();
    text.lines()
        .map(|line| line.replace("\\\\", "\u{1}").replace("\\'", "'").replace('\u{1}', "\\"))
        .collect()
}

async fn round_trip(client: &Client, case: Case, index: usize) {
    let (table_type, wire, array, expected) = case;
    let table = format!("t{index}");
    client
        .execute(
            &format!("CREATE TABLE {table} (n UInt32, c {table_type}) ENGINE = MergeTree ORDER BY n"),
            &[],
        )
        .await
        .unwrap();
    let n: ArrayRef = Arc::new(UInt32Array::from(vec![0, 1, 2]));
    let whole = batch(vec![("n", "UInt32", n), ("c", wire, array)]);
    let in_time = Some(tokio::time::Instant::now() + Duration::from_secs(60));
    for (rows, expected, begin_before) in [
        (whole.clone(), &expected[..], None),
        (whole.slice(1, 2), &expected[1..], None),
        (whole.slice(0, 1), &expected[..1], in_time),
        (whole.clone(), &expected[..], in_time),
    ] {
        client.execute(&format!("TRUNCATE TABLE {table}"), &[]).await.unwrap();
        let insert = Insert { begin_before, ..into(&table, rows) };
        client.insert(&insert).await.unwrap_or_else(|e| panic!("{table_type}: {e}"));
        let text = client
            .query_raw(&format!("SELECT c FROM {table} ORDER BY n"), &[], "TabSeparated")
            .await
            .unwrap();
        let expected = column_text(format!("{}\n", expected.join("\n")).as_bytes());
        let found = column_text(&text);
        assert_eq!(found, expected, "{table_type}");
    }
}

/// With a name for a database.
const FORMATS: [(&str, Format); 2] = [("native", Format::Native), ("arrow", Format::ArrowStream)];

#[tokio::test]
async fn every_type_comes_back_as_it_was_sent() {
    for (database, insert_format) in FORMATS {
        let client = fresh(&format!("penstock_types_{database}"), Config { insert_format, ..config() }).await;
        for (index, case) in all().enumerate() {
            round_trip(&client, case, index).await;
        }
    }
}

#[tokio::test]
async fn nested_columns_are_one_list_for_each_field() {
    let ddl = "CREATE TABLE t (c Nested(a Int32, b String)) ENGINE = MergeTree ORDER BY tuple()";
    let a = lists([2, 0, 1], Arc::new(Int32Array::from(vec![1, 2, 3])));
    let rows = batch(vec![
        ("c.a", "Array(Int32)", a),
        ("c.b", "Array(String)", lists([2, 0, 1], texts(["x", "y", "z"]))),
    ]);
    for (database, insert_format) in FORMATS {
        let config = Config { insert_format, ..config() };
        let client = fresh(&format!("penstock_nested_{database}"), config).await;
        client.execute(ddl, &[]).await.unwrap();
        for begin_before in [None, Some(tokio::time::Instant::now() + Duration::from_secs(60))] {
            client.execute("TRUNCATE TABLE t", &[]).await.unwrap();
            client.insert(&Insert { begin_before, ..into("t", rows.clone()) }).await.unwrap();
            let sql = "SELECT c.a, c.b FROM t ORDER BY c.a";
            let text = client.query_raw(sql, &[], "TabSeparated").await.unwrap();
            assert_eq!(column_text(&text), ["[]\t[]", "[1,2]\t['x','y']", "[3]\t['z']"], "{database}");
        }
    }
}

#[tokio::test]
async fn all_types_fit_into_one_block_compressed_or_not() {
    for (database, compression) in [("penstock_lz4", Compression::Lz4), ("penstock_plain", Compression::None)]
    {
        let client = fresh(database, Config { compression, ..config() }).await;
        let cases: Vec<Case> = all().collect();
        let columns: Vec<(String, Case)> =
            cases.into_iter().enumerate().map(|(i, case)| (format!("c `{i}"), case)).collect();
        let ddl: Vec<String> =
            columns.iter().map(|(n, c)| format!("{} {}", quote_identifier(n), c.0)).collect();
        let ddl = format!("CREATE TABLE t ({}) ENGINE = MergeTree ORDER BY tuple()", ddl.join(", "));
        client.execute(&ddl, &[]).await.unwrap();
        let columns = columns.iter().map(|(name, case)| (name.as_str(), case.1, case.2.clone())).collect();
        client.insert(&into("t", batch(columns))).await.unwrap();
        let rows = client.query("SELECT count() AS c FROM t", &[]).await.unwrap();
        assert_eq!(rows.rows, [[json!(3)]]);
    }
}

pub fn ints(values: Vec<i32>) -> RecordBatch {
    batch(vec![("k", "Int32", Arc::new(Int32Array::from(values)))])
}

#[tokio::test]
async fn errors_have_the_class_that_the_server_means() {
    let client = fresh("penstock_errors", config()).await;
    let class = |error: Error| (error.class(), error.exception().unwrap_or(0), error.attempts());
    let error = client.insert(&into("nowhere", ints(vec![1]))).await.unwrap_err();
    assert_eq!(class(error), (Class::Stop, 60, 1));

    let wrong = Config { password: Some(Secret::new("wrong".to_owned())), ..config() };
    let error = Client::new(&wrong).unwrap().execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.code(), error.class()), ("connection.authentication", Class::Stop), "{error}");

    client
        .execute("CREATE TABLE c (k Int32, CONSTRAINT small CHECK k < 10) ENGINE = MergeTree ORDER BY k", &[])
        .await
        .unwrap();
    let error = client.insert(&into("c", ints(vec![1, 50]))).await.unwrap_err();
    assert_eq!(class(error), (Class::Data, 469, 1));

    client
        .execute("CREATE TABLE p (k Int32) ENGINE = MergeTree ORDER BY k PARTITION BY k", &[])
        .await
        .unwrap();
    let error = client.insert(&into("p", ints((0..200).collect()))).await.unwrap_err();
    assert_eq!(class(error), (Class::Data, 252, 1));

    let extra: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let error = client.insert(&into("c", batch(vec![("gone", "Int32", extra)]))).await.unwrap_err();
    assert_eq!(class(error).0, Class::Stop);
    let error = client.query("SELEC 1", &[]).await.unwrap_err();
    assert_eq!((error.code(), error.attempts()), ("query.syntax", 1));
    let text = client.query_raw("SELECT count() FROM c", &[], "TabSeparated").await.unwrap();
    assert_eq!(text.as_ref(), b"0\n");
}

#[tokio::test]
async fn a_batch_is_one_part_and_the_same_token_is_written_once() {
    let ddl = "CREATE TABLE t (k Int32) ENGINE = MergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 100";
    // More rows than the server takes into one block by default.
    let insert = into("t", ints((0..2_500_000).collect()));
    for (database, insert_format) in FORMATS {
        let config = Config { insert_format, ..config() };
        let client = fresh(&format!("penstock_token_{database}"), config).await;
        client.execute(ddl, &[]).await.unwrap();
        for _ in 0..3 {
            client.insert(&insert).await.unwrap();
        }
        let rows = client.query("SELECT count(), uniqExact(k) FROM t", &[]).await.unwrap();
        assert_eq!(rows.rows, [[json!(2_500_000), json!(2_500_000)]], "{database}");
        let sql =
            "SELECT count(), max(level) FROM system.parts WHERE database = currentDatabase() AND active";
        let parts = client.query(sql, &[]).await.unwrap();
        assert_eq!(parts.rows, [[json!(1), json!(0)]], "{database}");
    }
}

#[tokio::test]
async fn parameters_arrive_as_values_whatever_is_in_them() {
    let client = fresh("penstock_params", config()).await;
    let evil = "'; DROP TABLE t; -- \\ \t\n {x:String} ü `";
    let params = [("s", json!(evil)), ("a", json!(["it's", "b\\c\n"])), ("i", json!(-5)), ("n", json!(null))];
    let sql = "SELECT {s:String}, {a:Array(String)}, {i:Int64}, {n:Nullable(String)}, length({s:String})";
    let rows = client.query(sql, &params).await.unwrap();
    let length = u64::try_from(evil.len()).unwrap();
    assert_eq!(rows.rows, [[json!(evil), json!(["it's", "b\\c\n"]), json!(-5), json!(null), json!(length)]]);
    assert!(client.query("SELECT {i:UInt8}", &[("i", json!("1; SELECT 2"))]).await.is_err());
}
