//! Publishes letters again, each once, whatever interrupts it.
//!
//! Refuses to remember anywhere but in the dead-letter topic: a marker says that some letters are begun, then
//! they are published, then a marker says that they are done. Where the first is found without the second, the
//! target is searched, from where it ended before, for records that name the letters; those that are there are
//! done, the others are still waiting. Of two replays at a time the one whose marker comes first has the
//! letter. Blocks: async code calls it from a blocking thread.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::Error;
use super::letter::{Filter, Letter};
use super::library::{Library, Watch, marker_of};
use super::marker::{Begun, Marker, State, Target};
use super::ranges::Ranges;
use super::scribe::Item;
pub use super::scribe::Scribe;
use super::{envelope, settle};
use crate::kafka;
use crate::kafka::admin::{self, Purpose};
use crate::kafka::scan::{self, Scan, Stretch};
use crate::record::{Offset, OffsetRange, OwnedRecord, TopicPartition};

/// Longest time from the marker to the last record handed to the client.
const BEGUN_MAX: Duration = Duration::from_secs(5);
/// After this nothing of a replay that was cut off can still arrive.
pub const SETTLE: Duration = Duration::from_secs(20);
/// Letters under one marker, and bytes held.
const PARCEL_LETTERS_MAX: usize = 500;
/// Letters are published side by side and so lie a little out of order. That many are held back, so that what
/// lay in order in its own partition goes back in order.
const DISORDER_LETTERS_MAX: usize = 2000;
const HELD_BYTES_MAX: usize = 16 << 20;
/// Time to read the whole record of a letter that was cut.
const REFETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// How letters are replayed.
#[derive(Clone, Debug)]
pub struct Options {
    /// In place of each letter's own topic.
    pub to: Option<String>,
    /// Also those that were replayed before.
    pub again: bool,
    pub records_per_second: u32,
    pub limit: u64,
    /// How long an unfinished replay is left alone: [`SETTLE`], less only where it is known to have ended.
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { to: None, again: false, records_per_second: 1000, limit: u64::MAX, settle: SETTLE }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub sent: u64,
    /// Sent by an earlier replay that was cut off before it could say so.
    pub found: u64,
    /// Left to another replay that runs at the same time.
    pub taken: u64,
    /// Not sent: larger than the topic takes.
    pub too_large: u64,
    /// Not sent: the letter does not say where it came from.
    pub without_origin: u64,
    /// Not sent: the letter holds a part of the record only, and the whole one is no longer in its topic.
    pub without_record: u64,
}

/// Letters of one partition between their two markers.
#[derive(Debug)]
pub struct Parcel {
    source: TopicPartition,
    marker: Offset,
    began: Instant,
    items: Vec<Item>,
}

pub struct Replay<'l> {
    library: &'l Library,
    scribe: Scribe,
    options: Options,
    /// What the target topics held when they were first looked at, and what was published since.
    targets: BTreeMap<String, Vec<Stretch>>,
    /// First offset of each dead-letter partition whose markers were not looked at.
    seen: BTreeMap<TopicPartition, Offset>,
    /// Letters that markers name which came after the topic was opened and before our own.
    taken: BTreeMap<TopicPartition, Ranges>,
    started: Instant,
    pub outcome: Outcome,
}

impl<'l> Replay<'l> {
    pub fn new(library: &'l Library, scribe: Scribe, options: Options) -> Replay<'l> {
        let seen = library.topics.iter().flat_map(|topic| {
            topic.extent.iter().map(|stretch| (topic.source(stretch.partition), stretch.range.next))
        });
        Replay {
            seen: seen.collect(),
            library,
            scribe,
            options,
            targets: BTreeMap::new(),
            taken: BTreeMap::new(),
            started: Instant::now(),
            outcome: Outcome::default(),
        }
    }

    /// Replays the letters that are meant. When it fails, `outcome` says what was done until then.
    pub fn run(&mut self, filter: &Filter) -> Result<(), Error> {
        let settled = self.settle()?;
        self.started = Instant::now();
        let again = self.options.again;
        let filter = Filter { state: filter.state.or((!again).then_some(State::Waiting)), ..filter.clone() };
        let parcel_max = self.parcel_max();
        let (mut held, mut bytes, mut left) = (BTreeMap::new(), 0, self.options.limit);
        let library = self.library;
        library.read(&filter, |letter| {
            let is_settled =
                settled.get(&letter.position.source).is_some_and(|r| r.contains(letter.position.offset));
            if left == 0 || (is_settled && !again) {
                return Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
            }
            let Some(letter) = self.whole(letter)? else { return Ok(ControlFlow::Continue(())) };
            left -= 1;
            bytes += letter.bytes();
            let source = letter.position.source.clone();
            let letters: &mut Vec<Letter> = held.entry(source.clone()).or_default();
            letters.push(letter);
            if HELD_BYTES_MAX <= bytes {
                bytes = 0;
                std::mem::take(&mut held).into_iter().try_for_each(|(s, all)| self.publish_all(&s, all))?;
            } else if parcel_max + DISORDER_LETTERS_MAX <= letters.len() {
                letters.sort_by(|a, b| a.origin.cmp(&b.origin));
                let parcel: Vec<Letter> = letters.drain(..parcel_max).collect();
                bytes = bytes.saturating_sub(parcel.iter().map(Letter::bytes).sum());
                self.publish(&source, parcel)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        held.into_iter().try_for_each(|(source, letters)| self.publish_all(&source, letters))
    }

    /// At most half a second's worth, so that the rate is even and a marker never old.
    fn parcel_max(&self) -> usize {
        let per_second = usize::try_from(self.options.records_per_second).unwrap_or(usize::MAX);
        (per_second / 2).clamp(1, PARCEL_LETTERS_MAX)
    }

    fn publish_all(&mut self, source: &TopicPartition, mut letters: Vec<Letter>) -> Result<(), Error> {
        letters.sort_by(|a, b| a.origin.cmp(&b.origin));
        let mut letters = letters.into_iter();
        while 0 < letters.len() {
            let parcel = letters.by_ref().take(self.parcel_max()).collect();
            self.publish(source, parcel)?;
        }
        Ok(())
    }

    fn publish(&mut self, source: &TopicPartition, letters: Vec<Letter>) -> Result<(), Error> {
        // Letters that are held need no more reading, which would notice it.
        self.stop_if_cancelled()?;
        let mut parcel = self.begin(source, letters)?;
        self.send(&mut parcel, usize::MAX)?;
        self.finish(&parcel)?;
        self.keep_pace();
        Ok(())
    }

    /// First step: says that these letters are about to be published, and leaves out those that another
    /// replay has.
    pub fn begin(&mut self, source: &TopicPartition, letters: Vec<Letter>) -> Result<Parcel, Error> {
        let began = Instant::now();
        let (mut items, mut targets) = (Vec::new(), BTreeMap::new());
        let mut all = Ranges::default();
        for letter in letters {
            let (target, end) = self.target(&letter)?;
            all.insert(letter.position.offset);
            targets.entry(target.clone()).or_insert(end);
            items.push(Item { letter, target });
        }
        let targets = targets.into_iter().map(|(target, end)| Target {
            topic: target.topic.to_string(),
            partition: target.partition.0,
            end: end.0,
        });
        let begun = Begun { letters: all, at_ms: now_ms(), targets: targets.collect() };
        let marker = self.scribe.mark(source, &Marker::Begun(begun))?;
        let taken = self.look_for_others(source, marker)?;
        let before = items.len();
        items.retain(|item| !taken.contains(item.letter.position.offset));
        self.outcome.taken += (before - items.len()) as u64;
        Ok(Parcel { source: source.clone(), marker, began, items })
    }

    /// Second step: publishes the first `count` letters, and waits for their acknowledgement. Those that are
    /// too large are taken out of the parcel.
    pub fn send(&mut self, parcel: &mut Parcel, count: usize) -> Result<(), Error> {
        // Whoever was suspended meanwhile may have been given up by another replay.
        if BEGUN_MAX < parcel.began.elapsed() {
            return Err(Error::Late);
        }
        let items = parcel.items.get(..count).unwrap_or(&parcel.items);
        let placed = self.scribe.publish(items)?;
        for (item, at) in items.iter().zip(&placed) {
            let Some(at) = at else { continue };
            self.outcome.sent += 1;
            let stretches = self.targets.get_mut(&*item.target.topic).into_iter().flatten();
            for stretch in stretches.filter(|stretch| stretch.partition == at.partition) {
                stretch.range.next = stretch.range.next.max(at.offset.next());
            }
        }
        self.outcome.too_large += placed.iter().filter(|at| at.is_none()).count() as u64;
        let mut placed = placed.into_iter();
        parcel.items.retain(|_| placed.next().is_none_or(|at| at.is_some()));
        Ok(())
    }

    /// Third step: says that they are published.
    pub fn finish(&mut self, parcel: &Parcel) -> Result<(), Error> {
        let mut letters = Ranges::default();
        parcel.items.iter().for_each(|item| letters.insert(item.letter.position.offset));
        let at = self.scribe.mark(&parcel.source, &Marker::Done { begun: parcel.marker.0, letters })?;
        if let Some(seen) = self.seen.get_mut(&parcel.source).filter(|seen| **seen == at) {
            *seen = at.next();
        }
        Ok(())
    }

    /// Finds out how far replays came that were cut off, and says so; gives the letters that they published.
    pub fn settle(&mut self) -> Result<BTreeMap<TopicPartition, Ranges>, Error> {
        let mut settled: BTreeMap<TopicPartition, Ranges> = BTreeMap::new();
        for topic in &self.library.topics {
            for (partition, ledger) in &topic.ledgers {
                let source = topic.source(*partition);
                for (marker, begun) in ledger.open() {
                    self.wait_for(begun)?;
                    let letters =
                        settle::published(&self.library.kafka, &source, begun, &self.library.watch.cancel)?;
                    tracing::info!(partition = %source, begun = begun.letters.len(), published = letters.len(), "settled a replay that was cut off");
                    self.outcome.found += letters.len();
                    settled.entry(source.clone()).or_default().extend(&letters);
                    self.scribe.mark(&source, &Marker::Done { begun: marker.0, letters })?;
                }
            }
        }
        Ok(settled)
    }

    /// Waits until nothing of a replay that was cut off can arrive any more.
    fn wait_for(&self, begun: &Begun) -> Result<(), Error> {
        let age = u64::try_from(now_ms().saturating_sub(begun.at_ms)).unwrap_or(0);
        let left = self.options.settle.saturating_sub(Duration::from_millis(age));
        if !left.is_zero() {
            tracing::info!(
                seconds = left.as_secs_f64(),
                "waiting for a replay that has not ended, or was cut off"
            );
        }
        self.pause(left);
        self.stop_if_cancelled()
    }

    fn stop_if_cancelled(&self) -> Result<(), Error> {
        match self.library.watch.cancel.is_cancelled() {
            true => Err(kafka::Error::Cancelled { topic: "the dead-letter topic".to_owned() }.into()),
            false => Ok(()),
        }
    }

    /// The letters of a partition that markers of others name which came before ours.
    fn look_for_others(&mut self, source: &TopicPartition, ours: Offset) -> Result<&Ranges, Error> {
        let taken = self.taken.entry(source.clone()).or_default();
        let seen = self.seen.insert(source.clone(), ours.next()).unwrap_or(ours);
        if seen < ours {
            let stretch =
                Stretch { partition: source.partition, range: OffsetRange { first: seen, next: ours } };
            let Watch { cancel, .. } = self.library.watch.clone();
            let mut scan = Scan::start(&self.library.kafka, &source.topic, &[stretch], cancel)?;
            while let Some(message) = scan.next_record()? {
                if let Some(marker) = marker_of(&message) {
                    taken.extend(marker.letters());
                }
            }
        }
        Ok(taken)
    }

    /// Where a letter goes, and where that ends: its own partition, or where there are fewer, always the same
    /// one in its place.
    fn target(&mut self, letter: &Letter) -> Result<(TopicPartition, Offset), Error> {
        let origin =
            letter.origin.as_ref().ok_or_else(|| Error::NotALetter { position: letter.position.clone() })?;
        let topic = self.options.to.as_deref().unwrap_or(&origin.source.topic);
        if !self.targets.contains_key(topic) {
            let extent = scan::extent(&self.library.kafka, topic, Purpose::Source)?;
            self.targets.insert(topic.to_owned(), extent);
        }
        let stretches = self.targets.get(topic).map(Vec::as_slice).unwrap_or_default();
        let wanted = origin.source.partition;
        let count = stretches.len().max(1);
        let stand_in = || stretches.get(usize::try_from(wanted.0).unwrap_or(0) % count);
        let stretch = stretches.iter().find(|stretch| stretch.partition == wanted).or_else(stand_in);
        let stretch = stretch.ok_or_else(|| kafka::Error::MissingTopic { topic: topic.to_owned() })?;
        Ok((scan::source(topic, stretch), stretch.range.next))
    }

    /// The letter with its whole record; `None` where it cannot be replayed, which is counted.
    fn whole(&mut self, mut letter: Letter) -> Result<Option<Letter>, Error> {
        let Some(origin) = &letter.origin else {
            self.outcome.without_origin += 1;
            return Ok(None);
        };
        if letter.is_whole() {
            return Ok(Some(letter));
        }
        match admin::refetch(&self.library.kafka, origin, REFETCH_TIMEOUT) {
            Ok(OwnedRecord { key, payload, headers, .. }) => {
                envelope::restore(&mut letter.headers, headers);
                Ok(Some(Letter { key, payload, ..letter }))
            }
            Err(kafka::Error::Gone { .. }) => {
                self.outcome.without_record += 1;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn keep_pace(&self) {
        let due = self.outcome.sent as f64 / f64::from(self.options.records_per_second.max(1));
        self.pause(Duration::from_secs_f64(due).saturating_sub(self.started.elapsed()));
    }

    /// Waits, unless it is cancelled.
    fn pause(&self, span: Duration) {
        let cancelled = self.library.watch.cancel.cancelled();
        // Either end will do: whoever goes on looks at the token.
        let _ = self.scribe.runtime.block_on(async { tokio::time::timeout(span, cancelled).await });
    }
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
