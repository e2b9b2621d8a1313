//! The commands that can be scheduled: one row each, in the words of the command line.
//!
//! Refuses to know when. A row says what a command takes, whose rights it needs, and the function that does it; that
//! something is found wrong is a failure, since nobody reads the results of what goes well every night.

use std::pin::Pin;

use serde_json::{Value, json};

use super::works::{Call, Failed};
use crate::admin::backup::{self, Create};
use crate::admin::care::{Care, Optimize, Targets};
use crate::admin::command::Permission as P;

type Doing = Pin<Box<dyn Future<Output = Result<Value, Failed>> + Send>>;

/// What may stand behind the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    /// Names of tables; all without any.
    Tables,
    /// One name, of what this says.
    One(&'static str),
}

/// One row.
pub struct Command {
    pub words: &'static str,
    pub takes: Takes,
    /// What the schedule may do, and whoever has it run at another time.
    pub needs: &'static [P],
    pub about: &'static str,
    /// Whether a trial run can say more than what would be run.
    pub can_be_tried: bool,
    pub does: fn(Call) -> Doing,
}

/// Everything that can be scheduled.
pub const COMMANDS: &[Command] = &[
    Command {
        words: "lifecycle apply",
        takes: Takes::Tables,
        needs: &[P::Lifecycle],
        about: "Plans the rules of age, and carries the plan out",
        can_be_tried: true,
        does: |call| Box::pin(lifecycle(call)),
    },
    Command {
        words: "table optimize",
        takes: Takes::Tables,
        needs: &[P::TableCare],
        about: "Merges each partition into one part; all tables without names",
        can_be_tried: true,
        does: |call| Box::pin(optimize(call)),
    },
    Command {
        words: "backup run",
        takes: Takes::One("the name of a policy"),
        needs: &[P::BackupCreate, P::BackupDelete],
        about: "Makes a backup by a policy, verifies it, and prunes if the policy says so; fails on a finding",
        can_be_tried: true,
        does: |call| Box::pin(run_policy(call)),
    },
    Command {
        words: "backup verify",
        takes: Takes::One("the name of a policy"),
        needs: &[P::BackupCreate],
        about: "Verifies the latest backup of a policy, as the policy says; fails on a finding",
        can_be_tried: true,
        does: |call| Box::pin(verify_backup(call)),
    },
    Command {
        words: "backup prune",
        takes: Takes::One("the name of a policy"),
        needs: &[P::BackupDelete],
        about: "Deletes what the rules of a policy no longer keep; fails if its latest backup is not verified",
        can_be_tried: true,
        does: |call| Box::pin(prune_backups(call)),
    },
    Command {
        words: "migrate verify",
        takes: Takes::Nothing,
        needs: &[P::MigrateCheck],
        about: "Compares the files with what was run; fails on a difference",
        can_be_tried: false,
        does: |call| Box::pin(verify_migrations(call)),
    },
    Command {
        words: "migrate drift",
        takes: Takes::Nothing,
        needs: &[P::MigrateCheck],
        about: "Compares the live tables with what the migrations make; fails on a difference",
        can_be_tried: false,
        does: |call| Box::pin(drift(call)),
    },
    Command {
        words: "audit verify",
        takes: Takes::Nothing,
        needs: &[P::AuditRead],
        about: "Reads the whole audit trail; fails at the first line that is wrong",
        can_be_tried: false,
        does: |call| Box::pin(verify_trail(call)),
    },
];

/// The row of this text, and what stands behind its words.
///
/// # Errors
/// A text that is no command, or one with too much or too little behind it.
pub fn find(text: &str) -> Result<(&'static Command, Vec<String>), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_meant = |command: &&Command| {
        let own: Vec<&str> = command.words.split(' ').collect();
        words.starts_with(&own)
    };
    let known = || COMMANDS.iter().map(|command| command.words).collect::<Vec<_>>().join(", ");
    let command = COMMANDS.iter().find(is_meant).ok_or_else(|| format!("there are {}", known()))?;
    let behind: Vec<String> =
        words.iter().skip(command.words.split(' ').count()).map(|word| (*word).to_owned()).collect();
    match (command.takes, behind.len()) {
        (Takes::Nothing, 0) | (Takes::Tables, _) | (Takes::One(_), 1) => Ok((command, behind)),
        (Takes::Nothing, _) => Err(format!("`{}` takes nothing behind it", command.words)),
        (Takes::One(what), _) => Err(format!("`{}` wants {what} behind it", command.words)),
    }
}

/// Its words, and the policy behind them; both are empty of a text that is no command.
pub fn told(text: &str) -> (&'static str, String) {
    let Ok((command, mut behind)) = find(text) else { return Default::default() };
    let policy = if matches!(command.takes, Takes::One(_)) { behind.pop() } else { None };
    (command.words, policy.unwrap_or_default())
}

async fn lifecycle(call: Call) -> Result<Value, Failed> {
    let lifecycles = call.lifecycles()?;
    let plan = lifecycles.plan(&call.arguments).await?;
    if call.is_dry_run {
        return Ok(serde_json::to_value(plan)?);
    }
    Ok(json!({ "tables": lifecycles.apply(&call.arguments, &plan.hash).await? }))
}

async fn optimize(call: Call) -> Result<Value, Failed> {
    let targets = match call.arguments.as_slice() {
        [] => Targets::AllBut(Vec::new()),
        names => Targets::Named(names.to_vec()),
    };
    let options = Optimize {
        database: None,
        targets,
        to_one_part: true,
        partition: None,
        deduplicate: false,
        deduplicate_by: Vec::new(),
        dry_run: call.is_dry_run,
        skip_disk_check: false,
        timeout: call.works.lifecycle.timeout.0,
    };
    let done = Care::new(call.desk()?).optimize(&options).await?;
    let failed: Vec<String> = done
        .tables
        .iter()
        .filter_map(|one| one.error.as_ref().map(|error| format!("{}: {error}", one.table)))
        .collect();
    if failed.is_empty() { Ok(serde_json::to_value(done)?) } else { Err(Failed(failed.join("\n"))) }
}

async fn run_policy(call: Call) -> Result<Value, Failed> {
    let backups = call.backups()?;
    let policy = call.arguments.first().cloned().unwrap_or_default();
    if call.is_dry_run {
        let create = Create { policy: Some(policy), ..Create::default() };
        return Ok(serde_json::to_value(backups.plan(&create).await?)?);
    }
    let ran: backup::Ran = backups.run_policy(&policy).await?;
    match ran.is_sound() {
        true => Ok(serde_json::to_value(ran)?),
        false => nothing_found(ran.verification.findings),
    }
}

async fn verify_backup(call: Call) -> Result<Value, Failed> {
    let backups = call.backups()?;
    let policy = call.arguments.first().cloned().unwrap_or_default();
    if call.is_dry_run {
        return Ok(serde_json::to_value(backups.latest(&policy).await?)?);
    }
    let verification = backups.verify_policy(&policy).await?;
    match verification.findings.is_empty() {
        true => Ok(serde_json::to_value(verification)?),
        false => nothing_found(verification.findings),
    }
}

async fn prune_backups(call: Call) -> Result<Value, Failed> {
    let backups = call.backups()?;
    let policy = call.arguments.first().map(String::as_str);
    if call.is_dry_run {
        return Ok(serde_json::to_value(backups.plan_prune(policy).await?)?);
    }
    Ok(serde_json::to_value(backups.prune_now(policy).await?)?)
}

async fn verify_migrations(call: Call) -> Result<Value, Failed> {
    let findings = call.migrator().verify().await?;
    let told = findings.iter().map(|one| format!("{} {} {}", one.file, one.host, one.message));
    nothing_found(told.collect())
}

async fn drift(call: Call) -> Result<Value, Failed> {
    let drift = call.migrator().drift().await?;
    let told = drift.findings.iter().map(|one| serde_json::to_string(one).unwrap_or_default());
    nothing_found(told.collect())
}

async fn verify_trail(call: Call) -> Result<Value, Failed> {
    let missing = "there is no trail as a file\nhint: set admin.audit.file and admin.audit.key_file";
    let chain = call.works.chain.clone().ok_or_else(|| Failed(missing.to_owned()))?;
    let verdict = tokio::task::spawn_blocking(move || chain.verify()).await??;
    match &verdict.broken {
        None => Ok(serde_json::to_value(&verdict)?),
        Some(broken) => {
            let (file, line, message) = (broken.file.display(), broken.line, &broken.message);
            Err(Failed(format!("{file}, line {line}: {message}")))
        }
    }
}

/// Of many findings the first are told.
fn nothing_found(findings: Vec<String>) -> Result<Value, Failed> {
    const TOLD_MAX: usize = 20;
    match findings.len() {
        0 => Ok(json!({ "findings": [] })),
        count => {
            let told: Vec<String> = findings.into_iter().take(TOLD_MAX).collect();
            Err(Failed(format!("{count} differences\n{}", told.join("\n"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_by_their_words() {
        let found = |text: &str| find(text).map(|(command, behind)| (command.words, behind));
        assert_eq!(found("lifecycle apply"), Ok(("lifecycle apply", Vec::new())));
        let two = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(found("  table   optimize a b "), Ok(("table optimize", two)));
        for text in ["", "lifecycle", "lifecycle applyx", "audit verify x", "drop everything"] {
            assert!(found(text).is_err(), "{text}");
        }
        for command in COMMANDS {
            assert!(!command.needs.is_empty() && !command.about.is_empty(), "{}", command.words);
        }
    }
}
