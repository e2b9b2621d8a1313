//! Dead letters for whoever asks over REST: listed, grouped, replayed and purged, as `penstock dlq` does it.
//!
//! Refuses to let more than two look at a time, to go on for somebody who has gone away, and to show a value without
//! the right to values having been written down first. It touches no offsets: letters lie in topics of their own.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::backup::Refusal;
use super::command;
use crate::dead_letter::form::{self, Show};
use crate::dead_letter::groups::Groups;
use crate::dead_letter::replay::{Options, Replay, Scribe};
use crate::dead_letter::{self, Filter, Letter, Library, State, Watch, purge};
use crate::kafka;
use crate::kafka::scan::Progress;

/// Readings at a time: each reads a topic twice, as fast as it can.
const READERS_MAX: usize = 2;
/// How long whoever looks waits for a place.
const PLACE_MAX: Duration = Duration::from_secs(5);
/// Of each value so much is shown.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// Letters that are shown with their values.
pub const VALUES_MAX: usize = 100;
/// Between two tellings of how far a reading is.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The dead-letter topics of a source topic, or of all tables. Blocks.
pub type Topics = Arc<dyn Fn(Option<&str>) -> Result<Vec<String>, Refusal> + Send + Sync>;

/// Takes out of letters what their tables hide. Blocks.
pub type Curtain = Arc<dyn Fn(&mut [Letter]) + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("as many readers of dead letters are at work as may be\nhint: ask again when one has ended")]
    Busy,
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error(transparent)]
    Topics(#[from] Refusal),
    #[error(transparent)]
    Letters(#[from] dead_letter::Error),
    #[error("{source}\n{sent} letters were sent\nhint: replay again, it goes on where it stood")]
    Replay { sent: u64, source: dead_letter::Error },
    #[error("a reading of dead letters broke down")]
    Task(#[from] tokio::task::JoinError),
}

/// Where dead letters are, and who may be reading them.
#[derive(Clone)]
pub struct DeadLetters {
    kafka: kafka::Config,
    topics: Topics,
    curtain: Curtain,
    readers: Arc<Semaphore>,
}

/// How a long reading is watched, and ended.
#[derive(Clone)]
pub struct Watched {
    pub stop: CancellationToken,
    pub tell: Arc<dyn Fn(Value) + Send + Sync>,
    /// Jobs are few anyway, and one that replays slowly keeps nobody from looking.
    pub is_job: bool,
}

impl Watched {
    /// Nobody is told, and it ends when whoever asked is gone.
    pub fn not() -> Watched {
        Watched { stop: CancellationToken::new(), tell: Arc::new(|_| {}), is_job: false }
    }
}

impl DeadLetters {
    /// Connects to nothing.
    pub fn new(kafka: &kafka::Config, topics: Topics, curtain: Curtain) -> DeadLetters {
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        DeadLetters { kafka: kafka.clone(), topics, curtain, readers }
    }

    /// The newest letters that are meant, newest last.
    ///
    /// # Errors
    /// Topics that cannot be read.
    pub async fn list(&self, filter: Filter, limit: usize, with_values: bool) -> Result<Value, Error> {
        let value_bytes_max = if with_values { VALUE_BYTES_MAX } else { 0 };
        let show = if with_values { Show::Whole } else { Show::Masked };
        let curtain = Arc::clone(&self.curtain);
        self.read(Watched::not(), filter, move |library, filter| {
            let (mut letters, found) = library.newest(&filter, limit, value_bytes_max)?;
            curtain(&mut letters);
            let letters: Vec<Value> = letters.iter().map(|letter| form::letter(letter, show)).collect();
            Ok(json!({ "letters": letters, "found": found, "masked": !with_values }))
        })
        .await
    }

    /// Letters by what is wrong with them, most frequent first.
    ///
    /// # Errors
    /// Topics that cannot be read.
    pub async fn groups(&self, filter: Filter, limit: usize) -> Result<Value, Error> {
        self.read(Watched::not(), filter, move |library, filter| {
            let (told, scanned) = grouped(library, &filter, u64::MAX, limit)?;
            Ok(with(told, "scanned", json!(scanned)))
        })
        .await
    }

    /// What a replay would send.
    ///
    /// # Errors
    /// Topics that cannot be read.
    pub async fn plan_replay(&self, filter: Filter, options: Options, limit: usize) -> Result<Value, Error> {
        let state = (!options.again).then_some(State::Waiting);
        self.read(Watched::not(), Filter { state, ..filter }, move |library, filter| {
            let (told, count) = grouped(library, &filter, options.limit, limit)?;
            Ok(with(told, "would_send", json!(count)))
        })
        .await
    }

    /// Publishes letters to their topics again, each once.
    ///
    /// # Errors
    /// What stands in its way; with it, how many were sent until then.
    pub async fn replay(&self, filter: Filter, options: Options, watched: Watched) -> Result<Value, Error> {
        let (kafka, runtime) = (self.kafka.clone(), Handle::current());
        let work = move |library: &Library, filter: Filter| {
            let mut replay = Replay::new(library, Scribe::new(&kafka, runtime)?, options);
            let result = replay.run(&filter);
            let sent = replay.outcome.sent;
            result.map_err(|source| Error::Replay { sent, source })?;
            Ok(form::outcome(&replay.outcome))
        };
        self.read(watched, filter, work).await
    }

    /// Deletes what can be deleted, and marks the rest; or says what would be.
    ///
    /// # Errors
    /// What stands in its way.
    pub async fn purge(&self, filter: Filter, dry_run: bool, watched: Watched) -> Result<Value, Error> {
        let (kafka, runtime) = (self.kafka.clone(), Handle::current());
        let work = move |library: &Library, filter: Filter| {
            let parts = purge::plan(library, &filter)?;
            let is_done = !dry_run && !parts.is_empty();
            if is_done {
                purge::carry_out(library, &Scribe::new(&kafka, runtime)?, &parts)?;
            }
            Ok(form::purge(&parts, is_done))
        };
        self.read(watched, filter, work).await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = Arc::clone(&self.readers).acquire_owned();
        // The semaphore is never closed.
        tokio::time::timeout(PLACE_MAX, place).await.ok().and_then(Result::ok).ok_or(Error::Busy)
    }

    /// Opens the topics on a thread that may block. It ends soon after whoever waits for it is gone.
    async fn read(
        &self,
        watched: Watched,
        filter: Filter,
        work: impl FnOnce(&Library, Filter) -> Result<Value, Error> + Send + 'static,
    ) -> Result<Value, Error> {
        let place = match watched.is_job {
            true => None,
            false => Some(self.place().await?),
        };
        let cancel = watched.stop.child_token();
        let _ends = cancel.clone().drop_guard();
        let watch = Watch { cancel, progress: throttled(watched.tell) };
        let (kafka, topics) = (self.kafka.clone(), Arc::clone(&self.topics));
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            let names = topics(filter.topic.as_deref())?;
            let library = Library::open(&kafka, &names, watch)?;
            work(&library, filter)
        });
        reading.await?
    }
}

/// The first letters that are meant by what they have in common, of that at most so many kinds; and how many letters.
fn grouped(
    library: &Library,
    filter: &Filter,
    letters_max: u64,
    groups_max: usize,
) -> Result<(Value, u64), Error> {
    let (mut groups, mut count) = (Groups::default(), 0);
    library.read(filter, |letter| {
        if letters_max <= count {
            return Ok(ControlFlow::Break(()));
        }
        count += 1;
        groups.add(&letter);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut others = groups.others();
    let mut all = groups.sorted();
    others += all.iter().skip(groups_max).map(|group| group.count).sum::<u64>();
    all.truncate(groups_max);
    let told = with(form::groups(&all, others), "complete", json!(others == 0));
    Ok((told, count))
}

fn with(mut value: Value, name: &str, more: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.insert(name.to_owned(), more);
    }
    value
}

/// Tells how far a reading is now and then.
fn throttled(tell: Arc<dyn Fn(Value) + Send + Sync>) -> Arc<dyn Fn(Progress) + Send + Sync> {
    let told_at: Mutex<Option<Instant>> = Mutex::default();
    Arc::new(move |progress| {
        let mut told_at = told_at.lock();
        if told_at.is_none_or(|at| TELL_EVERY <= at.elapsed()) {
            *told_at = Some(Instant::now());
            tell(json!({ "read": progress.read, "total": progress.total }));
        }
    })
}
