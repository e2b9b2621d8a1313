//! `penstock audit`: the chained trail, from its end or from its beginning to its end.
//!
//! Refuses to write: looking at it on the machine that has it leaves no line.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::run::stop_on_signals;
use super::{Error, runtime};
use crate::admin::audit::{Chain, Verdict};
use crate::config::Config;

/// How often a trail that is followed is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Whether every line follows from the one before it, and the checkpoints agree.
pub fn verify(config: &Config) -> Result<Verdict, Error> {
    Ok(Chain::new(&config.admin.audit, &config.crypt)?.verify()?)
}

/// The last lines, oldest first; followed, every later one until a signal.
pub fn tail(
    config: &Config,
    lines_max: usize,
    follow: bool,
    tell: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> Result<(), Error> {
    let (lines, mut follower) = Chain::new(&config.admin.audit, &config.crypt)?.tail(lines_max)?;
    let written = |error: std::io::Error| {
        Error::Failed(anyhow::Error::new(error).context("the audit trail cannot be shown"))
    };
    for line in &lines {
        tell(line).map_err(written)?;
    }
    if !follow {
        return Ok(());
    }
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(&stop)?;
        loop {
            let more = follower.more().map_err(written)?;
            for line in &more {
                tell(line).map_err(written)?;
            }
            let pause = if more.is_empty() { LOOK_INTERVAL } else { Duration::ZERO };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    })
}
