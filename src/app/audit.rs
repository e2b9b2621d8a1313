//! `penstock audit-rows`: which offsets are to be accounted for, and the account of all of them.
//!
//! Refuses to compare: that is `audit`'s. What bounds the proof (other engines, letters that were deleted, a group
//! that began late) is told beside the figures.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::generate::bar;
use super::run::register;
use super::{Error, connect, runtime, tables};
use crate::audit::continuous::keeps_every_row;
use crate::audit::ledger::Rules;
use crate::audit::{self, Auditor, Letters, Lookup, Report, Target};
use crate::config::Config;
use crate::decode::Decoder;
use crate::kafka::admin::Purpose;
use crate::kafka::config::Start;
use crate::kafka::group::Outsider;
use crate::kafka::{scan, span};
use crate::pipeline::config::Delivery;
use crate::pipeline::resolve_topics;
use crate::record::{Offset, OffsetRange, Partition, TopicPartition};
use crate::schema::Table;

/// What is audited: all tables and everything that the group has committed, unless it is narrowed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub tables: Vec<String>,
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub from_offset: Option<i64>,
    pub to_offset: Option<i64>,
    /// Milliseconds since 1970.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
    pub deep: bool,
}

impl From<audit::Error> for Error {
    fn from(error: audit::Error) -> Self {
        match error {
            audit::Error::Kafka(error) => error.into(),
            audit::Error::ClickHouse(error) => (*error).into(),
            error @ (audit::Error::MissingColumn { .. } | audit::Error::Decode { .. }) => {
                Error::WrongUse(error.into())
            }
            error @ audit::Error::Answer(_) => Error::Failed(error.into()),
        }
    }
}

/// One topic of one table.
struct Source {
    table: Arc<Table>,
    lookup: Lookup,
    letters: String,
    targets: Vec<Target>,
}

/// Accounts for the offsets and gives what was found.
pub fn audit(config: &Config, options: &Options) -> Result<Report, Error> {
    let runtime = runtime()?;
    let tables = tables::select(tables::load_to_fill(config)?, &options.tables)?;
    let mut report = Report::new(config.delivery == Delivery::AtLeastOnce);
    let mut sources = plan(config, options, &runtime, &tables, &mut report.notes)?;
    let client = runtime.block_on(connect(config))?;
    let erased = runtime.block_on(register(config, &client).load(&tables))?;
    let erased = erased.map(|read| read.erased).unwrap_or_default();
    let letters = letters(config, &runtime, &mut sources, &mut report.notes)?;
    let all = sources.iter().flat_map(|source| &source.targets);
    let bar = bar(all.map(|target| target.range.next.0.abs_diff(target.range.first.0)).sum());
    for source in sources {
        let mut decoder = Decoder::new(Arc::clone(&source.table), &config.decode)
            .map_err(|error| audit::Error::Decode { table: source.table.name.clone(), source: error })?;
        decoder.leave_out(&erased);
        let mut auditor = Auditor {
            kafka: &config.kafka,
            client: &client,
            runtime: runtime.handle().clone(),
            decoder,
            lookup: source.lookup,
            deep: options.deep,
            progress: &|offsets| bar.inc(offsets),
        };
        for target in &source.targets {
            bar.set_message(target.source.to_string());
            let partial = auditor.audit(target, &letters.of(&target.source))?;
            report.add(&source.table.name, &target.source, partial);
        }
    }
    bar.finish_and_clear();
    report.close();
    Ok(report)
}

fn plan(
    config: &Config,
    options: &Options,
    runtime: &Runtime,
    tables: &[Arc<Table>],
    notes: &mut Vec<String>,
) -> Result<Vec<Source>, Error> {
    let topics = runtime.block_on(resolve_topics(&config.kafka, &config.dead_letter, tables))?;
    let wanted = |topic: &str| options.topic.as_deref().is_none_or(|only| only == topic);
    if let Some(only) = options.topic.as_deref().filter(|_| !topics.iter().any(|(topic, _)| wanted(topic))) {
        let known: Vec<&str> = topics.iter().map(|(topic, _)| &**topic).collect();
        let text =
            format!("no table is filled from topic `{only}`\nhint: the topics are {}", known.join(", "));
        return Err(Error::WrongUse(anyhow::Error::msg(text)));
    }
    if config.kafka.start != Start::Earliest && options.from_offset.is_none() && options.since_ms.is_none() {
        notes.push(
            "kafka.start is not `earliest`: what lies before the group's beginning counts as missing; \
             --since or --from-offset leaves it out"
                .to_owned(),
        );
    }
    let mut sources = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let own: Vec<&Arc<str>> =
            topics.iter().filter(|(_, of)| *of == index).map(|(topic, _)| topic).collect();
        let lookup = Lookup::new(table, 1 < own.len())?;
        if !keeps_every_row(&table.engine) {
            notes.push(format!(
                "table `{}` has the engine {}: if it merges rows away or is filled elsewhere, missing rows may be right",
                table.name, table.engine
            ));
        }
        for topic in own.into_iter().filter(|topic| wanted(topic)) {
            let compacted = runtime.block_on(span::is_compacted(&config.kafka, topic))?;
            if compacted.is_none() {
                notes.push(format!(
                    "whether topic `{topic}` is compacted may not be seen: rows without a record are taken for compacted ones"
                ));
            }
            sources.push(Source {
                table: Arc::clone(table),
                lookup: lookup.clone(),
                letters: config.dead_letter.topic_for(topic),
                targets: targets(config, options, topic, compacted.unwrap_or(true), notes)?,
            });
        }
    }
    Ok(sources)
}

/// The stretch of each partition that is to be accounted for.
fn targets(
    config: &Config,
    options: &Options,
    topic: &Arc<str>,
    compacted: bool,
    notes: &mut Vec<String>,
) -> Result<Vec<Target>, Error> {
    let kafka = &config.kafka;
    let mut extent = scan::extent(kafka, topic, Purpose::Source)?;
    extent.retain(|stretch| options.partition.is_none_or(|only| stretch.partition == Partition(only)));
    let partitions: Vec<Partition> = extent.iter().map(|stretch| stretch.partition).collect();
    if let (Some(only), true) = (options.partition, partitions.is_empty()) {
        let text = format!("topic `{topic}` has no partition {only}\nhint: its partitions count from 0");
        return Err(Error::WrongUse(anyhow::Error::msg(text)));
    }
    let at = |ms: Option<i64>| ms.map(|ms| span::offsets_at(kafka, topic, &partitions, ms)).transpose();
    let (since, until) = (at(options.since_ms)?, at(options.until_ms)?);
    let source = |partition: &Partition| TopicPartition { topic: Arc::clone(topic), partition: *partition };
    let sources: Vec<TopicPartition> = partitions.iter().map(source).collect();
    let committed = Outsider::new(kafka)?.committed(&sources)?;
    let mut targets = Vec::new();
    for (index, (stretch, (source, committed, _))) in extent.iter().zip(committed).enumerate() {
        let end = stretch.range.next;
        let Some(committed) = committed else {
            notes.push(format!("group `{}` has committed nothing of {source}", kafka.group));
            continue;
        };
        if end < committed {
            notes.push(format!(
                "the group's offset {committed} of {source} lies beyond the end {end}: was the topic made anew?"
            ));
        }
        let of = |found: &Option<Vec<Option<Offset>>>| {
            found.as_ref().map(|all| all.get(index).copied().flatten().unwrap_or(end))
        };
        let first = of(&since).max(options.from_offset.map(Offset)).unwrap_or(Offset(0));
        let bounds = [of(&until), options.to_offset.map(Offset)];
        let next = bounds.into_iter().flatten().fold(committed.min(end), Offset::min);
        if first < next {
            let rules = Rules { letters_complete: false, compacted };
            let range = OffsetRange { first, next };
            targets.push(Target { source, range, log_start: stretch.range.first, rules });
        }
    }
    Ok(targets)
}

/// Reads the dead letters, and notes where they do not prove everything.
fn letters(
    config: &Config,
    runtime: &Runtime,
    sources: &mut [Source],
    notes: &mut Vec<String>,
) -> Result<Letters, Error> {
    let topics: BTreeSet<String> = sources.iter().map(|source| source.letters.clone()).collect();
    let letters = Letters::read(&config.kafka, &topics)?;
    for topic in topics {
        let compacted = runtime.block_on(span::is_compacted(&config.kafka, &topic))?;
        let complete = letters.is_whole(&topic) && compacted == Some(false);
        if !complete {
            notes.push(format!(
                "dead-letter topic `{topic}` may have lost letters to retention or compaction: a rejected record without a \
                 letter is not told as missing"
            ));
        }
        for source in sources.iter_mut().filter(|source| source.letters == topic) {
            source.targets.iter_mut().for_each(|target| target.rules.letters_complete = complete);
        }
    }
    Ok(letters)
}
