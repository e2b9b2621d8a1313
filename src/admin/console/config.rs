//! What can be set about the console.
//!
//! Refuses to know what it shows.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The console: how the whole line is, over REST, on the page at `/console/`, and in `penstock top`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the processes of the line have their `telemetry.listen`, as `http://host:port`. A name stands for all of its
    /// addresses and is looked up again every ten seconds; at most 200 processes are asked.
    pub lines: Vec<String>,
    /// File of the key, 32 bytes or more, that the line has in `telemetry.control.key_file`. With it topics of the line can be
    /// paused, and batches closed, by whoever has the right.
    pub control_key_file: Option<PathBuf>,
    /// What this installation is called, such as `prod-eu`.
    pub name: String,
    /// Nothing is changed over REST or by the page, whatever tokens allow; renewing one's own token is left. What is
    /// scheduled is done all the same.
    pub read_only: bool,
    /// Where the runbooks are published, as `https://host/path`; the page links to them.
    pub runbook_url: Option<String>,
    /// Streams that may be open at a time.
    #[schemars(range(min = 1, max = 1000))]
    pub streams_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lines: Vec::new(),
            control_key_file: None,
            name: "penstock".to_owned(),
            read_only: false,
            runbook_url: None,
            streams_max: 32,
        }
    }
}
