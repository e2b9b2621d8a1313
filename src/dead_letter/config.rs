//! What can be set about dead letters.
//!
//! Refuses to know which records become one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Stands for the source topic's name in the dead-letter topic's.
pub const TOPIC_PLACEHOLDER: &str = "{topic}";

/// Where rejected records come to rest.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Topic for rejected records; `{topic}` stands for the one that they came from. It must exist:
    /// it is not created.
    pub topic: String,
    /// Time for the broker's acknowledgement. Beyond it the partition is paused and the dead letter
    /// tried again; nothing is dropped.
    pub produce_timeout: Span,
    /// Dead letters that may wait for their acknowledgement at a time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub records_in_flight_max: u32,
    /// When so many records are refused that their topic is paused instead.
    pub ceiling: Ceiling,
}

/// The highest rate of dead letters. Beyond it a topic is paused, `/health` says so, and a probe of records
/// is let through after each window; reading goes on by itself once they are good. Counted by each
/// consumer for itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    /// Percent of a topic's records within the window that may be refused; 100 turns the ceiling off.
    #[schemars(range(min = 0, max = 100))]
    pub percent_max: u8,
    /// Records within the window below which nothing is judged.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub records_min: u32,
    /// Time over which is counted, and after which a paused topic is probed.
    pub window: Span,
}

impl Default for Ceiling {
    fn default() -> Self {
        Ceiling { percent_max: 50, records_min: 1000, window: Span::secs(60) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            topic: format!("{TOPIC_PLACEHOLDER}.dead"),
            produce_timeout: Span::secs(30),
            records_in_flight_max: 1000,
            ceiling: Ceiling::default(),
        }
    }
}

impl Config {
    /// The dead-letter topic of a source topic.
    pub fn topic_for(&self, source: &str) -> String {
        self.topic.replace(TOPIC_PLACEHOLDER, source)
    }
}
