//! What a table is: its columns, where their values come from, and what they must satisfy.
//!
//! Refuses to know Kafka, records and servers: it turns table files into a model and the model into
//! DDL. Everything that left [`load`] has been checked, so the rest of the crate may rely on it.

pub mod model;

pub use model::{Column, Table, Type};
