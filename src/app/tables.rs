//! Table files and the tables behind them: load, compare, create, check with their examples.
//!
//! Refuses to change a table that exists. Statements are made by `schema`, run by `clickhouse`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::{Error, connect, runtime};
use crate::admin::migrate::AgeRules;
use crate::clickhouse::Client;
use crate::config::Config;
use crate::crypt::{self, Ring};
use crate::decode::{Decoder, Verdict};
use crate::record::{Offset, Partition, Record};
use crate::schema::diff::{Difference, LiveColumn, LiveTable, Severity, compare};
use crate::schema::{self, Table, ddl};

/// The tables that the configuration names.
pub fn load(config: &Config) -> Result<Vec<Arc<Table>>, Error> {
    select(schema::load_dir(&config.tables.path).map_err(wrong)?, &config.tables.only)
}

/// Those that there are: a folder that is missing or empty has none.
pub fn present(path: &Path) -> Result<Vec<Arc<Table>>, schema::Error> {
    match schema::load_dir(path) {
        Err(schema::Error::NoTables { .. }) => Ok(Vec::new()),
        Err(_) if !path.exists() => Ok(Vec::new()),
        other => other,
    }
}

/// As the files are when it is asked.
pub fn age_rules(config: &Config) -> AgeRules {
    let (path, database) = (config.tables.path.clone(), config.clickhouse.database.clone());
    Arc::new(move || {
        let tables = present(&path).map_err(|error| error.to_string())?;
        let is_ours = |table: &&Arc<Table>| table.database.as_ref().is_none_or(|name| *name == database);
        let aged = tables.iter().filter(|table| table.lifecycle.is_some()).filter(is_ours);
        Ok(aged.map(|table| table.name.clone()).collect())
    })
}

/// As [`load`], with the keys that columns need, for whoever makes rows.
///
/// # Errors
/// As [`load`]; also a key that is not in the ring, or no ring.
pub fn load_to_fill(config: &Config) -> Result<Vec<Arc<Table>>, Error> {
    with_keys(load(config)?, config)
}

fn with_keys(mut tables: Vec<Arc<Table>>, config: &Config) -> Result<Vec<Arc<Table>>, Error> {
    let Some(need) = tables.iter().find_map(|table| table.needs().next()) else { return Ok(tables) };
    let path = config.crypt.keyring_file.as_ref().ok_or_else(|| {
        wrong(anyhow::anyhow!("{} needs the key `{}`: {}", need.column, need.key, crypt::Error::NoRing))
    })?;
    let ring = Arc::new(Ring::read(path)?);
    for table in &mut tables {
        // Nobody else has them yet.
        if let Some(table) = Arc::get_mut(table) {
            let name = table.name.clone();
            table.put_keys(&ring).map_err(|error| wrong(anyhow::anyhow!("table `{name}`: {error}")))?;
        }
    }
    Ok(tables)
}

/// Those with these names; all without any.
pub fn select(tables: Vec<Arc<Table>>, names: &[String]) -> Result<Vec<Arc<Table>>, Error> {
    if let Some(missing) = names.iter().find(|name| tables.iter().all(|table| table.name != **name)) {
        let known: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        return Err(Error::WrongUse(anyhow::anyhow!(
            "there is no table file for `{missing}`\nhint: the tables are {}",
            known.join(", ")
        )));
    }
    Ok(tables.into_iter().filter(|table| names.is_empty() || names.contains(&table.name)).collect())
}

/// How a table file and the live table differ.
#[derive(Debug)]
pub struct Comparison {
    pub table: String,
    /// `None` when there is no such table.
    pub differences: Option<Vec<Difference>>,
}

impl Comparison {
    /// Whether rows of the table file could not be inserted.
    pub fn blocks(&self) -> bool {
        match &self.differences {
            None => true,
            Some(all) => all.iter().any(|d| d.severity() == Severity::Blocks),
        }
    }
}

/// Compares the tables named with the live ones.
pub fn diff(config: &Config, names: &[String]) -> Result<Vec<Comparison>, Error> {
    let tables = select(load(config)?, names)?;
    runtime()?.block_on(async {
        let client = connect(config).await?;
        compare_all(config, &client, &tables).await
    })
}

/// Creates the tables that do not exist; gives the names of all.
pub fn create(config: &Config, names: &[String]) -> Result<Vec<String>, Error> {
    let tables = select(load(config)?, names)?;
    runtime()?.block_on(async {
        let client = connect(config).await?;
        for table in &tables {
            client.execute_idempotent(&ddl::create_table(table, true), &[]).await?;
        }
        Ok(tables.iter().map(|table| table.name.clone()).collect())
    })
}

/// Refuses tables that are missing or that could not take the rows.
pub async fn check_live(config: &Config, client: &Client, tables: &[Arc<Table>]) -> Result<(), Error> {
    let mut faults = Vec::new();
    for comparison in compare_all(config, client, tables).await? {
        let table = &comparison.table;
        let Some(differences) = comparison.differences else {
            faults.push(format!(
                "table `{table}` does not exist, or this user may not see it\n\
                 hint: create it with `penstock schema create {table}`, or grant SELECT and INSERT on it"
            ));
            continue;
        };
        for difference in differences {
            match difference.severity() {
                Severity::Blocks => {
                    faults.push(format!(
                        "table `{table}`: {difference}\nhint: see `penstock schema diff {table}`"
                    ));
                }
                Severity::Warns => tracing::warn!(%table, "{difference}"),
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::WrongUse(anyhow::anyhow!("{}", faults.join("\n")))) }
}

async fn compare_all(
    config: &Config,
    client: &Client,
    tables: &[Arc<Table>],
) -> Result<Vec<Comparison>, Error> {
    let mut all = Vec::new();
    for table in tables {
        let live = live_table(config, client, table).await?;
        let differences = live.map(|live| compare(table, &live));
        all.push(Comparison { table: table.name.clone(), differences });
    }
    Ok(all)
}

async fn live_table(config: &Config, client: &Client, table: &Table) -> Result<Option<LiveTable>, Error> {
    let database = table.database.as_ref().unwrap_or(&config.clickhouse.database);
    let params = [("database", json!(database)), ("table", json!(table.name))];
    let text =
        |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let columns = client
        .query(
            "SELECT name, type, default_kind FROM system.columns \
             WHERE database = {database:String} AND table = {table:String} ORDER BY position",
            &params,
        )
        .await?;
    let found = client
        .query(
            "SELECT engine, sorting_key, partition_key, engine_full FROM system.tables \
             WHERE database = {database:String} AND name = {table:String}",
            &params,
        )
        .await?;
    Ok(found.rows.first().map(|row| LiveTable {
        columns: columns
            .rows
            .iter()
            .map(|row| LiveColumn {
                name: text(row.first()),
                ty: text(row.get(1)),
                default_kind: text(row.get(2)),
            })
            .collect(),
        engine: text(row.first()),
        sorting_key: text(row.get(1)),
        partition_key: text(row.get(2)),
        engine_full: text(row.get(3)),
    }))
}

/// What checking one table file with its examples found.
#[derive(Debug)]
pub struct Checked {
    pub path: PathBuf,
    pub table: String,
    pub examples: usize,
    /// One sentence for each example that behaved otherwise than its name says.
    pub faults: Vec<String>,
}

/// Checks table files and the examples beside them; without paths those of the configuration.
pub fn check(config: &Config, paths: &[PathBuf]) -> Result<Vec<Checked>, Error> {
    let configured = [config.tables.path.clone()];
    let paths = if paths.is_empty() { &configured[..] } else { paths };
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut all = Vec::new();
    for path in paths {
        for (file, table) in schema::load_files(path).map_err(wrong)? {
            let decoder = Decoder::judging(Arc::clone(&table), &config.decode);
            let mut decoder =
                decoder.map_err(|error| wrong(anyhow::anyhow!("{}: {error}", file.display())))?;
            let mut checked =
                Checked { path: file.clone(), table: table.name.clone(), examples: 0, faults: Vec::new() };
            for example in examples(&file).map_err(|error| Error::Failed(error.into()))? {
                checked.examples += 1;
                let fault =
                    judge(&mut decoder, &example, now_ms).map_err(|error| Error::Failed(error.into()))?;
                checked.faults.extend(fault.map(|fault| format!("{}: {fault}", example.display())));
            }
            all.push(checked);
        }
    }
    Ok(all)
}

/// The files `examples/ok-*` and `examples/bad-*` beside a table file, without the reasons.
fn examples(table_file: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folder = table_file.with_file_name("examples");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_none_or(|extension| extension != "reason") {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// Decodes one example; gives what is wrong with the verdict.
fn judge(decoder: &mut Decoder, example: &Path, now_ms: i64) -> std::io::Result<Option<String>> {
    let payload = std::fs::read(example)?;
    let record = Record {
        topic: "example",
        partition: Partition(0),
        offset: Offset(0),
        timestamp_ms: None,
        key: None,
        payload: Some(&payload),
    };
    let mut columns = decoder.columns();
    let verdict = decoder.decode(&record, now_ms, &mut columns);
    let name = example.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let expected = if name.starts_with("bad-") {
        Some(std::fs::read_to_string(example.with_extension("reason"))?.trim().to_owned())
    } else {
        None
    };
    Ok(match (verdict, expected) {
        (Verdict::Decoded, None) => None,
        (Verdict::Rejected(r), Some(expected)) => {
            let found = format!("{} {}", r.reason.code(), r.path).trim().to_owned();
            (found != expected && r.reason.code() != expected)
                .then(|| format!("expected `{expected}`, was rejected as `{r}`"))
        }
        (Verdict::Rejected(r), None) => Some(format!("was rejected as `{r}`")),
        (_, Some(expected)) => Some(format!("expected `{expected}`, but it decodes")),
        (Verdict::Filtered, None) => Some("was filtered".to_owned()),
    })
}

fn wrong(error: impl Into<anyhow::Error>) -> Error {
    Error::WrongUse(error.into())
}
