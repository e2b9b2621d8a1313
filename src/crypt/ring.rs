//! The key ring: one primary key for new objects, and readable ones for those that are there.
//!
//! Refuses a file that others may read, and to print a key. It is written as a whole beside itself and then renamed, under
//! a lock, so that no reader sees half of it and no two writers lose each other's keys.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};

use super::envelope::is_id;
use super::{Error, Random, hex};

const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 4;
const KEYS_MAX: usize = 100;
const FILE_BYTES_MAX: u64 = 64 << 10;
const VERSION: u32 = 1;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// New objects are made with it.
    Primary,
    /// It opens objects that are there.
    Readable,
}

/// A key without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingKey {
    pub id: String,
    pub state: KeyState,
    pub created: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    state: KeyState,
    created: String,
    /// In base64.
    key: String,
}

/// Every key, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    keys: Vec<(RingKey, SecretSlice<u8>)>,
}

impl Ring {
    /// # Errors
    /// A file that cannot be read, that others may read, or that is no ring.
    pub fn read(path: &Path) -> Result<Ring, Error> {
        let failed = |source| Error::File { path: path.to_owned(), what: "read", source };
        let file = File::open(path).map_err(failed)?;
        let wrong = |why: &str| Error::NotARing { path: path.to_owned(), why: why.to_owned() };
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(wrong("everybody on this machine may use it, so take that right away with chmod o="));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        // What is wrong is told without the text, which holds keys.
        let document: Document = serde_json::from_str(&text).map_err(|error| {
            wrong(&format!("line {}, column {} is not as it is written", error.line(), error.column()))
        })?;
        Ring::from_document(document).ok_or_else(|| wrong("its keys are not as they are written"))
    }

    fn from_document(document: Document) -> Option<Ring> {
        let mut ring = Ring::default();
        for Entry { id, state, created, key } in document.keys {
            let bytes = STANDARD.decode(key).ok().filter(|bytes| bytes.len() == KEY_BYTES)?;
            if !is_id(&id) || ring.find(&id).is_some() {
                return None;
            }
            ring.keys.push((RingKey { id, state, created }, bytes.into()));
        }
        let primaries = ring.keys().filter(|key| key.state == KeyState::Primary).count();
        (document.version == VERSION && primaries <= 1 && ring.keys.len() <= KEYS_MAX).then_some(ring)
    }

    /// Changes the ring of a file, which is made if it is missing.
    ///
    /// # Errors
    /// A file that cannot be read or written, and what the change fails with; then it stays as it was.
    pub fn change<T>(path: &Path, change: impl FnOnce(&mut Ring) -> Result<T, Error>) -> Result<T, Error> {
        let failed = |source| Error::File { path: path.to_owned(), what: "written", source };
        let mut secret = OpenOptions::new();
        secret.create(true).truncate(false).write(true).mode(0o600);
        let lock = secret.open(beside(path, "lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut ring = if path.exists() { Ring::read(path)? } else { Ring::default() };
        let changed = change(&mut ring)?;
        let new = beside(path, "new");
        let mut file = secret.clone().truncate(true).open(&new).map_err(failed)?;
        file.write_all(ring.text().expose_secret()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&new, path).map_err(failed)?;
        Ok(changed)
    }

    fn text(&self) -> SecretSlice<u8> {
        let entry = |(key, bytes): &(RingKey, SecretSlice<u8>)| Entry {
            id: key.id.clone(),
            state: key.state,
            created: key.created.clone(),
            key: STANDARD.encode(bytes.expose_secret()),
        };
        let document = Document { version: VERSION, keys: self.keys.iter().map(entry).collect() };
        serde_json::to_vec_pretty(&document).unwrap_or_default().into()
    }

    pub fn keys(&self) -> impl Iterator<Item = &RingKey> {
        self.keys.iter().map(|(key, _)| key)
    }

    fn find(&self, id: &str) -> Option<&(RingKey, SecretSlice<u8>)> {
        self.keys.iter().find(|(key, _)| key.id == id)
    }

    /// # Errors
    /// A key that is not there.
    pub fn check(&self, id: &str) -> Result<(), Error> {
        self.key(id).map(|_| ())
    }

    /// Its bytes.
    pub(super) fn key(&self, id: &str) -> Result<&[u8], Error> {
        self.find(id).map(|(_, bytes)| bytes.expose_secret()).ok_or_else(|| Error::NoKey(id.to_owned()))
    }

    /// Id and bytes of the key for new objects.
    pub(super) fn primary(&self) -> Result<(&str, &[u8]), Error> {
        let found = self.keys.iter().find(|(key, _)| key.state == KeyState::Primary);
        found.map(|(key, bytes)| (key.id.as_str(), bytes.expose_secret())).ok_or(Error::NoPrimary)
    }

    /// Id of the key for new objects, if there is one.
    pub fn primary_id(&self) -> Option<&str> {
        self.primary().ok().map(|(id, _)| id)
    }

    /// Adds a key; the first one is primary, a later one only opens until it is made so.
    ///
    /// # Errors
    /// A ring that is full, or no random bytes.
    pub fn generate(&mut self, now: DateTime<Utc>, random: Random<'_>) -> Result<String, Error> {
        if self.keys.len() >= KEYS_MAX {
            return Err(Error::Full { max: KEYS_MAX });
        }
        let (mut name, mut bytes) = ([0; ID_BYTES], vec![0; KEY_BYTES]);
        random(&mut name)?;
        random(&mut bytes)?;
        let state = if self.keys.is_empty() { KeyState::Primary } else { KeyState::Readable };
        let id = format!("{}-{}", now.format("%Y%m%d"), hex(&name));
        let created = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        self.keys.push((RingKey { id: id.clone(), state, created }, bytes.into()));
        Ok(id)
    }

    /// Makes a key the one for new objects; the former one goes on opening.
    ///
    /// # Errors
    /// A key that is not there.
    pub fn promote(&mut self, id: &str) -> Result<(), Error> {
        self.key(id)?;
        for (key, _) in &mut self.keys {
            key.state = if key.id == id { KeyState::Primary } else { KeyState::Readable };
        }
        Ok(())
    }

    /// Forgets a key, and so everything that only it opens.
    ///
    /// # Errors
    /// The primary key, or one that is not there.
    pub fn destroy(&mut self, id: &str) -> Result<(), Error> {
        self.key(id)?;
        if self.primary_id() == Some(id) {
            return Err(Error::IsPrimary(id.to_owned()));
        }
        self.keys.retain(|(key, _)| key.id != id);
        Ok(())
    }

    /// A ring with these keys, the last one primary.
    #[cfg(test)]
    pub fn of(keys: &[(&str, [u8; KEY_BYTES])]) -> Ring {
        let mut ring = Ring::default();
        for (id, bytes) in keys {
            let key = RingKey {
                id: (*id).to_owned(),
                state: KeyState::Readable,
                created: "2026-11-27T00:00:00Z".to_owned(),
            };
            ring.keys.push((key, bytes.to_vec().into()));
        }
        if let Some((id, _)) = keys.last() {
            ring.promote(id).unwrap();
        }
        ring
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    PathBuf::from(name)
}
