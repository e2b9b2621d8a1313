//! Orders to a process of the line over HTTP: what can be asked, and what is answered.
//!
//! Refuses to know how an order is carried out: it goes through a bounded channel to whoever can, and what that one says
//! goes back. Nobody is believed without a token for this very order ([`Key`]); without a key there is no such surface.
//!
//! | what | where |
//! |---|---|
//! | tokens | `token` |
//! | the surface | `door` |

mod door;
mod token;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use door::{Asked, BODY_BYTES_MAX, Door, take};
pub use token::{Key, Refused};

/// Where orders are taken.
pub const PATH: &str = "/v1/control";
/// Seconds that a topic may be paused for: who asks is told, and the line believes no longer one.
pub const PAUSE_MAX_S: u32 = 86_400;

/// Orders to the running line: pausing a topic, closing batches, reloading, probing a server. Off without a key.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File of the key, 32 bytes or more, that the admin process has in `admin.console.control_key_file`. With it orders
    /// are taken at `/v1/control`.
    pub key_file: Option<PathBuf>,
}

/// What is asked for, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The admin process answers for it.
    pub actor: String,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    Pause(Pause),
    /// Of one pause, or of whichever there is.
    Resume {
        topic: String,
        id: Option<String>,
    },
    /// Of one topic, or of all.
    Flush {
        topic: Option<String>,
    },
    Reload,
    Probe {
        endpoint: String,
    },
}

/// A topic is not to be read for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// The same each time that it is said again.
    pub id: String,
    pub topic: String,
    /// From now on, so that clocks need not agree.
    pub for_ms: u64,
    /// Its end as people are told it.
    pub until: String,
    pub reason: String,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub ok: bool,
    pub said: String,
    /// The pause was ended early here, and is not begun again.
    #[serde(default)]
    pub is_over: bool,
}

impl Reply {
    pub fn done(said: impl Into<String>) -> Reply {
        Reply { ok: true, said: said.into(), is_over: false }
    }

    pub fn refused(said: impl Into<String>) -> Reply {
        Reply { ok: false, said: said.into(), is_over: false }
    }
}
