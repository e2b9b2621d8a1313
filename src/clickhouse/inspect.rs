//! What stands behind a table that is inserted into: engines, windows of deduplication, views and their targets.
//!
//! Refuses to judge; `level` does. It only reads, from whichever endpoint answers: the endpoints of one client
//! are taken for servers with the same tables.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::definition::{self, DistributedArguments, Token};
use super::error::Error;
use super::query::Rows;
use super::{Client, sql};

/// Tables that one insert may write to; beyond it something refers to itself.
const TABLES_MAX: usize = 256;

const BLOCKS: &str = "non_replicated_deduplication_window";
const REPLICATED_BLOCKS: &str = "replicated_deduplication_window";
const REPLICATED_SECONDS: &str = "replicated_deduplication_window_seconds";

/// Everything that an insert into one table writes to; the table itself is the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    pub tables: Vec<TableFacts>,
}

/// One table that an insert writes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableFacts {
    pub database: String,
    pub name: String,
    /// Empty if the table is not there, or the user may not see it.
    pub engine: String,
    pub role: Role,
    /// Whether it lies behind a `Distributed` table.
    pub sharded: bool,
    /// How many blocks the table remembers the tokens of.
    pub window_blocks: u64,
    /// For how long; none if there is no limit of time.
    pub window: Option<Duration>,
    /// How many replicas it has, itself counted; 0 if it is not replicated.
    pub replicas: u64,
    pub distributed: Option<Distributed>,
    /// Columns that its partition key is made of, with what they are made of themselves.
    pub partition_columns: Vec<PartitionColumn>,
    /// Whether merges leave fewer rows than were inserted.
    pub merges_rows: bool,
    /// Whether rows go by themselves when their time is over.
    pub expires_rows: bool,
}

/// How the rows come into a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// By the insert itself.
    #[default]
    Inserted,
    /// By a `Distributed` table.
    Shard,
    /// By a materialized view.
    ViewTarget {
        view: String,
        /// A function in the view's query whose result is another one in another try.
        volatile: Option<String>,
    },
}

/// Where a `Distributed` table sends its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Distributed {
    pub cluster: String,
    pub shards: u64,
    pub has_sharding_key: bool,
    /// A function in the sharding key whose result is another one in another try.
    pub volatile: Option<String>,
}

/// A column that decides about the partition of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionColumn {
    pub name: String,
    /// A function whose result is another one in another try, if the server fills the column by one.
    pub volatile: Option<String>,
    /// Columns with which an insert decides itself: if it sends any of them, the function is not called.
    pub unless_sent: Vec<String>,
}

impl TableFacts {
    /// `database.name`, quoted.
    pub fn title(&self) -> String {
        sql::qualified(Some(&self.database), &self.name)
    }
}

/// A table still to be looked at.
struct Pending {
    database: String,
    name: String,
    role: Role,
    sharded: bool,
}

/// A row of system.tables.
struct Definition {
    engine: String,
    engine_full: String,
    create: String,
    select: String,
    uuid: String,
    /// Views that read from it.
    views: Vec<(String, String)>,
}

impl Client {
    /// Reads the table and, from view to view, everything that an insert into it writes to. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::NoTable`], or whatever a query can fail with.
    pub async fn inspect(&self, database: &str, table: &str) -> Result<Inspection, Error> {
        let mut defaults = HashMap::new();
        let mut found = Inspection::default();
        let mut pending = vec![Pending {
            database: database.to_owned(),
            name: table.to_owned(),
            role: Role::Inserted,
            sharded: false,
        }];
        while let Some(next) = pending.pop() {
            if TABLES_MAX <= found.tables.len() {
                let message = format!("more than {TABLES_MAX} tables are written to by one insert");
                return Err(Error::Answer { endpoint: "system.tables".to_owned(), message });
            }
            let definition = self.definition(&next.database, &next.name).await?;
            if definition.is_none() && found.tables.is_empty() {
                return Err(Error::NoTable { table: sql::qualified(Some(database), table) });
            }
            let facts = self.facts(&next, definition.as_ref(), &mut defaults).await?;
            if let Some(definition) = definition {
                pending.extend(shard(&next, &definition));
                pending.extend(self.targets(&next, definition.views).await?);
            }
            found.tables.push(facts);
        }
        Ok(found)
    }

    async fn definition(&self, database: &str, table: &str) -> Result<Option<Definition>, Error> {
        let sql = "SELECT engine, engine_full, create_table_query, as_select, toString(uuid), \
                   dependencies_database, dependencies_table FROM system.tables \
                   WHERE database = {database:String} AND name = {table:String}";
        let rows = self.query(sql, &place(database, table)).await?;
        Ok(rows.rows.first().map(|row| {
            let at = |index| text(row.get(index));
            let views =
                |index| row.get(index).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let one = |(database, view)| (text(Some(database)), text(Some(view)));
            Definition {
                engine: at(0),
                engine_full: at(1),
                create: at(2),
                select: at(3),
                uuid: at(4),
                views: views(5).iter().zip(views(6)).map(one).collect(),
            }
        }))
    }

    async fn facts(
        &self,
        at: &Pending,
        definition: Option<&Definition>,
        defaults: &mut HashMap<String, u64>,
    ) -> Result<TableFacts, Error> {
        let mut facts = TableFacts {
            database: at.database.clone(),
            name: at.name.clone(),
            role: at.role.clone(),
            sharded: at.sharded,
            ..TableFacts::default()
        };
        let Some(Definition { engine, engine_full, .. }) = definition else { return Ok(facts) };
        facts.engine.clone_from(engine);
        if let Some(arguments) = definition::distributed(engine_full).filter(|_| engine == "Distributed") {
            facts.distributed = Some(self.distributed(arguments).await?);
        }
        if !engine.ends_with("MergeTree") {
            return Ok(facts);
        }
        let is_replicated = engine.starts_with("Replicated");
        if is_replicated || engine.starts_with("Shared") {
            facts.window_blocks = self.setting(engine_full, REPLICATED_BLOCKS, defaults).await?;
            let seconds = self.setting(engine_full, REPLICATED_SECONDS, defaults).await?;
            facts.window = Some(Duration::from_secs(seconds));
        } else {
            facts.window_blocks = self.setting(engine_full, BLOCKS, defaults).await?;
        }
        if is_replicated {
            let sql = "SELECT total_replicas FROM system.replicas \
                       WHERE database = {database:String} AND table = {table:String}";
            facts.replicas = first_number(&self.query(sql, &place(&at.database, &at.name)).await?).max(1);
        }
        let is_plain = engine.trim_start_matches("Replicated").trim_start_matches("Shared") == "MergeTree";
        facts.merges_rows = !is_plain || definition::groups_by_ttl(engine_full);
        facts.expires_rows = definition::has_ttl(engine_full);
        facts.partition_columns = self.partition_columns(at).await?;
        Ok(facts)
    }

    /// A setting of the table, or else what the server gives to tables that say nothing.
    async fn setting(
        &self,
        engine_full: &str,
        name: &str,
        defaults: &mut HashMap<String, u64>,
    ) -> Result<u64, Error> {
        if let Some(value) = definition::setting(engine_full, name).or_else(|| defaults.get(name).copied()) {
            return Ok(value);
        }
        let from = if name == BLOCKS { "merge_tree_settings" } else { "replicated_merge_tree_settings" };
        let sql = format!("SELECT toUInt64(value) FROM system.{from} WHERE name = {{name:String}}");
        let value = first_number(&self.query(&sql, &[("name", json!(name))]).await?);
        defaults.insert(name.to_owned(), value);
        Ok(value)
    }

    async fn distributed(&self, arguments: DistributedArguments) -> Result<Distributed, Error> {
        let sql = "SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = {cluster:String}";
        let shards = first_number(&self.query(sql, &[("cluster", json!(arguments.cluster))]).await?);
        let key = arguments.sharding_key;
        Ok(Distributed {
            cluster: arguments.cluster,
            shards,
            has_sharding_key: key.is_some(),
            volatile: key.as_deref().and_then(definition::volatile).map(str::to_owned),
        })
    }

    async fn partition_columns(&self, at: &Pending) -> Result<Vec<PartitionColumn>, Error> {
        let sql = "SELECT name, default_kind, default_expression, is_in_partition_key FROM system.columns \
                   WHERE database = {database:String} AND table = {table:String} \
                   AND (default_kind != '' OR is_in_partition_key)";
        let rows = self.query(sql, &place(&at.database, &at.name)).await?.rows;
        let all: Vec<Column> = rows
            .iter()
            .map(|row| Column {
                name: text(row.first()),
                is_default: row.get(1).and_then(Value::as_str) == Some("DEFAULT"),
                expression: definition::tokens(&text(row.get(2))),
                in_partition_key: row.get(3).and_then(Value::as_u64) == Some(1),
            })
            .collect();
        Ok(all.iter().filter(|column| column.in_partition_key).map(|column| trace(column, &all)).collect())
    }

    /// The targets of the views. What has gone since is left out, for nothing is written to it any more.
    async fn targets(&self, from: &Pending, views: Vec<(String, String)>) -> Result<Vec<Pending>, Error> {
        let mut targets = Vec::new();
        for (database, view) in views {
            let Some(definition) = self.definition(&database, &view).await? else { continue };
            let role = Role::ViewTarget {
                view: sql::qualified(Some(&database), &view),
                volatile: definition::volatile(&definition::tokens(&definition.select)).map(str::to_owned),
            };
            let (database, name) = target_of(&definition, database, &view);
            targets.push(Pending { database, name, role, sharded: from.sharded });
        }
        Ok(targets)
    }
}

/// A column with a default or in the partition key.
struct Column {
    name: String,
    /// As opposed to what the server always fills itself.
    is_default: bool,
    expression: Vec<Token>,
    in_partition_key: bool,
}

/// Follows a column to what fills it, over the defaults of other columns.
fn trace(column: &Column, all: &[Column]) -> PartitionColumn {
    let (volatile, unless_sent) = search(column, all, &mut Vec::new()).unzip();
    PartitionColumn { name: column.name.clone(), volatile, unless_sent: unless_sent.unwrap_or_default() }
}

/// The first volatile function behind the column, and the defaults on the way to it.
fn search<'a>(at: &'a Column, all: &'a [Column], seen: &mut Vec<&'a str>) -> Option<(String, Vec<String>)> {
    if seen.contains(&at.name.as_str()) {
        return None;
    }
    seen.push(&at.name);
    let direct = definition::volatile(&at.expression).map(|function| (function.to_owned(), Vec::new()));
    let (function, mut on_the_way) = direct.or_else(|| {
        let mut behind = all.iter().filter(|column| definition::names(&at.expression, &column.name));
        behind.find_map(|column| search(column, all, seen))
    })?;
    on_the_way.extend(at.is_default.then(|| at.name.clone()));
    Some((function, on_the_way))
}

fn target_of(view: &Definition, database: String, name: &str) -> (String, String) {
    match definition::view_target(&view.create) {
        Some((Some(database), table)) => (database, table),
        Some((None, table)) => (database, table),
        None if view.uuid.chars().all(|c| matches!(c, '0' | '-')) => (database, format!(".inner.{name}")),
        None => (database, format!(".inner_id.{}", view.uuid)),
    }
}

fn shard(at: &Pending, definition: &Definition) -> Option<Pending> {
    let arguments =
        definition::distributed(&definition.engine_full).filter(|_| definition.engine == "Distributed")?;
    let database = if arguments.database.is_empty() { at.database.clone() } else { arguments.database };
    Some(Pending { database, name: arguments.table, role: Role::Shard, sharded: true })
}

fn place(database: &str, table: &str) -> [(&'static str, Value); 2] {
    [("database", json!(database)), ("table", json!(table))]
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn first_number(rows: &Rows) -> u64 {
    rows.rows.first().and_then(|row| row.first()).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, is_default: bool, expression: &str, in_partition_key: bool) -> Column {
        let expression = definition::tokens(expression);
        Column { name: name.to_owned(), is_default, expression, in_partition_key }
    }

    #[test]
    fn a_partition_is_followed_over_defaults_to_the_clock() {
        let all = [
            column("ts", true, "now()", false),
            column("d", false, "toDate(ts)", true),
            column("m", true, "toMonth(event)", true),
            column("a", true, "if(m = 0, b, ts)", true),
            column("b", true, "a", false),
        ];
        let d = trace(&all[1], &all);
        assert_eq!((d.volatile.as_deref(), d.unless_sent.as_slice()), (Some("now"), &["ts".to_owned()][..]));
        assert_eq!(trace(&all[2], &all).volatile, None);
        let a = trace(&all[3], &all);
        assert_eq!(a.volatile.as_deref(), Some("now"), "over circles and dead ends");
        assert_eq!(a.unless_sent, ["ts", "a"]);
    }
}
