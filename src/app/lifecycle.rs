//! `penstock lifecycle`: the rules of the table files, planned and carried out on one server.
//!
//! Refuses to print. The work is `admin::lifecycle`'s.

use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use super::Error;
use super::desk::{self, Opened};
use crate::admin::command;
use crate::admin::lifecycle::{self, Lifecycles};
use crate::config::{Inputs, Loaded};

pub use crate::admin::lifecycle::{
    Expire, Hold, HoldRequest, Holds, Materializations, Materialize, Materialized, Outcomes, PartitionPlan,
    Plan, Put, ReleaseRequest, Released, TablePlan, moment,
};

impl From<lifecycle::Error> for Error {
    fn from(error: lifecycle::Error) -> Self {
        use lifecycle::Error as E;
        match error {
            E::Desk(error) => error.into(),
            error @ E::Locked { .. } => Error::Locked(error.into()),
            error @ (E::TooLarge { .. }
            | E::Command(command::Error::Untraced { .. } | command::Error::Unfinished { .. })) => {
                Error::Failed(error.into())
            }
            error => Error::WrongUse(error.into()),
        }
    }
}

/// Lifecycle on a server that has answered.
pub struct Session {
    lifecycles: Lifecycles,
    runtime: Runtime,
    bar: ProgressBar,
}

/// The tables of the configuration on a server that has answered.
pub(super) fn open(
    inputs: &Inputs,
    loaded: &Loaded,
    endpoint: Option<String>,
) -> Result<(Lifecycles, Runtime, ProgressBar), Error> {
    let files = desk::files(&loaded.config)?;
    let Opened { desk, runtime, bar } = desk::open(inputs, loaded, endpoint)?;
    let lifecycles = files.lifecycles(desk)?;
    Ok((lifecycles, runtime, bar))
}

impl Session {
    pub fn open(inputs: &Inputs, loaded: &Loaded, endpoint: Option<String>) -> Result<Session, Error> {
        let (lifecycles, runtime, bar) = open(inputs, loaded, endpoint)?;
        Ok(Session { lifecycles, runtime, bar })
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, lifecycle::Error>>) -> Result<T, Error> {
        Ok(desk::wait(&self.runtime, &self.bar, work)?)
    }

    pub fn plan(&self, tables: &[String]) -> Result<Plan, Error> {
        self.wait(self.lifecycles.plan(tables))
    }

    pub fn apply(&self, tables: &[String], hash: &str) -> Result<Outcomes, Error> {
        self.wait(self.lifecycles.apply(tables, hash))
    }

    pub fn expirable(&self, expire: &Expire) -> Result<Plan, Error> {
        self.wait(self.lifecycles.expirable(expire))
    }

    pub fn expire(&self, expire: &Expire) -> Result<Outcomes, Error> {
        self.wait(self.lifecycles.expire(expire))
    }

    pub fn materialize(&self, options: &Materialize) -> Result<Materializations, Error> {
        self.wait(self.lifecycles.materialize(options))
    }

    pub fn holds(&self) -> Result<Holds, Error> {
        Ok(Holds { holds: self.wait(self.lifecycles.holds())? })
    }

    pub fn hold(&self, request: &HoldRequest) -> Result<Put, Error> {
        self.wait(self.lifecycles.hold(request))
    }

    pub fn release(&self, request: &ReleaseRequest) -> Result<Released, Error> {
        self.wait(self.lifecycles.release(request))
    }
}
