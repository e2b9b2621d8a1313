//! What most tests of the line begin with: a topic, its dead-letter topic, a table and a configuration.
//!
//! It refuses to know what is tested. Events carry their number, and the table keeps where each came from,
//! so that "nothing is missing" is counted by offset.

use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{ClickHouse, Database, Kafka, Penstock, PenstockConfig, wait_until};

pub const PARTITIONS: i32 = 4;
pub const DEADLINE: Duration = Duration::from_secs(90);

pub struct Scene {
    pub kafka: Kafka,
    pub ch: ClickHouse,
    pub database: Database,
    pub topic: String,
    pub config: PenstockConfig,
    pub folder: TempDir,
    /// Next number for each partition's events.
    numbers: Vec<u64>,
}

/// The table file of numbered events. `extra` is appended to the document.
pub fn events_table(topic: &str, extra: &str) -> String {
    format!(
        "table: events\n\
         topics: [{topic}]\n\
         columns:\n\
         - {{name: n, type: UInt64}}\n\
         - {{name: text, type: String}}\n\
         - {{name: _partition, type: Int32, from: $partition}}\n\
         - {{name: _offset, type: Int64, from: $offset}}\n\
         order_by: [_partition, _offset]\n\
         {extra}"
    )
}

/// The same with an engine that keeps one of the rows with the same `n`.
pub fn merging_table(topic: &str) -> String {
    events_table(topic, "tombstones: skip\nengine: ReplacingMergeTree\n")
        .replace("order_by: [_partition, _offset]", "order_by: [n]")
}

impl Scene {
    pub fn new(kafka: &Kafka, ch: &ClickHouse) -> Scene {
        Scene::with_table(kafka, ch, |topic| events_table(topic, ""))
    }

    /// Topics, table file, table and configuration; `table` gets the topic's name.
    pub fn with_table(kafka: &Kafka, ch: &ClickHouse, table: impl Fn(&str) -> String) -> Scene {
        Scene::with_partitions(PARTITIONS, kafka, ch, table)
    }

    pub fn with_partitions(
        partitions: i32,
        kafka: &Kafka,
        ch: &ClickHouse,
        table: impl Fn(&str) -> String,
    ) -> Scene {
        let topic = kafka.fresh_topic(partitions);
        kafka.create_topic(&format!("{topic}.dead"), 1, 1, &[("max.message.bytes", "67108864")]);
        let database = ch.fresh_database();
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("table.yaml");
        std::fs::write(&file, table(&topic)).expect("a table file");
        let config = PenstockConfig::new(kafka, &[ch], &database.name, &file)
            .set("batch.age_max", "200ms")
            .set("kafka.commit_interval", "100ms");
        let scene = Scene {
            kafka: kafka.clone(),
            ch: ch.clone(),
            database,
            topic,
            config,
            folder,
            numbers: vec![0; partitions.unsigned_abs() as usize],
        };
        scene.create_table();
        scene
    }

    fn create_table(&self) {
        let (code, log) = Penstock::output(&self.config, &["schema", "create"], DEADLINE);
        assert_eq!(code, Some(0), "{log}");
    }

    /// Publishes this many numbered events to every partition.
    pub fn publish(&mut self, events: u64) {
        self.publish_texts(events, "an event");
    }

    /// Publishes this many numbered events with this text to every partition.
    pub fn publish_texts(&mut self, events: u64, text: &str) {
        self.publish_each(events, |_| text);
    }

    /// The same, with the text that belongs to each number.
    pub fn publish_each<'a>(&mut self, events: u64, text: impl Fn(u64) -> &'a str) {
        for (partition, next) in (0..).zip(&mut self.numbers) {
            let numbers = *next..*next + events;
            *next += events;
            let payloads = numbers.map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", text(n)));
            self.kafka.produce(&self.topic, partition, payloads);
        }
    }

    /// How many events were published.
    pub fn published(&self) -> u64 {
        self.numbers.iter().sum()
    }

    /// Publishes one payload to partition 0.
    pub fn publish_raw(&mut self, payload: impl AsRef<[u8]>) {
        self.numbers[0] += 1;
        self.kafka.produce(&self.topic, 0, [payload]);
    }

    pub fn sql(&self, expression: &str) -> String {
        self.ch.query(&format!("SELECT {expression} FROM {}.events", self.database.name))
    }

    /// Distinct records in the table.
    pub fn landed(&self) -> u64 {
        let sql = format!("SELECT uniqExact(_partition, _offset) FROM {}.events", self.database.name);
        self.ch.try_query(&sql).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Waits until the table holds every event that was published, and proves by offset that it does:
    /// each partition has every offset from the first to the last, each with its own number.
    pub fn expect_all(&self, deadline: Duration) {
        let all = self.published();
        wait_until(deadline, &format!("{all} events in the table, {} there", self.landed()), || {
            self.landed() == all
        });
        for (partition, events) in self.numbers.iter().enumerate() {
            let sql = format!(
                "SELECT uniqExact(_offset), min(_offset), max(_offset) + 1, uniqExact(n), min(n), max(n) + 1 \
                 FROM {}.events WHERE _partition = {partition}",
                self.database.name
            );
            let expected = format!("{events}\t0\t{events}\t{events}\t0\t{events}");
            assert_eq!(self.ch.query(&sql), expected, "partition {partition}");
        }
    }

    /// Waits until the group has committed the end of every partition.
    pub fn expect_committed(&self, deadline: Duration) {
        let group = self.config.text("kafka.group");
        let partitions: Vec<i32> = (0..).zip(&self.numbers).map(|(partition, _)| partition).collect();
        let ends: Vec<i64> = partitions.iter().map(|p| self.kafka.watermarks(&self.topic, *p).1).collect();
        wait_until(deadline, "the group has committed every partition's end", || {
            // Where nothing was published there is nothing to commit.
            let committed = self.kafka.committed(group, &self.topic, &partitions);
            committed.iter().map(|offset| offset.unwrap_or(0)).eq(ends.iter().copied())
        });
    }

    /// Runs until everything published so far is durable; gives its log.
    pub fn run_to_end(&self) -> String {
        self.call(&["run", "--stop-at-end"])
    }

    /// Carries a command out that must succeed; what it wrote.
    pub fn call(&self, arguments: &[&str]) -> String {
        let (code, log) = Penstock::output(&self.config, arguments, DEADLINE);
        assert_eq!(code, Some(0), "{arguments:?}: {log}");
        log
    }

    /// The group reads everything again.
    pub fn rewind(&self) {
        for partition in 0..PARTITIONS {
            let partition = partition.to_string();
            let of = ["--topic", &self.topic, "--partition", &partition, "--to", "0", "--yes"];
            self.call(&[&["ledger", "rewind"], &of[..]].concat());
        }
    }

    pub fn dead_topic(&self) -> String {
        format!("{}.dead", self.topic)
    }
}
