//! `penstock backup`: backups of the tables, and what came after them read again from the topics.
//!
//! Refuses to print. The work is `admin::backup`'s; what it cannot know, since it knows no topics, is in `line`.

mod line;

use std::sync::Arc;

use indicatif::ProgressBar;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::desk::{self, Opened};
use super::run::stop_on_signals;
use super::{Error, tables};
use crate::admin::backup::{self, Backups, Progress, Refusal};
use crate::admin::command;
use crate::admin::desk::Desk;
use crate::config::{Config, Inputs, Loaded};
use crate::schema;

pub use crate::admin::backup::{
    Create, Deleted, Entry, HoldRequest, Level, Planned, Pruning, Ran, Replayed, Restore, Restored,
    Verification, Verify, Wanted,
};

impl From<backup::Error> for Error {
    fn from(error: backup::Error) -> Self {
        use backup::Error as E;
        match error {
            E::Desk(error) => error.into(),
            E::Line(error @ Refusal::Unreachable(_)) => Error::Unreachable(error.into()),
            E::Line(error @ Refusal::Failed(_)) => Error::Failed(error.into()),
            error @ (E::Server { .. }
            | E::Cancelled(_)
            | E::Lost(_)
            | E::Late(_)
            | E::File { .. }
            | E::List(_)
            | E::Task(_)
            | E::Command(command::Error::Untraced { .. } | command::Error::Unfinished { .. })) => {
                Error::Failed(error.into())
            }
            error => Error::WrongUse(error.into()),
        }
    }
}

/// Backups on the server of the desk, with the offsets of the configuration's topics.
pub(super) fn backups(config: &Config, desk: Desk) -> Result<Backups, Error> {
    // Databases can be backed up where no line runs, and so without table files.
    let tables = match schema::load_dir(&config.tables.path) {
        Err(schema::Error::NoTables { .. }) => Vec::new(),
        Err(schema::Error::Read { .. }) if !config.tables.path.exists() => Vec::new(),
        // Without a ring a replay into a table that needs keys is refused, and all else goes on.
        _ if config.crypt.keyring_file.is_none() => tables::load(config)?,
        _ => tables::load_to_fill(config)?,
    };
    let line = line::line(config, &desk.host, &tables);
    let erasures = &config.lifecycle.erasures_table;
    Ok(Backups::new(desk, &config.admin.backup, tables, erasures).with_line(line))
}

/// Backups on a server that has answered.
pub struct Session {
    backups: Backups,
    runtime: Runtime,
    bar: ProgressBar,
}

impl Session {
    pub fn open(inputs: &Inputs, loaded: &Loaded, endpoint: Option<String>) -> Result<Session, Error> {
        let Opened { desk, runtime, bar } = desk::open(inputs, loaded, endpoint)?;
        let stop = CancellationToken::new();
        runtime.block_on(async { stop_on_signals(&stop) })?;
        let shown = bar.clone();
        let observer = Arc::new(move |progress: &Progress| {
            shown.set_length(progress.bytes);
            shown.set_position(progress.done.min(progress.bytes));
            shown.set_message(progress.what.clone());
        });
        let backups = backups(&loaded.config, desk)?.observed(observer).stopped_by(stop);
        Ok(Session { backups, runtime, bar })
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, backup::Error>>) -> Result<T, Error> {
        Ok(desk::wait(&self.runtime, &self.bar, Box::pin(work))?)
    }

    /// Newest first.
    pub fn list(&self, policy: Option<&str>) -> Result<Vec<Entry>, Error> {
        let mut all = self.wait(self.backups.entries())?.0;
        all.retain(|entry| policy.is_none_or(|policy| entry.manifest.policy == policy));
        all.reverse();
        Ok(all)
    }

    pub fn show(&self, id: &str) -> Result<Entry, Error> {
        self.wait(self.backups.show_one(id))
    }

    pub fn plan(&self, create: &Create) -> Result<Planned, Error> {
        self.wait(self.backups.plan(create))
    }

    pub fn create(&self, create: &Create) -> Result<Entry, Error> {
        self.wait(self.backups.create(create))
    }

    pub fn run_policy(&self, name: &str) -> Result<Ran, Error> {
        self.wait(self.backups.run_policy(name))
    }

    pub fn verify(&self, id: &str, verify: Verify) -> Result<Verification, Error> {
        self.wait(self.backups.verify(id, verify))
    }

    pub fn plan_restore(&self, id: &str, restore: &Restore) -> Result<Restored, Error> {
        self.wait(self.backups.plan_restore(id, restore))
    }

    pub fn restore(&self, id: &str, restore: &Restore) -> Result<Restored, Error> {
        self.wait(self.backups.restore(id, restore))
    }

    pub fn replay(&self, id: &str, restore: &Restore, dry_run: bool) -> Result<Vec<Replayed>, Error> {
        self.wait(self.backups.replay_after(id, restore, dry_run))
    }

    pub fn delete(&self, id: &str, dry_run: bool) -> Result<Deleted, Error> {
        match dry_run {
            true => self.wait(self.backups.plan_delete(id)),
            false => self.wait(self.backups.delete(id)),
        }
    }

    pub fn plan_prune(&self, policy: Option<&str>) -> Result<Pruning, Error> {
        self.wait(self.backups.plan_prune(policy))
    }

    pub fn prune(&self, policy: Option<&str>, plan: &str) -> Result<Pruning, Error> {
        self.wait(self.backups.prune(policy, plan))
    }

    pub fn hold(&self, id: &str, request: &HoldRequest) -> Result<(), Error> {
        self.wait(self.backups.hold(id, request))
    }

    pub fn release(&self, id: &str, reason: &str) -> Result<(), Error> {
        self.wait(self.backups.release(id, reason))
    }

    pub fn scan(&self) -> Result<Vec<String>, Error> {
        self.wait(self.backups.scan())
    }
}
