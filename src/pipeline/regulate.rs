//! When reading stops and when it goes on: backpressure as pauses instead of growth.
//!
//! Refuses to hold records back anywhere else. A short stop just does not poll, since pausing makes the
//! client throw away what it has fetched; a longer one pauses the partitions and polls on, so that the
//! membership stays alive (invariants I4, I5, I7).

use std::time::{Duration, Instant};

use super::lane::Lane;
use super::partitions::Owned;
use super::worker::Worker;
use super::{Error, Line};
use crate::batch::Slot;
use crate::record::TopicPartition;

/// How long a stop may be sat out before the partitions are paused.
const HOLD_MAX: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub struct Regulator {
    /// Lanes for which reading is stopped, by index.
    blocked: Vec<bool>,
    /// The budget or the dead letters stop all lanes.
    all_blocked: bool,
    /// The one partition that is read although all are stopped.
    exempt: Option<Slot>,
    /// Since when reading has been stopped for partitions that are not paused.
    held_since: Option<Instant>,
    /// Fewest records that the limits of speed allow in a tenth of a second.
    paced_turn: Option<usize>,
}

impl Regulator {
    pub fn new(lanes: usize) -> Regulator {
        Regulator {
            blocked: vec![false; lanes],
            all_blocked: false,
            exempt: None,
            held_since: None,
            paced_turn: None,
        }
    }

    /// Takes over the lowest limit of speed.
    pub fn pace(&mut self, records_per_second_min: Option<u32>) {
        self.paced_turn = records_per_second_min.map(|n| (n as usize / 10).max(1));
    }

    /// Whether this turn takes nothing in: reading is stopped and the partitions are not paused.
    pub fn holds(&self) -> bool {
        self.held_since.is_some()
    }

    /// Whether reading is stopped for a table.
    pub fn stops_any(&self) -> bool {
        self.all_blocked || self.blocked.contains(&true)
    }

    /// Whether this partition is not to be read.
    fn stops(&self, slot: Slot, lane: usize) -> bool {
        self.exempt != Some(slot) && self.blocked.get(lane).copied().unwrap_or(false)
    }

    /// Records to take in per turn: fewer where a limit of speed makes bursts unwelcome.
    pub fn turn_records(&self, most: usize) -> usize {
        self.paced_turn.map_or(most, |n| n.min(most))
    }
}

impl Line {
    /// Whether nothing may be taken in for any lane. Going on needs a fifth of the budget free again.
    fn is_full(&self, was: bool, letters_have_room: bool) -> bool {
        let memory = if was { !self.budget.has_recovered() } else { self.budget.is_full() };
        memory || (!letters_have_room && !self.letters.is_empty())
    }

    /// A partition to read on when the memory is full of batches that cannot be closed before their last owner's
    /// end of them, and so would hold it for ever. One at a time goes over the budget by at most its batch.
    pub(super) fn stuck(&self) -> Option<Slot> {
        if !self.is_exact || !self.letters.is_empty() || !self.lanes.iter().all(Lane::is_idle) {
            return None;
        }
        let replaying = |(_, owned): &(Slot, &Owned)| {
            owned.plan.as_ref().is_some_and(|planning| planning.boundary().is_some())
        };
        self.partitions.slots().filter(replaying).map(|(slot, _)| slot).min()
    }
}

impl Worker {
    /// Looks at what is held and stops or resumes reading. Waits a little for an answer when reading is
    /// stopped but not yet paused.
    pub fn regulate(&mut self, now: Instant) -> Result<(), Error> {
        if self.stopping.is_some() {
            // A hold that was on when the end began would keep the member from polling until its deadline.
            self.regulator.held_since = None;
            return Ok(());
        }
        let full = self.line.is_full(self.regulator.all_blocked, self.flusher.letters.has_room());
        self.regulator.all_blocked = full;
        if full && self.line.budget.is_full() {
            // What is open would hold the budget until its age; sent, it frees it.
            self.line.seal_largest(now)?;
            self.send_batches(now);
        }
        self.ceilings.look(&mut self.line.partitions, now);
        for (lane, blocked) in self.line.lanes.iter_mut().zip(&mut self.regulator.blocked) {
            lane.spend(now);
            *blocked = full || lane.is_blocked(*blocked, now);
        }
        // A partition that has as much open as a commit can list waits for the oldest of it.
        for owned in self.line.partitions.iter().filter(|owned| !owned.has_room()) {
            if let Some(blocked) = self.regulator.blocked.get_mut(owned.lane) {
                *blocked = true;
            }
        }
        self.regulator.exempt = if full { self.line.stuck() } else { None };
        self.resume_unblocked(now)?;
        if !self.has_blocked_unpaused() {
            self.regulator.held_since = None;
            return Ok(());
        }
        let since = *self.regulator.held_since.get_or_insert(now);
        if now.saturating_duration_since(since) < HOLD_MAX && self.revocation.is_none() {
            return self.hold(now);
        }
        self.pause_blocked(now)
    }

    /// Waits for the next answer instead of polling.
    fn hold(&mut self, now: Instant) -> Result<(), Error> {
        let answers = &mut self.answers;
        let begun = Instant::now();
        // The timer needs the runtime around it when it is made, hence the block.
        let answer =
            self.runtime.block_on(async { tokio::time::timeout(HOLD_MAX / 10, answers.recv()).await });
        self.stages.held(begun.elapsed());
        match answer {
            Ok(Some(answer)) => self.settle(answer, now),
            _ => Ok(()),
        }
    }

    fn has_blocked_unpaused(&self) -> bool {
        let mut slots = self.line.partitions.slots();
        slots.any(|(slot, o)| {
            o.paused.is_none() && !o.closing && (o.has_to_wait() || self.regulator.stops(slot, o.lane))
        })
    }

    fn pause_blocked(&mut self, now: Instant) -> Result<(), Error> {
        self.regulator.held_since = None;
        let all = self.switch(true, now);
        if !all.is_empty() {
            tracing::info!(partitions = all.len(), "reading paused");
            self.consumer.pause(&all)?;
        }
        Ok(())
    }

    fn resume_unblocked(&mut self, now: Instant) -> Result<(), Error> {
        let all = self.switch(false, now);
        if !all.is_empty() {
            tracing::info!(partitions = all.len(), "reading resumed");
            self.consumer.resume(&all)?;
        }
        Ok(())
    }

    /// Marks the partitions whose pause has to change, and gives them.
    fn switch(&mut self, pause: bool, now: Instant) -> Vec<TopicPartition> {
        let mut all = Vec::new();
        for (slot, owned) in self.line.partitions.slots_mut() {
            let wanted = owned.has_to_wait() || self.regulator.stops(slot, owned.lane);
            if !owned.closing && wanted == pause && owned.paused.is_some() != pause {
                if pause {
                    owned.paused = Some(now)
                } else {
                    owned.fetch_again()
                }
                all.push(owned.source.clone());
            }
        }
        all
    }
}
