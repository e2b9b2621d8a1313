//! Every label set of the admin process's metrics, at zero from the start.
//!
//! Refuses to count. A counter that is born at 1 is invisible to `rate`: the first failed backup would raise no alert.

use super::audit::Phase;
use super::backup;
use super::http::{REFUSALS, actions, shared_actions};
use super::jobs::State;
use super::migrate::Direction;
use super::schedule;
use crate::telemetry::metrics::METRICS;

/// What requests are answered with most; others appear when they are first given.
const STATUSES: [&str; 4] = ["401", "403", "422", "500"];
const ENDS: [State; 4] = [State::Done, State::Failed, State::Cancelled, State::Skipped];

pub fn create(schedules: &[schedule::Config], backups: &backup::Config) {
    for (action, is_job) in actions() {
        let success = if is_job { "202" } else { "200" };
        for status in STATUSES.into_iter().chain([success]) {
            METRICS.admin.requests.with_label_values(&[action, status]);
        }
        METRICS.admin.request_duration.with_label_values(&[action]);
        METRICS.admin.denied.with_label_values(&[action]);
        for end in ENDS.into_iter().filter(|_| is_job) {
            METRICS.admin.jobs.with_label_values(&[action, end.name()]);
        }
    }
    for action in shared_actions() {
        METRICS.admin.coalesced.with_label_values(&[action]);
    }
    for direction in [Direction::Up, Direction::Down] {
        METRICS.admin.migration_duration.with_label_values(&[direction.name()]);
    }
    for reason in REFUSALS {
        METRICS.admin.auth_failures.with_label_values(&[reason]);
    }
    for phase in Phase::ALL {
        METRICS.admin.trail_entries.with_label_values(&[phase.name()]);
    }
    for outcome in ["delivered", "given_up", "dropped"] {
        METRICS.fleet.webhooks.with_label_values(&[outcome]);
    }
    for schedule in schedules {
        let (command, policy) = schedule::commands::told(&schedule.what);
        METRICS.fleet.schedule_info.with_label_values(&[&*schedule.name, command, &policy]).set(1);
        METRICS.fleet.schedule_missed.with_label_values(&[schedule.name.as_str()]);
        for end in ENDS {
            METRICS.fleet.schedule_runs.with_label_values(&[schedule.name.as_str(), end.name()]);
        }
    }
    for policy in backups.policies.keys() {
        for kind in ["full", "incremental"] {
            for outcome in ["ok", "error", "cancelled"] {
                METRICS.backup.runs.with_label_values(&[policy.as_str(), kind, outcome]);
            }
        }
    }
}
