//! Keys that lie in files: read once, never printed.
//!
//! Refuses short ones. What is derived from a key for one purpose opens nothing of another.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretSlice};

pub use crate::crypt::hex;

/// As long as the output of SHA-256; shorter keys are weaker than the codes that they make.
const BYTES_MIN: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the key file {} cannot be read\nhint: make one with `openssl rand -base64 48`, and let this process read it",
        path.display()
    )]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the key in {} has {bytes} bytes, and at least {BYTES_MIN} are needed\nhint: make one with `openssl rand -base64 48`",
        path.display()
    )]
    Short { path: PathBuf, bytes: usize },
}

/// The bytes of a key file, without white space at its end.
#[derive(Clone)]
pub struct Key(SecretSlice<u8>);

impl Key {
    /// # Errors
    /// A file that cannot be read, or that holds too little.
    pub fn read(path: &Path) -> Result<Key, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let bytes = bytes.trim_ascii_end();
        match bytes.len() {
            BYTES_MIN.. => Ok(Key(bytes.to_vec().into())),
            short => Err(Error::Short { path: path.to_owned(), bytes: short }),
        }
    }

    /// The bytes themselves: only for handing them to the algorithm that needs them.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// A key of its own for one purpose.
    pub fn derive(&self, purpose: &str) -> hmac::Key {
        let master = hmac::Key::new(hmac::HMAC_SHA256, self.expose());
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, purpose.as_bytes()).as_ref())
    }

    /// Names the key without telling anything of it.
    pub fn id(&self) -> String {
        let tag = hmac::sign(&self.derive("penstock key id"), b"");
        hex(tag.as_ref()).chars().take(16).collect()
    }

    #[cfg(test)]
    pub fn of(text: &str) -> Key {
        Key(text.as_bytes().to_vec().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::units::REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_enough_and_print_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(Key::read(&path), Err(Error::Read { .. })));
        std::fs::write(&path, "a".repeat(BYTES_MIN - 1) + "\n").unwrap();
        assert!(matches!(Key::read(&path), Err(Error::Short { bytes: 31, .. })));
        std::fs::write(&path, "a".repeat(BYTES_MIN) + "\n").unwrap();
        let key = Key::read(&path).unwrap();
        assert_eq!((key.expose().len(), format!("{key:?}")), (BYTES_MIN, "<redacted>".to_owned()));
        let other = Key::of(&"b".repeat(BYTES_MIN));
        assert!(key.id().len() == 16 && key.id() != other.id());
        let sign = |key: &hmac::Key| hex(hmac::sign(key, b"x").as_ref());
        assert_ne!(sign(&key.derive("one")), sign(&key.derive("two")));
    }
}
