//! Watches one endpoint without needing traffic: finds out that it hangs, and that it works again.
//!
//! Refuses to send anything but pings. Its three functions are the gate's three states: serving until
//! the gate shuts, shut until the back-off has passed, limited for one probe.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::breaker::Probe;
use super::endpoint::Endpoint;
use super::gate::State;
use super::members::InForce;
use crate::telemetry::metrics::METRICS;

/// Pings without an answer that shut the gate: a second one, made at once, tells a hanging server from
/// a lost packet.
const UNANSWERED_MAX: u32 = 2;

/// Everything one watcher needs.
pub struct Watch {
    pub in_force: InForce,
    pub endpoint: Arc<Endpoint>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Told whenever a gate opens.
    pub opened: Arc<Notify>,
}

impl Watch {
    /// Watches for ever. Cancel-safe.
    pub async fn run(self) {
        let endpoint = Arc::clone(&self.endpoint);
        loop {
            self.serving(&endpoint).await;
            while endpoint.breaker().state() != State::Open {
                let probe = shut(&endpoint).await;
                self.limited(&endpoint, probe).await;
            }
            self.opened.notify_waiters();
        }
    }

    /// Pings until the gate is shut, by the pings or by the traffic.
    async fn serving(&self, endpoint: &Endpoint) {
        let mut gate = endpoint.breaker().subscribe();
        let pings = async {
            let mut unanswered = 0;
            loop {
                // The second ping is made at once and has less time, so that both end within 5 s.
                let timeout = if unanswered == 0 { self.timeout } else { self.timeout.min(self.interval) };
                if self.alive(endpoint, timeout).await {
                    unanswered = 0;
                    sleep(self.interval).await;
                    continue;
                }
                unanswered += 1;
                if unanswered >= UNANSWERED_MAX {
                    break;
                }
            }
        };
        tokio::select! {
            () = pings => {
                endpoint.breaker().trip();
                self.give_up_requests(endpoint);
            }
            // What shut it was the traffic; requests that still run may yet be answered.
            _ = gate.wait_for(|state| *state != State::Open) => {}
        }
    }

    async fn limited(&self, endpoint: &Endpoint, probe: Probe<'_>) {
        let ok = self.alive(endpoint, self.timeout).await;
        probe.finish(ok);
        if !ok {
            self.give_up_requests(endpoint);
        }
    }

    /// A server that refuses the ping with an exception is alive.
    async fn alive(&self, endpoint: &Endpoint, timeout: Duration) -> bool {
        let result = endpoint.ping(timeout).await;
        METRICS.ch_up.with_label_values(&[endpoint.name()]).set(i64::from(result.is_ok()));
        let Err(error) = &result else { return true };
        if endpoint.breaker().state() == State::Open {
            tracing::warn!(endpoint = endpoint.name(), %error, "health check failed");
        }
        let against = error.counts_against_endpoint();
        if against {
            endpoint.note_failure(error);
        }
        !against
    }

    /// Breaks the requests that wait for a server behind a shut gate, if another can take them.
    fn give_up_requests(&self, endpoint: &Endpoint) {
        let is_other = |other: &Arc<Endpoint>| !Arc::ptr_eq(other, &self.endpoint);
        let in_force = self.in_force.read().clone();
        let elsewhere =
            in_force.iter().any(|other| is_other(other) && other.breaker().state() == State::Open);
        if elsewhere && endpoint.outstanding() > 0 {
            tracing::warn!(
                endpoint = endpoint.name(),
                requests = endpoint.outstanding(),
                "requests given up, their outcome is unknown"
            );
            endpoint.connections().break_all();
        }
    }
}

/// Waits until the probe may be made.
async fn shut(endpoint: &Endpoint) -> Probe<'_> {
    loop {
        let at = endpoint.breaker().probe_at().unwrap_or_else(Instant::now);
        tokio::select! {
            () = sleep_until(at) => {}
            () = endpoint.breaker().hastened() => {}
        }
        if let Some(probe) = endpoint.breaker().probe() {
            return probe;
        }
        // Only a change between two of the lines above leads here; the next turn sees it.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn a_hanging_endpoint_is_shut_within_five_seconds_by_default() {
        let config = Config::default();
        let (interval, timeout) = (config.health_interval.0, config.health_timeout.0);
        // It hangs right after a good ping: the pause, a whole ping, and the shorter second one.
        assert!(interval + timeout + timeout.min(interval) < Duration::from_secs(5));
    }
}
