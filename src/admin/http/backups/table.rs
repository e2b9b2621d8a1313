//! The rows of backups in the table of routes.
//!
//! Refuses to know how, as `routes`.

use super::{Does as B, Found, Kept, List, Prune, Release, Replayed, Run};
use crate::admin::backup::{
    Create, Deleted, Entry, HoldRequest, Pruning, Ran, Restore, Restored, Verification, Verify,
};
use crate::admin::command::Permission as P;
use crate::admin::http::routes::{Changes, Does, LIMIT, Parameter, Route, job, look, shape};

const POLICY: Parameter = Parameter { name: "policy", about: "Only of this policy", kind: "string" };

pub const ROUTES: &[Route] = &[
    Route {
        about: "The backups that are there, newest first",
        query: &[POLICY, LIMIT],
        ..look("/v1/backups", "backup.list", P::BackupRead, Does::Backup(B::List), shape::<List>)
    },
    Route {
        about: "Everything that is known of one",
        ..look("/v1/backups/{id}", "backup.show", P::BackupRead, Does::Backup(B::Show), shape::<Entry>)
    },
    Route {
        about: "Makes a backup, incremental where there is one to add to",
        body: Some(shape::<Create>),
        ..job("/v1/backups", "backup.create", P::BackupCreate, Does::Backup(B::Create), shape::<Entry>)
    },
    Route {
        about: "Makes a backup by a policy, verifies it, and prunes if the policy says so",
        body: Some(shape::<Run>),
        ..job("/v1/backups/run", "backup.run", P::BackupDelete, Does::Backup(B::Run), shape::<Ran>)
    },
    Route {
        about: "Looks whether one can be trusted, and remembers it",
        body: Some(shape::<Verify>),
        ..job(
            "/v1/backups/{id}/verify",
            "backup.verify",
            P::BackupCreate,
            Does::Backup(B::Verify),
            shape::<Verification>,
        )
    },
    Route {
        about: "Brings one back; nothing is restored over rows",
        body: Some(shape::<Restore>),
        ..job(
            "/v1/backups/{id}/restore",
            "backup.restore",
            P::BackupRestore,
            Does::Backup(B::Restore),
            shape::<Restored>,
        )
    },
    Route {
        about: "Reads again what came after one that is restored already, and puts in what is missing",
        body: Some(shape::<Restore>),
        ..job(
            "/v1/backups/{id}/replay",
            "backup.replay",
            P::BackupRestore,
            Does::Backup(B::Replay),
            shape::<Replayed>,
        )
    },
    Route {
        about: "Keeps one from being deleted",
        body: Some(shape::<HoldRequest>),
        changes: Changes::AtOnce,
        ..job("/v1/backups/{id}/hold", "backup.hold", P::BackupCreate, Does::Backup(B::Hold), shape::<Kept>)
    },
    Route {
        about: "Lets one go that was kept",
        body: Some(shape::<Release>),
        changes: Changes::AtOnce,
        ..job(
            "/v1/backups/{id}/release",
            "backup.release",
            P::BackupDelete,
            Does::Backup(B::Release),
            shape::<Kept>,
        )
    },
    Route {
        about: "Deletes one that no other needs",
        ..job(
            "/v1/backups/{id}/delete",
            "backup.delete",
            P::BackupDelete,
            Does::Backup(B::Delete),
            shape::<Deleted>,
        )
    },
    Route {
        about: "What the rules of the policies would delete, and the hash that pruning wants",
        query: &[POLICY],
        ..look(
            "/v1/backups/prune",
            "backup.plan",
            P::BackupRead,
            Does::Backup(B::PrunePlan),
            shape::<Pruning>,
        )
    },
    Route {
        about: "Deletes what the rules of the policies no longer keep, if the plan is the one that is named",
        body: Some(shape::<Prune>),
        ..job("/v1/backups/prune", "backup.prune", P::BackupDelete, Does::Backup(B::Prune), shape::<Pruning>)
    },
    Route {
        about: "Adds to the catalogue what stands at the destination and is not in it",
        ..job("/v1/backups/scan", "backup.scan", P::BackupCreate, Does::Backup(B::Scan), shape::<Found>)
    },
];
