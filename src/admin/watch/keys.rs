//! How old the key is that new objects are made with, told as a metric.
//!
//! Refuses to guess: keys that are files of their own have no date, and so no age here; a ring that cannot be read has
//! none any more.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::crypt::{KeyState, Ring, RingKey};
use crate::telemetry::metrics::METRICS;

/// The key ring's: of secrets in files, and of values.
const DATA: &str = "data";

/// Looks again and again. Each process has files of its own.
pub(super) async fn tell_ages(ring: Option<PathBuf>, every: Duration) {
    let Some(ring) = ring else { return };
    loop {
        let path = ring.clone();
        let read = tokio::task::spawn_blocking(move || Ring::read(&path)).await;
        let age_s = read.ok().and_then(Result::ok).and_then(|ring| age_s(ring.keys(), Utc::now()));
        match age_s {
            Some(age_s) => METRICS.admin.key_age.with_label_values(&[DATA]).set(age_s),
            // A series that was never made cannot be removed, which is as well.
            None => drop(METRICS.admin.key_age.remove_label_values(&[DATA])),
        }
        tokio::time::sleep(every).await;
    }
}

/// Of the primary key, in seconds.
fn age_s<'k>(mut keys: impl Iterator<Item = &'k RingKey>, now: DateTime<Utc>) -> Option<i64> {
    let primary = keys.find(|key| key.state == KeyState::Primary)?;
    let created = DateTime::parse_from_rfc3339(&primary.created).ok()?;
    Some(now.signed_duration_since(created).num_seconds().max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_primary_key() {
        let key = |state, created: &str| RingKey { id: "0".to_owned(), state, created: created.to_owned() };
        let now = DateTime::parse_from_rfc3339("2026-03-01T00:01:00Z").unwrap().to_utc();
        let old = key(KeyState::Readable, "2020-01-01T00:00:00Z");
        let new = key(KeyState::Primary, "2026-03-01T00:00:00Z");
        assert_eq!(age_s([&old, &new].into_iter(), now), Some(60));
        assert_eq!(age_s([&old].into_iter(), now), None);
        assert_eq!(age_s([&key(KeyState::Primary, "yesterday")].into_iter(), now), None);
        assert_eq!(age_s([&new].into_iter(), now - chrono::TimeDelta::hours(1)), Some(0), "clocks differ");
    }
}
