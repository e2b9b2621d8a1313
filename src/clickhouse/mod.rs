//! The client: many ClickHouse servers as one, balanced, gated and retried.
//!
//! Refuses to know Kafka, offsets and table files: it takes a record batch, a table's name and a token.
//! Every wait has a time-out, and whatever went wrong says whether it may have been carried out.
//!
//! | what | where |
//! |---|---|
//! | one batch | [`Client::insert`], [`Payload`], `body`, [`native::encode`], `request`, `settings`, `transport` |
//! | what stands behind a table, and what that allows to promise | [`Client::inspect`], [`level::judge`] |
//! | what landed | [`Client::present`], [`Client::offsets`] |
//! | statements and reads | [`Client::execute`], [`Client::query`] |
//! | how a table's merges keep up | [`Client::pressure`] |
//! | which error asks for what | [`class`] |
//! | which servers there are, and whom to ask next | `members`, [`balance`], [`gate`], [`breaker`], [`health`] |

pub mod address;
mod arrow_stream;
pub mod balance;
mod body;
pub mod breaker;
mod class;
pub mod config;
mod definition;
mod endpoint;
mod error;
mod everywhere;
pub mod gate;
mod health;
mod http;
mod insert;
pub mod inspect;
pub mod level;
mod members;
pub mod native;
mod payload;
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
use tokio::time::{Instant, timeout_at};

pub use class::Class;
pub use config::{Compression, Config, Format, Tls};
pub use endpoint::{EndpointHealth, EndpointStatistics};
pub use error::Error;
pub use insert::{BEGIN_MAX, Insert, Inserted, Quorum};
pub use inspect::Inspection;
pub use level::{Conditions, Judgement, Level};
pub use payload::Payload;
pub use pressure::Pressure;
pub use query::{Once, Params, ResultColumn, Rows};
pub use readback::{Freshness, Place, Present};
pub use sql::{quote_identifier, quote_string};

use balance::Load;
use endpoint::Endpoint;
use gate::State;
use members::Members;
use retry::{Exhausted, Next, Reason};

/// Access to all endpoints; clones share everything.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    /// As it was made; which endpoints are in force, `members` knows.
    config: Config,
    members: Members,
    budget: retry::Budget,
    rng: Mutex<StdRng>,
    turn: AtomicUsize,
    closed: AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.shared.members.get().iter().map(|endpoint| endpoint.name())).finish()
    }
}

impl Client {
    /// A client with a watcher for each endpoint on the current runtime. Nothing is connected yet.
    ///
    /// # Errors
    /// A configuration that cannot work, or no tokio runtime around the call.
    pub fn new(config: &Config) -> Result<Client, Error> {
        let shared = Shared {
            budget: retry::Budget::new(&config.retry, Instant::now()),
            config: config.clone(),
            members: Members::new(config)?,
            rng: Mutex::new(StdRng::from_rng(&mut rand::rng())),
            turn: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        };
        Ok(Client { shared: Arc::new(shared) })
    }

    /// From now on these endpoints are used, with everything else as it was. Those that stay keep their connections
    /// and gates; requests under way at others go on to their end.
    ///
    /// # Errors
    /// As [`Client::new`]; then nothing has changed.
    pub fn set_endpoints(&self, endpoints: &[String]) -> Result<(), Error> {
        self.check_open()?;
        self.shared.members.exchange(&Config { endpoints: endpoints.to_vec(), ..self.config().clone() })
    }

    /// Asks every endpoint at once for a sign of life, whatever its gate. Cancel-safe.
    pub async fn health_check(&self) -> Vec<EndpointHealth> {
        let timeout = self.config().health_timeout.0;
        let endpoints = self.shared.members.get();
        let checks = endpoints.iter().map(|endpoint| async move {
            let result = endpoint.ping(timeout).await;
            EndpointHealth { endpoint: endpoint.name().to_owned(), gate: endpoint.breaker().state(), result }
        });
        futures_util::future::join_all(checks).await
    }

    /// Lets a shut gate try now, without the rest of its back-off; whether it was shut, none without such an endpoint.
    pub fn probe(&self, endpoint: &str) -> Option<bool> {
        let endpoints = self.shared.members.get();
        endpoints.iter().find(|one| one.name() == endpoint).map(|one| one.breaker().hasten())
    }

    /// What is known about each endpoint now.
    pub fn endpoints(&self) -> Vec<EndpointStatistics> {
        self.shared.members.get().iter().map(|endpoint| endpoint.statistics()).collect()
    }

    /// Ends the watchers and refuses every later call, of clones too. Calls under way go on.
    pub async fn close(self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.members.close().await;
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
        let elsewhere = u32::try_from(self.shared.members.get().len().saturating_sub(1)).unwrap_or(u32::MAX);
        let policy =
            retry::Policy::new(&self.config().retry, &self.shared.budget, elsewhere).until(give_up_at);
        let unknown = AtomicBool::new(false);
        let failed: Mutex<Vec<Arc<Endpoint>>> = Mutex::default();
        let classify = |error: &Error| {
            if error.outcome_unknown() {
                unknown.store(true, Ordering::Relaxed);
            }
            classify(error)
        };
        let attempt = |attempts| {
            let (op, failed, deadline) = (&op, &failed, policy.deadline());
            async move {
                let endpoint = self.endpoint(failed, deadline).await?;
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::NoTimeLeft);
                }
                let result = op(endpoint.clone(), left).await;
                if result.is_err() {
                    failed.lock().push(endpoint);
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
        failed: &Mutex<Vec<Arc<Endpoint>>>,
        deadline: Instant,
    ) -> Result<Arc<Endpoint>, Error> {
        loop {
            let opened = self.shared.members.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if let Some(found) = self.pick(&mut failed.lock()) {
                return Ok(found);
            }
            timeout_at(deadline, opened).await.map_err(|_| self.gate_shut())?;
        }
    }

    fn gate_shut(&self) -> Error {
        let endpoints = self.shared.members.get();
        let causes = endpoints.iter().map(|endpoint| endpoint.last_failure());
        Error::GateShut(causes.collect::<Vec<_>>().join("; "))
    }

    fn pick(&self, failed: &mut Vec<Arc<Endpoint>>) -> Option<Arc<Endpoint>> {
        let endpoints = self.shared.members.get();
        let loads = |failed: &[Arc<Endpoint>]| -> Vec<Load> {
            let load = |e: &Arc<Endpoint>| Load {
                usable: e.breaker().state() == State::Open && !failed.iter().any(|one| Arc::ptr_eq(one, e)),
                outstanding: e.outstanding(),
            };
            endpoints.iter().map(load).collect()
        };
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let mut rng = self.shared.rng.lock();
        let strategy = self.config().balance;
        let index = balance::pick(strategy, &loads(failed), turn, &mut *rng).or_else(|| {
            failed.clear();
            balance::pick(strategy, &loads(failed), turn, &mut *rng)
        })?;
        endpoints.get(index).cloned()
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
