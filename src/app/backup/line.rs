//! What backups need of Kafka: how far the group is, and its records read again for rows that a restored table lacks.
//!
//! Refuses to move offsets, and to replay into the line's own table while the group has members: what one has sent to the old table and not yet
//! committed could not be told from what is lost. Below the group's offset every record is settled, so a row that is not
//! in the table, and is no dead letter, is missing; only those are put in, by the decoder of the line, so that a replay
//! that is cut off is simply done again.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::admin::backup::{Cut, Line, Progress, Replay, Replayed};
use crate::admin::desk::TableName;
use crate::app::Error;
use crate::app::run::register;
use crate::audit::continuous::keeps_every_row;
use crate::audit::{self, Letters, Lookup};
use crate::clickhouse::{self, Client, Insert};
use crate::columns::Columns;
use crate::config::Config;
use crate::dead_letter::envelope;
use crate::decode::{Decoder, Verdict};
use crate::kafka::config::Start;
use crate::kafka::group::Outsider;
use crate::kafka::scan::{Scan, Stretch};
use crate::kafka::span;
use crate::pipeline::resolve_topics;
use crate::record::{Offset, OffsetRange, Partition, TopicPartition};
use crate::schema::Table;
use crate::schema::subject::Erased;

/// Offsets of which the table is asked at a time.
const CHUNK_OFFSETS: i64 = 50_000;
/// Rows are sent when they have grown so far, within a chunk.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// Ids of the inserts' queries begin so.
const QUERY_PREFIX: &str = "penstock-replay";

/// The parts of the configuration that are needed, for tables on this host.
struct Source {
    config: Config,
    /// All servers, each of which may know of subjects that were erased.
    servers: clickhouse::Config,
    tables: Vec<Arc<Table>>,
}

pub(super) fn line(config: &Config, host: &str, tables: &[Arc<Table>]) -> Line {
    let servers = config.clickhouse.clone();
    let mut config = config.clone();
    // Rows are put in where the backup is restored, and looked for there.
    let is_host = |address: &String| {
        address.split_once("://").is_some_and(|(_, rest)| rest.split('/').next() == Some(host))
    };
    config.clickhouse.endpoints.retain(is_host);
    let source = Arc::new(Source { config, servers, tables: tables.to_vec() });
    let of_cut = Arc::clone(&source);
    Line {
        cut: Arc::new(move |names| {
            let source = Arc::clone(&of_cut);
            Box::pin(async move { source.cut(&names).await.map_err(|error| error.refusal()) })
        }),
        replay: Arc::new(move |replay| {
            let source = Arc::clone(&source);
            Box::pin(async move { source.replay(replay).await.map_err(|error| error.refusal()) })
        }),
    }
}

/// One stretch of one partition that is read again.
struct Again {
    table: Arc<Table>,
    target: TableName,
    source: TopicPartition,
    range: OffsetRange,
    /// First offset that the topic still has.
    start: Offset,
}

impl Source {
    /// How far the group is with the topics of these tables. A partition of which it has committed nothing counts from
    /// where the group would begin.
    async fn cut(&self, names: &[TableName]) -> Result<Vec<Cut>, Error> {
        let is_meant = |table: &&Arc<Table>| {
            names.iter().any(|name| name.name == table.name && name.database == self.database(table))
        };
        let own: Vec<Arc<Table>> = self.tables.iter().filter(is_meant).cloned().collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let topics = resolve_topics(&self.config.kafka, &self.config.dead_letter, &own).await?;
        let kafka = self.config.kafka.clone();
        blocking(move || {
            let group = Outsider::new(&kafka)?;
            let mut all = Vec::new();
            for (topic, index) in topics {
                let Some(table) = own.get(index) else { continue };
                for (source, committed, _) in group.committed(&group.partitions(&topic)?)? {
                    let log = group.log(&source)?;
                    let unread = if kafka.start == Start::Earliest { log.first } else { log.next };
                    all.push(Cut {
                        table: table.name.clone(),
                        topic: topic.to_string(),
                        partition: source.partition.0,
                        offset: committed.unwrap_or(unread).0,
                    });
                }
            }
            Ok(all)
        })
        .await
    }

    fn database(&self, table: &Table) -> String {
        table.database.clone().unwrap_or_else(|| self.config.clickhouse.database.clone())
    }

    /// Whether this is where the line writes to.
    fn is_own(&self, (name, target): &(String, TableName)) -> bool {
        let is_file = |table: &Arc<Table>| table.name == *name && self.database(table) == target.database;
        target.name == *name && self.tables.iter().any(is_file)
    }

    /// The first offset that was published at this time or later.
    fn until(&self, source: &TopicPartition, until_ms: Option<i64>) -> Result<Option<Offset>, Error> {
        let Some(ms) = until_ms else { return Ok(None) };
        let found = span::offsets_at(&self.config.kafka, &source.topic, &[source.partition], ms)?;
        Ok(found.into_iter().next().flatten())
    }

    async fn replay(self: Arc<Self>, replay: Replay) -> Result<Vec<Replayed>, Error> {
        let runtime = Handle::current();
        blocking(move || {
            let all = self.stretches(&replay)?;
            if replay.dry_run {
                return Ok(all.iter().map(Again::planned).collect());
            }
            let (client, servers) = {
                // Watchers of endpoints live on the runtime.
                let _runtime = runtime.enter();
                (Client::new(&self.config.clickhouse)?, Client::new(&self.servers)?)
            };
            let register = register(&self.config, &servers);
            let read = runtime.block_on(register.load(&self.tables));
            let erased = read.map_err(|error| Error::Failed(error.into()))?.unwrap_or_default().erased;
            let dead = |again: &Again| self.config.dead_letter.topic_for(&again.source.topic);
            let letters = Letters::read(&self.config.kafka, &all.iter().map(dead).collect::<BTreeSet<_>>())?;
            let total = all.iter().map(Again::offsets).sum();
            let mut reader = Reader {
                source: &self,
                client: &client,
                runtime: &runtime,
                replay: &replay,
                erased,
                done: 0,
                total,
            };
            if runtime.block_on(client.is_running(QUERY_PREFIX))? {
                let text = "rows of another replay are still on their way\nhint: wait until it has ended";
                return Err(Error::Locked(anyhow::Error::msg(text)));
            }
            let result = all.iter().map(|again| reader.read(again, &letters)).collect();
            runtime.block_on(client.clone().close());
            runtime.block_on(servers.close());
            result
        })
        .await
    }

    /// What is to be read again, once it is sure that nobody else moves.
    fn stretches(&self, replay: &Replay) -> Result<Vec<Again>, Error> {
        let group = Outsider::new(&self.config.kafka)?;
        // The line writes to no table of another name, so that what it does meanwhile changes nothing there.
        if replay.targets.iter().any(|target| self.is_own(target)) && !group.group()?.members.is_empty() {
            return Err(group.not_empty().into());
        }
        let mut all = Vec::new();
        for cut in &replay.cut {
            let table = self.tables.iter().find(|table| table.name == cut.table);
            let target = replay.targets.iter().find(|(name, _)| *name == cut.table);
            let (Some(table), Some((_, target))) = (table, target) else {
                return Err(wrong(format!(
                    "table {} has no table file any more, by which its records could be decoded\nhint: bring it back, or restore without a replay",
                    cut.table
                )));
            };
            refuse_merging(table)?;
            // What cannot be looked for cannot be missing.
            Lookup::new(table, has_several_topics(table))?;
            let source =
                TopicPartition { topic: cut.topic.as_str().into(), partition: Partition(cut.partition) };
            let committed =
                group.committed(std::slice::from_ref(&source))?.into_iter().next().and_then(|one| one.1);
            let (first, next) =
                (Offset(cut.offset), committed.unwrap_or(Offset(cut.offset)).max(Offset(cut.offset)));
            let log = group.log(&source)?;
            if log.next < next {
                return Err(wrong(format!(
                    "{source} ends at {}, before what was committed: it was made anew\nhint: its old records are gone; restore without a replay",
                    log.next
                )));
            }
            let next = self.until(&source, replay.until_ms)?.map_or(next, |until| next.min(until).max(first));
            let range = OffsetRange { first, next };
            let start = log.first.clamp(first, next);
            all.push(Again { table: Arc::clone(table), target: target.clone(), source, range, start });
        }
        Ok(all)
    }
}

fn has_several_topics(table: &Table) -> bool {
    1 < table.topics.len() || table.topics.iter().any(|topic| topic.starts_with('^'))
}

/// Rows that were merged into others cannot be told from missing ones; to replace a row by itself does no harm.
fn refuse_merging(table: &Table) -> Result<(), Error> {
    let replaces = table.engine.contains("ReplacingMergeTree");
    if keeps_every_row(&table.engine) || replaces {
        return Ok(());
    }
    Err(wrong(format!(
        "table {} has the engine {}, in which a row that was merged away looks like a missing one\nhint: restore without a replay",
        table.name, table.engine
    )))
}

impl Again {
    fn offsets(&self) -> u64 {
        self.range.next.0.abs_diff(self.start.0)
    }

    fn planned(&self) -> Replayed {
        Replayed {
            table: self.target.to_string(),
            topic: self.source.topic.to_string(),
            partition: self.source.partition.0,
            first: self.range.first.0,
            next: self.range.next.0,
            rows: 0,
            inserted: 0,
            gone: self.start.0.abs_diff(self.range.first.0),
        }
    }
}

struct Reader<'a> {
    source: &'a Source,
    client: &'a Client,
    runtime: &'a Handle,
    replay: &'a Replay,
    erased: Arc<Erased>,
    done: u64,
    total: u64,
}

/// One chunk of offsets, and what of it is in the table already.
struct Chunk {
    next: Offset,
    present: BTreeSet<Offset>,
    batches: u32,
}

impl Reader<'_> {
    fn read(&mut self, again: &Again, letters: &Letters) -> Result<Replayed, Error> {
        let mut told = again.planned();
        let lookup = Lookup::new(&again.table, has_several_topics(&again.table))?;
        let lookup = lookup.at(&again.target.database, &again.target.name);
        let letters = letters.of(&again.source);
        let config = &self.source.config;
        let failed = |source| audit::Error::Decode { table: again.table.name.clone(), source };
        let mut decoder = Decoder::new(Arc::clone(&again.table), &config.decode).map_err(failed)?;
        decoder.leave_out(&self.erased);
        let mut columns = decoder.columns();
        let range = OffsetRange { first: again.start, next: again.range.next };
        let stretch = Stretch { partition: again.source.partition, range };
        let mut scan = Scan::start(&config.kafka, &again.source.topic, &[stretch], self.replay.stop.clone())?;
        let mut chunk = self.chunk(again, &lookup, again.start)?;
        told.rows += chunk.rows();
        while let Some(message) = scan.next_record()? {
            let record = message.record();
            while chunk.next <= record.offset {
                told.inserted += self.send(again, &mut columns, &mut chunk)?;
                chunk = self.chunk(again, &lookup, chunk.next)?;
                told.rows += chunk.rows();
            }
            if chunk.present.contains(&record.offset) || letters.contains(record.offset) {
                continue;
            }
            let now_ms = record.timestamp_ms.unwrap_or_else(|| chrono::Utc::now().timestamp_millis());
            // What is rejected today was a row then, or a letter that is gone: neither can be made a row of.
            if matches!(decoder.decode(&record, now_ms, &mut columns), Verdict::Decoded)
                && !decoder.takes_back(&mut columns, || envelope::published_ms(&message.to_owned()))
            {
                told.rows += 1;
            }
            if BATCH_BYTES_MAX <= columns.bytes() {
                told.inserted += self.send(again, &mut columns, &mut chunk)?;
            }
        }
        told.inserted += self.send(again, &mut columns, &mut chunk)?;
        // What lies behind the last record has rows all the same, if its records are gone.
        while chunk.next < again.range.next {
            chunk = self.chunk(again, &lookup, chunk.next)?;
            told.rows += chunk.rows();
        }
        Ok(told)
    }

    /// Asks the table what it has of the chunk that begins here.
    fn chunk(&mut self, again: &Again, lookup: &Lookup, first: Offset) -> Result<Chunk, Error> {
        let next = Offset(first.0.saturating_add(CHUNK_OFFSETS)).min(again.range.next).max(first);
        let question = lookup.offsets(self.client, (&again.source, OffsetRange { first, next }));
        let present = self.runtime.block_on(question)?.into_iter().map(|(offset, _)| offset).collect();
        self.done += next.0.abs_diff(first.0);
        let what = format!("read {} again", again.source);
        (self.replay.observer)(&Progress { what, done: self.done, bytes: self.total });
        Ok(Chunk { next, present, batches: 0 })
    }

    /// Puts in the rows that were missing.
    fn send(&self, again: &Again, columns: &mut Columns, chunk: &mut Chunk) -> Result<u64, Error> {
        if columns.rows() == 0 {
            return Ok(0);
        }
        let batch = columns.finish().map_err(|error| Error::Failed(error.into()))?;
        let rows = u64::try_from(batch.num_rows()).unwrap_or_default();
        chunk.batches += 1;
        let insert = Insert {
            database: Some(again.target.database.clone()),
            table: again.target.name.clone(),
            batch: batch.into(),
            // Never seen before: what was lost under an old token must not be taken for there.
            token: format!("penstock-replay-{}", uuid::Uuid::new_v4()),
            settings: vec![("max_partitions_per_insert_block".to_owned(), "0".to_owned())],
            query_id_prefix: Some(QUERY_PREFIX.to_owned()),
            repeat_doubtful: false,
            ..Insert::default()
        };
        match self.runtime.block_on(self.client.insert(&insert)) {
            Ok(_) => Ok(rows),
            Err(error) => Err(doubtful(&error)),
        }
    }
}

impl Chunk {
    fn rows(&self) -> u64 {
        u64::try_from(self.present.len()).unwrap_or_default()
    }
}

fn doubtful(error: &clickhouse::Error) -> Error {
    let text = format!(
        "rows that are missing could not be put in: {error}\nhint: run `penstock backup replay` for what is still missing; it looks first"
    );
    Error::Failed(anyhow::Error::msg(text))
}

fn wrong(text: String) -> Error {
    Error::WrongUse(anyhow::Error::msg(text))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Failed(error.into()))?
}
