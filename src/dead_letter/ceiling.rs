//! Whether so many of a topic's records are refused that reading it does more harm than good.
//!
//! Refuses to pause anything: it is told counts and says what holds. A mistake in a table file, or a producer
//! that changed its format, makes every record a dead letter; beyond the ceiling the topic waits instead, and
//! after each window a probe of records is let through to see whether that is over.

use std::time::{Duration, Instant};

use super::config::Ceiling as Config;

/// The window moves in steps of this part of it.
const STEPS: u32 = 12;
/// Records that a probe lets through, unless fewer open the ceiling.
const PROBE_RECORDS_MAX: u64 = 100;

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    records: u64,
    refused: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.records += other.records;
        self.refused += other.refused;
    }

    /// Whether more of them were refused than so many percent.
    fn exceeds(self, percent: u8) -> bool {
        u64::from(percent) * self.records < self.refused.saturating_mul(100)
    }
}

#[derive(Debug)]
enum State {
    /// Counts by step, oldest first, each with its begin.
    Open(std::collections::VecDeque<(Instant, Counts)>),
    Shut {
        since: Instant,
        counts: Counts,
    },
    /// Counts since the probe began, and what shut it.
    Probing {
        counts: Counts,
        before: Counts,
    },
}

/// One topic's ceiling.
#[derive(Debug)]
pub struct Ceiling {
    percent_max: u8,
    records_min: u64,
    window: Duration,
    state: State,
}

impl Ceiling {
    pub fn new(config: &Config) -> Ceiling {
        Ceiling {
            percent_max: config.percent_max,
            records_min: u64::from(config.records_min),
            window: config.window.0,
            state: State::Open(std::collections::VecDeque::new()),
        }
    }

    /// Counts records that were taken in since the last call and how many of them were refused; says whether
    /// reading has to stop.
    pub fn record(&mut self, records: u64, refused: u64, now: Instant) -> bool {
        let new = Counts { records, refused };
        let probe_records = self.probe_records();
        match &mut self.state {
            State::Open(steps) => {
                let window = self.window;
                while steps.front().is_some_and(|(begin, _)| window <= now.saturating_duration_since(*begin))
                {
                    steps.pop_front();
                }
                match steps.back_mut() {
                    Some((begin, counts)) if now.saturating_duration_since(*begin) < window / STEPS => {
                        counts.add(new);
                    }
                    _ => steps.push_back((now, new)),
                }
                let mut counts = Counts::default();
                steps.iter().for_each(|(_, step)| counts.add(*step));
                if self.records_min <= counts.records && counts.exceeds(self.percent_max) {
                    self.state = State::Shut { since: now, counts };
                }
            }
            // What was on its way when it was shut.
            State::Shut { since, counts } => {
                counts.add(new);
                if self.window <= now.saturating_duration_since(*since) {
                    self.state = State::Probing { counts: Counts::default(), before: *counts };
                }
            }
            State::Probing { counts, before } => {
                counts.add(new);
                if probe_records <= counts.records {
                    let (counts, before) = (*counts, *before);
                    self.state = match counts.exceeds(self.percent_max) {
                        true => State::Shut { since: now, counts: before },
                        false => State::Open(std::collections::VecDeque::new()),
                    };
                }
            }
        }
        matches!(self.state, State::Shut { .. })
    }

    /// How many records may be taken in before the next look; `None` as many as are there.
    pub fn turn_records(&self) -> Option<u64> {
        matches!(self.state, State::Probing { .. }).then(|| self.probe_records())
    }

    /// Records taken in and refused when it was shut, while it is, and while it is probed.
    pub fn exceeded(&self) -> Option<(u64, u64)> {
        match &self.state {
            State::Open(_) => None,
            State::Shut { counts, .. } | State::Probing { before: counts, .. } => {
                Some((counts.records, counts.refused))
            }
        }
    }

    fn probe_records(&self) -> u64 {
        self.records_min.clamp(1, PROBE_RECORDS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    const WINDOW: Duration = Duration::from_secs(60);

    fn ceiling(percent_max: u8) -> Ceiling {
        Ceiling::new(&Config { percent_max, records_min: 1000, window: Span(WINDOW) })
    }

    #[test]
    fn more_than_half_of_a_thousand_within_a_minute_shuts() {
        let now = Instant::now();
        assert!(!ceiling(50).record(999, 999, now), "too few to judge");
        assert!(!ceiling(50).record(1000, 500, now), "half is not more than half");
        assert!(ceiling(50).record(1000, 501, now));
        assert!(!ceiling(100).record(1_000_000, 1_000_000, now), "off");
        assert!(ceiling(0).record(1000, 1, now));
        let mut one = ceiling(50);
        assert!(!one.record(600, 600, now));
        assert!(one.record(400, 0, now + WINDOW / 2), "600 of 1000 within the window");
        let mut two = ceiling(50);
        assert!(!two.record(600, 600, now));
        assert!(!two.record(999, 400, now + WINDOW), "the first are out of the window");
    }

    #[test]
    fn good_records_of_before_count_until_they_are_out_of_the_window() {
        let now = Instant::now();
        let mut one = ceiling(50);
        assert!(!one.record(100_000, 0, now));
        assert!(!one.record(2000, 2000, now + WINDOW / 2));
        assert!(one.record(2000, 2000, now + WINDOW));
    }

    #[test]
    fn a_probe_decides_after_the_window() {
        let start = Instant::now();
        let mut one = ceiling(50);
        assert!(one.record(1000, 1000, start));
        assert!(one.record(5, 5, start + WINDOW / 2), "what was on its way");
        assert_eq!((one.exceeded(), one.turn_records()), (Some((1005, 1005)), None));
        let probing = start + WINDOW;
        assert!(!one.record(0, 0, probing));
        assert_eq!(one.turn_records(), Some(100));
        assert!(!one.record(99, 99, probing), "the probe is not over");
        assert!(one.record(1, 1, probing), "still bad");
        assert!(one.record(0, 0, probing + WINDOW / 2));
        assert!(!one.record(0, 0, probing + WINDOW));
        assert!(!one.record(100, 50, probing + WINDOW), "good enough");
        assert_eq!((one.exceeded(), one.turn_records()), (None, None));
        assert!(!one.record(900, 900, probing + WINDOW), "it counts anew");
    }

    #[test]
    fn what_it_keeps_is_bounded() {
        let start = Instant::now();
        let mut one = ceiling(50);
        for ms in 0..200_000 {
            one.record(1, 0, start + Duration::from_millis(ms));
        }
        match &one.state {
            State::Open(steps) => assert!(steps.len() <= STEPS as usize + 1, "{}", steps.len()),
            other => panic!("{other:?}"),
        }
    }
}
