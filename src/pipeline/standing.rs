//! Where partitions end of which nothing is fetched: brokers are asked, for lag and its alerts.
//!
//! Refuses to ask for what was paused just now, since fetching tells it for nothing once that goes on, and to ask twice
//! at a time. Each question has a number of partitions and a time that it does not exceed (I5), and is asked beside the
//! polling thread (I7).

use std::time::{Duration, Instant};

use super::partitions::{Owned, Partitions};
use super::worker::{Answer, Worker};
use crate::batch::Slot;
use crate::kafka;
use crate::record::TopicPartition;

const EVERY: Duration = Duration::from_secs(2);
/// A shorter pause costs no request.
const PAUSED_MIN: Duration = Duration::from_secs(2);
/// For the committed offsets, and as long again for the ends.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Partitions that are asked for at a time; of more, those that were not told for longest.
const PARTITIONS_MAX: usize = 1000;

/// What a member has asked.
#[derive(Debug, Default)]
pub struct Asked {
    at: Option<Instant>,
    /// The brokers have not answered yet.
    is_waiting: bool,
}

impl Owned {
    /// Whether the brokers have to be asked where it ends. What an operator holds back may never have been fetched.
    fn is_unfetched(&self, now: Instant) -> bool {
        let for_long = self.paused.is_some_and(|since| PAUSED_MIN <= now.saturating_duration_since(since));
        !self.closing && (self.is_held || for_long)
    }
}

/// What the brokers are to be asked for, at most so many.
fn unfetched(partitions: &Partitions, most: usize, now: Instant) -> Vec<(Slot, TopicPartition)> {
    let mut all: Vec<_> = partitions.slots().filter(|(_, owned)| owned.is_unfetched(now)).collect();
    all.sort_unstable_by_key(|(slot, owned)| (owned.told_at, slot.0));
    all.into_iter().take(most).map(|(slot, owned)| (slot, owned.source.clone())).collect()
}

impl Worker {
    /// Asks where those partitions end that are paused and stay so.
    pub(super) fn ask_where_paused_end(&mut self, now: Instant) {
        let is_due = self.asked.at.is_none_or(|at| EVERY <= now.saturating_duration_since(at));
        if !is_due || self.asked.is_waiting || self.stopping.is_some() {
            return;
        }
        self.asked.at = Some(now);
        let (slots, sources): (Vec<Slot>, Vec<TopicPartition>) =
            unfetched(&self.line.partitions, PARTITIONS_MAX, now).into_iter().unzip();
        if sources.is_empty() {
            return;
        }
        self.asked.is_waiting = true;
        let (committer, answer_to) = (self.consumer.committer(), self.answer_to.clone());
        self.runtime.spawn_blocking(move || {
            let found = committer.standing(&sources, ANSWER_MAX).unwrap_or_else(|error| {
                tracing::debug!(%error, "where paused partitions end is not known");
                Vec::new()
            });
            // Without a receiver the worker has ended.
            let _ = answer_to.blocking_send(Answer::Standing(slots.into_iter().zip(found).collect()));
        });
    }

    /// Takes over what the brokers said of partitions that are still paused.
    pub(super) fn paused_stand(&mut self, all: Vec<(Slot, kafka::Standing)>, now: Instant) {
        self.asked.is_waiting = false;
        let now_ms = self.flusher.faults.unix_ms();
        for (slot, (committed, end)) in all {
            if let Some(owned) = self.line.partitions.get_mut(slot).filter(|owned| owned.is_unfetched(now)) {
                owned.stands(committed, end, now_ms);
                owned.told_at = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Partition;

    #[test]
    fn those_are_asked_for_that_stay_paused_and_each_has_its_turn() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut all = Partitions::default();
        let mut add =
            |number| all.add(TopicPartition { topic: "t".into(), partition: Partition(number) }, 0, start);
        let slots = [0, 1, 2, 3].map(&mut add);
        for slot in slots {
            all.get_mut(slot).unwrap().paused = Some(start);
        }
        all.get_mut(slots[1]).unwrap().paused = None;
        all.get_mut(slots[3]).unwrap().closing = true;
        let asked = |all: &Partitions, most, now| -> Vec<Slot> {
            unfetched(all, most, now).into_iter().map(|(slot, _)| slot).collect()
        };
        assert_eq!(asked(&all, 9, at(1999)), []);
        all.get_mut(slots[1]).unwrap().is_held = true;
        assert_eq!(asked(&all, 9, at(1999)), [slots[1]], "it may never have been fetched");
        assert_eq!(asked(&all, 9, at(2000)), [slots[0], slots[1], slots[2]]);
        all.get_mut(slots[0]).unwrap().told_at = Some(at(2000));
        all.get_mut(slots[1]).unwrap().told_at = Some(at(4000));
        assert_eq!(asked(&all, 2, at(4000)), [slots[2], slots[0]], "who was not told for longest");
        all.get_mut(slots[0]).unwrap().fetch_again();
        assert_eq!(asked(&all, 9, at(4000)), [slots[2], slots[1]]);
    }
}
