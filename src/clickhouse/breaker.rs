//! Stops calling what keeps failing, and finds out by single probes when it works again.
//!
//! Refuses to know what is called. The rules are the pure `Core`, which takes `now`; the breaker adds
//! the clock and drives a gate: open, then shut, then after a back-off limited, then open or shut.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::gate::{Gate, State};
use super::window::Window;
use crate::units::Span;

/// When an endpoint counts as failing, and how soon it is tried again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Failures in a row that shut the gate.
    pub failures: u32,
    /// The gate shuts when the share of calls that succeeded within `window` falls below this, 0 to 1.
    pub ratio: f64,
    /// Calls that must be within `window` before `ratio` is looked at.
    pub calls_min: u32,
    /// Span of time over which `ratio` is taken.
    pub window: Span,
    /// Shortest time for which the gate stays shut before a probe.
    pub backoff_min: Span,
    /// Longest time for which the gate stays shut before a probe; jitter may double it.
    pub backoff_max: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            failures: 5,
            ratio: 0.5,
            calls_min: 20,
            window: Span::secs(10),
            backoff_min: Span::millis(500),
            backoff_max: Span::secs(15),
        }
    }
}

/// The gate does not let this call through.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the gate of {name} is {}", state.name())]
pub struct Refused {
    pub name: String,
    pub state: State,
}

/// What a guarded call ended with.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    Failed(E),
}

#[derive(Debug)]
struct Core {
    config: Config,
    in_a_row: u32,
    window: Window,
    backoff: ExponentialBackoff,
    /// Set while shut or limited: when the next probe may start.
    probe_at: Option<Instant>,
    /// The back-off starts over only after real successes, or a server that answers probes and fails
    /// at everything else would be tried again and again at once.
    proven: bool,
}

impl Core {
    fn new(config: Config) -> Core {
        let window = Window::new(config.window.0);
        let backoff = backoff(&config);
        Core { config, in_a_row: 0, window, backoff, probe_at: None, proven: true }
    }

    /// Notes an outcome while open; true if the gate must shut.
    fn record(&mut self, ok: bool, now: Instant) -> bool {
        self.window.record(ok, now);
        if ok {
            self.in_a_row = 0;
            self.proven = true;
            return false;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.in_a_row >= self.config.failures || self.ratio_broken(now)
    }

    fn ratio_broken(&mut self, now: Instant) -> bool {
        let (all, ok) = self.window.counts(now);
        // Counts of one window are far below the 2^52 that a float holds exactly.
        #[allow(clippy::cast_precision_loss)]
        let ratio = ok as f64 / all.max(1) as f64;
        all >= u64::from(self.config.calls_min) && ratio < self.config.ratio
    }

    fn shut(&mut self, now: Instant) {
        if std::mem::take(&mut self.proven) {
            self.backoff = backoff(&self.config);
        }
        let wait = self.backoff.next().unwrap_or(self.config.backoff_max.0);
        self.probe_at = Some(now + wait);
    }

    fn open(&mut self) {
        self.in_a_row = 0;
        self.window.clear();
        self.probe_at = None;
    }
}

fn backoff(config: &Config) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(config.backoff_min.0)
        .with_max_delay(config.backoff_max.0.max(config.backoff_min.0))
        .without_max_times()
        .with_jitter()
        .build()
}

/// A breaker around any call; see [`Breaker::call`].
#[derive(Debug)]
pub struct Breaker {
    core: Mutex<Core>,
    gate: Gate,
    /// The next probe may start sooner than it was said.
    hastened: Notify,
}

/// The right to make the one probe of a limited gate. Dropped without an outcome, it counts as failed.
#[derive(Debug)]
pub struct Probe<'a> {
    breaker: &'a Breaker,
    done: bool,
}

impl Breaker {
    /// A breaker with an open gate. `name` stands in metrics and logs.
    pub fn new(name: &str, config: Config) -> Breaker {
        Breaker { core: Mutex::new(Core::new(config)), gate: Gate::new(name), hastened: Notify::new() }
    }

    pub fn state(&self) -> State {
        self.gate.state()
    }

    /// Sees every later change of the gate.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.gate.subscribe()
    }

    /// Notes how a call that went through the open gate ended.
    pub fn record(&self, ok: bool) {
        let now = Instant::now();
        let mut core = self.core.lock();
        if self.gate.state() == State::Open && core.record(ok, now) {
            core.shut(now);
            self.gate.set(State::Shut);
        }
    }

    /// Shuts the gate at once, for a sign that needs no second one.
    pub fn trip(&self) {
        let mut core = self.core.lock();
        if self.gate.state() == State::Open {
            core.shut(Instant::now());
            self.gate.set(State::Shut);
        }
    }

    /// When the next probe may start; none while open.
    pub fn probe_at(&self) -> Option<Instant> {
        self.core.lock().probe_at
    }

    /// Ends the back-off of a shut gate, so that its probe may start now; whether it was shut.
    pub fn hasten(&self) -> bool {
        let mut core = self.core.lock();
        let is_shut = self.gate.state() == State::Shut;
        if is_shut {
            core.probe_at = Some(Instant::now());
            self.hastened.notify_one();
        }
        is_shut
    }

    /// Waits until the next probe may start sooner.
    pub async fn hastened(&self) {
        self.hastened.notified().await;
    }

    /// Makes a shut gate limited and hands out its one probe, if the back-off has passed.
    pub fn probe(&self) -> Option<Probe<'_>> {
        let core = self.core.lock();
        let due = core.probe_at.is_some_and(|at| at <= Instant::now());
        if self.gate.state() != State::Shut || !due {
            return None;
        }
        self.gate.set(State::Limited);
        Some(Probe { breaker: self, done: false })
    }

    /// Runs `op` if the gate lets it; `is_failure` says which errors count against what is called.
    /// The first call after the back-off is the probe. A dropped call counts as nothing while open.
    ///
    /// # Errors
    /// [`CallError::Refused`] without having called, or the call's own error.
    pub async fn call<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        op: impl FnOnce() -> F,
        is_failure: impl FnOnce(&E) -> bool,
    ) -> Result<T, CallError<E>> {
        let probe = self.probe();
        let state = self.state();
        if probe.is_none() && state != State::Open {
            return Err(Refused { name: self.gate.name().to_owned(), state }.into());
        }
        let result = op().await;
        let ok = result.as_ref().err().is_none_or(|error| !is_failure(error));
        match probe {
            Some(probe) => probe.finish(ok),
            None => self.record(ok),
        }
        result.map_err(CallError::Failed)
    }

    fn probed(&self, ok: bool) {
        let mut core = self.core.lock();
        if ok {
            core.open();
            self.gate.set(State::Open);
        } else {
            core.shut(Instant::now());
            self.gate.set(State::Shut);
        }
    }
}

impl Probe<'_> {
    pub fn finish(mut self, ok: bool) {
        self.done = true;
        self.breaker.probed(ok);
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.breaker.probed(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn breaker(name: &str) -> Breaker {
        let config = Config { failures: 3, backoff_min: Span::secs(1), ..Config::default() };
        Breaker::new(name, config)
    }

    async fn call(breaker: &Breaker, ok: bool) -> Result<(), CallError<&'static str>> {
        breaker.call(|| async move { if ok { Ok(()) } else { Err("no") } }, |_| true).await
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_shut_and_a_probe_opens() {
        let b = breaker("b1");
        for ok in [false, false, true, false, false] {
            let _ = call(&b, ok).await;
        }
        assert_eq!(b.state(), State::Open, "a success starts the count over");
        let _ = call(&b, false).await;
        assert_eq!(b.state(), State::Shut);
        assert!(matches!(call(&b, true).await, Err(CallError::Refused(_))), "not before the back-off");

        tokio::time::advance(Duration::from_secs(2)).await;
        let probe = b.probe().expect("the back-off has passed");
        assert_eq!(b.state(), State::Limited);
        assert!(b.probe().is_none(), "one probe only");
        assert!(matches!(call(&b, true).await, Err(CallError::Refused(_))));
        probe.finish(false);
        assert_eq!(b.state(), State::Shut);

        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(b.probe().is_none(), "the second back-off is longer");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(call(&b, true).await.is_ok(), "a call can be the probe");
        assert_eq!(b.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_low_share_of_successes_shuts() {
        let b = breaker("b2");
        for i in 0..30 {
            let _ = call(&b, i % 3 == 0).await;
        }
        assert_eq!(b.state(), State::Shut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_probe_counts_as_failed() {
        let b = breaker("b3");
        b.trip();
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(b.probe());
        assert_eq!(b.state(), State::Shut);
    }
}
