//! The admin side: care of the tables that the line fills.
//!
//! Refuses to know the line: it touches no offsets, reads no topics but those of dead letters, and shares no memory with
//! it. Everything that changes something goes through [`command`], and so is authorised and audited, or not run (I9).

pub mod access;
pub mod audit;
pub mod backup;
pub mod care;
pub mod command;
mod config;
pub mod console;
pub mod crypt;
pub mod desk;
pub mod desks;
pub mod erase;
pub mod http;
pub mod jobs;
pub mod key;
pub mod letters;
pub mod lifecycle;
pub mod line;
pub mod migrate;
pub mod rows;
pub mod schedule;
pub mod series;
pub mod watch;

pub use config::Config;
