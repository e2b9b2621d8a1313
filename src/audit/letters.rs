//! Which offsets of the audited topics are at rest as dead letters.
//!
//! Refuses to judge them and to keep more of them than their offsets: a run of neighbours costs sixteen bytes.
//! Letters of other groups are theirs and do not count.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use super::offsets::Offsets;
use crate::dead_letter::envelope::{header_text, origin};
use crate::kafka::admin::Purpose;
use crate::kafka::{self, Scan, scan};
use crate::record::{Offset, TopicPartition};

#[derive(Debug, Default)]
pub struct Letters {
    sources: BTreeMap<TopicPartition, Offsets>,
    /// Dead-letter topics that were read, and whether they still have every letter.
    topics: BTreeMap<String, bool>,
}

impl Letters {
    /// Reads dead-letter topics through, each once. Blocks.
    pub fn read(config: &kafka::Config, topics: &BTreeSet<String>) -> Result<Letters, kafka::Error> {
        let mut all = Letters::default();
        for topic in topics {
            let extent = scan::extent(config, topic, Purpose::DeadLetters)?;
            let is_whole = extent.iter().all(|stretch| stretch.range.first == Offset(0));
            let mut scan = Scan::start(config, topic, &extent, CancellationToken::new())?;
            while let Some(message) = scan.next_record()? {
                let record = message.to_owned();
                if header_text(&record.headers, "group") == Some(&config.group)
                    && let Some(position) = origin(&record.headers)
                {
                    all.sources.entry(position.source).or_default().insert(position.offset);
                }
            }
            all.topics.insert(topic.clone(), is_whole);
        }
        all.sources.values_mut().for_each(Offsets::seal);
        Ok(all)
    }

    /// The dead-lettered offsets of a partition.
    pub fn of(&self, source: &TopicPartition) -> Offsets {
        self.sources.get(source).cloned().unwrap_or_default()
    }

    /// Whether the dead-letter topic still has every letter that was ever published to it, as far as its first
    /// offset tells.
    pub fn is_whole(&self, topic: &str) -> bool {
        self.topics.get(topic).copied().unwrap_or(false)
    }
}
