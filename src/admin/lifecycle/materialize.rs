//! Brings parts that are there under the TTL of their table, one partition after the other.
//!
//! Refuses where the live TTL is not that of the rules, so that nothing acts which nobody has planned; with a hold in
//! force that TTL destroys nothing. Partitions that are over are left to be dropped, which writes nothing.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Error, Lifecycles, PartitionPlan, TablePlan, ages};
use crate::admin::command::Permission;
use crate::clickhouse::quote_string;
use crate::schema::Column;

/// What is to be brought under its TTL.
#[derive(Clone, Debug, Default)]
pub struct Materialize {
    pub table: String,
    /// Ids; all but those that are over without any.
    pub partitions: Vec<String>,
    pub dry_run: bool,
    pub skip_disk_check: bool,
}

/// Every partition that was to be brought under its TTL.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Materializations {
    pub partitions: Vec<Materialized>,
}

/// One partition, done or only planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Materialized {
    pub partition_id: String,
    pub sql: String,
    /// Written again at most.
    pub bytes: u64,
    pub done: bool,
}

impl Lifecycles {
    /// Runs `MATERIALIZE TTL` in each partition, oldest first, and waits for its end.
    ///
    /// # Errors
    /// A TTL that differs, a partition that is not there, and see [`Error`]. What was done before stays done.
    pub async fn materialize(&self, options: &Materialize) -> Result<Materializations, Error> {
        if options.dry_run {
            return Box::pin(self.materialize_alone(options)).await;
        }
        let alone = self.alone(Permission::Lifecycle, Duration::ZERO).await?;
        let materialized = Box::pin(alone.under.materialize_alone(options)).await;
        alone.end().await;
        materialized
    }

    async fn materialize_alone(&self, options: &Materialize) -> Result<Materializations, Error> {
        let names = [options.table.clone()];
        let plan = self.plan(&names).await?.tables.into_iter().next();
        let plan = plan.ok_or_else(|| Error::NoTableFile(options.table.clone()))?;
        if !plan.exists || !plan.statements.is_empty() {
            return Err(Error::Drifted(plan.table));
        }
        let one = self.governed(&names)?.into_iter().next();
        let one = one.ok_or_else(|| Error::NoTableFile(options.table.clone()))?;
        let held = !plan.holds.is_empty();
        let clears = |column: &Column| one.rules.column_ttl(&column.name, held).is_some();
        if one.rules.table_ttl(held).is_none() && !one.table.columns.iter().any(clears) {
            // A hold, or rules that are penstock's alone, leave no TTL to come under.
            return Ok(Materializations::default());
        }
        let all = ages::read(&self.desk, &one, self.desk.now().await?).await?;
        if let Some(id) = options.partitions.iter().find(|id| all.iter().all(|ages| ages.id != **id)) {
            return Err(Error::NoPartition { table: plan.table, id: id.clone() });
        }
        let chosen = |id: &String| match options.partitions.is_empty() {
            true => !is_among(&plan.drops, id),
            false => options.partitions.contains(id),
        };
        let planned = |ages: &ages::Ages| Materialized {
            partition_id: ages.id.clone(),
            sql: format!(
                "ALTER TABLE {} MATERIALIZE TTL IN PARTITION ID {}",
                plan.table.sql(),
                quote_string(&ages.id)
            ),
            bytes: ages.bytes,
            done: false,
        };
        let planned: Vec<Materialized> = all.iter().filter(|ages| chosen(&ages.id)).map(planned).collect();
        if options.dry_run || planned.is_empty() {
            return Ok(Materializations { partitions: planned });
        }
        let ids: Vec<&String> = planned.iter().map(|one| &one.partition_id).collect();
        let details = json!({ "partitions": ids });
        let work = Box::pin(self.write_again(options, &plan, planned));
        let about = (&plan.table, details);
        let partitions =
            self.desk.audited("lifecycle.materialize", Permission::Lifecycle, about, work).await?;
        Ok(Materializations { partitions })
    }

    async fn write_again(
        &self,
        options: &Materialize,
        plan: &TablePlan,
        planned: Vec<Materialized>,
    ) -> Result<Vec<Materialized>, Error> {
        let mut done = Vec::new();
        for one in planned {
            if !options.skip_disk_check {
                self.desk.check_disk(&plan.table, one.bytes).await?;
            }
            self.desk.run(&plan.table, &one.sql, &[], self.timeout).await?;
            done.push(Materialized { done: true, ..one });
        }
        Ok(done)
    }
}

fn is_among(partitions: &[PartitionPlan], id: &str) -> bool {
    partitions.iter().any(|one| one.partition_id == id)
}
