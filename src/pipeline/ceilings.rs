//! The ceiling of dead letters of each topic that this member reads.
//!
//! Refuses to pause: it marks the partitions whose topic has to wait, and `regulate` does it.

use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;

use super::partitions::{Judged, Partitions};
use crate::dead_letter::ceiling::Ceiling;
use crate::dead_letter::config;
use crate::telemetry::health::{Health, Status};

#[derive(Debug)]
pub struct Ceilings {
    config: config::Ceiling,
    all: AHashMap<Arc<str>, Topic>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    ceiling: Ceiling,
    /// Since the last look. Those that ClickHouse refused were counted as records when they were taken in.
    judged: Judged,
    is_shut: bool,
}

impl Ceilings {
    pub fn new(config: &config::Ceiling, topics: impl Iterator<Item = Arc<str>>) -> Ceilings {
        let topic = |name: Arc<str>| {
            (
                Arc::clone(&name),
                Topic { name, ceiling: Ceiling::new(config), judged: Judged::default(), is_shut: false },
            )
        };
        Ceilings { config: config.clone(), all: topics.map(topic).collect() }
    }

    /// Judges by other settings from now on; a topic that waits is tried anew if they differ.
    pub fn configure(&mut self, config: &config::Ceiling) {
        if self.config != *config {
            self.config = config.clone();
            self.all.values_mut().for_each(|topic| topic.ceiling = Ceiling::new(config));
        }
    }

    /// Takes over what the partitions have counted, and marks those that have to wait.
    pub fn look(&mut self, partitions: &mut Partitions, now: Instant) {
        for owned in partitions.iter_mut().filter(|owned| 0 < owned.judged.records) {
            let judged = std::mem::take(&mut owned.judged);
            if let Some(topic) = self.all.get_mut(&owned.source.topic) {
                topic.judged.records += judged.records;
                topic.judged.refused += judged.refused;
            }
        }
        let mut any_shut = false;
        for topic in self.all.values_mut() {
            let Judged { records, refused } = std::mem::take(&mut topic.judged);
            let is_shut = topic.ceiling.record(records, refused, now);
            if is_shut && !topic.is_shut {
                tracing::error!(topic = %topic.name, "{}", topic.sentence(&self.config));
            }
            any_shut |= is_shut || topic.is_shut;
            topic.is_shut = is_shut;
        }
        if any_shut {
            for owned in partitions.iter_mut() {
                owned.is_capped = self.all.get(&owned.source.topic).is_some_and(|topic| topic.is_shut);
            }
        }
    }

    /// ClickHouse refused rows of a topic.
    pub fn refused(&mut self, topic: &str, rows: usize) {
        if let Some(topic) = self.all.get_mut(topic) {
            topic.judged.refused += rows as u64;
        }
    }

    /// Records to take in per turn: fewer while a topic is probed.
    pub fn turn_records(&self, most: usize) -> usize {
        let probes = self.all.values().filter_map(|topic| topic.ceiling.turn_records());
        probes.filter_map(|n| usize::try_from(n).ok()).fold(most, usize::min)
    }

    pub fn report(&self, health: &Health, member: usize) {
        for topic in self.all.values() {
            let status = match topic.ceiling.exceeded() {
                Some(_) => Status::Down(topic.sentence(&self.config)),
                None => Status::Ok,
            };
            health.set_component(&format!("dead letters of {}, consumer {member}", topic.name), status);
        }
    }
}

impl Topic {
    fn sentence(&self, config: &config::Ceiling) -> String {
        let (records, refused) = self.ceiling.exceeded().unwrap_or_default();
        let name = &self.name;
        format!(
            "the topic is paused, nothing is lost: {refused} of {records} records were refused within {}, more than \
             {} %; look at `penstock dlq groups --topic {name}` and correct the producer or the table file; a few \
             records are tried every {} and reading goes on once they are good (dead_letter.ceiling)",
            config.window, config.percent_max, config.window
        )
    }
}
