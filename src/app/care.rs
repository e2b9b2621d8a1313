//! `penstock table`: sizes, codecs, merging and writing again, on one server.
//!
//! Refuses to print. The work is `admin::care`'s.

use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use super::Error;
use super::desk::{self, Opened};
use crate::admin::care::{self, Care};
use crate::admin::command;
use crate::config::{Inputs, Loaded};

pub use crate::admin::care::{
    Measured, Optimizations, Optimize, Optimized, Recompress, Recompressed, Recompressions, Report, Size,
    Sizes, SizesOf, Sort, Survey, Targets,
};

impl From<care::Error> for Error {
    fn from(error: care::Error) -> Self {
        use care::Error as E;
        match error {
            E::Desk(error) => error.into(),
            error @ (E::NoParts { .. }
            | E::NoPartition { .. }
            | E::NoColumn { .. }
            | E::NoTarget
            | E::Command(command::Error::Forbidden { .. })) => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

/// Table care on a server that has answered.
pub struct Session {
    care: Care,
    runtime: Runtime,
    bar: ProgressBar,
}

impl Session {
    pub fn open(inputs: &Inputs, loaded: &Loaded, endpoint: Option<String>) -> Result<Session, Error> {
        let Opened { desk, runtime, bar } = desk::open(inputs, loaded, endpoint)?;
        Ok(Session { care: Care::new(desk), runtime, bar })
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, care::Error>>) -> Result<T, Error> {
        Ok(desk::wait(&self.runtime, &self.bar, work)?)
    }

    pub fn sizes(&self, of: &SizesOf) -> Result<Sizes, Error> {
        self.wait(self.care.sizes(of))
    }

    pub fn compression(&self, survey: &Survey) -> Result<Report, Error> {
        self.wait(self.care.compression(survey))
    }

    pub fn optimize(&self, options: &Optimize) -> Result<Optimizations, Error> {
        self.wait(self.care.optimize(options))
    }

    pub fn recompress(&self, options: &Recompress) -> Result<Recompressions, Error> {
        self.wait(self.care.recompress(options))
    }
}
