//! Files on the disk: envelopes opened, written again, and counted by the key that they need; columns of table files too.
//!
//! Refuses to say that a key is not needed without having looked, and can only say it of what it was shown.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use secrecy::zeroize::Zeroizing;
use serde::Serialize;

use crate::crypt::{
    Config, ENVELOPE_BYTES_MAX, Error, Header, KeyState, Random, Ring, RingKey, as_bytes, as_text, rewrap,
};
use crate::schema;
use crate::schema::protect::Need;

/// Files that are looked at, in folders and below.
const FILES_MAX: usize = 100_000;

/// The ring's file, and files that are known to be encrypted with it.
#[derive(Clone, Debug)]
pub struct Vault {
    ring: PathBuf,
    known: Vec<PathBuf>,
    /// Table files, whose columns may need keys.
    tables: PathBuf,
}

/// The keys, and what needs them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    pub keys: Vec<KeyStatus>,
    /// Envelopes that were looked at.
    pub envelopes: u64,
    /// Files that need a key which the ring does not have.
    pub lost: Vec<PathBuf>,
    /// Columns that need a key which the ring does not have.
    pub lost_columns: Vec<String>,
}

/// One key, and how much of what was looked at needs it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KeyStatus {
    pub id: String,
    pub state: KeyState,
    pub created: String,
    pub envelopes: u64,
    /// Columns of table files whose values are made with it, as `table.column`.
    pub columns: Vec<String>,
}

/// What a rotation came to, or would.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rotated {
    /// Empty of a trial that would make a new key.
    pub primary: String,
    pub former: String,
    pub is_new: bool,
}

/// A file that was written again, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rewrapped {
    pub path: PathBuf,
    pub from: String,
    pub to: String,
}

impl Vault {
    /// `known` are files that may be envelopes, `tables` a folder of table files or one of them.
    ///
    /// # Errors
    /// No ring that is configured.
    pub fn new(config: &Config, known: Vec<PathBuf>, tables: &Path) -> Result<Vault, Error> {
        let ring = config.keyring_file.clone().ok_or(Error::NoRing)?;
        Ok(Vault { ring, known, tables: tables.to_owned() })
    }

    /// Every column that needs a key, as the table files are now.
    fn needs(&self) -> Result<Vec<Need>, Error> {
        if !self.tables.exists() {
            return Ok(Vec::new());
        }
        match schema::load_dir(&self.tables) {
            Ok(tables) => Ok(tables.iter().flat_map(|table| table.needs()).collect()),
            Err(schema::Error::NoTables { .. }) => Ok(Vec::new()),
            Err(error) => Err(Error::Needs { why: error.to_string() }),
        }
    }

    /// # Errors
    /// See [`Ring::read`].
    pub fn ring(&self) -> Result<Ring, Error> {
        Ring::read(&self.ring)
    }

    /// Adds a key; see [`Ring::generate`].
    ///
    /// # Errors
    /// See [`Ring::change`].
    pub fn generate(&self, now: DateTime<Utc>, random: Random<'_>) -> Result<String, Error> {
        Ring::change(&self.ring, |ring| ring.generate(now, random))
    }

    /// Makes a key primary: the one that is named, or a new one. Whoever names the key that is primary now rotates from
    /// it and from no other.
    ///
    /// # Errors
    /// Another primary key, a key that is not there, and see [`Ring::change`].
    pub fn rotate(
        &self,
        (from, to): (Option<&str>, Option<&str>),
        now: DateTime<Utc>,
        random: Random<'_>,
    ) -> Result<Rotated, Error> {
        Ring::change(&self.ring, |ring| {
            let mut rotated = rotation(ring, from, to)?;
            if rotated.is_new {
                rotated.primary = ring.generate(now, random)?;
            }
            ring.promote(&rotated.primary)?;
            Ok(rotated)
        })
    }

    /// What [`Vault::rotate`] would do. Changes nothing.
    ///
    /// # Errors
    /// As [`Vault::rotate`].
    pub fn rotation(&self, (from, to): (Option<&str>, Option<&str>)) -> Result<Rotated, Error> {
        rotation(&self.ring()?, from, to)
    }

    /// Counts what needs each key: columns, the files that are known, and these, folders with everything below.
    ///
    /// # Errors
    /// A ring or a file that cannot be read.
    pub fn status(&self, more: &[PathBuf]) -> Result<Status, Error> {
        let ring = self.ring()?;
        let one = |key: &RingKey| KeyStatus {
            id: key.id.clone(),
            state: key.state,
            created: key.created.clone(),
            envelopes: 0,
            columns: Vec::new(),
        };
        let mut status = Status {
            keys: ring.keys().map(one).collect(),
            envelopes: 0,
            lost: Vec::new(),
            lost_columns: Vec::new(),
        };
        for need in self.needs()? {
            match status.keys.iter_mut().find(|key| key.id == need.key) {
                Some(key) => key.columns.push(need.column),
                None => status.lost_columns.push(need.column),
            }
        }
        for (path, bytes) in self.envelopes(more)? {
            let header = Header::parse(&bytes)?;
            status.envelopes += 1;
            match status.keys.iter_mut().find(|key| key.id == header.key) {
                Some(key) => key.envelopes += 1,
                None => status.lost.push(path),
            }
        }
        Ok(status)
    }

    /// Forgets a key that nothing needs which is known or given.
    ///
    /// # Errors
    /// A key that is needed, the primary one, and see [`Ring::change`].
    pub fn destroy(&self, id: &str, more: &[PathBuf], dry_run: bool) -> Result<(), Error> {
        // Tried on a copy first.
        self.ring()?.destroy(id)?;
        let mut files = Vec::new();
        for (path, bytes) in self.envelopes(more)? {
            if Header::parse(&bytes)?.key == id {
                files.push(path);
            }
        }
        let needs = self.needs()?.into_iter().filter(|need| need.key == id);
        let columns: Vec<String> = needs.map(|need| need.column).collect();
        if !files.is_empty() || !columns.is_empty() {
            return Err(Error::InUse { id: id.to_owned(), files, columns });
        }
        match dry_run {
            true => Ok(()),
            false => Ring::change(&self.ring, |ring| ring.destroy(id)),
        }
    }

    /// Puts envelopes under the primary key that are under another: those that are known, and these.
    ///
    /// # Errors
    /// An envelope that was changed, or a file that cannot be written. Those before it are done.
    pub fn rewrap(
        &self,
        more: &[PathBuf],
        dry_run: bool,
        random: Random<'_>,
    ) -> Result<Vec<Rewrapped>, Error> {
        let ring = self.ring()?;
        let to = ring.primary_id().ok_or(Error::NoPrimary)?.to_owned();
        let mut done = Vec::new();
        for (path, bytes) in self.envelopes(more)? {
            let from = Header::parse(&bytes)?.key.to_owned();
            if from == to {
                continue;
            }
            let rewrapped = rewrap(&ring, &bytes, random)?;
            if !dry_run {
                replace(&path, &as_text(&rewrapped))?;
            }
            done.push(Rewrapped { path, from, to: to.clone() });
        }
        Ok(done)
    }

    /// Every envelope among the files that are known and these.
    fn envelopes(&self, more: &[PathBuf]) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
        let mut files = Vec::new();
        for path in self.known.iter().chain(more) {
            gather(path, &mut files)?;
        }
        files.sort();
        files.dedup();
        let mut found = Vec::new();
        for path in files {
            if let Some(bytes) = as_bytes(&read(&path)?)? {
                found.push((path, bytes));
            }
        }
        Ok(found)
    }
}

fn rotation(ring: &Ring, from: Option<&str>, to: Option<&str>) -> Result<Rotated, Error> {
    let former = ring.primary_id().ok_or(Error::NoPrimary)?.to_owned();
    if let Some(expected) = from.filter(|expected| *expected != former) {
        return Err(Error::Moved { expected: expected.to_owned(), found: former });
    }
    if let Some(id) = to {
        ring.check(id)?;
    }
    Ok(Rotated { primary: to.unwrap_or_default().to_owned(), former, is_new: to.is_none() })
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    if files.len() >= FILES_MAX {
        return Err(Error::TooLarge { what: "the list of files", max: FILES_MAX });
    }
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let failed = |source| Error::File { path: path.to_owned(), what: "read", source };
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A link may lead around in a circle, and what it leads to is looked at where it is.
        if !entry.file_type().map_err(failed)?.is_symlink() {
            gather(&entry.path(), files)?;
        }
    }
    Ok(())
}

/// The file, as far as an envelope can be long.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), what: "read", source };
    let limit = u64::try_from(ENVELOPE_BYTES_MAX.saturating_mul(2)).unwrap_or(u64::MAX);
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Writes the file as a whole beside itself, with the rights that it has, and puts it in its place.
fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), what: "written", source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || {
        let mut file = File::create(&new)?;
        file.set_permissions(fs::metadata(path)?.permissions())?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::crypt::{open_secret, seal, system_random};

    fn vault(folder: &Path) -> Vault {
        let config = Config { keyring_file: Some(folder.join("ring")) };
        Vault::new(&config, vec![folder.join("known")], &folder.join("schemas")).unwrap()
    }

    fn put(vault: &Vault, path: &Path, content: &[u8]) {
        let sealed = seal(&vault.ring().unwrap(), "c", content, &mut system_random).unwrap();
        fs::write(path, as_text(&sealed)).unwrap();
    }

    /// The whole way of a key: made, distributed, primary, replaced, needed by nothing, gone.
    #[test]
    fn keys_are_rotated_and_one_that_is_needed_is_not_destroyed() {
        let folder = tempfile::tempdir().unwrap();
        let (vault, now) = (vault(folder.path()), Utc::now());
        let others = [folder.path().join("others")];
        fs::create_dir(&others[0]).unwrap();
        let random = &mut system_random;
        assert!(matches!(vault.status(&[]), Err(Error::File { .. })));
        let first = vault.generate(now, random).unwrap();
        assert!(matches!(vault.status(&[]), Err(Error::File { .. })), "what is known must be there");
        put(&vault, &folder.path().join("known"), b"one");
        put(&vault, &others[0].join("a"), b"two");
        fs::write(others[0].join("plain"), "cGVuc3Rv").unwrap();

        let second = vault.generate(now, random).unwrap();
        assert_eq!(vault.ring().unwrap().primary_id(), Some(first.as_str()), "a new key waits");
        let rotated = vault.rotate((Some(&first), Some(&second)), now, random).unwrap();
        assert_eq!((rotated.primary.as_str(), rotated.former.as_str()), (second.as_str(), first.as_str()));
        let again = vault.rotate((Some(&first), None), now, random);
        assert!(matches!(again, Err(Error::Moved { .. })), "asked twice, done once");
        assert!(matches!(vault.rotation((None, Some("none"))), Err(Error::NoKey(_))));

        let status = vault.status(&others).unwrap();
        let counts: Vec<u64> = status.keys.iter().map(|key| key.envelopes).collect();
        assert_eq!((counts, status.envelopes, status.lost.len()), (vec![2, 0], 2, 0));
        assert!(
            matches!(vault.destroy(&first, &others, true), Err(Error::InUse { files, .. }) if files.len() == 2)
        );
        assert!(matches!(vault.destroy(&second, &others, false), Err(Error::IsPrimary(_))));
        fs::set_permissions(others[0].join("a"), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(vault.rewrap(&others, true, random).unwrap().len(), 2);
        assert_eq!(vault.status(&others).unwrap().keys[0].envelopes, 2, "a trial writes nothing");
        assert_eq!(vault.rewrap(&others, false, random).unwrap().len(), 2);
        assert_eq!(vault.rewrap(&others, false, random).unwrap().len(), 0);
        assert_eq!(fs::metadata(others[0].join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        let config = Config { keyring_file: Some(folder.path().join("ring")) };
        let content = Zeroizing::new(fs::read(folder.path().join("known")).unwrap());
        assert_eq!(*open_secret(&config, "c", content.clone()).unwrap(), b"one");
        assert!(matches!(open_secret(&config, "other", content.clone()), Err(Error::Refused { .. })));
        assert!(matches!(open_secret(&Config::default(), "c", content), Err(Error::NoRing)));
        let plain = Zeroizing::new(b"penstock".to_vec());
        assert_eq!(*open_secret(&Config::default(), "c", plain).unwrap(), b"penstock");
        let broken = Zeroizing::new(b"cGVuc3RvY2sA*".to_vec());
        assert!(matches!(open_secret(&config, "c", broken), Err(Error::NotAnEnvelope(_))));

        vault.destroy(&first, &others, true).unwrap();
        vault.destroy(&first, &others, false).unwrap();
        let left: Vec<String> = vault.ring().unwrap().keys().map(|key| key.id.clone()).collect();
        assert_eq!(left, [second]);
    }

    /// What a column needs counts as long as its table file names it; files with faults tell nothing.
    #[test]
    fn a_key_that_a_column_needs_is_not_destroyed() {
        let folder = tempfile::tempdir().unwrap();
        let (vault, random) = (vault(folder.path()), &mut system_random);
        fs::write(folder.path().join("known"), "no envelope").unwrap();
        let first = vault.generate(Utc::now(), random).unwrap();
        let second = vault.generate(Utc::now(), random).unwrap();
        vault.rotate((None, Some(&second)), Utc::now(), random).unwrap();
        let file = folder.path().join("schemas/t/table.yaml");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let write = |key: &str| {
            let text = format!(
                "table: t\ntopics: [t]\norder_by: []\ncolumns: [{{name: c, type: String, protect: {{pseudonym: {key}}}}}]\n"
            );
            fs::write(&file, text).unwrap();
        };
        write(&first);
        let status = vault.status(&[]).unwrap();
        assert_eq!((&status.keys[0].columns, status.keys[1].columns.len()), (&vec!["t.c".to_owned()], 0));
        let refused = vault.destroy(&first, &[], false).unwrap_err();
        assert!(refused.to_string().contains("the column t.c"), "{refused}");
        fs::write(&file, "table: [").unwrap();
        assert!(matches!(vault.destroy(&first, &[], false), Err(Error::Needs { .. })));
        write("gone");
        assert_eq!(vault.status(&[]).unwrap().lost_columns, ["t.c"]);
        vault.destroy(&first, &[], false).unwrap();
    }

    #[test]
    fn a_ring_is_for_its_owner_alone_and_shows_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(folder.path());
        let path = folder.path().join("ring");
        let id = vault.generate(Utc::now(), &mut |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok(())
        });
        assert!(id.unwrap().ends_with("-07070707"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="), "its file has them");
        let shown = format!("{:?}", vault.ring().unwrap());
        assert!(shown.contains("REDACTED") && !shown.contains("7, 7"), "{shown}");
        for (wrong, told) in [
            (text.replace("primary", "first"), "line 6"),
            (text.replace("BwcH", "Bwc"), "not as they are written"),
            (text.replace("\"version\": 1", "\"version\": 2"), "not as they are written"),
            (String::new(), "line 1"),
        ] {
            fs::write(&path, &wrong).unwrap();
            let error = vault.ring().unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("hint: ") && !error.contains("BwcH"), "{error}");
        }
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(vault.ring(), Err(Error::NotARing { .. })));
    }

    #[test]
    fn two_at_a_time_lose_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        vault.generate(Utc::now(), &mut system_random).unwrap();
                    }
                });
            }
        });
        let ring = vault.ring().unwrap();
        assert_eq!(
            (ring.keys().count(), ring.keys().filter(|key| key.state == KeyState::Primary).count()),
            (20, 1)
        );
    }
}
