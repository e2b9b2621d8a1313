//! Deleting backups, one by one or by the rules of a policy; and holds, which keep them.
//!
//! Refuses to delete what another backup needs or what is held, looked at once more right before; and without a plan that
//! somebody has seen. Files go only where they can be reached; otherwise it is told that they are left.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::catalogue::Event;
use super::entry::{Entries, Hold};
use super::error::Error;
use super::retention::{self, PrunePlan};
use super::{Backups, Keep};
use crate::admin::command::Permission;
use crate::admin::migrate::script::sha256;

/// What is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Deleted {
    pub id: String,
    /// Its files are still there and have to be removed by hand.
    pub files_left: bool,
}

/// What pruning would do, or has done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Pruning {
    pub plans: Vec<PrunePlan>,
    /// Of all plans together.
    pub hash: String,
    /// Time zone of hours, days and so on.
    pub timezone: String,
    /// What was deleted; nothing of a plan.
    pub deleted: Vec<Deleted>,
}

impl Pruning {
    pub fn is_empty(&self) -> bool {
        self.plans.iter().all(PrunePlan::is_empty)
    }
}

/// Keeping one whatever its age.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    #[serde(default, with = "super::stamp::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<DateTime<Utc>>,
}

impl Backups {
    /// Whether it could be deleted. Changes nothing.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn plan_delete(&self, id: &str) -> Result<Deleted, Error> {
        let (entries, entry) = self.entry(id).await?;
        unblocked(&entries, id)?;
        let files_left = !self.reaches(&entry.manifest);
        Ok(Deleted { id: id.to_owned(), files_left })
    }

    /// Deletes a backup that nothing needs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, id: &str) -> Result<Deleted, Error> {
        self.plan_delete(id).await?;
        let details = json!({ "id": id });
        self.audited(("backup.delete", Permission::BackupDelete), details, self.remove(id)).await
    }

    async fn remove(&self, id: &str) -> Result<Deleted, Error> {
        self.note(id, &Event::Deleting).await?;
        // One that was begun meanwhile may build on it: whoever makes one writes that down and then looks.
        let entries = self.entries().await?;
        if let Err(error) = unblocked(&entries, id) {
            self.note(id, &Event::Spared).await?;
            return Err(error);
        }
        let files_left = !entries.get(id).is_some_and(|entry| self.reaches(&entry.manifest));
        if !files_left {
            let id = id.to_owned();
            self.with_files(move |files| files.remove(&id)).await?;
        }
        self.note(id, &Event::Deleted { files_left }).await?;
        Ok(Deleted { id: id.to_owned(), files_left })
    }

    /// What pruning would delete of one policy, or of all. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn plan_prune(&self, policy: Option<&str>) -> Result<Pruning, Error> {
        let zone = self.config.timezone.parse().map_err(|_| Error::Zone(self.config.timezone.clone()))?;
        let names = match policy {
            Some(name) => vec![name.to_owned()],
            None => self.config.policies.keys().cloned().collect(),
        };
        let entries = self.entries().await?;
        let mut plans = Vec::new();
        for name in names {
            let keep: &Keep = self.policy(&name)?.keep.as_ref().unwrap_or(&self.config.keep);
            plans.push(retention::plan(&entries, &name, keep, zone, Utc::now()));
        }
        let hashes: Vec<&str> = plans.iter().map(|plan| plan.hash.as_str()).collect();
        let hash = sha256(&hashes.join("\n")).get(..16).unwrap_or_default().to_owned();
        Ok(Pruning { plans, hash, timezone: self.config.timezone.clone(), deleted: Vec::new() })
    }

    /// Deletes what the plan of this hash says.
    ///
    /// # Errors
    /// See [`Error`]; nothing is deleted of a policy whose newest backup is not verified.
    pub async fn prune(&self, policy: Option<&str>, expected: &str) -> Result<Pruning, Error> {
        let pruning = self.plan_prune(policy).await?;
        if pruning.hash != expected {
            return Err(Error::PlanDiffers { expected: expected.to_owned(), found: pruning.hash });
        }
        if let Some(plan) = pruning.plans.iter().find(|plan| !plan.refused.is_empty()) {
            return Err(Error::NotProven { policy: plan.policy.clone(), why: plan.refused.clone() });
        }
        let details = json!({ "policy": policy, "plan": expected, "timezone": pruning.timezone });
        let work = async {
            let mut pruning = pruning;
            let going: Vec<String> =
                pruning.plans.iter().flat_map(|plan| &plan.deleted).map(|one| one.id.clone()).collect();
            for id in going {
                pruning.deleted.push(self.remove(&id).await?);
            }
            Ok(pruning)
        };
        self.audited(("backup.prune", Permission::BackupDelete), details, work).await
    }

    /// Keeps one from being deleted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn hold(&self, id: &str, request: &HoldRequest) -> Result<(), Error> {
        self.entry(id).await?;
        let hold = Hold { reason: request.reason.clone(), until: request.until };
        let details = json!({ "id": id, "hold": hold });
        let work = async { self.note(id, &Event::Held { hold }).await };
        self.audited(("backup.hold", Permission::BackupCreate), details, work).await
    }

    /// Lets it go.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn release(&self, id: &str, reason: &str) -> Result<(), Error> {
        self.entry(id).await?;
        let details = json!({ "id": id, "reason": reason });
        let work = async { self.note(id, &Event::Released { reason: reason.to_owned() }).await };
        self.audited(("backup.release", Permission::BackupDelete), details, work).await
    }
}

fn unblocked(entries: &Entries, id: &str) -> Result<(), Error> {
    match entries.blocked(id, Utc::now()) {
        Some(why) => Err(Error::Blocked { id: id.to_owned(), why }),
        None => Ok(()),
    }
}
