//! What it costs to take the messages of a topic out of librdkafka and to do nothing with them.
//!
//! Knows no tables and no ClickHouse. It fetches by the same settings and with the same allocator as `penstock run`,
//! so that the difference between the two is what penstock adds. `dev/bench` runs it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use penstock::kafka::{Config, client};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The kernel counts CPU time for user space in hundredths of a second, whatever it takes itself.
const TICKS_PER_SECOND: f64 = 100.0;
/// Silence of this length before the end of every partition is a failure.
const SILENCE_MAX: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error>;

struct Taken {
    messages: u64,
    bytes: u64,
    seconds: f64,
}

fn main() -> ExitCode {
    // `cargo bench` hands over a flag of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [brokers, topic] = arguments.as_slice() else {
        eprintln!("consume: takes BROKERS and TOPIC; `make bench` hands them over");
        return if arguments.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    match take(brokers, topic).and_then(|taken| Ok((taken, cpu_seconds()?))) {
        Ok((Taken { messages, bytes, seconds }, cpu)) => {
            let figures = serde_json::json!({
                "messages": messages, "bytes": bytes, "seconds": seconds, "cpu_seconds": cpu,
            });
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("consume: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything from the beginning of each partition to where it ends.
fn take(brokers: &str, topic: &str) -> Result<Taken, Failure> {
    let config = Config { brokers: vec![brokers.to_owned()], ..Config::default() };
    let mut settings = client::consumer(&config, 0);
    settings.set("enable.partition.eof", "true").set("statistics.interval.ms", "0").remove("debug");
    let consumer: BaseConsumer = settings.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
        all.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    if all.count() == 0 {
        return Err(format!("there is no topic {topic}").into());
    }
    let started = Instant::now();
    consumer.assign(&all)?;
    let (mut messages, mut bytes, mut ended) = (0, 0, 0);
    while ended < all.count() {
        match consumer.poll(SILENCE_MAX) {
            Some(Ok(message)) => {
                messages += 1;
                bytes += message.payload_len() as u64;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => return Err(format!("nothing came for {SILENCE_MAX:?}").into()),
        }
    }
    Ok(Taken { messages, bytes, seconds: started.elapsed().as_secs_f64() })
}

/// What this process has used of the cores so far, in user space and in the kernel.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
    let ticks: Vec<f64> = fields.into_iter().flatten().map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}
