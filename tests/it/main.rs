//! Every test that needs more than one module: one binary, so that one link serves all of them.
//!
//! Tests against servers take the shared ones from the environment (`make test`, or `dev/servers with ... --
//! cargo test`) and keep to databases, topics and groups with fresh names; a test that kills or freezes a server
//! starts a private one. Waiting is for a condition with a deadline, never for a time. Nothing is ignored.

// Test code fails by panicking; clippy's own exception reaches `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr)]

mod corpus;
mod harness;
mod scene;

mod admin;
mod audit;
mod backup;
mod capacity;
mod care;
mod clickhouse;
mod commands;
mod crypt;
mod dev_servers;
mod dlq;
mod erase;
mod erased;
mod exact;
#[allow(dead_code, clippy::print_stdout, reason = "it is to be read")]
mod example;
mod failure;
mod fencing;
mod hidden;
mod insert;
mod inspect;
mod leader;
mod ledger;
mod lifecycle;
mod line;
mod memory;
mod migrate;
mod pressure;
mod protocol;
mod readback;
mod reload;
mod start;
mod telemetry;
mod tidy;
mod top;
mod traces;
