//! What operators rely on: every metric that is declared moves, and nobody but the configured servers is called.

use std::collections::BTreeSet;
use std::fs;

use crate::harness::{ClickHouse, Kafka, Message, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, Scene, merging_table};

/// The names in the declarations, as a user sees them.
fn declared() -> BTreeSet<String> {
    let source = include_str!("../../src/telemetry/metrics.rs");
    let declarations =
        source.split("fn new() -> Metrics").nth(1).unwrap().split("registry: b.0").next().unwrap();
    let mut names = BTreeSet::new();
    for call in ["b.counter(", "b.gauge(", "b.histogram(", "opts("] {
        for after in declarations.split(call).skip(1) {
            if let Some(name) = after.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                names.insert(format!("penstock_{name}"));
            }
        }
    }
    assert!(names.len() > 30, "{names:?}");
    names
}

/// Adds the metrics with a sample that is not zero.
fn look(process: &Penstock, moved: &mut BTreeSet<String>) {
    for line in process.metrics().unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        if value != "0" {
            let name = series.split('{').next().unwrap_or(series);
            let name =
                ["_bucket", "_count", "_sum"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
            moved.insert(name.to_owned());
        }
    }
}

/// Those of exactly-once delivery, which the tests in `exact` move, and of the admin process, which those in `admin` do.
const ELSEWHERE: [&str; 7] = [
    "admin_jobs_total",
    "admin_requests_total",
    "delivery_level",
    "read_backs_total",
    "repaired_rows_total",
    "replay_gone_records_total",
    "replayed_batches_total",
];

#[test]
fn every_declared_metric_moves() {
    let (kafka, ch) = (Kafka::start_private(), ClickHouse::start_private());
    let mut scene = Scene::with_table(&kafka, &ch, merging_table);
    scene.config = scene
        .config
        .set("clickhouse.insert_timeout", "2s")
        .set("memory.budget", "48MiB")
        .set("kafka.prefetch", "16MiB")
        .set("batch.bytes_max", "4MiB")
        .set("audit.interval", "1s")
        .set("audit.enabled", "always");
    // Two rows of one offset; and the partitions' events have the same numbers, of which the table keeps one.
    ch.query(&format!(
        "INSERT INTO {}.events VALUES (1000000, '', 0, 0), (1000001, '', 0, 0)",
        scene.database.name
    ));
    scene.publish(100);
    scene.publish_raw("{");
    scene.publish_raw("{\"n\":1,\"text\":\"\",\"unknown\":1}");
    let tombstone = Message {
        partition: 1,
        offset: 0,
        timestamp_ms: None,
        key: None,
        payload: None,
        headers: Vec::new(),
    };
    kafka.produce_message(&scene.topic, &tombstone);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();

    let mut moved = BTreeSet::new();
    let mut seen = |process: &Penstock, names: &[&str]| {
        wait_until(DEADLINE, &format!("{names:?} move"), || {
            look(process, &mut moved);
            names.iter().all(|name| moved.contains(&format!("penstock_{name}")))
        });
    };
    seen(
        &process,
        &["dlq_records_total", "dlq_bytes_total", "unknown_fields_total", "filtered_records_total"],
    );
    seen(&process, &["offset_commits_total", "inserted_rows_total", "e2e_latency_seconds"]);
    process.sighup();
    seen(&process, &["config_reloads_total"]);
    seen(&process, &["audit_offsets_total", "audit_missing_rows", "audit_surplus_rows"]);
    // A server that hangs: time-outs with an unknown outcome, repeats, a gate that shuts, reading that stops.
    ch.stop();
    scene.publish_texts(400, &"x".repeat(64 << 10));
    seen(
        &process,
        &["inflight_batches", "endpoint_requests_in_flight", "memory_used_bytes", "paused_partitions"],
    );
    seen(&process, &["lag_seconds", "lag_records", "gate_transitions_total"]);
    ch.cont();
    seen(&process, &["insert_retries_total", "deduplicated_batches_total"]);
    // A second member: partitions are given back.
    let second = Penstock::run(&scene.config);
    seen(&process, &["rebalance_duration_seconds"]);
    drop(second);
    kafka.kill(0);
    seen(&process, &["kafka_errors_total"]);
    kafka.restart(0);
    let elsewhere = ELSEWHERE.map(|name| format!("penstock_{name}"));
    let missing: Vec<_> =
        declared().into_iter().filter(|name| !moved.contains(name) && !elsewhere.contains(name)).collect();
    assert_eq!(missing, Vec::<String>::new(), "declared and never moved");
}

/// Remote addresses of the process's TCP connections, as `port`s on the far side.
fn far_ports(pid: u32) -> BTreeSet<u16> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            inodes.insert(inode.to_owned());
        }
    }
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        for line in fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default().lines().skip(1)
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let far = u16::from_str_radix(fields[2].rsplit(':').next().unwrap(), 16).unwrap();
            if inodes.contains(fields[9]) && far != 0 {
                ports.insert(far);
            }
        }
    }
    ports
}

#[test]
fn only_configured_servers_are_called() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.publish(1_000);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    let port = |address: &str| address.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let mut known: BTreeSet<u16> = servers.kafka.brokers.split(',').map(port).collect();
    known.insert(port(servers.clickhouse.address()));
    let mut all = BTreeSet::new();
    wait_until(DEADLINE, "rows are written", || {
        all.extend(far_ports(process.id()));
        scene.landed() == 4_000
    });
    assert_eq!(all, known, "every connection goes to a configured server, and to each of them");
}
