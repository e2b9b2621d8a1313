//! A desk for each endpoint, and what works on it for whoever asks.
//!
//! Refuses to keep table files in memory: they are read when they are asked for, so that what is planned is what the
//! files say then.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::care::Care;
use super::command::Actor;
use super::desk::{self, Desk, Observer, Setup, hosts};
use super::erase::Eraser;
use super::lifecycle::{self, Lifecycles};
use crate::schema;

/// Whose work it is, and how it is watched and ended.
pub struct For {
    /// Host and port; the first endpoint without it.
    pub endpoint: Option<String>,
    pub actor: Actor,
    pub observer: Observer,
    pub stop: CancellationToken,
}

/// Where table files are, and what holds for the lifecycle of all.
#[derive(Clone, Debug)]
pub struct Files {
    pub path: PathBuf,
    /// These tables alone; all without any.
    pub only: Vec<String>,
    pub lifecycle: lifecycle::Config,
}

impl Files {
    /// The rules of the files as they are now, on that server.
    ///
    /// # Errors
    /// Files with faults, or a rule that undercuts the floor.
    pub fn lifecycles(&self, desk: Desk) -> Result<Lifecycles, lifecycle::Error> {
        let mut tables = schema::load_dir(&self.path)?;
        tables.retain(|table| self.only.is_empty() || self.only.contains(&table.name));
        Lifecycles::new(desk, &self.lifecycle, tables)
    }
}

/// One desk for each endpoint.
pub struct Desks {
    desks: Vec<Desk>,
    files: Files,
}

impl Desks {
    /// Connects to nothing yet. Needs a runtime around the call. `setup` is asked for the endpoint of each.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn new(setup: &Setup<'_>, files: Files) -> Result<Desks, desk::Error> {
        let one = |host: String| Desk::new(Setup { endpoint: Some(host), ..setup.clone() });
        let desks = hosts(setup.clickhouse).into_iter().map(one).collect::<Result<_, _>>()?;
        Ok(Desks { desks, files })
    }

    fn desk(&self, who: For) -> Result<Desk, desk::Error> {
        let For { endpoint, actor, observer, stop } = who;
        let is_wanted = |desk: &&Desk| endpoint.as_ref().is_none_or(|wanted| desk.host == *wanted);
        let found = self.desks.iter().find(is_wanted).ok_or_else(|| {
            let hosts: Vec<&str> = self.desks.iter().map(|desk| desk.host.as_str()).collect();
            desk::Error::NoEndpoint(endpoint.clone().unwrap_or_default(), hosts.join(", "))
        })?;
        Ok(found.acting(actor).observed(observer, stop))
    }

    /// # Errors
    /// An endpoint that is none.
    pub fn care(&self, who: For) -> Result<Care, desk::Error> {
        Ok(Care::new(self.desk(who)?))
    }

    /// # Errors
    /// An endpoint that is none, and see [`Files::lifecycles`].
    pub fn lifecycles(&self, who: For) -> Result<Lifecycles, lifecycle::Error> {
        self.files.lifecycles(self.desk(who)?)
    }

    /// # Errors
    /// As [`Desks::lifecycles`].
    pub fn eraser(&self, who: For) -> Result<Eraser, lifecycle::Error> {
        Ok(Eraser::new(self.lifecycles(who)?))
    }
}
