//! The REST interface of the admin process.
//!
//! Refuses to do anything itself: what changes something goes through `command`, migrations are `migrate`'s. One table,
//! [`routes::all`], is what the router, the rights and the description are made from, so that none has a route
//! that the others have not.
//!
//! | what | where |
//! |---|---|
//! | which routes there are, who may take them | `routes` |
//! | who asks, and whether that may be | `guard` |
//! | what was asked | `asked` |
//! | what the routes do | `migrations`, `tables`, `lifecycle`, `erasures`, `backups`, `crypt`, `summary`, `letters`, `line`, `jobs`, `schedules`, `audit`, `tokens` |
//! | what went wrong | `problem` |
//! | the description of it all | `openapi` |
//! | what several who ask share | `shared` |
//! | the page for people | `console` |
//! | connections | `server`, `secure` |

mod asked;
mod audit;
mod backups;
mod console;
mod crypt;
mod erasures;
mod guard;
mod jobs;
mod letters;
mod lifecycle;
mod line;
mod migrations;
mod openapi;
pub(in crate::admin) mod problem;
mod routes;
mod schedules;
mod secure;
mod server;
mod shared;
mod summary;
mod tables;
mod tokens;

use std::sync::Arc;

pub(in crate::admin) use guard::REFUSALS;
pub use routes::rights;
pub(in crate::admin) use routes::{actions, shared_actions};
pub use server::{Error, Server};

use super::access::{Access, Failures};
use super::audit::{Chain, Trail};
use super::backup::Backups;
use super::config::Config;
use super::console::Console;
use super::crypt::Vault;
use super::desks::Desks;
use super::jobs::Jobs;
use super::letters::DeadLetters;
use super::line::LineControl;
use super::migrate::Migrator;
use super::schedule::Schedules;
use super::watch::Watch;

/// What the routes work with.
pub struct Parts {
    pub config: Config,
    /// What opens a key in an envelope.
    pub crypt: crate::crypt::Config,
    pub access: Access,
    pub trail: Trail,
    pub chain: Arc<Chain>,
    pub migrator: Migrator,
    pub desks: Desks,
    /// Where a key ring is configured.
    pub vault: Option<Vault>,
    pub jobs: Jobs,
    pub schedules: Arc<Schedules>,
    pub watch: Arc<Watch>,
    pub backups: Backups,
    pub console: Arc<Console>,
    pub letters: DeadLetters,
    pub line: LineControl,
}

/// The same, shared by all requests.
struct Surface {
    config: Config,
    access: Access,
    failures: Failures,
    shared: shared::Shared,
    trail: Trail,
    chain: Arc<Chain>,
    jobs: Jobs,
    migrator: Migrator,
    desks: Desks,
    vault: Option<Vault>,
    schedules: Arc<Schedules>,
    watch: Arc<Watch>,
    backups: Backups,
    console: Arc<Console>,
    letters: DeadLetters,
    line: LineControl,
}

impl Surface {
    fn new(parts: Parts) -> Surface {
        let Parts { config, access, trail, chain, migrator, desks, vault, .. } = parts;
        let Parts { jobs, schedules, watch, backups, console, letters, line, .. } = parts;
        Surface {
            failures: Failures::new(config.access.failures_max, config.access.failures_window.0),
            shared: shared::Shared::new(config.answers_kept.0),
            jobs,
            config,
            access,
            trail,
            chain,
            migrator,
            desks,
            vault,
            schedules,
            watch,
            backups,
            console,
            letters,
            line,
        }
    }
}
