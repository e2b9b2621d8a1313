//! How dear a statement is: the bytes that it would write again, and whether the disks have room for that.
//!
//! Refuses to be exact. Numbers come from the system tables now, and are upper bounds where a condition decides.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::alter::Alter;
use super::error::Error;
use super::host::Host;
use super::journal::{is_missing, number};
use super::migrator::Migrator;
use super::plan::Step;
use super::statement::{Class, Effect, Object};
use crate::admin::desk::FREE_BYTES;

/// What would be written again, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cost {
    pub bytes: u64,
    pub parts: u64,
    /// A part is written again as a whole, beside the old one.
    pub largest_part_bytes: u64,
}

impl Migrator {
    /// On the first host that the statement is meant for.
    pub(super) async fn cost(&self, step: &Step<'_>) -> Result<Cost, Error> {
        let host = self.hosts.iter().find(|host| step.hosts.contains(&host.name));
        match (host, rewritten(step)) {
            (Some(host), Some((object, columns))) => {
                let database = object.database.as_deref().unwrap_or(&self.clickhouse.database);
                match host.cost(database, &object.name, &columns).await {
                    Err(Error::ClickHouse(error)) if is_missing(&error) => Ok(Cost::default()),
                    cost => cost,
                }
            }
            _ => Ok(Cost::default()),
        }
    }

    /// Refuses what rewrites a part that finds no room.
    pub(super) async fn check_disks(&self, steps: &[Step<'_>]) -> Result<(), Error> {
        for step in steps {
            let Some((object, columns)) = rewritten(step) else { continue };
            for host in self.hosts.iter().filter(|host| step.hosts.contains(&host.name)) {
                let database = object.database.as_deref().unwrap_or(&self.clickhouse.database);
                let needed = host.cost(database, &object.name, &columns).await?.largest_part_bytes;
                let free = host.free(database, &object.name).await?;
                if needed > free {
                    return Err(Error::Disk {
                        host: host.name.clone(),
                        table: object.to_string(),
                        needed,
                        free,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The table whose parts are written again, and which columns of it; none stand for all.
fn rewritten<'s>(step: &'s Step<'_>) -> Option<(&'s Object, Vec<String>)> {
    let dear = |class| matches!(class, Class::Mutation | Class::Rewrite);
    match &step.statement.reading.effect {
        Effect::Alter { object, commands } => {
            let commands: Vec<&Alter> = commands.iter().filter(|command| dear(command.class())).collect();
            let of_columns = [
                "MODIFY COLUMN",
                "ALTER COLUMN",
                "MATERIALIZE",
                "CLEAR COLUMN",
                "RENAME COLUMN",
                "DROP COLUMN",
            ];
            let named =
                commands.iter().all(|command| of_columns.contains(&command.action) && command.name.is_some());
            let columns = if named {
                commands.iter().filter_map(|command| command.name.clone()).collect()
            } else {
                Vec::new()
            };
            (!commands.is_empty()).then_some((object, columns))
        }
        Effect::Delete(object) | Effect::Optimize(object) => Some((object, Vec::new())),
        _ => None,
    }
}

impl Host {
    async fn cost(&self, database: &str, table: &str, columns: &[String]) -> Result<Cost, Error> {
        let params = [("database", json!(database)), ("table", json!(table)), ("columns", json!(columns))];
        let sql = match columns.is_empty() {
            true => {
                "SELECT sum(bytes_on_disk), count(), max(bytes_on_disk) FROM system.parts \
                 WHERE active AND database = {database:String} AND table = {table:String}"
            }
            false => {
                // A compact part keeps its columns in one file, which is written again as a whole.
                "SELECT sum(bytes), count(), max(bytes) FROM (SELECT name, if(any(part_type) = 'Compact', \
                 any(bytes_on_disk), sum(column_data_compressed_bytes)) AS bytes FROM system.parts_columns \
                 WHERE active AND database = {database:String} AND table = {table:String} \
                 AND column IN {columns:Array(String)} GROUP BY name)"
            }
        };
        let rows = self.client.query(sql, &params).await?;
        let row: Vec<u64> =
            rows.rows.iter().flatten().map(|value| number(value).unwrap_or_default()).collect();
        match row.as_slice() {
            [bytes, parts, largest] => {
                Ok(Cost { bytes: *bytes, parts: *parts, largest_part_bytes: *largest })
            }
            _ => Err(Error::Answer("its parts".to_owned())),
        }
    }

    async fn free(&self, database: &str, table: &str) -> Result<u64, Error> {
        self.number(FREE_BYTES, &[("database", json!(database)), ("table", json!(table))]).await
    }
}
