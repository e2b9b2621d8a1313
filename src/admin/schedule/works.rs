//! What scheduled commands work with, and how they fail.
//!
//! Refuses to read table files before a command wants them: what was changed since the start is in effect.

use std::fmt;
use std::sync::Arc;

use crate::admin::audit::{Chain, Place};
use crate::admin::backup::{self, Backups};
use crate::admin::command::Actor;
use crate::admin::desk::{self, Desk, Observer, Progress};
use crate::admin::http::problem::told;
use crate::admin::jobs::Handle;
use crate::admin::lifecycle::{self, Lifecycles};
use crate::admin::migrate::{self, Migrator};
use crate::clickhouse;
use crate::schema::Table;

/// Reads the table files.
pub type Tables = Arc<dyn Fn() -> Result<Vec<Arc<Table>>, String> + Send + Sync>;

/// Backups on the server of a desk, by the table files as they are then.
pub type Shelf = Arc<dyn Fn(Desk) -> Result<Backups, String> + Send + Sync>;

/// Everything that a command may need.
pub struct Works {
    pub clickhouse: clickhouse::Config,
    pub migrations: migrate::Config,
    pub lifecycle: lifecycle::Config,
    pub migrator: Migrator,
    /// The trail as a file, if there is one.
    pub chain: Option<Arc<Chain>>,
    pub tables: Tables,
    pub shelf: Shelf,
}

/// One run: for whom, of what, and who is told how far it is.
pub struct Call {
    pub works: Arc<Works>,
    pub actor: Actor,
    pub arguments: Vec<String>,
    /// Only says what would be done.
    pub is_dry_run: bool,
    pub handle: Option<Handle>,
}

impl Call {
    pub fn desk(&self) -> Result<Desk, Failed> {
        let Works { clickhouse, migrations, chain, .. } = self.works.as_ref();
        let handle = self.handle.clone();
        let observer: Observer = Arc::new(move |progress: &Progress| {
            if let Some(handle) = handle.as_ref().filter(|_| progress.merges > 0) {
                handle.tell(progress);
            }
        });
        let setup = desk::Setup {
            clickhouse,
            migrations,
            actor: self.actor.clone(),
            places: chain.iter().cloned().map(Place::File).collect(),
            endpoint: None,
            observer,
        };
        Ok(Desk::new(setup)?)
    }

    pub fn lifecycles(&self) -> Result<Lifecycles, Failed> {
        let tables = (self.works.tables)().map_err(Failed)?;
        Ok(Lifecycles::new(self.desk()?, &self.works.lifecycle, tables)?)
    }

    pub fn backups(&self) -> Result<Backups, Failed> {
        let backups = (self.works.shelf)(self.desk()?).map_err(Failed)?;
        Ok(match self.handle.clone() {
            Some(handle) => {
                let stop = handle.stop.clone();
                let observer = Arc::new(move |progress: &backup::Progress| handle.tell(progress));
                backups.stopped_by(stop).observed(observer)
            }
            None => backups,
        })
    }

    pub fn migrator(&self) -> Migrator {
        let migrator = self.works.migrator.acting(self.actor.clone());
        match self.handle.clone() {
            Some(handle) => {
                let stop = handle.stop.clone();
                migrator.stopped_by(stop).observed(Arc::new(move |event: &migrate::Event| handle.tell(event)))
            }
            None => migrator,
        }
    }
}

/// Why a run came to nothing, with what is behind it.
#[derive(Debug)]
pub struct Failed(pub String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed(told(&error))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
