//! What the owner of a partition does with the production plan: read and cut, commit, send, look, settle.
//!
//! Refuses to know when: each method is one step that somebody lets happen. [`Rules`] say which of the protocol's
//! rules are kept; each one left out must be found to lose or repeat records.

use std::time::{Duration, Instant};

use penstock::delivery::ledger::Read;
use penstock::delivery::plan::{Lease, Snapshot, Terms};
use penstock::delivery::{Ledger, Lineage, Plan, Ticket, Watermark, token};
use penstock::record::{Offset, OffsetRange, Partition, TopicPartition};

use super::world::{Answer, Group, Id, Insert, Kind, Log, Server, Time};

pub const LEASE: Time = 30;
/// Silence after which the coordinator takes a member for dead.
pub const SESSION: Time = 20;
/// Records of one batch at most.
const RECORDS_MAX: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    None,
    /// That of the commit that lists the batch.
    Lease,
    /// The lease's length, counted from when the copy is sent.
    Sending,
}

/// The protocol, with rules that can be taken away.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub depth: usize,
    pub plain: bool,
    pub window_blocks: u64,
    pub window: Time,
    /// Longest time from a range's first commit to the landing of a copy in which its token is proof.
    pub proof: Time,
    pub lineage: bool,
    /// A partition is given up only when no commit of ours is on its way.
    pub fence_first: bool,
    pub commit_first: bool,
    pub same_boundaries: bool,
    pub landed_first: bool,
    pub deadline: Deadline,
    /// What may have landed is not cut anew.
    pub recut_when_sure: bool,
    /// Where a token is no proof, the table is looked into.
    pub read_back: bool,
    /// A commit is never overtaken by a later one of the same member.
    pub commits_in_order: bool,
    /// How old a batch is, is told from its first commit and not from the last.
    pub age_of_batch: bool,
    /// Nothing is committed by an owner that may have been taken for dead meanwhile.
    pub fence_itself: bool,
}

pub const FULL: Rules = Rules {
    depth: 3,
    plain: false,
    window_blocks: u64::MAX,
    window: 6 * LEASE,
    proof: 5 * LEASE,
    lineage: true,
    fence_first: true,
    commit_first: true,
    same_boundaries: true,
    landed_first: true,
    deadline: Deadline::Lease,
    recut_when_sure: true,
    read_back: true,
    commits_in_order: true,
    age_of_batch: true,
    fence_itself: true,
};

/// The clock of the simulation as the plan wants it.
#[derive(Clone, Copy)]
pub struct Clock {
    pub begin: Instant,
    pub now: Time,
}

impl Clock {
    fn instant(self) -> Instant {
        self.begin + Duration::from_secs(self.now.unsigned_abs())
    }
}

#[derive(Debug)]
struct Batch {
    range: OffsetRange,
    rows: Vec<Id>,
    ticket: Ticket,
    /// The copy whose answer is awaited.
    attempt: Option<u64>,
    /// A copy may have landed that nobody knows of.
    unclear: bool,
    /// The last answer refused the data.
    refused: bool,
    /// Becomes a dead letter instead.
    letter: bool,
    /// Listed by a commit that was acknowledged at some time.
    committed: bool,
    /// No copy lands later than this.
    deadline: Time,
    /// When it was first committed, or before.
    since: Time,
    repair: u32,
}

#[derive(Debug, Default)]
struct Stretch {
    first: Option<i64>,
    read: Read,
    rows: Vec<Id>,
}

#[derive(Debug)]
pub struct Owner {
    rules: Rules,
    pub incarnation: u32,
    pub plan: Plan,
    watermark: Watermark,
    position: i64,
    stretch: Stretch,
    tickets: u64,
    batches: Vec<Batch>,
    letters: Vec<(Ticket, Id)>,
    pub commit_on_its_way: Option<u64>,
    acknowledged: Option<i64>,
    former: Former,
    /// When the coordinator was last known to take us for a member.
    proof: Instant,
}

/// What is known of those who owned the partition before.
#[derive(Clone, Copy, Debug, Default)]
struct Former {
    deadline: Time,
    since: Time,
}

fn range(first: i64, next: i64) -> OffsetRange {
    OffsetRange { first: Offset(first), next: Offset(next) }
}

impl Owner {
    pub fn begin(rules: Rules, found: &Group, lineage: u64, clock: Clock) -> Owner {
        let (committed, incarnation) = (found.committed.as_ref(), found.incarnation);
        let offset = committed.map(|(offset, _)| *offset);
        let mut ledger = committed.and_then(|(offset, text)| {
            Ledger::parse(text, Offset(*offset)).expect("a text of ours is sound")
        });
        let former = ledger.as_ref().map_or(Former::default(), |ledger| Former {
            deadline: ledger.written_ms / 1000 + LEASE,
            since: if rules.age_of_batch { ledger.since_ms } else { ledger.written_ms } / 1000,
        });
        if !rules.same_boundaries {
            ledger.iter_mut().for_each(|ledger| ledger.intents.clear());
        }
        let terms = Terms {
            fingerprint: 1,
            lease: Duration::from_secs(LEASE.unsigned_abs()),
            intents_max: rules.depth,
        };
        let plan = Plan::begin(terms, offset.map(Offset), ledger, Lineage(lineage));
        Owner {
            rules,
            incarnation,
            plan,
            watermark: Watermark::default(),
            position: offset.unwrap_or(0),
            stretch: Stretch::default(),
            tickets: 1,
            batches: Vec::new(),
            letters: Vec::new(),
            commit_on_its_way: None,
            acknowledged: offset,
            former,
            proof: clock.instant(),
        }
    }

    /// Reads up to `count` records and closes the stretch where a former owner did, where it is full, or where
    /// `cut` says so.
    pub fn read(&mut self, log: &Log, clock: Clock, count: u32, cut: bool) -> Result<(), String> {
        for _ in 0..count {
            if self.stretch.first.is_none() && !self.plan.has_room() {
                return Ok(());
            }
            let boundary = self.plan.boundary().map(|next| next.0);
            let next = log.records.range(self.position..).next();
            let next = next.filter(|(offset, _)| boundary.is_none_or(|boundary| **offset < boundary));
            match (next, boundary) {
                (Some((offset, kind)), _) => self.take(log.id(*offset), *kind),
                (None, Some(boundary)) => self.close(log, boundary, clock)?,
                (None, None) => break,
            }
        }
        let full = RECORDS_MAX <= self.stretch.read.records;
        if self.stretch.first.is_some() && self.plan.boundary().is_none() && (full || cut) {
            self.close(log, self.position, clock)?;
        }
        Ok(())
    }

    fn take(&mut self, id: Id, kind: Kind) {
        let offset = Offset(id.offset);
        self.stretch.first.get_or_insert(id.offset);
        self.stretch.read.add(offset, Some(i64::from(id.incarnation)), id.offset % 13);
        self.position = id.offset + 1;
        match kind {
            Kind::Row => {
                self.stretch.rows.push(id);
                self.watermark.track(Ticket(self.tickets), offset, None);
            }
            Kind::Filtered => self.watermark.pass(offset),
            Kind::Letter => {
                let ticket = Ticket(u64::MAX - id.offset.unsigned_abs());
                self.watermark.track(ticket, offset, None);
                self.letters.push((ticket, id));
            }
        }
    }

    fn close(&mut self, log: &Log, next: i64, clock: Clock) -> Result<(), String> {
        let stretch = std::mem::take(&mut self.stretch);
        let first = Offset(stretch.first.unwrap_or(next));
        let planned = self
            .plan
            .propose(first, Offset(next), stretch.read, stretch.rows.len())
            .map_err(|error| format!("the log did not change, and yet {error}"))?;
        if log.gone_within(planned.range) < planned.gone {
            return Err(format!("{} records of {} are said to be gone", planned.gone, planned.range));
        }
        self.position = self.position.max(next);
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        if !stretch.rows.is_empty() {
            let former = if planned.replay { self.former } else { Former { deadline: 0, since: clock.now } };
            self.batches.push(Batch {
                range: planned.range,
                rows: stretch.rows,
                ticket,
                attempt: None,
                unclear: planned.replay,
                refused: false,
                letter: false,
                committed: false,
                deadline: former.deadline,
                since: former.since,
                repair: 0,
            });
        }
        Ok(())
    }

    /// What to commit, if there is a reason to.
    pub fn snapshot(&mut self, clock: Clock) -> Option<Snapshot> {
        self.settle();
        let snapshot = self.plan.snapshot(clock.instant(), clock.now * 1000)?;
        let moved = self.acknowledged != Some(snapshot.offset.0);
        let asked = moved || self.plan.awaits_commit(clock.instant());
        (asked && self.commit_on_its_way.is_none()).then_some(snapshot)
    }

    pub fn is_settled(&self) -> bool {
        self.plan.is_settled() && self.stretch.first.is_none()
    }

    fn settle(&mut self) {
        self.plan.settle(&self.watermark);
    }

    /// Sends a batch, if it may be sent.
    pub fn send(&mut self, nth: usize, clock: Clock, attempt: u64) -> Option<Insert> {
        let (rules, lineage) = (self.rules, self.plan.lineage());
        let waiting = |batch: &&mut Batch| batch.attempt.is_none() && !batch.refused && !batch.letter;
        let count = self.batches.len();
        let batch = self.batches.iter_mut().filter(waiting).nth(nth % count.max(1))?;
        let lease = self.plan.lease(batch.range, clock.instant());
        let until = match (rules.deadline, lease) {
            (Deadline::Sending, _) if batch.committed => clock.now + LEASE,
            (_, None) if rules.commit_first => return None,
            (Deadline::Lease, Some(Lease { deadline_unix_s, .. })) => deadline_unix_s,
            _ => clock.now + LEASE,
        };
        if batch.unclear && !rules.token_is_proof(batch.since, until) {
            return None;
        }
        batch.attempt = Some(attempt);
        batch.deadline = batch.deadline.max(until);
        let range = batch.range;
        let insert = Insert {
            token: token::planned(
                ("g", "t"),
                if rules.lineage { lineage } else { Lineage(0) },
                &TopicPartition { topic: "t".into(), partition: Partition(0) },
                range,
                batch.repair,
            ),
            rows: batch.rows.clone(),
            deadline: (rules.deadline != Deadline::None).then_some(until),
        };
        if !rules.landed_first {
            self.landed(range);
        }
        Some(insert)
    }

    /// The answer of the copy that is awaited, or `None` when it is waited for no longer.
    pub fn answered(&mut self, attempt: u64, answer: Option<Answer>) {
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.attempt == Some(attempt)) else {
            return;
        };
        batch.attempt = None;
        let range = batch.range;
        match answer {
            // An owner before may have used the same token for fewer rows, or the server lost them: look.
            Some(Answer::Done) if self.rules.read_back && batch.repair > 0 => batch.unclear = true,
            Some(Answer::Done) => self.landed(range),
            Some(Answer::Refused) => batch.refused = true,
            Some(Answer::Late) => {}
            None => batch.unclear = true,
        }
    }

    /// The number of a copy on its way, to stop waiting for it.
    pub fn awaited(&self, nth: usize) -> Option<u64> {
        let awaited: Vec<u64> = self.batches.iter().filter_map(|batch| batch.attempt).collect();
        awaited.get(nth % awaited.len().max(1)).copied()
    }

    fn landed(&mut self, range: OffsetRange) {
        self.plan.landed(range);
        let Some(at) = self.batches.iter().position(|batch| batch.range == range) else { return };
        let ticket = self.batches.remove(at).ticket;
        if self.batches.iter().all(|batch| batch.ticket != ticket) {
            self.watermark.settle(ticket);
        }
    }

    /// Does what a refusal or an unclear outcome asks for.
    pub fn resolve(&mut self, nth: usize, clock: Clock, table: &Server) {
        let rules = self.rules;
        let asks =
            |batch: &&mut Batch| batch.attempt.is_none() && (batch.refused || batch.unclear) && !batch.letter;
        let count = self.batches.len();
        let Some(batch) = self.batches.iter_mut().filter(asks).nth(nth % count.max(1)) else { return };
        if batch.refused && (!batch.unclear || !rules.recut_when_sure) {
            let range = batch.range;
            return self.recut(range);
        }
        let proof = !batch.refused && rules.token_is_proof(batch.since, clock.now + LEASE);
        if proof || clock.now <= batch.deadline {
            return;
        }
        let missing: Vec<Id> =
            batch.rows.iter().filter(|row| !table.table.contains_key(*row)).copied().collect();
        let landed = batch.rows.len() - missing.len();
        if 0 < landed && !missing.is_empty() && rules.token_is_proof(batch.since, clock.now + LEASE) {
            // The same again puts the missing parts beside those that landed; it must not be cut.
            batch.refused = false;
            return;
        }
        batch.rows = missing;
        batch.unclear = false;
        match batch.rows.len() {
            0 => {
                let range = batch.range;
                self.landed(range);
            }
            // No copy is alive any more, and none has landed.
            _ if landed == 0 => {
                batch.since = clock.now;
                batch.repair += u32::from(rules.plain);
            }
            _ => {
                batch.refused = false;
                batch.repair += 1;
            }
        }
    }

    /// Halves a refused batch; a single row becomes a dead letter.
    fn recut(&mut self, refused: OffsetRange) {
        let Some(at) = self.batches.iter().position(|batch| batch.range == refused) else { return };
        let batch = &mut self.batches[at];
        batch.refused = false;
        batch.unclear = false;
        let Some(cut) =
            batch.rows.get(batch.rows.len() / 2).filter(|_| 1 < batch.rows.len()).map(|row| row.offset)
        else {
            batch.letter = true;
            return;
        };
        let (before, after) = batch.rows.iter().copied().partition(|row| row.offset < cut);
        let half = |range, rows| Batch { range, rows, attempt: None, repair: batch.repair, ..*batch };
        let halves = [half(range(refused.first.0, cut), before), half(range(cut, refused.next.0), after)];
        self.plan.recut(refused, &[Offset(cut)]);
        self.batches.splice(at..=at, halves);
    }

    /// One dead letter is acknowledged.
    pub fn letter(&mut self, log: &mut Log) {
        if let Some((ticket, id)) = self.letters.pop() {
            log.letters.insert(id);
            return self.watermark.settle(ticket);
        }
        let Some(batch) = self.batches.iter().find(|batch| batch.letter) else { return };
        log.letters.extend(&batch.rows);
        let range = batch.range;
        self.landed(range);
    }

    pub fn acknowledge(&mut self, snapshot: &Snapshot) {
        self.plan.acknowledged(snapshot);
        self.acknowledged = Some(snapshot.offset.0);
        self.proof = self.proof.max(snapshot.written);
        for batch in &mut self.batches {
            batch.committed |= self.plan.lease(batch.range, snapshot.written).is_some();
        }
    }

    /// Whether the session may have run out since the coordinator was surely heard.
    pub fn may_be_fenced(&self, clock: Clock) -> bool {
        self.rules.fence_itself && self.proof + Duration::from_secs(SESSION.unsigned_abs()) <= clock.instant()
    }
}

impl Rules {
    /// Whether the server surely still knows the token when a copy lands at `until`.
    fn token_is_proof(&self, since: Time, until: Time) -> bool {
        !self.read_back || (!self.plain && until - since <= self.proof)
    }
}
