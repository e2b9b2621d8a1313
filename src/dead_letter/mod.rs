//! Where records go that cannot become rows: a topic of their own, with the reason and every original byte.
//!
//! Refuses to decide what is bad. A dead letter is at rest only when the broker has acknowledged it; until
//! then its offset does not complete, so nothing is lost on the way (invariant I1).

pub mod bisect;
pub mod config;
pub mod envelope;
pub mod topic;

pub use config::Config;
pub use envelope::{Cause, DeadLetter};
pub use topic::Sink;
