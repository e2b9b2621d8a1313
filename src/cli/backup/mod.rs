//! `penstock backup`: what can be typed, and how the answers look.
//!
//! Refuses to decide anything: what is pruned is a plan that was seen, by its hash.

mod text;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use self::text::{
    entry_line, entry_text, is_whole, pruning_text, replayed_text, restored_text, verification_text,
};
use super::work::Call;
use super::{Exit, Failure};
use crate::app::backup::{Create, HoldRequest, Level, Restore, Session, Verify, Wanted};

const EXAMPLES: &str = "\
Examples:
  penstock backup create flights --dry-run
  penstock backup create --policy daily
  penstock backup create flights --partition 202601 --full
  penstock backup run daily
  penstock backup list --policy daily
  penstock backup show daily-20261127T150501Z-0a1b2c3d
  penstock backup verify daily-20261127T150501Z-0a1b2c3d --level sample --percent 20
  penstock backup restore daily-20261127T150501Z-0a1b2c3d --dry-run
  penstock backup restore daily-20261127T150501Z-0a1b2c3d --table flights --as flights_then
  penstock backup restore daily-20261127T150501Z-0a1b2c3d --table flights --then-replay
  penstock backup restore daily-20261127T150501Z-0a1b2c3d --table flights --as flights_noon --then-replay --until 2026-11-27T16:00:00Z
  penstock backup replay daily-20261127T150501Z-0a1b2c3d --table flights --dry-run
  penstock backup hold daily-20261127T150501Z-0a1b2c3d --reason \"case 17\" --until 2027-01-01
  penstock backup release daily-20261127T150501Z-0a1b2c3d --reason \"case settled\"
  penstock backup delete daily-20261127T150501Z-0a1b2c3d --dry-run
  penstock backup prune
  penstock backup prune --plan 3f1c0a9b52d47e86
  penstock backup scan

Exit codes of their own: prune without --plan ends with 6 while there is something to delete; verify, run, restore and
replay with 3 when something is damaged, differs, or can no longer be read. They work on the first endpoint of
clickhouse.endpoints, or on the one that --endpoint names.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    /// Endpoint to work on, as host:port; the first without it
    #[arg(long, global = true, value_name = "HOST")]
    endpoint: Option<String>,
    #[command(subcommand)]
    pub command: BackupCommand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelArg {
    /// Every file of the chain is there, with its size
    Files,
    /// Checksums of a sample of the files as well
    Sample,
    /// Restored into a scratch database and compared
    Restore,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Level {
        match level {
            LevelArg::Files => Level::Files,
            LevelArg::Sample => Level::Sample,
            LevelArg::Restore => Level::Restore,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// Names of tables; all of the database without any
    #[arg(value_name = "TABLE", conflicts_with = "policy")]
    tables: Vec<String>,
    /// Policy of admin.backup.policies that says what
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Database of the tables; that of the configuration without it
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    database: Option<String>,
    /// Id of a partition; may be repeated; all without it
    #[arg(long, value_name = "ID")]
    partition: Vec<String>,
    /// A full one, whatever there is
    #[arg(long, conflicts_with = "incremental")]
    full: bool,
    /// An incremental one, or none
    #[arg(long)]
    incremental: bool,
    /// Does not ask how far the topics are; nothing can be read again after a restore
    #[arg(long)]
    without_offsets: bool,
    /// Says what would be made and makes nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "ID")]
    id: String,
    /// Name of a table in it; may be repeated; all without it
    #[arg(long, value_name = "NAME")]
    table: Vec<String>,
    /// Id of a partition; may be repeated; all without it
    #[arg(long, value_name = "ID")]
    partition: Vec<String>,
    /// Another database than they were in
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Another name, of a single table
    #[arg(long = "as", value_name = "NAME")]
    rename: Option<String>,
    /// Reads again only what was published before: a day in UTC, or a time with its zone
    #[arg(long, value_name = "TIME", value_parser = crate::app::lifecycle::moment)]
    until: Option<DateTime<Utc>>,
    /// Says what would be done and does nothing
    #[arg(long)]
    dry_run: bool,
}

impl RestoreArgs {
    fn restore(&self, then_replay: bool) -> Restore {
        Restore {
            tables: self.table.clone(),
            partitions: self.partition.clone(),
            database: self.database.clone(),
            rename: self.rename.clone(),
            then_replay,
            until: self.until,
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum BackupCommand {
    /// Makes a backup, incremental where there is one to add to
    Create(CreateArgs),
    /// Makes a backup by a policy, verifies it, and prunes if the policy says so
    Run {
        /// Name of the policy
        #[arg(value_name = "POLICY")]
        policy: String,
    },
    /// Lists the backups, newest first
    List {
        /// Only those of this policy
        #[arg(long, value_name = "NAME")]
        policy: Option<String>,
        /// Also those that are deleted or failed
        #[arg(long)]
        all: bool,
    },
    /// Shows everything that is known of one
    Show {
        /// The backup
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Looks whether one can be trusted, and remembers it; exit code 3 when it is damaged
    Verify {
        /// The backup
        #[arg(value_name = "ID")]
        id: String,
        /// How thoroughly
        #[arg(long, value_enum, default_value_t = LevelArg::Restore, value_name = "LEVEL")]
        level: LevelArg,
        /// Percent of the files whose checksums are made again
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "NUMBER")]
        percent: u8,
    },
    /// Brings one back; nothing is restored over rows
    Restore {
        #[command(flatten)]
        args: RestoreArgs,
        /// Reads again what the group has taken in since, and puts in what is missing; the line must not
        /// run, unless the table gets another name
        #[arg(long)]
        then_replay: bool,
    },
    /// Reads again what came after one that is restored already, and puts in what is missing
    Replay(RestoreArgs),
    /// Keeps one from being deleted
    Hold {
        /// The backup
        #[arg(value_name = "ID")]
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// When it ends by itself: a day in UTC, or a time with its zone
        #[arg(long, value_name = "TIME", value_parser = crate::app::lifecycle::moment)]
        until: Option<DateTime<Utc>>,
    },
    /// Lets it go
    Release {
        /// The backup
        #[arg(value_name = "ID")]
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Deletes one that no other needs
    Delete {
        /// The backup
        #[arg(value_name = "ID")]
        id: String,
        /// Says whether it could be deleted and does nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Tells what the rules of the policies would delete, and with --plan deletes it; exit code 6 when there is something
    Prune {
        /// Only of this policy
        #[arg(long, value_name = "NAME")]
        policy: Option<String>,
        /// The plan that is meant, as it was printed without
        #[arg(long, value_name = "HASH")]
        plan: Option<String>,
    },
    /// Adds to the catalogue what stands at the destination and is not in it
    Scan,
}

impl Call<'_> {
    pub fn backup(mut self, args: &BackupArgs) -> Result<Exit, Failure> {
        let session = Session::open(&self.inputs, &self.loaded, args.endpoint.clone())?;
        match &args.command {
            BackupCommand::Create(args) => self.create_backup(&session, args),
            BackupCommand::Run { policy } => {
                let ran = session.run_policy(policy)?;
                let mut text = entry_line(&ran.backup) + &verification_text(&ran.verification);
                if let Some(pruning) = &ran.pruning {
                    text += &pruning_text(pruning);
                }
                self.tell(&text, &json!(ran))?;
                Ok(if ran.is_sound() { Exit::Done } else { Exit::Differences })
            }
            BackupCommand::List { policy, all } => {
                let mut entries = session.list(policy.as_deref())?;
                entries.retain(|entry| *all || entry.is_there());
                let text: String = entries.iter().map(entry_line).collect();
                let none = "there are no backups\n";
                self.tell(if entries.is_empty() { none } else { &text }, &json!({ "backups": entries }))?;
                Ok(Exit::Done)
            }
            BackupCommand::Show { id } => {
                let entry = session.show(id)?;
                self.tell(&entry_text(&entry), &json!(entry))?;
                Ok(Exit::Done)
            }
            BackupCommand::Verify { id, level, percent } => {
                let verify = Verify { level: (*level).into(), percent: *percent };
                let verification = session.verify(id, verify)?;
                self.tell(&verification_text(&verification), &json!(verification))?;
                Ok(if verification.findings.is_empty() { Exit::Done } else { Exit::Differences })
            }
            BackupCommand::Restore { args, then_replay } => self.restore_backup(&session, args, *then_replay),
            BackupCommand::Replay(args) => {
                let replayed = session.replay(&args.id, &args.restore(true), args.dry_run)?;
                self.tell(&replayed_text(&replayed, args.dry_run), &json!({ "replayed": replayed }))?;
                Ok(if is_whole(&replayed) { Exit::Done } else { Exit::Differences })
            }
            command => self.keep_or_delete(&session, command),
        }
    }

    fn keep_or_delete(&mut self, session: &Session, command: &BackupCommand) -> Result<Exit, Failure> {
        match command {
            BackupCommand::Hold { id, reason, until } => {
                session.hold(id, &HoldRequest { reason: reason.clone(), until: *until })?;
                self.tell(&format!("{id} is kept\n"), &json!({ "held": id }))?;
            }
            BackupCommand::Release { id, reason } => {
                session.release(id, reason)?;
                self.tell(&format!("{id} is let go\n"), &json!({ "released": id }))?;
            }
            BackupCommand::Delete { id, dry_run } => {
                let deleted = session.delete(id, *dry_run)?;
                let what = if *dry_run { "can be deleted" } else { "is deleted" };
                let left = if deleted.files_left { "; its files are left, remove them by hand" } else { "" };
                self.tell(&format!("{id} {what}{left}\n"), &json!(deleted))?;
            }
            BackupCommand::Prune { policy, plan: Some(plan) } => {
                let pruning = session.prune(policy.as_deref(), plan)?;
                self.tell(&pruning_text(&pruning), &json!(pruning))?;
            }
            BackupCommand::Prune { policy, plan: None } => {
                let pruning = session.plan_prune(policy.as_deref())?;
                self.tell(&pruning_text(&pruning), &json!(pruning))?;
                return Ok(if pruning.is_empty() { Exit::Done } else { Exit::Pending });
            }
            _ => {
                let found = session.scan()?;
                let text: String = found.iter().map(|id| format!("{id}\n")).collect();
                let none = "every backup is in the catalogue\n";
                self.tell(if found.is_empty() { none } else { &text }, &json!({ "found": found }))?;
            }
        }
        Ok(Exit::Done)
    }

    fn create_backup(&mut self, session: &Session, args: &CreateArgs) -> Result<Exit, Failure> {
        let kind = match (args.full, args.incremental) {
            (true, _) => Wanted::Full,
            (_, true) => Wanted::Incremental,
            _ => Wanted::Auto,
        };
        let create = Create {
            policy: args.policy.clone(),
            database: args.database.clone(),
            tables: args.tables.clone(),
            partitions: args.partition.clone(),
            kind,
            without_offsets: args.without_offsets,
        };
        if args.dry_run {
            let planned = session.plan(&create)?;
            let kind = if planned.base.is_some() { "an incremental" } else { "a full" };
            let (tables, reason) = (planned.tables.join(", "), &planned.reason);
            let text = format!("{kind} backup would be made of {tables} in {}: {reason}\n", planned.database);
            self.tell(&text, &json!(planned))?;
            return Ok(Exit::Done);
        }
        let entry = session.create(&create)?;
        self.tell(&entry_line(&entry), &json!(entry))?;
        Ok(Exit::Done)
    }

    fn restore_backup(
        &mut self,
        session: &Session,
        args: &RestoreArgs,
        then_replay: bool,
    ) -> Result<Exit, Failure> {
        let restore = args.restore(then_replay);
        let restored = match args.dry_run {
            true => session.plan_restore(&args.id, &restore)?,
            false => session.restore(&args.id, &restore)?,
        };
        self.tell(&restored_text(&restored, args.dry_run), &json!(restored))?;
        let is_sound = restored.findings.is_empty() && is_whole(&restored.replayed);
        Ok(if is_sound { Exit::Done } else { Exit::Differences })
    }
}
