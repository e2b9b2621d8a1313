//! The six roles, and what each may: the only place that says so.
//!
//! Refuses to give rights by anything but a role. The table is kept as text in docs/access.md, and a test compares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::command::Permission;

/// What somebody is to the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, and asks the tables.
    Analyst,
    /// Keeps it running.
    Operator,
    /// Changes tables.
    DataAdmin,
    /// Says who may.
    SecurityAdmin,
    /// Checks what was done.
    Auditor,
}

impl Role {
    pub const ALL: [Role; 6] =
        [Role::Viewer, Role::Analyst, Role::Operator, Role::DataAdmin, Role::SecurityAdmin, Role::Auditor];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Analyst => "analyst",
            Role::Operator => "operator",
            Role::DataAdmin => "data_admin",
            Role::SecurityAdmin => "security_admin",
            Role::Auditor => "auditor",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == text)
    }

    pub fn may(self, permission: Permission) -> bool {
        use Permission as P;
        use Role::{Analyst, Auditor, DataAdmin, Operator, SecurityAdmin, Viewer};
        let roles: &[Role] = match permission {
            P::SelfRead | P::HealthRead | P::JobRead | P::TableRead => &Role::ALL,
            P::MigrateRead | P::BackupRead | P::ScheduleRead | P::DeadLetterRead => {
                &[Viewer, Analyst, Operator, DataAdmin, Auditor]
            }
            P::MigrateCheck => &[Operator, DataAdmin, Auditor],
            P::JobCancel
            | P::TableCare
            | P::BackupCreate
            | P::ScheduleRun
            | P::DeadLetterValue
            | P::DeadLetterReplay
            | P::LineControl => &[Operator, DataAdmin],
            P::MigrateUp
            | P::MigrateDown
            | P::MigrateJournal
            | P::Lifecycle
            | P::Erase
            | P::BackupRestore
            | P::BackupDelete
            | P::DeadLetterPurge => &[DataAdmin],
            P::ErasureRead => &[DataAdmin, Auditor],
            P::TokenIssue | P::TokenRevoke | P::LegalHold | P::KeyChange => &[SecurityAdmin],
            P::KeyRead => &[SecurityAdmin, Auditor],
            P::AuditRead => &[Auditor],
        };
        roles.contains(&self)
    }

    pub fn permissions(self) -> Vec<Permission> {
        Permission::ALL.into_iter().filter(|permission| self.may(*permission)).collect()
    }
}

/// A Markdown table of rows by role: what each row is called, and the permission that it needs.
pub fn matrix(head: &str, rows: impl IntoIterator<Item = (String, Permission)>) -> String {
    let roles: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
    let mut text = format!("| {head} | {} |\n|---|{}\n", roles.join(" | "), "---|".repeat(roles.len()));
    for (name, needs) in rows {
        let mark = |role: &Role| if role.may(needs) { "yes" } else { "" };
        let marks: Vec<&str> = Role::ALL.iter().map(mark).collect();
        text.push_str(&format!("| {name} | {} |\n", marks.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_wire_and_every_permission_is_somebodys() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
            assert_eq!(Role::parse(role.name()), Some(role));
            assert!(role.may(Permission::SelfRead), "{role:?}");
        }
        for permission in Permission::ALL {
            assert_eq!(serde_json::to_value(permission).unwrap(), permission.name());
            assert!(Role::ALL.iter().any(|role| role.may(permission)), "{permission:?}");
        }
        assert_eq!(Role::parse("root"), None);
    }

    #[test]
    fn who_says_who_may_changes_no_tables_and_who_changes_tables_does_not_say_it() {
        for role in Role::ALL {
            let may = |permission| role.may(permission);
            assert!(!(may(Permission::TokenIssue) && may(Permission::MigrateUp)), "{role:?}");
            assert!(!(may(Permission::AuditRead) && may(Permission::MigrateUp)), "{role:?}");
        }
    }
}
