//! What a table is: its columns, where their values come from, and what they must satisfy.
//!
//! Refuses to know Kafka, records and servers: it turns table files into a model and the model into
//! DDL. Everything that left [`load`] has been checked, so the rest of the crate may rely on it.

pub mod codec;
mod column;
pub mod ddl;
mod decimal;
pub mod diff;
pub mod expression;
mod fault;
mod file;
mod fit;
mod json_schema;
mod json_type;
pub mod lifecycle;
mod load;
pub mod model;
mod pattern;
pub mod print;
pub mod protect;
mod refusal;
mod resolve;
mod structure;
pub mod subject;
pub mod ty;

pub use fault::{Error, Fault};
pub use load::{load_dir, load_files, load_table, parse_table, table_file_schema};
pub use model::{Column, Table, Type};

#[cfg(test)]
mod tests;
