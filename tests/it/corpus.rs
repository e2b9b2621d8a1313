//! Bad input and its good neighbours: what each payload must come to on its way through the line.
//!
//! Knows no servers and runs nothing by itself. Every payload carries its own `id`, so that what landed
//! can be told from what did not.

use penstock::decode::Reason;

/// One payload and what must become of it.
pub struct Case {
    pub name: &'static str,
    /// `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    pub expect: Expect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Lands,
    /// The reason and the path of the rejection.
    Rejected(Reason, &'static str),
}

/// A table with a column of nearly every type. Only `id` must be there.
pub fn table_yaml() -> String {
    TABLE.to_owned()
}

/// All cases. The `id` of a case is its index here.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    whole_records(&mut cases);
    for (name, fields, expect) in FIELDS {
        let id = cases.len();
        let payload = format!("{{\"id\":{id},{fields}}}");
        cases.push(Case { name, payload: Some(payload.into_bytes()), expect: *expect });
    }
    cases
}

const TABLE: &str = r#"
table: corpus
topics: [corpus]
engine: MergeTree
order_by: [id]
unknown_fields: ignore
columns:
  - {name: id, type: UInt64, required: true}
  - {name: i8, type: Nullable(Int8)}
  - {name: i16, type: Nullable(Int16)}
  - {name: i32, type: Nullable(Int32)}
  - {name: i64, type: Nullable(Int64)}
  - {name: i128, type: Nullable(Int128)}
  - {name: i256, type: Nullable(Int256)}
  - {name: u8, type: Nullable(UInt8)}
  - {name: u16, type: Nullable(UInt16)}
  - {name: u32, type: Nullable(UInt32)}
  - {name: u64, type: Nullable(UInt64)}
  - {name: u128, type: Nullable(UInt128)}
  - {name: u256, type: Nullable(UInt256)}
  - {name: f32, type: Nullable(Float32)}
  - {name: f64, type: Nullable(Float64)}
  - {name: d9, type: "Nullable(Decimal(9, 2))"}
  - {name: d18, type: "Nullable(Decimal(18, 4))"}
  - {name: d38, type: "Nullable(Decimal(38, 10))"}
  - {name: d76, type: "Nullable(Decimal(76, 20))"}
  - {name: b, type: Bool, default: false}
  - {name: s, type: String, default: ""}
  - {name: fs, type: Nullable(FixedString(4))}
  - {name: uuid, type: Nullable(UUID)}
  - {name: date, type: Nullable(Date)}
  - {name: date32, type: Nullable(Date32)}
  - {name: dt, type: Nullable(DateTime)}
  - {name: dt_berlin, type: "Nullable(DateTime('Europe/Berlin'))"}
  - {name: dt64, type: Nullable(DateTime64(3))}
  - {name: dt64_ns, type: "Nullable(DateTime64(9, 'UTC'))"}
  - {name: e8, type: "Nullable(Enum8('red' = 1, 'green' = -2))"}
  - {name: e16, type: "Nullable(Enum16('small' = 1, 'large' = 1000))"}
  - {name: ip4, type: Nullable(IPv4)}
  - {name: ip6, type: Nullable(IPv6)}
  - {name: lc, type: LowCardinality(Nullable(String))}
  - {name: j, type: JSON, default: {}}
  - {name: arr, type: Array(Nullable(Int32)), default: []}
  - {name: arr2, type: Array(Array(String)), default: []}
  - {name: map, type: "Map(String, Int64)", default: {}}
  - {name: tup, type: "Tuple(x Int32, y Nullable(String))", default: {x: 0}}
  - {name: nest, type: "Nested(k String, v Nullable(Int64))", default: []}
  - {name: deep, type: Nullable(Int32), path: o.p.q}
  - {name: must, type: Nullable(String), path: o.must}
  - {name: pct, type: Nullable(Float64), min: 0, max: 100}
  - {name: kind, type: Nullable(String), enum: [view, click]}
  - {name: short, type: Nullable(String), length: {min: 1, max: 5}}
  - {name: code, type: Nullable(String), pattern: "^[A-Z]{3}$"}
  - {name: link, type: Nullable(String), format: uuid}
  - {name: sane, type: Nullable(DateTime64(3)), past_max: 36500d, future_max: 1h}
  - {name: loose, type: Nullable(Int32), coerce: [from_string, integral_float]}
  - {name: unix, type: Nullable(DateTime64(3)), time_format: unix_ms}
  - {name: cut, type: "Nullable(Decimal(9, 2))", coerce: [truncate]}
"#;

fn whole_records(cases: &mut Vec<Case>) {
    use Expect::{Lands, Rejected};
    use Reason::*;
    let mut add = |name, make: &dyn Fn(usize) -> Vec<u8>, expect| {
        let payload = Some(make(cases.len()));
        cases.push(Case { name, payload, expect });
    };
    let text = |tail: &'static str| move |id: usize| format!("{{\"id\":{id}{tail}").into_bytes();
    add("the smallest record", &text("}"), Lands);
    add("white space everywhere", &|id| format!(" \r\n{{ \"id\" :\t{id} }} \n").into_bytes(), Lands);
    add("an escaped key", &|id| format!("{{\"\\u0069d\":{id}}}").into_bytes(), Lands);
    add("no bytes", &|_| Vec::new(), Rejected(Empty, ""));
    add("white space alone", &|_| b" \n".to_vec(), Rejected(InvalidJson, ""));
    add("truncated in a value", &text(",\"s\":\"ab"), Rejected(InvalidJson, ""));
    add("truncated after a comma", &text(","), Rejected(InvalidJson, ""));
    add("without its closing brace", &text(""), Rejected(InvalidJson, ""));
    add("trailing comma", &text(",}"), Rejected(InvalidJson, ""));
    add("two documents", &text("}{}"), Rejected(InvalidJson, ""));
    add("text after the document", &text("} x"), Rejected(InvalidJson, ""));
    add("single quotes", &|_| b"{'id':1}".to_vec(), Rejected(InvalidJson, ""));
    add("a key without quotes", &|_| b"{id:1}".to_vec(), Rejected(InvalidJson, ""));
    add("a comment", &text(" /* one */}"), Rejected(InvalidJson, ""));
    add("plain text", &|_| b"hello".to_vec(), Rejected(InvalidJson, ""));
    add(
        "a byte order mark",
        &|id| format!("\u{feff}{{\"id\":{id}}}").into_bytes(),
        Rejected(InvalidJson, ""),
    );
    add("invalid UTF-8", &|_| b"{\"id\":1,\"s\":\"\xff\"}".to_vec(), Rejected(InvalidUtf8, ""));
    add(
        "a surrogate as UTF-8",
        &|_| b"{\"id\":1,\"s\":\"\xed\xa0\x80\"}".to_vec(),
        Rejected(InvalidUtf8, ""),
    );
    add("UTF-16", &|_| b"\xff\xfe{\0}\0".to_vec(), Rejected(InvalidUtf8, ""));
    add("an array", &|_| b"[{\"id\":1}]".to_vec(), Rejected(NotAnObject, ""));
    add("a number", &|_| b"42".to_vec(), Rejected(NotAnObject, ""));
    add("the word null", &|_| b"null".to_vec(), Rejected(NotAnObject, ""));
    add("no id", &|_| b"{}".to_vec(), Rejected(MissingField, "id"));
    add("a null id", &|_| b"{\"id\":null}".to_vec(), Rejected(NullValue, "id"));
    add("the id twice", &|_| b"{\"id\":1,\"id\":1}".to_vec(), Rejected(DuplicateKey, "id"));
    add("the id twice, once escaped", &|_| br#"{"id":1,"\u0069d":1}"#.to_vec(), Rejected(DuplicateKey, "id"));
    let nested = |depth: usize| {
        move |id: usize| {
            format!("{{\"id\":{id},\"z\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
        }
    };
    add("128 levels", &nested(127), Lands);
    add("129 levels", &nested(128), Rejected(TooDeep, ""));
    add("10,000 levels", &nested(10_000), Rejected(TooDeep, ""));
    let objects = |_: usize| [b"{\"id\":1,\"z\":".as_slice(), &b"{\"a\":".repeat(10_000)].concat();
    add("10,000 open objects", &objects, Rejected(TooDeep, ""));
    let megabytes = |id: usize| format!("{{\"id\":{id},\"s\":\"{}\"}}", "x".repeat(20 << 20)).into_bytes();
    add("20 MB in one string", &megabytes, Lands);
    let broken = |id: usize| format!("{{\"id\":{id},\"s\":\"{}", "x".repeat(20 << 20)).into_bytes();
    add("20 MB, truncated", &broken, Rejected(InvalidJson, ""));
    let digits = |id: usize| format!("{{\"id\":{id},\"i64\":{}}}", "9".repeat(100_000)).into_bytes();
    add("a number of 100,000 digits", &digits, Rejected(OutOfRange, "i64"));
    cases.push(Case { name: "a tombstone", payload: None, expect: Rejected(Tombstone, "") });
}

macro_rules! table {
    ($($name:literal: $fields:literal => $expect:expr;)*) => {
        &[$(($name, $fields, $expect)),*]
    };
}

const fn bad(reason: Reason, path: &'static str) -> Expect {
    Expect::Rejected(reason, path)
}

use Expect::Lands;
use Reason::{
    BadFormat, BadLength, DuplicateKey, InvalidJson, MissingField, NotInEnum, NullValue, OutOfRange,
    PatternMismatch, PrecisionLoss, TimeOutOfBounds, WrongType,
};

/// Name, the fields after `id`, and what becomes of the record.
const FIELDS: &[(&str, &str, Expect)] = table! {
    "Int8 at its ends": r#""i8":-128"# => Lands;
    "Int8 beyond": r#""i8":128"# => bad(OutOfRange, "i8");
    "Int16 beyond": r#""i16":-32769"# => bad(OutOfRange, "i16");
    "Int32 beyond": r#""i32":2147483648"# => bad(OutOfRange, "i32");
    "Int64 at its ends": r#""i64":-9223372036854775808"# => Lands;
    "Int64 beyond": r#""i64":9223372036854775808"# => bad(OutOfRange, "i64");
    "Int128 at its ends": r#""i128":-170141183460469231731687303715884105728"# => Lands;
    "Int128 beyond": r#""i128":170141183460469231731687303715884105728"# => bad(OutOfRange, "i128");
    "Int256 at its ends": r#""i256":57896044618658097711785492504343953926634992332820282019728792003956564819967"# => Lands;
    "Int256 beyond": r#""i256":57896044618658097711785492504343953926634992332820282019728792003956564819968"# => bad(OutOfRange, "i256");
    "UInt8 at its ends": r#""u8":255"# => Lands;
    "300 into UInt8": r#""u8":300"# => bad(OutOfRange, "u8");
    "negative into UInt8": r#""u8":-1"# => bad(OutOfRange, "u8");
    "UInt16 beyond": r#""u16":65536"# => bad(OutOfRange, "u16");
    "UInt32 beyond": r#""u32":4294967296"# => bad(OutOfRange, "u32");
    "UInt64 at its ends": r#""u64":18446744073709551615"# => Lands;
    "UInt64 beyond": r#""u64":18446744073709551616"# => bad(OutOfRange, "u64");
    "UInt128 beyond": r#""u128":340282366920938463463374607431768211456"# => bad(OutOfRange, "u128");
    "UInt256 at its ends": r#""u256":115792089237316195423570985008687907853269984665640564039457584007913129639935"# => Lands;
    "negative into UInt256": r#""u256":-1"# => bad(OutOfRange, "u256");
    "a float into an integer": r#""i32":1.5"# => bad(WrongType, "i32");
    "a whole float into an integer": r#""i32":1.0"# => bad(WrongType, "i32");
    "an exponent into an integer": r#""i32":1e3"# => bad(WrongType, "i32");
    "a number as a string": r#""i32":"12""# => bad(WrongType, "i32");
    "a boolean into an integer": r#""i32":true"# => bad(WrongType, "i32");
    "an object into an integer": r#""i32":{"a":1}"# => bad(WrongType, "i32");
    "a leading zero": r#""i32":012"# => bad(InvalidJson, "");
    "a leading plus": r#""i32":+1"# => bad(InvalidJson, "");
    "hexadecimal": r#""i32":0x10"# => bad(InvalidJson, "");
    "NaN": r#""f64":NaN"# => bad(InvalidJson, "");
    "Infinity": r#""f64":-Infinity"# => bad(InvalidJson, "");
    "NaN as a string": r#""f64":"NaN""# => bad(WrongType, "f64");
    "a huge float": r#""f64":1e400"# => bad(OutOfRange, "f64");
    "a huge exponent": r#""f64":-1e99999999999999999999"# => bad(OutOfRange, "f64");
    "the largest double": r#""f64":1.7976931348623157e308"# => Lands;
    "a number without fraction": r#""f64":1."# => bad(InvalidJson, "");
    "Float32 beyond": r#""f32":3.5e38"# => bad(OutOfRange, "f32");
    "Float32 rounded": r#""f32":0.1"# => Lands;
    "a skipped huge number": r#""nobody":1e999999"# => Lands;
    "Decimal(9, 2) exact": r#""d9":-9999999.99"# => Lands;
    "Decimal(9, 2) beyond": r#""d9":10000000"# => bad(OutOfRange, "d9");
    "Decimal(9, 2) too fine": r#""d9":0.001"# => bad(PrecisionLoss, "d9");
    "Decimal(9, 2) with zeros": r#""d9":0.1000"# => Lands;
    "Decimal as a string": r#""d18":"1.5""# => bad(WrongType, "d18");
    "Decimal(38, 10) exact": r#""d38":1234567890123456789012345678.0123456789"# => Lands;
    "Decimal(76, 20) beyond": r#""d76":1e56"# => bad(OutOfRange, "d76");
    "Bool from a number": r#""b":1"# => bad(WrongType, "b");
    "Bool from a string": r#""b":"true""# => bad(WrongType, "b");
    "Bool from null": r#""b":null"# => bad(NullValue, "b");
    "half of a word": r#""b":tru"# => bad(InvalidJson, "");
    "all escapes": r#""s":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""# => Lands;
    "a lone high surrogate": r#""s":"\ud83d""# => bad(InvalidJson, "");
    "a lone low surrogate": r#""s":"\ude00""# => bad(InvalidJson, "");
    "a lone surrogate in a skipped field": r#""nobody":"\ud83dx""# => bad(InvalidJson, "");
    "an unknown escape": r#""s":"\x41""# => bad(InvalidJson, "");
    "a raw control character": "\"s\":\"a\u{1}b\"" => bad(InvalidJson, "");
    "a zero character": r#""s":"a\u0000b""# => Lands;
    "a number into String": r#""s":12"# => bad(WrongType, "s");
    "an array into String": r#""s":["a"]"# => bad(WrongType, "s");
    "null into String": r#""s":null"# => bad(NullValue, "s");
    "a short FixedString": r#""fs":"ab""# => Lands;
    "a long FixedString": r#""fs":"abcde""# => bad(BadLength, "fs");
    "a long FixedString in bytes": r#""fs":"äöü""# => bad(BadLength, "fs");
    "UUID": r#""uuid":"61F0C404-5cb3-11e7-907b-a6006ad3dba0""# => Lands;
    "UUID without hyphens": r#""uuid":"61f0c4045cb311e7907ba6006ad3dba0""# => bad(BadFormat, "uuid");
    "UUID in braces": r#""uuid":"{61f0c404-5cb3-11e7-907b-a6006ad3dba0}""# => bad(BadFormat, "uuid");
    "Date at its ends": r#""date":"2149-06-06""# => Lands;
    "Date before": r#""date":"1969-12-31""# => bad(OutOfRange, "date");
    "Date beyond": r#""date":"2149-06-07""# => bad(OutOfRange, "date");
    "a day that is none": r#""date":"2023-02-29""# => bad(BadFormat, "date");
    "a month that is none": r#""date":"2023-13-01""# => bad(BadFormat, "date");
    "Date as day/month/year": r#""date":"31/12/2023""# => bad(BadFormat, "date");
    "Date without zeros": r#""date":"2023-1-2""# => bad(BadFormat, "date");
    "Date without hyphens": r#""date":"20230102""# => bad(BadFormat, "date");
    "a time into Date": r#""date":"2023-01-02T03:04:05Z""# => bad(BadFormat, "date");
    "Date as a number": r#""date":19000"# => bad(WrongType, "date");
    "Date32 at its ends": r#""date32":"1900-01-01""# => Lands;
    "Date32 before": r#""date32":"1899-12-31""# => bad(OutOfRange, "date32");
    "Date32 beyond": r#""date32":"2300-01-01""# => bad(OutOfRange, "date32");
    "1969 into DateTime": r#""dt":"1969-12-31T23:59:59Z""# => bad(OutOfRange, "dt");
    "2107 into DateTime": r#""dt":"2107-01-01 00:00:00""# => bad(OutOfRange, "dt");
    "DateTime at its ends": r#""dt":"2106-02-07T06:28:15Z""# => Lands;
    "DateTime with an offset": r#""dt":"1970-01-01T05:29:59+05:30""# => bad(OutOfRange, "dt");
    "DateTime with a fraction": r#""dt":"2024-01-01T00:00:00.25Z""# => bad(PrecisionLoss, "dt");
    "DateTime without an offset": r#""dt":"2024-01-01T00:00:00""# => bad(BadFormat, "dt");
    "DateTime without seconds": r#""dt":"2024-01-01T00:00Z""# => bad(BadFormat, "dt");
    "DateTime in words": r#""dt":"Mon, 01 Jan 2024 00:00:00 GMT""# => bad(BadFormat, "dt");
    "DateTime as a number": r#""dt":1704067200"# => bad(WrongType, "dt");
    "an empty DateTime": r#""dt":"""# => bad(BadFormat, "dt");
    "a leap second": r#""dt":"2016-12-31T23:59:60Z""# => bad(BadFormat, "dt");
    "hour 24": r#""dt":"2024-01-01T24:00:00Z""# => bad(BadFormat, "dt");
    "a local time": r#""dt_berlin":"2024-07-01 12:00:00""# => Lands;
    "a local time that was skipped": r#""dt_berlin":"2024-03-31 02:30:00""# => bad(BadFormat, "dt_berlin");
    "a local time that came twice": r#""dt_berlin":"2024-10-27 02:30:00""# => bad(BadFormat, "dt_berlin");
    "DateTime64 before 1970": r#""dt64":"1969-12-31T23:59:59.999Z""# => Lands;
    "DateTime64 too fine": r#""dt64":"2024-01-01T00:00:00.0001Z""# => bad(PrecisionLoss, "dt64");
    "DateTime64 before": r#""dt64":"1899-12-31T23:59:59Z""# => bad(OutOfRange, "dt64");
    "DateTime64 beyond": r#""dt64":"2300-01-01T00:00:00Z""# => bad(OutOfRange, "dt64");
    "DateTime64(9) beyond": r#""dt64_ns":"2262-04-12T00:00:00Z""# => bad(OutOfRange, "dt64_ns");
    "DateTime64(9) exact": r#""dt64_ns":"2024-01-01 00:00:00.123456789""# => Lands;
    "an unknown name": r#""e8":"blue""# => bad(NotInEnum, "e8");
    "a name in capitals": r#""e8":"Red""# => bad(NotInEnum, "e8");
    "an enum by number": r#""e8":1"# => bad(WrongType, "e8");
    "a known name": r#""e16":"large""# => Lands;
    "IPv4": r#""ip4":"192.168.0.1""# => Lands;
    "IPv4 beyond": r#""ip4":"256.0.0.1""# => bad(BadFormat, "ip4");
    "IPv4 with a port": r#""ip4":"10.0.0.1:80""# => bad(BadFormat, "ip4");
    "IPv6": r#""ip6":"2001:db8::1""# => Lands;
    "IPv6 in brackets": r#""ip6":"[::1]""# => bad(BadFormat, "ip6");
    "null where NULL may stand": r#""lc":null,"i8":null,"uuid":null"# => Lands;
    "JSON": r#""j":{"a":{"b":[1,"x",null]},"c":1.5}"# => Lands;
    "an array into JSON": r#""j":[1]"# => bad(WrongType, "j");
    "a string into JSON": r#""j":"{}""# => bad(WrongType, "j");
    "a duplicate inside JSON": r#""j":{"a":{"b":1,"b":2}}"# => bad(DuplicateKey, "j");
    "Array": r#""arr":[1,null,-3],"arr2":[["a"],[]]"# => Lands;
    "a wrong element": r#""arr":[1,"2"]"# => bad(WrongType, "arr[1]");
    "an element beyond": r#""arr":[2147483648]"# => bad(OutOfRange, "arr[0]");
    "a wrong inner element": r#""arr2":[[],["a",null]]"# => bad(NullValue, "arr2[1][1]");
    "an array left open": r#""arr":[1,2"# => bad(InvalidJson, "");
    "an object into Array": r#""arr":{}"# => bad(WrongType, "arr");
    "Map": r#""map":{"a":1,"":2}"# => Lands;
    "a key twice in a Map": r#""map":{"a":1,"a":2}"# => bad(DuplicateKey, "map");
    "a wrong value in a Map": r#""map":{"a":1,"b":"2"}"# => bad(WrongType, "map[1]");
    "Tuple as an object": r#""tup":{"y":"b","x":1}"# => Lands;
    "Tuple as an array": r#""tup":[1,null]"# => Lands;
    "Tuple without an element": r#""tup":{"y":"b"}"# => bad(MissingField, "tup.x");
    "Tuple too short": r#""tup":[1]"# => bad(BadLength, "tup");
    "Tuple too long": r#""tup":[1,"a",2]"# => bad(BadLength, "tup");
    "Nested": r#""nest":[{"k":"a","v":1},{"k":"b"}]"# => Lands;
    "Nested with a wrong field": r#""nest":[{"k":"a"},{"k":1}]"# => bad(WrongType, "nest[1].k");
    "Nested without a field": r#""nest":[{"v":1}]"# => bad(MissingField, "nest[0].k");
    "Nested of numbers": r#""nest":[1]"# => bad(WrongType, "nest[0]");
    "a path": r#""o":{"p":{"q":7},"must":"x"}"# => Lands;
    "a path through null": r#""o":{"p":null}"# => Lands;
    "a path through a number": r#""o":{"p":5}"# => bad(WrongType, "o.p");
    "a wrong value below a path": r#""o":{"p":{"q":"7"}}"# => bad(WrongType, "o.p.q");
    "a key twice below a path": r#""o":{"p":{},"p":{}}"# => bad(DuplicateKey, "o.p");
    "an unknown key twice": r#""z":1,"z":2"# => bad(DuplicateKey, "z");
    "unknown fields": r#""z":{"deep":[1,{"a":null}]},"y":"x""# => Lands;
    "at the bound": r#""pct":100"# => Lands;
    "beyond the bound": r#""pct":100.00000001"# => bad(OutOfRange, "pct");
    "not one of the allowed": r#""kind":"buy""# => bad(NotInEnum, "kind");
    "too short": r#""short":"""# => bad(BadLength, "short");
    "too long in characters": r#""short":"äöüßée""# => bad(BadLength, "short");
    "long in bytes only": r#""short":"äöüßé""# => Lands;
    "not the pattern": r#""code":"AbC""# => bad(PatternMismatch, "code");
    "not the format": r#""link":"61f0c404""# => bad(BadFormat, "link");
    "a time far ahead": r#""sane":"2250-01-01T00:00:00Z""# => bad(TimeOutOfBounds, "sane");
    "a time within bounds": r#""sane":"2024-01-01T00:00:00Z""# => Lands;
    "coerced from a string": r#""loose":"-12""# => Lands;
    "coerced from a whole float": r#""loose":12.0"# => Lands;
    "no whole float": r#""loose":12.5"# => bad(PrecisionLoss, "loose");
    "no number in the string": r#""loose":"12 apples""# => bad(BadFormat, "loose");
    "an empty string for a number": r#""loose":"""# => bad(BadFormat, "loose");
    "coerced and beyond": r#""loose":"3000000000""# => bad(OutOfRange, "loose");
    "Unix milliseconds": r#""unix":1704067200123"# => Lands;
    "Unix seconds for milliseconds as text": r#""unix":"1704067200""# => bad(WrongType, "unix");
    "Unix time beyond": r#""unix":1e17"# => bad(OutOfRange, "unix");
    "digits cut off as asked": r#""cut":1.999"# => Lands;
};
