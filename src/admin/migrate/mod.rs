//! Migrations: files of SQL that bring the tables from one version of their schema to the next, each once.
//!
//! Refuses to forget. Each statement is in the journal before it is sent; after a crash what became of it is found
//! out from the server, so nothing is "dirty" and nothing runs twice. One process at a time, by a lock with a lease.
//!
//! | what | where |
//! |---|---|
//! | which characters are a statement, and what its comments say | `lexer`, `script`, `pragma` |
//! | what a statement does | `statement`, `alter` |
//! | which files there are, and values from the environment in them | `files`, `values` |
//! | what was run | `journal`, `state` |
//! | what is to be run, and running it | `plan`, `run`, `probe` |
//! | who may run it now | `lock` |
//! | trying it out, and what differs from it | `shadow`, `drift`, `lint`, `estimate` |
//!
//! The verbs are those of [`Migrator`].

mod alter;
pub mod config;
pub(in crate::admin) mod definition;
mod drift;
mod error;
mod estimate;
pub mod files;
pub(super) mod host;
pub mod journal;
pub mod lexer;
pub mod lint;
pub(super) mod lock;
mod marks;
mod migrator;
mod plan;
pub mod pragma;
mod probe;
mod run;
pub mod script;
mod shadow;
pub mod state;
pub mod statement;
mod values;
mod verbs;

pub use config::Config;
pub use drift::{Drift, Finding};
pub use error::Error;
pub use estimate::Cost;
pub use journal::Direction;
pub use lock::Lease;
pub use marks::{Mark, Marking};
pub use migrator::{AgeRules, Migrator, Options, Setup, trail};
pub use run::{Event, Observer};
pub use state::Standing;
pub use values::Values;
pub use verbs::{Planned, PlannedStatement, Report, Status, StatusLine, Verified};
