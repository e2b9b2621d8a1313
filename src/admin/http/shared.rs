//! Answers that several who ask at about the same time share, so that many clients cost servers no more than one.
//!
//! Refuses what depends on who asks, and to outlive a change: each request that changes something, and each step of a
//! job, makes everything that was found before it old. What others change is seen when an answer's time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use serde_json::Value;

use super::problem::Problem;
use crate::telemetry::metrics::METRICS;

/// Answers that are kept; beyond that the one that was wanted least goes.
const ANSWERS_MAX: u64 = 64;

/// The changes that an answer was found after, and what was asked for.
type Key = (u64, u64, String);

pub struct Shared {
    /// None where nothing is shared.
    answers: Option<Cache<Key, Value>>,
    changes: AtomicU64,
}

impl Shared {
    /// Answers are given again for so long; with zero each is found anew.
    pub fn new(kept: Duration) -> Shared {
        let cache = || Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(kept).build();
        Shared { answers: (!kept.is_zero()).then(cache), changes: AtomicU64::new(0) }
    }

    /// What was found a moment ago, or what `find` finds now; who asks meanwhile waits for it. `jobs` counts the changes
    /// that jobs made; `action` is what is counted.
    ///
    /// Dropping it is safe: the next one in the row looks. What `find` fails with is told to all who waited, and not kept.
    pub async fn answer(
        &self,
        action: &str,
        asked: String,
        jobs: u64,
        find: impl Future<Output = Result<Value, Problem>>,
    ) -> Result<Value, Problem> {
        let Some(answers) = &self.answers else { return find.await };
        let key = (self.changes.load(Ordering::Acquire), jobs, asked);
        let is_kept = answers.contains_key(&key);
        let found = answers.entry(key).or_try_insert_with(find).await.map_err(Arc::unwrap_or_clone)?;
        if !is_kept && !found.is_fresh() {
            METRICS.admin.coalesced.with_label_values(&[action]).inc();
        }
        Ok(found.into_value())
    }

    /// Something was changed.
    pub fn forget(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use axum::http::StatusCode;
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    async fn counted(found: &AtomicU32) -> Result<Value, Problem> {
        Ok(found.fetch_add(1, Ordering::Relaxed).into())
    }

    #[tokio::test]
    async fn what_was_found_is_given_again_until_something_changes() {
        let (shared, found) = (Shared::new(LONG), AtomicU32::new(0));
        let ask = async |jobs: u64, what: &str| {
            shared.answer("kept", what.to_owned(), jobs, counted(&found)).await.unwrap()
        };
        assert_eq!(ask(0, "a").await, 0);
        assert_eq!(ask(0, "a").await, 0);
        assert_eq!(ask(0, "b").await, 1);
        assert_eq!(ask(1, "a").await, 2);
        shared.forget();
        assert_eq!(ask(1, "a").await, 3);
        assert_eq!(ask(1, "a").await, 3);

        let none = Shared::new(Duration::ZERO);
        for expected in [4, 5] {
            let answer = none.answer("none", "a".to_owned(), 0, counted(&found)).await.unwrap();
            assert_eq!(answer, expected);
        }
    }

    #[tokio::test]
    async fn who_asks_meanwhile_waits_and_a_failure_is_told_to_all_and_not_kept() {
        let (shared, found, gate) = (Shared::new(LONG), AtomicU32::new(0), Semaphore::new(0));
        let slow = async || {
            let _passed = gate.acquire().await.unwrap();
            found.fetch_add(1, Ordering::Relaxed);
            Err(Problem::new(StatusCode::BAD_GATEWAY, "away", "the server is away"))
        };
        let ask = || shared.answer("failed", "a".to_owned(), 0, slow());
        let open = async {
            tokio::task::yield_now().await;
            gate.add_permits(100);
        };
        let (first, second, third, ()) = tokio::join!(ask(), ask(), ask(), open);
        for answer in [first, second, third] {
            assert_eq!(answer.unwrap_err().status, 502);
        }
        assert_eq!(found.load(Ordering::Relaxed), 1);
        shared.answer("failed", "a".to_owned(), 0, counted(&found)).await.unwrap();
        assert_eq!(found.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn who_waits_for_another_is_counted_and_who_finds_or_comes_later_is_not() {
        let (shared, found, gate) = (Shared::new(LONG), AtomicU32::new(0), Semaphore::new(0));
        let slow = async || {
            let _passed = gate.acquire().await.unwrap();
            counted(&found).await
        };
        let ask = || shared.answer("waited", "a".to_owned(), 0, slow());
        let open = async {
            tokio::task::yield_now().await;
            gate.add_permits(100);
        };
        let (first, second, third, ()) = tokio::join!(ask(), ask(), ask(), open);
        assert_eq!([first, second, third].map(Result::unwrap), [0, 0, 0]);
        let waited = || METRICS.admin.coalesced.with_label_values(&["waited"]).get();
        assert_eq!(waited(), 2);
        assert_eq!(ask().await.unwrap(), 0);
        assert_eq!(waited(), 2, "it was there");
    }
}
