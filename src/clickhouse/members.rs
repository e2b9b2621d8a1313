//! The endpoints in force, each with its watcher; they can be exchanged while requests are under way.
//!
//! Refuses to send anything. An endpoint that stays keeps its connections, its gate and its counts; one that leaves is
//! chosen no more, and what was sent to it goes on to its end.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::config::Config;
use super::endpoint::Endpoint;
use super::error::Error;
use super::health::Watch;

/// Those in force, seen by every watcher.
pub type InForce = Arc<RwLock<Arc<[Arc<Endpoint>]>>>;

pub struct Members {
    in_force: InForce,
    /// Told whenever a gate opens.
    pub opened: Arc<Notify>,
    tasks: TaskTracker,
}

impl Members {
    /// # Errors
    /// A configuration that cannot work, or no tokio runtime around the call.
    pub fn new(config: &Config) -> Result<Members, Error> {
        let members =
            Members { in_force: InForce::default(), opened: Arc::default(), tasks: TaskTracker::new() };
        members.tasks.close();
        members.exchange(config)?;
        Ok(members)
    }

    pub fn get(&self) -> Arc<[Arc<Endpoint>]> {
        self.in_force.read().clone()
    }

    /// From now on these are in force, in the order of the configuration.
    ///
    /// # Errors
    /// As [`Members::new`]; then nothing has changed.
    pub fn exchange(&self, config: &Config) -> Result<(), Error> {
        let runtime = Handle::try_current().map_err(|e| Error::Config {
            message: format!("the client needs a runtime: {e}"),
            hint: "make it inside of the tokio runtime",
        })?;
        let before = self.get();
        let known = |url: &String| before.iter().find(|endpoint| endpoint.url() == url);
        let added: Vec<_> = config.endpoints.iter().filter(|url| known(url).is_none()).cloned().collect();
        let new = match added.is_empty() && !config.endpoints.is_empty() {
            true => Vec::new(),
            false => Endpoint::all(&Config { endpoints: added, ..config.clone() })?,
        };
        let made = |url: &String| new.iter().find(|endpoint| endpoint.url() == url);
        let next: Arc<[_]> =
            config.endpoints.iter().filter_map(|url| known(url).or(made(url)).cloned()).collect();
        *self.in_force.write() = Arc::clone(&next);
        for left in before.iter().filter(|endpoint| !next.iter().any(|one| Arc::ptr_eq(one, endpoint))) {
            left.retire();
        }
        for endpoint in new {
            let retired = endpoint.retired();
            let watch = Watch {
                in_force: self.in_force.clone(),
                endpoint,
                interval: config.health_interval.0,
                timeout: config.health_timeout.0,
                opened: self.opened.clone(),
            };
            self.tasks.spawn_on(async move { retired.run_until_cancelled(watch.run()).await }, &runtime);
        }
        // Who waits for a gate to open looks again.
        self.opened.notify_waiters();
        Ok(())
    }

    /// Ends the watchers.
    pub async fn close(&self) {
        self.retire_all();
        self.tasks.wait().await;
    }

    fn retire_all(&self) {
        self.get().iter().for_each(|endpoint| endpoint.retire());
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.retire_all();
    }
}
