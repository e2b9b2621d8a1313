//! The whole configuration: every module's own settings in one tree, loaded in layers and checked.
//!
//! Refuses to know what the settings do. A [`Loaded`] configuration has passed the schema and every
//! cross-field rule; one that has not is told by *all* its faults at once, and no secret is printed.

mod admin_side;
mod dump;
mod faults;
mod kafka_side;
mod load;
mod reference;
mod shape;
mod text;
mod validate;

use std::fmt;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

pub use dump::Format;
pub use load::{Inputs, load};
pub use reference::reference;
pub use validate::check_sources;

use crate::pipeline::config::{Delivery, ExactlyOnce, Limits, Reload, Shutdown, Tables};
use crate::{admin, audit, batch, clickhouse, dead_letter, decode, kafka, telemetry};

/// Settings of penstock. Everything has a default; sizes are written as `64MiB`, times as `5s`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where records come from.
    pub kafka: kafka::config::Config,
    /// Where rows go.
    pub clickhouse: clickhouse::config::Config,
    /// Which tables are filled.
    pub tables: Tables,
    /// When a batch is closed and sent: rows, bytes or age, whichever comes first.
    pub batch: batch::config::Config,
    /// What the process may hold.
    pub memory: batch::config::Memory,
    /// Limits of a single record.
    pub decode: decode::Config,
    /// What is promised about each record.
    pub delivery: Delivery,
    /// How `delivery: exactly_once` works.
    pub exactly_once: ExactlyOnce,
    /// Where rejected records come to rest.
    pub dead_letter: dead_letter::config::Config,
    /// Whether `run` proves, again and again, that what it committed is in the tables.
    pub audit: audit::Config,
    /// Migrations of the tables' definitions: `penstock migrate`.
    pub migrations: admin::migrate::Config,
    /// The admin process: `penstock admin`, `penstock token` and `penstock audit`.
    pub admin: admin::Config,
    /// Lifecycle of the tables' rows: `penstock lifecycle`. The rules stand in the table files.
    pub lifecycle: admin::lifecycle::Config,
    /// Encryption of secrets that lie in files: `penstock crypt`.
    pub crypt: crate::crypt::Config,
    /// Ceilings of speed, for sources and targets that must be spared.
    pub limits: Limits,
    /// Taking over a changed configuration file or table file while running; SIGHUP always does.
    pub reload: Reload,
    /// What operators see.
    pub telemetry: telemetry::Config,
    /// How the process stops.
    pub shutdown: Shutdown,
    /// For tests only: where the process breaks. Leave it out.
    pub faults: crate::faults::Config,
}

/// A checked configuration, and where its values were set.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    origins: load::Origins,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// As in `kafka.brokers[0]`; keys with dots in them are in quotes. Empty for the whole.
    pub path: String,
    /// What is wrong. Holds no value that could be a secret.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// File, environment variable or flag; unknown when the value is a default.
    pub origin: Option<String>,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    pub faults: Vec<Fault>,
}

impl Fault {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { path: path.into(), message: message.into(), hint: hint.into(), origin: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, "\n    hint: {}", self.hint)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => write!(f, "the configuration has a fault")?,
            n => write!(f, "the configuration has {n} faults")?,
        }
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        write!(f, "\nhint: every setting is explained in docs/configuration.md and `penstock config schema`")
    }
}

/// The JSON Schema of the configuration file.
pub fn json_schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).for_deserialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "penstock".into());
    }
    schema
}

impl Loaded {
    /// The effective configuration as text, secrets redacted.
    pub fn dump(&self, format: Format) -> String {
        dump::dump(self, format)
    }

    /// Identifies the effective configuration without its secrets; the same over restarts.
    pub fn fingerprint(&self) -> String {
        // FNV-1a: short, and stable over releases of Rust, which the standard hasher is not.
        let json = dump::dump(self, Format::Json);
        let hash = json.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests;
