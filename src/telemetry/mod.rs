//! What operators see: metrics, logs and health, declared in one place each.
//!
//! Refuses to know who reports. The metrics registry and the log subscriber are the crate's only
//! global state.

pub mod admin;
pub mod backup;
pub mod catalogue;
pub mod config;
pub mod consume;
pub mod control;
pub mod fleet;
pub mod health;
pub mod http;
pub mod labels;
pub mod listen;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod pressure;
pub mod stages;
pub mod summary;
pub mod traces;
pub mod upkeep;

pub use config::Config;
pub use health::{Health, Heart, State, Status};
pub use summary::Snapshot;
