//! `penstock plan-capacity`: what can be typed, and how the plan looks.
//!
//! Refuses to compute it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::args::key_value;
use super::work::Call;
use super::{Exit, Failure};
use crate::app::capacity::{Asked, Plan, TablePlan, capacity};
use crate::units::Span;

const EXAMPLES: &str = "\
Examples:
  penstock plan-capacity --bench bench.json --window 1m
  penstock plan-capacity --rows-per-s-per-core 400000 --rate clicks=200000 --retention 90d
  penstock plan-capacity --rows-per-s-per-core 400000 --rate clicks=200000 --partitions 32 --row-bytes 150 --row-disk-bytes 45 --output json

What is not told is measured: rates by how fast the topics grow, sizes of rows by what the tables hold. What a core does
depends on the machine and the events: measure it there with `dev/bench-line --json > bench.json`. The formulas, and how
well they have met a run, are in docs/capacity.md.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CapacityArgs {
    /// Rows a second of a table; may be repeated, the others are measured
    #[arg(long, value_name = "TABLE=ROWS", value_parser = rate)]
    pub rate: Vec<(String, f64)>,
    /// How long rates are measured
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub window: Span,
    /// Rows that one core takes a second, as measured
    #[arg(long, value_name = "ROWS", value_parser = positive, conflicts_with = "bench")]
    pub rows_per_s_per_core: Option<f64>,
    /// The same by the result of dev/bench-line --json
    #[arg(long, value_name = "FILE")]
    pub bench: Option<PathBuf>,
    /// Partitions of each topic, in place of those that it has
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub partitions: Option<u32>,
    /// Bytes of a row's columns before compression, in place of what the tables hold
    #[arg(long, value_name = "BYTES", value_parser = positive)]
    pub row_bytes: Option<f64>,
    /// Bytes of a row on ClickHouse's disk, in place of what the tables hold
    #[arg(long, value_name = "BYTES", value_parser = positive)]
    pub row_disk_bytes: Option<f64>,
    /// How long rows are kept
    #[arg(long, default_value = "30d", value_name = "TIME")]
    pub retention: Span,
    /// Partition keys of the table that a batch touches
    #[arg(long, default_value_t = 1, value_name = "KEYS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partition_keys: u32,
    /// Time whose rows share one partition key
    #[arg(long, default_value = "30d", value_name = "TIME")]
    pub partition_key: Span,
    /// Part of the cores that is busy in quiet times; the rest catches up
    #[arg(long, default_value = "0.5", value_name = "PART", value_parser = part)]
    pub load_max: f64,
    /// Fewest pods, so that one may be away
    #[arg(long, default_value_t = 2, value_name = "PODS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pods_min: u32,
    /// Copies of each row in ClickHouse
    #[arg(long, default_value_t = 1, value_name = "COPIES", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub replicas: u32,
    /// Percent of a pod's memory limit that is memory.budget; 60 in the chart
    #[arg(long, default_value = "60", value_name = "PERCENT", value_parser = percent)]
    pub budget_percent: f64,
    /// Part of a disk that may be full
    #[arg(long, default_value = "0.8", value_name = "PART", value_parser = part)]
    pub disk_fill_max: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("write a number above 0".to_owned()),
    }
}

fn part(text: &str) -> Result<f64, String> {
    positive(text).ok().filter(|part| *part <= 1.0).ok_or_else(|| "write a number above 0 up to 1".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    positive(text)
        .ok()
        .filter(|part| *part <= 100.0)
        .ok_or_else(|| "write a number above 0 up to 100".to_owned())
}

fn rate(text: &str) -> Result<(String, f64), String> {
    let (table, rows) = key_value(text)?;
    Ok((table, positive(&rows)?))
}

impl CapacityArgs {
    fn asked(&self) -> Asked {
        Asked {
            rates: self.rate.clone(),
            window: self.window.0.max(Duration::from_millis(100)),
            rows_per_s_per_core: self.rows_per_s_per_core,
            bench: self.bench.clone(),
            partitions: self.partitions,
            row_bytes: self.row_bytes,
            row_disk_bytes: self.row_disk_bytes,
            retention: self.retention.0,
            partition_keys: self.partition_keys,
            partition_key: self.partition_key.0,
            load_max: self.load_max,
            pods_min: self.pods_min,
            replicas: self.replicas,
            budget_percent: self.budget_percent,
            disk_fill_max: self.disk_fill_max,
        }
    }
}

impl Call<'_> {
    pub fn plan_capacity(mut self, args: &CapacityArgs) -> Result<Exit, Failure> {
        let plan = capacity(&self.loaded.config, &args.asked())?;
        self.tell(&text(&plan), &json!(plan))?;
        Ok(Exit::Done)
    }
}

fn text(plan: &Plan) -> String {
    let line = |what: &str, value: String, more: String| format!("{what:<16}{value:>12}  {more}\n");
    let busy = format!("{:.1} busy at {:.0} rows/s; the rest catches up", plan.cores_busy, plan.rows_per_s);
    let catch_up = format!("an hour's backlog is caught up in {}", time(plan.catch_up_of_an_hour_s));
    let needed = format!("memory limit of each; {} are held at this rate", size(plan.budget_needed_bytes));
    let mut text = line("cores", format!("{:.1}", plan.cores), busy);
    text += &line("pods", plan.pods.to_string(), format!("of {:.1} cores; {catch_up}", plan.cores_per_pod));
    text += &line("memory", size(plan.memory_limit_bytes), needed);
    text += &line("partitions", plan.partitions_min.to_string(), "at least, one for each member".to_owned());
    text += &line("inserts", format!("{:.2}/s", plan.inserts_per_s), "into all tables".to_owned());
    text +=
        &line("disk", size(plan.disk_bytes), "of ClickHouse, all copies, with room for merges".to_owned());
    text += &format!(
        "\n{:<20}{:>12}{:>12}{:>14}{:>10}{:>14}{:>16}{:>12}\n",
        "table", "rows/s", "inserts/s", "rows/insert", "parts/s", "parts per key", "merges may stop", "disk"
    );
    text.extend(plan.tables.iter().map(row));
    text.extend(plan.hints.iter().map(|hint| format!("hint: {hint}\n")));
    text
}

fn row(table: &TablePlan) -> String {
    format!(
        "{:<20}{:>12.1}{:>12.2}{:>14.0}{:>10.2}{:>14.0}{:>16}{:>12}\n",
        table.table,
        table.rows_per_s,
        table.inserts_per_s,
        table.rows_per_insert,
        table.parts_per_s,
        table.parts_per_partition_key,
        time(table.merges_may_stop_s),
        size(table.disk_bytes)
    )
}

/// In the largest unit of which there is one.
fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut left = bytes;
    for unit in units {
        if left < 1024.0 {
            return format!("{left:.1} {unit}");
        }
        left /= 1024.0;
    }
    format!("{left:.1} PiB")
}

fn time(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "never".to_owned(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        assert_eq!(rate("clicks=2.5e4"), Ok(("clicks".to_owned(), 25_000.0)));
        for wrong in ["clicks", "clicks=", "clicks=-1", "clicks=0", "clicks=inf", "clicks=NaN"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert!(
            part("1").is_ok() && part("1.1").is_err() && percent("100").is_ok() && percent("101").is_err()
        );
    }

    #[test]
    fn sizes_and_times_are_told_in_units_that_people_use() {
        assert_eq!(
            (size(512.0), size(1536.0), size(3e15)),
            ("512.0 B".into(), "1.5 KiB".into(), "2.7 PiB".into())
        );
        assert_eq!(
            (time(90.0), time(f64::INFINITY), time(86_400.0)),
            ("90 s".into(), "never".into(), "24.0 h".into())
        );
    }
}
