//! Tries again what may succeed later, within a deadline and a budget.
//!
//! Refuses to know what is tried: the caller classifies its errors. A budget that successes fill keeps
//! retries a fraction of the traffic, so that a failing server is not buried under repetitions.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::units::Span;

/// How long and how often a call is repeated.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A call with all of its retries ends within this time.
    pub deadline: Span,
    /// Wait before the first retry; it doubles with each, and jitter may double it again.
    pub backoff_min: Span,
    /// Longest wait before a retry, without jitter.
    pub backoff_max: Span,
    /// Retries that each success allows: 0.2 means that one retry comes with five successes.
    pub budget_ratio: f64,
    /// Retries per second that are allowed without any success.
    pub budget_per_second: f64,
    /// Retries that can be saved up.
    pub budget_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            deadline: Span::secs(30),
            backoff_min: Span::millis(100),
            backoff_max: Span::secs(10),
            budget_ratio: 0.2,
            budget_per_second: 2.0,
            budget_max: 50,
        }
    }
}

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Again at once, where else.
    Now,
    /// Again after the back-off.
    Later,
    /// Not again.
    Never,
}

/// Why a call was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The error cannot be cured by repeating.
    NotRetryable,
    /// The next try would start after the deadline.
    Deadline,
    /// Too few calls succeeded lately.
    Budget,
}

/// A call that was given up, with the error of its last try.
#[derive(Debug)]
pub struct Exhausted<E> {
    pub error: E,
    pub attempts: u32,
    pub reason: Reason,
}

/// Saved-up retries. Pure: every method takes `now`.
#[derive(Debug)]
struct Bucket {
    balance: f64,
    filled_at: Instant,
}

/// A token bucket shared by all calls of one client.
#[derive(Debug)]
pub struct Budget {
    ratio: f64,
    per_second: f64,
    max: f64,
    bucket: Mutex<Bucket>,
}

impl Budget {
    pub fn new(config: &Config, now: Instant) -> Budget {
        let max = f64::from(config.budget_max);
        Budget {
            ratio: config.budget_ratio,
            per_second: config.budget_per_second,
            max,
            bucket: Mutex::new(Bucket { balance: max, filled_at: now }),
        }
    }

    /// Adds what one success allows.
    pub fn deposit(&self) {
        let mut bucket = self.bucket.lock();
        bucket.balance = (bucket.balance + self.ratio).min(self.max);
    }

    /// Takes one retry, if there is one.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock();
        let passed = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        bucket.filled_at = now;
        bucket.balance = (bucket.balance + passed * self.per_second).min(self.max);
        let granted = bucket.balance >= 1.0;
        if granted {
            bucket.balance -= 1.0;
        }
        granted
    }
}

/// Deadline, back-off and budget of one call.
#[derive(Debug)]
pub struct Policy<'a> {
    config: &'a Config,
    budget: &'a Budget,
    /// Tries that may follow at once, for as many places there are to go.
    now_max: u32,
    deadline: Instant,
}

impl<'a> Policy<'a> {
    /// A policy whose deadline starts now. At most `now_max` retries are made without a back-off.
    pub fn new(config: &'a Config, budget: &'a Budget, now_max: u32) -> Policy<'a> {
        Policy { config, budget, now_max, deadline: Instant::now() + config.deadline.0 }
    }

    /// The same policy with a deadline that is not after `at`.
    pub fn until(mut self, at: Option<Instant>) -> Policy<'a> {
        self.deadline = at.map_or(self.deadline, |at| at.min(self.deadline));
        self
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.config.backoff_min.0)
            .with_max_delay(self.config.backoff_max.0.max(self.config.backoff_min.0))
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// Calls `op` with the number of the attempt, from 1, until it succeeds or is given up. `classify` sees
/// each error once. Cancel-safe if `op` is: nothing but the attempt under way is lost.
///
/// # Errors
/// The last attempt's error with the reason why no other followed.
pub async fn run<T, E, F: Future<Output = Result<T, E>>>(
    policy: &Policy<'_>,
    mut classify: impl FnMut(&E) -> Next,
    mut op: impl FnMut(u32) -> F,
) -> Result<T, Exhausted<E>> {
    let mut backoff = policy.backoff();
    let mut attempts: u32 = 0;
    let mut now_left = policy.now_max;
    loop {
        attempts = attempts.saturating_add(1);
        let error = match op(attempts).await {
            Ok(value) => {
                policy.budget.deposit();
                return Ok(value);
            }
            Err(error) => error,
        };
        let wait = match classify(&error) {
            Next::Never => return Err(Exhausted { error, attempts, reason: Reason::NotRetryable }),
            Next::Now if now_left > 0 => {
                now_left -= 1;
                Duration::ZERO
            }
            Next::Now | Next::Later => backoff.next().unwrap_or(policy.config.backoff_max.0),
        };
        let now = Instant::now();
        if now + wait >= policy.deadline {
            return Err(Exhausted { error, attempts, reason: Reason::Deadline });
        }
        if !policy.budget.withdraw(now) {
            return Err(Exhausted { error, attempts, reason: Reason::Budget });
        }
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { deadline: Span::secs(10), backoff_min: Span::secs(1), budget_max: 5, ..Config::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_until_success_and_counts_attempts() {
        let config = config();
        let budget = Budget::new(&config, Instant::now());
        let start = Instant::now();
        let policy = Policy::new(&config, &budget, 1);
        let op = |n| async move { if n < 3 { Err(n) } else { Ok(n) } };
        let done = run(&policy, |_| Next::Now, op).await.unwrap();
        assert_eq!(done, 3);
        let waited = start.elapsed();
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(3), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_for_each_reason() {
        let config = Config { budget_per_second: 0.0, ..config() };
        let budget = Budget::new(&config, Instant::now());
        let policy = Policy::new(&config, &budget, 9);
        let fail = |_| async { Err::<(), _>("no") };
        let end = run(&policy, |_| Next::Never, fail).await.unwrap_err();
        assert_eq!((end.attempts, end.reason), (1, Reason::NotRetryable));
        let end = run(&policy, |_| Next::Now, fail).await.unwrap_err();
        assert_eq!((end.attempts, end.reason), (6, Reason::Budget));

        let start = Instant::now();
        let config = Config { budget_max: 1000, ..config };
        let budget = Budget::new(&config, Instant::now());
        let end = run(&Policy::new(&config, &budget, 0), |_| Next::Later, fail).await.unwrap_err();
        assert_eq!(end.reason, Reason::Deadline);
        assert!(start.elapsed() <= Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn successes_and_time_fill_the_budget() {
        let config = Config { budget_ratio: 0.5, budget_per_second: 1.0, budget_max: 1, ..config() };
        let t0 = Instant::now();
        let budget = Budget::new(&config, t0);
        assert!(budget.withdraw(t0));
        assert!(!budget.withdraw(t0));
        budget.deposit();
        assert!(!budget.withdraw(t0), "half a retry is none");
        budget.deposit();
        assert!(budget.withdraw(t0));
        assert!(budget.withdraw(t0 + Duration::from_secs(1)));
    }
}
