//! The folder of migrations: which files there are, what kind each is, and in which order they are run.
//!
//! Refuses to reach a server. Every fault of every file is told at once, with its line.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::Error;
use super::journal::Direction;
use super::script::Script;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
const NAMES: &str =
    "name it V<number or stamp>__name.sql, V<…>__name.down.sql, R__name.sql or B<number or stamp>__name.sql";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Run first, and in a database without a journal only: what was there before the first version.
    Baseline,
    /// Run once, in the order of the versions.
    Versioned,
    /// Run after all others, again whenever it has changed.
    Repeatable,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Baseline => "baseline",
            Kind::Versioned => "versioned",
            Kind::Repeatable => "repeatable",
        }
    }

    pub fn parse(text: &str) -> Option<Kind> {
        [Kind::Baseline, Kind::Versioned, Kind::Repeatable].into_iter().find(|kind| kind.name() == text)
    }
}

/// A number or a stamp such as `20261123T1015`: its runs of digits are compared as numbers.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    pub fn parse(text: &str) -> Option<Version> {
        let allowed = |c: char| c.is_ascii_digit() || matches!(c, 'T' | '.' | '_');
        let begins = text.starts_with(|c: char| c.is_ascii_digit());
        (begins && text.chars().all(allowed) && text.len() <= 64).then(|| Version(text.to_owned()))
    }

    /// Runs of digits without the zeros before them; longer ones are larger.
    fn runs(&self) -> impl Iterator<Item = &str> {
        self.0
            .split(|c: char| !c.is_ascii_digit())
            .filter(|run| !run.is_empty())
            .map(|run| run.trim_start_matches('0'))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let number = |run| (str::len(run), run);
        self.runs().map(number).cmp(other.runs().map(number))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a migration is known by: by its version, or without one by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    pub kind: Kind,
    pub version: Version,
    /// Empty for what has a version.
    pub name: String,
}

impl Key {
    pub fn new(kind: Kind, version: Version, name: &str) -> Key {
        let name = if version.0.is_empty() { name.to_owned() } else { String::new() };
        Key { kind, version, name }
    }
}

/// As people call it: `V7`, `R__view`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Versioned => write!(f, "V{}", self.version),
            Kind::Repeatable => write!(f, "R__{}", self.name),
            Kind::Baseline if self.name.is_empty() => write!(f, "B{}", self.version),
            Kind::Baseline => write!(f, "B__{}", self.name),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Migration {
    pub key: Key,
    pub name: String,
    /// Name of the file.
    pub file: String,
    pub up: Script,
    pub down: Option<Script>,
}

impl Migration {
    /// What is run in this direction.
    pub fn script(&self, direction: Direction) -> &Script {
        match (direction, &self.down) {
            (Direction::Down, Some(down)) => down,
            _ => &self.up,
        }
    }
}

/// Every migration of a folder, in the order in which they are run.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    pub migrations: Vec<Migration>,
}

impl Folder {
    /// # Errors
    /// A folder that cannot be read, and every fault of every file in it.
    pub fn read(path: &Path) -> Result<Folder, Error> {
        let unreadable =
            |error: std::io::Error| Error::Folder { path: path.to_owned(), message: error.to_string() };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.path().extension().is_some_and(|extension| extension == "sql") {
                files.push(entry.path());
            }
        }
        files.sort();
        let (mut ups, mut downs, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            match read_file(&file) {
                Ok((key, name, script, true)) => downs.push((key, name, script)),
                Ok((key, name, up, false)) => {
                    let file = file_name(&file);
                    ups.push(Migration { key, name, file, up, down: None });
                }
                Err(fault) => faults.push(fault),
            }
        }
        ups.sort_by(|a, b| a.key.cmp(&b.key));
        for two in ups.windows(2) {
            if let [first, second] = two
                && first.key == second.key
            {
                faults.push(format!("{}: has the version of {}", second.file, first.file));
            }
        }
        for (key, name, script) in downs {
            match ups.iter_mut().find(|up| up.key == key) {
                Some(up) => up.down = Some(script),
                None => {
                    faults.push(format!("{key} has a down file `{name}` and no file that it would take back"))
                }
            }
        }
        if faults.is_empty() { Ok(Folder { migrations: ups }) } else { Err(Error::Files(faults)) }
    }

    pub fn get(&self, key: &Key) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.key == *key)
    }

    /// The one that people call so: by version, by name, or by file.
    ///
    /// # Errors
    /// None or several are called so.
    pub fn find(&self, text: &str) -> Result<&Migration, Error> {
        let bare = text.trim_start_matches(['V', 'B']);
        let version = Version::parse(bare);
        let is_it = |one: &&Migration| {
            version.as_ref().is_some_and(|version| one.key.version == *version)
                || one.name == text
                || one.file == text
                || one.key.to_string() == text
        };
        let mut found = self.migrations.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
            (None, _) => Err(Error::NoMigration(text.to_owned())),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Key, name, content, and whether it takes back.
fn read_file(path: &PathBuf) -> Result<(Key, String, Script, bool), String> {
    let file = file_name(path);
    let (key, name, is_down) =
        parse_name(&file).ok_or_else(|| format!("{file}: is no name of a migration; {NAMES}"))?;
    let failed = |error: std::io::Error| format!("{file}: {error}");
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(format!("{file}: is larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let script = Script::parse(&text).map_err(|fault| format!("{file}:{}: {}", fault.line, fault.message))?;
    Ok((key, name, script, is_down))
}

fn parse_name(file: &str) -> Option<(Key, String, bool)> {
    let stem = file.strip_suffix(".sql")?;
    let (stem, is_down) = stem.strip_suffix(".down").map_or((stem, false), |stem| (stem, true));
    let (head, name) = stem.split_once("__").filter(|(_, name)| !name.is_empty())?;
    let version = head.get(1..).unwrap_or_default();
    let key = match head.get(..1)? {
        "V" => Key::new(Kind::Versioned, Version::parse(version)?, name),
        "R" if version.is_empty() && !is_down => Key::new(Kind::Repeatable, Version::default(), name),
        "B" if version.is_empty() && !is_down => Key::new(Kind::Baseline, Version::default(), name),
        "B" if !is_down => Key::new(Kind::Baseline, Version::parse(version)?, name),
        _ => return None,
    };
    Some((key, name.to_owned(), is_down))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("9") < version("10") && version("2") < version("20261123T1015"));
        assert!(version("20261123T0915") < version("20261123T1015") && version("1.2") < version("1.10"));
        assert_eq!(version("007"), version("7"));
        for text in ["", "x", "T1", "1-2", "1x"] {
            assert!(Version::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_folder_is_read_in_order_and_its_faults_all_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["V10__b.sql", "R__view.sql", "V9__a.sql", "V9__a.down.sql", "B__base.sql"] {
            write(name, "SELECT 1;");
        }
        write("README.md", "no migration");
        let read = Folder::read(folder.path()).unwrap();
        let keys: Vec<_> = read.migrations.iter().map(|one| one.key.to_string()).collect();
        assert_eq!(keys, ["B__base", "V9", "V10", "R__view"]);
        assert!(
            read.find("9").unwrap().down.is_some() && read.find("view").is_ok() && read.find("V11").is_err()
        );

        write("V010__again.sql", "SELECT 1");
        write("V11__open.sql", "SELECT\n 'x");
        write("V12__lonely.down.sql", "SELECT 1");
        write("add_column.sql", "SELECT 1");
        let error = Folder::read(folder.path()).unwrap_err().to_string();
        for words in [
            "V10__b.sql: has the version",
            "V11__open.sql:2:",
            "V12 has a down file",
            "add_column.sql: is no name",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
