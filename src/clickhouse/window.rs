//! The share of calls that succeeded lately.
//!
//! Refuses to know clocks: every method takes `now`. Buckets forget exactly, where a moving average
//! would let one bad minute colour a quiet hour.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// More buckets forget more smoothly and cost more; ten lose at most a tenth of the span early.
const BUCKETS: u32 = 10;

#[derive(Debug)]
struct Bucket {
    start: Instant,
    ok: u64,
    failed: u64,
}

/// Outcomes of the last `span`.
#[derive(Debug)]
pub struct Window {
    span: Duration,
    buckets: VecDeque<Bucket>,
}

impl Window {
    pub fn new(span: Duration) -> Window {
        Window { span, buckets: VecDeque::new() }
    }

    pub fn record(&mut self, ok: bool, now: Instant) {
        self.forget(now);
        let width = self.span / BUCKETS;
        if self.buckets.back().is_none_or(|b| now.saturating_duration_since(b.start) >= width) {
            self.buckets.push_back(Bucket { start: now, ok: 0, failed: 0 });
        }
        if let Some(bucket) = self.buckets.back_mut() {
            if ok { bucket.ok += 1 } else { bucket.failed += 1 }
        }
    }

    /// Calls in the window, and how many of them succeeded.
    pub fn counts(&mut self, now: Instant) -> (u64, u64) {
        self.forget(now);
        self.buckets.iter().fold((0, 0), |(all, ok), b| (all + b.ok + b.failed, ok + b.ok))
    }

    pub fn clear(&mut self) {
        self.buckets.clear();
    }

    fn forget(&mut self, now: Instant) {
        while self.buckets.front().is_some_and(|b| now.saturating_duration_since(b.start) >= self.span) {
            self.buckets.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outcomes_count_until_they_leave_the_window() {
        let t0 = Instant::now();
        let at = |s| t0 + Duration::from_secs(s);
        let mut window = Window::new(Duration::from_secs(10));
        window.record(true, at(0));
        window.record(false, at(5));
        assert_eq!(window.counts(at(9)), (2, 1));
        assert_eq!(window.counts(at(10)), (1, 0), "the first left");
        assert_eq!(window.counts(at(15)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_however_many_calls_there_are() {
        let t0 = Instant::now();
        let mut window = Window::new(Duration::from_secs(1));
        for ms in 0..100_000_u64 {
            window.record(ms % 2 == 0, t0 + Duration::from_millis(ms));
        }
        assert!(window.buckets.len() <= 11, "{}", window.buckets.len());
    }
}
