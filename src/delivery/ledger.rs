//! The plan of a partition as text: what a commit carries beside the offset, so that whoever takes over
//! rebuilds the same batches.
//!
//! Refuses to decide anything. What is written parses back to the same; what was cut short, changed or
//! written by a newer version is an error and never taken for "no plan" (invariant I14).

use std::fmt::Write as _;
use std::time::Duration;

use crate::record::{Offset, OffsetRange};

/// Opens every text of ours; the number is the version of what follows.
const MARK: &str = "penstock/";
const VERSION: &str = "1";
/// More batches than are ever planned at once; bounds what is read.
const INTENTS_MAX: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "the plan in the group's commit was written by a newer version\nhint: run at least the version that wrote it, or drop the plan with `penstock ledger rewind`"
    )]
    Newer,
    #[error(
        "the plan in the group's commit is damaged: {0}\nhint: what was planned may have landed or not; look with `penstock ledger show`, drop it with `penstock ledger rewind`"
    )]
    Damaged(&'static str),
}

/// Marks one history of one partition's offsets: drawn at random whenever no plan is there to go on from, so
/// that offsets which come again (a topic made anew, a rewind) never repeat a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lineage(pub u64);

/// A batch that may have been sent: one range of offsets, and what was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    pub range: OffsetRange,
    pub read: Read,
}

/// What a range of offsets held when it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Records handed over, those included that became no row.
    pub records: u32,
    /// Of the records' offsets, times and lengths.
    pub digest: u32,
}

impl Read {
    /// Takes one more record into the digest (a step of FNV-1a over whole words).
    pub fn add(&mut self, offset: Offset, timestamp_ms: Option<i64>, bytes: i64) {
        self.records = self.records.saturating_add(1);
        let words = [offset.0, timestamp_ms.unwrap_or(-1), bytes];
        self.digest = words.into_iter().fold(self.digest, |digest, word| {
            let word = word.unsigned_abs();
            #[allow(clippy::cast_possible_truncation)] // Both halves of the word are taken.
            let folded = (word ^ (word >> 32)) as u32;
            (digest ^ folded).wrapping_mul(0x0100_0193)
        });
    }
}

/// What a commit of one partition carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    pub lineage: Lineage,
    /// Of the table file and the isolation level that the ranges were read with.
    pub fingerprint: u32,
    /// When it was written, milliseconds since 1970.
    pub written_ms: i64,
    /// How long after that what is listed may still be sent.
    pub lease: Duration,
    /// When the oldest of the open batches was first committed: its rows may have landed since then, and a
    /// token is proof only as long as the server remembers it.
    pub since_ms: i64,
    /// Open batches; the first begins at the committed offset, each other where the one before ends.
    pub intents: Vec<Intent>,
}

impl Ledger {
    /// The text for the commit; ASCII, about 85 bytes and 30 more for each intent.
    pub fn encode(&self) -> String {
        let lease_ms = self.lease.as_millis();
        let mut text = format!(
            "{MARK}{VERSION} {:016x} {:08x} {} {lease_ms} {} ",
            self.lineage.0, self.fingerprint, self.written_ms, self.since_ms
        );
        for (index, intent) in self.intents.iter().enumerate() {
            let length = intent.range.next.0.saturating_sub(intent.range.first.0);
            let comma = if index == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}{length}.{}.{:08x}", intent.read.records, intent.read.digest);
        }
        let _ = write!(text, " {:08x}", checksum(&text));
        text
    }

    /// Reads the text of a commit of `offset`. `None` when it is not ours: there is no plan.
    ///
    /// # Errors
    /// A text of ours that is damaged or newer than this version.
    pub fn parse(text: &str, offset: Offset) -> Result<Option<Ledger>, Error> {
        let Some(rest) = text.strip_prefix(MARK) else { return Ok(None) };
        let damaged = |what| Error::Damaged(what);
        let (version, _) = rest.split_once(' ').ok_or(damaged("it ends early"))?;
        if version != VERSION {
            let newer = version.parse::<u32>().is_ok_and(|n| 1 < n);
            return Err(if newer { Error::Newer } else { damaged("its version is no number") });
        }
        let (body, sum) = text.rsplit_once(' ').ok_or(damaged("it ends early"))?;
        if hex(sum, 8) != Some(u64::from(checksum(body))) {
            return Err(damaged("its checksum does not fit"));
        }
        let fields: Vec<&str> = body.split(' ').collect();
        let [_, lineage, fingerprint, written, lease, since, intents] = fields.as_slice() else {
            return Err(damaged("it has not seven fields"));
        };
        let fingerprint = hex(fingerprint, 8).and_then(|value| u32::try_from(value).ok());
        Ok(Some(Ledger {
            lineage: Lineage(hex(lineage, 16).ok_or(damaged("lineage"))?),
            fingerprint: fingerprint.ok_or(damaged("fingerprint"))?,
            written_ms: written.parse().map_err(|_| damaged("time"))?,
            lease: Duration::from_millis(lease.parse().map_err(|_| damaged("lease"))?),
            since_ms: since.parse().map_err(|_| damaged("age"))?,
            intents: parse_intents(intents, offset)?,
        }))
    }

    /// The first offset after everything that is planned; `offset` is the committed one.
    pub fn end(&self, offset: Offset) -> Offset {
        self.intents.last().map_or(offset, |intent| intent.range.next)
    }
}

fn parse_intents(text: &str, offset: Offset) -> Result<Vec<Intent>, Error> {
    let mut intents = Vec::new();
    let mut first = offset;
    for one in text.split(',').filter(|one| !one.is_empty()) {
        if intents.len() == INTENTS_MAX {
            return Err(Error::Damaged("it lists too many batches"));
        }
        let intent = parse_intent(one, first).ok_or(Error::Damaged("a batch"))?;
        first = intent.range.next;
        intents.push(intent);
    }
    Ok(intents)
}

fn parse_intent(text: &str, first: Offset) -> Option<Intent> {
    let mut parts = text.split('.');
    let length: i64 = parts.next()?.parse().ok().filter(|length| 0 < *length)?;
    let records = parts.next()?.parse().ok()?;
    let digest = u32::try_from(hex(parts.next()?, 8)?).ok()?;
    if parts.next().is_some() {
        return None;
    }
    let next = Offset(first.0.checked_add(length)?);
    Some(Intent { range: OffsetRange { first, next }, read: Read { records, digest } })
}

/// Exactly `digits` hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let fits = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| fits)
}

/// FNV-1a, 32 bits: tells texts apart that changed by accident.
pub fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger(offset: i64, lengths: &[(i64, u32, u32)]) -> Ledger {
        let mut first = Offset(offset);
        let mut intents = Vec::new();
        for (length, records, digest) in lengths {
            let next = Offset(first.0 + length);
            let read = Read { records: *records, digest: *digest };
            intents.push(Intent { range: OffsetRange { first, next }, read });
            first = next;
        }
        Ledger {
            lineage: Lineage(0x0123_4567_89ab_cdef),
            fingerprint: 7,
            written_ms: 1_790_000_000_000,
            lease: Duration::from_secs(60),
            since_ms: 1_789_999_990_000,
            intents,
        }
    }

    #[test]
    fn the_text_stays_the_same_between_versions() {
        let text = "penstock/1 0123456789abcdef 00000007 1790000000000 60000 1789999990000 3.2.0000000a,5.5.ffffffff 12760f1e";
        let written = ledger(10, &[(3, 2, 10), (5, 5, u32::MAX)]);
        assert_eq!(written.encode(), text);
        assert_eq!(written.end(Offset(10)), Offset(18));
    }

    #[test]
    fn foreign_newer_and_damaged_texts_are_told_apart() {
        let text = ledger(10, &[(3, 2, 10)]).encode();
        for foreign in ["", "consumer-7", "penstock", "{}"] {
            assert_eq!(Ledger::parse(foreign, Offset(0)), Ok(None), "{foreign}");
        }
        assert_eq!(Ledger::parse("penstock/2 whatever", Offset(0)), Err(Error::Newer));
        for end in MARK.len()..text.len() {
            let cut = &text[..end];
            assert!(matches!(Ledger::parse(cut, Offset(10)), Err(Error::Damaged(_))), "{cut}");
        }
        assert!(matches!(Ledger::parse(&text.replace("3.2", "4.2"), Offset(10)), Err(Error::Damaged(_))));
    }

    #[test]
    fn as_many_as_are_ever_planned_fit_the_brokers_limit() {
        let all = vec![(i64::from(u32::MAX), u32::MAX, u32::MAX); INTENTS_MAX];
        assert!(ledger(i64::from(i32::MAX), &all).encode().len() < 4096);
    }

    proptest! {
        #[test]
        fn what_is_written_parses_to_the_same(
            offset in 0i64..1 << 50,
            lengths in prop::collection::vec((1i64..1 << 40, any::<u32>(), any::<u32>()), 0..INTENTS_MAX),
            lineage in any::<u64>(),
        ) {
            let mut written = ledger(offset, &lengths);
            written.lineage = Lineage(lineage);
            prop_assert_eq!(Ledger::parse(&written.encode(), Offset(offset)), Ok(Some(written)));
        }

        #[test]
        fn any_text_is_an_answer_and_never_a_panic(text in "(penstock/1? ?)?[ -~]{0,80}", offset in any::<i64>()) {
            let _ = Ledger::parse(&text, Offset(offset));
        }
    }
}
