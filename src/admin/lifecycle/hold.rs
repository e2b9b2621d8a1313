//! Puts legal holds and lets them go.
//!
//! Refuses a hold that would not hold: a TTL that deletes knows no holds, so it is taken off with the hold, and what
//! was merging by it is waited for. Where the TTL is not from the table file, the hold is not put.

use serde::Serialize;
use serde_json::json;

use super::holds::Hold;
use super::{Error, Governed, Lifecycles, live};
use crate::admin::command::Permission;

/// A hold that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    pub id: String,
    pub table: String,
    pub partitions: Vec<String>,
    pub reason: String,
    pub until: Option<chrono::DateTime<chrono::Utc>>,
}

/// A hold that was let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Released {
    pub hold: Hold,
    /// Statements that would put the rules in force again; `penstock lifecycle apply` runs them.
    pub pending: Vec<String>,
}

impl Lifecycles {
    /// Puts the hold, takes off what would not honour it, and waits for merges that began before. Gives the
    /// statements that were run.
    ///
    /// # Errors
    /// See [`Error`]. If it fails after the hold is written, the hold is in force for penstock, and `apply` takes the
    /// TTL off.
    pub async fn hold(&self, request: &HoldRequest) -> Result<Vec<String>, Error> {
        let name = || Error::NoTableFile(request.table.clone());
        let table = self.tables.iter().find(|table| table.name == request.table).ok_or_else(name)?;
        let on = self.name(table);
        if self.holds().await?.iter().any(|hold| hold.id == request.id) {
            return Err(Error::HoldExists(request.id.clone()));
        }
        let until =
            request.until.map(|until| until.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default();
        let now_s = self.desk.now().await?;
        if request.until.is_some_and(|until| u64::try_from(until.timestamp()).unwrap_or_default() <= now_s) {
            return Err(Error::HoldOver(until));
        }
        let found = live::read(&self.desk, &on).await?;
        let sql = match (&table.lifecycle, found) {
            (Some(rules), Some(live)) => {
                let one = Governed { name: on.clone(), table, rules };
                live::statements(&self.desk, &one, &live, true).await?
            }
            (None, Some(live)) => match live.ttl.or_else(|| live.columns.first().map(|(_, ttl)| ttl.clone()))
            {
                Some(ttl) => return Err(Error::ForeignTtl { table: on, ttl }),
                None => Vec::new(),
            },
            (_, None) => Vec::new(),
        };
        let hold = Hold {
            id: request.id.clone(),
            database: on.database.clone(),
            table: on.name.clone(),
            partitions: request.partitions.clone(),
            reason: request.reason.clone(),
            until,
            actor: self.desk.actor().to_string(),
            since: String::new(),
        };
        let details = json!({ "id": hold.id, "partitions": hold.partitions, "reason": hold.reason,
                              "until": hold.until, "statements": sql });
        let work = async {
            self.write_hold(&hold, false).await?;
            for statement in &sql {
                self.desk.run(&on, statement, &live::METADATA_ONLY, self.timeout).await?;
            }
            Ok::<(), Error>(self.desk.outwait(&on, self.timeout).await?)
        };
        self.desk.audited("lifecycle.hold", Permission::LegalHold, (&on, details), Box::pin(work)).await?;
        Ok(sql)
    }

    /// Lets a hold go. The rules come into force again with the next `apply`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn release(&self, id: &str, reason: &str) -> Result<Released, Error> {
        let holds = self.holds().await?;
        let hold =
            holds.into_iter().find(|hold| hold.id == id).ok_or_else(|| Error::NoHold(id.to_owned()))?;
        let released =
            Hold { reason: reason.to_owned(), actor: self.desk.actor().to_string(), ..hold.clone() };
        let on = self.desk.table(Some(&hold.database), &hold.table);
        let work = self.write_hold(&released, true);
        let details = json!({ "id": id, "reason": reason });
        self.desk.audited("lifecycle.release", Permission::LegalHold, (&on, details), Box::pin(work)).await?;
        let plan = self.plan(&[]).await?;
        let pending = plan.tables.into_iter().filter(|one| one.table == on).flat_map(|one| one.statements);
        Ok(Released { hold, pending: pending.collect() })
    }
}
