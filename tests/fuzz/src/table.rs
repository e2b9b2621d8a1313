//! Any text as a table file.
//!
//! What must hold: no panic; an error tells a way out or a line; a table that is accepted can be printed as DDL, and
//! has a decoder or a refusal of one with a way out, whose columns take a record or leave no trace of it.

use std::path::Path;
use std::sync::Arc;

use penstock::decode::{Config, Decoder, Verdict};
use penstock::record::{Offset, Partition, Record};
use penstock::schema::parse_table;

use crate::corpus;

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = crate::files("schemas", "table.yaml");
    seeds.push(corpus::table_yaml().into_bytes());
    // A whole table is long; one column at a time is changed faster.
    let table = corpus::table_yaml();
    let columns = table.lines().filter(|line| line.starts_with("  - {"));
    let head = "table: t\ntopics: [t]\norder_by: []\ncolumns:\n";
    seeds.extend(columns.map(|column| format!("{head}{column}\n").into_bytes()));
    seeds
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let table = match parse_table(text, Path::new("/nonexistent/table.yaml")) {
        Ok(table) => table,
        Err(error) => return helps(&error.to_string()),
    };
    assert!(!penstock::schema::ddl::create_table(&table, true).is_empty());
    let mut decoder = match Decoder::new(Arc::new(table), &Config::default()) {
        Ok(decoder) => decoder,
        Err(error) => return helps(&error.to_string()),
    };
    let mut columns = decoder.columns();
    let empty = columns.bytes();
    let record = Record {
        topic: "t",
        partition: Partition(0),
        offset: Offset(0),
        timestamp_ms: None,
        key: None,
        payload: Some(b"{}"),
    };
    let verdict = decoder.decode(&record, 0, &mut columns);
    let decoded = matches!(verdict, Verdict::Decoded);
    assert_eq!(columns.rows(), usize::from(decoded));
    assert!(decoded || columns.bytes() == empty, "a rejected record leaves no trace");
    assert_eq!(columns.finish().expect("a batch").num_rows(), usize::from(decoded));
}

fn helps(message: &str) {
    assert!(message.contains("\nhint: ") || message.contains("line "), "no way out: {message}");
}
