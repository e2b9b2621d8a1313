//! Whether a chain is as it was written: every line, and every checkpoint against it.
//!
//! Refuses to repair. It finds the first line that is wrong; a chain and its checkpoints that were both cut at the
//! same place are only found by whoever has a later checkpoint, so these belong somewhere else.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::chain::{Chain, Checkpoint, Error, GENESIS, Numbered, held, split};

/// Longer lines are not of the trail.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// A file up to where it was whole, if there is one.
type Known = Option<Take<File>>;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verdict {
    /// Lines that follow from one another.
    pub lines: u64,
    /// Checkpoints that agree with them.
    pub checkpoints: u64,
    /// The last line that a checkpoint vouches for; cutting lines off behind it would not be found.
    pub vouched_lines: u64,
    /// The first line that is wrong.
    pub broken: Option<Break>,
}

/// The first line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Break {
    pub file: PathBuf,
    pub line: u64,
    pub message: String,
}

impl Chain {
    /// Reads the whole chain. Writers are not held up: what they add meanwhile is left out. Blocks.
    ///
    /// # Errors
    /// Files that cannot be read; what is wrong in them is no error but the answer.
    pub fn verify(&self) -> Result<Verdict, Error> {
        let (lines, checkpoints) = self.snapshot()?;
        let mut walk = Walk {
            chain: self,
            lines: Lines::new(lines),
            checkpoints: Lines::new(checkpoints),
            next: None,
            verdict: Verdict { lines: 0, checkpoints: 0, vouched_lines: 0, broken: None },
        };
        walk.verdict.broken = walk.all()?;
        Ok(walk.verdict)
    }

    /// Both files as they are between two writes.
    fn snapshot(&self) -> Result<(Known, Known), Error> {
        let of_file = |path: &Path, source| Error::Io { path: path.to_owned(), source };
        let open = |path: &Path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(of_file(path, source)),
        };
        let (lines, checkpoints) = (open(&self.file)?, open(&self.checkpoints)?);
        if let Some(file) = &lines {
            held(file, File::try_lock_shared).map_err(|source| of_file(&self.file, source))?;
        }
        let bounded = |file: Option<File>, path: &Path| {
            let Some(file) = file else { return Ok::<_, Error>(None) };
            let length = file.metadata().map_err(|source| of_file(path, source))?.len();
            Ok(Some(file.take(length)))
        };
        let (lines, checkpoints) = (bounded(lines, &self.file)?, bounded(checkpoints, &self.checkpoints)?);
        if let Some(file) = &lines {
            file.get_ref().unlock().map_err(|source| of_file(&self.file, source))?;
        }
        Ok((lines, checkpoints))
    }
}

/// A walk over both files at a time.
struct Walk<'a> {
    chain: &'a Chain,
    lines: Lines,
    checkpoints: Lines,
    next: Option<Checkpoint>,
    verdict: Verdict,
}

impl Walk<'_> {
    fn all(&mut self) -> Result<Option<Break>, Error> {
        let mut before = GENESIS.to_owned();
        if let Some(broken) = self.advance()? {
            return Ok(Some(broken));
        }
        let had_checkpoints = self.next.is_some();
        while let Some(line) = self.lines.next(&self.chain.file)? {
            let number = self.lines.number;
            let mac = match self.judge(&line, &before) {
                Ok(mac) => mac,
                Err(message) => return Ok(Some(self.of_line(number, message))),
            };
            self.verdict.lines = number;
            if let Some(checkpoint) = self.next.take_if(|checkpoint| checkpoint.seq <= number) {
                if checkpoint.seq < number || checkpoint.head != mac {
                    return Ok(Some(self.of_line(number, "its checkpoint says something else")));
                }
                self.verdict.checkpoints += 1;
                self.verdict.vouched_lines = number;
                if let Some(broken) = self.advance()? {
                    return Ok(Some(broken));
                }
            }
            before = mac;
        }
        let missing = self.verdict.lines + 1;
        Ok(match &self.next {
            Some(checkpoint) => {
                let message =
                    format!("is missing: a checkpoint of {} knows {} lines", checkpoint.at, checkpoint.seq);
                Some(self.of_line(missing, &message))
            }
            None if !had_checkpoints && self.verdict.lines > 1 => {
                let (file, message) = (self.chain.checkpoints.clone(), "there are no checkpoints".to_owned());
                Some(Break { file, line: 1, message })
            }
            None => None,
        })
    }

    fn of_line(&self, line: u64, message: &str) -> Break {
        Break { file: self.chain.file.clone(), line, message: message.to_owned() }
    }

    /// The hash of a line that is right.
    fn judge(&self, line: &LineRead, before: &str) -> Result<String, &'static str> {
        let LineRead::Whole(line) = line else {
            return Err("is cut off within: its writer died, or somebody cut it");
        };
        let (text, mac) = split(line).ok_or("is none of the trail")?;
        if self.chain.keys.line(before, text) != mac {
            return Err("was changed, does not follow from the line before, or was written with another key");
        }
        let numbered: Option<Numbered> = serde_json::from_str(&format!("{text}}}")).ok();
        match numbered {
            Some(numbered) if numbered.seq == self.lines.number => Ok(mac.to_owned()),
            _ => Err("has a wrong number"),
        }
    }

    /// Goes to the next checkpoint; numbers only grow.
    fn advance(&mut self) -> Result<Option<Break>, Error> {
        let broken = |line, message: &str| Break {
            file: self.chain.checkpoints.clone(),
            line,
            message: message.to_owned(),
        };
        match self.checkpoints.next(&self.chain.checkpoints)? {
            None => Ok(None),
            // A writer that died within a checkpoint; the next one begins it anew.
            Some(LineRead::Torn) => Ok(None),
            Some(LineRead::Whole(line)) => match self.chain.read_checkpoint(&line) {
                Some(next) if next.seq > self.verdict.vouched_lines => {
                    self.next = Some(next);
                    Ok(None)
                }
                Some(_) => Ok(Some(broken(self.checkpoints.number, "has a wrong number"))),
                None => Ok(Some(broken(self.checkpoints.number, "is no checkpoint of this key"))),
            },
        }
    }
}

/// A line that was read.
enum LineRead {
    Whole(String),
    /// Without an end.
    Torn,
}

struct Lines {
    reader: Option<BufReader<Take<File>>>,
    /// Of the line that was read last.
    number: u64,
}

impl Lines {
    fn new(file: Known) -> Lines {
        Lines { reader: file.map(BufReader::new), number: 0 }
    }

    fn next(&mut self, path: &Path) -> Result<Option<LineRead>, Error> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        if read.map_err(|source| Error::Io { path: path.to_owned(), source })? == 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(match bytes.pop() {
            // What is no text is none of ours, and is told so.
            Some(b'\n') => LineRead::Whole(String::from_utf8(bytes).unwrap_or_default()),
            _ => LineRead::Torn,
        }))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::admin::audit::{Config, Entry, Phase};
    use crate::crypt;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn chain(folder: &TempDir, checkpoint_lines: u32) -> Chain {
        let at = |name: &str| Some(folder.path().join(name));
        std::fs::write(at("key").unwrap(), "k".repeat(40)).unwrap();
        let (file, key_file, checkpoint_file) = (at("trail"), at("key"), at("points"));
        Chain::new(&Config { file, key_file, checkpoint_file, checkpoint_lines }, &crypt::Config::default())
            .unwrap()
    }

    fn entry(phase: Phase, number: u64) -> Entry {
        Entry {
            command_id: format!("{number}"),
            actor: "a \"quoted\" näme\n".to_owned(),
            origin: "b".to_owned(),
            action: "test.do",
            resource: "r".to_owned(),
            details: json!({ "n": number, "mac": "\"}" }),
            phase,
            error: String::new(),
        }
    }

    fn commands(chain: &Chain, count: u64) {
        for number in 0..count {
            chain.append(&entry(Phase::Intent, number), now()).unwrap();
            chain.append(&entry(Phase::Done, number), now()).unwrap();
        }
    }

    fn broken(chain: &Chain) -> Option<(String, u64)> {
        let broken = chain.verify().unwrap().broken?;
        Some((broken.file.file_name().unwrap().to_string_lossy().into_owned(), broken.line))
    }

    #[test]
    fn what_was_written_is_found_whole() {
        let folder = tempfile::tempdir().unwrap();
        let chain = chain(&folder, 100);
        assert_eq!(chain.verify().unwrap().lines, 0);
        commands(&chain, 5);
        let verdict = chain.verify().unwrap();
        // The first line, and each end of a command.
        let expected = Verdict { lines: 10, checkpoints: 6, vouched_lines: 10, broken: None };
        assert_eq!(verdict, expected);
        chain.append(&entry(Phase::Intent, 9), now()).unwrap();
        assert_eq!(chain.verify().unwrap().vouched_lines, 10);
        let often = self::chain(&tempfile::tempdir().unwrap(), 1);
        assert!(often.verify().unwrap().broken.is_none());
    }

    #[test]
    fn every_flipped_bit_is_found_in_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let chain = chain(&folder, 100);
        commands(&chain, 2);
        for path in [&chain.file, &chain.checkpoints] {
            let whole = std::fs::read(path).unwrap();
            for at in 0..whole.len() {
                let line = whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
                for bit in 0..8 {
                    let mut changed = whole.clone();
                    changed[at] ^= 1 << bit;
                    std::fs::write(path, &changed).unwrap();
                    let last = path == &chain.checkpoints && at + 1 == whole.len();
                    let found = broken(&chain);
                    let name = path.file_name().unwrap().to_string_lossy().into_owned();
                    // The line end of the last checkpoint alone may be gone: that is how a writer dies.
                    assert!(last || found == Some((name, line)), "byte {at}, bit {bit}: {found:?}");
                }
            }
            std::fs::write(path, &whole).unwrap();
        }
        assert_eq!(broken(&chain), None);
    }

    #[test]
    fn lines_that_go_come_or_move_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let chain = chain(&folder, 100);
        commands(&chain, 3);
        let whole = std::fs::read_to_string(&chain.file).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let write = |lines: &[&str]| std::fs::write(&chain.file, lines.concat()).unwrap();
        for kept in 0..6 {
            write(&lines[..kept]);
            assert_eq!(broken(&chain), Some(("trail".to_owned(), kept as u64 + 1)), "cut to {kept}");
            assert!(matches!(chain.append(&entry(Phase::Intent, 0), now()), Err(Error::Broken { .. })));
        }
        write(&[&lines[..2], &lines[3..]].concat());
        assert_eq!(broken(&chain).unwrap().1, 3);
        write(&[lines[1], lines[0], lines[2], lines[3], lines[4], lines[5]]);
        assert_eq!(broken(&chain).unwrap().1, 1);
        write(&[&lines[..], &lines[5..]].concat());
        assert_eq!(broken(&chain).unwrap().1, 7);
        write(&lines);
        assert_eq!(broken(&chain), None);
        std::fs::remove_file(&chain.checkpoints).unwrap();
        assert_eq!(broken(&chain), Some(("points".to_owned(), 1)));
        assert!(chain.append(&entry(Phase::Intent, 0), now()).is_err());
    }

    #[test]
    fn a_line_whose_writer_died_is_set_aside_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let chain = chain(&folder, 100);
        commands(&chain, 1);
        let torn = "{\"seq\":3,\"at\":\"20";
        let whole = std::fs::read_to_string(&chain.file).unwrap();
        std::fs::write(&chain.file, format!("{whole}{torn}")).unwrap();
        assert_eq!(broken(&chain), Some(("trail".to_owned(), 3)));
        commands(&chain, 1);
        assert_eq!(broken(&chain), None);
        let text = std::fs::read_to_string(&chain.file).unwrap();
        let mended: serde_json::Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
        assert_eq!((&mended["action"], &mended["details"]["torn"]), (&json!("audit.mend"), &json!(torn)));
        // One that a checkpoint vouches for was not torn by a crash.
        let text = std::fs::read_to_string(&chain.file).unwrap();
        std::fs::write(&chain.file, text.trim_end()).unwrap();
        assert!(matches!(chain.append(&entry(Phase::Intent, 0), now()), Err(Error::Broken { .. })));
    }

    #[test]
    fn another_key_neither_writes_nor_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let ours = chain(&folder, 100);
        commands(&ours, 2);
        std::fs::write(folder.path().join("other"), "o".repeat(40)).unwrap();
        let config = Config {
            file: Some(ours.file.clone()),
            key_file: Some(folder.path().join("other")),
            checkpoint_file: Some(ours.checkpoints.clone()),
            ..Config::default()
        };
        let theirs = Chain::new(&config, &crypt::Config::default()).unwrap();
        assert!(theirs.append(&entry(Phase::Intent, 0), now()).is_err());
        assert!(theirs.verify().unwrap().broken.is_some() && ours.verify().unwrap().broken.is_none());
    }

    #[test]
    fn several_writers_make_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let first = chain(&folder, 3);
        let others: Vec<Chain> = (0..4).map(|_| chain(&folder, 3)).collect();
        std::thread::scope(|scope| {
            for other in &others {
                scope.spawn(|| commands(other, 5));
            }
        });
        let verdict = first.verify().unwrap();
        assert_eq!((verdict.lines, verdict.broken), (40, None));
    }
}
