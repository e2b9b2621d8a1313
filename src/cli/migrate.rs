//! `penstock migrate`: what can be typed, and how the answers look.
//!
//! Refuses to decide anything: dangers are allowed by name, and the plan is shown by another command.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::work::Call;
use super::{Exit, Failure};
use crate::app;
use crate::app::migrate::{
    Drift, Event, Lease, Level, Mark, Options, Planned, PlannedStatement, Report, Session, Standing, Status,
    dangers,
};
use crate::units::{ByteSize, Span};

const EXAMPLES: &str = "\
Examples:
  penstock migrate new add_country
  penstock migrate plan
  penstock migrate up --plan 3f1c0a9b52d47e86
  penstock migrate up --to 20261123T1015 --allow drop --wait 60s
  penstock migrate down --to 4 --allow drop
  penstock migrate baseline --to 12
  penstock migrate mark V7 --statement 2 --as done --note \"looked at system.parts\"
  penstock migrate drift --output json
  penstock migrate repair --accept

Exit codes of their own: status and plan end with 6 while migrations are pending; status, verify and drift with 3 when
something differs; everything that needs the lock with 7 while another process holds it.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MigrateArgs {
    #[command(subcommand)]
    pub command: MigrateCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum MigrateCommand {
    /// Writes an empty migration file with the time as its version
    New {
        /// What it does, in a word or two
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Tells how every migration stands; exit code 6 when some are pending, 3 when files were changed
    Status,
    /// Tells what would be run, where, and how dear it is; exit code 6 when there is something
    Plan {
        /// Only up to this version
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
    },
    /// Runs what is not run yet
    Up(RunArgs),
    /// Takes versions back, newest first
    Down {
        /// The version to stay at; 0 takes back all
        #[arg(long, value_name = "VERSION")]
        to: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Writes down that everything up to a version is there already, without running it
    Baseline {
        /// The last version that is there
        #[arg(long, value_name = "VERSION")]
        to: String,
    },
    /// Writes down what became of a migration or a statement, after somebody has looked
    Mark(MarkArgs),
    /// Compares the files with what was run, and asks every `verify`; exit code 3 when something differs
    Verify,
    /// Compares the live tables with what the migrations make; exit code 3 when they differ
    Drift,
    /// Tells what is unwise in the files; exit code 3 for faults
    Lint,
    /// Takes files that were changed after they were run as what was run
    Repair {
        /// Says that the changes are no changes of the schema
        #[arg(long, required = true)]
        accept: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Only up to this version
    #[arg(long, value_name = "VERSION", conflicts_with = "only")]
    to: Option<String>,
    /// This migration alone
    #[arg(long, value_name = "MIGRATION")]
    only: Option<String>,
    /// Only if the plan is this one, as `plan` prints it
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    /// Does not try everything in a scratch database first
    #[arg(long)]
    no_shadow: bool,
    /// Does not look whether rewritten parts find room
    #[arg(long)]
    skip_disk_check: bool,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Allows a danger: drop, delete, blocking, out_of_order; may be repeated
    #[arg(long, value_name = "DANGER")]
    allow: Vec<String>,
    /// How long to wait for another process that migrates; migrations.lock_wait without it
    #[arg(long, value_name = "SPAN")]
    wait: Option<Span>,
}

#[derive(Clone, Debug, Args)]
pub struct MarkArgs {
    /// Version, name or file
    #[arg(value_name = "MIGRATION")]
    migration: String,
    /// Number of the statement; all without it
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    statement: Option<u32>,
    /// On this endpoint alone, as host:port
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// What became of it
    #[arg(long = "as", value_enum, value_name = "OUTCOME")]
    outcome: MarkedAs,
    /// Why
    #[arg(long, default_value = "", value_name = "TEXT")]
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MarkedAs {
    /// It was carried out
    Done,
    /// It was not, and will be run
    Undone,
}

impl Call<'_> {
    pub fn migrate(mut self, args: &MigrateArgs) -> Result<Exit, Failure> {
        match &args.command {
            MigrateCommand::New { name } => {
                let files = app::migrate::new(&self.loaded.config, name)?;
                let text: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
                self.tell(&text, &json!({ "files": files }))?;
                return Ok(Exit::Done);
            }
            MigrateCommand::Lint => return self.lint(),
            _ => {}
        }
        let session = Session::open(&self.inputs, &self.loaded)?;
        match &args.command {
            MigrateCommand::Status => self.status(&session.status()?),
            MigrateCommand::Plan { to } => {
                let planned = session.plan(&Options { to: to.clone(), ..Options::default() })?;
                self.tell(&planned_text(&planned), &json!(planned))?;
                Ok(if planned.statements.is_empty() { Exit::Done } else { Exit::Pending })
            }
            MigrateCommand::Up(args) => {
                let limited = options(&args.limits)?;
                let options = Options {
                    to: args.to.clone(),
                    only: args.only.clone(),
                    plan: args.plan.clone(),
                    no_shadow: args.no_shadow,
                    skip_disk_check: args.skip_disk_check,
                    ..limited
                };
                self.report(&session.up(&options)?)
            }
            MigrateCommand::Down { to, limits } => {
                self.report(&session.down(&Options { to: Some(to.clone()), ..options(limits)? })?)
            }
            MigrateCommand::Baseline { to } => self.report(&session.baseline(to)?),
            MigrateCommand::Mark(args) => {
                let mark = Mark {
                    migration: args.migration.clone(),
                    statement: args.statement,
                    host: args.host.clone(),
                    done: args.outcome == MarkedAs::Done,
                    note: args.note.clone(),
                };
                self.report(&session.mark(&mark)?)
            }
            MigrateCommand::Verify => {
                let found = session.verify()?;
                let line =
                    |one: &app::migrate::Verified| format!("{} {}: {}\n", one.file, one.host, one.message);
                let text: String = found.iter().map(line).collect();
                self.tell(
                    if found.is_empty() { "everything is as it was run\n" } else { &text },
                    &json!({ "findings": found }),
                )?;
                Ok(if found.is_empty() { Exit::Done } else { Exit::Differences })
            }
            MigrateCommand::Drift => self.drift(&session.drift()?),
            MigrateCommand::Repair { .. } => self.report(&session.repair()?),
            MigrateCommand::New { .. } | MigrateCommand::Lint => Ok(Exit::Done),
        }
    }

    fn status(&mut self, status: &Status) -> Result<Exit, Failure> {
        let mut text = String::new();
        for one in &status.migrations {
            let changed = if one.changed { ", changed since" } else { "" };
            let by = if one.actor.is_empty() {
                String::new()
            } else {
                format!("  {} by {}", one.finished, one.actor)
            };
            text += &format!("{:<10} {}{changed}{by}\n", standing(one.standing), one.file);
            if !one.error.is_empty() && one.standing != Standing::Applied {
                text += &format!("           {}\n", one.error.lines().next().unwrap_or_default());
            }
        }
        status
            .missing
            .iter()
            .for_each(|key| text += &format!("missing    {key}, in the journal without a file\n"));
        text += &holder_line(status.holder.as_ref());
        self.tell(&text, &json!(status))?;
        Ok(match status {
            status if status.differs() => Exit::Differences,
            status if status.is_pending() => Exit::Pending,
            _ => Exit::Done,
        })
    }

    fn report(&mut self, report: &Report) -> Result<Exit, Failure> {
        let mut text: String = report.events.iter().map(event_line).collect();
        if report.events.is_empty() {
            text += "nothing to do\n";
        }
        self.tell(&text, &json!(report))?;
        Ok(Exit::Done)
    }

    fn drift(&mut self, drift: &Drift) -> Result<Exit, Failure> {
        let mut text = String::new();
        for one in &drift.findings {
            text += &format!("{} {}\n", one.host, one.table);
            one.differences.iter().for_each(|difference| text += &format!("  {difference}\n"));
            let proven = if one.proven { "" } else { "  -- not tried on a copy" };
            one.sql.iter().for_each(|sql| text += &format!("    {sql};{proven}\n"));
        }
        drift.notes.iter().for_each(|note| text += &format!("not compared: {note}\n"));
        if drift.findings.is_empty() {
            text += "the tables are as the migrations make them\n";
        }
        self.tell(&text, &json!(drift))?;
        Ok(if drift.findings.is_empty() { Exit::Done } else { Exit::Differences })
    }

    fn lint(&mut self) -> Result<Exit, Failure> {
        let remarks = app::migrate::lint(&self.loaded.config)?;
        let line = |one: &app::migrate::Remark| {
            let level = if one.level == Level::Fault { "fault" } else { "warning" };
            format!("{}:{}: {level}: {} [{}]\n", one.file, one.line, one.message, one.rule)
        };
        let text: String = remarks.iter().map(line).collect();
        self.tell(&text, &json!({ "remarks": remarks }))?;
        let faulty = remarks.iter().any(|one| one.level == Level::Fault);
        Ok(if faulty { Exit::Differences } else { Exit::Done })
    }

    /// `penstock schema plan`.
    pub fn schema_plan(&mut self, tables: &[String], migration: Option<&str>) -> Result<Exit, Failure> {
        let plan = app::migrate::schema_plan(&self.loaded.config, tables, migration)?;
        let mut text: String =
            plan.remarks.iter().map(|remark| format!("-- not mended: {remark}\n")).collect();
        plan.statements.iter().for_each(|sql| text += &format!("{sql};\n"));
        plan.files.iter().for_each(|file| text += &format!("-- written to {}\n", file.display()));
        let value: Value =
            json!({ "statements": plan.statements, "remarks": plan.remarks, "files": plan.files });
        self.tell(&text, &value)?;
        let same = plan.statements.is_empty() && plan.remarks.is_empty();
        Ok(if same || !plan.files.is_empty() { Exit::Done } else { Exit::Differences })
    }
}

fn options(limits: &Limits) -> Result<Options, Failure> {
    let (allow, wait) = (dangers(&limits.allow)?, limits.wait.map(|wait| wait.0));
    Ok(Options { allow, wait, ..Options::default() })
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Pending => "pending",
        Standing::Applied => "applied",
        Standing::Partial => "partial",
        Standing::Failed => "failed",
        Standing::InDoubt => "in doubt",
    }
}

fn planned_text(planned: &Planned) -> String {
    let mut text: String = planned.statements.iter().map(planned_line).collect();
    text += &holder_line(planned.holder.as_ref());
    match planned.statements.is_empty() {
        true => text + "nothing to do\n",
        false => text + &format!("plan {}\n", planned.hash),
    }
}

/// Who migrates now, if anybody does.
fn holder_line(holder: Option<&Lease>) -> String {
    holder.map(|holder| format!("{} migrates since {}\n", holder.owner, holder.since)).unwrap_or_default()
}

fn planned_line(one: &PlannedStatement) -> String {
    let mut notes = vec![one.class.words().to_owned()];
    if one.cost.bytes > 0 {
        notes.push(format!("at most {} in {} parts", ByteSize(one.cost.bytes), one.cost.parts));
    }
    notes.extend(one.dangers.iter().map(|danger| format!("needs --allow {danger}")));
    if one.in_doubt {
        notes.push("was sent before: found out first".to_owned());
    }
    let sql: Vec<&str> = one.sql.split_whitespace().collect();
    let mut sql = sql.join(" ");
    if sql.chars().count() > SHOWN_CHARS_MAX {
        sql = sql.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect();
    }
    format!("{}:{} ({}) on {}\n  {sql}\n", one.file, one.line, notes.join(", "), one.hosts.join(", "))
}

/// Longer statements are cut in texts for people.
const SHOWN_CHARS_MAX: usize = 160;

fn event_line(event: &Event) -> String {
    let Event { file, statement, host, outcome, note, took_ms } = event;
    let note = if note.is_empty() { String::new() } else { format!(": {note}") };
    format!("{:<8} {file}, statement {statement} on {host}, {took_ms} ms{note}\n", outcome.name())
}
