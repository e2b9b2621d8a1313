//! Which of several processes leads: whoever holds the only partition of a topic of its own, by the rules of a group.
//!
//! Refuses to act for a leader that was. Claims are committed under the generation in which the partition was given, by
//! the thread that hears of every change, so that the brokers refuse those of whoever was thrown out, be it without
//! its knowledge. Nothing is ever published. Without brokers nobody leads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use super::context::count_error;
use super::{Config, Error, admin, client, consumer, offsets};
use crate::record::{Partition, TopicPartition};
use crate::telemetry::metrics::METRICS;

/// How long a change of the assignment waits to be heard of.
const TURN: Duration = Duration::from_millis(50);
/// Between two tries to become a member.
const RETRY: Duration = Duration::from_secs(2);
/// How long a claim may take; the session of a member goes on meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long leaving is waited for.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// Claims that wait for the thread; more are refused.
const ASKS_MAX: usize = 16;
/// What brokers keep beside an offset without settings of their own.
pub const CLAIMS_BYTES_MAX: usize = 4096;

/// What a process is in the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no place in it: why.
    Outside(String),
    /// Another one leads.
    Following,
    /// It leads. A term ends with every change and every claim whose outcome is not known.
    Leading {
        term: u64,
        /// The claims that were committed last, by whichever leader.
        claims: String,
    },
}

/// A process that leads when it is its turn. Leaves the group when it is dropped.
pub struct Candidate {
    shared: Arc<Shared>,
    asks: SyncSender<Ask>,
}

struct Ask {
    term: u64,
    claims: String,
    answer: oneshot::Sender<Result<(), Error>>,
}

struct Shared {
    standing: Mutex<Standing>,
    stop: AtomicBool,
    left: Notify,
}

impl Shared {
    fn set(&self, standing: Standing) {
        METRICS.fleet.leader.set(i64::from(matches!(standing, Standing::Leading { .. })));
        *self.standing.lock() = standing;
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

impl Candidate {
    /// Takes part under this name, which the group and its topic have; the topic is made if it is missing. What stands
    /// in its way is told by [`Candidate::standing`], and tried again. Needs a runtime around the call.
    ///
    /// # Errors
    /// No thread for it.
    pub fn start(config: &Config, name: &str, session_timeout: Duration) -> std::io::Result<Candidate> {
        let standing = Mutex::new(Standing::Outside("the group is being joined".to_owned()));
        let shared = Arc::new(Shared { standing, stop: AtomicBool::new(false), left: Notify::new() });
        let (asks, asked) = sync_channel(ASKS_MAX);
        let election = Election {
            config: Config { group: name.to_owned(), instance_id: None, ..config.clone() },
            session_timeout,
            shared: Arc::clone(&shared),
            asked,
            runtime: Handle::current(),
            term: 0,
        };
        let thread = std::thread::Builder::new().name("penstock-leader".to_owned());
        // It is not waited for longer than `leave` does: brokers that hang would hold up the end of the process.
        thread.spawn(move || election.run())?;
        Ok(Candidate { shared, asks })
    }

    pub fn standing(&self) -> Standing {
        self.shared.standing.lock().clone()
    }

    /// Commits claims, in place of all earlier ones. Once it is answered well, no other process has led since the term
    /// began, and every later leader knows them.
    ///
    /// # Errors
    /// Another term, a group that has given the lead to somebody else, or no answer: then the claims may be there or not,
    /// and the next term says it.
    pub async fn claim(&self, term: u64, claims: String) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask { term, claims, answer }).map_err(|_| Error::Lost)?;
        answered.await.unwrap_or(Err(Error::Lost))
    }

    /// Leaves the group, so that another one leads at once. Where that takes long, its session ends by itself.
    pub async fn leave(&self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = tokio::time::timeout(LEAVE_MAX, self.shared.left.notified()).await;
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

/// What librdkafka calls back with, on the thread that polls.
#[derive(Default)]
struct Context {
    changes: Mutex<VecDeque<Change>>,
    owns: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Won,
    Lost,
    /// Another one has it.
    Joined,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        DefaultClientContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        count_error(&error);
        tracing::debug!(%error, reason, "kafka client error of the election");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let is_fenced = match rebalance {
            Rebalance::Assign(_) => false,
            Rebalance::Revoke(list) => has_place(list),
            Rebalance::Error(_) => true,
        };
        if is_fenced {
            // Before the group hears that it is given back.
            self.owns.store(false, Ordering::Release);
            self.changes.lock().push_back(Change::Lost);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Only what is new is told: whoever leads already hears of nothing.
        let Rebalance::Assign(list) = rebalance else { return };
        if has_place(list) {
            self.owns.store(true, Ordering::Release);
            self.changes.lock().push_back(Change::Won);
        } else if !self.owns.load(Ordering::Acquire) {
            self.changes.lock().push_back(Change::Joined);
        }
    }
}

/// Whether it has the partition that the leader holds; there may be others where somebody else made the topic.
fn has_place(list: &TopicPartitionList) -> bool {
    list.elements().iter().any(|element| element.partition() == 0)
}

/// The thread of a candidate.
struct Election {
    config: Config,
    session_timeout: Duration,
    shared: Arc<Shared>,
    asked: Receiver<Ask>,
    runtime: Handle,
    term: u64,
}

impl Election {
    fn run(mut self) {
        while !self.shared.is_stopped() {
            let Err(error) = self.take_part() else { break };
            tracing::warn!(%error, "this process cannot lead");
            self.shared.set(Standing::Outside(error.to_string()));
            // Nobody is answered well meanwhile.
            match self.asked.recv_timeout(RETRY) {
                Ok(ask) => refuse(ask),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.shared.set(Standing::Outside("it has left the group".to_owned()));
        self.shared.left.notify_one();
    }

    /// A membership, until it is to end or cannot go on.
    fn take_part(&mut self) -> Result<(), Error> {
        self.make_topic()?;
        let settings = client::candidate(&self.config, self.session_timeout);
        let member: BaseConsumer<Context> =
            settings.create_with_context(Context::default()).map_err(Error::Create)?;
        member.subscribe(&[&self.config.group]).map_err(Error::Subscribe)?;
        let mut unread = false;
        while !self.shared.is_stopped() {
            match self.asked.recv_timeout(TURN) {
                Ok(ask) => unread |= self.answer(&member, ask),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if let Some(Err(error)) = member.poll(Duration::ZERO) {
                consumer::judge(&error)?;
                if let Standing::Outside(why) = &mut *self.shared.standing.lock() {
                    *why = error.to_string();
                }
            }
            let change = member.context().changes.lock().drain(..).next_back();
            match change {
                Some(Change::Won) => unread = true,
                Some(Change::Joined) => self.shared.set(Standing::Following),
                Some(Change::Lost) => {
                    unread = false;
                    self.shared.set(Standing::Outside("the group chooses its leader".to_owned()));
                }
                None => {}
            }
            if unread && self.owns(&member) {
                unread = !self.begin_term(&member);
            }
        }
        Ok(())
    }

    fn make_topic(&self) -> Result<(), Error> {
        let topic = &self.config.group;
        match admin::partition_count(&self.config, topic) {
            Err(Error::MissingTopic { .. }) => {
                tracing::info!(topic, "makes the topic by which the leader is chosen; it stays empty");
                self.runtime.block_on(admin::create_topic(&self.config, topic, 1))
            }
            other => other.map(|_| ()),
        }
    }

    fn owns(&self, member: &BaseConsumer<Context>) -> bool {
        member.context().owns.load(Ordering::Acquire) && !member.assignment_lost()
    }

    /// Reads what was claimed; whoever led before can claim no more, since the generation is another one.
    fn begin_term(&mut self, member: &BaseConsumer<Context>) -> bool {
        let place = TopicPartition { topic: self.config.group.as_str().into(), partition: Partition(0) };
        match offsets::committed(member, &[place], ANSWER_TIMEOUT) {
            Ok(found) => {
                self.term += 1;
                let claims = found.into_iter().next().map(|(.., text)| text).unwrap_or_default();
                tracing::info!(term = self.term, "this process leads");
                self.shared.set(Standing::Leading { term: self.term, claims });
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the claims of earlier leaders cannot be read, so nothing is led yet");
                false
            }
        }
    }

    /// Whether the claims have to be read again.
    fn answer(&self, member: &BaseConsumer<Context>, ask: Ask) -> bool {
        // A change that nobody has heard of yet is no answer to the brokers, so they know this member by its old
        // generation still, or not at all.
        if ask.term != self.term || !self.owns(member) || self.shared.is_stopped() {
            refuse(ask);
            return false;
        }
        let result = self.commit(member, &ask.claims);
        let failed = result.is_err();
        if failed {
            self.shared.set(Standing::Outside("a claim was not confirmed".to_owned()));
        } else if let Standing::Leading { claims, .. } = &mut *self.shared.standing.lock() {
            claims.clone_from(&ask.claims);
        }
        // Whoever asked may be gone.
        let _ = ask.answer.send(result);
        failed
    }

    fn commit(&self, member: &BaseConsumer<Context>, claims: &str) -> Result<(), Error> {
        let failed = |source| Error::Operation { operation: "claiming as the leader", source };
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&self.config.group, 0);
        element.set_offset(KafkaOffset::Offset(0)).map_err(failed)?;
        element.set_metadata(claims);
        member.commit(&list, CommitMode::Sync).map_err(failed)?;
        // One that was thrown out meanwhile names no generation, and an empty group would have taken it.
        if member.assignment_lost() { Err(Error::Lost) } else { Ok(()) }
    }
}

fn refuse(ask: Ask) {
    let _ = ask.answer.send(Err(Error::Lost));
}
