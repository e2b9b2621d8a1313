//! The REST interface of the admin process.
//!
//! Refuses to do anything itself: what changes something goes through `command`, migrations are `migrate`'s. One table,
//! [`routes::ROUTES`], is what the router, the rights and the description are made from, so that none has a route
//! that the others have not.
//!
//! | what | where |
//! |---|---|
//! | which routes there are, who may take them | `routes` |
//! | who asks, and whether that may be | `guard` |
//! | what was asked | `asked` |
//! | what the routes do | `migrations`, `backups`, `jobs`, `audit`, `tokens` |
//! | what went wrong | `problem` |
//! | the description of it all | `openapi` |
//! | connections | `server`, `secure` |

mod asked;
mod audit;
mod backups;
mod guard;
mod jobs;
mod migrations;
mod openapi;
mod problem;
mod routes;
mod secure;
mod server;
mod tokens;

use std::sync::Arc;

pub use routes::rights;
pub use server::{Error, Server};

use super::access::{Access, Failures};
use super::audit::{Chain, Trail};
use super::backup::Backups;
use super::config::Config;
use super::jobs::Jobs;
use super::migrate::Migrator;

/// What the routes work with.
pub struct Parts {
    pub config: Config,
    pub access: Access,
    pub trail: Trail,
    pub chain: Arc<Chain>,
    pub migrator: Migrator,
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
    backups: Backups,
}

impl Surface {
    fn new(parts: Parts) -> Surface {
        let Parts { config, access, trail, chain, migrator, backups } = parts;
        Surface {
            failures: Failures::new(config.access.failures_max, config.access.failures_window.0),
            jobs: Jobs::new(&config.jobs),
            config,
            access,
            trail,
            chain,
            migrator,
            backups,
        }
    }
}
