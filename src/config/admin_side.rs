//! Rules between settings of the admin side: migrations, the admin process, lifecycle, backups.
//!
//! Refuses to look at anything but the settings: whether servers agree is found out when they are asked.

use super::validate::{is_host_port, pair_of_files};
use super::{Config, Fault};
use crate::units::Span;

/// Below it a slow answer alone would lose the lock of migrations.
const LEASE_MIN: Span = Span::millis(200);
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
    pair_of_files("admin.tls", &admin.tls.cert_file, &admin.tls.key_file, found);
}

fn lifecycle(lifecycle: &crate::admin::lifecycle::Config, found: &mut Vec<Fault>) {
    let tables = [("holds_table", &lifecycle.holds_table), ("erasures_table", &lifecycle.erasures_table)];
    for (key, _) in tables.iter().filter(|(_, table)| table.is_empty()) {
        found.push(Fault::new(format!("lifecycle.{key}"), "is empty", "name the table"));
    }
    if lifecycle.holds_table == lifecycle.erasures_table {
        let hint = "their columns differ; name two tables";
        found.push(Fault::new("lifecycle.erasures_table", "is the table of holds", hint));
    }
}
