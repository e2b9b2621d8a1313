//! A limit on records per second that looks back instead of ahead.
//!
//! Refuses to wait: it says how long reading has to pause. A burst may overshoot by what one turn of the
//! loop takes in; the debt is paid by a longer pause, so over time the rate is kept exactly.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Pace {
    records_per_second: f64,
    /// Records that may still be read; negative is debt.
    allowance: f64,
    updated: Instant,
}

impl Pace {
    /// Starts with an allowance of one second.
    pub fn new(records_per_second: u32, now: Instant) -> Pace {
        let records_per_second = f64::from(records_per_second.max(1));
        Pace { records_per_second, allowance: records_per_second, updated: now }
    }

    /// Counts records that were read.
    pub fn spend(&mut self, records: u64) {
        // Exact up to 2^53 records in one turn.
        #[allow(clippy::cast_precision_loss)]
        let records = records as f64;
        self.allowance -= records;
    }

    /// How long reading has to pause from `now` on; zero while there is allowance left.
    pub fn pause(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        self.allowance = (self.allowance + passed * self.records_per_second).min(self.records_per_second);
        Duration::from_secs_f64((-self.allowance / self.records_per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_whatever_the_bursts() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        let mut now = start;
        let mut read = 0;
        for burst in [500u64, 1, 30, 1000, 7, 250].into_iter().cycle().take(60) {
            now += pace.pause(now);
            pace.spend(burst);
            read += burst;
        }
        now += pace.pause(now);
        let seconds = (now - start).as_secs_f64();
        let expected = (read as f64 - 100.0) / 100.0;
        assert!((seconds - expected).abs() < 0.01, "{seconds} {expected}");
    }
}
