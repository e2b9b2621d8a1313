//! Synthetic click events: thirteen fields, about 340 bytes of JSON, the same for the same seed.
//!
//! Refuses to look at the clock: the first event's time is given. `schemas/clicks` describes them.

use std::io::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

const COUNTRIES: [&str; 12] = ["DE", "FR", "US", "IN", "BR", "JP", "GB", "NG", "MX", "ID", "PL", "CA"];
const DEVICES: [&str; 4] = ["desktop", "mobile", "tablet", "tv"];
const PAGES: [&str; 8] = ["home", "search", "product", "basket", "checkout", "account", "help", "offers"];
const REFERRERS: [&str; 3] =
    ["https://search.example/", "https://news.example/today", "https://mail.example/inbox"];
const STATUSES: [u16; 6] = [200, 200, 200, 304, 404, 500];

/// Events of one second of their own time, where nobody says otherwise.
const EVENTS_PER_S: u32 = 20_000;

/// An endless source of events.
#[derive(Debug)]
pub struct Clicks {
    rng: StdRng,
    start_ms: i64,
    per_second: u32,
    made: u64,
}

impl Clicks {
    /// Events from `start_ms` (milliseconds since 1970) on.
    pub fn new(seed: u64, start_ms: i64) -> Clicks {
        Clicks { rng: StdRng::seed_from_u64(seed), start_ms, per_second: EVENTS_PER_S, made: 0 }
    }

    /// So many events have the times of one second; what is published at this rate has the times of its publishing.
    #[must_use]
    pub fn at_rate(self, per_second: u32) -> Clicks {
        Clicks { per_second: per_second.max(1), ..self }
    }

    /// Writes the next event over what `event` holds.
    pub fn next(&mut self, event: &mut Vec<u8>) {
        let rng = &mut self.rng;
        let passed_ms = self.made.saturating_mul(1000) / u64::from(self.per_second);
        let passed_ms = i64::try_from(passed_ms).unwrap_or(i64::MAX);
        let time_ms = self.start_ms.saturating_add(passed_ms);
        let time = DateTime::<Utc>::from_timestamp_millis(time_ms).unwrap_or_default();
        self.made += 1;
        let user: u64 = rng.random_range(1..5_000_000);
        let product: u32 = rng.random_range(1..200_000);
        event.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(
            event,
            "{{\"event_id\":\"{}\",\"time\":\"{}\",\"user_id\":{user},\"session_id\":\"{:016x}\",\
             \"url\":\"https://shop.example/{}/{product}?campaign={}\",\"referrer\":",
            Uuid::from_u128(rng.random()),
            time.to_rfc3339_opts(SecondsFormat::Millis, true),
            rng.random::<u64>(),
            one_of(rng, &PAGES),
            rng.random_range(1..500),
        );
        let _ = match rng.random_range(0..3) {
            0 => write!(event, "null"),
            _ => write!(event, "\"{}\"", one_of(rng, &REFERRERS)),
        };
        let _ = write!(
            event,
            ",\"country\":\"{}\",\"device\":\"{}\",\"status\":{},\"duration_ms\":{},\"price\":",
            one_of(rng, &COUNTRIES),
            one_of(rng, &DEVICES),
            one_of(rng, &STATUSES),
            rng.random_range(1..30_000),
        );
        let _ = match rng.random_range(0..4) {
            0 => write!(event, "null"),
            _ => write!(event, "{}.{:02}", rng.random_range(1..2_000), rng.random_range(0..100)),
        };
        let _ = write!(
            event,
            ",\"is_bot\":{},\"ip\":\"10.{}.{}.{}\"}}",
            rng.random_range(0..50) == 0,
            rng.random_range(0..256),
            rng.random_range(0..256),
            rng.random_range(1..255),
        );
    }
}

fn one_of<T: Copy + Default>(rng: &mut StdRng, all: &[T]) -> T {
    all.get(rng.random_range(0..all.len().max(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_events_of_the_size_promised() {
        let (mut one, mut two, mut bytes) =
            (Clicks::new(7, 1_700_000_000_000), Clicks::new(7, 1_700_000_000_000), 0);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..1000 {
            one.next(&mut a);
            two.next(&mut b);
            assert_eq!(a, b);
            let event: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&a).unwrap();
            assert_eq!(event.len(), 13);
            bytes += a.len();
        }
        assert!((325..=350).contains(&(bytes / 1000)), "{}", bytes / 1000);
    }

    #[test]
    fn times_pass_at_the_rate_and_the_rest_does_not_depend_on_it() {
        let start_ms = 1_700_000_000_000;
        let mut by_default = Clicks::new(7, start_ms);
        let mut paced = Clicks::new(7, start_ms).at_rate(40);
        let (mut event, mut other) = (Vec::new(), Vec::new());
        for n in 0..200_i64 {
            paced.next(&mut event);
            by_default.next(&mut other);
            let mut event: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&event).unwrap();
            let mut other: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&other).unwrap();
            let time = event.remove("time").unwrap();
            let time = DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap();
            assert_eq!(time.timestamp_millis(), start_ms + n * 25);
            other.remove("time");
            assert_eq!(event, other);
        }
    }
}
