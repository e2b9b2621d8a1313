//! What operators rely on: every metric that is declared moves, and nobody but the configured servers is called.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::harness::{ClickHouse, Kafka, Message, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene, merging_table};

/// One row of the document, which a unit test keeps equal to the declarations.
struct Family {
    section: String,
    name: String,
    kind: String,
}

fn documented() -> Vec<Family> {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let (mut all, mut section) = (Vec::new(), "");
    for line in document.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, name, kind, ..] = cells.as_slice()
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
        {
            let [section, name, kind] = [section, name, *kind].map(str::to_owned);
            all.push(Family { section, name, kind });
        }
    }
    assert!(all.len() > 100, "{}", all.len());
    all
}

fn is_of_admin(family: &Family) -> bool {
    family.name.starts_with("penstock_admin_")
}

/// Those that the line moves by itself.
fn declared() -> BTreeSet<String> {
    let of_line = documented().into_iter().filter(|family| {
        !is_of_admin(family) && family.section != "Merge pressure" && family.name.starts_with("penstock_")
    });
    of_line.map(|family| family.name).collect()
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

/// Those of exactly-once delivery, which the tests in `exact` move; of traces, which those in `traces` do; clocks that are
/// wrong and topics beyond the bound, which unit tests make.
const ELSEWHERE: [&str; 8] = [
    "future_records_total",
    "metrics_label_overflow_total",
    "trace_spans_total",
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
    scene.publish(1);
    // In sight for the two seconds of one attempt.
    seen(&process, &["endpoint_requests_in_flight"]);
    scene.publish_texts(400, &"x".repeat(64 << 10));
    seen(&process, &["inflight_batches", "memory_used_bytes", "paused_partitions"]);
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

/// Kinds by the names of the families that a process exports.
fn exported(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// What cannot be known at the start: `exactly_once` alone tells of a level, and Keeper of its latency.
const LATER: [&str; 1] = ["penstock_delivery_level"];

#[test]
fn a_fresh_process_has_every_family_and_every_counter_at_zero() {
    let servers = Servers::shared();
    let scene = Scene::new(&servers.kafka, &servers.clickhouse);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    let wanted: Vec<_> = documented()
        .into_iter()
        .filter(|family| !is_of_admin(family) && !LATER.contains(&family.name.as_str()))
        .collect();
    let mut text = String::new();
    wait_until(DEADLINE, "everything is assigned and read once", || {
        text = process.metrics().unwrap_or_default();
        let there = exported(&text);
        wanted.iter().all(|family| there.get(family.name.as_str()) == Some(&family.kind.as_str()))
    });
    let has = |series: &str| assert!(text.contains(series), "{series} is missing:\n{text}");
    let topic = &scene.topic;
    has(&format!("penstock_dlq_records_total{{kind=\"wrong_type\",outcome=\"error\",topic=\"{topic}\"}} 0"));
    has(&format!("penstock_schema_errors_total{{kind=\"too_large\",topic=\"{topic}\"}} 0"));
    has(&format!("penstock_inserted_rows_total{{table=\"events\",topic=\"{topic}\"}} 0"));
    has("penstock_flushes_total{table=\"events\",trigger=\"memory\"} 0");
    has("penstock_insert_attempts_total{outcome=\"fatal\",table=\"events\"} 0");
    has("penstock_insert_retries_total{class=\"later\",table=\"events\"} 0");
    has("penstock_insert_duration_seconds_count{outcome=\"ok\",table=\"events\"} 0");
    has("penstock_rebalances_total{kind=\"lost\"} 0");
    has("penstock_kafka_errors_total{kind=\"transport\"} 0");
    has("penstock_offset_commits_total{outcome=\"error\"} 0");
    has("penstock_config_reloads_total{outcome=\"refused\"} 0");
    has("penstock_metrics_label_overflow_total{label=\"topic\"} 0");
    has("penstock_trace_spans_total{outcome=\"dropped\"} 0");
    has("penstock_stage_busy_seconds_total{stage=\"insert\"} 0");
    has("penstock_backpressure_seconds_total{stage=\"commit\"} 0");
    has("penstock_stage_workers{stage=\"decode\"} 1");
    has("penstock_memory_component_bytes{component=\"sealed\"} 0");
    has(&format!("penstock_topic_partitions{{topic=\"{topic}\"}} 4"));
    let of_admin = text.lines().filter(|line| line.starts_with("penstock_admin_") && line.contains('{'));
    assert_eq!(of_admin.collect::<Vec<_>>(), [""; 0], "nothing of the other process");
    assert!(!text.contains("penstock_admin_audit_chain_ok"));
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 800, "{series} series of one table");
}

#[test]
fn series_of_partitions_go_with_them() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.publish(10);
    let partitions = |process: &Penstock| -> BTreeSet<String> {
        let text = process.metrics().unwrap_or_default();
        let of_lag = |name| text.lines().filter(move |line: &&str| line.starts_with(name));
        let all: Vec<_> = of_lag("penstock_lag_seconds{").chain(of_lag("penstock_lag_records{")).collect();
        all.iter()
            .filter_map(|line| line.split("partition=\"").nth(1)?.split('"').next())
            .map(str::to_owned)
            .collect()
    };
    let all: BTreeSet<String> = (0..PARTITIONS).map(|n| n.to_string()).collect();
    let mut first = Penstock::run(&scene.config);
    first.wait_ready();
    wait_until(DEADLINE, "the first has all partitions", || partitions(&first) == all);
    let mut second = Penstock::run(&scene.config);
    second.wait_ready();
    wait_until(DEADLINE, "each partition has series in one process alone", || {
        let (one, other) = (partitions(&first), partitions(&second));
        !one.is_empty() && !other.is_empty() && one.is_disjoint(&other) && &one | &other == all
    });
    second.sigterm();
    assert_eq!(second.wait_exit(DEADLINE), Some(0));
    wait_until(DEADLINE, "the first has all of them back", || partitions(&first) == all);
}
