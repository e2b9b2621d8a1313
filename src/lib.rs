//! penstock takes events from Kafka into ClickHouse. Start at `pipeline`; the map is ARCHITECTURE.md.

// Ground.
pub mod crypt;
pub mod faults;
pub mod record;
pub mod telemetry;
pub mod tls;
pub mod units;

// What a table is.
pub mod schema;

// The line, in the order an event meets it.
pub mod pipeline;

pub mod kafka;

pub mod decode;

pub mod columns;

pub mod batch;

pub mod clickhouse;

pub mod delivery;

pub mod dead_letter;

// Proof that nothing is missing.
pub mod audit;

// Events to try it with.
pub mod generate;

// What so many rows a second need.
pub mod capacity;

// Care of the tables; the line knows nothing of it.
pub mod admin;

// Assembly.
pub mod config;

pub mod app;

pub mod cli;
