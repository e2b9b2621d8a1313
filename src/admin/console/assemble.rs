//! The parts of the summary, each made of what the board knows.
//!
//! Refuses to keep anything, and to count a pod that does not answer into what the line does now.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::board::{Board, Known};
use super::problems::LATE_S;
use super::rates::{Rates, bottleneck, catch_up_s, p99, span_s};
use super::summary::{Flow, Flush, Gate, Memory, Partition, Pod, Point, Stage, Table, Totals};
use crate::telemetry::summary::Snapshot;

/// Stages in the order of an event's way.
const STAGES: [&str; 5] = ["fetch", "decode", "batch", "insert", "commit"];
const PARTITIONS_MAX: usize = 200;
const TABLES_MAX: usize = 200;

/// What happened lately: over seconds, and over half a minute.
type Lately = Option<(Rates, Rates)>;

pub fn totals(board: &Board, rates: &Lately) -> Totals {
    let short = rates.as_ref().map(|(short, _)| short);
    let all = || board.reachable().map(|(_, _, snapshot)| snapshot);
    let partitions = || all().flat_map(|snapshot| &snapshot.partitions);
    let known = board.pods.values().filter_map(|pod| pod.latest.as_deref());
    let topics: BTreeSet<&str> = all().flat_map(|one| one.topics.keys()).map(String::as_str).collect();
    let any = all().next().is_some();
    Totals {
        in_records_per_s: short.map(|rates| rates.in_records_per_s),
        in_bytes_per_s: short.map(|rates| rates.in_bytes_per_s),
        out_rows_per_s: short.map(|rates| rates.out_rows_per_s),
        e2e_p99_s: rates.as_ref().and_then(|(_, long)| p99(&long.e2e)),
        lag_records: any.then(|| partitions().filter_map(|one| one.lag_records).sum()),
        lag_s: any.then(|| partitions().map(|one| one.lag_s).fold(0.0, f64::max)),
        dead_letters_per_min: rates.as_ref().map(|(_, long)| long.dead_letters_per_s * 60.0),
        dead_letters_total: all().flat_map(|one| one.topics.values()).map(|topic| topic.dead_letters).sum(),
        // What one that is gone has found missing stays missing.
        lost_records: known.flat_map(|one| one.topics.values()).map(|topic| topic.missing_rows).sum(),
        freshness_good_ratio: None,
        topics: topics.len() as u64,
    }
}

/// Part of the history in which no record waited too long; where nothing was known, it was not good.
pub fn freshness(history: &[Point]) -> Option<f64> {
    let good = history.iter().filter(|point| point.lag_s.is_some_and(|lag_s| lag_s <= LATE_S)).count();
    (!history.is_empty()).then(|| good as f64 / history.len() as f64)
}

pub fn partitions(board: &Board) -> Vec<Partition> {
    let mut all: BTreeMap<(&str, i32), (i64, Partition)> = BTreeMap::new();
    for (address, pod, snapshot) in board.reachable() {
        let base = pod.base().and_then(|base| Some((base, span_s(base, snapshot)?)));
        let before: BTreeMap<(&str, i32), Option<u64>> = base
            .iter()
            .flat_map(|(base, _)| &base.partitions)
            .map(|one| ((one.topic.as_str(), one.partition), one.lag_records))
            .collect();
        for one in &snapshot.partitions {
            let key = (one.topic.as_str(), one.partition);
            let old = before.get(&key).copied().flatten();
            let told = Partition {
                topic: one.topic.clone(),
                partition: one.partition,
                pod: address.to_owned(),
                lag_records: one.lag_records,
                lag_s: Some(one.lag_s),
                catch_up_s: base.and_then(|(_, span_s)| catch_up_s(old, one.lag_records, span_s)),
                paused: paused(snapshot, &one.topic),
            };
            // While it changes hands two may have it, and the one that spoke last is right.
            if all.get(&key).is_none_or(|(at_ms, _)| *at_ms < snapshot.at_ms) {
                all.insert(key, (snapshot.at_ms, told));
            }
        }
    }
    let mut all: Vec<Partition> = all.into_values().map(|(_, partition)| partition).collect();
    all.sort_by(|a, b| b.lag_s.unwrap_or(0.0).total_cmp(&a.lag_s.unwrap_or(0.0)));
    all.truncate(PARTITIONS_MAX);
    all
}

/// Why a topic's partitions are not read; of backpressure only where it is all of them.
fn paused(snapshot: &Snapshot, topic: &str) -> Option<String> {
    // An operator's pause ends by itself whatever else there is.
    if let Some(held) = snapshot.components.get(&format!("topic {topic}")) {
        let who = held.sentence.strip_prefix("paused ").unwrap_or(&held.sentence);
        return Some(who.to_owned());
    }
    let topic = snapshot.topics.get(topic)?;
    if 0 < topic.capped {
        return Some("dead_letter_ceiling".to_owned());
    }
    (0 < topic.assigned && topic.assigned <= topic.paused).then(|| "backpressure".to_owned())
}

pub fn flow(board: &Board, rates: &Lately) -> Flow {
    let short = rates.as_ref().map(|(short, _)| short);
    let stage = |name: &&str| Stage {
        name: (*name).to_owned(),
        busy_ratio: short.and_then(|rates| rates.stages.get(*name)).and_then(|busy| busy.ratio()),
    };
    let stages: Vec<Stage> = STAGES.iter().map(stage).collect();
    let slowest = bottleneck(stages.iter().map(|stage| (stage.name.as_str(), stage.busy_ratio)));
    let mut gates: BTreeMap<&str, &str> = BTreeMap::new();
    let mut memory = Memory::default();
    for (_, _, snapshot) in board.reachable() {
        memory.used_bytes = memory.used_bytes.saturating_add(snapshot.memory_used_bytes);
        memory.budget_bytes = memory.budget_bytes.saturating_add(snapshot.memory_budget_bytes);
        for (component, bytes) in &snapshot.memory_components {
            let sum = memory.components.entry(component.clone()).or_default();
            *sum = sum.saturating_add(*bytes);
        }
        for (endpoint, state) in &snapshot.gates {
            let worst = gates.entry(endpoint).or_insert(state);
            if shutness(worst) < shutness(state) {
                *worst = state;
            }
        }
    }
    let gate =
        |(endpoint, state): (&str, &str)| Gate { endpoint: endpoint.to_owned(), state: state.to_owned() };
    let flushes = rates.as_ref().map(|(_, long)| long.flush_ratios()).unwrap_or_default();
    Flow {
        bottleneck: slowest.map(str::to_owned),
        stages,
        memory,
        gates: gates.into_iter().map(gate).collect(),
        flushes: flushes.into_iter().map(|(trigger, ratio)| Flush { trigger, ratio }).collect(),
    }
}

fn shutness(state: &str) -> u8 {
    match state {
        "open" => 0,
        "limited" => 1,
        _ => 2,
    }
}

pub fn pods(board: &Board, now: DateTime<Utc>) -> Vec<Pod> {
    board.pods.iter().map(|(address, pod)| told(address, pod, now)).collect()
}

fn told(address: &str, pod: &Known, now: DateTime<Utc>) -> Pod {
    let rates = if pod.reachable { pod.rates() } else { None };
    let last = pod.latest.as_deref();
    let text = |of: fn(&Snapshot) -> &String| last.map(of).cloned().unwrap_or_default();
    let lag_s = |snapshot: &Snapshot| snapshot.partitions.iter().map(|one| one.lag_s).fold(0.0, f64::max);
    Pod {
        address: address.to_owned(),
        state: if last.is_some() { text(|last| &last.state) } else { "unknown".to_owned() },
        sentence: text(|last| &last.sentence),
        version: text(|last| &last.version),
        reachable: pod.reachable,
        age_s: pod.age_s(now),
        in_records_per_s: rates.as_ref().map(|rates| rates.in_records_per_s),
        out_rows_per_s: rates.as_ref().map(|rates| rates.out_rows_per_s),
        lag_s: last.filter(|_| pod.reachable).map(lag_s),
        partitions: last.filter(|_| pod.reachable).map_or(0, |snapshot| snapshot.partitions_total),
    }
}

pub fn tables(board: &Board, rates: &Lately) -> Vec<Table> {
    let mut all: BTreeMap<&str, Table> = BTreeMap::new();
    for (_, _, snapshot) in board.reachable() {
        for (name, table) in &snapshot.tables {
            let told = all.entry(name).or_insert_with(|| Table { table: name.clone(), ..Table::default() });
            told.parts = told.parts.max(table.parts);
            told.parts_limit = match (told.parts_limit, table.parts_delay) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            if told.delivery.is_none() {
                told.delivery.clone_from(&table.delivery);
            }
        }
    }
    if let Some((short, long)) = rates {
        for (name, table) in &mut all {
            table.rows_per_s = short.tables.get(*name).map(|rates| rates.rows_per_s);
            let long = long.tables.get(*name);
            table.batch_rows = long.and_then(|rates| rates.rows_per_batch());
            table.insert_p99_s = long.and_then(|rates| p99(&rates.insert));
        }
    }
    all.into_values().take(TABLES_MAX).collect()
}
