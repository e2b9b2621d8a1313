//! What operators see: metrics and logs, declared in one place each.
//!
//! Refuses to know who reports. The metrics registry is the crate's only global state.

pub mod metrics;
