//! Encryption with the keys of a ring: objects that lie about, and values of columns.
//!
//! Refuses to open what was changed in a single bit, or was made for another purpose, and to write keys anywhere but in the
//! ring's file. It lies below the line and the admin side, since both need it, and knows neither.
//!
//! | what | where |
//! |---|---|
//! | the bytes of an object | `envelope` |
//! | the keys, and which of them is for new objects | `ring` |
//! | a secret in a file | `secret` |
//! | values of columns: pseudonyms, and encrypted ones that come out the same when they are made anew | `field` |

mod envelope;
mod field;
mod ring;
mod secret;

use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use envelope::{ENVELOPE_BYTES_MAX, Header, is_id, open, rewrap, seal};
pub use field::{CONTENT_BYTES_MAX as VALUE_BYTES_MAX, Cipher, Pseudonyms};
pub use ring::{KeyState, Ring, RingKey};
pub use secret::{as_bytes, as_text, open_secret};

/// Encryption of secrets that lie in files: `penstock crypt`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File with the keys, made by `penstock crypt keygen`. With it a file that a secret is read from
    /// (`clickhouse.password_file`, `kafka.security.password_file`, the keys of the admin process) may be an envelope of
    /// `penstock crypt encrypt`, and columns of table files may be hidden with keys of the ring.
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
    #[error("`{id}` is needed by {}\nhint: write files again with the primary key, by `penstock crypt rewrap`; a column needs its key as long as there are values of it", in_words(.files, .columns))]
    InUse { id: String, files: Vec<PathBuf>, columns: Vec<String> },
    #[error("it is no envelope: {0}\nhint: envelopes are made by `penstock crypt encrypt`")]
    NotAnEnvelope(&'static str),
    #[error(
        "the envelope cannot be opened with the key `{key}`\nhint: it was changed, or made for another purpose; `--context` must be that of `encrypt`"
    )]
    Refused { key: String },
    #[error(
        "the value of a column cannot be wrapped again: its key is made of that of the ring, `{key}`\nhint: keep that key as long as there are values of it"
    )]
    Derived { key: String },
    #[error("which keys the table files need cannot be told: {why}\nhint: mend the table files first")]
    Needs { why: String },
    #[error("{what} is longer than {max} bytes\nhint: encrypt secrets, and no archives")]
    TooLarge { what: &'static str, max: usize },
    #[error("the system gives no random bytes\nhint: look at the system's own log")]
    Random,
}

fn in_words(files: &[PathBuf], columns: &[String]) -> String {
    let files = files.iter().map(|path| path.display().to_string());
    files.chain(columns.iter().map(|column| format!("the column {column}"))).collect::<Vec<_>>().join(", ")
}

/// Bytes as two lower-case digits each.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).map_or('0', |digit| char::from(*digit));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
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
