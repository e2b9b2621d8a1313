//! One at a time: what changes tables by their age holds a lock of its own on the server.
//!
//! Refuses to go on without it. It is the lock of migrations under another name, so it outlives no owner, and is broken
//! only once no statement of its owner runs any more.

use std::sync::Arc;
use std::time::Duration;

use super::{Error, Lifecycles};
use crate::admin::command::Permission;
use crate::admin::desk;
use crate::admin::migrate;
use crate::admin::migrate::host::Host;
use crate::admin::migrate::lock::{Lock, Locker};

/// How long it is taken for; it is renewed while it is held.
const LEASE: Duration = Duration::from_secs(30);

/// Whoever works alone.
pub(super) struct Alone {
    pub under: Lifecycles,
    lock: Option<Arc<Lock>>,
}

impl Lifecycles {
    /// Takes the lock, waiting for it at most so long. Who has no right to the work takes none: it is refused, and written
    /// down, where everything is.
    pub(super) async fn alone(&self, needs: Permission, wait: Duration) -> Result<Alone, Error> {
        if !self.desk.actor().may(needs) {
            return Ok(Alone { under: self.clone(), lock: None });
        }
        let locker = Locker {
            hosts: vec![Host { name: self.desk.host.clone(), client: self.desk.client.clone() }],
            database: self.desk.database.clone(),
            table: format!("{}_lock", self.config.holds_table),
            lease: LEASE,
        };
        let taken = locker.take(&self.desk.actor().to_string(), wait, self.desk.stop()).await;
        let lock = Arc::new(taken.map_err(refused)?);
        let under = Lifecycles { desk: self.desk.under(Arc::clone(&lock)), ..self.clone() };
        Ok(Alone { under, lock: Some(lock) })
    }
}

impl Alone {
    /// Lets it go. If that fails its lease ends by itself.
    pub async fn end(self) {
        drop(self.under);
        if let Some(lock) = self.lock.and_then(Arc::into_inner) {
            lock.release().await;
        }
    }
}

fn refused(error: migrate::Error) -> Error {
    match error {
        migrate::Error::Locked { holder, since, .. } => Error::Locked { holder, since },
        error => desk::Error::from(error).into(),
    }
}
