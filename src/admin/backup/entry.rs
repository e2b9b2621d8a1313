//! A backup as the catalogue knows it, and the rules of chains: what depends on what, and what may be built on.
//!
//! Refuses to ask any server: everything here is a function of entries that were read. What a rule must hold for every
//! history is tested in `retention`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::Level;
use super::manifest::Manifest;

/// How a backup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    Done,
    /// It failed, was cancelled, or nothing was heard of it for too long.
    Failed,
    /// It is being deleted, or that was cut off.
    Deleting,
    Deleted,
}

/// What the latest verification of a kind said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    pub level: Level,
    /// When it ended, in UTC.
    #[serde(with = "super::stamp")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: DateTime<Utc>,
    /// What is wrong; nothing if all is well.
    pub findings: Vec<String>,
    pub seconds: f64,
}

/// Why a backup is kept whatever its age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    pub reason: String,
    #[serde(default, with = "super::stamp::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<DateTime<Utc>>,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Entry {
    pub id: String,
    /// When it was begun, in UTC.
    #[serde(with = "super::stamp")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: DateTime<Utc>,
    pub state: State,
    pub manifest: Manifest,
    /// Why it failed.
    pub error: String,
    pub verification: Option<Verification>,
    pub hold: Option<Hold>,
    /// Whether its files could be removed, once it is deleted.
    pub files_left: bool,
}

impl Entry {
    pub fn is_damaged(&self) -> bool {
        self.verification.as_ref().is_some_and(|last| !last.findings.is_empty())
    }

    pub fn is_verified(&self) -> bool {
        self.verification.as_ref().is_some_and(|last| last.findings.is_empty())
    }

    pub fn is_held(&self, now: DateTime<Utc>) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.until.is_none_or(|until| now < until))
    }

    /// Whether its files, or some of them, may be at the destination.
    pub fn has_files(&self) -> bool {
        !matches!(self.state, State::Deleted) || self.files_left
    }

    /// Whether it is, or is on its way, or is left half deleted.
    pub fn is_there(&self) -> bool {
        matches!(self.state, State::Running | State::Done | State::Deleting)
    }

    fn is_whole(&self) -> bool {
        self.state == State::Done && !self.is_damaged()
    }
}

/// Every backup, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Entries(pub Vec<Entry>);

/// What the next backup is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Next {
    /// Id of the backup that it builds on; it is a full one without it.
    pub base: Option<String>,
    /// Why.
    pub reason: String,
}

/// What somebody asks the next backup to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Incremental where the chain allows it.
    #[default]
    Auto,
    Full,
    /// Refused where the chain does not allow it.
    Incremental,
}

impl Entries {
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.id == id)
    }

    /// The backup and everything that it needs, down to a full one; `None` where a part is missing or damaged.
    pub fn chain(&self, id: &str) -> Option<Vec<&Entry>> {
        let (mut chain, mut next) = (Vec::new(), Some(id));
        while let Some(id) = next {
            // A chain is never longer than there are backups; a circle would be.
            let entry = self.get(id).filter(|entry| entry.is_whole() && chain.len() < self.0.len())?;
            chain.push(entry);
            next = entry.manifest.base.as_deref();
        }
        Some(chain)
    }

    /// What of the chain is in the way of a restore, in words: the first of it, since damage is told of what builds on
    /// it as well.
    pub fn obstacle(&self, id: &str) -> String {
        let (mut next, mut told) = (Some(id), String::new());
        for _ in 0..=self.0.len() {
            let Some(id) = next else { break };
            let Some(one) = self.get(id) else { return format!("{id} is not known") };
            if one.is_damaged() {
                told = format!("{id} is damaged");
            } else if one.state != State::Done {
                told = format!("{id} is {}", one.state.name());
            }
            next = one.manifest.base.as_deref();
        }
        told
    }

    /// Every backup that cannot be restored without this one, directly or not, and that is not gone itself.
    pub fn dependants(&self, id: &str) -> Vec<&Entry> {
        let mut found: Vec<&Entry> = Vec::new();
        let mut bases = vec![id];
        while let Some(base) = bases.pop() {
            for entry in &self.0 {
                let builds_on_it = entry.manifest.base.as_deref() == Some(base);
                if builds_on_it && !found.iter().any(|known| known.id == entry.id) {
                    bases.push(&entry.id);
                    found.push(entry);
                }
            }
        }
        found.retain(|entry| matches!(entry.state, State::Done | State::Running));
        found
    }

    /// What the next backup of this policy and these tables builds on. Entries of other policies never count.
    ///
    /// # Errors
    /// Why no incremental one can be made, where one is demanded.
    pub fn next(&self, wanted: Wanted, like: &Manifest, chain_max: u32) -> Result<Next, String> {
        let full = |reason: &str| Next { base: None, reason: reason.to_owned() };
        let found = match wanted {
            Wanted::Full => return Ok(full("a full one was asked for")),
            Wanted::Auto | Wanted::Incremental => self.base(like, chain_max),
        };
        match found {
            Ok(base) => {
                let reason = format!("it adds to {base}");
                Ok(Next { base: Some(base), reason })
            }
            Err(why) if wanted == Wanted::Auto => Ok(full(&why)),
            Err(why) => Err(why),
        }
    }

    fn base(&self, like: &Manifest, chain_max: u32) -> Result<String, String> {
        let same = |entry: &&Entry| {
            let of = &entry.manifest;
            of.policy == like.policy && of.database == like.database && of.partitions == like.partitions
        };
        let mut done = self.0.iter().rev().filter(|entry| entry.state == State::Done).filter(same);
        let last = done.next().ok_or("there is none to add to")?;
        let chain = self
            .chain(&last.id)
            .ok_or_else(|| format!("the latest cannot be built on: {}", self.obstacle(&last.id)))?;
        if last.manifest.destination != like.destination {
            return Err("the latest lies elsewhere".to_owned());
        }
        if !last.manifest.has_the_tables_of(like) {
            return Err("the set of tables is another one".to_owned());
        }
        let length = u32::try_from(chain.len().saturating_sub(1)).unwrap_or(u32::MAX);
        match length < chain_max {
            true => Ok(last.id.clone()),
            false => Err(format!("{length} incremental ones lie on the last full one")),
        }
    }

    /// Why this one must stay, if it must.
    pub fn blocked(&self, id: &str, now: DateTime<Utc>) -> Option<String> {
        let entry = self.get(id)?;
        if let Some(hold) = entry.hold.as_ref().filter(|_| entry.is_held(now)) {
            return Some(format!("it is held: {}", hold.reason));
        }
        let names: Vec<&str> = self.dependants(id).iter().map(|entry| entry.id.as_str()).collect();
        (!names.is_empty()).then(|| format!("these cannot be restored without it: {}", names.join(", ")))
    }
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Deleting => "deleting",
            State::Deleted => "deleted",
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::TimeDelta;

    use super::*;

    pub fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600, 0).unwrap() + TimeDelta::hours(hours)
    }

    /// A backup of policy `p` that is done.
    pub fn entry(id: &str, base: Option<&str>, hours: i64) -> Entry {
        let manifest = Manifest {
            policy: "p".to_owned(),
            database: "d".to_owned(),
            base: base.map(str::to_owned),
            ..Manifest::default()
        };
        Entry {
            id: id.to_owned(),
            at: at(hours),
            state: State::Done,
            manifest,
            error: String::new(),
            verification: None,
            hold: None,
            files_left: false,
        }
    }

    pub fn verified(findings: &[&str]) -> Option<Verification> {
        let findings = findings.iter().map(|one| (*one).to_owned()).collect();
        Some(Verification { level: Level::Restore, at: at(0), findings, seconds: 0.0 })
    }

    fn entries() -> Entries {
        Entries(vec![entry("a", None, 0), entry("b", Some("a"), 1), entry("c", Some("b"), 2)])
    }

    fn like() -> Manifest {
        entry("", None, 0).manifest
    }

    #[test]
    fn what_others_need_is_named_and_not_deleted() {
        let mut all = entries();
        let names = |all: &Entries| -> Vec<String> {
            all.dependants("a").iter().map(|entry| entry.id.clone()).collect()
        };
        assert_eq!(names(&all), ["b", "c"]);
        assert!(all.blocked("a", at(3)).unwrap().contains("b, c") && all.blocked("c", at(3)).is_none());
        all.0[2].state = State::Running;
        assert_eq!(names(&all), ["b", "c"], "one that runs needs it too");
        all.0[2].state = State::Deleted;
        assert_eq!(names(&all), ["b"]);
        all.0[2] = Entry {
            hold: Some(Hold { reason: "case".to_owned(), until: Some(at(5)) }),
            ..entry("c", Some("b"), 2)
        };
        assert!(all.blocked("c", at(4)).unwrap().contains("case") && all.blocked("c", at(5)).is_none());
    }

    #[test]
    fn a_full_one_is_due_when_the_chain_is_long_broken_or_of_other_tables() {
        let all = entries();
        let next = |all: &Entries, chain_max| all.next(Wanted::Auto, &like(), chain_max).unwrap();
        assert_eq!(next(&all, 6).base.as_deref(), Some("c"));
        assert_eq!(next(&all, 2).base, None);
        assert!(all.next(Wanted::Incremental, &like(), 2).unwrap_err().contains("2 incremental"));
        assert_eq!(all.next(Wanted::Full, &like(), 6).unwrap().base, None);
        for broken in 0..3 {
            let mut all = entries();
            all.0[broken].verification = verified(&["a file is gone"]);
            assert_eq!(next(&all, 6).base, None, "{broken}");
            let refused = all.next(Wanted::Incremental, &like(), 6).unwrap_err();
            assert!(refused.contains("is damaged"), "{refused}");
            assert!(all.chain("c").is_none());
        }
        let mut all = entries();
        all.0.remove(0);
        assert!(all.next(Wanted::Incremental, &like(), 6).unwrap_err().contains("a is not known"));
        let other = Manifest { policy: "q".to_owned(), ..like() };
        assert_eq!(entries().next(Wanted::Auto, &other, 6).unwrap().base, None);
        let more = Manifest { tables: vec![Default::default()], ..like() };
        assert!(entries().next(Wanted::Auto, &more, 6).unwrap().reason.contains("set of tables"));
        assert!(Entries::default().next(Wanted::Incremental, &like(), 6).is_err());
    }

    #[test]
    fn a_circle_is_no_chain() {
        let all = Entries(vec![entry("a", Some("b"), 0), entry("b", Some("a"), 1)]);
        assert!(all.chain("a").is_none());
        assert_eq!(all.dependants("a").len(), 2);
    }
}
