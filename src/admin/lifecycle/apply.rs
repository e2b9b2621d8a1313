//! Carries a plan out: TTLs as metadata, then partitions that are over dropped, oldest first, and the rest on demand.
//!
//! Refuses another plan than the one that was seen, and to trust the plan to the end: holds and the youngest row are
//! looked at again right before each partition goes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Error, Governed, Lifecycles, PartitionPlan, Plan, TablePlan, ages, live};
use crate::admin::command::Permission;
use crate::admin::desk::{self, TableName};
use crate::clickhouse::{self, quote_identifier, quote_string};

/// TABLE_SIZE_EXCEEDS_MAX_DROP_SIZE_LIMIT
const TOO_LARGE_TO_DROP: u32 = 359;

/// What is to be expired.
#[derive(Clone, Debug, Default)]
pub struct Expire {
    /// All with rules without any.
    pub tables: Vec<String>,
    /// Also deletes the rows of partitions that are over in part, which writes these again.
    pub rewrite: bool,
    pub skip_disk_check: bool,
}

/// One partition that is gone, or whose rows that were over are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Dropped {
    #[serde(flatten)]
    pub partition: PartitionPlan,
    /// `dropped`, `rewritten`, or why it was left.
    pub outcome: &'static str,
}

/// What was done to every table.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Outcomes {
    pub tables: Vec<Outcome>,
}

/// What was done to one table.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Outcome {
    pub table: TableName,
    pub statements: Vec<String>,
    pub partitions: Vec<Dropped>,
    /// Rows that are over and left, because of a hold or because nobody asked for a rewrite.
    pub left_rows: u64,
}

impl Lifecycles {
    /// Sets TTLs and drops partitions that are over, as the plan with this hash says.
    ///
    /// # Errors
    /// Another plan, somebody else who is at it, and see [`Error`]. What was done before an error stays done.
    pub async fn apply(&self, tables: &[String], hash: &str) -> Result<Outcomes, Error> {
        let alone = self.alone(Permission::Lifecycle, Duration::ZERO).await?;
        let applied = Box::pin(alone.under.apply_alone(tables, hash)).await;
        alone.end().await;
        applied
    }

    async fn apply_alone(&self, tables: &[String], hash: &str) -> Result<Outcomes, Error> {
        let plan = self.plan(tables).await?;
        if plan.hash != hash {
            return Err(Error::PlanDiffers { expected: hash.to_owned(), found: plan.hash });
        }
        self.carry_out("lifecycle.apply", plan, &Expire { tables: tables.to_vec(), ..Expire::default() })
            .await
    }

    /// Deletes what is over now, without touching TTLs.
    ///
    /// # Errors
    /// A table named that is held as a whole, and see [`Error`].
    pub async fn expire(&self, expire: &Expire) -> Result<Outcomes, Error> {
        let alone = self.alone(Permission::Lifecycle, Duration::ZERO).await?;
        let expired = Box::pin(alone.under.expire_alone(expire)).await;
        alone.end().await;
        expired
    }

    async fn expire_alone(&self, expire: &Expire) -> Result<Outcomes, Error> {
        let mut plan = self.expirable(expire).await?;
        plan.tables.iter_mut().for_each(|one| one.statements.clear());
        self.carry_out("lifecycle.expire", plan, expire).await
    }

    /// What [`Lifecycles::expire`] would do. Changes nothing.
    ///
    /// # Errors
    /// As [`Lifecycles::expire`].
    pub async fn expirable(&self, expire: &Expire) -> Result<Plan, Error> {
        let plan = self.plan(&expire.tables).await?;
        let whole = |one: &&TablePlan| one.holds.iter().any(|hold| hold.partitions.is_empty());
        match plan.tables.iter().filter(|_| !expire.tables.is_empty()).find(whole) {
            Some(one) => {
                let holds = super::holds::Held(one.holds.clone()).names();
                Err(Error::Held { table: one.table.clone(), holds })
            }
            None => Ok(plan),
        }
    }

    async fn carry_out(&self, action: &'static str, plan: Plan, how: &Expire) -> Result<Outcomes, Error> {
        let mut tables = Vec::new();
        for one in plan.tables {
            let rewrites = if how.rewrite { one.rest.len() } else { 0 };
            if one.statements.is_empty() && one.drops.is_empty() && rewrites == 0 {
                let left_rows = one.rest.iter().chain(&one.kept).map(|one| one.rows_over).sum();
                tables.push(Outcome {
                    table: one.table,
                    statements: Vec::new(),
                    partitions: Vec::new(),
                    left_rows,
                });
                continue;
            }
            let ids =
                |all: &[PartitionPlan]| all.iter().map(|one| one.partition_id.clone()).collect::<Vec<_>>();
            let details = json!({ "plan": plan.hash, "statements": one.statements, "drops": ids(&one.drops),
                                  "rewrites": if how.rewrite { ids(&one.rest) } else { Vec::new() } });
            let table = one.table.clone();
            let work = Box::pin(self.one(one, how));
            tables.push(self.desk.audited(action, Permission::Lifecycle, (&table, details), work).await?);
        }
        Ok(Outcomes { tables })
    }

    async fn one(&self, plan: TablePlan, how: &Expire) -> Result<Outcome, Error> {
        let name = plan.table.clone();
        let all = self.governed(&[])?;
        let found = all.into_iter().find(|one| one.name == name);
        let one = found.ok_or_else(|| Error::NoTableFile(name.name.clone()))?;
        for sql in &plan.statements {
            self.desk.run(&name, sql, &live::METADATA_ONLY, self.timeout).await?;
        }
        let mut left_rows: u64 = plan.kept.iter().map(|one| one.rows_over).sum();
        let mut partitions = Vec::new();
        for partition in plan.drops {
            let outcome = self.drop_partition(&one, &partition).await?;
            partitions.push(Dropped { partition, outcome });
        }
        for partition in plan.rest {
            if how.rewrite {
                let outcome = self.rewrite(&one, &partition, how).await?;
                partitions.push(Dropped { partition, outcome });
            } else {
                left_rows += partition.rows_over;
            }
        }
        Ok(Outcome { table: name, statements: plan.statements, partitions, left_rows })
    }

    /// Drops the partition if it is still over and not held.
    async fn drop_partition(
        &self,
        one: &Governed<'_>,
        partition: &PartitionPlan,
    ) -> Result<&'static str, Error> {
        let id = &partition.partition_id;
        if self.held(&one.name).await?.covers(id) {
            return Ok("held meanwhile");
        }
        if !ages::is_over(&self.desk, one, id, self.desk.now().await?).await? {
            return Ok("no longer over");
        }
        let sql = format!("ALTER TABLE {} DROP PARTITION ID {}", one.name.sql(), quote_string(id));
        match self.desk.run(&one.name, &sql, &[], self.timeout).await {
            Ok(()) => Ok("dropped"),
            Err(desk::Error::ClickHouse(error)) if error.exception() == Some(TOO_LARGE_TO_DROP) => {
                Err(too_large(&one.name, id, &error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the rows that are over from one partition, which writes its parts again.
    async fn rewrite(
        &self,
        one: &Governed<'_>,
        partition: &PartitionPlan,
        how: &Expire,
    ) -> Result<&'static str, Error> {
        let id = &partition.partition_id;
        let Some(rule) = one.rules.delete() else { return Ok("no rule deletes") };
        if self.held(&one.name).await?.covers(id) {
            return Ok("held meanwhile");
        }
        if !how.skip_disk_check {
            self.desk.check_disk(&one.name, partition.bytes).await?;
        }
        let due = one.rules.due(&quote_identifier(&one.rules.time_column), rule.after);
        let now_s = self.desk.now().await?;
        let sql = format!(
            "ALTER TABLE {} DELETE IN PARTITION ID {} WHERE {due} <= toDateTime({now_s})",
            one.name.sql(),
            quote_string(id)
        );
        self.desk.run(&one.name, &sql, &[], self.timeout).await?;
        Ok("rewritten")
    }
}

fn too_large(table: &TableName, partition: &str, error: &clickhouse::Error) -> Error {
    Error::TooLarge { table: table.clone(), partition: partition.to_owned(), message: error.to_string() }
}
