//! What the journal says of each migration on each host: the latest row of each statement, and what follows.
//!
//! Refuses to reach a server. The same rows give the same state, whoever reads them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::files::{Key, Kind};
use super::journal::{Direction, Outcome, Record};

/// How a migration stands on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing of it was done, or all of it was taken back.
    Pending,
    /// Every statement is settled.
    Applied,
    /// Some statements are settled and others were not begun.
    Partial,
    /// A statement was refused.
    Failed,
    /// A statement was sent and no answer is known.
    InDoubt,
}

impl Standing {
    pub const ALL: [Standing; 5] =
        [Standing::Pending, Standing::Applied, Standing::Partial, Standing::Failed, Standing::InDoubt];

    pub fn name(self) -> &'static str {
        match self {
            Standing::Pending => "pending",
            Standing::Applied => "applied",
            Standing::Partial => "partial",
            Standing::Failed => "failed",
            Standing::InDoubt => "in_doubt",
        }
    }
}

/// Statements that were tried, by number.
type Tried = BTreeMap<u32, Record>;

/// One migration on one host.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub up: Tried,
    /// Of a taking back that has not ended.
    pub down: Tried,
}

impl Trace {
    fn add(&mut self, record: &Record) {
        match record.direction {
            Direction::Up => {
                let other_file =
                    self.up.values().next().is_some_and(|first| first.file_sha256 != record.file_sha256);
                // A repeatable file that has changed begins anew once it was through.
                if record.key.kind == Kind::Repeatable && other_file && self.is_whole() {
                    self.up.clear();
                }
                self.up.insert(record.statement, record.clone());
            }
            Direction::Down => {
                self.down.insert(record.statement, record.clone());
                if is_whole(&self.down) {
                    *self = Trace::default();
                }
            }
        }
    }

    pub fn standing(&self) -> Standing {
        let tried = if self.down.is_empty() { &self.up } else { &self.down };
        let any = |outcome| tried.values().any(|record| record.outcome == outcome);
        if any(Outcome::Sent) {
            Standing::InDoubt
        } else if any(Outcome::Failed) {
            Standing::Failed
        } else if !self.down.is_empty() {
            Standing::Partial
        } else if self.is_whole() {
            Standing::Applied
        } else if any(Outcome::Done) || any(Outcome::Skipped) || any(Outcome::Marked) {
            Standing::Partial
        } else {
            Standing::Pending
        }
    }

    fn is_whole(&self) -> bool {
        is_whole(&self.up)
    }

    /// The record of the statement that counts, in the direction given.
    pub fn latest(&self, direction: Direction, statement: u32) -> Option<&Record> {
        match direction {
            Direction::Up => self.up.get(&statement),
            Direction::Down => self.down.get(&statement),
        }
    }

    /// The checksum of the file as it was run last.
    pub fn file_sha256(&self) -> Option<&str> {
        self.up.values().max_by_key(|record| record.seq).map(|record| record.file_sha256.as_str())
    }
}

fn is_whole(tried: &Tried) -> bool {
    let last = tried.values().max_by_key(|record| record.seq);
    let settled = tried.values().filter(|record| record.outcome.is_settled()).count();
    last.is_some_and(|last| usize::try_from(last.statements).is_ok_and(|all| settled >= all))
}

/// What is known of every migration.
#[derive(Clone, Debug, Default)]
pub struct State {
    traces: BTreeMap<Key, BTreeMap<String, Trace>>,
    seq: u64,
}

impl State {
    pub fn new(records: &[Record]) -> State {
        let mut state = State::default();
        for record in records {
            state.add(record);
        }
        state
    }

    pub fn add(&mut self, record: &Record) {
        self.seq = self.seq.max(record.seq);
        let hosts = self.traces.entry(record.key.clone()).or_default();
        hosts.entry(record.host.clone()).or_default().add(record);
    }

    /// The number of the next row.
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    pub fn trace(&self, key: &Key, host: &str) -> Option<&Trace> {
        self.traces.get(key)?.get(host)
    }

    pub fn hosts(&self, key: &Key) -> impl Iterator<Item = (&str, &Trace)> {
        self.traces.get(key).into_iter().flatten().map(|(host, trace)| (host.as_str(), trace))
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.traces.keys()
    }

    /// Whether anything of it is done on any host.
    pub fn is_begun(&self, key: &Key) -> bool {
        self.hosts(key).any(|(_, trace)| trace.standing() != Standing::Pending)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::Version;
    use super::*;

    fn record(seq: u64, direction: Direction, statement: u32, outcome: Outcome) -> Record {
        Record {
            seq,
            key: Key::new(Kind::Versioned, Version::parse("1").unwrap(), ""),
            name: "a".to_owned(),
            file: "V1__a.sql".to_owned(),
            direction,
            statement,
            statements: 2,
            host: "h".to_owned(),
            outcome,
            query_id: String::new(),
            started: String::new(),
            finished: String::new(),
            error: String::new(),
            statement_sha256: String::new(),
            file_sha256: "x".to_owned(),
            actor: String::new(),
            replaces: 0,
            note: String::new(),
        }
    }

    #[test]
    fn the_latest_row_of_each_statement_counts() {
        use Direction::{Down, Up};
        let steps = [
            (Up, 1, Outcome::Sent, Standing::InDoubt),
            (Up, 1, Outcome::Undone, Standing::Pending),
            (Up, 1, Outcome::Sent, Standing::InDoubt),
            (Up, 1, Outcome::Done, Standing::Partial),
            (Up, 2, Outcome::Sent, Standing::InDoubt),
            (Up, 2, Outcome::Failed, Standing::Failed),
            (Up, 2, Outcome::Marked, Standing::Applied),
            (Down, 1, Outcome::Sent, Standing::InDoubt),
            (Down, 1, Outcome::Done, Standing::Partial),
            (Down, 2, Outcome::Done, Standing::Pending),
            (Up, 1, Outcome::Done, Standing::Partial),
            (Up, 2, Outcome::Skipped, Standing::Applied),
            (Up, 1, Outcome::Undone, Standing::Partial),
        ];
        let mut state = State::default();
        for (seq, (direction, statement, outcome, expected)) in (1..).zip(steps) {
            let record = record(seq, direction, statement, outcome);
            state.add(&record);
            assert_eq!(state.trace(&record.key, "h").unwrap().standing(), expected, "step {seq}");
        }
        assert_eq!(state.next_seq(), 14);
    }

    #[test]
    fn a_repeatable_file_begins_anew_once_it_has_changed() {
        let mut one = record(1, Direction::Up, 1, Outcome::Done);
        one.key = Key::new(Kind::Repeatable, Version::default(), "r");
        let two = Record { seq: 2, statement: 2, ..one.clone() };
        let changed = Record { seq: 3, file_sha256: "y".to_owned(), ..one.clone() };
        let state = State::new(&[one.clone(), two.clone()]);
        assert_eq!(state.trace(&one.key, "h").unwrap().standing(), Standing::Applied);
        let state = State::new(&[one.clone(), two, changed]);
        assert_eq!(state.trace(&one.key, "h").unwrap().standing(), Standing::Partial);
        assert_eq!(state.trace(&one.key, "h").unwrap().file_sha256(), Some("y"));
    }
}
