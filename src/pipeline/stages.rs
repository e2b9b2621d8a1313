//! How long each stage of one member was at work, and how long it waited for the next.
//!
//! Refuses to read the clock for a record: it is read a few times in each turn of the loop and once for each look at
//! librdkafka's queue, and the sums are carried to the metrics a few times a second.

use std::time::{Duration, Instant};

use super::worker::Worker;
use crate::telemetry::metrics::METRICS;

/// One member's times since they were last reported.
#[derive(Debug)]
pub struct Stages {
    /// When the last turn was looked at.
    looked: Instant,
    fetch: Duration,
    decode: Duration,
    /// Reading stood still for a table.
    fetch_waited: Duration,
    /// The thread stood still, its records not taken in.
    decode_waited: Duration,
    /// Closed batches lay waiting for an insert that may begin, summed over the tables.
    batch_waited: Duration,
    /// A commit was due while another was under way.
    commit_waited: Duration,
    /// This member's shares of the gauges.
    insert_workers: i64,
    batches_waiting: i64,
    letters_waiting: i64,
}

impl Stages {
    pub fn new(now: Instant) -> Stages {
        let none = Duration::ZERO;
        Stages {
            looked: now,
            fetch: none,
            decode: none,
            fetch_waited: none,
            decode_waited: none,
            batch_waited: none,
            commit_waited: none,
            insert_workers: 0,
            batches_waiting: 0,
            letters_waiting: 0,
        }
    }

    /// Records were taken in for `took`, of which `fetched` went to librdkafka and `waited` to waiting for a message.
    pub fn took_in(&mut self, took: Duration, (fetched, waited): (Duration, Duration)) {
        self.fetch += fetched;
        self.decode += took.saturating_sub(fetched + waited);
    }

    /// The thread has waited for an answer instead of taking records in.
    pub fn held(&mut self, waited: Duration) {
        self.decode_waited += waited;
    }

    /// Carries the sums to the metrics.
    fn publish(&mut self) {
        let stages = &METRICS.stages;
        let busy = [("fetch", &mut self.fetch), ("decode", &mut self.decode)];
        for (stage, time) in busy {
            stages.busy.with_label_values(&[stage]).inc_by(std::mem::take(time).as_secs_f64());
        }
        let waited = [
            ("fetch", &mut self.fetch_waited),
            ("decode", &mut self.decode_waited),
            ("batch", &mut self.batch_waited),
            ("commit", &mut self.commit_waited),
        ];
        for (stage, time) in waited {
            stages.backpressure.with_label_values(&[stage]).inc_by(std::mem::take(time).as_secs_f64());
        }
    }
}

/// Adds what has changed to a gauge that the members of a process share.
fn share(gauge: &prometheus::IntGauge, before: &mut i64, now: usize) {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    gauge.add(now.saturating_sub(*before));
    *before = now;
}

impl Worker {
    /// Adds the turn that ends now to the times of waiting.
    pub fn look_at_stages(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.stages.looked);
        self.stages.looked = now;
        if self.regulator.stops_any() {
            self.stages.fetch_waited += passed;
        }
        let waiting = self.line.lanes.iter().filter(|lane| 0 < lane.waiting()).count();
        self.stages.batch_waited += passed.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        if self.commits.is_late(now) {
            self.stages.commit_waited += passed;
        }
    }

    /// Carries the times and the shares of the gauges to the metrics.
    pub fn report_stages(&mut self) {
        let (lanes, stages) = (&self.line.lanes, &mut self.stages);
        stages.publish();
        let gauges = &METRICS.stages;
        let workers = lanes.iter().map(|lane| lane.limits.in_flight_max).sum();
        let before = stages.insert_workers;
        share(&gauges.workers.with_label_values(&["insert"]), &mut stages.insert_workers, workers);
        // Each batch is encoded by the task that sends it.
        gauges.workers.with_label_values(&["batch"]).add(stages.insert_workers - before);
        let waiting = lanes.iter().map(super::lane::Lane::waiting).sum();
        share(&gauges.queue_depth.with_label_values(&["insert"]), &mut stages.batches_waiting, waiting);
        let letters = self.line.letters.len();
        share(&gauges.queue_depth.with_label_values(&["dead_letter"]), &mut stages.letters_waiting, letters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_fetching_and_not_waiting_is_decoding() {
        let ms = Duration::from_millis;
        let mut stages = Stages::new(Instant::now());
        stages.took_in(ms(100), (ms(10), ms(60)));
        stages.took_in(ms(5), (ms(10), ms(0)));
        assert_eq!((stages.fetch, stages.decode), (ms(20), ms(30)));
        let before = METRICS.stages.busy.with_label_values(&["decode"]).get();
        stages.publish();
        assert!(METRICS.stages.busy.with_label_values(&["decode"]).get() >= before + 0.03);
        assert_eq!(stages.decode, Duration::ZERO);
    }
}
