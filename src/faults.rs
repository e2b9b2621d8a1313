//! Faults by name, for tests that break the process at one exact place: it dies, or waits, when it gets there.
//!
//! Refuses to know what the places mean; the line says where it is. Without the section `faults` in the
//! configuration nothing of this happens, and asking costs one comparison with `None`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest wait at a place; beyond it the process goes on, so that a forgotten one does not wait for ever.
const PAUSE_MAX: Duration = Duration::from_secs(600);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// For tests only: where the process breaks. Leave it out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process dies at this place, as by a `kill -9`.
    pub crash_at: Option<Point>,
    /// Whoever comes to this place says so on the standard error and waits there for `release_file`.
    pub pause_at: Option<Point>,
    /// How often the place is come to before it happens, that time included. It happens once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub after: u32,
    /// A wait at `pause_at` ends when this file is there, at the latest after ten minutes.
    pub release_file: Option<PathBuf>,
    /// Added to the wall clock, in milliseconds; may be negative.
    #[schemars(range(min = -4_000_000_000_000_i64, max = 4_000_000_000_000_i64))]
    pub clock_offset_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config { crash_at: None, pause_at: None, after: 1, release_file: None, clock_offset_ms: 0 }
    }
}

/// A place where the line can be broken. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Partitions were assigned; nothing of them is read yet.
    Assigned,
    /// What the group has committed for them is known.
    OffsetsFetched,
    /// The intents that were found are committed again under the own generation.
    Recommitted,
    /// A batch is closed.
    Sealed,
    /// A commit that plans batches is about to leave.
    IntentCommitSent,
    /// It is acknowledged, and nothing of the batch is sent yet.
    IntentCommitted,
    /// An INSERT is about to leave.
    InsertStarted,
    /// An INSERT has ended, well or badly, and nobody has been told.
    InsertAnswered,
    /// The batch counts as done; its offsets are not committed yet.
    BatchSettled,
    /// A commit that moves offsets is about to leave.
    ClosingCommitSent,
    /// It has been answered.
    ClosingCommitted,
    /// A dead letter is about to leave.
    DeadLetterSent,
    /// It is acknowledged, and its offset is still held.
    DeadLetterAcked,
    /// The group wants partitions back.
    RevokeBegun,
    /// They are fenced, and the group is about to be told.
    RevokeReleased,
    /// A batch that was refused for its data is planned anew, and that plan is committed.
    ReplanCommitted,
    /// The table was asked which rows of a batch it has.
    ReadbackDone,
    /// A statement of a migration is in the journal and about to be sent.
    MigrationJournalled,
    /// It has ended, well or badly, and the journal does not say so yet.
    MigrationAnswered,
}

/// Cheap to clone; does nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Faults(Option<Arc<Plan>>);

#[derive(Debug)]
struct Plan {
    config: Config,
    seen: AtomicU32,
}

impl Faults {
    /// Nothing at all where the configuration asks for nothing.
    pub fn new(config: &Config) -> Faults {
        let asked = config.crash_at.is_some() || config.pause_at.is_some() || config.clock_offset_ms != 0;
        Faults(asked.then(|| Arc::new(Plan { config: config.clone(), seen: AtomicU32::new(0) })))
    }

    /// Says that the line has come to this place. Blocks, or never returns, if that was asked for.
    pub fn point(&self, point: Point) {
        if let Some(plan) = &self.0 {
            plan.reach(point);
        }
    }

    /// Milliseconds since 1970 by the system's clock, moved by what was asked for.
    pub fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let moved = self.0.as_ref().map_or(0, |plan| plan.config.clock_offset_ms);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(moved)
    }
}

impl Plan {
    fn reach(&self, point: Point) {
        let crash = self.config.crash_at == Some(point);
        if !crash && self.config.pause_at != Some(point) {
            return;
        }
        if self.seen.fetch_add(1, Ordering::AcqRel).saturating_add(1) != self.config.after {
            return;
        }
        announce(point);
        if crash {
            // No destructor runs and nothing is flushed, as by a kill.
            std::process::abort();
        }
        let end = Instant::now() + PAUSE_MAX;
        let released = || self.config.release_file.as_ref().is_some_and(|file| file.exists());
        while !released() && Instant::now() < end {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// Straight to the standard error: the log may be filtered, and the process may be about to die.
fn announce(point: Point) {
    let name = serde_json::to_value(point).unwrap_or_default();
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "fault point reached: {}", name.as_str().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_the_default() {
        let faults = Faults::new(&Config::default());
        assert!(faults.0.is_none());
        faults.point(Point::Sealed);
        let skew = Faults::new(&Config { clock_offset_ms: -3_600_000, ..Config::default() });
        assert!(3_590_000 < faults.unix_ms() - skew.unix_ms());
    }

    #[test]
    fn a_pause_comes_once_at_its_place_and_ends_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("go");
        let config = Config {
            pause_at: Some(Point::Sealed),
            after: 2,
            release_file: Some(file.clone()),
            ..Config::default()
        };
        let faults = Faults::new(&config);
        // None of these waits: another place, and the first time.
        faults.point(Point::Assigned);
        faults.point(Point::Sealed);
        let waiting = std::thread::spawn({
            let faults = faults.clone();
            move || faults.point(Point::Sealed)
        });
        while faults.0.as_ref().unwrap().seen.load(Ordering::Acquire) < 2 {
            std::thread::yield_now();
        }
        assert!(!waiting.is_finished(), "it waits for the file");
        std::fs::write(&file, "").unwrap();
        waiting.join().unwrap();
        faults.point(Point::Sealed);
    }
}
