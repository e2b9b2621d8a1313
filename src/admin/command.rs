//! The one path of everything that changes something: authorise, audit the intent, run, audit the result.
//!
//! Refuses to know what a command does. One whose intent cannot be written down is not run (I9); one whose result
//! cannot be written down was run, and says so.

use std::fmt;

use serde::Serialize;

use super::audit::{self, Entry, Phase, Trail};

/// What a command needs the right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Look at one's own rights and at the description of the interface, and have a token renewed.
    SelfRead,
    /// See how migrations stand and what is planned.
    MigrateRead,
    /// Compare files and live tables, which takes the lock and a scratch database.
    MigrateCheck,
    /// Run migrations forwards, and make penstock's own tables.
    MigrateUp,
    /// Take migrations back.
    MigrateDown,
    /// Write to the journal what was not run: mark, baseline, repair.
    MigrateJournal,
    /// See jobs and what came of them.
    JobRead,
    /// End jobs before they are done.
    JobCancel,
    /// Read and verify the audit trail.
    AuditRead,
    /// Make tokens for others, with any role.
    TokenIssue,
    /// See how large tables are, what is planned for their age, and what is held.
    TableRead,
    /// Merge and write parts again, and measure codecs in a scratch table.
    TableCare,
    /// Set rules of age on tables, and delete what is over.
    Lifecycle,
    /// Put legal holds and let them go.
    LegalHold,
    /// Delete the rows of a subject.
    Erase,
    /// See the records of erasures.
    ErasureRead,
    /// See which keys the ring has, without their bytes, and what needs them.
    KeyRead,
    /// Make, rotate and destroy keys of the ring, and write again what is encrypted with them.
    KeyChange,
    /// See schedules, and what came of their runs.
    ScheduleRead,
    /// Have a schedule run at another time; what it does wants its own rights.
    ScheduleRun,
    /// See how the servers and the admin process are.
    HealthRead,
    /// Take tokens back, and see which were.
    TokenRevoke,
    /// See which backups there are and what is in them.
    BackupRead,
    /// Make backups, verify and keep them.
    BackupCreate,
    /// Bring backups back, and read topics again for what came after them.
    BackupRestore,
    /// Delete backups, by the rules of a policy or not, and let those go that are kept.
    BackupDelete,
    /// See which dead letters there are, without anything of their records.
    DeadLetterRead,
    /// See keys, values and headers of dead letters.
    DeadLetterValue,
    /// Publish dead letters to their topics again.
    DeadLetterReplay,
    /// Delete dead letters.
    DeadLetterPurge,
    /// Act on the running line: pause a topic, close batches, reload, probe a server.
    LineControl,
}

impl Permission {
    /// Whether a token must say, beside its roles, that whoever bears it may see personal data.
    pub fn is_personal(self) -> bool {
        self == Permission::DeadLetterValue
    }

    pub const ALL: [Permission; 31] = [
        Permission::SelfRead,
        Permission::MigrateRead,
        Permission::MigrateCheck,
        Permission::MigrateUp,
        Permission::MigrateDown,
        Permission::MigrateJournal,
        Permission::JobRead,
        Permission::JobCancel,
        Permission::AuditRead,
        Permission::TokenIssue,
        Permission::TableRead,
        Permission::TableCare,
        Permission::Lifecycle,
        Permission::LegalHold,
        Permission::Erase,
        Permission::ErasureRead,
        Permission::KeyRead,
        Permission::KeyChange,
        Permission::ScheduleRead,
        Permission::ScheduleRun,
        Permission::HealthRead,
        Permission::TokenRevoke,
        Permission::BackupRead,
        Permission::BackupCreate,
        Permission::BackupRestore,
        Permission::BackupDelete,
        Permission::DeadLetterRead,
        Permission::DeadLetterValue,
        Permission::DeadLetterReplay,
        Permission::DeadLetterPurge,
        Permission::LineControl,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Permission::SelfRead => "self_read",
            Permission::MigrateRead => "migrate_read",
            Permission::MigrateCheck => "migrate_check",
            Permission::MigrateUp => "migrate_up",
            Permission::MigrateDown => "migrate_down",
            Permission::MigrateJournal => "migrate_journal",
            Permission::JobRead => "job_read",
            Permission::JobCancel => "job_cancel",
            Permission::AuditRead => "audit_read",
            Permission::TokenIssue => "token_issue",
            Permission::TableRead => "table_read",
            Permission::TableCare => "table_care",
            Permission::Lifecycle => "lifecycle",
            Permission::LegalHold => "legal_hold",
            Permission::Erase => "erase",
            Permission::ErasureRead => "erasure_read",
            Permission::KeyRead => "key_read",
            Permission::KeyChange => "key_change",
            Permission::ScheduleRead => "schedule_read",
            Permission::ScheduleRun => "schedule_run",
            Permission::HealthRead => "health_read",
            Permission::TokenRevoke => "token_revoke",
            Permission::BackupRead => "backup_read",
            Permission::BackupCreate => "backup_create",
            Permission::BackupRestore => "backup_restore",
            Permission::BackupDelete => "backup_delete",
            Permission::DeadLetterRead => "dead_letter_read",
            Permission::DeadLetterValue => "dead_letter_value",
            Permission::DeadLetterReplay => "dead_letter_replay",
            Permission::DeadLetterPurge => "dead_letter_purge",
            Permission::LineControl => "line_control",
        }
    }
}

/// Who asks for a command, and what for that person has the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub name: String,
    /// Where the request came from.
    pub origin: String,
    permissions: Permissions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Permissions {
    All,
    Only(Vec<Permission>),
}

impl Actor {
    /// Whoever runs the program on the command line: that person holds the configuration, and with it the password
    /// of ClickHouse, so there is nothing left to refuse.
    pub fn local(user: &str, machine: &str) -> Actor {
        let origin = format!("{machine}, process {}", std::process::id());
        Actor { name: user.to_owned(), origin, permissions: Permissions::All }
    }

    /// Somebody with these rights and no others.
    pub fn with(name: &str, origin: &str, permissions: Vec<Permission>) -> Actor {
        Actor {
            name: name.to_owned(),
            origin: origin.to_owned(),
            permissions: Permissions::Only(permissions),
        }
    }

    pub fn may(&self, permission: Permission) -> bool {
        match &self.permissions {
            Permissions::All => true,
            Permissions::Only(all) => all.contains(&permission),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.origin)
    }
}

/// Something that is asked for.
#[derive(Clone, Debug)]
pub struct Command {
    /// A stable name, such as `migrate.up`.
    pub action: &'static str,
    /// What it changes.
    pub resource: String,
    /// What was asked for, without secrets.
    pub details: serde_json::Value,
    pub needs: Permission,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{actor} may not {action}\nhint: it needs the permission {}", needs.name())]
    Forbidden { actor: String, action: &'static str, needs: Permission },
    #[error(
        "{action} was not run, because it could not be written to the audit trail\nhint: mend the trail first; commands that leave no trace are refused"
    )]
    Untraced {
        action: &'static str,
        #[source]
        source: audit::Error,
    },
    #[error(
        "{action} was run, and its result could not be written to the audit trail\nhint: look at what it did, then mend the trail"
    )]
    Unfinished {
        action: &'static str,
        #[source]
        source: audit::Error,
    },
}

/// Runs a command for somebody. A refusal is written down as well.
///
/// # Errors
/// What the command failed with, or why it was not run.
pub async fn run<T, E: From<Error> + fmt::Display>(
    trail: &Trail,
    actor: &Actor,
    command: Command,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let action = command.action;
    let entry = Entry::new(actor, &command);
    let untraced = |source| Error::Untraced { action, source };
    if !actor.may(command.needs) {
        trail.write(&entry.at(Phase::Refused, "")).await.map_err(untraced)?;
        return Err(Error::Forbidden { actor: actor.to_string(), action, needs: command.needs }.into());
    }
    trail.write(&entry.at(Phase::Intent, "")).await.map_err(untraced)?;
    let result = work.await;
    let ended = match &result {
        Ok(_) => entry.at(Phase::Done, ""),
        Err(error) => entry.at(Phase::Failed, &error.to_string()),
    };
    match (trail.write(&ended).await, result) {
        (Err(source), Ok(_)) => Err(Error::Unfinished { action, source }.into()),
        // What it failed with matters more than that this could not be written down.
        (_, result) => result,
    }
}

/// Does what changes nothing, for somebody who may. It is written down as well, but where that fails it is done all
/// the same: nobody is kept from looking at a trail because it is broken.
///
/// # Errors
/// What the work failed with, or that the actor has no right to it.
pub async fn look<T, E: From<Error>>(
    trail: &Trail,
    actor: &Actor,
    command: Command,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if !actor.may(command.needs) {
        refuse(trail, actor, &command, "").await;
        let Command { action, needs, .. } = command;
        return Err(Error::Forbidden { actor: actor.to_string(), action, needs }.into());
    }
    leave(trail, &Entry::new(actor, &command).at(Phase::Done, "")).await;
    work.await
}

/// Writes down that somebody was turned away. What is refused is refused, whether that can be written down or not.
pub async fn refuse(trail: &Trail, actor: &Actor, command: &Command, why: &str) {
    leave(trail, &Entry::new(actor, command).at(Phase::Refused, why)).await;
}

async fn leave(trail: &Trail, entry: &Entry) {
    if let Err(error) = trail.write(entry).await {
        tracing::error!(%error, action = entry.action, "the audit trail cannot be written");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::admin::audit::Place;
    use crate::admin::rows::Keeping;
    use crate::clickhouse::{self, Client};

    fn command() -> Command {
        let needs = Permission::MigrateUp;
        Command { action: "test.do", resource: "it".to_owned(), details: serde_json::Value::Null, needs }
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_not_run() {
        let retry =
            clickhouse::retry::Config { deadline: crate::units::Span::millis(50), ..Default::default() };
        let endpoints = vec!["http://127.0.0.1:1".to_owned()];
        let client = Client::new(&clickhouse::Config { endpoints, retry, ..Default::default() }).unwrap();
        let table = Place::Table { client, table: "t".to_owned(), keeping: Keeping::alone("Memory") };
        let (runs, actor) = (AtomicU32::new(0), Actor::local("a", "b"));
        let work = || async {
            runs.fetch_add(1, Ordering::Relaxed);
            Ok::<(), Error>(())
        };
        let refused = run(&Trail::new(vec![Place::Log, table]), &actor, command(), work()).await.unwrap_err();
        assert!(matches!(refused, Error::Untraced { .. }), "{refused}");
        let stranger = Actor::with("c", "d", vec![Permission::MigrateDown]);
        let refused = run(&Trail::new(vec![Place::Log]), &stranger, command(), work()).await.unwrap_err();
        assert!(matches!(refused, Error::Forbidden { .. }), "{refused}");
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        run(&Trail::new(vec![Place::Log]), &actor, command(), work()).await.unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }
}
