//! A policy carried out: a backup, its verification, and pruning, one after the other.
//!
//! Refuses to know when: whoever has a clock calls it. Where a step fails those after it are not tried, but a base that
//! was found damaged leads to a full backup and not to a failure.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::catalogue::Event;
use super::create::Create;
use super::delete::Pruning;
use super::entry::{Entry, State, Verification};
use super::error::Error;
use super::manifest::Manifest;
use super::verify::Verify;
use super::{Backups, Level, Policy};
use crate::admin::command::Permission;

/// What a run of a policy did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ran {
    pub backup: Entry,
    pub verification: Verification,
    pub pruning: Option<Pruning>,
}

impl Ran {
    pub fn is_sound(&self) -> bool {
        self.verification.findings.is_empty()
    }
}

impl Backups {
    pub(super) fn policy(&self, name: &str) -> Result<&Policy, Error> {
        let known = || self.config.policies.keys().cloned().collect::<Vec<_>>().join(", ");
        let no = || Error::NoPolicy { name: name.to_owned(), known: known() };
        self.config.policies.get(name).ok_or_else(no)
    }

    /// Makes a backup by the policy, verifies it, and prunes if the policy says so.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run_policy(&self, name: &str) -> Result<Ran, Error> {
        let policy = self.policy(name)?.clone();
        let request = Create { policy: Some(name.to_owned()), ..Create::default() };
        let made = self.create(&request).await?;
        let level = if self.files().is_some() { policy.verify } else { Level::Restore };
        let verification = self.verify(&made.id, Verify { level, ..Verify::default() }).await?;
        let pruning = match policy.prune && verification.findings.is_empty() {
            true => Some(self.prune_now(Some(name)).await?),
            false => None,
        };
        let (_, backup) = self.entry(&made.id).await?;
        Ok(Ran { backup, verification, pruning })
    }

    /// Verifies the latest backup of the policy, as the policy says.
    ///
    /// # Errors
    /// See [`Error`]; also where there is none.
    pub async fn verify_policy(&self, name: &str) -> Result<Verification, Error> {
        let id = self.latest(name).await?.id;
        let level = if self.files().is_some() { self.policy(name)?.verify } else { Level::Restore };
        self.verify(&id, Verify { level, ..Verify::default() }).await
    }

    /// The latest backup of the policy that was made to its end.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn latest(&self, name: &str) -> Result<Entry, Error> {
        self.policy(name)?;
        let entries = self.entries().await?.0;
        let is_meant = |entry: &Entry| entry.manifest.policy == name && entry.state == State::Done;
        entries
            .into_iter()
            .rev()
            .find(is_meant)
            .ok_or_else(|| Error::NoBackup(format!("of the policy {name}")))
    }

    /// Prunes by the plan of this moment, of one policy or all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn prune_now(&self, policy: Option<&str>) -> Result<Pruning, Error> {
        let plan = self.plan_prune(policy).await?;
        if plan.is_empty() { Ok(plan) } else { self.prune(policy, &plan.hash).await }
    }

    /// Adds to the catalogue what stands beside the backups and is not in it, as after its loss.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn scan(&self) -> Result<Vec<String>, Error> {
        let new = self.beside().await?;
        let ids: Vec<String> = new.iter().map(|(id, _)| id.clone()).collect();
        let work = async {
            self.create_catalogue().await?;
            for (id, manifest) in new {
                let at = moment(&id).unwrap_or_else(Utc::now);
                self.note_at(&id, at, &Event::Done { manifest }).await?;
            }
            Ok(())
        };
        self.audited(("backup.scan", Permission::BackupCreate), json!({ "found": ids }), work).await?;
        Ok(ids)
    }
}

impl Backups {
    /// What `scan` would add.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn unknown(&self) -> Result<Vec<String>, Error> {
        Ok(self.beside().await?.into_iter().map(|(id, _)| id).collect())
    }

    /// Manifests that stand beside backups and are not in the catalogue.
    async fn beside(&self) -> Result<Vec<(String, Manifest)>, Error> {
        let mut found = self.with_files(|files| files.manifests()).await?;
        let entries = self.entries().await?;
        found.retain(|(id, _)| entries.get(id).is_none());
        Ok(found)
    }
}

/// The moment that an id names.
fn moment(id: &str) -> Option<DateTime<Utc>> {
    let text = id.rsplit('-').nth(1)?;
    let at = chrono::NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok()?;
    Some(at.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_moment() {
        let at = moment("a-b-20261127T150501Z-0a1b2c3d").unwrap();
        assert_eq!(at.to_rfc3339(), "2026-11-27T15:05:01+00:00");
        assert!(moment("x").is_none() && moment("a-b-c").is_none());
    }
}
