//! What a group's members talk to, simulated: one partition's log, the group's coordinator, a table.
//!
//! Refuses to know what members do. Everything happens at once when it is called; delays, losses and repeats are
//! made by whoever calls (`run`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use penstock::record::OffsetRange;

/// Seconds of the simulation.
pub type Time = i64;

/// One record, over all incarnations of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub incarnation: u32,
    pub offset: i64,
}

/// What becomes of a record when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Row,
    Filtered,
    Letter,
}

#[derive(Default)]
pub struct Log {
    pub incarnation: u32,
    pub records: BTreeMap<i64, Kind>,
    /// One past the last record or marker.
    pub end: i64,
    /// Taken away by compaction or with their topic.
    pub gone: HashSet<Id>,
    pub letters: HashSet<Id>,
}

impl Log {
    pub fn id(&self, offset: i64) -> Id {
        Id { incarnation: self.incarnation, offset }
    }

    /// One more record, after a gap of `gap` offsets; some kinds are rarer than others.
    pub fn produce(&mut self, gap: i64, kind: u32) {
        let kind = match kind % 8 {
            0 => Kind::Filtered,
            1 => Kind::Letter,
            _ => Kind::Row,
        };
        self.records.insert(self.end + gap, kind);
        self.end += gap + 1;
    }

    pub fn compact(&mut self, nth: usize) {
        let Some(offset) = self.records.keys().nth(nth % self.records.len().max(1)).copied() else { return };
        self.records.remove(&offset);
        self.gone.insert(self.id(offset));
    }

    /// Records of this range that were taken away.
    pub fn gone_within(&self, range: OffsetRange) -> u32 {
        let gone = (range.first.0..range.next.0).filter(|offset| self.gone.contains(&self.id(*offset)));
        u32::try_from(gone.count()).unwrap_or(u32::MAX)
    }

    /// The topic is deleted and made again.
    pub fn recreate(&mut self) {
        let all: Vec<_> = self.records.keys().map(|offset| self.id(*offset)).collect();
        self.gone.extend(all);
        self.records.clear();
        self.end = 0;
        self.incarnation += 1;
    }
}

/// A group member as the coordinator knows it: the process, and which life of it.
pub type Member = (usize, u64);

/// What a commit is sent with, filled in when it leaves the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub member: Member,
    /// -1 outside of a group.
    pub generation: i32,
}

#[derive(Debug, Default)]
pub struct Group {
    pub generation: i32,
    pub members: BTreeMap<usize, u64>,
    pub owner: Option<usize>,
    /// Members that have not let go yet; `None` while nothing changes.
    pub waiting: Option<BTreeSet<usize>>,
    pub committed: Option<(i64, String)>,
    /// Of the topic that the committed offset is of.
    pub incarnation: u32,
}

impl Group {
    pub fn is_member(&self, member: Member) -> bool {
        self.members.get(&member.0) == Some(&member.1)
    }

    pub fn rebalance(&mut self) {
        self.waiting = Some(self.members.keys().copied().collect());
    }

    pub fn join(&mut self, member: Member) {
        self.members.insert(member.0, member.1);
        self.rebalance();
    }

    /// The session has run out, or the member has left.
    pub fn remove(&mut self, member: usize) {
        if self.members.remove(&member).is_some() {
            self.owner = self.owner.filter(|owner| *owner != member);
            self.generation += i32::from(self.members.is_empty());
            self.rebalance();
        }
    }

    /// A member that awaits the new generation. It begins when all of them do.
    pub fn let_go(&mut self, member: usize, choice: usize) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        waiting.remove(&member);
        if !waiting.is_empty() || self.members.is_empty() {
            return false;
        }
        self.waiting = None;
        self.generation += 1;
        self.owner = self.members.keys().nth(choice % self.members.len()).copied();
        true
    }

    /// An OffsetCommit. Who owns the partition is not looked at.
    pub fn commit(&mut self, stamp: Stamp, offset: i64, text: &str) -> bool {
        let accepted = match stamp.generation {
            -1 => self.members.is_empty(),
            generation => generation == self.generation && self.is_member(stamp.member),
        };
        if accepted {
            self.committed = Some((offset, text.to_owned()));
        }
        accepted
    }
}

/// One copy of an INSERT on its way.
#[derive(Clone, Debug)]
pub struct Insert {
    pub token: String,
    pub rows: Vec<Id>,
    /// The server refuses it later than this.
    pub deadline: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// For its data: nothing of this copy landed.
    Refused,
    /// For its deadline: nothing of this copy landed.
    Late,
}

/// Parts that one INSERT makes at most: the table's partition key has as many values.
pub const PARTS: i64 = 2;

pub struct Server {
    /// Plain MergeTree: the token is kept before the part is.
    plain: bool,
    window_blocks: u64,
    window: Time,
    /// Whether a constraint refuses some records.
    pub strict: bool,
    pub table: HashMap<Id, u32>,
    blocks: u64,
    newest: Time,
    tokens: HashMap<(String, i64), (u64, Time)>,
}

impl Server {
    pub fn new(plain: bool, window_blocks: u64, window: Time) -> Server {
        Server {
            plain,
            window_blocks,
            window,
            strict: false,
            table: HashMap::new(),
            blocks: 0,
            newest: 0,
            tokens: HashMap::new(),
        }
    }

    /// Runs an INSERT; with `die_at` the server is killed at that part, and there is no answer.
    pub fn insert(&mut self, insert: &Insert, now: Time, die_at: Option<i64>) -> Option<Answer> {
        if insert.deadline.is_some_and(|deadline| deadline < now) {
            return Some(Answer::Late);
        }
        if self.strict && insert.rows.iter().any(|row| row.offset % 5 == 3) {
            return Some(Answer::Refused);
        }
        for part in 0..PARTS {
            let rows: Vec<Id> =
                insert.rows.iter().filter(|row| row.offset % PARTS == part).copied().collect();
            let token = (insert.token.clone(), part);
            let dies = die_at == Some(part);
            if rows.is_empty() || self.knows(&token) {
                continue;
            }
            if self.plain || !dies {
                self.block(now);
                self.tokens.insert(token, (self.blocks, now));
            }
            if dies {
                return None;
            }
            rows.into_iter().for_each(|row| *self.table.entry(row).or_default() += 1);
        }
        die_at.is_none().then_some(Answer::Done)
    }

    /// A block of somebody else.
    pub fn block(&mut self, now: Time) {
        self.blocks += 1;
        self.newest = now;
    }

    fn knows(&self, token: &(String, i64)) -> bool {
        let in_window = |(block, at): &(u64, Time)| {
            self.blocks - block < self.window_blocks && self.newest - at <= self.window
        };
        self.tokens.get(token).is_some_and(in_window)
    }
}
