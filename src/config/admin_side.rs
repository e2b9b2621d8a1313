//! Rules between settings of the admin side: migrations, the admin process, lifecycle, backups.
//!
//! Refuses to look at anything but the settings: whether servers agree is found out when they are asked.

use super::validate::{is_host_port, pair_of_files, topic_fault};
use super::{Config, Fault};
use crate::admin::migrate::config::Engine;
use crate::admin::schedule::{SCHEDULES_MAX, Schedule};
use crate::units::Span;

/// Brokers take 6s or more without settings of their own, and those of tests less.
const SESSION_MIN: Span = Span::secs(1);
const SESSION_MAX: Span = Span::secs(300);

/// Below it a slow answer alone would lose the lock of migrations.
const LEASE_MIN: Span = Span::millis(200);
/// Every line asks every endpoint as often.
const REFRESH_MIN: Span = Span::millis(100);
/// A run that is lost keeps the next one waiting for so long.
const JOB_LEASE_MAX: Span = Span::secs(3600);
/// A token that ended longer ago has ended.
const SKEW_MAX: Span = Span::secs(60);

pub(super) fn check(config: &Config, found: &mut Vec<Fault>) {
    migrations(&config.migrations, found);
    admin(&config.admin, found);
    lifecycle(&config.lifecycle, found);
    backup(&config.admin.backup, found);
}

fn backup(backup: &crate::admin::backup::Config, found: &mut Vec<Fault>) {
    if backup.table.is_empty() {
        found.push(Fault::new("admin.backup.table", "is empty", "name the table of the catalogue"));
    }
    if backup.timezone.parse::<chrono_tz::Tz>().is_err() {
        let hint = "write one such as UTC or Europe/Berlin";
        found.push(Fault::new("admin.backup.timezone", "is no time zone", hint));
    }
    if backup.destination.needs_name() && backup.destination.name.is_empty() {
        let hint = "name the disk, or the server's named collection of the bucket";
        found.push(Fault::new("admin.backup.destination.name", "is empty", hint));
    }
    for name in backup.policies.keys().filter(|name| !crate::admin::backup::is_name(name)) {
        let hint = "it becomes a part of paths: write letters, digits, - and _";
        found.push(Fault::new(format!("admin.backup.policies.{name}"), "is no name of a policy", hint));
    }
}

fn migrations(migrations: &crate::admin::migrate::Config, found: &mut Vec<Fault>) {
    if migrations.table.is_empty() {
        found.push(Fault::new("migrations.table", "is empty", "name the table of the journal"));
    }
    if migrations.engine == Engine::ReplicatedMergeTree {
        let path = &migrations.replica_path;
        if !path.starts_with('/') || !path.contains("{database}") || !path.contains("{table}") {
            let hint = "each table needs a path of its own, such as /clickhouse/tables/{database}/{table}";
            found.push(Fault::new("migrations.replica_path", "does not tell tables apart", hint));
        }
        if migrations.replica_name.is_empty() {
            let hint = "write what differs on all servers, such as {replica}";
            found.push(Fault::new("migrations.replica_name", "is empty", hint));
        }
    }
    if migrations.lock_lease < LEASE_MIN {
        let hint = format!("write {LEASE_MIN} or more; it is renewed four times as often");
        found.push(Fault::new("migrations.lock_lease", "is too short", hint));
    }
}

fn admin(admin: &crate::admin::Config, found: &mut Vec<Fault>) {
    if !is_host_port(&admin.listen) {
        let hint = "write host:port, such as 127.0.0.1:9480 or 0.0.0.0:9480";
        found.push(Fault::new("admin.listen", "is not an address", hint));
    }
    if admin.access.skew_max > SKEW_MAX {
        let hint = format!("write {SKEW_MAX} or less, and let the machines keep their time");
        found.push(Fault::new("admin.access.skew_max", "is too long", hint));
    }
    if admin.access.token_life > admin.access.token_life_max {
        let hint = format!("set it to at most {}", admin.access.token_life_max);
        found.push(Fault::new("admin.access.token_life", "is more than token_life_max", hint));
    }
    schedules(admin, found);
    console(&admin.console, found);
    if admin.jobs.table.is_empty() || admin.access.revoked_table.is_empty() {
        let key = if admin.jobs.table.is_empty() { "admin.jobs.table" } else { "admin.access.revoked_table" };
        found.push(Fault::new(key, "is empty", "name the table"));
    }
    if admin.jobs.lease < LEASE_MIN || admin.jobs.lease > JOB_LEASE_MAX {
        let hint = format!("write {LEASE_MIN} to {JOB_LEASE_MAX}; it is renewed three times as often");
        found.push(Fault::new("admin.jobs.lease", "is out of range", hint));
    }
    let webhook = &admin.health.webhook;
    if webhook.url.is_some() && webhook.key_file.is_none() {
        let hint = "make a key with `openssl rand -base64 48`, and give it to the receiver";
        found.push(Fault::new("admin.health.webhook.key_file", "is missing", hint));
    }
    if webhook.backoff_min > webhook.backoff_max {
        let hint = format!("set it to at most {}", webhook.backoff_max);
        found.push(Fault::new("admin.health.webhook.backoff_min", "is more than backoff_max", hint));
    }
    pair_of_files("admin.tls", &admin.tls.cert_file, &admin.tls.key_file, found);
}

fn console(console: &crate::admin::console::Config, found: &mut Vec<Fault>) {
    for (index, line) in console.lines.iter().enumerate() {
        if crate::admin::console::source(line).is_none() {
            let hint = "write http://host:port, where host:port is the telemetry.listen of the line";
            found.push(Fault::new(format!("admin.console.lines[{index}]"), "is not an address", hint));
        }
    }
    if console.name.trim().is_empty() {
        found.push(Fault::new("admin.console.name", "is empty", "name this installation"));
    }
    let is_link = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    if console.runbook_url.as_ref().is_some_and(|url| !is_link(url)) {
        let hint = "write https://host/path; /NAME.md is put behind it";
        found.push(Fault::new("admin.console.runbook_url", "is not an address", hint));
    }
}

fn schedules(admin: &crate::admin::Config, found: &mut Vec<Fault>) {
    let all = &admin.schedules;
    if all.len() > SCHEDULES_MAX {
        let hint = format!("write {SCHEDULES_MAX} or fewer");
        found.push(Fault::new("admin.schedules", "are too many", hint));
    }
    for (index, one) in all.iter().enumerate() {
        if let Err((key, why)) = Schedule::new(one) {
            let hint = "docs/schedules.md shows what can be scheduled, and when";
            found.push(Fault::new(format!("admin.schedules[{index}].{key}"), why, hint));
        }
        if all.iter().take(index).any(|other| other.name == one.name) {
            let hint = "each needs a name of its own, by which its runs are known";
            found.push(Fault::new(format!("admin.schedules[{index}].name"), "is there twice", hint));
        }
    }
    found.extend(admin.leader.name.as_ref().and_then(|name| topic_fault("admin.leader.name", name)));
    if admin.leader.session_timeout < SESSION_MIN || admin.leader.session_timeout > SESSION_MAX {
        let hint = format!("write {SESSION_MIN} to {SESSION_MAX}, and within what the brokers allow");
        found.push(Fault::new("admin.leader.session_timeout", "is out of range", hint));
    }
}

fn lifecycle(lifecycle: &crate::admin::lifecycle::Config, found: &mut Vec<Fault>) {
    let tables = [("holds_table", &lifecycle.holds_table), ("erasures_table", &lifecycle.erasures_table)];
    for (key, _) in tables.iter().filter(|(_, table)| table.is_empty()) {
        found.push(Fault::new(format!("lifecycle.{key}"), "is empty", "name the table"));
    }
    if lifecycle.erasures_refresh < REFRESH_MIN {
        let hint = format!("write {REFRESH_MIN} or more");
        found.push(Fault::new("lifecycle.erasures_refresh", "is too short", hint));
    }
    if lifecycle.holds_table == lifecycle.erasures_table {
        let hint = "their columns differ; name two tables";
        found.push(Fault::new("lifecycle.erasures_table", "is the table of holds", hint));
    }
}
