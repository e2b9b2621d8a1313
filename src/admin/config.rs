//! What can be set about the admin process.
//!
//! Refuses to know what is done by it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{access, audit, backup, console, jobs, schedule, watch};
use crate::units::{ByteSize, Span};

/// The admin process: `penstock admin`, `penstock token` and `penstock audit`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the REST interface, as `host:port`; port 0 takes a free one. Metrics and health of the process are at
    /// `telemetry.listen`.
    pub listen: String,
    /// Encryption; without it nothing but the own machine should reach the address.
    pub tls: Tls,
    /// Who may do what.
    pub access: access::Config,
    /// The audit trail as a file.
    pub audit: audit::Config,
    /// What takes longer than a request.
    pub jobs: jobs::Config,
    /// What is done again and again, once in the whole fleet.
    pub schedules: Vec<schedule::Config>,
    /// Which of several admin processes does what is scheduled: one, chosen by a consumer group of their own.
    pub leader: schedule::Leader,
    /// Looking at servers and at the process itself, again and again.
    pub health: watch::Config,
    /// Backups of tables: `penstock backup`. The server itself writes and reads them.
    pub backup: backup::Config,
    /// The console: how the whole line is, over REST, on the page at `/console/`, and in `penstock top`.
    pub console: console::Config,
    /// Largest body of a request.
    pub body_bytes_max: ByteSize,
    /// Longest time for a request, its body included; what takes longer is a job.
    pub request_timeout: Span,
    /// How long what was found out from servers is told to others who ask the same, unless something was changed by this
    /// process meanwhile; `0s` looks anew for each.
    pub answers_kept: Span,
    /// Connections at a time; others wait.
    #[schemars(range(min = 1, max = 10_000))]
    pub connections_max: u32,
}

/// Certificate and key of the REST interface, as PEM files.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificate chain, the own one first.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: "127.0.0.1:9480".to_owned(),
            tls: Tls::default(),
            access: access::Config::default(),
            audit: audit::Config::default(),
            jobs: jobs::Config::default(),
            schedules: Vec::new(),
            leader: schedule::Leader::default(),
            health: watch::Config::default(),
            backup: backup::Config::default(),
            console: console::Config::default(),
            body_bytes_max: ByteSize(64 << 10),
            request_timeout: Span::secs(30),
            answers_kept: Span::millis(500),
            connections_max: 128,
        }
    }
}
