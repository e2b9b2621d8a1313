//! What is wrong with a table file: every fault at once, each with its place and a way out.
//!
//! Refuses to know what is checked. A fault always has a hint.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong in a table file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Place in the file: `columns[3].type`; empty for the file as a whole.
    pub path: String,
    pub message: String,
    pub hint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}\nhint: check that the path exists and may be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} has more than {bytes_max} bytes\nhint: describe one table per file", path.display())]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("{} is not YAML: {message}\nhint: check indentation, quotes and keys written twice near that line", path.display())]
    Yaml { path: PathBuf, message: String },
    #[error("{} has {}\n{}", path.display(), count(faults.len()), listed(faults))]
    Faults { path: PathBuf, faults: Vec<Fault> },
    #[error("{} holds no table\nhint: put each table into <folder>/<table>/table.yaml", path.display())]
    NoTables { path: PathBuf },
    #[error("{} holds more than {tables_max} tables\nhint: spread them over several processes", path.display())]
    TooManyTables { path: PathBuf, tables_max: usize },
    /// Every file of a folder that could not be used.
    #[error("{}", joined(.0))]
    Several(Vec<Error>),
}

impl Error {
    /// All faults in it, over all files.
    pub fn faults(&self) -> Vec<&Fault> {
        match self {
            Error::Faults { faults, .. } => faults.iter().collect(),
            Error::Several(errors) => errors.iter().flat_map(Error::faults).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}\nhint: {}", self.path, self.message, self.hint)
    }
}

fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn joined(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

/// Gathers faults below a path.
#[derive(Debug, Default)]
pub(super) struct Faults(pub Vec<Fault>);

impl Faults {
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Fault { path: path.into(), message: message.into(), hint: hint.into() });
    }
}

/// The known name that was probably meant: equal but for case, or at most a third of it mistyped.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(name.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().take(64).enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut last = i + 1;
        next.push(last);
        for (pair, right) in row.windows(2).zip(&b) {
            let &[diagonal, above] = pair else { continue };
            last = (last + 1).min(above + 1).min(diagonal + usize::from(left != *right));
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probable_key_is_found() {
        let known = ["columns", "order_by", "partition_by", "topics"];
        for (name, expected) in [
            ("colums", Some("columns")),
            ("orderBy", Some("order_by")),
            ("TOPICS", Some("topics")),
            ("xyz", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }
}
