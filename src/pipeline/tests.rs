//! The line without servers: records in, batches and letters out, offsets held until both are settled.

use std::time::Duration;

use super::flush::{Job, Target};
use super::pressure::Valve;
use super::*;
use crate::decode::{self, Decoder};
use crate::record::{Offset, Partition, Position, TopicPartition};
use crate::schema::parse_table;

const ROWS_MAX: u32 = 3;

fn source(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: Partition(partition) }
}

fn line() -> Line {
    let text = "table: t\ntopics: [t]\ncolumns: [{name: n, type: UInt8}]\norder_by: []\n";
    let table = Arc::new(parse_table(text, std::path::Path::new("t.yaml")).unwrap());
    let mut limits = crate::batch::Config { rows_max: ROWS_MAX, in_flight_max: 2, ..Default::default() };
    limits.pressure.enabled = false;
    let valves = Valve::all(&limits, std::slice::from_ref(&table));
    let target = Arc::new(Target::new(&table, &valves[0], &limits));
    let decoder = Decoder::new(table, &decode::Config::default()).unwrap();
    let budget = Budget::new(1 << 20, 1);
    let mut line = Line {
        partitions: Partitions::default(),
        lanes: vec![Lane::new(0, decoder, &target, &budget)],
        letters: VecDeque::new(),
        tickets: Tickets::default(),
        budget,
        totals: Arc::default(),
        now_ms: 0,
    };
    line.partitions.add(source(0), 0, Instant::now());
    line.partitions.add(source(1), 0, Instant::now());
    line
}

impl Line {
    fn feed(&mut self, partition: i32, offset: i64, payload: &str) {
        let record = Record {
            topic: "t",
            partition: Partition(partition),
            offset: Offset(offset),
            timestamp_ms: Some(offset),
            key: None,
            payload: Some(payload.as_bytes()),
        };
        let original = || OwnedRecord {
            position: Position { source: source(partition), offset: Offset(offset) },
            timestamp_ms: Some(offset),
            key: None,
            payload: Some(payload.as_bytes().to_vec()),
            headers: Vec::new(),
        };
        self.accept(&record, original, Instant::now()).unwrap();
    }

    fn low(&mut self, partition: i32) -> Option<i64> {
        self.partitions.by_source(&source(partition))?.watermark.low().map(|offset| offset.0)
    }

    fn settle(&mut self, job: &Job) {
        for source in &job.sources {
            if let Some(owned) = self.partitions.get_mut(source.share.slot) {
                owned.watermark.settle(job.ticket);
            }
        }
        self.lanes[0].done();
    }
}

#[test]
fn offsets_wait_for_batch_and_letter() {
    let mut line = line();
    line.feed(0, 10, "{\"n\":1}");
    line.feed(0, 11, "{\"n\":300}");
    line.feed(1, 5, "{\"n\":2}");
    assert!(line.lanes[0].next_job(Instant::now()).is_none(), "two rows do not fill a batch of three");
    line.feed(0, 12, "{\"n\":3}");
    let job = line.lanes[0].next_job(Instant::now()).unwrap();
    assert_eq!(job.sealed.batch.num_rows(), 3, "the rejected record left no row");
    assert_eq!((line.low(0), line.low(1)), (None, None));
    line.settle(&job);
    assert_eq!((line.low(0), line.low(1)), (Some(11), Some(6)), "the letter holds offset 11 back");
    let letter = line.letters.pop_front().unwrap();
    line.partitions.get_mut(letter.slot).unwrap().watermark.settle(letter.ticket);
    assert_eq!(line.low(0), Some(13));
    let (letter, _permit) = letter.address("g", 0);
    assert_eq!(letter.cause.reason, "out_of_range");
    assert_eq!(letter.cause.path, "n");
}

#[test]
fn what_was_taken_away_moves_nothing() {
    let mut line = line();
    for offset in 0..3 {
        line.feed(0, offset, "{\"n\":1}");
    }
    let job = line.lanes[0].next_job(Instant::now()).unwrap();
    line.partitions.remove(&source(0));
    line.partitions.add(source(0), 0, Instant::now());
    line.settle(&job);
    assert_eq!(line.low(0), None, "the flush belongs to an assignment that is gone");
    line.partitions.by_source(&source(0)).unwrap().closing = true;
    line.feed(0, 3, "{\"n\":1}");
    line.feed(7, 3, "{\"n\":1}");
    assert!(line.lanes[0].buffer.is_empty(), "records of others are not taken in");
}

#[test]
fn a_parked_batch_comes_back_first_and_unchanged() {
    let mut line = line();
    for offset in 0..6 {
        line.feed(0, offset, "{\"n\":1}");
    }
    let lane = &mut line.lanes[0];
    let now = Instant::now();
    let job = lane.next_job(now).unwrap();
    let (ticket, batch) = (job.ticket, job.sealed.batch.clone());
    lane.park(job, "server down".to_owned(), now);
    assert!(lane.next_job(now).is_none(), "the table rests");
    let again = lane.next_job(now + Duration::from_secs(2)).unwrap();
    assert_eq!((again.ticket, &again.sealed.batch), (ticket, &batch));
    assert!(lane.next_job(now + Duration::from_secs(2)).is_none(), "one batch tries the table");
    lane.done();
    assert!(lane.next_job(now + Duration::from_secs(2)).is_some() && lane.parked_reason().is_none());
}

#[test]
fn a_full_lane_stops_reading_until_half_is_gone() {
    let mut line = line();
    for offset in 0..15 {
        line.feed(0, offset, "{\"n\":1}");
    }
    let now = Instant::now();
    let lane = &mut line.lanes[0];
    assert!(lane.is_blocked(false, now));
    let first = lane.next_job(now).unwrap();
    let _second = lane.next_job(now).unwrap();
    assert!(lane.next_job(now).is_none(), "two are under way at most");
    assert!(lane.is_blocked(true, now));
    lane.park(first, "busy".to_owned(), now);
    assert!(lane.is_blocked(true, now), "a parked table stays blocked");
}
