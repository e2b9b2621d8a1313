//! What operators ask of a line that runs: topics held back for a while, and open batches closed now.
//!
//! Refuses to know how they ask and whether they may, and to hold anything back for ever: each hold ends by its own
//! time. What is held is paused by `regulate` as for other reasons: polling goes on, and nothing is lost (I7).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, watch};

use super::Error;
use super::seal::Batch;
use super::worker::Worker;
use crate::batch::Trigger;
use crate::record::TopicPartition;
use crate::telemetry::health::Status;

/// Closings that a member may not have looked at yet; it looks at each turn.
const CLOSINGS_MAX: usize = 16;
/// Holds that were ended early are remembered until they would have ended, so many at most.
const ENDED_MAX: usize = 256;
/// A member turns many times a second.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Why a topic is not read, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The same each time that it is said again.
    pub id: String,
    pub by: String,
    pub reason: String,
    /// Its end as people are told it.
    pub until: String,
    pub ends: Instant,
}

/// By topic.
pub type Holds = BTreeMap<String, Hold>;

/// What became of a wish to hold a topic back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    New,
    /// It was said before.
    Known,
    /// It was ended early, and is not begun again.
    Over(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the line has not begun to read")]
    NotYet,
    #[error("no table reads topic `{0}` here")]
    NotOurs(String),
    #[error("{answered} of {members} consumers answered in time")]
    Slow { answered: usize, members: usize },
}

/// A wish to close what is open, of one topic or of all.
#[derive(Clone, Debug)]
struct Closing {
    topic: Option<String>,
    /// Has room for every member's answer.
    closed: mpsc::Sender<usize>,
}

/// A hold that ended early.
#[derive(Debug)]
struct Ended {
    id: String,
    why: String,
    until: Instant,
}

/// What is asked of all members of this process.
#[derive(Debug)]
pub struct Orders {
    /// Known once they are looked up.
    topics: OnceLock<BTreeSet<String>>,
    holds: watch::Sender<Arc<Holds>>,
    ended: Mutex<VecDeque<Ended>>,
    closings: broadcast::Sender<Closing>,
}

/// Where one member hears of it.
#[derive(Debug)]
pub struct Heard {
    holds: watch::Receiver<Arc<Holds>>,
    closings: broadcast::Receiver<Closing>,
    /// Topics that health was told of.
    told: BTreeSet<String>,
    any_held: bool,
}

impl Default for Orders {
    fn default() -> Self {
        Orders {
            topics: OnceLock::new(),
            holds: watch::Sender::default(),
            ended: Mutex::default(),
            closings: broadcast::Sender::new(CLOSINGS_MAX),
        }
    }
}

impl Orders {
    /// The topics that are read from now on.
    pub fn know(&self, topics: impl Iterator<Item = String>) {
        // The line begins once.
        let _ = self.topics.set(topics.collect());
    }

    pub fn subscribe(&self) -> Heard {
        let (holds, closings) = (self.holds.subscribe(), self.closings.subscribe());
        Heard { holds, closings, told: BTreeSet::new(), any_held: false }
    }

    fn check(&self, topic: &str) -> Result<(), Refused> {
        let topics = self.topics.get().ok_or(Refused::NotYet)?;
        if topics.contains(topic) { Ok(()) } else { Err(Refused::NotOurs(topic.to_owned())) }
    }

    /// Stops reading a topic until the hold ends. One that was said before has its end moved; another one of the same
    /// topic is replaced.
    ///
    /// # Errors
    /// A topic that is not read here.
    pub fn hold(&self, topic: &str, hold: Hold, now: Instant) -> Result<Held, Refused> {
        self.check(topic)?;
        let mut ended = self.ended.lock();
        ended.retain(|one| now < one.until);
        if let Some(one) = ended.iter().find(|one| one.id == hold.id) {
            return Ok(Held::Over(one.why.clone()));
        }
        let mut holds = Holds::clone(&self.holds.borrow());
        holds.retain(|_, hold| now < hold.ends);
        let before = holds.get(topic).map(|before| (before.id.clone(), before.ends));
        let is_known = before.as_ref().is_some_and(|(id, _)| *id == hold.id);
        if let Some((id, until)) = before.filter(|_| !is_known) {
            remember(&mut ended, Ended { id, why: format!("replaced by {}", hold.by), until });
        }
        if !is_known {
            tracing::warn!(topic, by = %hold.by, until = %hold.until, reason = %hold.reason, "paused by an operator");
        }
        holds.insert(topic.to_owned(), hold);
        self.holds.send_replace(Arc::new(holds));
        Ok(if is_known { Held::Known } else { Held::New })
    }

    /// Ends the hold of a topic, or that one alone which is named; says whether there was one.
    ///
    /// # Errors
    /// A topic that is not read here.
    pub fn release(&self, topic: &str, id: Option<&str>, by: &str, now: Instant) -> Result<bool, Refused> {
        self.check(topic)?;
        let mut ended = self.ended.lock();
        let mut holds = Holds::clone(&self.holds.borrow());
        let is_meant =
            holds.get(topic).is_some_and(|hold| now < hold.ends && id.is_none_or(|id| id == hold.id));
        if is_meant && let Some(Hold { id, ends, .. }) = holds.remove(topic) {
            remember(&mut ended, Ended { id, why: format!("resumed by {by}"), until: ends });
            self.holds.send_replace(Arc::new(holds));
            tracing::warn!(topic, by, "resumed by an operator");
        }
        Ok(is_meant)
    }

    /// Closes what is open, and says how many batches that were. With `exactly_once` what may not end yet stays open.
    ///
    /// # Errors
    /// A topic that is not read here, or members that do not answer in time; those close what they hold all the same.
    pub async fn close(&self, topic: Option<&str>) -> Result<usize, Refused> {
        match topic {
            Some(topic) => self.check(topic)?,
            None => drop(self.topics.get().ok_or(Refused::NotYet)?),
        }
        let members = self.closings.receiver_count();
        let (closed, mut answers) = mpsc::channel(members.max(1));
        let closing = Closing { topic: topic.map(str::to_owned), closed };
        // Without a member nobody answers.
        let _ = self.closings.send(closing);
        let (mut sum, mut answered) = (0, 0);
        let all = async {
            while let Some(closed) = answers.recv().await {
                (sum, answered) = (sum + closed, answered + 1);
            }
        };
        let in_time = tokio::time::timeout(CLOSE_MAX, all).await.is_ok();
        if in_time && members <= answered { Ok(sum) } else { Err(Refused::Slow { answered, members }) }
    }
}

fn remember(ended: &mut VecDeque<Ended>, one: Ended) {
    if ENDED_MAX <= ended.len() {
        ended.pop_front();
    }
    ended.push_back(one);
}

fn is_held(holds: &Holds, topic: &str, now: Instant) -> bool {
    holds.get(topic).is_some_and(|hold| now < hold.ends)
}

impl Worker {
    /// Closes what it was asked to close, and marks the partitions that are held back.
    pub(super) fn heed(&mut self, now: Instant) -> Result<(), Error> {
        loop {
            match self.orders.closings.try_recv() {
                Ok(Closing { topic, closed }) => {
                    let count = self.close_open(topic.as_deref(), now)?;
                    // Whoever asked may have stopped waiting.
                    let _ = closed.try_send(count);
                }
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        let holds = Arc::clone(&self.orders.holds.borrow());
        if !holds.is_empty() || self.orders.any_held {
            let mut any_held = false;
            for owned in self.line.partitions.iter_mut() {
                owned.is_held = is_held(&holds, &owned.source.topic, now);
                any_held |= owned.is_held;
            }
            self.orders.any_held = any_held;
        }
        Ok(())
    }

    /// What is assigned while its topic is held begins paused, so that nothing of it is read before it is looked at.
    pub(super) fn begin_held(&mut self, assigned: &[TopicPartition], now: Instant) -> Result<(), Error> {
        let holds = Arc::clone(&self.orders.holds.borrow());
        let mut held = Vec::new();
        for source in assigned.iter().filter(|source| is_held(&holds, &source.topic, now)) {
            if let Some(owned) = self.line.partitions.by_source(source).filter(|owned| !owned.closing) {
                (owned.is_held, owned.paused) = (true, Some(now));
                self.orders.any_held = true;
                held.push(source.clone());
            }
        }
        if !held.is_empty() {
            self.consumer.pause(&held)?;
        }
        Ok(())
    }

    /// How many batches were closed.
    fn close_open(&mut self, topic: Option<&str>, now: Instant) -> Result<usize, Error> {
        let waiting = |worker: &Worker| worker.line.lanes.iter().map(|lane| lane.waiting()).sum::<usize>();
        let before = waiting(self);
        let lane = topic
            .and_then(|topic| self.topics.iter().find(|(known, _)| **known == *topic).map(|(_, lane)| *lane));
        self.line.seal_where(now, |line, batch| {
            let is_meant = match (topic, batch) {
                (None, _) => true,
                (Some(_), Batch::Shared(other)) => lane == Some(other),
                (Some(topic), Batch::Of(slot)) => {
                    line.partitions.get(slot).is_some_and(|owned| *owned.source.topic == *topic)
                }
            };
            is_meant.then_some(Trigger::Operator)
        })?;
        Ok(waiting(self).saturating_sub(before))
    }

    /// Tells health which topics are held back, and which no longer are.
    pub(super) fn report_holds(&mut self, now: Instant) {
        let holds = Arc::clone(&self.orders.holds.borrow());
        let mut over = std::mem::take(&mut self.orders.told);
        for (topic, hold) in holds.iter().filter(|(_, hold)| now < hold.ends) {
            let sentence = format!("paused by {} until {}: {}", hold.by, hold.until, hold.reason);
            self.reporter.health.set_component(&format!("topic {topic}"), Status::Degraded(sentence));
            over.remove(topic);
            self.orders.told.insert(topic.clone());
        }
        for topic in over {
            self.reporter.health.set_component(&format!("topic {topic}"), Status::Ok);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Orders {
        let orders = Orders::default();
        orders.know(["t".to_owned(), "u".to_owned()].into_iter());
        orders
    }

    fn hold(id: &str, ends: Instant) -> Hold {
        let [by, reason, until] = ["ann", "a ticket", "then"].map(str::to_owned);
        Hold { id: id.to_owned(), by, reason, until, ends }
    }

    #[test]
    fn a_hold_ends_by_its_own_time_and_may_be_said_again() {
        let (orders, start) = (orders(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(Orders::default().hold("t", hold("1", at(9)), start), Err(Refused::NotYet));
        assert_eq!(orders.hold("x", hold("1", at(9)), start), Err(Refused::NotOurs("x".to_owned())));
        assert_eq!(orders.hold("t", hold("1", at(9)), start), Ok(Held::New));
        let holds = || Arc::clone(&orders.holds.borrow());
        assert!(
            is_held(&holds(), "t", at(8)) && !is_held(&holds(), "t", at(9)) && !is_held(&holds(), "u", at(0))
        );
        assert_eq!(orders.hold("t", hold("1", at(12)), at(3)), Ok(Held::Known));
        assert!(is_held(&holds(), "t", at(11)));
        assert_eq!(orders.release("t", None, "bob", at(12)), Ok(false), "it had ended");
        assert_eq!(orders.hold("u", hold("2", at(30)), at(13)), Ok(Held::New));
        assert_eq!(holds().len(), 1, "what has ended is not kept");
    }

    #[test]
    fn what_was_ended_early_is_not_begun_again_by_those_who_have_not_heard() {
        let (orders, start) = (orders(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        orders.hold("t", hold("1", at(60)), start).unwrap();
        assert_eq!(orders.release("t", Some("2"), "bob", at(1)), Ok(false), "another one");
        assert_eq!(orders.release("t", None, "bob", at(1)), Ok(true));
        assert_eq!(orders.hold("t", hold("1", at(60)), at(2)), Ok(Held::Over("resumed by bob".to_owned())));
        assert!(orders.holds.borrow().is_empty());
        assert_eq!(orders.hold("t", hold("2", at(60)), at(3)), Ok(Held::New));
        assert_eq!(orders.hold("t", hold("3", at(70)), at(4)), Ok(Held::New));
        assert_eq!(orders.hold("t", hold("2", at(60)), at(5)), Ok(Held::Over("replaced by ann".to_owned())));
        for n in 0..ENDED_MAX + 9 {
            orders.hold("u", hold(&format!("u{n}"), at(1000)), at(6)).unwrap();
        }
        assert_eq!(orders.ended.lock().len(), ENDED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_does_not_answer_is_told() {
        let orders = orders();
        assert_eq!(orders.close(None).await, Ok(0), "there is no member");
        let mut heard = orders.subscribe();
        let (closed, ()) = tokio::join!(orders.close(Some("t")), async {
            let closing = heard.closings.recv().await.unwrap();
            assert_eq!(closing.topic.as_deref(), Some("t"));
            closing.closed.try_send(3).unwrap();
        });
        assert_eq!(closed, Ok(3));
        assert_eq!(orders.close(None).await, Err(Refused::Slow { answered: 0, members: 1 }));
        assert_eq!(orders.close(Some("x")).await, Err(Refused::NotOurs("x".to_owned())));
    }
}
