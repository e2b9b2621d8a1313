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
//! | what the routes do | `migrations`, `tables`, `lifecycle`, `erasures`, `backups`, `crypt`, `jobs`, `schedules`, `audit`, `tokens` |
//! | what went wrong | `problem` |
//! | the description of it all | `openapi` |
//! | connections | `server`, `secure` |

mod asked;
mod audit;
mod backups;
mod crypt;
mod erasures;
mod guard;
mod jobs;
mod lifecycle;
mod migrations;
mod openapi;
pub(in crate::admin) mod problem;
mod routes;
mod schedules;
mod secure;
mod server;
mod tables;
mod tokens;

use std::sync::Arc;

pub use routes::rights;
pub use server::{Error, Server};

use super::access::{Access, Failures};
use super::audit::{Chain, Trail};
use super::backup::Backups;
use super::config::Config;
use super::crypt::Vault;
use super::desks::Desks;
use super::jobs::Jobs;
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
}

/// The same, shared by all requests.
struct Surface {
    config: Config,
    access: Access,
    failures: Failures,
    trail: Trail,
    chain: Arc<Chain>,
    jobs: Jobs,
    migrator: Migrator,
    desks: Desks,
    vault: Option<Vault>,
    schedules: Arc<Schedules>,
    watch: Arc<Watch>,
    backups: Backups,
}

impl Surface {
    fn new(parts: Parts) -> Surface {
        let Parts {
            config,
            access,
            trail,
            chain,
            migrator,
            desks,
            vault,
            jobs,
            schedules,
            watch,
            backups,
            ..
        } = parts;
        Surface {
            failures: Failures::new(config.access.failures_max, config.access.failures_window.0),
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
        }
    }
}
