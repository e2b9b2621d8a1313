//! The routes of table care: each is a verb of the library's `Care`, for whoever asks.
//!
//! Refuses to decide anything: what is merged or written again is named, or shown by a trial run.

use std::num::NonZeroU64;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::care::{
    Optimizations, Optimize, Recompress, Recompressions, Report, SizesOf, Sort, Survey, Targets,
};
use crate::schema::codec::Codec;
use crate::units::{ByteSize, Span};

const TIMEOUT: Span = Span::secs(3600);
const SAMPLE_ROWS: u64 = 100_000;
const SAMPLE_BYTES: ByteSize = ByteSize::mib(64);
const GAIN_PERCENT_MIN: u64 = 10;

/// How much is measured, of which columns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Of these columns alone.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Tried beside those that suit the column's type, such as `ZSTD(9)`.
    #[serde(default)]
    pub codecs: Vec<String>,
    /// Rows of the sample of each column; 100000 without it.
    pub sample_rows: Option<NonZeroU64>,
    /// Bytes of the sample of each column, before compression; 64MiB without it.
    pub sample_bytes: Option<ByteSize>,
    /// Percent that a codec must save to be advised; 10 without it.
    #[schemars(range(max = 100))]
    pub gain_percent_min: Option<u64>,
}

/// How one table is to be merged.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// Each partition into one part.
    #[serde(default, rename = "final")]
    pub to_one_part: bool,
    /// The partition with this id alone.
    pub partition: Option<String>,
    /// Rows that are the same become one.
    #[serde(default)]
    pub deduplicate: bool,
    /// Compares these columns alone, which must be those of the keys at least; only with `deduplicate`.
    #[serde(default)]
    pub by: Vec<String>,
    /// Not to look whether what is written again finds room.
    #[serde(default)]
    pub skip_disk_check: bool,
    /// Longest wait for a table; it goes on in the server. `1h` without it.
    pub timeout: Option<Span>,
}

/// Which tables are to be merged, and how: those named, or all but some.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeAll {
    #[serde(default)]
    pub tables: Vec<String>,
    /// Every table of the database that has parts.
    #[serde(default)]
    pub all: bool,
    /// But these; only with `all`.
    #[serde(default)]
    pub except: Vec<String>,
    /// Each partition into one part.
    #[serde(default, rename = "final")]
    pub to_one_part: bool,
    /// Rows that are the same become one.
    #[serde(default)]
    pub deduplicate: bool,
    /// Not to look whether what is written again finds room.
    #[serde(default)]
    pub skip_disk_check: bool,
    /// Longest wait for a table; it goes on in the server. `1h` without it.
    pub timeout: Option<Span>,
}

/// Which partitions are to be written again: those named, or all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Ids of partitions.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// Every partition, one after the other.
    #[serde(default)]
    pub all_partitions: bool,
    /// Columns that get a codec first.
    #[serde(default)]
    pub codecs: Vec<ColumnCodec>,
    /// Not to look whether what is written again finds room.
    #[serde(default)]
    pub skip_disk_check: bool,
    /// Longest wait for a partition; it goes on in the server. `1h` without it.
    pub timeout: Option<Span>,
}

/// A column and the codec that it gets.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnCodec {
    pub column: String,
    /// Such as `Delta, ZSTD(1)`.
    pub codec: String,
}

fn database(asked: &Asked) -> Option<String> {
    asked.text("database").map(str::to_owned)
}

pub async fn sizes(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let sort = match asked.text("sort") {
        None | Some("bytes") => Sort::Bytes,
        Some("rows") => Sort::Rows,
        Some("parts") => Sort::Parts,
        Some("ratio") => Sort::Ratio,
        Some("name") => Sort::Name,
        Some(_) => return Err(Problem::bad("sort is none of bytes, rows, parts, ratio, name")),
    };
    let (tables, partitions) = (asked.names("tables")?, asked.flag("partitions")?);
    let of = SizesOf { database: database(asked), tables, partitions, sort };
    Answer::new(&surface.desks.care(asked.here())?.sizes(&of).await?)
}

pub async fn columns(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let survey = Survey {
        database: database(asked),
        table: asked.id.clone(),
        columns: Vec::new(),
        codecs: Vec::new(),
        sample_rows: 0,
        sample_bytes: 0,
        gain_percent_min: 0,
    };
    Answer::new(&surface.desks.care(asked.here())?.compression(&survey).await?)
}

pub fn compression(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let measure: Measure = asked.body()?;
    if measure.gain_percent_min.is_some_and(|gain| gain > 100) {
        return Err(Problem::unfit("gain_percent_min is more than 100"));
    }
    let survey = Survey {
        database: database(asked),
        table: asked.id.clone(),
        columns: measure.columns,
        codecs: measure.codecs.iter().map(|text| codec(text)).collect::<Result<_, _>>()?,
        sample_rows: measure.sample_rows.map_or(SAMPLE_ROWS, NonZeroU64::get),
        sample_bytes: measure.sample_bytes.unwrap_or(SAMPLE_BYTES).0,
        gain_percent_min: measure.gain_percent_min.unwrap_or(GAIN_PERCENT_MIN),
    };
    surface.desks.care(asked.here())?;
    jobs::start(surface, asked, |handle| {
        let care = surface.desks.care(asked.job(&handle));
        async move { Ok::<Report, Problem>(care?.compression(&survey).await?) }
    })
}

pub async fn optimize(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let merge: Merge = asked.body()?;
    if !merge.by.is_empty() && !merge.deduplicate {
        return Err(Problem::unfit("by is only for deduplicate\nhint: set deduplicate as well"));
    }
    let options = Optimize {
        database: database(asked),
        targets: Targets::Named(vec![asked.id.clone()]),
        to_one_part: merge.to_one_part,
        partition: merge.partition,
        deduplicate: merge.deduplicate,
        deduplicate_by: merge.by,
        dry_run: asked.is_dry_run()?,
        skip_disk_check: merge.skip_disk_check,
        timeout: merge.timeout.unwrap_or(TIMEOUT).0,
    };
    merged(surface, asked, options).await
}

pub async fn optimize_all(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let merge: MergeAll = asked.body()?;
    let targets = match (merge.all, merge.tables.is_empty(), merge.except.is_empty()) {
        (true, true, _) => Targets::AllBut(merge.except),
        (false, false, true) => Targets::Named(merge.tables),
        _ => return Err(Problem::unfit("name tables, or set all and what to leave out of it, but not both")),
    };
    let options = Optimize {
        database: database(asked),
        targets,
        to_one_part: merge.to_one_part,
        partition: None,
        deduplicate: merge.deduplicate,
        deduplicate_by: Vec::new(),
        dry_run: asked.is_dry_run()?,
        skip_disk_check: merge.skip_disk_check,
        timeout: merge.timeout.unwrap_or(TIMEOUT).0,
    };
    merged(surface, asked, options).await
}

async fn merged(surface: &Arc<Surface>, asked: &Asked, options: Optimize) -> Result<Answer, Problem> {
    let care = surface.desks.care(asked.here())?;
    if options.dry_run {
        return Answer::new(&care.optimize(&options).await?);
    }
    jobs::start(surface, asked, |handle| {
        let care = surface.desks.care(asked.job(&handle));
        async move { Ok::<Optimizations, Problem>(care?.optimize(&options).await?) }
    })
}

pub async fn recompress(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let rewrite: Rewrite = asked.body()?;
    if rewrite.all_partitions != rewrite.partitions.is_empty() {
        return Err(Problem::unfit("name partitions, or set all_partitions, but not both"));
    }
    let one = |one: &ColumnCodec| Ok::<_, Problem>((one.column.clone(), codec(&one.codec)?));
    let options = Recompress {
        database: database(asked),
        table: asked.id.clone(),
        partitions: rewrite.partitions,
        codecs: rewrite.codecs.iter().map(one).collect::<Result<_, _>>()?,
        dry_run: asked.is_dry_run()?,
        skip_disk_check: rewrite.skip_disk_check,
        timeout: rewrite.timeout.unwrap_or(TIMEOUT).0,
    };
    let care = surface.desks.care(asked.here())?;
    if options.dry_run {
        return Answer::new(&care.recompress(&options).await?);
    }
    jobs::start(surface, asked, |handle| {
        let care = surface.desks.care(asked.job(&handle));
        async move { Ok::<Recompressions, Problem>(care?.recompress(&options).await?) }
    })
}

fn codec(text: &str) -> Result<Codec, Problem> {
    text.parse().map_err(|error: crate::schema::codec::Error| Problem::unfit(&error.to_string()))
}
