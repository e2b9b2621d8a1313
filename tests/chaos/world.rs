//! The scene of one run: private servers behind proxies, a topic, a table, and the list of what was done to them.
//!
//! It refuses to decide what breaks. Everything in it is shared by the lanes; each lane keeps to its own part.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{
    ClickHouse, Kafka, Penstock, PenstockConfig, PrivateClickHouse, PrivateKafka, free_port, fresh_name,
    wait_until,
};
use crate::ledger::Ledger;
use crate::options::{Cluster, Engine, Options};
use crate::plan::Layout;
use crate::producers::Target;
use crate::proxy::Proxy;

pub const DEADLINE: Duration = Duration::from_secs(90);

/// A ClickHouse that can be broken.
pub enum Server {
    Private(PrivateClickHouse),
    /// One of a cluster that somebody else has started; told apart by its number, from 1.
    Foreign {
        client: ClickHouse,
        number: usize,
        cluster: Cluster,
    },
}

impl Server {
    pub fn client(&self) -> &ClickHouse {
        match self {
            Server::Private(server) => server,
            Server::Foreign { client, .. } => client,
        }
    }

    /// Whether it could be done.
    pub fn kill(&self) -> bool {
        match self {
            Server::Private(server) => {
                server.kill();
                true
            }
            Server::Foreign { number, cluster, .. } => command(&cluster.kill, *number),
        }
    }

    /// Returns once it answers.
    pub fn restart(&self) {
        match self {
            Server::Private(server) => server.restart(),
            Server::Foreign { client, number, cluster } => {
                wait_until(DEADLINE * 2, "the server answers", || {
                    start(&cluster.start, *number) && client.try_query("SELECT 1").is_ok()
                })
            }
        }
    }

    /// Freezes or thaws it; whether it could be done.
    pub fn freeze(&self, frozen: bool) -> bool {
        match self {
            Server::Private(server) => {
                if frozen {
                    server.stop();
                } else {
                    server.cont();
                }
                true
            }
            Server::Foreign { number, cluster, .. } => {
                let (Some(freeze), Some(thaw)) = (&cluster.freeze, &cluster.thaw) else { return false };
                command(if frozen { freeze } else { thaw }, *number)
            }
        }
    }
}

/// Runs a command of the cluster's owner; whether it succeeded.
pub fn command(line: &str, number: usize) -> bool {
    let line = line.replace("{n}", &number.to_string());
    let ended = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    ended.is_ok_and(|status| status.success())
}

/// The same for what starts something: one at a time, since such a command may start whatever is down.
pub fn start(line: &str, number: usize) -> bool {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    command(line, number)
}

type Told = (Duration, String, String);

pub struct World {
    pub options: Options,
    pub layout: Layout,
    pub seed: u64,
    pub servers: Vec<Server>,
    pub proxies: Vec<Proxy>,
    pub kafka: PrivateKafka,
    pub topic: String,
    pub database: String,
    pub config: PenstockConfig,
    pub ledger: Arc<Ledger>,
    pub folder: TempDir,
    /// The time of breaking is over.
    pub over: AtomicBool,
    /// Members are to be down until it is false again.
    pub halted: AtomicBool,
    pub members_down: AtomicUsize,
    /// The lanes of the members are to end.
    pub members_over: AtomicBool,
    /// Partitions were left without an owner.
    pub stalled: AtomicBool,
    /// How often the partitions were closed with an event.
    pub closings: AtomicU32,
    /// The logs of processes that have ended, by name.
    pub logs: Mutex<Vec<(String, String)>>,
    /// When each fault happened, its lane, and what is worth telling of it.
    pub done: Mutex<Vec<Told>>,
    /// The same of what is no fault.
    pub notes: Mutex<Vec<Told>>,
    pub started: Instant,
}

impl World {
    pub fn new(seed: u64, options: &Options, layout: Layout) -> World {
        let servers = servers(options);
        let proxies: Vec<Proxy> =
            servers.iter().map(|server| Proxy::start(free_port(), server.client().address())).collect();
        let kafka = Kafka::start_private_cluster(layout.brokers);
        let topic = fresh_name("chaos");
        let database = fresh_name("chaos");
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("table.yaml");
        std::fs::write(&file, table_file(&topic, options, &layout, &database)).expect("a table file");
        let endpoints: Vec<ClickHouse> = proxies
            .iter()
            .zip(&servers)
            .map(|(proxy, server)| {
                let known = server.client();
                ClickHouse::at_as(&proxy.url(), &known.user, &known.password)
            })
            .collect();
        let endpoints: Vec<&ClickHouse> = endpoints.iter().collect();
        let config = quick(PenstockConfig::new(&kafka, &endpoints, &database, &file), options, &layout);
        let world = World {
            options: options.clone(),
            layout,
            seed,
            servers,
            proxies,
            kafka,
            topic,
            database,
            config,
            ledger: Arc::default(),
            folder,
            over: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            members_down: AtomicUsize::new(0),
            members_over: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            closings: AtomicU32::new(0),
            logs: Mutex::default(),
            done: Mutex::default(),
            notes: Mutex::default(),
            started: Instant::now(),
        };
        world.create_topics();
        world.create_tables();
        world
    }

    pub fn dead_topic(&self) -> String {
        format!("{}.dead", self.topic)
    }

    pub fn group(&self) -> &str {
        self.config.text("kafka.group")
    }

    pub fn partitions(&self) -> Vec<i32> {
        (0..self.layout.partitions).collect()
    }

    pub fn target(&self) -> Target {
        let partitions = self.layout.partitions;
        Target { brokers: self.kafka.brokers.clone(), topic: self.topic.clone(), partitions }
    }

    pub fn create_source_topic(&self) {
        let copies = i32::try_from(self.layout.brokers).unwrap_or(1);
        let in_sync = if self.layout.brokers == 3 { "2" } else { "1" };
        let settings = [("min.insync.replicas", in_sync)];
        self.kafka.create_topic(&self.topic, self.layout.partitions, copies, &settings);
    }

    fn create_topics(&self) {
        self.create_source_topic();
        let copies = i32::try_from(self.layout.brokers).unwrap_or(1);
        self.kafka.create_topic(&self.dead_topic(), 1, copies, &[]);
    }

    fn create_tables(&self) {
        let database = &self.database;
        for server in &self.servers {
            let client = server.client();
            client.query(&format!("CREATE DATABASE IF NOT EXISTS {database}"));
            // On each server by itself: `ON CLUSTER` is not everywhere.
            let config = self.config.clone().set("clickhouse.endpoints", vec![client.url()]);
            // A server that was just started may be slow to answer.
            let config = config.set("delivery", "at_least_once").set("clickhouse.request_timeout", "60s");
            let (code, log) = Penstock::output(&config, &["schema", "create"], DEADLINE);
            assert_eq!(code, Some(0), "{log}");
            if self.has_view() {
                client.query(&format!(
                    "CREATE TABLE {database}.totals (incarnation UInt32, _partition Int32, _offset Int64, \
                     events UInt64, sum UInt64) \
                     ENGINE = ReplicatedMergeTree('/chaos/{database}/totals', '{{replica}}') \
                     ORDER BY (_partition, _offset)"
                ));
                client.query(&format!(
                    "CREATE MATERIALIZED VIEW {database}.to_totals TO {database}.totals AS \
                     SELECT incarnation, _partition, _offset, count() AS events, sum(number) AS sum \
                     FROM {database}.events GROUP BY ALL"
                ));
            }
        }
        let refuse = format!("ALTER TABLE {database}.events ADD CONSTRAINT no_poison CHECK text != 'poison'");
        self.servers[0].client().query(&refuse);
    }

    pub fn has_view(&self) -> bool {
        self.options.engine == Engine::Replicated && self.layout.view
    }

    /// Asks the servers in turn until one of them does it; whether any did before the deadline.
    pub fn somewhere(&self, sql: &str, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        while Instant::now() < end {
            if self.servers.iter().any(|server| server.client().try_query(sql).is_ok()) {
                return true;
            }
            self.pause(Duration::from_millis(200), || false);
        }
        false
    }

    /// The offset that the group has committed for each partition; the log's first where it has none.
    pub fn committed(&self) -> Option<Vec<(i32, i64)>> {
        let partitions = self.partitions();
        let offsets = self.kafka.try_committed(self.group(), &self.topic, &partitions).ok()?;
        let first = |p: i32| self.kafka.try_watermarks(&self.topic, p).ok().map(|(low, _)| low);
        let known = partitions.iter().zip(offsets);
        known.map(|(p, offset)| Some((*p, offset.or_else(|| first(*p))?))).collect()
    }

    /// First and next offset of each partition.
    pub fn ends(&self) -> Option<Vec<(i64, i64)>> {
        self.partitions().iter().map(|p| self.kafka.try_watermarks(&self.topic, *p).ok()).collect()
    }

    /// Whether the group has committed everything there is. The last message of each partition must be an event.
    pub fn is_drained(&self) -> bool {
        let (Some(committed), Some(ends)) = (self.committed(), self.ends()) else { return false };
        committed.iter().zip(ends).all(|((_, committed), (_, end))| *committed == end)
    }

    /// Writes down that a fault has happened.
    pub fn did(&self, lane: &str, what: String) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push((self.started.elapsed(), lane.to_owned(), what));
    }

    /// Writes down what is no fault and yet worth knowing.
    pub fn note(&self, lane: &str, what: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push((self.started.elapsed(), lane.to_owned(), format!("({what})")));
    }

    pub fn faults_done(&self) -> usize {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn keep_log(&self, name: String, log: String) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push((name, log));
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Lets time pass, until the condition holds; whether it did.
    pub fn pause(&self, longest: Duration, mut until: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + longest;
        loop {
            if until() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    pub fn story(&self) -> String {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        done.extend(self.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        done.sort();
        let line = |(at, lane, what): &Told| format!("{:>8.2} s  {lane:<10} {what}\n", at.as_secs_f64());
        done.iter().map(line).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A foreign cluster stays, and so would what was made in it.
        for server in self.servers.iter().filter(|server| matches!(server, Server::Foreign { .. })) {
            let _dropped =
                server.client().try_query(&format!("DROP DATABASE IF EXISTS {} SYNC", self.database));
        }
    }
}

fn servers(options: &Options) -> Vec<Server> {
    let Some(cluster) = options.cluster.as_ref().filter(|_| options.engine == Engine::Replicated) else {
        return vec![Server::Private(ClickHouse::start_private())];
    };
    let foreign = |(index, url): (usize, &String)| Server::Foreign {
        client: ClickHouse::at_as(url, &cluster.user, &cluster.password),
        number: index + 1,
        cluster: cluster.clone(),
    };
    cluster.urls.iter().enumerate().map(foreign).collect()
}

/// Everything that waits waits less, so that a minute sees many recoveries.
fn quick(config: PenstockConfig, options: &Options, layout: &Layout) -> PenstockConfig {
    config
        .set("delivery", options.mode.name())
        .set("telemetry.log.level", "info,penstock::pipeline=debug")
        .set("exactly_once.lease", "10s")
        .set("exactly_once.quorum", layout.quorum)
        .set("kafka.session_timeout", "6s")
        .set("kafka.commit_interval", "200ms")
        .set("batch.age_max", "200ms")
        .set("batch.rows_max", layout.rows_max)
        .set("clickhouse.insert_timeout", "3s")
        .set("clickhouse.request_timeout", "3s")
        .set("clickhouse.connect_timeout", "1s")
        .set("clickhouse.health_interval", "300ms")
        .set("clickhouse.health_timeout", "1s")
        .set("clickhouse.retry.deadline", "6s")
        .set("clickhouse.retry.backoff_max", "1s")
        .set("clickhouse.retry.budget_per_second", 20.0)
        .set("clickhouse.breaker.backoff_max", "1s")
        .set("dead_letter.produce_timeout", "5s")
        .set("shutdown.drain", "10s")
        .set(
            "kafka.client",
            serde_json::json!({ "heartbeat.interval.ms": "1000", "reconnect.backoff.max.ms": "500" }),
        )
}

fn table_file(topic: &str, options: &Options, layout: &Layout, database: &str) -> String {
    let mut text = format!(
        "table: events\n\
         topics: [{topic}]\n\
         columns:\n\
         - {{name: incarnation, type: UInt32}}\n\
         - {{name: producer, type: UInt32}}\n\
         - {{name: number, type: UInt64}}\n\
         - {{name: text, type: String}}\n\
         - {{name: _topic, type: String, from: $topic}}\n\
         - {{name: _partition, type: Int32, from: $partition}}\n\
         - {{name: _offset, type: Int64, from: $offset}}\n\
         order_by: [_partition, _offset]\n"
    );
    if 1 < layout.table_partitions {
        text.push_str(&format!("partition_by: number % {}\n", layout.table_partitions));
    }
    let window = match options.engine {
        Engine::Replicated => {
            text.push_str(&format!(
                "engine: ReplicatedMergeTree('/chaos/{database}/events', '{{replica}}')\n"
            ));
            "replicated_deduplication_window"
        }
        Engine::Plain => "non_replicated_deduplication_window",
    };
    if layout.window != 0 {
        // An overrun of the window leaves many parts, and is not meant to test what they do.
        text.push_str(&format!(
            "settings: {{{window}: {}, parts_to_delay_insert: 5000, parts_to_throw_insert: 10000}}\n",
            layout.window
        ));
    }
    text
}
