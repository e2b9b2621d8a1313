//! `penstock crypt`: what can be typed, and how the answers look.
//!
//! Refuses to take a secret as an argument, where other users of the machine would see it: it comes from a file or the
//! standard input.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::zeroize::Zeroizing;
use serde_json::json;

use super::work::Call;
use super::{Exit, Failure};
use crate::app::crypt::{Session, Status};

/// Twice what an envelope can be, as text.
const INPUT_BYTES_MAX: u64 = 40 << 20;

const EXAMPLES: &str = "\
Examples:
  penstock crypt keygen
  penstock crypt encrypt --context clickhouse.password_file --file password
  penstock crypt decrypt --context clickhouse.password_file --file password.enc
  penstock crypt decrypt --context visits.email --file value
  printf ana@example.org | penstock crypt pseudonym --key 20261127-1a2b3c4d
  penstock crypt status /etc/penstock/secrets
  penstock crypt rotate --dry-run
  penstock crypt rotate --to 20261127-1a2b3c4d
  penstock crypt rewrap /etc/penstock/secrets
  penstock crypt destroy 20261127-1a2b3c4d /etc/penstock/secrets --dry-run

The keys are in crypt.keyring_file. The context says what a secret is for, and must be the same when it is opened; of a
secret that a setting reads from a file it is the name of that setting, of a column's value table and column. status ends with exit code 3 when something needs
a key that the ring does not have.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CryptArgs {
    #[command(subcommand)]
    pub command: CryptCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum CryptCommand {
    /// Adds a key to the ring; the first one is primary, a later one when `rotate` makes it so
    Keygen,
    /// Encrypts a secret with the primary key and prints it as one line of text
    Encrypt(Given),
    /// Opens what `encrypt` made and prints it as it was
    Decrypt(Given),
    /// Prints what stands for a value in columns that are protected by pseudonyms, such as to look for it or to erase it
    Pseudonym {
        /// The key, as the table file names it
        #[arg(long, value_name = "KEY")]
        key: String,
        /// File that holds the value; the standard input without it. A line end at its end is not part of the value
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Makes another key primary: a new one, or the one that is named; the former one goes on opening
    Rotate {
        /// The key that becomes primary; a new one without it
        #[arg(long, value_name = "KEY")]
        to: Option<String>,
        /// Only if this one is primary now
        #[arg(long, value_name = "KEY")]
        from: Option<String>,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Puts files that need another key under the primary one, without opening what is in them
    Rewrap {
        /// Files and folders, beside the secrets of the configuration
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists the keys, and how many of the files that are looked at need each
    Status {
        /// Files and folders, beside the secrets of the configuration
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Forgets a key, unless a file that is looked at needs it; what else needs it is lost
    Destroy {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
        /// Every file and folder that may have envelopes, beside the secrets of the configuration
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// Says whether it could be done and does nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Given {
    /// What the secret is for
    #[arg(long, value_name = "TEXT")]
    context: String,
    /// File to read; the standard input without it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What the file holds, or the standard input.
fn read(file: Option<&PathBuf>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    match file {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|error| {
                Failure::wrong_use(anyhow::anyhow!("{} cannot be read: {error}", path.display()))
            })?,
        None => std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

impl Given {
    fn read(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        read(self.file.as_ref())
    }
}

impl Call<'_> {
    pub fn crypt(mut self, args: &CryptArgs) -> Result<Exit, Failure> {
        let (inputs, config) = (self.inputs.clone(), self.loaded.config.clone());
        let session = Session::open(&inputs, &config)?;
        match &args.command {
            CryptCommand::Keygen => {
                let id = session.generate()?;
                self.tell(&format!("{id}\n"), &json!({ "key": id }))?;
            }
            CryptCommand::Encrypt(given) => {
                self.out.write_all(&session.encrypt(&given.context, &given.read()?)?)?;
            }
            CryptCommand::Decrypt(given) => {
                self.out.write_all(&session.decrypt(&given.context, &given.read()?)?)?;
            }
            CryptCommand::Pseudonym { key, file } => {
                let value = read(file.as_ref())?;
                let value = value.strip_suffix(b"\n").unwrap_or(&value);
                let pseudonym = session.pseudonym(key, value)?;
                self.tell(&format!("{pseudonym}\n"), &json!({ "key": key, "pseudonym": pseudonym }))?;
            }
            CryptCommand::Rotate { to, from, dry_run } => {
                let rotated = session.rotate(from.as_deref(), to.as_deref(), *dry_run)?;
                let primary = if rotated.primary.is_empty() { "a new key" } else { &rotated.primary };
                let what = if *dry_run { "would be" } else { "is" };
                self.tell(&format!("{primary} {what} primary, after {}\n", rotated.former), &json!(rotated))?;
            }
            CryptCommand::Rewrap { paths, dry_run } => {
                let done = session.rewrap(paths, *dry_run)?;
                let what = if *dry_run { "planned" } else { "done   " };
                let line = |one: &crate::app::crypt::Rewrapped| {
                    format!("{what}  {}: {} -> {}\n", one.path.display(), one.from, one.to)
                };
                let text: String = done.iter().map(line).collect();
                let text = if text.is_empty() { "everything needs the primary key\n" } else { &text };
                self.tell(text, &json!({ "files": done }))?;
            }
            CryptCommand::Status { paths } => return self.crypt_status(&session.status(paths)?),
            CryptCommand::Destroy { key, paths, dry_run } => {
                session.destroy(key, paths, *dry_run)?;
                let what = if *dry_run { "could be destroyed" } else { "is destroyed" };
                self.tell(&format!("{key} {what}\n"), &json!({ "key": key, "done": !dry_run }))?;
            }
        }
        Ok(Exit::Done)
    }

    fn crypt_status(&mut self, status: &Status) -> Result<Exit, Failure> {
        let mut text = String::new();
        for key in &status.keys {
            let state = json!(key.state);
            let state = state.as_str().unwrap_or_default();
            text += &format!("{}  {state:<8}  {}  {} envelopes\n", key.id, key.created, key.envelopes);
            for column in &key.columns {
                text += &format!("    the column {column}\n");
            }
        }
        for column in &status.lost_columns {
            text += &format!("the column {column} needs a key that is not there\n");
        }
        for path in &status.lost {
            text += &format!("{} needs a key that is not there\n", path.display());
        }
        self.tell(&text, &json!(status))?;
        Ok(if status.lost.is_empty() && status.lost_columns.is_empty() {
            Exit::Done
        } else {
            Exit::Differences
        })
    }
}
