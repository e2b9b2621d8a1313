//! `penstock generate`: a topic filled with synthetic clicks, or with real rows read from a Parquet file.
//!
//! Refuses to make events itself: that is `generate`'s. The topic is created when it does not exist.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;

use super::progress::styled;
use super::{Error, connect, runtime};
use crate::config::Config;
use crate::generate::clicks::Clicks;
use crate::generate::{Lines, Published, Publisher};
use crate::kafka::{Producer, admin};

/// How long the client tries to deliver one message.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(60);

/// What is published.
#[derive(Clone, Debug)]
pub enum Source {
    Clicks {
        count: u64,
        seed: u64,
        start_ms: i64,
    },
    /// A file on ClickHouse's machine, each row as a JSON object.
    Parquet {
        path: PathBuf,
        rows: u64,
    },
}

/// Where it is published, and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub topic: String,
    pub partitions: i32,
    pub per_second: Option<u32>,
    /// As the Kafka client calls it.
    pub compression: String,
}

/// Publishes, and gives what was acknowledged, with the time that it took.
pub fn generate(config: &Config, source: &Source, options: &Options) -> Result<(Published, Duration), Error> {
    runtime()?.block_on(async {
        admin::create_topic(&config.kafka, &options.topic, options.partitions).await?;
        let dead = config.dead_letter.topic_for(&options.topic);
        admin::create_topic(&config.kafka, &dead, 1).await?;
        let producer = Producer::compressed(&config.kafka, PRODUCE_TIMEOUT, &options.compression)?;
        let publisher = Publisher::new(&producer, &options.topic, options.per_second);
        let started = Instant::now();
        let published = match source {
            Source::Clicks { count, seed, start_ms } => {
                let events = Clicks::new(*seed, *start_ms);
                let events = match options.per_second {
                    Some(rate) => events.at_rate(rate),
                    None => events,
                };
                clicks(publisher, *count, events).await?
            }
            Source::Parquet { path, rows } => parquet(config, publisher, path, *rows).await?,
        };
        Ok((published, started.elapsed()))
    })
}

async fn clicks(mut publisher: Publisher<'_>, count: u64, mut clicks: Clicks) -> Result<Published, Error> {
    let bar = bar(count);
    let mut event = Vec::new();
    for number in 0..count {
        clicks.next(&mut event);
        publisher.send(&event).await.map_err(failed)?;
        show(&bar, &publisher, number);
    }
    let published = publisher.finish().await.map_err(failed)?;
    bar.finish_and_clear();
    Ok(published)
}

async fn parquet(
    config: &Config,
    mut publisher: Publisher<'_>,
    path: &std::path::Path,
    rows: u64,
) -> Result<Published, Error> {
    let client = connect(config).await?;
    let sql = "SELECT * FROM file({path:String}, Parquet) LIMIT {rows:UInt64} \
               SETTINGS date_time_output_format = 'iso', output_format_json_quote_64bit_integers = 0";
    let params = [("path", json!(path.to_string_lossy())), ("rows", json!(rows))];
    let mut chunks = client.query_stream(sql, &params, "JSONEachRow").await?;
    let bar = bar(rows);
    let (mut lines, mut number) = (Lines::default(), 0);
    while let Some(chunk) = chunks.next().await? {
        lines.push(&chunk);
        while let Some(line) = lines.next_line() {
            publisher.send(&line).await.map_err(failed)?;
            show(&bar, &publisher, number);
            number += 1;
        }
    }
    if let Some(line) = lines.rest() {
        publisher.send(&line).await.map_err(failed)?;
    }
    let published = publisher.finish().await.map_err(failed)?;
    bar.finish_and_clear();
    Ok(published)
}

/// A bar on a terminal; nothing elsewhere.
pub(super) fn bar(count: u64) -> ProgressBar {
    styled(ProgressBar::new(count), "{bar:40} {human_pos}/{human_len} {per_sec} {msg}")
}

/// Once in a while, so that showing costs nothing.
fn show(bar: &ProgressBar, publisher: &Publisher<'_>, number: u64) {
    if number.is_multiple_of(4096) {
        bar.set_position(number);
        bar.set_message(HumanBytes(publisher.published().bytes).to_string());
    }
}

fn failed(error: crate::generate::Error) -> Error {
    Error::Failed(error.into())
}

/// `3,000,000 messages, 310.5 MB in 12.3 s`
pub fn describe(published: &Published, took: Duration) -> String {
    let megabytes = published.bytes as f64 / 1e6;
    format!("{} messages, {megabytes:.1} MB in {:.1} s", HumanCount(published.messages), took.as_secs_f64())
}
