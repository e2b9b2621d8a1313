//! Keys that lie in files, as they are or in envelopes: read once, never printed.
//!
//! Refuses short ones. What is derived from a key for one purpose opens nothing of another.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice};

use crate::crypt::{self, open_secret};

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
    #[error("the key file {} is an envelope: {source}", path.display())]
    Sealed { path: PathBuf, source: Box<crypt::Error> },
}

/// The bytes of a key file, without white space at its end.
#[derive(Clone)]
pub struct Key(SecretSlice<u8>);

impl Key {
    /// An envelope is opened with the ring; it is made for the setting that names the file.
    ///
    /// # Errors
    /// A file that cannot be read or opened, or that holds too little.
    pub fn read(path: &Path, setting: &str, crypt: &crypt::Config) -> Result<Key, Error> {
        let bytes = read(path, setting, crypt)?;
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

/// What a file of a setting holds, out of its envelope if it is one.
fn read(path: &Path, setting: &str, crypt: &crypt::Config) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let opened = open_secret(crypt, setting, Zeroizing::new(bytes));
    opened.map_err(|source| Error::Sealed { path: path.to_owned(), source: Box::new(source) })
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
        let plain = |path: &Path| Key::read(path, "s", &crypt::Config::default());
        assert!(matches!(plain(&path), Err(Error::Read { .. })));
        std::fs::write(&path, "a".repeat(BYTES_MIN - 1) + "\n").unwrap();
        assert!(matches!(plain(&path), Err(Error::Short { bytes: 31, .. })));
        std::fs::write(&path, "a".repeat(BYTES_MIN) + "\n").unwrap();
        let key = plain(&path).unwrap();
        assert_eq!((key.expose().len(), format!("{key:?}")), (BYTES_MIN, "<redacted>".to_owned()));
        let other = Key::of(&"b".repeat(BYTES_MIN));
        assert!(key.id().len() == 16 && key.id() != other.id());
        let sign = |key: &hmac::Key| hex(hmac::sign(key, b"x").as_ref());
        assert_ne!(sign(&key.derive("one")), sign(&key.derive("two")));
    }

    #[test]
    fn a_key_in_an_envelope_is_opened_for_its_setting_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ring) = (folder.path().join("key"), folder.path().join("ring"));
        crypt::Ring::change(&ring, |ring| ring.generate(chrono::Utc::now(), &mut crypt::system_random))
            .unwrap();
        let text = "a".repeat(BYTES_MIN);
        let sealed =
            crypt::seal(&crypt::Ring::read(&ring).unwrap(), "s", text.as_bytes(), &mut crypt::system_random);
        std::fs::write(&path, crypt::as_text(&sealed.unwrap())).unwrap();
        let with_ring = crypt::Config { keyring_file: Some(ring) };
        assert_eq!(Key::read(&path, "s", &with_ring).unwrap().expose(), text.as_bytes());
        for (setting, config) in [("t", &with_ring), ("s", &crypt::Config::default())] {
            let error = Key::read(&path, setting, config).unwrap_err();
            assert!(matches!(error, Error::Sealed { .. }) && error.to_string().contains("hint: "), "{error}");
        }
    }
}
