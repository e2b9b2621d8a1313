//! How each policy stands: how old its newest good backup is, and which of those that are kept cannot be trusted.
//!
//! Refuses to judge what that means for anybody: health and the alerts do. A policy that is configured is told of even if
//! it never had a backup.

use chrono::{DateTime, Utc};

use super::entry::{Entries, State};
use super::error::Error;
use super::{Backups, Level, Policy};
use crate::telemetry::metrics::METRICS;
use crate::units::Span;

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyReport {
    pub policy: String,
    /// When the newest good backup was begun; none if there is none.
    pub last: Option<DateTime<Utc>>,
    /// Age that it may have.
    pub age_max: Span,
    /// Backups that are kept and cannot be restored: damaged, or built on one that is.
    pub damaged: Vec<String>,
}

impl PolicyReport {
    /// Whether the newest is too old, or missing.
    pub fn is_late(&self, now: DateTime<Utc>) -> bool {
        let age = self.last.map(|last| now.signed_duration_since(last).to_std().unwrap_or_default());
        age.is_none_or(|age| age > self.age_max.0)
    }
}

impl Backups {
    /// How each policy of the configuration stands now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reports(&self) -> Result<Vec<PolicyReport>, Error> {
        Ok(self.report_all(&self.entries().await?))
    }

    pub fn has_policies(&self) -> bool {
        !self.config.policies.is_empty()
    }

    fn report_all(&self, entries: &Entries) -> Vec<PolicyReport> {
        let one = |(policy, config): (&String, &Policy)| report(entries, policy, config.age_max);
        self.config.policies.iter().map(one).collect()
    }

    /// Tells metrics how each policy stands, and what was made by hand.
    pub(super) fn show(&self, entries: &Entries) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        // Whole seconds are exact enough.
        #[allow(clippy::cast_possible_truncation)]
        let seconds = |seconds: f64| seconds.round() as i64;
        let metrics = &METRICS.backup;
        for one in self.report_all(entries) {
            let labels = &[one.policy.as_str()];
            metrics.age_max.with_label_values(labels).set(whole(one.age_max.0.as_secs()));
            metrics.damaged.with_label_values(labels).set(whole(one.damaged.len() as u64));
        }
        for policy in self.config.policies.keys().map(String::as_str).chain([""]) {
            let own = || {
                entries.0.iter().rev().filter(|one| one.manifest.policy == policy && one.state == State::Done)
            };
            let Some(last) = own().next() else { continue };
            let (manifest, labels) = (&last.manifest, &[policy]);
            metrics.last_success.with_label_values(labels).set(last.at.timestamp());
            metrics.last_duration.with_label_values(labels).set(seconds(manifest.seconds));
            metrics.last_bytes.with_label_values(labels).set(whole(manifest.bytes));
            metrics.last_new_bytes.with_label_values(labels).set(whole(manifest.new_bytes));
            let chain = entries.chain(&last.id).map_or(0, |chain| chain.len().saturating_sub(1));
            metrics.chain_length.with_label_values(labels).set(i64::try_from(chain).unwrap_or(i64::MAX));
            metrics.stored.with_label_values(labels).set(i64::try_from(own().count()).unwrap_or(i64::MAX));
            let sound =
                || own().filter_map(|one| one.verification.as_ref()).filter(|last| last.findings.is_empty());
            if let Some(last) = sound().max_by_key(|last| last.at) {
                metrics.verified.with_label_values(labels).set(last.at.timestamp());
            }
            if let Some(drill) =
                sound().filter(|last| last.level == Level::Restore).max_by_key(|last| last.at)
            {
                metrics.drill_duration.with_label_values(labels).set(seconds(drill.seconds));
            }
        }
    }
}

fn report(entries: &Entries, policy: &str, age_max: Span) -> PolicyReport {
    let done = || entries.0.iter().filter(|one| one.manifest.policy == policy && one.state == State::Done);
    let is_sound = |id: &str| entries.chain(id).is_some();
    PolicyReport {
        policy: policy.to_owned(),
        last: done().filter(|one| is_sound(&one.id)).map(|one| one.at).max(),
        age_max,
        damaged: done().filter(|one| !is_sound(&one.id)).map(|one| one.id.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{at, entry, verified};
    use super::*;

    #[test]
    fn what_is_built_on_damage_counts_as_damaged_and_not_as_the_newest() {
        let age_max = Span::secs(3600);
        let mut all = Entries(vec![entry("a", None, 0), entry("b", None, 1), entry("c", Some("b"), 2)]);
        let whole = report(&all, "p", age_max);
        assert_eq!((whole.last, whole.damaged.len()), (Some(at(2)), 0));
        assert!(!whole.is_late(at(3)) && whole.is_late(at(4)));
        all.0[1].verification = verified(&["a file is gone"]);
        let damaged = report(&all, "p", age_max);
        assert_eq!((damaged.last, damaged.damaged), (Some(at(0)), vec!["b".to_owned(), "c".to_owned()]));
        let never = report(&all, "other", age_max);
        assert!(never.last.is_none() && never.is_late(at(0)), "one that was never made is late");
    }
}
