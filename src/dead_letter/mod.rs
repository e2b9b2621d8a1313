//! Where records go that cannot become rows: a topic of their own, with the reason and every original byte.
//!
//! Refuses to decide what is bad. A dead letter is at rest only when the broker has acknowledged it; until
//! then its offset does not complete, so nothing is lost on the way (invariant I1).

pub mod bisect;
pub mod ceiling;
pub mod config;
pub mod envelope;
pub mod form;
pub mod groups;
pub mod letter;
pub mod library;
pub mod marker;
pub mod purge;
pub mod ranges;
pub mod replay;
pub mod scribe;
mod settle;
pub mod topic;

pub use config::Config;
pub use envelope::{Cause, DeadLetter};
pub use letter::{Filter, Letter};
pub use library::{Library, Watch};
pub use marker::State;
pub use topic::Sink;

/// What can go wrong with letters that lie in their topic.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
    #[error("there is no dead letter at {position}\nhint: take a position as `penstock dlq list` prints it")]
    NotALetter { position: crate::record::Position },
    #[error("a marker could not be made: {0}")]
    Marker(String),
    #[error(
        "the replay was suspended for too long to go on safely\nhint: run it again; it finds out what was sent and sends the rest"
    )]
    Late,
}
