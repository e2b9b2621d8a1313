//! How large, how old and how many the batches of one table may be, so that its merges keep up.
//!
//! Refuses to know servers: it is told what was read, and does no I/O. Three rules hang together:
//!
//! - **The window.** A reading grants a number of inserts, and nothing is sent beyond it until the next one.
//!   It is a part of what is free below the limit, so that even without a single merge the limit is not
//!   reached (invariant I12). Where merges are slower than inserts, a reading grants what they freed.
//! - **The gain**, which part of it: it grows in steps and halves when the limit was passed all the same, as
//!   TCP does. Processes that do not know of each other see the same parts, and so share them.
//! - **The ramp.** From half of the limit on, and whenever the window was too small, batches grow older and
//!   larger and fewer of them are sent at once, so that the same rows make fewer parts.
//!
//! What is not known is never taken as fine: without a fresh reading an insert a second is sent at most.

use std::time::{Duration, Instant};

use super::config::Config;
use super::reading::Reading;

/// Share of the limit at which batches begin to grow, and at which they are as large as they get.
const RAMP_FROM: f64 = 0.5;
pub(super) const RAMP_TO: f64 = 0.85;
const GAIN_FIRST: f64 = 0.1;
const GAIN_STEP: f64 = 0.05;
const GAIN_MIN: f64 = 1.0 / 64.0;
const GAIN_MAX: f64 = 0.5;
/// How far a window that was too small moves up the ramp, and one that was hardly used moves down.
const STARVED_UP: f64 = 0.34;
const STARVED_DOWN: f64 = 0.1;
/// Share of the way back that one better reading goes.
const RECOVERY: f64 = 0.3;
/// Smallest share of the limits of rows and bytes that a server without memory leads to.
const MEMORY_MIN: f64 = 1.0 / 64.0;
const MEMORY_GROWTH: f64 = 1.1;
/// While nothing is known.
const UNKNOWN_INSERTS_PER_SECOND: f64 = 1.0;
const UNKNOWN_RAMP: f64 = 0.34;
/// Intervals without a reading after which the last one says nothing any more.
const STALE_INTERVALS: u32 = 3;

/// What the batches of one table may be now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub rows_max: usize,
    pub bytes_max: usize,
    pub age_max: Duration,
    pub in_flight_max: usize,
    /// Inserts per second of this process; `None` where only the window limits them.
    pub inserts_per_second_max: Option<f64>,
}

impl Limits {
    /// As configured.
    pub fn of(config: &Config) -> Limits {
        Limits {
            rows_max: config.rows_max as usize,
            bytes_max: config.bytes_max.as_usize(),
            age_max: config.age_max.0,
            in_flight_max: usize::from(config.in_flight_max),
            inserts_per_second_max: None,
        }
    }
}

/// How the table fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Batches are as configured.
    Free,
    /// They are larger, older and fewer.
    Growing,
    /// Inserts wait for merges.
    Throttled,
    /// There is no fresh reading.
    Unknown,
}

impl State {
    pub const ALL: [&'static str; 4] = ["free", "growing", "throttled", "unknown"];

    pub fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Growing => "growing",
            State::Throttled => "throttled",
            State::Unknown => "unknown",
        }
    }
}

/// How an insert ended, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Written,
    /// The server lacked the memory.
    OutOfMemory,
    /// There were too many parts.
    TooManyParts,
    Other,
}

/// Whether an insert may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Under this number, which [`Controller::end`] wants back.
    Go(u64),
    /// Not before this, unless a reading comes first.
    Wait(Instant),
}

/// The inserts that had ended when a server was asked: they are in its answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    ended: u64,
}

/// The controller of one table in one process.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    /// This process's share of the group, 0 to 1.
    share: f64,
    reading: Option<(Reading, Instant)>,
    gain: f64,
    /// As a share of the limit: rises at once, falls slowly.
    strain: f64,
    starved: f64,
    /// Inserts that may still begin before the next reading.
    credits: f64,
    granted: f64,
    /// Whether an insert had to wait for the window since the last reading.
    denied: bool,
    /// Whether one had to before that.
    waited: bool,
    begun: u64,
    ended: u64,
    /// Inserts that may not be in the last reading.
    unread: u64,
    last_begun: Option<Instant>,
    /// Share of the limits of rows and bytes that the server's memory allows.
    memory: f64,
    /// Inserts up to this number began before the memory's share was last lowered.
    lowered_at: u64,
}

impl Controller {
    pub fn new(config: &Config) -> Controller {
        Controller {
            config: config.clone(),
            share: 1.0,
            reading: None,
            gain: GAIN_FIRST,
            strain: 0.0,
            starved: 0.0,
            credits: 0.0,
            granted: 0.0,
            denied: false,
            waited: false,
            begun: 0,
            ended: 0,
            unread: 0,
            last_begun: None,
            memory: 1.0,
            lowered_at: 0,
        }
    }

    /// Goes on with other settings from what is known of the table.
    pub fn set_config(&mut self, config: &Config) {
        self.config = config.clone();
    }

    /// Takes over which share of the group this process is, from what is known of the members.
    pub fn set_share(&mut self, own: usize, members: usize) {
        self.share = own.max(1) as f64 / members.max(own).max(1) as f64;
    }

    /// To be called right before a server is asked.
    pub fn asking(&self) -> Asked {
        Asked { ended: self.ended }
    }

    /// Takes over what a server answered, and opens the window for what it leaves room for.
    pub fn read(&mut self, reading: Reading, asked: Asked, now: Instant) {
        let ceiling = reading.ceiling();
        let parts = reading.parts as f64;
        let passed = ceiling < parts || (reading.delayed && RAMP_FROM <= reading.parts_share());
        let used = self.granted - self.credits;
        if passed {
            self.gain = (self.gain / 2.0).max(GAIN_MIN);
        } else if self.wants_reading() && parts <= ceiling * RAMP_TO {
            self.gain = (self.gain + GAIN_STEP).min(GAIN_MAX);
        } else if used < self.granted / 2.0 {
            // What was not tried says nothing about what others leave.
            self.gain = (self.gain * 0.9).max(self.gain.min(GAIN_FIRST));
        }
        if self.denied {
            self.starved = (self.starved + STARVED_UP).min(1.0);
        } else if used < self.granted / 2.0 {
            self.starved = (self.starved - STARVED_DOWN).max(0.0);
        }
        let share = reading.share();
        self.strain =
            if self.strain < share { share } else { self.strain - (self.strain - share) * RECOVERY };
        let free = reading.free(self.config.partition_keys_max) * self.share;
        // Where there is room for one of each member, each may send one.
        let window = (free * self.gain).floor().max(if 1.0 <= free { 1.0 } else { 0.0 });
        self.unread = self.begun.saturating_sub(asked.ended);
        self.granted = (window - self.unread as f64).max(0.0);
        self.credits = self.granted;
        self.waited = std::mem::take(&mut self.denied);
        self.reading = Some((reading, now));
    }

    /// Whether an insert may begin now.
    pub fn begin(&mut self, now: Instant) -> Admission {
        if let Some(at) = self.next_by_rate(now).filter(|at| now < *at) {
            return Admission::Wait(at);
        }
        if self.is_windowed(now) {
            if self.credits < 1.0 {
                self.denied = true;
                return self.trickle(now);
            }
            self.credits -= 1.0;
        }
        self.go(now)
    }

    /// An insert that began has ended.
    pub fn end(&mut self, number: u64, outcome: Outcome) {
        self.ended += 1;
        match outcome {
            Outcome::Written => self.memory = (self.memory * MEMORY_GROWTH).min(1.0),
            // Those sent at the same time failed for the same reason; only the first of them counts.
            Outcome::OutOfMemory if self.lowered_at < number => {
                self.memory = (self.memory / 2.0).max(MEMORY_MIN);
                self.lowered_at = self.begun;
            }
            Outcome::TooManyParts => {
                self.gain = (self.gain / 2.0).max(GAIN_MIN);
                self.credits = 0.0;
                self.denied = true;
            }
            Outcome::OutOfMemory | Outcome::Other => {}
        }
    }

    /// What the batches may be now.
    pub fn limits(&self, now: Instant) -> Limits {
        let config = &self.config;
        let ramp = self.ramp(now);
        let (rows, age) = (f64::from(config.rows_max), config.age_max.0.as_secs_f64());
        let grown = |from: f64, to: f64| from * (to.max(from) / from).powf(ramp);
        let rows = grown(rows, f64::from(config.pressure.rows_max)) * self.memory;
        let age = grown(age.max(0.001), config.pressure.age_max.0.as_secs_f64());
        let bytes = config.bytes_max.0 as f64 * self.memory;
        Limits {
            rows_max: whole(rows),
            bytes_max: whole(bytes),
            age_max: Duration::from_secs_f64(age),
            in_flight_max: whole(f64::from(config.in_flight_max).powf(1.0 - ramp).round()),
            inserts_per_second_max: self.rate(now),
        }
    }

    pub fn state(&self, now: Instant) -> State {
        match self.fresh(now) {
            _ if !self.config.pressure.enabled => State::Free,
            None => State::Unknown,
            Some(_) if self.is_shut(now) || (self.waited && 1.0 <= self.ramp(now)) => State::Throttled,
            Some(_) if 0.0 < self.ramp(now) => State::Growing,
            Some(_) => State::Free,
        }
    }

    /// Inserts that the last reading granted.
    pub fn window(&self) -> f64 {
        self.granted
    }

    /// Whether the next reading had better come soon: an insert waits for it, or the next one will.
    pub fn wants_reading(&self) -> bool {
        self.denied || (1.0 <= self.granted && self.credits < 1.0)
    }

    fn fresh(&self, now: Instant) -> Option<&Reading> {
        let age_max = self.config.pressure.interval.0 * STALE_INTERVALS;
        let (reading, at) = self.reading.as_ref()?;
        (now.saturating_duration_since(*at) <= age_max).then_some(reading)
    }

    /// Whether a fresh reading limits the number of inserts; a table without parts of its own has no limit.
    fn is_windowed(&self, now: Instant) -> bool {
        self.config.pressure.enabled && self.fresh(now).is_some_and(|reading| reading.refuse_at != 0)
    }

    fn is_shut(&self, now: Instant) -> bool {
        self.is_windowed(now) && self.credits < 1.0 && self.denied
    }

    fn ramp(&self, now: Instant) -> f64 {
        if !self.config.pressure.enabled {
            return 0.0;
        }
        if self.is_windowed(now) && self.credits < 1.0 {
            return 1.0;
        }
        let unknown = if self.fresh(now).is_none() { UNKNOWN_RAMP } else { 0.0 };
        let ramp = ((self.strain - RAMP_FROM) / (RAMP_TO - RAMP_FROM)).clamp(0.0, 1.0);
        ramp.max(self.starved).max(unknown)
    }

    /// Inserts per second of this process.
    fn rate(&self, now: Instant) -> Option<f64> {
        let group = self.config.inserts_per_second_max.map(|rate| rate * self.share);
        let unknown = (self.config.pressure.enabled && self.fresh(now).is_none())
            .then(|| if self.is_near() { self.trickle_rate() } else { UNKNOWN_INSERTS_PER_SECOND });
        match (group, unknown) {
            (Some(group), Some(unknown)) => Some(group.min(unknown)),
            (group, unknown) => group.or(unknown),
        }
    }

    fn next_by_rate(&self, now: Instant) -> Option<Instant> {
        let rate = self.rate(now)?;
        self.last_begun?.checked_add(Duration::from_secs_f64(1.0 / rate.max(1e-6)))
    }

    /// Whether the parts may have come to the ceiling by what the group has sent since the last reading.
    fn is_near(&self) -> bool {
        let Some((reading, _)) = self.reading else { return false };
        reading.refuse_at != 0 && reading.ceiling() <= self.parts_at_most(&reading)
    }

    fn parts_at_most(&self, reading: &Reading) -> f64 {
        reading.parts as f64 + (self.unread + 1) as f64 / self.share
    }

    fn trickle_rate(&self) -> f64 {
        1.0 / self.config.pressure.age_max.0.as_secs_f64().max(0.001)
    }

    /// The window is shut. One insert goes through now and then as long as the server would surely take it:
    /// others may have brought the table there, and its merges may never bring it back below.
    fn trickle(&mut self, now: Instant) -> Admission {
        let pause = self.config.pressure.age_max.0;
        let due = self.last_begun.and_then(|at| at.checked_add(pause)).unwrap_or(now);
        let taken =
            self.reading.is_some_and(|(reading, _)| self.parts_at_most(&reading) <= reading.refusal());
        match (taken, due <= now) {
            (true, true) => self.go(now),
            (true, false) => Admission::Wait(due),
            (false, _) => Admission::Wait(now + self.config.pressure.interval.0),
        }
    }

    fn go(&mut self, now: Instant) -> Admission {
        self.begun += 1;
        self.unread += 1;
        self.last_begun = Some(now);
        Admission::Go(self.begun)
    }
}

/// A positive number as a count, at least 1.
fn whole(value: f64) -> usize {
    // The cast saturates, and what is below 1 was made 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = value.max(1.0) as usize;
    whole
}

#[cfg(test)]
mod tests;
