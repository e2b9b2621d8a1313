//! Removes dead letters: deletes what can be deleted, marks the rest as purged.
//!
//! Refuses to delete a letter that is still wanted. Kafka deletes only from a partition's begin, so what goes
//! is the longest run there of letters that are meant, were replayed or were purged before. Others that are
//! meant are marked, and no reader shows them again. Blocks.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::Error;
use super::letter::Filter;
use super::library::Library;
use super::marker::{Marker, State};
use super::ranges::Ranges;
use super::scribe::Scribe;
use crate::kafka;
use crate::record::{Offset, Partition, TopicPartition};

/// Ranges within one marker.
const MARKER_RANGES_MAX: usize = 1000;

/// What a purge does to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub source: TopicPartition,
    /// Everything below is deleted.
    pub delete_before: Option<Offset>,
    /// Letters below that are meant.
    pub deleted: u64,
    /// Letters below that were replayed or purged already.
    pub deleted_settled: u64,
    /// Letters above that are meant: they are marked.
    pub marked: Ranges,
}

/// Looks what a purge of these letters would do.
pub fn plan(library: &Library, filter: &Filter) -> Result<Vec<Part>, Error> {
    let mut parts: BTreeMap<TopicPartition, Part> = BTreeMap::new();
    for topic in &library.topics {
        for stretch in &topic.extent {
            let source = topic.source(stretch.partition);
            // Until a letter is found that has to stay, everything goes.
            let part = Part {
                source: source.clone(),
                delete_before: Some(stretch.range.next),
                deleted: 0,
                deleted_settled: 0,
                marked: Ranges::default(),
            };
            parts.insert(source, part);
        }
    }
    let mut kept: Vec<TopicPartition> = Vec::new();
    library.walk(|topic, (partition, offset): (Partition, Offset), entry| {
        let Some(letter) = entry else { return Ok(ControlFlow::Continue(())) };
        let source = topic.source(partition);
        let Some(part) = parts.get_mut(&source) else { return Ok(ControlFlow::Continue(())) };
        let is_meant = filter.matches(&letter);
        if !kept.contains(&source) {
            if is_meant {
                part.deleted += 1;
            } else if letter.state != State::Waiting {
                part.deleted_settled += 1;
            } else {
                part.delete_before = Some(offset);
                kept.push(source);
            }
        } else if is_meant && letter.state != State::Purged {
            part.marked.insert(offset);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(parts.into_values().map(Part::without_nothing).filter(|part| !part.is_empty()).collect())
}

impl Part {
    fn is_empty(&self) -> bool {
        self.delete_before.is_none() && self.marked.is_empty()
    }

    /// Markers alone are not worth a deletion.
    fn without_nothing(self) -> Part {
        let any = 0 < self.deleted + self.deleted_settled;
        Part { delete_before: self.delete_before.filter(|_| any), ..self }
    }
}

/// Does it: marks first, so that a refused deletion leaves nothing half done that the plan did not say.
pub fn carry_out(library: &Library, scribe: &Scribe, parts: &[Part]) -> Result<(), Error> {
    for part in parts {
        for letters in part.marked.parts(MARKER_RANGES_MAX) {
            scribe.mark(&part.source, &Marker::Purged { letters })?;
        }
    }
    for part in parts {
        if let Some(before) = part.delete_before {
            let deletion = kafka::admin::delete_before(&library.kafka, &part.source, before);
            scribe.runtime.block_on(deletion)?;
        }
    }
    Ok(())
}
