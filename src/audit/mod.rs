//! Proof of completeness: every offset below the group's own is a row, left out by a rule, a dead letter, or no
//! record at all; and what is a row is in the table once.
//!
//! Refuses to mend anything and to move offsets: it reads topics again from outside of the group, asks tables, and
//! tells what differs. [`ledger`] is the comparison, without servers; [`run`] feeds it chunk by chunk, so that what
//! is held does not grow with the topic; [`continuous`] does the same for a line that runs, from its own counts.

pub mod config;
pub mod continuous;
pub mod ledger;
mod letters;
pub mod lookup;
pub mod offsets;
pub mod report;
pub mod run;

pub use config::Config;
pub use letters::Letters;
pub use lookup::Lookup;
pub use report::Report;
pub use run::{Auditor, Target};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "table `{table}` cannot be audited: it has no column for {source_name}{why}\n\
         hint: add a column such as `{{name: _{}, type: {ty}, from: {source_name}}}` to its table file, and to the table", source_name.trim_start_matches('$')
    )]
    MissingColumn { table: String, source_name: &'static str, ty: &'static str, why: &'static str },
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
    #[error(transparent)]
    ClickHouse(Box<crate::clickhouse::Error>),
    #[error("table `{table}`: {source}")]
    Decode { table: String, source: crate::decode::Error },
    #[error("ClickHouse answered a question of the audit with `{0}`")]
    Answer(String),
}

impl From<crate::clickhouse::Error> for Error {
    fn from(error: crate::clickhouse::Error) -> Self {
        Error::ClickHouse(Box::new(error))
    }
}
