//! `penstock lifecycle`: what can be typed, and how the answers look.
//!
//! Refuses to decide anything: what is applied is a plan that was seen, by its hash.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::work::Call;
use super::{Exit, Failure};
use crate::app::lifecycle::{
    Expire, Hold, HoldRequest, Materialize, Materialized, Outcomes, PartitionPlan, Plan, Put, ReleaseRequest,
    Session, TablePlan, moment,
};

const EXAMPLES: &str = "\
Examples:
  penstock lifecycle plan
  penstock lifecycle apply --plan 3f1c0a9b52d47e86
  penstock lifecycle status flights --output json
  penstock lifecycle drift
  penstock lifecycle expire flights --dry-run
  penstock lifecycle expire flights --rewrite
  penstock lifecycle materialize flights --partition 202601 --dry-run
  penstock lifecycle hold flights --id case-17 --reason \"claim of 2026-11\" --partition \"202609*\" --until 2027-01-01
  penstock lifecycle release case-17 --reason \"claim settled\"
  penstock lifecycle release case-17 --reason \"claim settled\" --dry-run
  penstock lifecycle holds

Exit codes of their own: plan ends with 6 while there is something to do; drift with 3 when a table's TTL is not that of
its rules. They work on the first endpoint of clickhouse.endpoints, or on the one that --endpoint names.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LifecycleArgs {
    /// Endpoint to work on, as host:port; the first without it
    #[arg(long, global = true, value_name = "HOST")]
    endpoint: Option<String>,
    #[command(subcommand)]
    pub command: LifecycleCommand,
}

#[derive(Clone, Debug, Args)]
pub struct Tables {
    /// Names of tables; all with rules without any
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum LifecycleCommand {
    /// Tells what each rule touches now and what would be done; exit code 6 when there is something
    Plan(Tables),
    /// Sets the TTLs, as metadata only, and drops the partitions that are over
    Apply {
        #[command(flatten)]
        tables: Tables,
        /// The plan that is meant, as `plan` prints it
        #[arg(long, value_name = "HASH")]
        plan: String,
    },
    /// Tells in a few words how each table stands
    Status(Tables),
    /// Compares the live TTLs with the rules; exit code 3 when they differ
    Drift(Tables),
    /// Deletes what is over now
    Expire {
        #[command(flatten)]
        tables: Tables,
        /// Also rows of partitions that are over in part, which writes these again
        #[arg(long)]
        rewrite: bool,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
        /// Does not look whether what is written again finds room
        #[arg(long)]
        skip_disk_check: bool,
    },
    /// Brings parts that are there under the TTL of their table, which may write them again
    Materialize {
        /// The table
        #[arg(value_name = "TABLE")]
        table: String,
        /// Id of a partition; may be repeated; all but those that are over without it
        #[arg(long, value_name = "ID")]
        partition: Vec<String>,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
        /// Does not look whether what is written again finds room
        #[arg(long)]
        skip_disk_check: bool,
    },
    /// Keeps a table, or partitions of it, from being deleted
    Hold {
        /// The table
        #[arg(value_name = "TABLE")]
        table: String,
        /// Name of the hold
        #[arg(long, value_name = "NAME")]
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Id of a partition, in which * stands for any text; may be repeated; the whole table without it
        #[arg(long, value_name = "ID")]
        partition: Vec<String>,
        /// When it ends by itself: a day in UTC, or a time with its zone
        #[arg(long, value_name = "TIME", value_parser = moment)]
        until: Option<DateTime<Utc>>,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Lets a hold go
    Release {
        /// Name of the hold
        #[arg(value_name = "NAME")]
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists the holds that are in force
    Holds,
}

impl Call<'_> {
    pub fn lifecycle(mut self, args: &LifecycleArgs) -> Result<Exit, Failure> {
        let session = Session::open(&self.inputs, &self.loaded, args.endpoint.clone())?;
        match &args.command {
            LifecycleCommand::Plan(Tables { tables }) => {
                let plan = session.plan(tables)?;
                self.tell(&plan_text(&plan), &json!(plan))?;
                Ok(if plan.is_empty() { Exit::Done } else { Exit::Pending })
            }
            LifecycleCommand::Apply { tables, plan } => self.outcomes(&session.apply(&tables.tables, plan)?),
            LifecycleCommand::Status(Tables { tables }) => {
                let plan = session.plan(tables)?;
                let text: String = plan.tables.iter().map(status_line).collect();
                self.tell(&text, &json!({ "tables": plan.tables }))?;
                Ok(Exit::Done)
            }
            LifecycleCommand::Drift(Tables { tables }) => self.drift_of(&session.plan(tables)?),
            LifecycleCommand::Expire { tables, rewrite, dry_run, skip_disk_check } => {
                let (rewrite, skip_disk_check) = (*rewrite, *skip_disk_check);
                let expire = Expire { tables: tables.tables.clone(), rewrite, skip_disk_check };
                if !dry_run {
                    return self.outcomes(&session.expire(&expire)?);
                }
                let plan = session.expirable(&expire)?;
                let one = |one: &TablePlan| format!("{}\n{}", one.table, partitions_text(one));
                let text: String = plan.tables.iter().map(one).collect();
                self.tell(&text, &json!({ "tables": plan.tables }))?;
                Ok(Exit::Done)
            }
            LifecycleCommand::Materialize { table, partition, dry_run, skip_disk_check } => {
                let (dry_run, skip_disk_check) = (*dry_run, *skip_disk_check);
                let (table, partitions) = (table.clone(), partition.clone());
                let done =
                    session.materialize(&Materialize { table, partitions, dry_run, skip_disk_check })?;
                let text: String = done.partitions.iter().map(materialized_line).collect();
                self.tell(&text, &json!(done))?;
                Ok(Exit::Done)
            }
            LifecycleCommand::Hold { table, id, reason, partition, until, dry_run } => {
                let request = HoldRequest {
                    id: id.clone(),
                    table: table.clone(),
                    partitions: partition.clone(),
                    reason: reason.clone(),
                    until: *until,
                    dry_run: *dry_run,
                };
                self.put(&request, &session.hold(&request)?)
            }
            LifecycleCommand::Release { id, reason, dry_run } => {
                let (id, reason, dry_run) = (id.clone(), reason.clone(), *dry_run);
                let released = session.release(&ReleaseRequest { id, reason, dry_run })?;
                let what = if dry_run { "would be let go" } else { "is let go" };
                let mut text = format!("`{}` {what}\n", released.hold.id);
                if !released.pending.is_empty() {
                    text += "the rules are in force again after `penstock lifecycle apply`\n";
                }
                self.tell(&text, &json!(released))?;
                Ok(Exit::Done)
            }
            LifecycleCommand::Holds => {
                let holds = session.holds()?;
                let text: String = holds.holds.iter().map(hold_line).collect();
                self.tell(if text.is_empty() { "nothing is held\n" } else { &text }, &json!(holds))?;
                Ok(Exit::Done)
            }
        }
    }

    fn put(&mut self, request: &HoldRequest, put: &Put) -> Result<Exit, Failure> {
        let HoldRequest { id, table, dry_run, .. } = request;
        let lines: String = put.statements.iter().map(|sql| format!("  {sql}\n")).collect();
        let what = if *dry_run { "would be held" } else { "is held" };
        self.tell(&format!("{table} {what} by `{id}`\n{lines}"), &json!(put))?;
        Ok(Exit::Done)
    }

    fn drift_of(&mut self, plan: &Plan) -> Result<Exit, Failure> {
        let text: String = plan.tables.iter().map(drift_text).collect();
        let same = "every table has the TTL of its rules\n";
        self.tell(if plan.differs() { &text } else { same }, &json!(plan.drift()))?;
        Ok(if plan.differs() { Exit::Differences } else { Exit::Done })
    }

    fn outcomes(&mut self, outcomes: &Outcomes) -> Result<Exit, Failure> {
        let mut text = String::new();
        for one in &outcomes.tables {
            text += &format!("{}\n", one.table);
            one.statements.iter().for_each(|sql| text += &format!("  {sql}\n"));
            for done in &one.partitions {
                text += &format!("  {:<14} {}\n", done.outcome, partition(&done.partition));
            }
            if one.left_rows > 0 {
                text += &format!("  {} rows are over and left\n", HumanCount(one.left_rows));
            }
        }
        self.tell(&text, &json!(outcomes))?;
        Ok(Exit::Done)
    }
}

fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    for one in &plan.tables {
        text += &drift_text(one);
        for rule in &one.rules {
            let (rows, bytes) = (HumanCount(rule.rows), HumanBytes(rule.bytes));
            let (whole, cut) = (rule.partitions_whole, rule.partitions_in_part);
            text += &format!(
                "  {} (by {}): {rows} rows, {bytes}; {whole} partitions whole, {cut} in part\n",
                rule.rule, rule.by
            );
        }
        text += &partitions_text(one);
    }
    match plan.is_empty() {
        true => text + "nothing to do\n",
        false => text + &format!("plan {}\n", plan.hash),
    }
}

/// The table, and what its TTL lacks.
fn drift_text(one: &TablePlan) -> String {
    if !one.exists {
        return format!("{}: there is no such table\n", one.table);
    }
    let lines: String = one.statements.iter().map(|sql| format!("  {sql}\n")).collect();
    format!("{}\n{lines}", one.table)
}

fn partitions_text(one: &TablePlan) -> String {
    let mut text = String::new();
    one.drops.iter().for_each(|drop| text += &format!("  drop {}\n", partition(drop)));
    one.rest.iter().for_each(|rest| text += &format!("  over in part or not by time: {}\n", partition(rest)));
    one.kept.iter().for_each(|kept| text += &format!("  held {}\n", partition(kept)));
    one.holds.iter().for_each(|hold| text += &format!("  {}", hold_line(hold)));
    text
}

fn partition(one: &PartitionPlan) -> String {
    let (over, rows) = (HumanCount(one.rows_over), HumanCount(one.rows));
    format!("{}: {over} of {rows} rows, {}", one.partition_id, HumanBytes(one.bytes))
}

fn status_line(one: &TablePlan) -> String {
    let ttl = match (one.exists, one.statements.is_empty()) {
        (false, _) => "no such table",
        (true, true) => "TTL as the rules say",
        (true, false) => "TTL differs",
    };
    let bytes: u64 = one.drops.iter().map(|drop| drop.bytes).sum();
    let left: u64 = one.rest.iter().map(|rest| rest.rows_over).sum();
    let held: u64 = one.kept.iter().map(|kept| kept.rows_over).sum();
    format!(
        "{}: {ttl}; {} partitions to drop, {}; {} rows over beside them; {} rows held by {} holds\n",
        one.table,
        one.drops.len(),
        HumanBytes(bytes),
        HumanCount(left),
        HumanCount(held),
        one.holds.len()
    )
}

fn materialized_line(one: &Materialized) -> String {
    let what = if one.done { "done   " } else { "planned" };
    format!("{what}  {}: {}\n  {}\n", one.partition_id, HumanBytes(one.bytes), one.sql)
}

fn hold_line(hold: &Hold) -> String {
    let what = if hold.partitions.is_empty() { "all".to_owned() } else { hold.partitions.join(", ") };
    let until = if hold.until.is_empty() { String::new() } else { format!(" until {}", hold.until) };
    format!(
        "hold `{}` on {}.{}, {what}{until}: {} ({}, {})\n",
        hold.id, hold.database, hold.table, hold.reason, hold.actor, hold.since
    )
}
