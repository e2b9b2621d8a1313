//! The line without servers: records in, batches and letters out, offsets held until both are settled.

use std::time::Duration;

use super::commits::Commit;
use super::flush::{Flushed, Job, Target, Task};
use super::partitions::Owned;
use super::planning::Planning;
use super::pressure::Valve;
use super::search::Outcome;
use super::update::Renewal;
use super::*;
use crate::batch::memory::Holder;
use crate::decode::{self, Decoder};
use crate::delivery::plan::Terms;
use crate::delivery::{Ledger, Lineage, Plan};
use crate::record::{Partition, Position};
use crate::schema::parse_table;
use crate::schema::subject::{Erased, Seed};

const ROWS_MAX: u32 = 3;

fn source(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: Partition(partition) }
}

fn line() -> Line {
    line_of("table: t\ntopics: [t]\ncolumns: [{name: n, type: UInt8}]\norder_by: []\n")
}

fn line_of(text: &str) -> Line {
    let table = Arc::new(parse_table(text, std::path::Path::new("t.yaml")).unwrap());
    let mut limits = crate::batch::Config { rows_max: ROWS_MAX, in_flight_max: 2, ..Default::default() };
    limits.pressure.enabled = false;
    let valves = Valve::all(&limits, std::slice::from_ref(&table));
    let decoder = Decoder::new(table, &decode::Config::default()).unwrap();
    let budget = Budget::new(1 << 20, 1);
    let target = Arc::new(Target {
        database: None,
        table: "t".to_owned(),
        fingerprint: 1,
        exact: None,
        valve: Arc::clone(&valves[0]),
        partition_by: None,
        partition_keys_max: 50,
    });
    let mut line = Line {
        partitions: Partitions::default(),
        is_exact: false,
        tracer: crate::telemetry::traces::Tracer::default(),
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

    fn next_job(&mut self, now: Instant) -> Option<Job> {
        self.lanes[0].next_job(now, &self.partitions)
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
    assert!(line.next_job(Instant::now()).is_none(), "two rows do not fill a batch of three");
    line.feed(0, 12, "{\"n\":3}");
    let job = line.next_job(Instant::now()).unwrap();
    assert_eq!(job.sealed.rows(), 3, "the rejected record left no row");
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
    let job = line.next_job(Instant::now()).unwrap();
    line.partitions.remove(&source(0));
    line.partitions.add(source(0), 0, Instant::now());
    line.settle(&job);
    assert_eq!(line.low(0), None, "the flush belongs to an assignment that is gone");
    line.partitions.by_source(&source(0)).unwrap().closing = true;
    line.feed(0, 3, "{\"n\":1}");
    line.feed(7, 3, "{\"n\":1}");
    assert!(line.lanes[0].opens[0].buffer.is_empty(), "records of others are not taken in");
}

#[test]
fn a_parked_batch_comes_back_first_and_unchanged() {
    let mut line = line();
    for offset in 0..6 {
        line.feed(0, offset, "{\"n\":1}");
    }
    let now = Instant::now();
    let job = line.next_job(now).unwrap();
    let (ticket, batch) = (job.ticket, job.payload.columns().unwrap());
    line.lanes[0].park(job, "server down".to_owned(), now);
    assert!(line.next_job(now).is_none(), "the table rests");
    let again = line.next_job(now + Duration::from_secs(2)).unwrap();
    assert_eq!((again.ticket, &again.payload.columns().unwrap()), (ticket, &batch));
    assert!(line.next_job(now + Duration::from_secs(2)).is_none(), "one batch tries the table");
    line.lanes[0].done();
    assert!(line.next_job(now + Duration::from_secs(2)).is_some() && line.lanes[0].parked_reason().is_none());
}

#[test]
fn a_full_lane_stops_reading_until_half_is_gone() {
    let mut line = line();
    for offset in 0..15 {
        line.feed(0, offset, "{\"n\":1}");
    }
    let now = Instant::now();
    assert!(line.lanes[0].is_blocked(false, now));
    let first = line.next_job(now).unwrap();
    let _second = line.next_job(now).unwrap();
    assert!(line.next_job(now).is_none(), "two are under way at most");
    assert!(line.lanes[0].is_blocked(true, now));
    line.lanes[0].park(first, "busy".to_owned(), now);
    assert!(line.lanes[0].is_blocked(true, now), "a parked table stays blocked");
}

const LEASE: Duration = Duration::from_secs(60);

/// A line of `exactly_once` with one partition, which goes on from `base` and what its last owner committed.
fn planned_line(base: i64, text: &str) -> Line {
    let mut line = line();
    line.is_exact = true;
    line.partitions.remove(&source(1));
    let terms = Terms { fingerprint: 1, lease: LEASE, intents_max: 4 };
    let ledger = Ledger::parse(text, Offset(base)).unwrap();
    let plan = Plan::begin(terms, Some(Offset(base)), ledger, Lineage(9));
    let open = line.lanes[0].open_one(line.tickets.next());
    let owned = line.partitions.by_source(&source(0)).unwrap();
    owned.open = open;
    owned.committed = Some(Offset(base));
    owned.plan = Some(Planning::new(plan, Instant::now()));
    line
}

impl Line {
    fn owned(&mut self) -> &mut Owned {
        self.partitions.by_source(&source(0)).unwrap()
    }

    /// Commits what is to be committed; gives it.
    fn commit(&mut self, now: Instant) -> Commit {
        let commit = self.owned().to_commit(now, 0).unwrap();
        self.owned().acknowledged(&commit);
        commit
    }

    /// A task of a batch went this way.
    fn flushed(&mut self, job: &mut Job, flushed: Flushed) -> Outcome {
        let outcome = job.advance(flushed, &mut self.partitions);
        if matches!(outcome, Outcome::Done) {
            self.lanes[0].done();
            self.owned().settle(job.ticket);
        }
        outcome
    }
}

fn refused() -> Flushed {
    Flushed::Refused(Arc::new(crate::clickhouse::Error::Closed))
}

#[test]
fn a_planned_batch_is_sent_after_its_commit_and_cut_again_by_the_next_owner() {
    let now = Instant::now();
    let mut line = planned_line(10, "");
    for offset in 10..14 {
        line.feed(0, offset, "{\"n\":1}");
    }
    assert!(line.next_job(now).is_none(), "no commit lists the batch yet");
    let committed = line.commit(now);
    assert_eq!(committed.offset, Offset(10));
    let mut job = line.next_job(now).unwrap();
    assert_eq!(job.planned.unwrap().range.to_string(), "[10, 13)");
    assert!(line.owned().to_commit(now, 0).is_none(), "the open batch is not planned yet");

    // Somebody else takes over, with larger batches and before anything is settled.
    let text = committed.snapshot.unwrap().text;
    let mut taker = planned_line(10, &text);
    taker.lanes[0].limits.rows_max = 100;
    for offset in 10..13 {
        taker.feed(0, offset, "{\"n\":1}");
    }
    assert!(taker.next_job(now).is_none(), "it commits under its own generation first");
    taker.commit(now);
    let again = taker.next_job(now).unwrap();
    assert_eq!(again.planned.unwrap().range, job.planned.unwrap().range);
    assert_eq!(again.payload.columns(), job.payload.columns());
    assert!(again.doubt.is_some(), "the last owner may have sent it");

    assert!(matches!(line.flushed(&mut job, Flushed::Written), Outcome::Done));
    assert_eq!(line.commit(now).offset, Offset(13));
}

#[test]
fn refused_rows_are_found_by_ranges_that_a_commit_lists() {
    let now = Instant::now();
    let mut line = planned_line(0, "");
    for offset in 0..3 {
        line.feed(0, offset, "{\"n\":1}");
    }
    line.commit(now);
    let mut job = line.next_job(now).unwrap();
    let (mut landed, mut buried, mut tasks) = (Vec::new(), Vec::new(), 0);
    loop {
        tasks += 1;
        assert!(tasks < 10, "{landed:?} {buried:?}");
        let flushed = match job.task.clone() {
            Task::Bury(row, _) => {
                buried.push(row);
                Flushed::Buried
            }
            Task::Insert(rows) if rows.contains(&1) => refused(),
            Task::Insert(rows) => {
                landed.extend(rows);
                Flushed::Written
            }
        };
        match line.flushed(&mut job, flushed) {
            Outcome::Done => break,
            Outcome::Paused(reason) => panic!("{reason}"),
            Outcome::Later => panic!("it is the head of the plan"),
            Outcome::Next => {
                line.lanes[0].push_front(job);
                assert!(line.next_job(now).is_none(), "the new ranges are not committed yet");
                line.commit(now);
                job = line.next_job(now).unwrap();
            }
        }
    }
    assert_eq!((landed, buried), (vec![0, 2], vec![1]));
    assert_eq!(line.commit(now).offset, Offset(3));
    assert!(line.owned().is_committed(now) && line.is_settled());
}

#[test]
fn records_that_become_no_rows_move_the_offset_and_a_log_that_goes_back_halts() {
    let now = Instant::now();
    let mut line = planned_line(5, "");
    line.feed(0, 5, "{\"n\":300}");
    line.feed(0, 7, "{\"n\":301}");
    line.seal_aged(now).unwrap();
    assert!(line.owned().to_commit(now, 0).is_none(), "it is not old enough");
    line.seal_aged(now + Duration::from_secs(2)).unwrap();
    assert_eq!(line.owned().to_commit(now, 0).map(|c| c.offset), None, "the letters are not acknowledged");
    while let Some(letter) = line.letters.pop_front() {
        line.owned().settle(letter.ticket);
    }
    assert_eq!(line.commit(now).offset, Offset(8));
    line.feed(0, 3, "{\"n\":1}");
    assert!(line.owned().halted.as_ref().unwrap().contains("ledger rewind"));
    line.feed(0, 8, "{\"n\":1}");
    assert!(
        line.owned().to_commit(now, 0).is_none() && line.lanes[0].opens.iter().all(|o| o.buffer.is_empty())
    );
}

#[test]
fn records_deleted_before_they_were_read_are_sent_once_if_they_come_back() {
    let now = Instant::now();
    let mut line = planned_line(10, "");
    line.lanes[0].limits.rows_max = 100;
    line.feed(0, 10, "{\"n\":1}");
    // Told while a record from before still waits to be looked at.
    line.jumped(&source(0), Offset(12));
    line.feed(0, 11, "{\"n\":1}");
    for offset in 20..23 {
        line.feed(0, offset, "{\"n\":1}");
    }
    line.seal(Batch::Of(line.partitions.slot_of(&source(0)).unwrap()), Trigger::Age, now).unwrap();
    let text = line.commit(now).snapshot.unwrap().text;
    let ranges = |line: &mut Line| {
        let jobs = std::iter::from_fn(|| line.next_job(now));
        jobs.map(|job| (job.planned.unwrap().range.to_string(), job.sealed.rows())).collect::<Vec<_>>()
    };
    let sent = [("[10, 12)".to_owned(), 2), ("[20, 23)".to_owned(), 3)];
    assert_eq!(ranges(&mut line), sent);

    // The broker died before it had written down where the log begins: the next owner reads all of it.
    let mut taker = planned_line(10, &text);
    taker.lanes[0].limits.in_flight_max = 3;
    for offset in 10..23 {
        taker.feed(0, offset, "{\"n\":1}");
    }
    assert!(taker.owned().halted.is_none(), "{:?}", taker.owned().halted);
    taker.commit(now);
    assert_eq!(ranges(&mut taker), [sent[0].clone(), ("[12, 20)".to_owned(), 8), sent[1].clone()]);

    // They did not come back: nothing is left of that range.
    let mut taker = planned_line(10, &text);
    for offset in [10, 11, 20, 21, 22] {
        taker.feed(0, offset, "{\"n\":1}");
    }
    taker.commit(now);
    assert_eq!(ranges(&mut taker), sent);
}

#[test]
fn what_belongs_to_a_partition_that_is_gone_is_not_sent() {
    let now = Instant::now();
    let mut line = planned_line(0, "");
    for offset in 0..3 {
        line.feed(0, offset, "{\"n\":1}");
    }
    line.commit(now);
    line.partitions.remove(&source(0));
    assert!(line.next_job(now).is_none() && line.lanes[0].is_settled());
}

#[test]
fn memory_full_of_batches_that_cannot_be_closed_lets_one_partition_read_on() {
    let now = Instant::now();
    let mut line = planned_line(10, "");
    for offset in 10..13 {
        line.feed(0, offset, "{\"n\":1}");
    }
    assert_eq!(line.stuck(), None, "a batch on its way will free its bytes");
    let text = line.commit(now).snapshot.unwrap().text;
    let mut taker = planned_line(10, &text);
    taker.feed(0, 10, "{\"n\":1}");
    taker.seal_largest(now).unwrap();
    assert!(taker.lanes[0].is_idle(), "its end is planned, so memory does not close it");
    let slot = taker.partitions.slot_of(&source(0));
    assert!(slot.is_some() && taker.stuck() == slot);
    taker.feed(0, 11, "{\"n\":1}");
    taker.feed(0, 12, "{\"n\":1}");
    assert_eq!(taker.stuck(), None);
}

#[test]
fn a_batch_is_cut_into_parts_only_once_those_before_it_are_done() {
    let now = Instant::now();
    let mut line = planned_line(0, "");
    for offset in 0..6 {
        line.feed(0, offset, "{\"n\":1}");
    }
    line.commit(now);
    let mut first = line.next_job(now).unwrap();
    let mut second = line.next_job(now).unwrap();
    assert!(matches!(line.flushed(&mut second, refused()), Outcome::Later));
    line.lanes[0].push_later(second, now + Duration::from_secs(1));
    assert!(matches!(line.flushed(&mut first, Flushed::Written), Outcome::Done));
    assert!(line.next_job(now).is_none());
    let mut second = line.next_job(now + Duration::from_secs(2)).unwrap();
    assert!(matches!(line.flushed(&mut second, refused()), Outcome::Next));
}

/// Rules by which `{"n":2}` is refused.
fn renewal() -> Renewal {
    let text = "table: t\ntopics: [t]\ncolumns: [{name: n, type: UInt8, max: 1}]\norder_by: []\n";
    let table = Arc::new(parse_table(text, std::path::Path::new("t.yaml")).unwrap());
    Renewal { decoder: Decoder::new(table, &decode::Config::default()).unwrap(), fingerprint: 2 }
}

#[test]
fn new_rules_begin_with_an_empty_batch() {
    let now = Instant::now();
    let mut line = line();
    line.feed(0, 0, "{\"n\":2}");
    line.lanes[0].renewal = Some(renewal());
    line.renew(now).unwrap();
    let job = line.next_job(now).unwrap();
    assert_eq!((job.sealed.rows(), job.sealed.trigger), (1, Trigger::Reload));
    line.feed(0, 1, "{\"n\":2}");
    line.feed(1, 0, "{\"n\":1}");
    assert_eq!((line.letters.len(), line.lanes[0].target.fingerprint), (1, 2));
    line.settle(&job);
    assert_eq!((line.low(0), line.low(1)), (Some(1), None), "offset 1 waits for its letter");
    line.renew(now).unwrap();
    assert!(line.next_job(now).is_none(), "nothing is closed a second time");
}

#[test]
fn new_rules_wait_until_what_a_former_owner_planned_is_cut_again() {
    let now = Instant::now();
    let mut first = planned_line(10, "");
    for offset in 10..13 {
        first.feed(0, offset, "{\"n\":2}");
    }
    let text = first.commit(now).snapshot.unwrap().text;

    let mut line = planned_line(10, &text);
    line.lanes[0].limits.rows_max = 100;
    line.feed(0, 10, "{\"n\":2}");
    line.lanes[0].renewal = Some(renewal());
    line.renew(now).unwrap();
    assert!(line.lanes[0].renewal.is_some(), "the batch may not end here");
    line.feed(0, 11, "{\"n\":2}");
    line.feed(0, 12, "{\"n\":2}");
    line.renew(now).unwrap();
    assert!(line.lanes[0].renewal.is_none() && line.letters.is_empty());
    line.feed(0, 13, "{\"n\":2}");
    assert_eq!(line.letters.len(), 1);
    let committed = line.commit(now).snapshot.unwrap();
    assert_eq!(Ledger::parse(&committed.text, committed.offset).unwrap().unwrap().fingerprint, 2);
    let job = line.next_job(now).unwrap();
    assert_eq!((job.planned.unwrap().range.to_string().as_str(), job.sealed.rows()), ("[10, 13)", 3));
}

/// A table that is paused does not bring somebody back who was erased while it waited.
#[test]
fn what_waits_from_before_an_erasure_is_outdated_once_erasures_wait_no_longer() {
    let mut line = line_of(
        "table: t\ntopics: [t]\ncolumns: [{name: n, type: UInt8}]\norder_by: []\nsubject_columns: [n]\n",
    );
    let (now, hold) = (Instant::now(), Duration::from_secs(20));
    let erased = |value: &[u8]| {
        let mut erased = Erased::default();
        erased.insert("n", &Seed::new("n").digest(value), 5);
        Arc::new(erased)
    };
    line.lanes[0].leave_out(&erased(b"7"), now);
    line.feed(0, 0, "{\"n\":1}");
    line.seal(Batch::Shared(0), Trigger::Age, now).unwrap();
    let job = line.lanes[0].next_job(now, &line.partitions).unwrap();
    line.lanes[0].park(job, "away".to_owned(), now);
    assert!(!line.lanes[0].is_outdated(hold, now + hold), "its rows were made when that was known");
    let learned = now + Duration::from_secs(1);
    line.lanes[0].leave_out(&erased(b"8"), learned);
    assert!(!line.lanes[0].is_outdated(hold, now + hold), "erasures still wait for it");
    assert!(line.lanes[0].is_outdated(hold, learned + hold));
    let job = line.lanes[0].next_job(learned + hold, &line.partitions).unwrap();
    line.lanes[0].done();
    assert!(!line.lanes[0].is_outdated(hold, learned + hold), "it has landed after all");
    drop(job);
    // Rows of before may still be in the open batch.
    line.feed(0, 1, "{\"n\":1}");
    line.lanes[0].leave_out(&erased(b"9"), learned);
    line.seal(Batch::Shared(0), Trigger::Age, now).unwrap();
    let job = line.lanes[0].next_job(now, &line.partitions).unwrap();
    line.lanes[0].park(job, "away".to_owned(), now);
    assert!(line.lanes[0].is_outdated(hold, learned + hold));
}

#[test]
fn bytes_are_told_by_what_holds_them_and_sizes_of_records_by_a_sample() {
    let mut line = line();
    let held = |line: &Line| Holder::ALL.map(|holder| 0 < line.budget.held(holder));
    for (offset, payload) in [(63, "{\"n\": 1}"), (64, "{\"n\":2}"), (65, "{\"n\":300}")] {
        line.feed(0, offset, payload);
    }
    line.lanes[0].opens[0].buffer.tick(Instant::now());
    assert_eq!(held(&line), [true, false, false, true], "an open batch and a letter");
    line.feed(0, 128, "{\"n\":30}");
    let job = line.next_job(Instant::now()).unwrap();
    assert_eq!(held(&line), [false, true, false, true]);
    let under_way = job.sealed.under_way();
    assert_eq!(held(&line), [false, false, true, true]);
    drop(under_way);
    assert_eq!(held(&line), [false, true, false, true], "it may be sent again");
    drop(job);
    line.letters.clear();
    assert_eq!((held(&line), line.budget.used()), ([false; 4], 0));
    assert_eq!(line.partitions.by_source(&source(0)).unwrap().counts.sizes, [7, 8]);
}
