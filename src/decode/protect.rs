//! Hides values before anybody sees them: the last row's, once it has passed every rule.
//!
//! Refuses to let a value through: a table whose keys are not at hand is not decoded into. Rules of a column are about
//! what the record says, so they come first; what lies in the columns afterwards is what goes everywhere, to lookouts for
//! erased subjects too. The same record gives the same row, whenever it is read.

use std::fmt::Write as _;

use super::Error;
use super::fault::{Fault, Result};
use super::reject::Reason;
use crate::columns::Columns;
use crate::columns::builder::{Builder, Text};
use crate::crypt::{Cipher, Pseudonyms, Ring, VALUE_BYTES_MAX};
use crate::record::Record;
use crate::schema::protect::{HIDDEN, Protect};
use crate::schema::{Column, Table};

/// Stands for a character of a value that is partly shown.
const MASK: char = '*';

/// The columns of one table whose values are hidden.
#[derive(Debug, Default)]
pub struct Protection {
    columns: Vec<Hidden>,
    /// Where the record stands, as values of one record are told from those of another.
    place: String,
    text: String,
}

#[derive(Debug)]
struct Hidden {
    /// Of the table.
    index: usize,
    name: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Redact,
    KeepLast(usize),
    Pseudonym(Box<Pseudonyms>),
    Encrypt(Box<Cipher>),
}

impl Protection {
    pub fn new(table: &Table) -> std::result::Result<Protection, Error> {
        let ring = table.keys.as_deref();
        let protected = table.columns.iter().enumerate();
        let protected =
            protected.filter_map(|(index, column)| Some((index, column, column.protect.as_ref()?)));
        let columns = protected.map(|(index, column, protect)| {
            let way = Way::new(table, column, protect, ring)?;
            Ok(Hidden { index, name: column.name.clone(), way })
        });
        Ok(Protection {
            columns: columns.collect::<std::result::Result<_, Error>>()?,
            ..Protection::default()
        })
    }

    /// Hides what the record has put into the columns.
    #[inline]
    pub fn apply(&mut self, record: &Record<'_>, columns: &mut Columns) -> Result {
        if self.columns.is_empty() { Ok(()) } else { self.hide(record, columns) }
    }

    fn hide(&mut self, record: &Record<'_>, columns: &mut Columns) -> Result {
        let Protection { columns: hidden, place, text } = self;
        place.clear();
        for one in hidden {
            let builder = columns.builder(one.index).ok_or_else(Fault::layout)?;
            let Builder::Text(column) = builder else { return Err(Fault::layout()) };
            let row = column.rows().checked_sub(1).ok_or_else(Fault::layout)?;
            if column.is_null(row) {
                continue;
            }
            if place.is_empty() && matches!(one.way, Way::Encrypt(_)) {
                // Writing to text does not fail.
                let _ = write!(place, "{}/{}@{}", record.topic, record.partition.0, record.offset.0);
            }
            one.replace((column, row), place, text).map_err(|fault| fault.at_key(&one.name))?;
        }
        Ok(())
    }
}

impl Hidden {
    fn replace(&self, (column, row): (&mut Text, usize), place: &str, text: &mut String) -> Result {
        text.clear();
        let value = column.get(row);
        match &self.way {
            Way::Redact => text.push_str(HIDDEN),
            Way::KeepLast(count) => keep_last(value, *count, text),
            Way::Pseudonym(pseudonyms) => text.push_str(&pseudonyms.of(value.as_bytes())),
            Way::Encrypt(cipher) => cipher.seal_text(place, value.as_bytes(), text).map_err(|_| {
                let detail = format!(
                    "a string of {} bytes is too long to encrypt, {VALUE_BYTES_MAX} may be",
                    value.len()
                );
                Fault::new(Reason::TooLarge, detail)
            })?,
        }
        column.truncate(row);
        column
            .push(text)
            .map_err(|full| Fault::new(full.into(), "what hides the value finds no room in the batch"))
    }
}

impl Way {
    fn new(
        table: &Table,
        column: &Column,
        protect: &Protect,
        ring: Option<&Ring>,
    ) -> std::result::Result<Way, Error> {
        let ring =
            |key: &String| ring.ok_or_else(|| Error::Keys { column: column.name.clone(), key: key.clone() });
        let failed = |source| Error::Key { column: column.name.clone(), source: Box::new(source) };
        Ok(match protect {
            Protect::Redact => Way::Redact,
            Protect::KeepLast(count) => Way::KeepLast(*count),
            Protect::Pseudonym(key) => {
                Way::Pseudonym(Box::new(Pseudonyms::new(ring(key)?, key).map_err(failed)?))
            }
            Protect::Encrypt(key) => {
                let context = table.context(&column.name);
                Way::Encrypt(Box::new(Cipher::new(ring(key)?, key, &context).map_err(failed)?))
            }
        })
    }
}

/// All but the last characters hidden; a value that has no more than these is hidden as a whole.
fn keep_last(value: &str, count: usize, to: &mut String) {
    let chars = value.chars().count();
    let shown = if count < chars { count } else { 0 };
    to.extend(std::iter::repeat_n(MASK, chars - shown));
    to.extend(value.chars().skip(chars - shown));
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::crypt::{as_bytes, open};
    use crate::decode::{Config, Decoder, Verdict};
    use crate::record::{Offset, Partition};
    use crate::schema::parse_table;

    const TYPE: &str = "'LowCardinality(Nullable(String))'";

    fn ring() -> Arc<Ring> {
        Arc::new(Ring::of(&[("a", [7; 32]), ("b", [8; 32])]))
    }

    fn table(ty: &str, protect: &str) -> Table {
        let text = format!(
            "table: t\ntopics: [t]\norder_by: []\nunknown_fields: reject\ncolumns:\n- {{name: n, type: UInt8}}\n\
             - {{name: c, type: {ty}, length: {{max: 40}}, pattern: '^[^!]*$'{protect}}}\n- {{name: m, type: String, default: x}}\n"
        );
        parse_table(&text, Path::new("t.yaml")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn decoder(ty: &str, protect: &str) -> Decoder {
        let mut table = table(ty, protect);
        table.put_keys(&ring()).unwrap();
        Decoder::new(Arc::new(table), &Config::default()).unwrap()
    }

    fn decode(decoder: &mut Decoder, columns: &mut Columns, payload: &str, offset: i64) -> Verdict {
        let record = Record {
            topic: "t",
            partition: Partition(3),
            offset: Offset(offset),
            timestamp_ms: Some(0),
            key: None,
            payload: Some(payload.as_bytes()),
        };
        decoder.decode(&record, 0, columns)
    }

    fn text(columns: &mut Columns, column: usize) -> Option<String> {
        let row = columns.rows() - 1;
        let Some(Builder::Text(text)) = columns.builder(column) else { panic!("no text") };
        (!text.is_null(row)).then(|| text.get(row).to_owned())
    }

    /// What becomes of the value at an offset.
    fn value(protect: &str, json: &str, offset: i64) -> Option<String> {
        let mut decoder = decoder(TYPE.trim_matches('\''), protect);
        let mut columns = decoder.columns();
        let payload = format!("{{\"n\":1,\"c\":{json}}}");
        let verdict = decode(&mut decoder, &mut columns, &payload, offset);
        assert!(matches!(verdict, Verdict::Decoded), "{verdict:?}");
        text(&mut columns, 1)
    }

    #[test]
    fn values_are_hidden_as_the_table_says_and_null_stays() {
        for (protect, json, expected) in [
            ("", "\"secret\"", Some("secret")),
            (", protect: redact", "\"secret\"", Some("***")),
            (", protect: redact", "\"\"", Some("***")),
            (", protect: redact", "null", None),
            (", protect: {keep_last: 4}", "\"4111-1111\"", Some("*****1111")),
            (", protect: {keep_last: 4}", "\"äöüß€\"", Some("*öüß€")),
            (", protect: {keep_last: 4}", "\"1111\"", Some("****")),
            (", protect: {keep_last: 4}", "\"\"", Some("")),
            (", protect: {pseudonym: a}", "null", None),
        ] {
            assert_eq!(value(protect, json, 0).as_deref(), expected, "{protect} {json}");
        }
    }

    #[test]
    fn pseudonyms_are_the_same_for_the_same_value_and_key_wherever_it_stands() {
        let of = |key: &str, json: &str, offset| {
            value(&format!(", protect: {{pseudonym: {key}}}"), json, offset).unwrap()
        };
        let one = of("a", "\"ana\"", 1);
        assert!(one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_eq!(one, of("a", "\"\\u0061na\"", 2), "however it is written");
        assert!(one != of("b", "\"ana\"", 1) && one != of("a", "\"bob\"", 1));
        assert_eq!(one, Pseudonyms::new(&ring(), "a").unwrap().of(b"ana"));
    }

    #[test]
    fn encrypted_values_are_the_same_for_the_same_record_and_for_no_other() {
        let mut decoder = decoder("String", ", protect: {encrypt: b}");
        let mut columns = decoder.columns();
        let mut at = |offset| {
            let verdict = decode(&mut decoder, &mut columns, "{\"n\":1,\"c\":\"ana\"}", offset);
            assert!(matches!(verdict, Verdict::Decoded));
            text(&mut columns, 1).unwrap()
        };
        let (one, other) = (at(1), at(2));
        assert_eq!(one, at(1), "read again");
        assert_ne!(one, other, "equal values are not seen to be equal");
        let opened = |text: &str, context: &str| {
            open(&ring(), context, &as_bytes(text.as_bytes()).unwrap().unwrap()).map(|value| value.to_vec())
        };
        assert_eq!(opened(&one, "t.c").unwrap(), b"ana");
        assert!(opened(&one, "t.m").is_err());
    }

    #[test]
    fn without_its_keys_a_table_is_not_decoded_into_but_can_be_judged_by() {
        for protect in [", protect: {pseudonym: a}", ", protect: {encrypt: a}"] {
            let table = Arc::new(table("String", protect));
            let error = Decoder::new(Arc::clone(&table), &Config::default()).unwrap_err();
            assert!(
                error.to_string().contains("column `c`") && error.to_string().contains("hint: "),
                "{error}"
            );
            let mut judge = Decoder::judging(table, &Config::default()).unwrap();
            let mut columns = judge.columns();
            let verdict = decode(&mut judge, &mut columns, "{\"n\":1,\"c\":\"!\"}", 0);
            assert!(matches!(verdict, Verdict::Rejected(_)));
        }
    }

    #[test]
    fn what_is_too_long_to_hide_is_rejected_and_leaves_no_trace() {
        let text = "table: t\ntopics: [t]\norder_by: []\ncolumns: [{name: c, type: String, protect: {encrypt: a}}]\n";
        let mut table = parse_table(text, Path::new("t.yaml")).unwrap();
        table.put_keys(&ring()).unwrap();
        let mut decoder = Decoder::new(Arc::new(table), &Config::default()).unwrap();
        let mut columns = decoder.columns();
        let payload = format!("{{\"c\":\"{}\"}}", "x".repeat(VALUE_BYTES_MAX + 1));
        let Verdict::Rejected(rejection) = decode(&mut decoder, &mut columns, &payload, 0) else {
            panic!("it is decoded");
        };
        assert_eq!((rejection.reason, rejection.path.as_str()), (Reason::TooLarge, "c"));
        assert_eq!((columns.rows(), columns.bytes()), (0, 0));
    }

    proptest! {
        /// Whatever the record, hiding a column changes that column alone, and neither a verdict nor its wording.
        #[test]
        fn all_else_is_as_without_hiding(
            value in prop_oneof!["\"[a-z!é]{0,50}\"", "null|1|\\[\\]|\"", "\"\\\\u00e9\""],
            more in prop_oneof!["", ",\"m\":\"y\"", ",\"z\":1", ",\"c\":\"twice\""],
            protect in prop_oneof![
                Just(", protect: redact"), Just(", protect: {keep_last: 2}"),
                Just(", protect: {pseudonym: a}"), Just(", protect: {encrypt: a}"),
            ],
        ) {
            let (mut plain, mut hiding) = (decoder("Nullable(String)", ""), decoder("Nullable(String)", protect));
            let (mut rows, mut hidden) = (plain.columns(), hiding.columns());
            let payload = format!("{{\"n\":1,\"c\":{value}{more}}}");
            let one = decode(&mut plain, &mut rows, &payload, 0);
            let other = decode(&mut hiding, &mut hidden, &payload, 0);
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            prop_assert_eq!(rows.rows(), hidden.rows());
            if rows.rows() == 1 {
                prop_assert_eq!(text(&mut rows, 2), text(&mut hidden, 2));
                let (before, after) = (text(&mut rows, 1), text(&mut hidden, 1));
                prop_assert_eq!(before.is_none(), after.is_none());
                prop_assert!(before.is_none_or(|value| value.is_empty() || Some(value) != after));
            }
        }
    }
}
