//! Whether requests may go to an endpoint: open, limited to one probe, or shut.
//!
//! Refuses to decide; the breaker does. Every change is counted, and whoever waits for one is woken.

use tokio::sync::watch;

use crate::telemetry::metrics::{METRICS, Metrics};

/// What a gate lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every request.
    Open,
    /// One probe, whose outcome decides what comes next.
    Limited,
    /// Nothing, until a back-off has passed.
    Shut,
}

impl State {
    pub const ALL: [&'static str; 3] = ["open", "limited", "shut"];

    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Limited => "limited",
            State::Shut => "shut",
        }
    }
}

/// A gate with a name, for logs and metrics.
#[derive(Debug)]
pub struct Gate {
    name: String,
    state: watch::Sender<State>,
}

impl Gate {
    /// An open gate. The name becomes a metric's label, so it comes from the configuration.
    pub fn new(name: &str) -> Gate {
        let gate = Gate { name: name.to_owned(), state: watch::Sender::new(State::Open) };
        Metrics::set_state(&METRICS.gate_state, &[name], State::Open.name(), &State::ALL);
        for to in State::ALL {
            METRICS.gate_transitions.with_label_values(&[name, to]);
        }
        gate
    }

    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sees every later change.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Moves the gate and says so, if this is a change.
    pub fn set(&self, to: State) {
        let changed = self.state.send_if_modified(|state| std::mem::replace(state, to) != to);
        if !changed {
            return;
        }
        Metrics::set_state(&METRICS.gate_state, &[&self.name], to.name(), &State::ALL);
        METRICS.gate_transitions.with_label_values(&[self.name.as_str(), to.name()]).inc();
        match to {
            State::Shut => tracing::warn!(endpoint = self.name, "gate shut"),
            State::Limited => tracing::debug!(endpoint = self.name, "gate limited"),
            State::Open => tracing::info!(endpoint = self.name, "gate open"),
        }
    }
}
