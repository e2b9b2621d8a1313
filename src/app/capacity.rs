//! `penstock plan-capacity`: what is told and what is measured, put together for the plan.
//!
//! Refuses to compute the plan, and to guess: a rate, a size or a throughput that is neither told nor can be measured is
//! asked for, with the flag that tells it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::{Error, connect, runtime, tables};
use crate::capacity::{Demand, Means, plan};
use crate::clickhouse::Client;
use crate::config::Config;
use crate::kafka::group::Outsider;
use crate::pipeline::config::Delivery;
use crate::record::TopicPartition;
use crate::schema::Table;

pub use crate::capacity::{Plan, TablePlan};

const PARTS_TO_DELAY: u64 = 1000;
const SIZES: &str = "SELECT sum(data_uncompressed_bytes) / sum(rows), sum(bytes_on_disk) / sum(rows) FROM system.parts \
     WHERE active AND database = {database:String} AND table = {table:String} HAVING sum(rows) > 0";
const LIMIT: &str = "SELECT toUInt64OrDefault(extract(engine_full, 'parts_to_delay_insert = \\'?([0-9]+)'), \
     ifNull((SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert'), 1000)) \
     FROM system.tables WHERE database = {database:String} AND name = {table:String}";

/// What whoever asks has told.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Rows a second by table.
    pub rates: Vec<(String, f64)>,
    /// How long the rates of the other tables are measured.
    pub window: Duration,
    pub rows_per_s_per_core: Option<f64>,
    /// Result of `dev/bench-line --json`.
    pub bench: Option<PathBuf>,
    pub partitions: Option<u32>,
    pub row_bytes: Option<f64>,
    pub row_disk_bytes: Option<f64>,
    pub retention: Duration,
    pub partition_keys: u32,
    pub partition_key: Duration,
    pub load_max: f64,
    pub pods_min: u32,
    pub replicas: u32,
    pub budget_percent: f64,
    pub disk_fill_max: f64,
}

/// The plan for the tables of the configuration.
pub fn capacity(config: &Config, asked: &Asked) -> Result<Plan, Error> {
    let tables = tables::load(config)?;
    if let Some((unknown, _)) =
        asked.rates.iter().find(|(name, _)| tables.iter().all(|table| table.name != *name))
    {
        return Err(wrong(format!(
            "there is no table file for `{unknown}`\nhint: --rate TABLE=ROWS names a table"
        )));
    }
    let means = means(config, asked)?;
    let rates = rates(config, asked, &tables)?;
    let sizes = sizes(config, asked, &tables)?;
    let demand = |(table, ((rows_per_s, partitions), size)): (&Arc<Table>, ((f64, u32), Size))| Demand {
        table: table.name.clone(),
        rows_per_s,
        partitions,
        row_bytes: size.row,
        row_disk_bytes: size.disk,
        retention_s: asked.retention.as_secs_f64(),
        partition_keys: asked.partition_keys,
        partition_key_s: asked.partition_key.as_secs_f64(),
        parts_to_delay: size.parts_to_delay,
    };
    let demands: Vec<Demand> = tables.iter().zip(rates.into_iter().zip(sizes)).map(demand).collect();
    if demands.iter().all(|demand| demand.rows_per_s <= 0.0) {
        return Err(wrong(
            "nothing is published: there is nothing to plan for\nhint: --rate TABLE=ROWS tells what will be"
                .to_owned(),
        ));
    }
    Ok(plan(&demands.into_iter().filter(|demand| demand.rows_per_s > 0.0).collect::<Vec<_>>(), &means))
}

fn wrong(words: String) -> Error {
    Error::WrongUse(anyhow!(words))
}

fn means(config: &Config, asked: &Asked) -> Result<Means, Error> {
    let rows_per_s_per_core = match (asked.rows_per_s_per_core, &asked.bench) {
        (Some(told), _) => told,
        (None, Some(path)) => {
            let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()));
            let found = text.and_then(|text| of_bench(&text, config.delivery));
            found.map_err(Error::WrongUse)?
        }
        (None, None) => {
            return Err(wrong(
                "what a core does is not known\nhint: measure it with `dev/bench-line --json > bench.json` and give \
                 --bench bench.json, or tell --rows-per-s-per-core"
                    .to_owned(),
            ));
        }
    };
    let bytes = |size: crate::units::ByteSize| precise(size.0);
    Ok(Means {
        rows_per_s_per_core,
        load_max: asked.load_max,
        consumers: u32::from(config.kafka.consumers),
        pods_min: asked.pods_min,
        is_exactly_once: config.delivery == Delivery::ExactlyOnce,
        batch_rows_max: f64::from(config.batch.rows_max),
        batch_bytes_max: bytes(config.batch.bytes_max),
        batch_age_max_s: config.batch.age_max.0.as_secs_f64(),
        in_flight_max: f64::from(config.batch.in_flight_max),
        budget_bytes: bytes(config.memory.budget),
        prefetch_bytes: bytes(config.kafka.prefetch),
        budget_percent: asked.budget_percent,
        replicas: asked.replicas,
        disk_fill_max: asked.disk_fill_max,
    })
}

/// Of the run with this delivery, or of the dearest without one.
fn of_bench(text: &str, delivery: Delivery) -> anyhow::Result<f64> {
    let name = match delivery {
        Delivery::AtLeastOnce => "at_least_once",
        Delivery::ExactlyOnce => "exactly_once",
    };
    let hint = "it is no result of dev/bench-line --json\nhint: `dev/bench-line --json > bench.json`";
    let told: Value = serde_json::from_str(text).context(hint)?;
    let variants = told.get("variants").and_then(Value::as_array).ok_or_else(|| anyhow!(hint))?;
    let cost =
        |variant: &Value| variant.pointer("/medians/cpu_ns_penstock/0")?.as_f64().filter(|ns| *ns > 0.0);
    let own = |variant: &&Value| {
        variant.get("variant").and_then(Value::as_str).is_some_and(|flags| flags.contains(name))
    };
    let found = variants.iter().filter(own).find_map(cost);
    let dearest = || variants.iter().filter_map(cost).reduce(f64::max);
    let ns = found.or_else(dearest).ok_or_else(|| anyhow!(hint))?;
    Ok(1e9 / ns)
}

/// Rows a second and partitions, by table.
fn rates(config: &Config, asked: &Asked, tables: &[Arc<Table>]) -> Result<Vec<(f64, u32)>, Error> {
    let told =
        |table: &Table| asked.rates.iter().find(|(name, _)| *name == table.name).map(|(_, rate)| *rate);
    let complete: Option<Vec<(f64, u32)>> =
        tables.iter().map(|table| Some((told(table)?, asked.partitions?))).collect();
    if let Some(complete) = complete {
        return Ok(complete);
    }
    let outsider = Outsider::new(&config.kafka)?;
    let mut topics: Vec<Vec<TopicPartition>> = Vec::new();
    for table in tables {
        let mut of_table = Vec::new();
        for topic in &table.topics {
            of_table.extend(outsider.partitions(topic)?);
        }
        topics.push(of_table);
    }
    let ends = |of_table: &Vec<TopicPartition>| -> Result<i64, Error> {
        of_table.iter().map(|one| Ok(outsider.log(one)?.next.0)).sum()
    };
    let mut measured = vec![0.0; tables.len()];
    if tables.iter().any(|table| told(table).is_none()) {
        let begun: Vec<(Instant, i64)> =
            topics.iter().map(|one| Ok((Instant::now(), ends(one)?))).collect::<Result<_, Error>>()?;
        std::thread::sleep(asked.window);
        for ((of_table, (at, before)), rate) in topics.iter().zip(begun).zip(&mut measured) {
            let grown = ends(of_table)?.saturating_sub(before);
            *rate = precise(u64::try_from(grown).unwrap_or_default()) / at.elapsed().as_secs_f64();
        }
    }
    let partitions = |of_table: &Vec<TopicPartition>| u32::try_from(of_table.len()).unwrap_or(u32::MAX);
    let one = |((table, of_table), rate): ((&Arc<Table>, &Vec<TopicPartition>), f64)| {
        (told(table).unwrap_or(rate), asked.partitions.unwrap_or_else(|| partitions(of_table)))
    };
    Ok(tables.iter().zip(&topics).zip(measured).map(one).collect())
}

#[derive(Clone, Copy, Debug)]
struct Size {
    row: f64,
    disk: f64,
    parts_to_delay: u64,
}

/// As told, or as the tables have them.
fn sizes(config: &Config, asked: &Asked, tables: &[Arc<Table>]) -> Result<Vec<Size>, Error> {
    if let (Some(row), Some(disk)) = (asked.row_bytes, asked.row_disk_bytes) {
        return Ok(vec![Size { row, disk, parts_to_delay: PARTS_TO_DELAY }; tables.len()]);
    }
    runtime()?.block_on(async {
        let client = connect(config).await?;
        let mut all = Vec::new();
        for table in tables {
            all.push(size(config, asked, &client, &table.name).await?);
        }
        Ok(all)
    })
}

async fn size(config: &Config, asked: &Asked, client: &Client, table: &str) -> Result<Size, Error> {
    let params = [("database", json!(config.clickhouse.database)), ("table", json!(table))];
    let sizes = client.query(SIZES, &params).await?.rows;
    let limit = client.query(LIMIT, &params).await?.rows;
    let number = |rows: &[Vec<Value>], at: usize| {
        let value = rows.first().and_then(|row| row.get(at))?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    };
    let missing = |flag: &str| {
        wrong(format!("{table} has no rows to be measured by\nhint: tell {flag}, the bytes of one row"))
    };
    let row = asked.row_bytes.or_else(|| number(&sizes, 0)).ok_or_else(|| missing("--row-bytes"))?;
    let disk =
        asked.row_disk_bytes.or_else(|| number(&sizes, 1)).ok_or_else(|| missing("--row-disk-bytes"))?;
    let parts_to_delay = number(&limit, 0).map_or(PARTS_TO_DELAY, count);
    Ok(Size { row, disk, parts_to_delay })
}

fn count(number: f64) -> u64 {
    // A setting of the server; bounded, so nothing is cut.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = number.clamp(1.0, 1e9) as u64;
    count
}

fn precise(number: u64) -> f64 {
    // Below 2^53 in all of these.
    #[allow(clippy::cast_precision_loss)]
    let number = number as f64;
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_of_the_same_delivery_counts_and_the_dearest_without_one() {
        let text = json!({"variants": [
            {"variant": "--set delivery=at_least_once", "medians": {"cpu_ns_penstock": [1000, 1.0]}},
            {"variant": "--set delivery=exactly_once", "medians": {"cpu_ns_penstock": [1250, 1.25]}},
        ]})
        .to_string();
        assert_eq!(of_bench(&text, Delivery::ExactlyOnce).unwrap(), 800_000.0);
        assert_eq!(of_bench(&text, Delivery::AtLeastOnce).unwrap(), 1_000_000.0);
        let plain =
            json!({"variants": [{"variant": "", "medians": {"cpu_ns_penstock": [2000, 1.0]}}]}).to_string();
        assert_eq!(of_bench(&plain, Delivery::ExactlyOnce).unwrap(), 500_000.0);
        for wrong in ["", "{}", "{\"variants\": []}"] {
            assert!(
                format!("{:#}", of_bench(wrong, Delivery::ExactlyOnce).unwrap_err()).contains("hint: "),
                "{wrong}"
            );
        }
    }
}
