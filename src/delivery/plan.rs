//! The batches of one assignment of one partition that may have been sent: planned, committed, landed.
//!
//! Refuses to talk to anybody: it says what to commit, is told what was acknowledged, and from that says what
//! may be sent. It keeps the rules that make `exactly_once` hold:
//!
//! - nothing may be sent that no acknowledged commit of this owner lists, or whose lease is over;
//! - the committed offset moves only over ranges that have landed;
//! - a range that was committed is cut again at the same offsets by whoever takes over, and never overlapped by
//!   other boundaries, but where the server refused it for its data (`recut`).
//!
//! A lease is counted from when the commit was written, so that a former owner's last deadline can be told from
//! the commit alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Watermark;
use super::ledger::{Intent, Ledger, Lineage, Read};
use crate::record::{Offset, OffsetRange};

/// The records of a planned range are others than when it was planned: the log was cut or made anew, and what
/// landed can no longer be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "offsets {range} hold other records than when the batch was planned ({} then, {} now)\nhint: the topic was cut or made anew; compare with `penstock audit-rows`, then drop the plan with `penstock ledger rewind`",
    planned.records,
    read.records
)]
pub struct Diverged {
    pub range: OffsetRange,
    pub planned: Read,
    pub read: Read,
}

/// What stays the same for every plan of a table.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Of the table file and the isolation level.
    pub fingerprint: u32,
    /// How long a committed batch may be sent without being committed again.
    pub lease: Duration,
    /// Batches of one partition that may be open at a time; more wait before they are planned.
    pub intents_max: usize,
}

#[derive(Debug)]
pub struct Plan {
    terms: Terms,
    lineage: Lineage,
    /// Everything below is settled; `None` until the first record shows where the partition begins.
    base: Option<Offset>,
    open: VecDeque<Entry>,
    /// Counts what has to be committed.
    version: u64,
}

#[derive(Debug)]
struct Entry {
    intent: Intent,
    state: State,
    /// The version of the plan that first lists it.
    version: u64,
    /// When the first commit that lists it was written; by a former owner, if it is theirs.
    since_ms: Option<i64>,
    lease: Option<Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Planned by a former owner, to be read again.
    Replay,
    Read,
    Landed,
}

/// Until when a batch may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub until: Instant,
    /// The same for the server, in seconds since 1970.
    pub deadline_unix_s: i64,
    /// No copy has been sent before, milliseconds since 1970. A repeated INSERT is recognised only if the server
    /// remembers tokens from then until the deadline.
    pub since_ms: i64,
}

/// A range that is planned now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub range: OffsetRange,
    /// A former owner may have sent it.
    pub replay: bool,
    /// Records that are gone since it was planned.
    pub gone: u32,
}

/// What to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub offset: Offset,
    pub text: String,
    pub version: u64,
    pub written: Instant,
    written_ms: i64,
}

impl Plan {
    /// What is planned from now on is planned by another table file.
    pub fn set_fingerprint(&mut self, fingerprint: u32) {
        self.terms.fingerprint = fingerprint;
    }

    /// Goes on from what a former owner committed, or begins anew with `lineage`. `base` is the committed
    /// offset.
    pub fn begin(terms: Terms, base: Option<Offset>, ledger: Option<Ledger>, lineage: Lineage) -> Plan {
        let mut plan = Plan { terms, lineage, base, open: VecDeque::new(), version: 1 };
        if let Some(Ledger { lineage, since_ms, intents, .. }) = ledger {
            let since_ms = Some(since_ms);
            let replay = |intent| Entry { intent, state: State::Replay, version: 1, since_ms, lease: None };
            plan.lineage = lineage;
            plan.open = intents.into_iter().map(replay).collect();
        }
        plan
    }

    pub fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// Where reading has to begin; `None` where the group has no offset.
    pub fn base(&self) -> Option<Offset> {
        self.base
    }

    /// The offset at which the stretch being read has to end, since a former owner planned it so.
    pub fn boundary(&self) -> Option<Offset> {
        let replay = self.open.iter().find(|entry| entry.state == State::Replay)?;
        Some(replay.intent.range.next)
    }

    /// Whether another batch may be planned.
    pub fn has_room(&self) -> bool {
        self.boundary().is_some() || self.open.len() < self.terms.intents_max
    }

    /// The stretch that was read ends at `next`. It holds what `read` says, of which `rows` became rows;
    /// without rows there is nothing to send.
    ///
    /// # Errors
    /// A former owner planned it with other records.
    pub fn propose(
        &mut self,
        first: Offset,
        next: Offset,
        read: Read,
        rows: usize,
    ) -> Result<Planned, Diverged> {
        let state = if rows == 0 { State::Landed } else { State::Read };
        if let Some(entry) = self.open.iter_mut().find(|entry| entry.state == State::Replay) {
            let (range, planned) = (entry.intent.range, entry.intent.read);
            let gone = planned.records.saturating_sub(read.records);
            if planned != Read::default() && planned != read && gone == 0 {
                return Err(Diverged { range, planned, read });
            }
            entry.state = state;
            return Ok(Planned { range, replay: true, gone });
        }
        let first = self.open.back().map(|last| last.intent.range.next).or(self.base).unwrap_or(first);
        let range = OffsetRange { first, next };
        self.version += 1;
        let intent = Intent { range, read };
        self.open.push_back(Entry { intent, state, version: self.version, since_ms: None, lease: None });
        Ok(Planned { range, replay: false, gone: 0 })
    }

    /// The server refused `range` for its data: it is cut anew at `cuts`, which rise and lie within. Every part
    /// waits for a commit that lists it. Only ranges of which surely nothing landed may be cut.
    pub fn recut(&mut self, range: OffsetRange, cuts: &[Offset]) {
        let within =
            |entry: &Entry| range.first <= entry.intent.range.first && entry.intent.range.next <= range.next;
        let Some(at) = self.open.iter().position(within) else { return };
        self.open.retain(|entry| !within(entry));
        self.version += 1;
        let ends = cuts.iter().copied().chain([range.next]);
        let mut first = range.first;
        for (index, next) in ends.enumerate() {
            let intent = Intent { range: OffsetRange { first, next }, read: Read::default() };
            let version = self.version;
            let entry = Entry { intent, state: State::Read, version, since_ms: None, lease: None };
            self.open.insert(at + index, entry);
            first = next;
        }
    }

    /// Everything in this range is in the table, or is an acknowledged dead letter.
    pub fn landed(&mut self, range: OffsetRange) {
        for entry in self.open.iter_mut().filter(|entry| entry.intent.range == range) {
            entry.state = State::Landed;
        }
    }

    /// Drops what has landed from the head of the plan, as far as `watermark` knows of nothing else below.
    pub fn settle(&mut self, watermark: &Watermark) {
        while let Some(head) = self.open.front()
            && head.state == State::Landed
            && watermark.is_settled_below(head.intent.range.next)
        {
            self.base = self.base.max(Some(head.intent.range.next));
            self.open.pop_front();
        }
    }

    /// Until when this range may be sent; `None` if it has to be committed first, for the first time or again.
    pub fn lease(&self, range: OffsetRange, now: Instant) -> Option<Lease> {
        let entry = self.open.iter().find(|entry| entry.intent.range == range)?;
        entry.lease.filter(|lease| now + self.terms.lease / 2 < lease.until)
    }

    /// Whether something waits for a commit.
    pub fn awaits_commit(&self, now: Instant) -> bool {
        let waits =
            |entry: &Entry| entry.state != State::Landed && self.lease(entry.intent.range, now).is_none();
        self.open.iter().any(waits)
    }

    /// Whether among them are parts of a range that was refused.
    pub fn awaits_recut(&self, now: Instant) -> bool {
        let waits =
            |entry: &Entry| entry.state == State::Read && self.lease(entry.intent.range, now).is_none();
        self.open.iter().any(|entry| entry.intent.read == Read::default() && waits(entry))
    }

    /// Whether nothing before this range is open.
    pub fn is_head(&self, range: OffsetRange) -> bool {
        self.open.front().is_none_or(|entry| entry.intent.range == range)
    }

    /// Whether nothing is open.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// What to commit now; `None` while nothing is known of the partition.
    pub fn snapshot(&self, now: Instant, now_ms: i64) -> Option<Snapshot> {
        let offset = self.open.front().map(|entry| entry.intent.range.first).or(self.base)?;
        let ledger = Ledger {
            lineage: self.lineage,
            fingerprint: self.terms.fingerprint,
            written_ms: now_ms,
            lease: self.terms.lease,
            since_ms: self.open.iter().filter_map(|entry| entry.since_ms).fold(now_ms, i64::min),
            intents: self.open.iter().map(|entry| entry.intent).collect(),
        };
        let text = ledger.encode();
        Some(Snapshot { offset, text, version: self.version, written: now, written_ms: now_ms })
    }

    /// Kafka acknowledged the snapshot: what it lists may be sent until its lease is over.
    pub fn acknowledged(&mut self, snapshot: &Snapshot) {
        let lease_ms = i64::try_from(self.terms.lease.as_millis()).unwrap_or(i64::MAX);
        let until = snapshot.written + self.terms.lease;
        let deadline_unix_s = snapshot.written_ms.saturating_add(lease_ms) / 1000;
        for entry in self.open.iter_mut().filter(|entry| entry.version <= snapshot.version) {
            let since_ms = *entry.since_ms.get_or_insert(snapshot.written_ms);
            entry.lease = Some(Lease { until, deadline_unix_s, since_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ticket;
    use super::*;

    const TERMS: Terms = Terms { fingerprint: 1, lease: Duration::from_secs(60), intents_max: 2 };

    fn range(first: i64, next: i64) -> OffsetRange {
        OffsetRange { first: Offset(first), next: Offset(next) }
    }

    fn read(records: u32) -> Read {
        Read { records, digest: records * 3 }
    }

    fn fresh() -> Plan {
        Plan::begin(TERMS, Some(Offset(10)), None, Lineage(5))
    }

    fn commit(plan: &mut Plan, now: Instant) -> Snapshot {
        let snapshot = plan.snapshot(now, 1_000_000).unwrap();
        plan.acknowledged(&snapshot);
        snapshot
    }

    /// What a taker finds after this commit.
    fn take_over(snapshot: &Snapshot) -> Plan {
        let found = Ledger::parse(&snapshot.text, snapshot.offset).unwrap();
        Plan::begin(TERMS, Some(snapshot.offset), found, Lineage(99))
    }

    #[test]
    fn nothing_is_sent_before_its_commit_nor_after_its_lease() {
        let (mut plan, now) = (fresh(), Instant::now());
        let one = plan.propose(Offset(12), Offset(20), read(5), 5).unwrap();
        assert_eq!(one, Planned { range: range(10, 20), replay: false, gone: 0 });
        assert!(plan.lease(one.range, now).is_none() && plan.awaits_commit(now));
        let early = plan.snapshot(now, 0).unwrap();
        let two = plan.propose(Offset(20), Offset(30), read(5), 5).unwrap();
        assert!(!plan.has_room());
        plan.acknowledged(&early);
        assert!(plan.lease(one.range, now).is_some());
        assert!(plan.lease(two.range, now).is_none(), "the commit was written before it was planned");
        commit(&mut plan, now);
        let lease = plan.lease(two.range, now).unwrap();
        assert_eq!(lease, Lease { until: now + TERMS.lease, deadline_unix_s: 1060, since_ms: 1_000_000 });
        let late = now + TERMS.lease / 2;
        assert!(plan.lease(two.range, late).is_none() && plan.awaits_commit(late), "it is to be renewed");
        commit(&mut plan, late);
        assert!(plan.lease(two.range, late).is_some());
    }

    #[test]
    fn the_offset_moves_over_landed_heads_and_letters() {
        let (mut plan, mut watermark) = (fresh(), Watermark::default());
        watermark.track(Ticket(1), Offset(11), None);
        watermark.track(Ticket(2), Offset(19), None);
        watermark.track(Ticket(3), Offset(25), None);
        let one = plan.propose(Offset(10), Offset(20), read(2), 1).unwrap();
        let two = plan.propose(Offset(20), Offset(30), read(1), 1).unwrap();
        plan.landed(two.range);
        watermark.settle(Ticket(3));
        plan.settle(&watermark);
        assert_eq!(plan.snapshot(Instant::now(), 0).unwrap().offset, Offset(10));
        plan.landed(one.range);
        watermark.settle(Ticket(1));
        plan.settle(&watermark);
        assert_eq!(plan.base(), Some(Offset(10)), "the letter at 19 is not acknowledged");
        watermark.settle(Ticket(2));
        plan.settle(&watermark);
        assert_eq!((plan.base(), plan.is_settled()), (Some(Offset(30)), true));
        // A stretch that became no row is planned as well, and waits for nobody's commit.
        let three = plan.propose(Offset(30), Offset(33), read(2), 0).unwrap();
        assert!(!plan.awaits_commit(Instant::now()) && three.range == range(30, 33));
        plan.settle(&watermark);
        assert_eq!(plan.snapshot(Instant::now(), 0).unwrap().offset, Offset(33));
    }

    #[test]
    fn a_range_begins_where_its_reading_began() {
        let (mut plan, mut watermark) = (fresh(), Watermark::default());
        plan.propose(Offset(10), Offset(20), read(1), 1).unwrap();
        // The next stretch begins with a record that is left out, so nothing at its head is waited for.
        watermark.pass(Offset(20));
        watermark.track(Ticket(1), Offset(21), None);
        plan.landed(range(10, 20));
        plan.settle(&watermark);
        let two = plan.propose(Offset(20), Offset(22), read(2), 1).unwrap();
        assert_eq!(two.range, range(20, 22), "a taker has to read the same two records");
    }

    #[test]
    fn a_taker_knows_since_when_rows_may_have_landed() {
        let (mut plan, now) = (fresh(), Instant::now());
        let one = plan.propose(Offset(10), Offset(20), read(5), 5).unwrap();
        commit(&mut plan, now);
        let mut taker = take_over(&commit(&mut plan, now));
        for written_ms in [2_000_000, 3_000_000] {
            let later = taker.snapshot(now, written_ms).unwrap();
            taker.acknowledged(&later);
            assert_eq!(
                taker.lease(one.range, now).unwrap().since_ms,
                1_000_000,
                "however often it changes hands"
            );
            taker = take_over(&later);
        }
        taker.propose(Offset(10), Offset(20), read(5), 5).unwrap();
        taker.landed(one.range);
        taker.settle(&Watermark::default());
        taker.propose(Offset(20), Offset(30), read(5), 5).unwrap();
        let text = taker.snapshot(now, 4_000_000).unwrap().text;
        assert_eq!(Ledger::parse(&text, Offset(20)).unwrap().unwrap().since_ms, 4_000_000);
    }

    #[test]
    fn a_taker_cuts_at_the_same_offsets_and_commits_before_it_sends() {
        let (mut plan, now) = (fresh(), Instant::now());
        plan.propose(Offset(10), Offset(20), read(5), 5).unwrap();
        plan.propose(Offset(20), Offset(30), read(4), 4).unwrap();
        let mut taker = take_over(&commit(&mut plan, now));
        assert_eq!((taker.lineage(), taker.base()), (Lineage(5), Some(Offset(10))));
        assert_eq!(taker.boundary(), Some(Offset(20)));
        assert!(taker.awaits_commit(now), "under its own generation first");
        let one = taker.propose(Offset(10), Offset(20), read(5), 5).unwrap();
        assert_eq!(one, Planned { range: range(10, 20), replay: true, gone: 0 });
        assert!(taker.lease(one.range, now).is_none());
        assert_eq!(taker.boundary(), Some(Offset(30)));
        commit(&mut taker, now);
        assert!(taker.lease(one.range, now).is_some());
        // Two of the four records are gone, and the two others became no rows: nothing is left to send.
        let two = taker.propose(Offset(20), Offset(30), read(2), 0).unwrap();
        assert_eq!((two.gone, taker.boundary()), (2, None));
        taker.landed(one.range);
        taker.settle(&Watermark::default());
        assert_eq!((taker.base(), taker.is_settled()), (Some(Offset(30)), true));
    }

    #[test]
    fn other_records_at_planned_offsets_are_noticed() {
        let mut plan = fresh();
        plan.propose(Offset(10), Offset(20), read(5), 5).unwrap();
        let committed = commit(&mut plan, Instant::now());
        let other = Read { records: 5, digest: 1 };
        for found in [other, read(6)] {
            assert!(take_over(&committed).propose(Offset(10), Offset(20), found, 5).is_err());
        }
    }

    #[test]
    fn what_was_refused_is_cut_anew_and_committed_again() {
        let (mut plan, now) = (fresh(), Instant::now());
        let one = plan.propose(Offset(10), Offset(20), read(5), 5).unwrap();
        let two = plan.propose(Offset(20), Offset(30), read(5), 5).unwrap();
        commit(&mut plan, now);
        plan.recut(one.range, &[Offset(14), Offset(15)]);
        for part in [range(10, 14), range(14, 15), range(15, 20)] {
            assert!(plan.lease(part, now).is_none());
        }
        assert!(plan.lease(two.range, now).is_some());
        let mut taker = take_over(&commit(&mut plan, now));
        let mut ends = Vec::new();
        while let Some(next) = taker.boundary() {
            ends.push(next.0);
            taker.propose(Offset(0), next, read(9), 1).unwrap_or_else(|_| {
                assert_eq!(next, Offset(30), "parts that were cut anew are taken as they are");
                taker.propose(Offset(0), next, read(5), 1).unwrap()
            });
        }
        assert_eq!(ends, [14, 15, 20, 30]);
        assert!(plan.lease(range(15, 20), now).is_some());
        plan.recut(OffsetRange { first: Offset(14), next: Offset(20) }, &[Offset(16)]);
        assert!(plan.lease(range(10, 14), now).is_some() && plan.lease(range(16, 20), now).is_none());
    }

    #[test]
    fn a_partition_without_an_offset_begins_at_its_first_record() {
        let mut plan = Plan::begin(TERMS, None, None, Lineage(1));
        assert_eq!(plan.snapshot(Instant::now(), 0), None);
        let one = plan.propose(Offset(7), Offset(9), read(2), 2).unwrap();
        assert_eq!(one.range, range(7, 9));
    }
}
