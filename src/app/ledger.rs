//! `penstock ledger`: what the group has committed and planned, and setting it back.
//!
//! Refuses to touch offsets while the group has members: it looks before it asks, looks again before it writes,
//! and writes without a generation, which brokers take of an empty group only.

use std::str::FromStr;

use anyhow::anyhow;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::{Error, tables};
use crate::config::Config;
use crate::delivery::ledger::{self, Intent, Ledger};
use crate::kafka::admin::{self, Purpose};
use crate::kafka::group::{Group, Outsider};
use crate::record::{Offset, OffsetRange, TopicPartition};

/// What `ledger show` found.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub group: String,
    pub state: String,
    /// Member ids, each with the host that it comes from.
    pub members: Vec<(String, String)>,
    pub partitions: Vec<Shelf>,
}

impl Shown {
    pub fn is_damaged(&self) -> bool {
        self.partitions.iter().any(|shelf| shelf.plan == Plan::Damaged)
    }
}

/// One partition: what is committed, and what lies beside it.
#[derive(Debug, Serialize)]
pub struct Shelf {
    pub topic: String,
    pub partition: i32,
    pub committed: Option<i64>,
    pub log_first: i64,
    pub log_end: i64,
    pub plan: Plan,
    /// The same in words.
    pub sentence: String,
    pub lineage: Option<String>,
    pub written: Option<String>,
    /// How long what is planned may still be sent without another commit.
    pub lease_left_ms: Option<i64>,
    pub ranges: Vec<Range>,
}

/// A batch that may have landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    pub first: i64,
    pub next: i64,
    pub records: u32,
    pub digest: String,
}

impl From<&Intent> for Range {
    fn from(intent: &Intent) -> Range {
        Range {
            first: intent.range.first.0,
            next: intent.range.next.0,
            records: intent.read.records,
            digest: format!("{:08x}", intent.read.digest),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Nothing is written beside the offset.
    None,
    /// Written by another program.
    Foreign,
    /// Everything that was planned is in the table.
    Settled,
    /// May be on its way right now.
    InFlight,
    /// May have landed or not; the next owner sends it again under the same tokens.
    Open,
    Damaged,
    Newer,
}

/// Looks at one topic, or at every topic of the table files.
pub fn show(config: &Config, topic: Option<&str>, partition: Option<i32>) -> Result<Shown, Error> {
    let outsider = Outsider::new(&config.kafka)?;
    let topics = topic.map_or_else(|| topics(config), |topic| Ok(vec![topic.to_owned()]))?;
    let Group { state, members } = outsider.group()?;
    let mut partitions = Vec::new();
    for topic in topics {
        let mut sources = outsider.partitions(&topic)?;
        sources.retain(|source| partition.is_none_or(|number| source.partition.0 == number));
        for (source, committed, text) in outsider.committed(&sources)? {
            let log = outsider.log(&source)?;
            let note = Note { committed, text: &text, alone: members.is_empty(), now: Utc::now() };
            partitions.push(shelf(&source, log, &note));
        }
    }
    if let (Some(number), true) = (partition, partitions.is_empty()) {
        return Err(no_partition(number));
    }
    let members = members.into_iter().map(|member| (member.id, member.host)).collect();
    Ok(Shown { group: config.kafka.group.clone(), state, members, partitions })
}

fn no_partition(number: i32) -> Error {
    Error::WrongUse(anyhow!("there is no partition {number}\nhint: partitions count from 0"))
}

/// The topics of the table files; patterns stand for those that match now, dead-letter topics left out.
fn topics(config: &Config) -> Result<Vec<String>, Error> {
    let tables = tables::load(config)?;
    let (patterns, mut names): (Vec<String>, Vec<String>) =
        tables.iter().flat_map(|table| table.topics.clone()).partition(|name| name.starts_with('^'));
    if !patterns.is_empty() {
        let all = admin::topics(&config.kafka)?;
        let letters: Vec<String> = all.iter().map(|topic| config.dead_letter.topic_for(topic)).collect();
        let patterns = regex::RegexSet::new(&patterns).map_err(|error| Error::WrongUse(error.into()))?;
        names.extend(all.into_iter().filter(|topic| patterns.is_match(topic) && !letters.contains(topic)));
    }
    names.sort();
    names.dedup();
    let wanted: Vec<_> = names.iter().map(|name| (name.clone(), Purpose::Source)).collect();
    admin::check_topics(&config.kafka, &wanted)?;
    Ok(names)
}

/// What lies beside an offset, and when it is looked at.
struct Note<'a> {
    committed: Option<Offset>,
    text: &'a str,
    /// Nobody is in the group.
    alone: bool,
    now: DateTime<Utc>,
}

fn shelf(source: &TopicPartition, log: OffsetRange, note: &Note<'_>) -> Shelf {
    let mut shelf = Shelf {
        topic: source.topic.to_string(),
        partition: source.partition.0,
        committed: note.committed.map(|offset| offset.0),
        log_first: log.first.0,
        log_end: log.next.0,
        plan: Plan::None,
        sentence: String::new(),
        lineage: None,
        written: None,
        lease_left_ms: None,
        ranges: Vec::new(),
    };
    let found = Ledger::parse(note.text, note.committed.unwrap_or(Offset(0)));
    let sentence = match &found {
        Err(ledger::Error::Newer) => {
            shelf.plan = Plan::Newer;
            "a plan of a newer version: run at least the version that wrote it"
        }
        Err(ledger::Error::Damaged(_)) => {
            shelf.plan = Plan::Damaged;
            "a damaged plan: what it listed may have landed or not"
        }
        Ok(None) if note.committed.is_none() => "nothing is committed",
        Ok(None) if note.text.is_empty() => "no plan: delivered at least once, or set back",
        Ok(None) => {
            shelf.plan = Plan::Foreign;
            "no plan: the text is of another program"
        }
        Ok(Some(ledger)) => planned(&mut shelf, ledger, note),
    };
    shelf.sentence = match found {
        Err(ledger::Error::Damaged(what)) => format!("{sentence} ({what})"),
        _ => sentence.to_owned(),
    };
    shelf
}

fn planned(shelf: &mut Shelf, ledger: &Ledger, note: &Note<'_>) -> &'static str {
    let lease_ms = i64::try_from(ledger.lease.as_millis()).unwrap_or(i64::MAX);
    let left = ledger.written_ms.saturating_add(lease_ms).saturating_sub(note.now.timestamp_millis()).max(0);
    let written = DateTime::from_timestamp_millis(ledger.written_ms);
    shelf.lineage = Some(format!("{:016x}", ledger.lineage.0));
    shelf.written = written.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true));
    shelf.lease_left_ms = Some(left);
    shelf.ranges = ledger.intents.iter().map(Range::from).collect();
    if ledger.intents.is_empty() {
        shelf.plan = Plan::Settled;
        return "everything planned is in the table";
    }
    shelf.plan = if left == 0 { Plan::Open } else { Plan::InFlight };
    match (left == 0, note.alone) {
        (false, false) => "an open plan, which a member may be sending now",
        (false, true) => "an open plan; its owner is gone, and what it sent may land until the lease is over",
        (true, false) => "an open plan; a member commits it again before it sends any of it",
        (true, true) => {
            "an open plan; its owner is gone, and the next one sends it again under the same tokens"
        }
    }
}

/// Where a partition is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Earliest,
    Latest,
    Committed,
    At(Offset),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match text {
            "earliest" => Ok(Target::Earliest),
            "latest" => Ok(Target::Latest),
            "committed" => Ok(Target::Committed),
            number => match number.parse() {
                Ok(offset @ 0..) => Ok(Target::At(Offset(offset))),
                _ => Err("write an offset, earliest, latest or committed".to_owned()),
            },
        }
    }
}

/// What setting one partition back means.
#[derive(Debug, Serialize)]
pub struct Change {
    #[serde(skip)]
    source: TopicPartition,
    pub topic: String,
    pub partition: i32,
    pub before: Option<i64>,
    pub after: i64,
    /// Offsets that were committed as done, and are read again.
    pub read_again: i64,
    /// Offsets that were not done, and are never read.
    pub skipped: i64,
    /// Batches of the plan that is dropped: each may or may not have landed.
    pub abandoned: Vec<Range>,
    /// The plan that is dropped cannot be read.
    pub unreadable: bool,
}

/// A rewind that was looked at and not done yet.
pub struct Rewind {
    outsider: Outsider,
    pub group: String,
    pub changes: Vec<Change>,
}

impl Rewind {
    /// `partition` is one of them, or without it all.
    pub fn prepare(
        config: &Config,
        topic: &str,
        partition: Option<i32>,
        target: Target,
    ) -> Result<Rewind, Error> {
        let outsider = Outsider::new(&config.kafka)?;
        let mut sources = outsider.partitions(topic)?;
        sources.retain(|source| partition.is_none_or(|number| source.partition.0 == number));
        if let (Some(number), true) = (partition, sources.is_empty()) {
            return Err(no_partition(number));
        }
        let mut rewind = Rewind { outsider, group: config.kafka.group.clone(), changes: Vec::new() };
        rewind.refuse_members()?;
        for (source, committed, text) in rewind.outsider.committed(&sources)? {
            let log = rewind.outsider.log(&source)?;
            rewind.changes.push(change(source, log, (committed, &text), target)?);
        }
        Ok(rewind)
    }

    /// Writes it.
    pub fn apply(&self) -> Result<(), Error> {
        self.refuse_members()?;
        let offsets: Vec<_> = self.changes.iter().map(|c| (c.source.clone(), Offset(c.after))).collect();
        Ok(self.outsider.commit(&offsets)?)
    }

    fn refuse_members(&self) -> Result<(), Error> {
        let empty = self.outsider.group()?.members.is_empty();
        if empty { Ok(()) } else { Err(self.outsider.not_empty().into()) }
    }
}

fn change(
    source: TopicPartition,
    log: OffsetRange,
    (committed, text): (Option<Offset>, &str),
    target: Target,
) -> Result<Change, Error> {
    let after = match target {
        Target::Earliest => log.first,
        Target::Latest => log.next,
        Target::At(offset) => offset,
        Target::Committed => committed.ok_or_else(|| {
            Error::WrongUse(anyhow!("nothing is committed for {source}\nhint: take `earliest` or `latest`"))
        })?,
    };
    // What is committed may have been deleted from the log since; it can be kept as it is.
    if target != Target::Committed && (after < log.first || log.next < after) {
        return Err(Error::WrongUse(anyhow!(
            "{source} has no offset {after}\nhint: it holds {} to {}",
            log.first,
            log.next
        )));
    }
    let before = committed.unwrap_or(log.first);
    let plan = Ledger::parse(text, before);
    let abandoned = plan.as_ref().ok().and_then(Option::as_ref);
    Ok(Change {
        topic: source.topic.to_string(),
        partition: source.partition.0,
        before: committed.map(|offset| offset.0),
        after: after.0,
        read_again: committed.map_or(0, |before| before.0.saturating_sub(after.0).max(0)),
        skipped: after.0.saturating_sub(before.0).max(0),
        abandoned: abandoned.map(|l| l.intents.iter().map(Range::from).collect()).unwrap_or_default(),
        unreadable: plan.is_err(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::ledger::{Lineage, Read};
    use crate::record::Partition;

    fn text(intents: &[(i64, i64)]) -> String {
        let intent = |&(first, next): &(i64, i64)| Intent {
            range: OffsetRange { first: Offset(first), next: Offset(next) },
            read: Read { records: 2, digest: 10 },
        };
        let intents = intents.iter().map(intent).collect();
        let lease = Duration::from_secs(60);
        Ledger {
            lineage: Lineage(5),
            fingerprint: 7,
            written_ms: 1_000_000,
            lease,
            since_ms: 1_000_000,
            intents,
        }
        .encode()
    }

    fn source() -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: Partition(3) }
    }

    const LOG: OffsetRange = OffsetRange { first: Offset(5), next: Offset(40) };

    #[test]
    fn each_kind_of_text_has_its_sentence() {
        let at = |ms| DateTime::from_timestamp_millis(ms).unwrap();
        let look = |text: &str, now_ms, alone| {
            let note = Note { committed: Some(Offset(10)), text, alone, now: at(now_ms) };
            shelf(&source(), LOG, &note)
        };
        let open = text(&[(10, 20), (20, 30)]);
        let shelf = look(&open, 1_020_000, false);
        assert_eq!((shelf.plan, shelf.lease_left_ms), (Plan::InFlight, Some(40_000)));
        assert_eq!((shelf.ranges.len(), shelf.ranges[1].next), (2, 30));
        assert_eq!(look(&open, 1_060_000, true).plan, Plan::Open);
        assert_eq!(look(&text(&[]), 0, true).plan, Plan::Settled);
        assert_eq!(look("", 0, true).plan, Plan::None);
        assert_eq!(look("consumer-7", 0, true).plan, Plan::Foreign);
        assert_eq!(look("penstock/2 x", 0, true).plan, Plan::Newer);
        let damaged = look(&open.replace("10.2", "11.2"), 0, true);
        assert_eq!(damaged.plan, Plan::Damaged);
        assert!(damaged.sentence.contains("checksum"), "{}", damaged.sentence);
    }

    #[test]
    fn a_rewind_says_what_is_read_again_skipped_and_abandoned() {
        let open = text(&[(10, 20)]);
        let to = |target| change(source(), LOG, (Some(Offset(10)), &open), target);
        let back = to(Target::Earliest).unwrap();
        assert_eq!((back.before, back.after, back.read_again, back.skipped), (Some(10), 5, 5, 0));
        assert_eq!((back.abandoned.len(), back.unreadable), (1, false));
        let on = to(Target::Latest).unwrap();
        assert_eq!((on.after, on.read_again, on.skipped), (40, 0, 30));
        let same = to(Target::Committed).unwrap();
        assert_eq!((same.after, same.read_again, same.skipped), (10, 0, 0));
        for wrong in [4, 41] {
            assert!(matches!(to(Target::At(Offset(wrong))), Err(Error::WrongUse(_))), "{wrong}");
        }
        let nothing = change(source(), LOG, (None, ""), Target::Committed);
        assert!(matches!(nothing, Err(Error::WrongUse(_))));
        assert!(
            change(source(), LOG, (Some(Offset(10)), "penstock/1 x"), Target::Committed).unwrap().unreadable
        );
    }

    #[test]
    fn targets_are_words_or_offsets() {
        assert_eq!("12".parse(), Ok(Target::At(Offset(12))));
        assert_eq!("latest".parse(), Ok(Target::Latest));
        assert!("-1".parse::<Target>().is_err() && "newest".parse::<Target>().is_err());
    }
}
