//! `penstock table`: what can be typed, and how the answers look.
//!
//! Refuses to decide anything: what is merged or written again is named, or shown by a dry run.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::work::Call;
use super::{Exit, Failure};
use crate::app::care::{
    Measured, Optimize, Optimized, Recompress, Recompressed, Report, Session, Size, Sizes, SizesOf, Sort,
    Survey, Targets,
};
use crate::schema::codec::Codec;
use crate::units::{ByteSize, Span};

const EXAMPLES: &str = "\
Examples:
  penstock table sizes
  penstock table sizes flights --partitions --sort rows --output json
  penstock table compression flights
  penstock table compression flights --column origin --codec \"ZSTD(9)\" --sample-rows 500000
  penstock table optimize flights --final --dry-run
  penstock table optimize clicks --partition 202611 --final --deduplicate --by event_id --by time
  penstock table optimize --all --except clicks --timeout 6h
  penstock table recompress flights --partition 202601 --codec \"origin=ZSTD(9)\"

They work on the first endpoint of clickhouse.endpoints, or on the one that --endpoint names.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TableArgs {
    #[command(subcommand)]
    pub command: TableCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum TableCommand {
    /// Tells how large databases, tables and partitions are; of every database but the server's own without --database
    Sizes(SizesArgs),
    /// Tells what each column takes, and which codec would take less, measured with a sample
    Compression(CompressionArgs),
    /// Merges parts now and waits for it
    Optimize(OptimizeArgs),
    /// Writes partitions again, so that they get the codecs that their columns have now
    Recompress(RecompressArgs),
}

#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Database of the tables; clickhouse.database without it
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Endpoint to work on, as host:port; the first without it
    #[arg(long, value_name = "HOST")]
    endpoint: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct SizesArgs {
    /// Names of tables; all without any
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Also each partition
    #[arg(long)]
    partitions: bool,
    /// What comes first
    #[arg(long, value_enum, default_value_t = SortBy::Bytes, value_name = "BY")]
    sort: SortBy,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// The largest on disk
    Bytes,
    /// The most rows
    Rows,
    /// The most parts
    Parts,
    /// The worst compressed
    Ratio,
    /// By the alphabet
    Name,
}

#[derive(Clone, Debug, Args)]
pub struct CompressionArgs {
    /// The table
    #[arg(value_name = "TABLE")]
    table: String,
    /// Of this column alone; may be repeated
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,
    /// Tries this codec too; may be repeated
    #[arg(long, value_name = "CODEC")]
    codec: Vec<Codec>,
    /// Rows of the sample of each column; 0 measures nothing and makes no scratch table
    #[arg(long, default_value_t = 100_000, value_name = "NUMBER")]
    sample_rows: u64,
    /// Bytes of the sample of each column, before compression
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    sample_bytes: ByteSize,
    /// Percent that a codec must save to be advised
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    gain_min: u64,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, Args)]
pub struct Care {
    /// Says what would be done and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Does not look whether what is written again finds room
    #[arg(long)]
    skip_disk_check: bool,
    /// Longest wait for one table or partition; it goes on in the server
    #[arg(long, default_value = "1h", value_name = "SPAN")]
    timeout: Span,
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub struct OptimizeArgs {
    /// Names of tables
    #[arg(value_name = "TABLE", group = "which")]
    tables: Vec<String>,
    /// Every table of the database that has parts
    #[arg(long, group = "which")]
    all: bool,
    /// But this one; may be repeated
    #[arg(long, value_name = "TABLE", requires = "all")]
    except: Vec<String>,
    /// Merges each partition into one part
    #[arg(long = "final")]
    to_one_part: bool,
    /// Id of one partition, as `penstock table sizes --partitions` prints it
    #[arg(long, value_name = "ID")]
    partition: Option<String>,
    /// Makes rows that are the same one
    #[arg(long)]
    deduplicate: bool,
    /// Compares this column alone; may be repeated, and must name the columns of the keys
    #[arg(long, value_name = "COLUMN", requires = "deduplicate")]
    by: Vec<String>,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub struct RecompressArgs {
    /// The table
    #[arg(value_name = "TABLE")]
    table: String,
    /// Id of a partition; may be repeated
    #[arg(long, value_name = "ID", group = "which")]
    partition: Vec<String>,
    /// Every partition, one after the other
    #[arg(long, group = "which")]
    all_partitions: bool,
    /// Gives a column this codec first; may be repeated
    #[arg(long, value_name = "COLUMN=CODEC", value_parser = column_codec)]
    codec: Vec<(String, Codec)>,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    place: Place,
}

fn column_codec(text: &str) -> Result<(String, Codec), String> {
    match text.split_once('=') {
        Some((column, codec)) if !column.is_empty() => {
            Ok((column.to_owned(), codec.parse().map_err(|error| format!("{error}"))?))
        }
        _ => Err("write COLUMN=CODEC".to_owned()),
    }
}

impl Call<'_> {
    pub fn table(mut self, args: &TableArgs) -> Result<Exit, Failure> {
        let place = match &args.command {
            TableCommand::Sizes(args) => &args.place,
            TableCommand::Compression(args) => &args.place,
            TableCommand::Optimize(args) => &args.place,
            TableCommand::Recompress(args) => &args.place,
        };
        let session = Session::open(&self.inputs, &self.loaded, place.endpoint.clone())?;
        match &args.command {
            TableCommand::Sizes(args) => {
                let sizes = session.sizes(&sizes_of(args))?;
                self.tell(&sizes_text(&sizes), &json!(sizes))?;
                Ok(Exit::Done)
            }
            TableCommand::Compression(args) => {
                let report = session.compression(&survey(args))?;
                self.tell(&report_text(&report), &json!(report))?;
                Ok(Exit::Done)
            }
            TableCommand::Optimize(args) => {
                let done = session.optimize(&optimize(args))?;
                let text: String = done.tables.iter().map(optimized_line).collect();
                self.tell(&text, &json!(done))?;
                Ok(if done.tables.iter().any(|one| one.error.is_some()) { Exit::Failed } else { Exit::Done })
            }
            TableCommand::Recompress(args) => {
                let done = session.recompress(&recompress(args))?;
                let mut text: String = done.statements.iter().map(|sql| format!("{sql}\n")).collect();
                text.extend(done.partitions.iter().map(recompressed_line));
                self.tell(&text, &json!(done))?;
                Ok(Exit::Done)
            }
        }
    }
}

fn sizes_of(args: &SizesArgs) -> SizesOf {
    let sort = match args.sort {
        SortBy::Bytes => Sort::Bytes,
        SortBy::Rows => Sort::Rows,
        SortBy::Parts => Sort::Parts,
        SortBy::Ratio => Sort::Ratio,
        SortBy::Name => Sort::Name,
    };
    let (database, tables) = (args.place.database.clone(), args.tables.clone());
    SizesOf { database, tables, partitions: args.partitions, sort }
}

fn survey(args: &CompressionArgs) -> Survey {
    Survey {
        database: args.place.database.clone(),
        table: args.table.clone(),
        columns: args.column.clone(),
        codecs: args.codec.clone(),
        sample_rows: args.sample_rows,
        sample_bytes: args.sample_bytes.0,
        gain_percent_min: args.gain_min,
    }
}

fn optimize(args: &OptimizeArgs) -> Optimize {
    let targets =
        if args.all { Targets::AllBut(args.except.clone()) } else { Targets::Named(args.tables.clone()) };
    Optimize {
        database: args.place.database.clone(),
        targets,
        to_one_part: args.to_one_part,
        partition: args.partition.clone(),
        deduplicate: args.deduplicate,
        deduplicate_by: args.by.clone(),
        dry_run: args.care.dry_run,
        skip_disk_check: args.care.skip_disk_check,
        timeout: args.care.timeout.0,
    }
}

fn recompress(args: &RecompressArgs) -> Recompress {
    Recompress {
        database: args.place.database.clone(),
        table: args.table.clone(),
        partitions: args.partition.clone(),
        codecs: args.codec.clone(),
        dry_run: args.care.dry_run,
        skip_disk_check: args.care.skip_disk_check,
        timeout: args.care.timeout.0,
    }
}

fn sizes_text(sizes: &Sizes) -> String {
    let line = |name: String, one: &Size| {
        format!(
            "{name:<40} {:>16} rows {:>7} parts {:>12} on disk {:>12} raw  {:.2}x  {}\n",
            HumanCount(one.rows).to_string(),
            one.parts,
            HumanBytes(one.bytes_on_disk).to_string(),
            HumanBytes(one.uncompressed_bytes).to_string(),
            one.ratio,
            one.disks.join(", ")
        )
    };
    let mut text = String::new();
    sizes.databases.iter().for_each(|one| text += &line(one.database.clone(), one));
    sizes.tables.iter().for_each(|one| text += &line(format!("{}.{}", one.database, one.table), one));
    for one in &sizes.partitions {
        text += &line(format!("{}.{} {}", one.database, one.table, one.partition_id), one);
    }
    for disk in &sizes.disks {
        let (free, total) = (HumanBytes(disk.free_bytes), HumanBytes(disk.total_bytes));
        text += &format!("disk {}: {free} of {total} free\n", disk.name);
    }
    text
}

fn report_text(report: &Report) -> String {
    let mut text = format!("{}, {} rows\n", report.table, HumanCount(report.rows));
    if report.compact_bytes > 0 {
        text += &format!("{} in compact parts are told by no column\n", HumanBytes(report.compact_bytes));
    }
    for one in &report.columns {
        let codec = if one.codec.is_empty() { "default" } else { &one.codec };
        text += &format!(
            "{:<30} {:<24} {:>12} of {:>12}  {:.2}x  {codec}\n",
            one.name,
            one.data_type,
            HumanBytes(one.compressed_bytes).to_string(),
            HumanBytes(one.uncompressed_bytes).to_string(),
            one.ratio
        );
        if let Some(advice) = &one.advice {
            let about = match advice.saves_bytes {
                0 => String::new(),
                bytes => format!(", about {}", HumanBytes(bytes)),
            };
            text += &format!("  saves {} %{about}: {}\n", advice.saves_percent, advice.sql);
        }
        if !one.measured.is_empty() {
            text += &format!(
                "  measured: {}\n",
                one.measured.iter().map(measured).collect::<Vec<_>>().join(", ")
            );
        }
    }
    text
}

fn measured(one: &Measured) -> String {
    let codec = if one.codec.is_empty() { "default" } else { &one.codec };
    format!("{codec} {}", HumanBytes(one.bytes))
}

fn optimized_line(one: &Optimized) -> String {
    let before = format!("{} parts, {}", one.before.parts, HumanBytes(one.before.bytes));
    match (&one.error, &one.after) {
        (Some(error), _) => format!("failed   {}: {error}\n", one.table),
        (None, None) => {
            format!(
                "planned  {}: {before}, at most {} written again\n  {}\n",
                one.table,
                HumanBytes(one.bytes_to_write),
                one.sql
            )
        }
        (None, Some(after)) => format!(
            "done     {}: {before} -> {} parts, {}, {} rows fewer, {} ms\n",
            one.table,
            after.parts,
            HumanBytes(after.bytes),
            HumanCount(one.before.rows.saturating_sub(after.rows)),
            one.took_ms
        ),
    }
}

fn recompressed_line(one: &Recompressed) -> String {
    let before = HumanBytes(one.before.bytes);
    match &one.after {
        None => format!("planned  {}: {before}\n  {}\n", one.partition_id, one.sql),
        Some(after) => format!("done     {}: {before} -> {}\n", one.partition_id, HumanBytes(after.bytes)),
    }
}
