//! Any bytes as a record's value, into the table of clicks and into one with a column of every type.
//!
//! What must hold: no panic; a rejected record leaves rows and bytes as they were; an accepted one adds
//! exactly one row, and what is held still makes a batch of as many rows.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use penstock::columns::Columns;
use penstock::decode::{Config, Decoder, Verdict};
use penstock::record::{Offset, Partition, Record};
use penstock::schema::parse_table;

use crate::corpus;

/// Rows after which a batch is made of what is held.
const ROWS_MAX: usize = 64;
const NOW_MS: i64 = 1_700_000_000_000;

struct Held {
    decoder: Decoder,
    columns: Columns,
    /// Without fast ways, into columns of its own.
    general: (Decoder, Columns),
    /// What columns hold without rows.
    empty: usize,
}

thread_local! {
    static TABLES: RefCell<Vec<Held>> = RefCell::new(tables());
}

fn tables() -> Vec<Held> {
    let clicks = include_str!("../../../schemas/clicks/table.yaml");
    [clicks.to_owned(), corpus::table_yaml()].iter().map(|text| held(text)).collect()
}

fn held(text: &str) -> Held {
    let table = parse_table(text, Path::new("table.yaml")).expect("a good table");
    let table = Arc::new(table);
    let new =
        || Decoder::new(Arc::clone(&table), &Config::default()).expect("a table that can be decoded into");
    let (decoder, general) = (new(), new().in_the_general_way());
    let columns = decoder.columns();
    Held { empty: columns.bytes(), general: (general, decoder.columns()), columns, decoder }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let cases = corpus::cases().into_iter().filter_map(|case| case.payload);
    crate::files("schemas", ".json").into_iter().chain(cases).collect()
}

pub fn run(data: &[u8]) {
    TABLES.with_borrow_mut(|tables| tables.iter_mut().for_each(|held| decode(held, data)));
}

fn decode(held: &mut Held, data: &[u8]) {
    let Held { decoder, columns, general, empty } = held;
    let record = Record {
        topic: "clicks",
        partition: Partition(3),
        offset: Offset(7),
        timestamp_ms: Some(NOW_MS),
        key: None,
        payload: Some(data),
    };
    let before = (columns.rows(), columns.bytes());
    let verdict = decoder.decode(&record, NOW_MS, columns);
    let after = (columns.rows(), columns.bytes());
    let same = general.0.decode(&record, NOW_MS, &mut general.1);
    assert_eq!(format!("{verdict:?}"), format!("{same:?}"), "both ways come to the same");
    assert_eq!(columns.bytes(), general.1.bytes());
    match verdict {
        Verdict::Decoded => {
            assert_eq!(after.0, before.0 + 1, "an accepted record is one row");
            assert!(before.1 < after.1, "a row takes room");
            if let Err(error) = serde_json::from_slice::<serde_json::Value>(data) {
                let text = error.to_string();
                let beyond = text.starts_with("number out of range") || text.starts_with("recursion limit");
                assert!(beyond, "another parser refuses it: {text}");
            }
        }
        Verdict::Rejected(rejection) => {
            assert_eq!(after, before, "a rejected record leaves no trace");
            assert!(!rejection.to_string().is_empty());
        }
        Verdict::Filtered => panic!("a record with a value was left out"),
    }
    if ROWS_MAX <= columns.rows() {
        let rows = columns.rows();
        let batch = columns.finish().expect("a batch");
        assert_eq!(batch.num_rows(), rows);
        assert_eq!(batch, general.1.finish().expect("a batch"));
        assert_eq!((columns.rows(), columns.bytes()), (0, *empty), "nothing is left behind");
    }
}
