//! `penstock admin`: nothing to say but to start it.
//!
//! Refuses to print: what it says is in its log.

use clap::Args;

use super::work::Call;
use super::{Exit, Failure};
use crate::app;

const EXAMPLES: &str = "\
Examples:
  penstock admin --config penstock.yaml
  penstock admin --set admin.listen=0.0.0.0:9480 --set telemetry.listen=127.0.0.1:9465

It needs admin.access (a key for tokens) and admin.audit (a file and its key); docs/admin.md tells how to make them. It
stops on SIGTERM and SIGINT: jobs end before their next statement, within shutdown.drain; exit code 5 if they did not.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AdminArgs {}

impl Call<'_> {
    pub fn admin(self) -> Result<Exit, Failure> {
        let drained = app::admin::serve(&self.inputs, &self.loaded)?;
        Ok(if drained { Exit::Done } else { Exit::NotDrained })
    }
}
