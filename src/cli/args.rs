//! The arguments of each command, with their help.
//!
//! Refuses to act on them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::app::ledger::Target;

const RUN_EXAMPLES: &str = "\
Examples:
  penstock run --config penstock.yaml
  penstock run --stop-at-end --progress always
  penstock run --set batch.age_max=5s --log debug

It stops on SIGTERM and SIGINT: no more records are taken in, and those in hand are written and committed
within shutdown.drain.";

const CHECK_EXAMPLES: &str = "\
Examples:
  penstock check
  penstock check schemas/flights schemas/clicks/table.yaml

Beside a table file lie its examples: each examples/ok-* must decode, and each examples/bad-x.json must be
rejected with the code that stands in examples/bad-x.reason.";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  penstock schema ddl flights
  penstock schema diff
  penstock schema create flights clicks
  penstock schema plan --migration flights_delay
  penstock schema format > table.schema.json";

const QUERY_EXAMPLES: &str = "\
Examples:
  penstock query \"SELECT count() FROM flights\"
  penstock query \"SELECT * FROM flights WHERE origin = {o:String} LIMIT 5\" --param o=SFO --format CSVWithNames";

const CONFIG_EXAMPLES: &str = "\
Examples:
  penstock config check --config penstock.yaml
  penstock config dump
  penstock config schema > penstock.schema.json";

const LEDGER_EXAMPLES: &str = "\
Examples:
  penstock ledger show
  penstock ledger show --topic flights --output json
  penstock ledger rewind --topic flights --partition 3 --to 120000 --dry-run
  penstock ledger rewind --topic flights --all-partitions --to earliest --yes

What is set back begins a new history: rows of records that are read again are really inserted again.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  penstock completions bash > /etc/bash_completion.d/penstock";

#[derive(Clone, Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Stop once everything is read and committed; what is published meanwhile is read too
    #[arg(long)]
    pub stop_at_end: bool,
    /// Whether a line on the standard error shows rows, rates, lag and dead letters
    #[arg(long, value_enum, default_value_t = Progress::Auto, value_name = "WHEN")]
    pub progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// On a terminal
    Auto,
    Always,
    Never,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// Table files, or folders of them; `tables.path` of the configuration without any
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = SCHEMA_EXAMPLES)]
pub struct SchemaArgs {
    #[command(subcommand)]
    pub command: SchemaCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum SchemaCommand {
    /// Prints the CREATE TABLE statements
    Ddl(TableArgs),
    /// Compares table files with the live tables; exit code 3 when they differ
    Diff(TableArgs),
    /// Creates the tables that do not exist
    Create(TableArgs),
    /// Prints the statements that would bring the live tables to their table files; exit code 3 when there are any
    Plan {
        /// Writes them as a migration of this name into migrations.path; then exit code 0
        #[arg(long, value_name = "NAME")]
        migration: Option<String>,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Prints the JSON Schema of table files, for editors
    Format,
}

#[derive(Clone, Debug, Args)]
pub struct TableArgs {
    /// Names of tables; all without any
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = QUERY_EXAMPLES)]
pub struct QueryArgs {
    /// The statement; values belong into parameters, written {name:Type}
    #[arg(value_name = "SQL")]
    pub sql: String,
    /// Value of a parameter; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = key_value)]
    pub param: Vec<(String, String)>,
    /// ClickHouse's name of the output format; by --output without it
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = LEDGER_EXAMPLES)]
pub struct LedgerArgs {
    #[command(subcommand)]
    pub command: LedgerCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum LedgerCommand {
    /// Prints committed offsets and planned batches; exit code 3 when a plan is damaged
    Show {
        /// Of this topic alone; of every topic of the table files without it
        #[arg(long)]
        topic: Option<String>,
        /// Of the partitions with this number alone
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
        partition: Option<i32>,
    },
    /// Commits other offsets, while no process of the group runs
    Rewind(RewindArgs),
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct RewindArgs {
    /// The topic
    #[arg(long)]
    pub topic: String,
    /// Number of the partition
    #[arg(long, group = "which", value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Every partition of the topic
    #[arg(long, group = "which")]
    pub all_partitions: bool,
    /// An offset, `earliest`, `latest`, or `committed`, which drops the plan and nothing else
    #[arg(long, value_name = "OFFSET")]
    pub to: Target,
    /// Says what would be done and does nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Does not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = CONFIG_EXAMPLES)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints the configuration in effect and where each value was set, without secrets
    Dump {
        /// Format; by --output without it
        #[arg(long, value_enum, value_name = "FORMAT")]
        format: Option<DumpFormat>,
    },
    /// Prints the JSON Schema of the configuration file
    Schema,
    /// Tells every fault of the configuration at once
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DumpFormat {
    Yaml,
    Json,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

const GENERATE_EXAMPLES: &str = "\
Examples:
  penstock generate clicks --count 1000000 --seed 1
  penstock generate clicks --count 600000 --rate 10000 --topic clicks
  penstock generate flights --parquet /data/flights-3m.parquet --partitions 8";

#[derive(Clone, Debug, Args)]
#[command(after_help = GENERATE_EXAMPLES)]
pub struct GenerateArgs {
    #[command(subcommand)]
    pub command: GenerateCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum GenerateCommand {
    /// Synthetic click events, as in schemas/clicks; the same for the same seed
    Clicks {
        /// How many
        #[arg(long, default_value_t = 100_000)]
        count: u64,
        /// What they depend on
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        common: GenerateCommon,
    },
    /// Real rows of a Parquet file that ClickHouse reads, each as a JSON object
    Flights {
        /// The file, as ClickHouse sees it
        #[arg(long, value_name = "FILE")]
        parquet: PathBuf,
        /// At most this many rows
        #[arg(long, default_value_t = 3_000_000)]
        rows: u64,
        #[command(flatten)]
        common: GenerateCommon,
    },
}

#[derive(Clone, Debug, Args)]
pub struct GenerateCommon {
    /// Topic to publish to; named like the events without it
    #[arg(long)]
    pub topic: Option<String>,
    /// Partitions of the topic, if it has to be created
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    /// Messages per second; as fast as the brokers take them without it. The times in clicks pass at this rate too
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// How messages are compressed
    #[arg(long, default_value = "lz4", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    pub compression: String,
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_split_at_the_first_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("=b").is_err() && key_value("a").is_err());
    }
}
