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
use super::entry::{Entry, Verification};
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
            true => {
                let plan = self.plan_prune(Some(name)).await?;
                if plan.is_empty() { Some(plan) } else { Some(self.prune(Some(name), &plan.hash).await?) }
            }
            false => None,
        };
        let (_, backup) = self.entry(&made.id).await?;
        Ok(Ran { backup, verification, pruning })
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
