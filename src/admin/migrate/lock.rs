//! The lock between processes: a table whose comment names its owner and when its lease ends.
//!
//! Refuses to trust the clocks of clients: leases are told by the server's. A lease that has ended is broken only
//! once no statement of its owner runs any more. Whoever holds the lock knows it from the last renewal only.
//!
//! Tables are numbered. CREATE TABLE is atomic, so of several that want the next number one gets it. It owns the lock
//! if, looking again, it finds no other number than those it saw expired: of two that were made at the same time at
//! least one sees the other, and steps back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::host::Host;
use super::journal::UNKNOWN_TABLE;
use crate::clickhouse::{quote_identifier, quote_string};

const EXISTS: u32 = 57;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What the comment of the table says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// Person, machine and process.
    pub owner: String,
    /// Query ids of the owner begin with `penstock-` and this.
    pub token: String,
    pub since: String,
    pub expires_ms: i64,
}

/// Where the lock is kept, and for how long it is taken.
#[derive(Clone)]
pub struct Locker {
    /// The first is where it is kept; the others may run statements of its owner.
    pub hosts: Vec<Host>,
    pub database: String,
    /// Its table, without the number.
    pub table: String,
    pub lease: Duration,
}

/// A table that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    number: u64,
    lease: Option<Lease>,
}

impl Locker {
    fn first(&self) -> Result<&Host, Error> {
        self.hosts.first().ok_or_else(|| Error::Answer("there is no endpoint".to_owned()))
    }

    fn qualified(&self, number: u64) -> String {
        format!(
            "{}.{}",
            quote_identifier(&self.database),
            quote_identifier(&format!("{}_{number}", self.table))
        )
    }

    /// Who holds it, if the lease has not ended.
    pub async fn holder(&self) -> Result<Option<Lease>, Error> {
        let now_ms = self.first()?.now().await?.0;
        let leases = self.found().await?.into_iter().filter_map(|one| one.lease);
        Ok(leases.filter(|lease| lease.expires_ms > now_ms).max_by_key(|lease| lease.expires_ms))
    }

    /// Takes the lock, waiting for it at most so long, and not once nobody wants it any more.
    pub async fn take(&self, owner: &str, wait: Duration, stop: &CancellationToken) -> Result<Lock, Error> {
        let give_up_at = Instant::now() + wait;
        loop {
            let refused = match self.attempt(owner).await? {
                Ok(lock) => return Ok(lock),
                Err(refused) => refused,
            };
            if stop.is_cancelled() || Instant::now() + LOOK_INTERVAL > give_up_at {
                return Err(refused);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn attempt(&self, owner: &str) -> Result<Result<Lock, Error>, Error> {
        let host = self.first()?;
        let begun = Instant::now();
        let (now_ms, now) = host.now().await?;
        let expired = match self.expired(now_ms).await? {
            Ok(expired) => expired,
            Err(locked) => return Ok(Err(locked)),
        };
        let number = expired.iter().map(|one| one.number).max().unwrap_or(0) + 1;
        let lease_ms = i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX);
        let token = uuid::Uuid::new_v4().simple().to_string();
        let lease =
            Lease { owner: owner.to_owned(), token, since: now, expires_ms: now_ms.saturating_add(lease_ms) };
        let sql = format!(
            "CREATE TABLE {} (x UInt8) ENGINE = Memory COMMENT {}",
            self.qualified(number),
            comment(&lease)?
        );
        match host.client.execute(&sql, &[]).await {
            Ok(()) => {}
            Err(error) if error.exception() == Some(EXISTS) => {
                return Ok(Err(locked("another process", "a moment ago")));
            }
            Err(error) => return Err(error.into()),
        }
        let others = self.found().await?;
        // One that was renewed meanwhile is no longer among them.
        if others.iter().any(|other| other.number != number && !expired.contains(other)) {
            self.remove(number).await?;
            return Ok(Err(locked("another process", "a moment ago")));
        }
        for one in expired {
            self.remove(one.number).await?;
        }
        Ok(Ok(Lock::new(self.clone(), number, lease, begun)))
    }

    /// The tables that nobody holds any more, or who holds it.
    async fn expired(&self, now_ms: i64) -> Result<Result<Vec<Found>, Error>, Error> {
        let mut expired = Vec::new();
        for one in self.found().await? {
            // A comment that cannot be read is nobody's; somebody made the table by hand.
            if let Some(lease) = &one.lease {
                let left_ms = lease.expires_ms - now_ms;
                let mut running = String::new();
                for host in &self.hosts {
                    if left_ms <= 0 && host.is_running(&format!("penstock-{}-", lease.token)).await? {
                        running = format!(", but a statement of it still runs on {}", host.name);
                    }
                }
                if left_ms > 0 || !running.is_empty() {
                    let (holder, since) = (lease.owner.clone(), lease.since.clone());
                    return Ok(Err(Error::Locked { holder, since, left_ms: left_ms.max(0), running }));
                }
            }
            expired.push(one);
        }
        Ok(Ok(expired))
    }

    async fn found(&self) -> Result<Vec<Found>, Error> {
        let sql = "SELECT substring(name, length({prefix:String}) + 1), comment FROM system.tables \
                   WHERE database = {database:String} AND startsWith(name, {prefix:String})";
        let prefix = format!("{}_", self.table);
        let rows = self
            .first()?
            .client
            .query(sql, &[("database", json!(self.database)), ("prefix", json!(prefix))])
            .await?;
        let text =
            |row: &[Value], at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let one = |row: &Vec<Value>| {
            let number = text(row, 0).parse().ok()?;
            Some(Found { number, lease: serde_json::from_str(&text(row, 1)).ok() })
        };
        Ok(rows.rows.iter().filter_map(one).collect())
    }

    async fn remove(&self, number: u64) -> Result<(), Error> {
        let sql = format!("DROP TABLE IF EXISTS {} SYNC", self.qualified(number));
        Ok(self.first()?.client.execute_idempotent(&sql, &[]).await?)
    }
}

fn locked(holder: &str, since: &str) -> Error {
    Error::Locked { holder: holder.to_owned(), since: since.to_owned(), left_ms: 0, running: String::new() }
}

fn comment(lease: &Lease) -> Result<String, Error> {
    let text = serde_json::to_string(lease).map_err(|error| Error::Answer(error.to_string()))?;
    Ok(quote_string(&text))
}

/// The lock, held and renewed until it is let go.
pub struct Lock {
    locker: Locker,
    number: u64,
    token: String,
    known: Arc<Mutex<Known>>,
    renewing: JoinHandle<()>,
}

struct Known {
    /// When the lease ends by the clock of this process, counted from before the renewal was sent.
    until: Instant,
    lost: Option<String>,
}

impl Lock {
    fn new(locker: Locker, number: u64, lease: Lease, begun: Instant) -> Lock {
        let known = Arc::new(Mutex::new(Known { until: begun + locker.lease, lost: None }));
        let token = lease.token.clone();
        let renewing = tokio::spawn(renew(locker.clone(), number, lease, known.clone()));
        Lock { locker, number, token, known, renewing }
    }

    /// Beginning of the query ids of everything that is sent under it.
    pub fn query_prefix(&self) -> String {
        format!("penstock-{}-", self.token)
    }

    /// Whether it is still held.
    pub fn check(&self) -> Result<(), Error> {
        let known = self.known.lock();
        match &known.lost {
            Some(why) => Err(Error::LockLost(why.clone())),
            None if Instant::now() >= known.until => {
                Err(Error::LockLost("the lease could not be renewed in time".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Lets it go. If that fails its lease ends by itself.
    pub async fn release(self) {
        self.renewing.abort();
        if let Err(error) = self.locker.remove(self.number).await {
            tracing::warn!(%error, "the migration lock could not be removed; its lease ends by itself");
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews the lease until it is lost. Who breaks it makes a table and then looks at the lease; here the lease is
/// written and then looked for other tables, so that one of the two sees the other.
async fn renew(locker: Locker, number: u64, mut lease: Lease, known: Arc<Mutex<Known>>) {
    let lease_ms = i64::try_from(locker.lease.as_millis()).unwrap_or(i64::MAX);
    loop {
        tokio::time::sleep(locker.lease / 4).await;
        let begun = Instant::now();
        let renewed = async {
            let host = locker.first()?;
            lease.expires_ms = host.now().await?.0.saturating_add(lease_ms);
            let sql = format!("ALTER TABLE {} MODIFY COMMENT {}", locker.qualified(number), comment(&lease)?);
            host.client.execute_idempotent(&sql, &[]).await?;
            Ok::<bool, Error>(locker.found().await?.iter().all(|one| one.number == number))
        };
        let renewed = renewed.await;
        let mut known = known.lock();
        match renewed {
            _ if Instant::now() >= known.until => {
                known.lost = Some("the lease could not be renewed in time".to_owned())
            }
            Ok(true) => known.until = begun + locker.lease,
            Ok(false) => known.lost = Some("another process has taken it over".to_owned()),
            Err(Error::ClickHouse(error)) if error.exception() == Some(UNKNOWN_TABLE) => {
                known.lost = Some("another process has taken it over".to_owned());
            }
            // It is tried again as long as there is time.
            Err(error) => tracing::warn!(%error, "the lease of the migration lock could not be renewed"),
        }
        if known.lost.is_some() {
            return;
        }
    }
}
