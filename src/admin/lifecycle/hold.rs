//! Puts legal holds and lets them go.
//!
//! Refuses a hold that would not hold: a TTL that deletes knows no holds, so it is taken off with the hold, and what
//! was merging by it is waited for. Where the TTL is not from the table file, the hold is not put.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::holds::Hold;
use super::{Error, Governed, Lifecycles, live};
use crate::admin::command::Permission;
use crate::admin::desk::TableName;
use crate::schema::Table;

/// A hold that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    pub id: String,
    pub table: String,
    pub partitions: Vec<String>,
    pub reason: String,
    pub until: Option<DateTime<Utc>>,
    pub dry_run: bool,
}

/// A hold that was put, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Put {
    pub hold: String,
    /// Under which nothing deletes what is held.
    pub statements: Vec<String>,
}

/// A hold that somebody wants to be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRequest {
    pub id: String,
    pub reason: String,
    pub dry_run: bool,
}

/// A hold that was let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Released {
    pub hold: Hold,
    /// Statements that would put the rules in force again; `penstock lifecycle apply` runs them. None of a dry run.
    pub pending: Vec<String>,
}

/// A day in UTC, or a time with its zone.
///
/// # Errors
/// What to write.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let day =
        text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0)).map(|time| time.and_utc());
    let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc));
    day.or_else(time).ok_or_else(|| "write 2027-01-01 or 2027-01-01T12:00:00Z".to_owned())
}

impl Lifecycles {
    /// Puts the hold, takes off what would not honour it, and waits for merges that began before.
    ///
    /// # Errors
    /// See [`Error`]. If it fails after the hold is written, the hold is in force for penstock, and `apply` takes the
    /// TTL off.
    pub async fn hold(&self, request: &HoldRequest) -> Result<Put, Error> {
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
        let statements = self.without_what_deletes(table, &on).await?;
        let put = Put { hold: request.id.clone(), statements };
        if request.dry_run {
            return Ok(put);
        }
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
                              "until": hold.until, "statements": put.statements });
        let work = async {
            // From here on nothing drops what is held; whoever is at it is waited for before the TTL is taken off.
            self.write_hold(&hold, false).await?;
            let alone = self.alone(Permission::LegalHold, self.timeout).await?;
            let taken_off = Box::pin(alone.under.take_off(table, &on)).await;
            alone.end().await;
            let statements = taken_off?;
            self.desk.outwait(&on, self.timeout).await?;
            Ok::<Put, Error>(Put { hold: hold.id.clone(), statements })
        };
        self.desk.audited("lifecycle.hold", Permission::LegalHold, (&on, details), Box::pin(work)).await
    }

    async fn take_off(&self, table: &Table, on: &TableName) -> Result<Vec<String>, Error> {
        let statements = self.without_what_deletes(table, on).await?;
        for statement in &statements {
            self.desk.run(on, statement, &live::METADATA_ONLY, self.timeout).await?;
        }
        Ok(statements)
    }

    /// The statements under which the table has no TTL that would not honour a hold.
    async fn without_what_deletes(&self, table: &Table, on: &TableName) -> Result<Vec<String>, Error> {
        let found = live::read(&self.desk, on).await?;
        let ttl = |live: live::Live| live.ttl.or_else(|| live.columns.into_iter().next().map(|(_, ttl)| ttl));
        match (&table.lifecycle, found) {
            (Some(rules), Some(live)) => {
                let one = Governed { name: on.clone(), table, rules };
                live::statements(&self.desk, &one, &live, true).await
            }
            (None, Some(live)) => match ttl(live) {
                Some(ttl) => Err(Error::ForeignTtl { table: on.clone(), ttl }),
                None => Ok(Vec::new()),
            },
            (_, None) => Ok(Vec::new()),
        }
    }

    /// Lets a hold go. The rules come into force again with the next `apply`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn release(&self, request: &ReleaseRequest) -> Result<Released, Error> {
        let ReleaseRequest { id, reason, dry_run } = request;
        let holds = self.holds().await?;
        let hold = holds.into_iter().find(|hold| hold.id == *id).ok_or_else(|| Error::NoHold(id.clone()))?;
        if *dry_run {
            return Ok(Released { hold, pending: Vec::new() });
        }
        let released = Hold { reason: reason.clone(), actor: self.desk.actor().to_string(), ..hold.clone() };
        let on = self.desk.table(Some(&hold.database), &hold.table);
        let work = self.write_hold(&released, true);
        let details = json!({ "id": id, "reason": reason });
        self.desk.audited("lifecycle.release", Permission::LegalHold, (&on, details), Box::pin(work)).await?;
        let plan = self.plan(&[]).await?;
        let pending = plan.tables.into_iter().filter(|one| one.table == on).flat_map(|one| one.statements);
        Ok(Released { hold, pending: pending.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_days_or_have_a_zone() {
        assert_eq!(moment("2027-01-01").unwrap().to_rfc3339(), "2027-01-01T00:00:00+00:00");
        assert_eq!(moment("2027-01-01T02:00:00+02:00").unwrap().to_rfc3339(), "2027-01-01T00:00:00+00:00");
        assert!(moment("tomorrow").is_err() && moment("2027-01-01 00:00").is_err());
    }
}
