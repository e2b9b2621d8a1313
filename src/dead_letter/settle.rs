//! Finds out how far a replay came that was cut off.
//!
//! Refuses to guess: a letter was published if its target holds a record that names it, at or after the offset
//! where the target ended before.

use tokio_util::sync::CancellationToken;

use super::Error;
use super::envelope::REPLAY_OF;
use super::marker::Begun;
use super::ranges::Ranges;
use crate::kafka;
use crate::kafka::admin::Purpose;
use crate::kafka::scan::{self, Scan};
use crate::record::{Offset, Partition, Position, TopicPartition};

/// Which letters of the dead-letter partition `source` the targets hold.
pub fn published(
    kafka: &kafka::Config,
    source: &TopicPartition,
    begun: &Begun,
    cancel: &CancellationToken,
) -> Result<Ranges, Error> {
    let mut found = Ranges::default();
    for target in &begun.targets {
        let extent = match scan::extent(kafka, &target.topic, Purpose::Source) {
            // What was published there is gone with it.
            Err(kafka::Error::MissingTopic { .. }) => continue,
            other => other?,
        };
        let Some(stretch) = scan::from(&extent, Partition(target.partition), Offset(target.end)) else {
            continue;
        };
        let mut scan = Scan::start(kafka, &target.topic, &[stretch], cancel.clone())?;
        while let Some(message) = scan.next_record()? {
            let of = message.header(REPLAY_OF).and_then(|value| std::str::from_utf8(value).ok());
            let of: Option<Position> = of.and_then(|text| text.parse().ok());
            if let Some(of) = of.filter(|of| of.source == *source && begun.letters.contains(of.offset)) {
                found.insert(of.offset);
            }
        }
    }
    Ok(found)
}
