//! The audit of a partition: its records are read again and decoded, and the table is asked what it has of them.
//!
//! Refuses to hold more than one chunk of offsets: it goes through them in order, and where the sums of a chunk
//! agree nothing else is asked. Blocks: async code calls it from a blocking thread of a runtime.

use std::collections::BTreeMap;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::ledger::{Chunk, Hour, Kind, Rules, Verdicts, hour_of, judge, judge_deleted};
use super::offsets::{Offsets, Sums};
use super::report::Partial;
use super::{Error, Lookup};
use crate::clickhouse::Client;
use crate::columns::Columns;
use crate::dead_letter::envelope;
use crate::decode::{Decoder, Verdict};
use crate::kafka::admin::Purpose;
use crate::kafka::scan::{self, Stretch};
use crate::kafka::{self, Message, Scan};
use crate::record::{Offset, OffsetRange, TopicPartition};

/// Offsets accounted for at a time: a few MiB.
const CHUNK_OFFSETS: i64 = 100_000;
/// Offsets of which the table is asked the sums in one question. A table that is not sorted by partition and offset
/// is scanned once for each.
const WINDOW_OFFSETS: i64 = 50 * CHUNK_OFFSETS;
/// How often a partition is begun anew because retention deleted records that were being read.
const ROUNDS_MAX: usize = 3;

/// What one partition is audited by.
#[derive(Clone, Debug)]
pub struct Target {
    pub source: TopicPartition,
    /// The offsets to account for; all of them committed.
    pub range: OffsetRange,
    /// First offset that the broker still has.
    pub log_start: Offset,
    pub rules: Rules,
}

/// What all partitions of a table are audited with.
pub struct Auditor<'a> {
    pub kafka: &'a kafka::Config,
    pub client: &'a Client,
    pub runtime: Handle,
    pub decoder: Decoder,
    pub lookup: Lookup,
    /// Compare the offsets themselves, whatever the sums say.
    pub deep: bool,
    /// Called with the number of offsets accounted for since the last call.
    pub progress: &'a dyn Fn(u64),
}

/// The chunk in hand, and what goes on from chunk to chunk.
struct Pass<'p> {
    target: &'p Target,
    letters: &'p Offsets,
    /// What is accounted for ends here.
    end: Offset,
    chunk: Chunk,
    hour: Hour,
    /// Sums of the chunks of the current window, by the chunks' first offsets.
    sums: BTreeMap<i64, Sums>,
    sums_until: Offset,
    partial: Partial,
}

impl Auditor<'_> {
    /// Accounts for the partition's range. Blocks.
    pub fn audit(&mut self, target: &Target, letters: &Offsets) -> Result<Partial, Error> {
        let mut target = target.clone();
        let mut rounds = 1;
        loop {
            let partial = self.round(&target, letters)?;
            let log_start = self.log_start(&target.source)?;
            let was_read = target.log_start.max(target.range.first) < log_start;
            if !was_read || ROUNDS_MAX <= rounds || target.range.next <= target.log_start {
                return Ok(partial);
            }
            tracing::info!(source = %target.source, %log_start, "retention deleted records that were read, once more");
            target.log_start = log_start;
            rounds += 1;
        }
    }

    fn log_start(&self, source: &TopicPartition) -> Result<Offset, Error> {
        let extent = scan::extent(self.kafka, &source.topic, Purpose::Source)?;
        let own = extent.iter().find(|stretch| stretch.partition == source.partition);
        Ok(own.map_or(Offset(0), |stretch| stretch.range.first))
    }

    fn round(&mut self, target: &Target, letters: &Offsets) -> Result<Partial, Error> {
        let OffsetRange { first, next } = target.range;
        let start = target.log_start.clamp(first, next);
        let mut pass = Pass {
            target,
            letters,
            end: next,
            chunk: chunk_from(start, next),
            hour: None,
            sums: BTreeMap::new(),
            sums_until: start,
            partial: Partial::default(),
        };
        self.deleted(&mut pass, OffsetRange { first, next: start })?;
        let stretch =
            Stretch { partition: target.source.partition, range: OffsetRange { first: start, next } };
        let mut scan = Scan::start(self.kafka, &target.source.topic, &[stretch], CancellationToken::new())?;
        let mut columns = self.decoder.columns();
        while let Some(message) = scan.next_record()? {
            let record = message.record();
            while pass.chunk.ends_before(record.offset) {
                self.close(&mut pass)?;
            }
            let kind = self.kind(&message, &mut columns);
            pass.chunk.put(record.offset, kind, hour_of(record.timestamp_ms));
        }
        while pass.chunk.range().first < next {
            self.close(&mut pass)?;
        }
        Ok(pass.partial)
    }

    /// What the table file of today makes of a record.
    fn kind(&mut self, message: &Message<'_>, columns: &mut Columns) -> Kind {
        let record = message.record();
        // Only what has no timestamp is measured from now.
        let now_ms = record.timestamp_ms.unwrap_or_else(|| chrono::Utc::now().timestamp_millis());
        match self.decoder.decode(&record, now_ms, columns) {
            Verdict::Decoded => {
                let is_of_the_erased =
                    self.decoder.takes_back(columns, || envelope::published_ms(&message.to_owned()));
                columns.truncate(0);
                if is_of_the_erased { Kind::Filtered } else { Kind::Row }
            }
            Verdict::Filtered => Kind::Filtered,
            Verdict::Rejected(_) => Kind::Rejected,
        }
    }

    /// Accounts for what lies below the start of the log.
    fn deleted(&self, pass: &mut Pass<'_>, range: OffsetRange) -> Result<(), Error> {
        let mut first = range.first;
        while first < range.next {
            let next = Offset(first.0.saturating_add(WINDOW_OFFSETS)).min(range.next);
            let window = OffsetRange { first, next };
            let question = self.lookup.chunks(self.client, (&pass.target.source, window), WINDOW_OFFSETS);
            let sums = self.runtime.block_on(question)?.first().map(|(_, sums)| *sums).unwrap_or_default();
            pass.partial.add_untimed(&judge_deleted(window, pass.letters, &sums));
            (self.progress)(next.0.abs_diff(first.0));
            first = next;
        }
        Ok(())
    }

    /// Compares the chunk in hand with the table and begins the next one.
    fn close(&self, pass: &mut Pass<'_>) -> Result<(), Error> {
        pass.hour = pass.chunk.finish(pass.hour);
        let range = pass.chunk.range();
        if pass.sums_until <= range.first {
            self.ask_window(pass, range.first)?;
        }
        let sums = pass.sums.remove(&range.first.0).unwrap_or_default();
        let verdicts = if !self.deep && sums == pass.chunk.expected(pass.letters) {
            judge(&pass.chunk, pass.letters, pass.target.rules, None)
        } else {
            self.compare(pass, range)?
        };
        pass.partial.add(verdicts);
        (self.progress)(range.next.0.abs_diff(range.first.0));
        pass.chunk = chunk_from(range.next, pass.end);
        Ok(())
    }

    fn ask_window(&self, pass: &mut Pass<'_>, first: Offset) -> Result<(), Error> {
        let next = Offset(first.0.saturating_add(WINDOW_OFFSETS)).min(pass.end);
        let window = OffsetRange { first, next };
        let question = self.lookup.chunks(self.client, (&pass.target.source, window), CHUNK_OFFSETS);
        let sums = self.runtime.block_on(question)?;
        pass.sums = sums.into_iter().map(|(n, sums)| (first.0 + n * CHUNK_OFFSETS, sums)).collect();
        pass.sums_until = next;
        Ok(())
    }

    /// Offset by offset.
    fn compare(&self, pass: &Pass<'_>, range: OffsetRange) -> Result<Verdicts, Error> {
        let question = self.lookup.offsets(self.client, (&pass.target.source, range));
        let found = self.runtime.block_on(question)?;
        Ok(judge(&pass.chunk, pass.letters, pass.target.rules, Some(&found)))
    }
}

fn chunk_from(first: Offset, end: Offset) -> Chunk {
    let next = Offset(first.0.saturating_add(CHUNK_OFFSETS)).min(end).max(first);
    Chunk::new(OffsetRange { first, next })
}
