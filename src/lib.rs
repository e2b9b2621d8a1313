//! penstock takes events from Kafka into ClickHouse. Start at `pipeline`; the map is ARCHITECTURE.md.

// Ground.
pub mod record;
pub mod telemetry;
pub mod units;

// What a table is.
pub mod schema;

// The line, in the order an event meets it.
pub mod columns;
pub mod decode;
