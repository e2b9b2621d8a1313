//! What changes while the line runs: limits of speed, sizes of batches, the ceiling of dead letters, table files.
//!
//! Refuses to read files and to judge them: what comes here was checked. It is applied between two turns of each
//! member, which keeps its partitions and offsets. A table's new rules begin with an empty batch: the open ones are
//! closed first, with `exactly_once` only where they may end, so that no batch goes by two rules.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::config::Limits;
use super::orders::Orders;
use super::pressure::Valve;
use super::seal::Batch;
use super::target::fingerprint;
use super::worker::Worker;
use super::{Error, Line};
use crate::batch::{self, Slot, Trigger};
use crate::dead_letter::config::Ceiling;
use crate::decode::{self, Decoder};
use crate::schema::Table;

/// Everything that can be changed, as it is to be from now on.
#[derive(Clone, Debug)]
pub struct Update {
    pub limits: Limits,
    pub batch: batch::Config,
    pub ceiling: Ceiling,
    pub decode: decode::Config,
    /// The tables that the line began with, in their order; one that has not changed is the same `Arc`.
    pub tables: Vec<Arc<Table>>,
}

/// Hands updates to a line that runs; a later one stands for those before it.
#[derive(Clone, Debug)]
pub struct Control {
    updates: watch::Sender<Arc<Update>>,
    valves: Vec<Arc<Valve>>,
    orders: Arc<Orders>,
}

/// Where one member stands.
#[derive(Debug)]
pub struct Updates {
    receiver: watch::Receiver<Arc<Update>>,
    /// What was applied last, but for decoders that still wait; nothing at first.
    applied: Option<Arc<Update>>,
}

/// A decoder that waits for the open batches to be closed.
#[derive(Debug)]
pub struct Renewal {
    pub decoder: Decoder,
    pub fingerprint: u32,
}

impl Control {
    pub fn new(first: Update, valves: Vec<Arc<Valve>>) -> Control {
        Control { updates: watch::Sender::new(Arc::new(first)), valves, orders: Arc::default() }
    }

    /// What operators ask of the members.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Every member takes it over at its next turn.
    pub fn apply(&self, update: Update) {
        self.valves.iter().for_each(|valve| valve.set_config(&update.batch));
        self.updates.send_replace(Arc::new(update));
    }

    /// For one member, whose first turn applies what holds then.
    pub fn subscribe(&self) -> Updates {
        let mut receiver = self.updates.subscribe();
        receiver.mark_changed();
        Updates { receiver, applied: None }
    }
}

impl Limits {
    /// Records per second of one member's share of a table, by the narrowest limit.
    fn of(&self, table: &Table, members: u16) -> Option<u32> {
        let topics = table.topics.iter().filter_map(|topic| self.topics.get(topic));
        let rates = topics.chain(self.tables.get(&table.name)).map(|rate| rate.records_per_second);
        rates.min().map(|rate| (rate / u32::from(members.max(1))).max(1))
    }

    fn slowest(&self) -> Option<u32> {
        self.topics.values().chain(self.tables.values()).map(|rate| rate.records_per_second).min()
    }
}

impl Worker {
    /// Takes over what has changed.
    pub(super) fn update(&mut self, now: Instant) -> Result<(), Error> {
        // A sender that is gone changes nothing any more.
        if self.updates.receiver.has_changed().unwrap_or(false) {
            let update = Arc::clone(&self.updates.receiver.borrow_and_update());
            self.regulator.pace(update.limits.slowest());
            self.ceilings.configure(&update.ceiling);
            let kafka = &self.flusher.kafka;
            for (lane, table) in self.line.lanes.iter_mut().zip(&update.tables) {
                lane.limit(update.limits.of(table, kafka.consumers), now);
                let before = self.updates.applied.as_ref();
                let is_new = before.is_some_and(|before| {
                    let same = before.tables.get(lane.index).is_some_and(|old| Arc::ptr_eq(old, table));
                    !same || before.decode != update.decode
                });
                if is_new {
                    let decoder = Decoder::new(Arc::clone(table), &update.decode)
                        .map_err(|source| Error::Decode { table: table.name.clone(), source })?;
                    lane.renewal = Some(Renewal { decoder, fingerprint: fingerprint(table, kafka) });
                }
            }
            self.updates.applied = Some(update);
        }
        self.line.renew(now)
    }
}

impl Line {
    /// Lets lanes begin with their new decoders as soon as all of their open batches may be closed.
    pub(super) fn renew(&mut self, now: Instant) -> Result<(), Error> {
        for index in 0..self.lanes.len() {
            if self.lanes.get(index).is_some_and(|lane| lane.renewal.is_some()) {
                self.renew_lane(index, now)?;
            }
        }
        Ok(())
    }

    fn renew_lane(&mut self, index: usize, now: Instant) -> Result<(), Error> {
        let read = self.read_stretches(index);
        let may_cut = |slot: &Slot| {
            self.partitions.get(*slot).and_then(|owned| owned.plan.as_ref()).is_some_and(|p| p.may_cut())
        };
        // All at once or none, or the others would be cut again at every turn.
        if !read.iter().all(may_cut) {
            return Ok(());
        }
        if self.is_exact {
            for slot in read {
                self.seal(Batch::Of(slot), Trigger::Reload, now)?;
            }
        } else {
            self.seal(Batch::Shared(index), Trigger::Reload, now)?;
        }
        if !self.read_stretches(index).is_empty() {
            return Ok(());
        }
        let Some(fingerprint) = self.lanes.get_mut(index).and_then(|lane| lane.renew()) else {
            return Ok(());
        };
        for owned in self.partitions.iter_mut().filter(|owned| owned.lane == index) {
            if let Some(planning) = &mut owned.plan {
                planning.plan.set_fingerprint(fingerprint);
            }
        }
        Ok(())
    }

    /// Partitions of a lane of which something was read that is not planned yet. What is open of a halted one is
    /// never sent.
    fn read_stretches(&self, lane: usize) -> Vec<Slot> {
        let all = self.partitions.slots().filter(|(_, owned)| owned.lane == lane && owned.halted.is_none());
        let read = all.filter(|(_, owned)| owned.plan.as_ref().is_some_and(|planning| planning.has_read()));
        read.map(|(slot, _)| slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Rate;
    use super::*;

    #[test]
    fn the_narrowest_limit_holds_and_members_share_it() {
        let text = "table: t\ntopics: [a, b]\ncolumns: [{name: n, type: UInt8}]\norder_by: []\n";
        let table = crate::schema::parse_table(text, std::path::Path::new("t.yaml")).unwrap();
        let rate = |records_per_second| Rate { records_per_second };
        let mut limits = Limits::default();
        assert_eq!((limits.of(&table, 2), limits.slowest()), (None, None));
        limits.topics.insert("other".to_owned(), rate(1));
        limits.topics.insert("b".to_owned(), rate(100));
        limits.tables.insert("t".to_owned(), rate(50));
        assert_eq!((limits.of(&table, 2), limits.slowest()), (Some(25), Some(1)));
        limits.tables.insert("t".to_owned(), rate(1));
        assert_eq!(limits.of(&table, 4), Some(1), "never nothing");
    }
}
