//! The client: many ClickHouse servers as one, balanced, gated and retried.
//!
//! Refuses to know Kafka, offsets and table files: it takes a record batch, a table's name and a token.
//! Every wait has a time-out, and whatever went wrong says whether it may have been carried out.
//!
//! | what | where |
//! |---|---|
//! | one batch | [`Client::insert`], [`native::encode`], `request`, `settings`, `transport` |
//! | what stands behind a table, and what that allows to promise | [`Client::inspect`], [`level::judge`] |
//! | what landed | [`Client::present`], [`Client::offsets`] |
//! | statements and reads | [`Client::execute`], [`Client::query`] |
//! | how a table's merges keep up | [`Client::pressure`] |
//! | which error asks for what | [`class`] |
//! | whom to ask next | [`balance`], [`gate`], [`breaker`], [`health`] |

pub mod address;
pub mod balance;
pub mod breaker;
mod class;
pub mod config;
mod definition;
mod endpoint;
mod error;
pub mod gate;
mod health;
mod http;
mod insert;
pub mod inspect;
pub mod level;
pub mod native;
pub mod pressure;
mod query;
pub mod readback;
mod request;
pub mod retry;
mod settings;
mod sql;
mod tls;
mod transport;
mod window;
mod wire_type;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use class::Class;
pub use config::{Compression, Config, Tls};
pub use endpoint::{EndpointHealth, EndpointStatistics};
pub use error::Error;
pub use insert::{BEGIN_MAX, Insert, Inserted, Quorum};
pub use inspect::Inspection;
pub use level::{Conditions, Judgement, Level};
pub use pressure::Pressure;
pub use query::{Params, ResultColumn, Rows};
pub use readback::{Freshness, Place, Present};
pub use sql::{quote_identifier, quote_string};

use balance::Load;
use endpoint::Endpoint;
use gate::State;
use retry::{Exhausted, Next, Reason};

/// Access to all endpoints; clones share everything.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    endpoints: Arc<[Arc<Endpoint>]>,
    budget: retry::Budget,
    rng: Mutex<StdRng>,
    turn: AtomicUsize,
    /// Told whenever a gate opens.
    opened: Arc<Notify>,
    closed: AtomicBool,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends the tasks when the last clone is dropped.
    _stop_at_drop: DropGuard,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.shared.endpoints.iter().map(|endpoint| endpoint.name())).finish()
    }
}

impl Client {
    /// A client with a watcher for each endpoint on the current runtime. Nothing is connected yet.
    ///
    /// # Errors
    /// A configuration that cannot work, or no tokio runtime around the call.
    pub fn new(config: &Config) -> Result<Client, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|e| Error::Config {
            message: format!("the client needs a runtime: {e}"),
            hint: "make it inside of the tokio runtime",
        })?;
        let endpoints: Arc<[Arc<Endpoint>]> = Endpoint::all(config)?.into();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let opened = Arc::new(Notify::new());
        for index in 0..endpoints.len() {
            let watch = health::Watch {
                endpoints: endpoints.clone(),
                index,
                interval: config.health_interval.0,
                timeout: config.health_timeout.0,
                opened: opened.clone(),
            };
            let stop = stop.clone();
            tasks.spawn_on(async move { stop.run_until_cancelled(watch.run()).await }, &runtime);
        }
        tasks.close();
        let shared = Shared {
            budget: retry::Budget::new(&config.retry, Instant::now()),
            config: config.clone(),
            endpoints,
            rng: Mutex::new(StdRng::from_rng(&mut rand::rng())),
            turn: AtomicUsize::new(0),
            opened,
            closed: AtomicBool::new(false),
            tasks,
            _stop_at_drop: stop.clone().drop_guard(),
            stop,
        };
        Ok(Client { shared: Arc::new(shared) })
    }

    /// Asks every endpoint at once for a sign of life, whatever its gate. Cancel-safe.
    pub async fn health_check(&self) -> Vec<EndpointHealth> {
        let timeout = self.config().health_timeout.0;
        let checks = self.shared.endpoints.iter().map(|endpoint| async move {
            let result = endpoint.ping(timeout).await;
            EndpointHealth { endpoint: endpoint.name().to_owned(), gate: endpoint.breaker().state(), result }
        });
        futures_util::future::join_all(checks).await
    }

    /// What is known about each endpoint now.
    pub fn endpoints(&self) -> Vec<EndpointStatistics> {
        self.shared.endpoints.iter().map(|endpoint| endpoint.statistics()).collect()
    }

    /// Ends the watchers and refuses every later call, of clones too. Calls under way go on.
    pub async fn close(self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
    }

    fn config(&self) -> &Config {
        &self.shared.config
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.shared.closed.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Runs `op` on one endpoint after the other until it succeeds, as `classify` says. `op` gets the
    /// endpoint and the time left. Gives the result with the number of attempts. Ends at `give_up_at` at
    /// the latest, or at the deadline of the configuration.
    async fn with_retry<T, F: Future<Output = Result<T, Error>>>(
        &self,
        give_up_at: Option<Instant>,
        mut classify: impl FnMut(&Error) -> Next,
        op: impl Fn(Arc<Endpoint>, Duration) -> F,
    ) -> Result<(T, u32), Error> {
        self.check_open()?;
        let elsewhere = u32::try_from(self.shared.endpoints.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let policy =
            retry::Policy::new(&self.config().retry, &self.shared.budget, elsewhere).until(give_up_at);
        let unknown = AtomicBool::new(false);
        let failed: Mutex<Vec<usize>> = Mutex::new(Vec::new());
        let classify = |error: &Error| {
            if error.outcome_unknown() {
                unknown.store(true, Ordering::Relaxed);
            }
            classify(error)
        };
        let attempt = |attempts| {
            let (op, failed, deadline) = (&op, &failed, policy.deadline());
            async move {
                let (index, endpoint) = self.endpoint(failed, deadline).await?;
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::NoTimeLeft);
                }
                let result = op(endpoint, left).await;
                if result.is_err() {
                    failed.lock().push(index);
                }
                result.map(|value| (value, attempts))
            }
        };
        retry::run(&policy, classify, attempt)
            .await
            .map_err(|exhausted| give_up(exhausted, unknown.load(Ordering::Relaxed)))
    }

    /// The endpoint for the next attempt, not one of those that failed this call while there are
    /// others. While all gates are shut it waits for one to open.
    async fn endpoint(
        &self,
        failed: &Mutex<Vec<usize>>,
        deadline: Instant,
    ) -> Result<(usize, Arc<Endpoint>), Error> {
        loop {
            let opened = self.shared.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if let Some(found) = self.pick(&mut failed.lock()) {
                return Ok(found);
            }
            timeout_at(deadline, opened).await.map_err(|_| self.gate_shut())?;
        }
    }

    fn gate_shut(&self) -> Error {
        let causes = self.shared.endpoints.iter().map(|endpoint| endpoint.last_failure());
        Error::GateShut(causes.collect::<Vec<_>>().join("; "))
    }

    fn pick(&self, failed: &mut Vec<usize>) -> Option<(usize, Arc<Endpoint>)> {
        let endpoints = &self.shared.endpoints;
        let loads = |failed: &[usize]| -> Vec<Load> {
            let load = |(i, e): (usize, &Arc<Endpoint>)| Load {
                usable: e.breaker().state() == State::Open && !failed.contains(&i),
                outstanding: e.outstanding(),
            };
            endpoints.iter().enumerate().map(load).collect()
        };
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let mut rng = self.shared.rng.lock();
        let strategy = self.config().balance;
        let index = balance::pick(strategy, &loads(failed), turn, &mut *rng).or_else(|| {
            failed.clear();
            balance::pick(strategy, &loads(failed), turn, &mut *rng)
        })?;
        endpoints.get(index).map(|endpoint| (index, endpoint.clone()))
    }
}

fn give_up(exhausted: Exhausted<Error>, outcome_unknown: bool) -> Error {
    let Exhausted { error, attempts, reason } = exhausted;
    match error {
        // Nothing was sent, and the error says it all.
        Error::GateShut(_) | Error::NoTimeLeft if attempts == 1 => error,
        _ if attempts == 1 && reason == Reason::NotRetryable => error,
        _ => Error::RetriesExhausted { attempts, reason, outcome_unknown, last: Box::new(error) },
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
