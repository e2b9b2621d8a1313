//! The rows of backups in the table of routes.
//!
//! Refuses to know how, as `routes`.

use super::{Changes, Kind, LIMIT, Parameter, Route, job, look, shape};
use crate::admin::backup::{
    Create, Deleted, Entry, HoldRequest, Pruning, Ran, Restore, Restored, Verification, Verify,
};
use crate::admin::command::Permission as P;
use crate::admin::http::backups::{self, Found, Kept, List, Prune, Release, Replayed, Run};

const POLICY: Parameter = Parameter { name: "policy", about: "Only of this policy", kind: Kind::Text };

pub const ROUTES: &[Route] = &[
    Route {
        about: "The backups that are there, newest first",
        query: &[POLICY, LIMIT],
        gives: shape::<List>,
        ..look("/v1/backups", "backup.list", P::BackupRead, |s, a| Box::pin(backups::list(s, a)))
    },
    Route {
        about: "Everything that is known of one",
        gives: shape::<Entry>,
        ..look("/v1/backups/{id}", "backup.show", P::BackupRead, |s, a| Box::pin(backups::show(s, a)))
    },
    Route {
        about: "Makes a backup, incremental where there is one to add to",
        body: Some(shape::<Create>),
        gives: shape::<Entry>,
        ..job("/v1/backups", "backup.create", P::BackupCreate, |s, a| Box::pin(backups::create(s, a)))
    },
    Route {
        about: "Makes a backup by a policy, verifies it, and prunes if the policy says so",
        body: Some(shape::<Run>),
        gives: shape::<Ran>,
        ..job("/v1/backups/run", "backup.run", P::BackupDelete, |s, a| Box::pin(backups::run_policy(s, a)))
    },
    Route {
        about: "Looks whether one can be trusted, and remembers it",
        body: Some(shape::<Verify>),
        gives: shape::<Verification>,
        ..job("/v1/backups/{id}/verify", "backup.verify", P::BackupCreate, |s, a| {
            Box::pin(backups::verify(s, a))
        })
    },
    Route {
        about: "Brings one back; nothing is restored over rows",
        body: Some(shape::<Restore>),
        gives: shape::<Restored>,
        ..job("/v1/backups/{id}/restore", "backup.restore", P::BackupRestore, |s, a| {
            Box::pin(backups::restore(s, a))
        })
    },
    Route {
        about: "Reads again what came after one that is restored already, and puts in what is missing",
        body: Some(shape::<Restore>),
        gives: shape::<Replayed>,
        ..job("/v1/backups/{id}/replay", "backup.replay", P::BackupRestore, |s, a| {
            Box::pin(backups::replay(s, a))
        })
    },
    Route {
        about: "Keeps one from being deleted",
        body: Some(shape::<HoldRequest>),
        changes: Changes::AtOnce,
        gives: shape::<Kept>,
        ..job("/v1/backups/{id}/hold", "backup.hold", P::BackupCreate, |s, a| Box::pin(backups::hold(s, a)))
    },
    Route {
        about: "Lets one go that was kept",
        body: Some(shape::<Release>),
        changes: Changes::AtOnce,
        gives: shape::<Kept>,
        ..job("/v1/backups/{id}/release", "backup.release", P::BackupDelete, |s, a| {
            Box::pin(backups::release(s, a))
        })
    },
    Route {
        about: "Deletes one that no other needs",
        gives: shape::<Deleted>,
        ..job("/v1/backups/{id}/delete", "backup.delete", P::BackupDelete, |s, a| {
            Box::pin(backups::delete(s, a))
        })
    },
    Route {
        about: "What the rules of the policies would delete, and the hash that pruning wants",
        query: &[POLICY],
        gives: shape::<Pruning>,
        ..look("/v1/backups/prune", "backup.plan", P::BackupRead, |s, a| Box::pin(backups::prune_plan(s, a)))
    },
    Route {
        about: "Deletes what the rules of the policies no longer keep, if the plan is the one that is named",
        body: Some(shape::<Prune>),
        gives: shape::<Pruning>,
        ..job("/v1/backups/prune", "backup.prune", P::BackupDelete, |s, a| Box::pin(backups::prune(s, a)))
    },
    Route {
        about: "Adds to the catalogue what stands at the destination and is not in it",
        gives: shape::<Found>,
        ..job("/v1/backups/scan", "backup.scan", P::BackupCreate, |s, a| Box::pin(backups::scan(s, a)))
    },
];
