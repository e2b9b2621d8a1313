//! What `table` and `lifecycle` commands begin with: a server that has answered, the trail, who asks, and a bar.
//!
//! Refuses to print: progress is a line that moves on a terminal and nothing elsewhere.

use std::sync::Arc;

use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use super::admin::{local_actor, places};
use super::progress::styled;
use super::{Error, connect, runtime, tables};
use crate::admin::desk::{self, Desk, Progress, Setup};
use crate::admin::desks::Files;
use crate::config::{Config, Inputs, Loaded};
use crate::telemetry::logs;

impl From<desk::Error> for Error {
    fn from(error: desk::Error) -> Self {
        match error {
            desk::Error::ClickHouse(error) => error.into(),
            error @ (desk::Error::NoEndpoint(..) | desk::Error::NoTable(_)) => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

/// A desk, the runtime that it lives on, and the bar that shows what runs.
pub(super) struct Opened {
    pub desk: Desk,
    pub runtime: Runtime,
    pub bar: ProgressBar,
}

/// Where table files are; that they have no faults, and have every table that is named, is seen at once.
pub(super) fn files(config: &Config) -> Result<Files, Error> {
    tables::load(config)?;
    Ok(place_of_files(config))
}

/// The same without a look.
pub(super) fn place_of_files(config: &Config) -> Files {
    Files {
        path: config.tables.path.clone(),
        only: config.tables.only.clone(),
        lifecycle: config.lifecycle.clone(),
    }
}

pub(super) fn open(inputs: &Inputs, loaded: &Loaded, endpoint: Option<String>) -> Result<Opened, Error> {
    let config = &loaded.config;
    logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
    let runtime = runtime()?;
    let template = "{spinner} {bar:30} {percent}% of {total_bytes} {elapsed} {msg}";
    let bar = styled(ProgressBar::new(0), template);
    let shown = bar.clone();
    let observer = Arc::new(move |progress: &Progress| {
        shown.set_length(progress.bytes);
        // A share of a whole number of bytes, for people.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        shown.set_position((progress.done.clamp(0.0, 1.0) * progress.bytes as f64) as u64);
        shown.set_message(format!("{}, {} merges", progress.table, progress.merges));
    });
    let desk = runtime.block_on(async {
        connect(config).await?.close().await;
        let setup = Setup {
            clickhouse: &config.clickhouse,
            migrations: &config.migrations,
            actor: local_actor(&inputs.environment),
            places: places(config)?,
            endpoint,
            observer,
        };
        Ok::<Desk, Error>(Desk::new(setup)?)
    })?;
    Ok(Opened { desk, runtime, bar })
}

/// Runs the work to its end and takes the bar away.
pub(super) fn wait<T>(runtime: &Runtime, bar: &ProgressBar, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    bar.finish_and_clear();
    result
}
