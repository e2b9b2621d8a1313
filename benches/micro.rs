//! What one event costs in the decoder and the encoder, beside general parsers on the same bytes.
//!
//! Knows no servers. The events are those of `penstock generate clicks`, the table is the one that ships.

#![allow(clippy::expect_used, reason = "a benchmark that cannot go on should stop loudly")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use penstock::clickhouse::native;
use penstock::columns::Columns;
use penstock::decode::json::Cursor;
use penstock::decode::{Config, Decoder, Verdict};
use penstock::generate::clicks::Clicks;
use penstock::record::{Offset, Partition, Record};
use penstock::schema::load_table;

const ROWS: usize = 10_000;
/// The events' first time, and the clock that their times are judged by.
const NOW_MS: i64 = 1_780_000_000_000;

#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "only parsing is measured")]
struct Click<'a> {
    event_id: &'a str,
    time: &'a str,
    user_id: u64,
    session_id: &'a str,
    url: &'a str,
    referrer: Option<&'a str>,
    country: &'a str,
    device: &'a str,
    status: u16,
    duration_ms: u32,
    price: Option<f64>,
    is_bot: bool,
    ip: &'a str,
}

fn decode_all(events: &[Vec<u8>], decoder: &mut Decoder, columns: &mut Columns) {
    for (payload, n) in events.iter().zip(0..) {
        let record = Record {
            topic: "clicks",
            partition: Partition(0),
            offset: Offset(n),
            timestamp_ms: None,
            key: None,
            payload: Some(payload),
        };
        let verdict = decoder.decode(black_box(&record), NOW_MS, columns);
        assert!(matches!(verdict, Verdict::Decoded), "{verdict:?}");
    }
}

/// The event's fields as `arrow-json` can read them.
fn click_schema() -> Schema {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Schema::new(vec![
        text("event_id", false),
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("user_id", DataType::UInt64, false),
        text("session_id", false),
        text("url", false),
        text("referrer", true),
        text("country", false),
        text("device", false),
        Field::new("status", DataType::UInt16, false),
        Field::new("duration_ms", DataType::UInt32, false),
        Field::new("price", DataType::Float64, true),
        Field::new("is_bot", DataType::Boolean, false),
        text("ip", false),
    ])
}

fn benches(c: &mut Criterion) {
    let mut clicks = Clicks::new(1, NOW_MS);
    let events: Vec<Vec<u8>> = (0..ROWS)
        .map(|_| {
            let mut event = Vec::new();
            clicks.next(&mut event);
            event
        })
        .collect();
    let bytes: usize = events.iter().map(Vec::len).sum();
    let table = load_table(&Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/clicks")).expect("it ships");
    let mut decoder = Decoder::new(Arc::new(table), &Config::default()).expect("the table compiles");
    let mut columns = decoder.columns();

    let mut group = c.benchmark_group(format!("click event of {} bytes", bytes / ROWS));
    group.throughput(Throughput::ElementsAndBytes { elements: ROWS as u64, bytes: bytes as u64 });
    group.bench_function("decode", |b| {
        b.iter(|| {
            columns.truncate(0);
            decode_all(&events, &mut decoder, &mut columns);
        });
    });
    group.bench_function("finish", |b| {
        b.iter_batched_ref(
            || {
                let mut columns = decoder.columns();
                decode_all(&events, &mut decoder, &mut columns);
                columns
            },
            |columns| black_box(columns.finish().expect("columns finish")),
            BatchSize::PerIteration,
        );
    });
    columns.truncate(0);
    decode_all(&events, &mut decoder, &mut columns);
    let batch = columns.finish().expect("columns finish");
    group.bench_function("encode to a Native block", |b| {
        b.iter(|| black_box(native::encode(&batch).expect("the batch encodes")));
    });
    others(&mut group, &events);
    group.finish();
}

/// General parsers on the same bytes.
fn others(group: &mut BenchmarkGroup<'_, WallTime>, events: &[Vec<u8>]) {
    group.bench_function("bare SIMD parse", |b| {
        // It parses in place, so each round gets a new copy, which is not measured.
        b.iter_batched_ref(
            || (events.to_vec(), simd_json::Buffers::new(512)),
            |(events, buffers)| {
                let mut tape = simd_json::Tape::null();
                for payload in events {
                    let mut here = tape.reset();
                    simd_json::fill_tape(payload, buffers, &mut here).expect("parses");
                    tape = black_box(here).reset();
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("arrow-json", |b| {
        let mut decoder = arrow_json::ReaderBuilder::new(Arc::new(click_schema()))
            .with_batch_size(ROWS)
            .build_decoder()
            .expect("the schema is supported");
        b.iter(|| {
            for payload in events {
                let read = decoder.decode(payload).expect("parses");
                assert_eq!(read, payload.len());
            }
            black_box(decoder.flush().expect("columns finish"))
        });
    });
    group.bench_function("grammar only", |b| {
        b.iter(|| {
            for payload in events {
                let text = std::str::from_utf8(payload).expect("is text");
                let mut cursor = Cursor::new(text, 128);
                cursor.skip(None).expect("parses");
                black_box(cursor.end()).expect("ends");
            }
        });
    });
    group.bench_function("serde_json typed, no validation", |b| {
        b.iter(|| {
            for payload in events {
                black_box(serde_json::from_slice::<Click<'_>>(payload).expect("parses"));
            }
        });
    });
    group.bench_function("serde_json value", |b| {
        b.iter(|| {
            for payload in events {
                black_box(serde_json::from_slice::<serde_json::Value>(payload).expect("parses"));
            }
        });
    });
}

criterion_group!(micro, benches);
criterion_main!(micro);
