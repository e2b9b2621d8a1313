//! Envelope encryption: each object has a key of its own, which is kept beside it, encrypted with a key of the ring.
//!
//! Refuses to open what was changed in a single bit, or was made for another purpose; to write keys anywhere but in the
//! ring's file; and to destroy a key that something which it was shown still needs.
//!
//! | what | where |
//! |---|---|
//! | the bytes of an object | `envelope` |
//! | the keys, and which of them is for new objects | `ring` |
//! | files on the disk: opened, written again, counted | `vault` |

mod envelope;
mod ring;
mod vault;

use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use envelope::{Header, open, rewrap, seal};
pub use ring::{KeyState, Ring, RingKey};
pub use vault::{KeyStatus, Rewrapped, Rotated, Status, Vault, as_bytes, as_text, open_secret};

/// Encryption of secrets that lie in files: `penstock crypt`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File with the keys, made by `penstock crypt keygen`. With it a file that a secret is read from
    /// (`clickhouse.password_file`, `kafka.security.password_file`) may be an envelope of `penstock crypt encrypt`.
    pub keyring_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no key ring is configured\nhint: set crypt.keyring_file, and make its first key with `penstock crypt keygen`"
    )]
    NoRing,
    #[error("{} cannot be {what}\nhint: let this process do so, and nobody else", path.display())]
    File { path: PathBuf, what: &'static str, source: io::Error },
    #[error("{} is no key ring: {why}\nhint: make one with `penstock crypt keygen`; never edit it by hand", path.display())]
    NotARing { path: PathBuf, why: String },
    #[error("the key ring has no primary key\nhint: make one with `penstock crypt keygen`")]
    NoPrimary,
    #[error("the key ring has no key `{0}`\nhint: `penstock crypt status` lists the keys")]
    NoKey(String),
    #[error(
        "the key ring has {max} keys, and no more are kept\nhint: destroy those that nothing needs any more"
    )]
    Full { max: usize },
    #[error("`{0}` is the primary key\nhint: make another one primary first, with `penstock crypt rotate`")]
    IsPrimary(String),
    #[error(
        "the primary key is `{found}` and not `{expected}`\nhint: somebody has rotated meanwhile; look at `penstock crypt status`"
    )]
    Moved { expected: String, found: String },
    #[error("`{id}` is needed by {}\nhint: write them again with the primary key, by `penstock crypt rewrap`", in_words(.files))]
    InUse { id: String, files: Vec<PathBuf> },
    #[error("it is no envelope: {0}\nhint: envelopes are made by `penstock crypt encrypt`")]
    NotAnEnvelope(&'static str),
    #[error(
        "the envelope cannot be opened with the key `{key}`\nhint: it was changed, or made for another purpose; `--context` must be that of `encrypt`"
    )]
    Refused { key: String },
    #[error("{what} is longer than {max} bytes\nhint: encrypt secrets, and no archives")]
    TooLarge { what: &'static str, max: usize },
    #[error("the system gives no random bytes\nhint: look at the system's own log")]
    Random,
}

fn in_words(files: &[PathBuf]) -> String {
    files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where random bytes come from; tests have some of their own.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<(), Error>;

/// The system's own.
///
/// # Errors
/// A system that has none.
pub fn system_random(bytes: &mut [u8]) -> Result<(), Error> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| Error::Random)
}
