//! Where the audit trail is kept as a chained file.
//!
//! Refuses to look at the files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The audit trail as a file whose lines are chained by keyed hashes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File that every command is written to before it begins; `penstock admin` does not start without one, and
    /// `penstock migrate` writes to it as well when it is set.
    pub file: Option<PathBuf>,
    /// File of the key that chains the lines, 32 bytes or more; whoever has it can forge the trail.
    pub key_file: Option<PathBuf>,
    /// File of signed checkpoints, by which a cut end is found: best on another disk or machine. Without it, `file`
    /// with `.checkpoints` behind it.
    pub checkpoint_file: Option<PathBuf>,
    /// Lines after which a checkpoint is written at the latest; the end of each command writes one as well.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub checkpoint_lines: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { file: None, key_file: None, checkpoint_file: None, checkpoint_lines: 100 }
    }
}
