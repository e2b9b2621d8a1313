//! The files of backups, where this process sees them: the server's list of each, whether what it lists is there, and
//! the manifest beside it.
//!
//! Refuses to trust that a server has noticed: it reports a backup as made whose base has lost files. Blocks; async
//! code calls it from a blocking thread. A list is read as a whole and so bounded.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::destination::is_id;
use super::error::Error;
use super::manifest::Manifest;
use crate::admin::key::hex;

/// Name of the server's own list within a backup.
const LIST: &str = ".backup";
/// A list of about two million files.
const LIST_BYTES_MAX: u64 = 512 << 20;
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Findings of one backup that are told; the rest are counted.
const FINDINGS_MAX: usize = 20;
/// The server hashes a file in blocks, each under the hash of those before.
const BLOCK_BYTES: usize = 2048;

/// The folder of all backups.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

/// The server's list of one backup.
#[derive(Debug, Deserialize)]
struct List {
    uuid: String,
    #[serde(default)]
    base_backup_uuid: Option<String>,
    contents: Contents,
}

#[derive(Debug, Deserialize)]
struct Contents {
    #[serde(default)]
    file: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    size: u64,
    #[serde(default)]
    checksum: String,
    #[serde(default)]
    use_base: bool,
    /// Of a file whose beginning is the base's.
    #[serde(default)]
    base_size: Option<u64>,
    #[serde(default)]
    base_checksum: Option<String>,
    /// Where its bytes are, if not under its own name.
    #[serde(default)]
    data_file: Option<String>,
}

impl Listed {
    /// Bytes that it takes from the base.
    fn of_base(&self) -> u64 {
        if self.use_base { self.base_size.unwrap_or(self.size) } else { self.base_size.unwrap_or(0) }
    }

    fn base_key(&self) -> (u64, &str) {
        let of_base = self.of_base();
        if of_base == self.size {
            (self.size, &self.checksum)
        } else {
            (of_base, self.base_checksum.as_deref().unwrap_or_default())
        }
    }
}

/// What is looked at of the files.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Percent of the files whose checksums are made again.
    pub percent: u8,
    /// Which, from one run to the next.
    pub seed: u64,
}

impl Files {
    pub fn new(root: &Path) -> Files {
        Files { root: root.to_owned() }
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    fn manifest_path(&self, id: &str) -> PathBuf {
        self.root.join(format!("{id}.penstock.json"))
    }

    /// SHA-256 of the server's list.
    pub fn list_sha256(&self, id: &str) -> Result<String, Error> {
        Ok(sha256_hex(&read(&self.folder(id).join(LIST), LIST_BYTES_MAX)?))
    }

    /// Writes the manifest beside the backup, whole or not at all.
    pub fn write_manifest(&self, id: &str, manifest: &Manifest) -> Result<(), Error> {
        let path = self.manifest_path(id);
        let text = serde_json::to_vec_pretty(manifest).map_err(|error| Error::List(error.to_string()))?;
        let draft = path.with_extension("draft");
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).map_err(at(&path))
    }

    /// Every manifest that stands here, with its id.
    pub fn manifests(&self) -> Result<Vec<(String, Manifest)>, Error> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(at(&self.root))? {
            let path = entry.map_err(at(&self.root))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(id) = name.strip_suffix(".penstock.json").filter(|id| is_id(id)) else { continue };
            let manifest = serde_json::from_slice(&read(&path, MANIFEST_BYTES_MAX)?)
                .map_err(|error| Error::List(format!("{}: {error}", path.display())))?;
            all.push((id.to_owned(), manifest));
        }
        all.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(all)
    }

    /// Removes everything of a backup; what is not there is gone.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let (folder, manifest) = (self.folder(id), self.manifest_path(id));
        let gone = |result: std::io::Result<()>| match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        };
        gone(fs::remove_dir_all(&folder)).map_err(at(&folder))?;
        gone(fs::remove_file(&manifest)).map_err(at(&manifest))
    }

    /// What is wrong with the files of a chain, newest first, as it is given with the hashes of its lists.
    pub fn check(&self, chain: &[(String, String)], sample: Option<Sample>) -> Result<Vec<String>, Error> {
        let mut findings = Vec::new();
        let mut lists = Vec::new();
        for (id, sha256) in chain {
            match self.list(id, sha256) {
                Ok(list) => lists.push((id, list)),
                Err(Error::File { source, .. }) if source.kind() != ErrorKind::NotFound => {
                    return Err(Error::File { path: self.folder(id), source });
                }
                Err(error) => {
                    let text = error.to_string();
                    findings.push(format!(
                        "{id}: the list of files: {}",
                        text.lines().next().unwrap_or_default()
                    ));
                    return Ok(findings);
                }
            }
        }
        for (index, (id, list)) in lists.iter().enumerate() {
            let base = lists.get(index + 1);
            let mut own = linked(list, base.map(|(id, list)| (id.as_str(), list)));
            own.extend(self.stored(id, list, sample)?);
            let more = own.len().saturating_sub(FINDINGS_MAX);
            findings.extend(own.into_iter().take(FINDINGS_MAX).map(|finding| format!("{id}: {finding}")));
            if more > 0 {
                findings.push(format!("{id}: and {more} more"));
            }
        }
        Ok(findings)
    }

    fn list(&self, id: &str, sha256: &str) -> Result<List, Error> {
        let bytes = read(&self.folder(id).join(LIST), LIST_BYTES_MAX)?;
        if !sha256.is_empty() && sha256_hex(&bytes) != sha256 {
            return Err(Error::List("it is not what it was when the backup was made".to_owned()));
        }
        quick_xml::de::from_reader(bytes.as_slice()).map_err(|error| Error::List(error.to_string()))
    }

    /// Looks at every file that the backup itself holds.
    fn stored(&self, id: &str, list: &List, sample: Option<Sample>) -> Result<Vec<String>, Error> {
        let mut findings = Vec::new();
        // Equal files are kept once, under the name of one of them.
        let mut equal: HashMap<(u64, &str), Vec<&Listed>> = HashMap::new();
        for one in list.contents.file.iter().filter(|one| one.of_base() < one.size) {
            equal.entry((one.size, &one.checksum)).or_default().push(one);
        }
        let mut keys: Vec<_> = equal.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            let Some(all) = equal.get(&key) else { continue };
            let names: BTreeSet<&str> =
                all.iter().map(|one| one.data_file.as_deref().unwrap_or(&one.name)).collect();
            let Some(first) = all.first() else { continue };
            let expected = first.size - first.of_base();
            let mut found = None;
            for name in names.iter().filter(|name| is_below(name)) {
                let path = self.folder(id).join(name);
                match fs::metadata(&path) {
                    Ok(metadata) => found = Some((path, metadata.len())),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(at(&path)(error)),
                }
            }
            match found {
                None => findings.push(format!("{} is gone", first.name)),
                Some((_, size)) if size != expected => {
                    findings.push(format!("{} has {size} bytes instead of {expected}", first.name));
                }
                Some((path, _)) if first.of_base() == 0 && is_chosen(sample, &first.name) => {
                    if checksum(&path)? != first.checksum {
                        findings.push(format!("{} has other bytes than when it was made", first.name));
                    }
                }
                Some(_) => {}
            }
        }
        Ok(findings)
    }
}

/// What the backup takes from its base, and the base does not have.
fn linked(list: &List, base: Option<(&str, &List)>) -> Vec<String> {
    let mut borrowed = list.contents.file.iter().filter(|one| one.of_base() > 0).peekable();
    let Some((base_id, base)) = base else {
        return borrowed
            .next()
            .map(|one| format!("{} lies in a base that is not known", one.name))
            .into_iter()
            .collect();
    };
    if list.base_backup_uuid.as_deref() != Some(base.uuid.as_str()) {
        return vec![format!("{base_id} is not the base that it was made on")];
    }
    let has: BTreeSet<(u64, &str)> =
        base.contents.file.iter().map(|one| (one.size, one.checksum.as_str())).collect();
    borrowed
        .filter(|one| !has.contains(&one.base_key()))
        .map(|one| format!("{} is not in {base_id}", one.name))
        .collect()
}

/// Names within a list stay within the backup.
fn is_below(name: &str) -> bool {
    let path = Path::new(name);
    path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn is_chosen(sample: Option<Sample>, name: &str) -> bool {
    let Some(Sample { percent, seed }) = sample else { return false };
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(name);
    let drawn = hash.finalize().first().copied().unwrap_or_default();
    u32::from(drawn) * 100 < u32::from(percent) * 256
}

/// The checksum that the server gives a file.
fn checksum(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut state = Checksum::default();
    let mut buffer = vec![0; 256 * BLOCK_BYTES];
    let mut held = 0;
    loop {
        let free = buffer.get_mut(held..).unwrap_or_default();
        let read = file.read(free).map_err(at(path))?;
        held += read;
        // Only the last block may be shorter.
        let whole = if read == 0 { held } else { held - held % BLOCK_BYTES };
        buffer.get(..whole).unwrap_or_default().chunks(BLOCK_BYTES).for_each(|block| state.add(block));
        buffer.copy_within(whole..held, 0);
        held -= whole;
        if read == 0 {
            return Ok(state.hex());
        }
    }
}

/// CityHash of 128 bits, as the server chains it.
#[derive(Clone, Copy, Debug, Default)]
struct Checksum {
    low: u64,
    high: u64,
}

impl Checksum {
    fn add(&mut self, block: &[u8]) {
        // What the hash of a whole text makes its seed from: the seed, so led in, is ours.
        const LEAD: u64 = 0xc949_d7c7_509e_6557;
        let mut text = Vec::with_capacity(16 + block.len());
        text.extend_from_slice(&(self.low ^ LEAD).to_le_bytes());
        text.extend_from_slice(&self.high.to_le_bytes());
        text.extend_from_slice(block);
        let [low, high] = halves(cityhash_rs::cityhash_102_128(&text));
        *self = Checksum { low, high };
    }

    fn hex(self) -> String {
        format!("{:016x}{:016x}", self.high, self.low)
    }
}

/// Upper and lower half.
fn halves(value: u128) -> [u64; 2] {
    let half = |value: u128| u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
    [half(value >> 64), half(value)]
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(at(path))?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(at(path))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > bytes_max) {
        return Err(Error::List(format!("{} has more than {bytes_max} bytes", path.display())));
    }
    Ok(bytes)
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "<config><version>1</version><uuid>u1</uuid><contents><file><name>data/a</name><size>1</size>\
        <checksum>1d5952e8223ea966def237d6e7e216f1</checksum></file><file><name>data/b</name><size>1</size>\
        <checksum>1d5952e8223ea966def237d6e7e216f1</checksum></file><file><name>data/c</name><size>4</size>\
        <checksum>591f8bb99e21ae6609d151256dd83dcb</checksum></file><file><name>data/e</name><size>0</size></file></contents></config>";
    const MORE: &str = "<config><uuid>u2</uuid><base_backup>File(&apos;x&apos;)</base_backup><base_backup_uuid>u1</base_backup_uuid>\
        <contents><file><name>data/c</name><size>4</size><checksum>591f8bb99e21ae6609d151256dd83dcb</checksum>\
        <use_base>true</use_base></file></contents></config>";

    fn two() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        for (id, list) in [("full", FULL), ("more", MORE)] {
            fs::create_dir_all(folder.path().join(id).join("data")).unwrap();
            fs::write(folder.path().join(id).join(LIST), list).unwrap();
        }
        fs::write(folder.path().join("full/data/a"), "0").unwrap();
        fs::write(folder.path().join("full/data/c"), "6667").unwrap();
        (folder, files)
    }

    fn chain(files: &Files) -> Vec<(String, String)> {
        ["more", "full"].map(|id| (id.to_owned(), files.list_sha256(id).unwrap())).to_vec()
    }

    const ALL: Option<Sample> = Some(Sample { percent: 100, seed: 1 });

    #[test]
    fn what_is_gone_cut_changed_or_of_another_base_is_found() {
        let (folder, files) = two();
        let whole = chain(&files);
        assert_eq!(files.check(&whole, ALL).unwrap(), [""; 0]);
        let c = folder.path().join("full/data/c");
        for (bytes, sample, told) in [
            (Some("666"), None, "has 3 bytes instead of 4"),
            (Some("6668"), ALL, "has other bytes"),
            (None, None, "data/c is gone"),
        ] {
            match bytes {
                Some(bytes) => fs::write(&c, bytes).unwrap(),
                None => fs::remove_file(&c).unwrap(),
            }
            let found = files.check(&whole, sample).unwrap();
            assert!(
                found.len() == 1 && found[0].contains(told) && found[0].starts_with("full: "),
                "{found:?}"
            );
        }
        fs::write(&c, "6668").unwrap();
        assert!(files.check(&whole, None).unwrap().is_empty(), "the size alone does not tell");
        fs::write(&c, "6667").unwrap();
        fs::write(folder.path().join("full").join(LIST), FULL.replace("u1", "u9")).unwrap();
        assert!(files.check(&whole, None).unwrap()[0].contains("not what it was"));
        assert!(files.check(&chain(&files), None).unwrap()[0].contains("full is not the base"));
        fs::write(folder.path().join("full").join(LIST), FULL.replace("591f", "591e")).unwrap();
        assert!(files.check(&chain(&files), None).unwrap()[0].contains("data/c is not in full"));
        let alone = &whole[..1];
        assert!(files.check(alone, None).unwrap()[0].contains("not known"));
        fs::remove_file(folder.path().join("full").join(LIST)).unwrap();
        assert!(files.check(&whole, None).unwrap()[0].contains("full: the list"));
    }

    #[test]
    fn manifests_stand_beside_and_go_with_the_backup() {
        let (folder, files) = two();
        let manifest = Manifest { database: "d".to_owned(), ..Manifest::default() };
        files.write_manifest("full", &manifest).unwrap();
        fs::write(folder.path().join("x..y.penstock.json"), "{}").unwrap();
        assert_eq!(files.manifests().unwrap(), [("full".to_owned(), manifest)]);
        files.remove("full").unwrap();
        files.remove("full").unwrap();
        assert!(files.manifests().unwrap().is_empty() && !folder.path().join("full").exists());
    }

    #[test]
    fn the_checksum_is_that_of_the_server_over_many_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for (text, expected) in
            [("0", "1d5952e8223ea966def237d6e7e216f1"), ("6667", "591f8bb99e21ae6609d151256dd83dcb")]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(checksum(&path).unwrap(), expected);
        }
        let long: Vec<u8> = (0..600_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        fs::write(&path, &long).unwrap();
        let mut state = Checksum::default();
        long.chunks(BLOCK_BYTES).for_each(|block| state.add(block));
        assert_eq!(checksum(&path).unwrap(), state.hex());
    }

    #[test]
    fn a_sample_is_about_as_large_as_asked_for_and_no_name_leads_out() {
        let chosen = |percent| {
            (0..2_000).filter(|n| is_chosen(Some(Sample { percent, seed: 7 }), &n.to_string())).count()
        };
        assert!((120..280).contains(&chosen(10)) && chosen(100) == 2_000 && chosen(0) == 0);
        assert!(is_below("data/a") && !is_below("../a") && !is_below("/etc/passwd"));
    }
}
