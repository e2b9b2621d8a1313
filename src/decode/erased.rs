//! Looks whether the row that was decoded last is of a subject that was erased.
//!
//! Refuses to decide: it says until when records of the subject are left out, and whoever asked knows when this one was
//! published. A table without such columns, and a column by which nobody was erased, cost nothing.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::columns::Columns;
use crate::columns::builder::Builder;
use crate::schema::subject::{Erased, Seed};
use crate::schema::{Table, Type};

/// The columns of one table by which somebody was erased.
#[derive(Debug, Default)]
pub struct Lookout {
    watched: Vec<Watched>,
    erased: Arc<Erased>,
    /// The value that is looked for.
    text: String,
}

#[derive(Debug)]
struct Watched {
    /// Of the table.
    index: usize,
    name: String,
    ty: Type,
    seed: Seed,
}

impl Lookout {
    pub fn new(table: &Table, erased: &Arc<Erased>) -> Lookout {
        let watched =
            table.columns.iter().enumerate().filter(|(_, column)| {
                table.subject_columns.contains(&column.name) && erased.has(&column.name)
            });
        let watched = watched.map(|(index, column)| Watched {
            index,
            name: column.name.clone(),
            ty: column.ty.bare().clone(),
            seed: Seed::new(&column.name),
        });
        Lookout { watched: watched.collect(), erased: Arc::clone(erased), text: String::new() }
    }

    /// Until when records of the last row's subject are left out; nothing if it is nobody who was erased.
    #[inline]
    pub fn until(&mut self, columns: &mut Columns) -> Option<i64> {
        if self.watched.is_empty() { None } else { self.look(columns) }
    }

    fn look(&mut self, columns: &mut Columns) -> Option<i64> {
        let mut latest = None;
        for one in &self.watched {
            let Some(builder) = columns.builder(one.index) else { continue };
            self.text.clear();
            if let Some(value) = last(builder, &one.ty, &mut self.text) {
                latest = latest.max(self.erased.until(&one.name, &one.seed.digest(value)));
            }
        }
        latest
    }
}

/// The last value as `subject::canonical` spells it; nothing of NULL.
fn last<'a>(builder: &'a Builder, ty: &Type, text: &'a mut String) -> Option<&'a [u8]> {
    if builder.is_null(builder.len().checked_sub(1)?) {
        return None;
    }
    // Writing to text does not fail.
    let _ = match builder {
        Builder::Text(column) => return Some(column.last().as_bytes()),
        Builder::Bytes(column) => return bytes(column.last(), ty, text),
        Builder::U32(number) if *ty == Type::Ipv4 => write!(text, "{}", Ipv4Addr::from(number.last())),
        Builder::I8(number) => write!(text, "{}", number.last()),
        Builder::I16(number) => write!(text, "{}", number.last()),
        Builder::I32(number) => write!(text, "{}", number.last()),
        Builder::I64(number) => write!(text, "{}", number.last()),
        Builder::U8(number) => write!(text, "{}", number.last()),
        Builder::U16(number) => write!(text, "{}", number.last()),
        Builder::U32(number) => write!(text, "{}", number.last()),
        Builder::U64(number) => write!(text, "{}", number.last()),
        Builder::F32(_) | Builder::F64(_) | Builder::List(_) | Builder::Tuple(_) => return None,
    };
    Some(text.as_bytes())
}

fn bytes<'a>(value: &'a [u8], ty: &Type, text: &'a mut String) -> Option<&'a [u8]> {
    if let Type::FixedString(_) = ty {
        let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        return value.get(..end);
    }
    let wide: [u8; 16] = value.try_into().ok()?;
    let number = u128::from_le_bytes(wide);
    let _ = match ty {
        // Two halves, the high one first.
        Type::Uuid => write!(text, "{}", uuid::Uuid::from_u128(number.rotate_left(64)).hyphenated()),
        Type::Ipv6 => write!(text, "{}", Ipv6Addr::from(wide)),
        Type::Int(int) if int.signed => write!(text, "{}", i128::from_le_bytes(wide)),
        Type::Int(_) => write!(text, "{number}"),
        _ => return None,
    };
    Some(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::decode::{Config, Decoder, Verdict};
    use crate::record::{Offset, Partition, Record};
    use crate::schema::parse_table;
    use crate::schema::subject::canonical;

    /// What a record says and what a person types come to the same digest, whatever the type.
    #[test]
    fn a_row_is_found_by_the_value_that_somebody_typed() {
        for (ty, json, typed) in [
            ("UInt64", "7", "7"),
            ("Nullable(Int32)", "-7", "-7"),
            ("UInt8", "200", "200"),
            ("Int128", "-7", "-7"),
            ("UInt128", "18446744073709551616", "18446744073709551616"),
            ("String", "\"it's 7\"", "it's 7"),
            ("LowCardinality(Nullable(String))", "\"é\"", "é"),
            ("FixedString(4)", "\"ab\"", "ab"),
            ("UUID", "\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\"", "61F0C404-5cb3-11e7-907b-a6006ad3dba0"),
            ("IPv4", "\"10.1.2.3\"", "10.1.2.3"),
            ("IPv6", "\"2001:db8::7\"", "2001:0db8::0007"),
        ] {
            let text = format!(
                "table: t\ntopics: [t]\norder_by: []\ncolumns: [{{name: n, type: UInt8}}, {{name: who, type: '{ty}'}}]\nsubject_columns: [who]\n"
            );
            let table = Arc::new(parse_table(&text, Path::new("t.yaml")).unwrap_or_else(|e| panic!("{e}")));
            let spelt = canonical(&table.columns[1].ty, typed).unwrap();
            let mut erased = Erased::default();
            erased.insert("who", &Seed::new("who").digest(spelt.as_bytes()), 5);
            let mut decoder = Decoder::new(Arc::clone(&table), &Config::default()).unwrap();
            let mut columns = decoder.columns();
            let mut decode = |decoder: &mut Decoder, json: &str, published_ms: Option<i64>| {
                let payload = format!("{{\"n\": 1, \"who\": {json}}}");
                let record = Record {
                    topic: "t",
                    partition: Partition(0),
                    offset: Offset(0),
                    timestamp_ms: None,
                    key: None,
                    payload: Some(payload.as_bytes()),
                };
                let verdict = decoder.decode(&record, 0, &mut columns);
                assert!(matches!(verdict, Verdict::Decoded), "{ty}: {verdict:?}");
                let rows = columns.rows();
                let taken_back = decoder.takes_back(&mut columns, || published_ms);
                assert_eq!(columns.rows(), rows - usize::from(taken_back), "{ty}");
                taken_back
            };
            assert!(!decode(&mut decoder, json, Some(5)), "{ty}: nobody was erased yet");
            decoder.leave_out(&Arc::new(erased));
            assert!(decode(&mut decoder, json, Some(5)) && decode(&mut decoder, json, None), "{ty}");
            assert!(!decode(&mut decoder, json, Some(6)), "{ty}: it was published later");
            if ty.contains("Nullable") {
                assert!(!decode(&mut decoder, "null", Some(5)), "{ty}");
            }
        }
    }

    #[test]
    fn a_table_without_such_columns_looks_at_nothing() {
        let text = "table: t\ntopics: [t]\norder_by: []\ncolumns: [{name: who, type: UInt8}]\n";
        let table = parse_table(text, Path::new("t.yaml")).unwrap();
        let mut erased = Erased::default();
        erased.insert("who", &Seed::new("who").digest(b"7"), 5);
        assert!(Lookout::new(&table, &Arc::new(erased)).watched.is_empty());
    }
}
