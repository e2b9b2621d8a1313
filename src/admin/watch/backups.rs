//! Whether each policy has a backup that is new enough, and none that cannot be restored.
//!
//! Refuses to look at the backups themselves: what their verifications said is in the catalogue.

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::time::timeout;

use super::{Finding, State, Watch};
use crate::admin::backup::PolicyReport;

impl Watch {
    /// None where no policy is configured; what was made by hand is read all the same, for its metrics.
    pub(super) async fn backups(&self, now: DateTime<Utc>) -> Option<Finding> {
        let backups = self.backups.as_ref()?;
        let why = match timeout(self.config.timeout.0, backups.reports()).await {
            Ok(Ok(all)) => return all.iter().map(|one| judge(one, now)).reduce(Finding::worse),
            Ok(Err(error)) => error.to_string().lines().next().unwrap_or_default().to_owned(),
            Err(_) => format!("no answer within {}", self.config.timeout),
        };
        let hint = "this user needs SELECT on admin.backup.table";
        backups
            .has_policies()
            .then(|| Finding::new(State::Degraded, &format!("the catalogue cannot be read: {why}"), hint))
    }
}

fn judge(one: &PolicyReport, now: DateTime<Utc>) -> Finding {
    let policy = &one.policy;
    if let Some(first) = one.damaged.first() {
        let sentence = format!("{} backups of policy {policy} are damaged, {first} first", one.damaged.len());
        return Finding::new(
            State::Failing,
            &sentence,
            "`penstock backup show` says how; make a full one now",
        );
    }
    let hint = "`penstock backup run` makes one now; `penstock schedule history` says why none was made";
    match one.last.map(|last| last.to_rfc3339_opts(SecondsFormat::Secs, true)) {
        None => Finding::new(State::Degraded, &format!("policy {policy} has no backup"), hint),
        Some(last) if one.is_late(now) => {
            let sentence =
                format!("the newest backup of policy {policy} is of {last}, older than {}", one.age_max);
            Finding::new(State::Degraded, &sentence, hint)
        }
        Some(last) => Finding::ok(&format!("the newest of policy {policy} is of {last}")),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::units::Span;

    #[test]
    fn missing_old_and_damaged_ones_are_told() {
        let now = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        let report = |hours: Option<i64>, damaged: &[&str]| PolicyReport {
            policy: "daily".to_owned(),
            last: hours.map(|hours| now - TimeDelta::hours(hours)),
            age_max: Span::secs(26 * 3600),
            damaged: damaged.iter().map(|&id| id.to_owned()).collect(),
        };
        let state = |hours, damaged: &[&str]| judge(&report(hours, damaged), now).state;
        assert_eq!((state(Some(26), &[]), state(Some(27), &[])), (State::Ok, State::Degraded));
        assert_eq!((state(None, &[]), state(Some(1), &["a"])), (State::Degraded, State::Failing));
        assert_eq!(judge(&report(None, &[]), now).sentence, "policy daily has no backup");
        assert_eq!(
            judge(&report(Some(27), &[]), now).sentence,
            "the newest backup of policy daily is of 2025-12-30T21:00:00Z, older than 26h"
        );
    }
}
