//! OPTIMIZE: merges parts now, of one table or of all but some, and says what it came to.
//!
//! Refuses what finds no room on the disks. One table that fails does not keep the others from their turn.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::parts::{self, Partitions, Parts};
use super::{Care, Error};
use crate::admin::command::Permission;
use crate::admin::desk::TableName;
use crate::clickhouse::{quote_identifier, quote_string};

/// Which tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    Named(Vec<String>),
    /// Every table of the MergeTree family in the database, but these.
    AllBut(Vec<String>),
}

/// What is to be merged, and how.
#[derive(Clone, Debug)]
pub struct Optimize {
    pub database: Option<String>,
    pub targets: Targets,
    /// Each partition into one part.
    pub to_one_part: bool,
    /// This partition alone.
    pub partition: Option<String>,
    /// Rows that are the same, in the columns named or in all, become one.
    pub deduplicate: bool,
    pub deduplicate_by: Vec<String>,
    pub dry_run: bool,
    pub skip_disk_check: bool,
    pub timeout: Duration,
}

/// Every table that was to be merged.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Optimizations {
    pub tables: Vec<Optimized>,
}

/// One table, merged or only planned.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Optimized {
    pub table: TableName,
    pub sql: String,
    /// Bytes that are written again at most.
    pub bytes_to_write: u64,
    pub before: Parts,
    /// None of a dry run, or if it failed.
    pub after: Option<Parts>,
    pub took_ms: u64,
    /// Why it was not done.
    pub error: Option<String>,
}

impl Optimize {
    fn statement(&self, table: &TableName) -> String {
        let mut sql = format!("OPTIMIZE TABLE {}", table.sql());
        if let Some(partition) = &self.partition {
            sql += &format!(" PARTITION ID {}", quote_string(partition));
        }
        if self.to_one_part {
            sql += " FINAL";
        }
        if self.deduplicate {
            sql += " DEDUPLICATE";
            let by: Vec<String> = self.deduplicate_by.iter().map(|name| quote_identifier(name)).collect();
            if !by.is_empty() {
                sql += &format!(" BY {}", by.join(", "));
            }
        }
        sql
    }

    /// What may be written again: partitions of one part stay as they are, unless rows are compared.
    fn bytes(&self, partitions: &Partitions) -> (u64, u64) {
        let chosen =
            partitions.iter().filter(|(id, _)| self.partition.as_ref().is_none_or(|only| only == *id));
        let written = chosen.filter(|(_, one)| one.parts > 1 || self.deduplicate).map(|(_, one)| one.bytes);
        written.fold((0, 0), |(sum, largest), bytes| (sum + bytes, largest.max(bytes)))
    }
}

impl Care {
    /// Merges the parts of each table in turn.
    ///
    /// # Errors
    /// A table or partition that is not there, before anything is merged. What fails later stands in the answer.
    pub async fn optimize(&self, options: &Optimize) -> Result<Optimizations, Error> {
        let mut all = Vec::new();
        for table in self.targets(options).await? {
            let partitions = parts::partitions(&self.desk, &table).await?;
            if let Some(id) = options.partition.as_ref().filter(|id| !partitions.contains_key(*id)) {
                return Err(Error::NoPartition { table, id: id.clone() });
            }
            all.push((table, partitions));
        }
        let mut tables = Vec::new();
        for (table, partitions) in all {
            tables.push(self.optimize_one(options, table, &partitions).await);
        }
        Ok(Optimizations { tables })
    }

    async fn targets(&self, options: &Optimize) -> Result<Vec<TableName>, Error> {
        let table = |name: &String| self.desk.table(options.database.as_deref(), name);
        let except = match &options.targets {
            Targets::Named(names) if names.is_empty() => return Err(Error::NoTarget),
            Targets::Named(names) => return Ok(names.iter().map(table).collect()),
            Targets::AllBut(except) => except,
        };
        let sql = "SELECT name FROM system.tables WHERE database = {database:String} AND endsWith(engine, 'MergeTree') \
                   AND NOT is_temporary AND name NOT IN {except:Array(String)} ORDER BY name";
        let database = options.database.as_ref().unwrap_or(&self.desk.database);
        let rows = self.desk.rows(sql, &[("database", json!(database)), ("except", json!(except))]).await?;
        Ok(rows.iter().map(|row| table(&row.text(0))).collect())
    }

    async fn optimize_one(&self, options: &Optimize, table: TableName, partitions: &Partitions) -> Optimized {
        let sql = options.statement(&table);
        let (bytes_to_write, largest) = options.bytes(partitions);
        let before = parts::sum(partitions, options.partition.as_deref());
        let begun = tokio::time::Instant::now();
        let mut one = Optimized { table, sql, bytes_to_write, before, after: None, took_ms: 0, error: None };
        let checked = match options.skip_disk_check {
            true => Ok(()),
            false => self.desk.check_disk(&one.table, largest).await.map_err(Error::from),
        };
        let result = match checked {
            Ok(()) if !options.dry_run => self.merge(options, &one).await.map(Some),
            Ok(()) => Ok(None),
            Err(error) => Err(error),
        };
        match result {
            Ok(after) => one.after = after,
            Err(error) => one.error = Some(error.to_string()),
        }
        one.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        one
    }

    async fn merge(&self, options: &Optimize, one: &Optimized) -> Result<Parts, Error> {
        // Without DEDUPLICATE a partition of one part has nothing to gain.
        let skip = if options.deduplicate { "0" } else { "1" };
        let settings = [("optimize_skip_merged_partitions", skip)];
        let details = json!({ "sql": one.sql, "bytes_to_write": one.bytes_to_write });
        let work = async {
            self.desk.run(&one.table, &one.sql, &settings, options.timeout).await?;
            Ok::<(), Error>(())
        };
        self.desk.audited("table.optimize", Permission::TableCare, (&one.table, details), work).await?;
        let partitions = parts::partitions(&self.desk, &one.table).await?;
        Ok(parts::sum(&partitions, options.partition.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Optimize {
        Optimize {
            database: None,
            targets: Targets::Named(Vec::new()),
            to_one_part: true,
            partition: None,
            deduplicate: false,
            deduplicate_by: Vec::new(),
            dry_run: true,
            skip_disk_check: false,
            timeout: Duration::ZERO,
        }
    }

    #[test]
    fn the_statement_has_every_clause_in_its_place_and_quoted() {
        let table = TableName { database: "d".to_owned(), name: "t".to_owned() };
        assert_eq!(options().statement(&table), "OPTIMIZE TABLE `d`.`t` FINAL");
        let all = Optimize {
            partition: Some("2'0".to_owned()),
            deduplicate: true,
            deduplicate_by: vec!["a`".to_owned(), "b".to_owned()],
            ..options()
        };
        let expected = r"OPTIMIZE TABLE `d`.`t` PARTITION ID '2\'0' FINAL DEDUPLICATE BY `a\``, `b`";
        assert_eq!(all.statement(&table), expected);
        let plain = Optimize { to_one_part: false, ..options() };
        assert_eq!(plain.statement(&table), "OPTIMIZE TABLE `d`.`t`");
    }

    #[test]
    fn partitions_of_one_part_cost_nothing_unless_rows_are_compared() {
        let parts = |parts, bytes| Parts { parts, rows: 1, bytes };
        let all = Partitions::from([
            ("a".to_owned(), parts(1, 100)),
            ("b".to_owned(), parts(3, 30)),
            ("c".to_owned(), parts(2, 20)),
        ]);
        assert_eq!(options().bytes(&all), (50, 30));
        assert_eq!(Optimize { deduplicate: true, ..options() }.bytes(&all), (150, 100));
        assert_eq!(Optimize { partition: Some("c".to_owned()), ..options() }.bytes(&all), (20, 20));
    }
}
