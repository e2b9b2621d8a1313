//! The trail as a file: one JSON object a line, each with a keyed hash over itself and the line before.
//!
//! Refuses to go on from an end that is not the one it wrote: what was cut off or changed is to be found, not to be
//! covered. A line is on the disk before the command begins (I9), and checkpoints of it in a second file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::Config;
use super::tail;
use super::{Entry, Phase};
use crate::admin::key::{self, Key, hex};
use crate::crypt;

/// Before the first line there is no hash.
pub(super) const GENESIS: &str = "";
/// More of a torn line is not kept.
const TORN_CHARS_MAX: usize = 4096;
const HEX_CHARS: usize = 64;
/// Others hold the lock for as long as a line takes; one that was frozen with it must not hold everybody up for ever.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error("{} is not set\nhint: the audit trail as a file needs admin.audit.file and admin.audit.key_file", .0)]
    Unset(&'static str),
    #[error("the audit trail {} cannot be used\nhint: check that it is there, writable, and that its disk has room", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the end of the audit trail {} is not as it was written: {why}\nhint: `penstock audit verify` says from which line \
         on; keep both files as they are, and name new ones in admin.audit",
        path.display()
    )]
    Broken { path: PathBuf, why: String },
}

/// The keys of one chain: a line is no checkpoint, and a checkpoint is no line.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    lines: hmac::Key,
    checkpoints: hmac::Key,
}

impl Keys {
    pub fn new(key: &Key) -> Keys {
        Keys {
            lines: key.derive("penstock audit lines"),
            checkpoints: key.derive("penstock audit checkpoints"),
        }
    }

    /// The hash of a line's text behind the hash of the line before.
    pub fn line(&self, before: &str, text: &str) -> String {
        let mut context = hmac::Context::with_key(&self.lines);
        context.update(before.as_bytes());
        context.update(b"\n");
        context.update(text.as_bytes());
        hex(context.sign().as_ref())
    }

    pub fn checkpoint(&self, text: &str) -> String {
        hex(hmac::sign(&self.checkpoints, text.as_bytes()).as_ref())
    }
}

/// What stands in a line beside the entry.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: String,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// A promise that the chain was so long, and ended so.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub seq: u64,
    pub at: String,
    pub head: String,
}

/// The number of a line, whatever else is in it.
#[derive(Deserialize)]
pub(super) struct Numbered {
    pub seq: u64,
}

/// A line as the text that is hashed, and the hash.
pub(super) fn split(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_suffix("\"}")?;
    let (text, mac) = rest.split_at_checked(rest.len().checked_sub(HEX_CHARS)?)?;
    let is_hex = mac.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    Some((text.strip_suffix(",\"mac\":\"")?, mac)).filter(|_| is_hex)
}

/// The last line of a chain; of an empty one, number 0.
#[derive(Debug, Default)]
struct Tip {
    seq: u64,
    mac: String,
}

/// A chain that can be written to, by several processes at a time.
#[derive(Debug)]
pub struct Chain {
    pub(super) file: PathBuf,
    pub(super) checkpoints: PathBuf,
    pub(super) keys: Keys,
    checkpoint_lines: u64,
}

impl Chain {
    /// Reads the key, and nothing else yet.
    ///
    /// # Errors
    /// A key that cannot be read, or a setting that is missing.
    pub fn new(config: &Config, crypt: &crypt::Config) -> Result<Chain, Error> {
        let file = config.file.clone().ok_or(Error::Unset("admin.audit.file"))?;
        let key_file = config.key_file.as_ref().ok_or(Error::Unset("admin.audit.key_file"))?;
        let beside = || {
            let mut name = file.clone().into_os_string();
            name.push(".checkpoints");
            PathBuf::from(name)
        };
        Ok(Chain {
            checkpoints: config.checkpoint_file.clone().unwrap_or_else(beside),
            keys: Keys::new(&Key::read(key_file, "admin.audit.key_file", crypt)?),
            checkpoint_lines: u64::from(config.checkpoint_lines.max(1)),
            file,
        })
    }

    /// Writes an entry behind the last one, and returns once it is on the disk. Blocks.
    ///
    /// # Errors
    /// An entry that may not be on the disk, or a chain that does not end as it should.
    pub fn append(&self, entry: &Entry, now: DateTime<Utc>) -> Result<(), Error> {
        let file = open(&self.file)?;
        let of_file = |source| Error::Io { path: self.file.clone(), source };
        // Until the handle is closed no other process writes, so that numbers and hashes follow one another.
        held(&file, File::try_lock).map_err(of_file)?;
        let end = tail::end(&file, 2).map_err(of_file)?;
        let mut tip = self.tip(&end)?;
        self.compare(&tip)?;
        if !end.torn.is_empty() {
            // A writer died within a line, whose command never began. What there is of it stays known.
            file.set_len(end.whole_bytes).map_err(of_file)?;
            tip = self.write(&file, &tip, &mended(&end.torn), now)?;
        }
        tip = self.write(&file, &tip, entry, now)?;
        file.sync_data().map_err(of_file)?;
        if tip.seq == 1 || tip.seq.is_multiple_of(self.checkpoint_lines) || entry.phase != Phase::Intent {
            self.checkpoint(&tip, now)?;
        }
        Ok(())
    }

    /// The last lines, and what reads on behind them. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn tail(&self, lines_max: usize) -> Result<(Vec<String>, tail::Follower), Error> {
        tail::Follower::open(&self.file, lines_max)
            .map_err(|source| Error::Io { path: self.file.clone(), source })
    }

    fn write(&self, mut file: &File, tip: &Tip, entry: &Entry, now: DateTime<Utc>) -> Result<Tip, Error> {
        let of_file = |source| Error::Io { path: self.file.clone(), source };
        let seq = tip.seq + 1;
        let text = unclosed(&Line { seq, at: stamp(now), entry }).map_err(of_file)?;
        let mac = self.keys.line(&tip.mac, &text);
        file.write_all(format!("{text},\"mac\":\"{mac}\"}}\n").as_bytes()).map_err(of_file)?;
        Ok(Tip { seq, mac })
    }

    /// The last whole line, whose hash must follow from the one before it.
    fn tip(&self, end: &tail::End) -> Result<Tip, Error> {
        let broken = |why: &str| Error::Broken { path: self.file.clone(), why: why.to_owned() };
        let Some(last) = end.lines.last() else { return Ok(Tip::default()) };
        let (text, mac) = split(last).ok_or_else(|| broken("its last line is none of the trail"))?;
        let numbered: Option<Numbered> = serde_json::from_str(&format!("{text}}}")).ok();
        let seq = numbered.ok_or_else(|| broken("its last line has no number"))?.seq;
        let before = match end.lines.len() {
            2.. => end.lines.first().and_then(|line| split(line)).map(|(_, mac)| mac),
            _ => Some(GENESIS),
        };
        if before.is_none_or(|before| self.keys.line(before, text) != mac) {
            return Err(broken("its last line was changed, or written with another key"));
        }
        Ok(Tip { seq, mac: mac.to_owned() })
    }

    /// Refuses a chain that is shorter than the last checkpoint says, or ends otherwise.
    fn compare(&self, tip: &Tip) -> Result<(), Error> {
        let broken = |why: String| Error::Broken { path: self.file.clone(), why };
        match self.last_checkpoint()? {
            Some(last) if last.seq > tip.seq => {
                Err(broken(format!("it has {} lines, and its checkpoints know {}", tip.seq, last.seq)))
            }
            Some(last) if last.seq == tip.seq && last.head != tip.mac => {
                Err(broken("its last line is another one than its last checkpoint says".to_owned()))
            }
            // The first line may have been written by a process that died before its checkpoint.
            None if tip.seq > 1 => {
                Err(broken(format!("there are no checkpoints in {}", self.checkpoints.display())))
            }
            _ => Ok(()),
        }
    }

    fn last_checkpoint(&self) -> Result<Option<Checkpoint>, Error> {
        let of_file = |source| Error::Io { path: self.checkpoints.clone(), source };
        let end = tail::end(&open(&self.checkpoints)?, 1).map_err(of_file)?;
        let Some(last) = end.lines.last() else { return Ok(None) };
        let why = || "its last line is no checkpoint of this key".to_owned();
        let found = self.read_checkpoint(last);
        found.map(Some).ok_or_else(|| Error::Broken { path: self.checkpoints.clone(), why: why() })
    }

    pub(super) fn read_checkpoint(&self, line: &str) -> Option<Checkpoint> {
        let (text, mac) = split(line)?;
        let is_ours = self.keys.checkpoint(text) == mac;
        serde_json::from_str(&format!("{text}}}")).ok().filter(|_| is_ours)
    }

    fn checkpoint(&self, tip: &Tip, now: DateTime<Utc>) -> Result<(), Error> {
        let of_file = |source| Error::Io { path: self.checkpoints.clone(), source };
        let mut file = open(&self.checkpoints)?;
        let end = tail::end(&file, 1).map_err(of_file)?;
        if !end.torn.is_empty() {
            file.set_len(end.whole_bytes).map_err(of_file)?;
        }
        let checkpoint = Checkpoint { seq: tip.seq, at: stamp(now), head: tip.mac.clone() };
        let text = unclosed(&checkpoint).map_err(of_file)?;
        let mac = self.keys.checkpoint(&text);
        file.write_all(format!("{text},\"mac\":\"{mac}\"}}\n").as_bytes()).map_err(of_file)?;
        file.sync_data().map_err(of_file)
    }
}

fn stamp(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The object without its last brace.
fn unclosed(value: &impl Serialize) -> io::Result<String> {
    let mut text = serde_json::to_string(value).map_err(io::Error::other)?;
    text.pop();
    Ok(text)
}

fn mended(torn: &[u8]) -> Entry {
    let text: String = String::from_utf8_lossy(torn).chars().take(TORN_CHARS_MAX).collect();
    Entry {
        command_id: uuid::Uuid::new_v4().to_string(),
        actor: "penstock".to_owned(),
        origin: format!("process {}", std::process::id()),
        action: "audit.mend",
        resource: "the end of this file".to_owned(),
        details: json!({ "torn": text, "bytes": torn.len() }),
        phase: Phase::Done,
        error: String::new(),
    }
}

/// Takes the lock of a file, one kind or the other, waiting for others within bounds.
pub(super) fn held(file: &File, take: fn(&File) -> Result<(), TryLockError>) -> io::Result<()> {
    let give_up_at = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match take(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= give_up_at => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

/// Opens to read and append, and makes what is missing so that it is still there after a crash.
fn open(path: &Path) -> Result<File, Error> {
    let of_file = |source| Error::Io { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = options.create(true).open(path).map_err(of_file)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))
                .and_then(|folder| folder.sync_all())
                .map_err(of_file)?;
            Ok(file)
        }
        opened => opened.map_err(of_file),
    }
}
