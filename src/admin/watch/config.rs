//! How often servers are looked at, what counts as unwell, and who is told.
//!
//! Refuses to look.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Looking at servers and at the process itself, again and again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often; `penstock health` looks at once.
    pub interval: Span,
    /// Longest time for one look at one thing.
    pub timeout: Span,
    /// Free share of a disk below which it is told, in percent.
    #[schemars(range(min = 1, max = 99))]
    pub disk_free_percent_min: u8,
    /// Delay of a replica above which it is told.
    pub replica_delay_max: Span,
    /// Age of a mutation that is not done above which it is told.
    pub mutation_age_max: Span,
    /// Share of the parts at which inserts are refused above which a table is told, in percent.
    #[schemars(range(min = 1, max = 100))]
    pub parts_percent_max: u8,
    /// Time that a certificate of our own must still hold; less is told.
    pub certificate_left_min: Span,
    /// How often the whole audit trail is verified.
    pub audit_interval: Span,
    /// How often it is counted what is past the age that table files allow: for partitions that are cut by it their column
    /// of time is read. `0ms` never does.
    pub lifecycle_interval: Span,
    /// Who is told of changes.
    pub webhook: Webhook,
}

/// An address that is told whenever something begins or ceases to be unwell.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// `https://…`, or `http://…` on the own machine; nobody is told without it.
    pub url: Option<String>,
    /// File of the key that the body is signed with, 32 bytes or more.
    pub key_file: Option<PathBuf>,
    /// PEM file of the authorities that the address must be certified by; those of the system without it.
    pub ca_file: Option<PathBuf>,
    /// Tries to tell one change; then it is given up and logged.
    #[schemars(range(min = 1, max = 100))]
    pub attempts_max: u32,
    /// Wait after the first try that failed; it doubles up to `backoff_max`.
    pub backoff_min: Span,
    /// Longest wait between two tries.
    pub backoff_max: Span,
    /// Longest time for one try.
    pub timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval: Span::secs(30),
            timeout: Span::secs(10),
            disk_free_percent_min: 10,
            replica_delay_max: Span::secs(300),
            mutation_age_max: Span::secs(3600),
            parts_percent_max: 50,
            certificate_left_min: Span::secs(14 * 86_400),
            audit_interval: Span::secs(3600),
            lifecycle_interval: Span::secs(3600),
            webhook: Webhook::default(),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Webhook {
            url: None,
            key_file: None,
            ca_file: None,
            attempts_max: 8,
            backoff_min: Span::secs(1),
            backoff_max: Span::secs(60),
            timeout: Span::secs(10),
        }
    }
}
