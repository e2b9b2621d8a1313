//! Servers that stop, hang and come back, and a process that is ended and started again: nothing is lost.
//!
//! Every count is by offset. Each test has servers of its own where it breaks them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{ClickHouse, Kafka, Mode, Penstock, Servers, TcpProxy, wait_for, wait_until};
use crate::scene::{DEADLINE, Scene, events_table};

/// Runs `body` while events are published, a few at a time; returns when both are done.
fn while_publishing(scene: &mut Scene, body: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _end = SetOnDrop(&done);
            body();
        });
        while !done.load(Ordering::Acquire) {
            scene.publish(20);
        }
        worker.join().unwrap();
    });
}

/// Ends the publishing also when the body fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// How many rows have been acknowledged so far.
fn inserted(process: &Penstock) -> f64 {
    process.metric("penstock_inserted_rows_total", &[]).unwrap_or(0.0)
}

fn wait_for_progress(process: &Penstock) {
    let before = inserted(process);
    wait_until(DEADLINE, "rows go on being written", || before < inserted(process));
}

#[test]
fn clickhouse_stopped_for_a_minute_loses_nothing() {
    let servers = Servers::shared();
    let ch = ClickHouse::start_private();
    let mut scene = Scene::new(&servers.kafka, &ch);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    while_publishing(&mut scene, || {
        wait_for_progress(&process);
        ch.kill();
        let killed = Instant::now();
        wait_until(DEADLINE, "health tells of the table", || {
            process.health().is_some_and(|(status, body)| status == 200 && body.contains("nothing is lost"))
        });
        // The outage itself is the minute; what matters is asked for as a condition.
        wait_until(DEADLINE, "a minute of outage", || Duration::from_secs(60) <= killed.elapsed());
        ch.restart();
        wait_for_progress(&process);
    });
    assert!(process.is_running());
    scene.expect_all(DEADLINE);
    scene.expect_committed(DEADLINE);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn kafka_restarted_in_the_middle_loses_nothing() {
    let servers = Servers::shared();
    let kafka = Kafka::start_private();
    let mut scene = Scene::new(&kafka, &servers.clickhouse);
    scene.publish(2_000);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_for_progress(&process);
    kafka.kill(0);
    kafka.restart(0);
    scene.publish(2_000);
    scene.expect_all(DEADLINE * 2);
    scene.expect_committed(DEADLINE);
    assert!(process.is_running());
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn ended_and_started_again_twice_loses_nothing() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    let config = scene.config.clone();
    while_publishing(&mut scene, || {
        for _ in 0..2 {
            let mut process = Penstock::run(&config);
            process.wait_ready();
            wait_for_progress(&process);
            process.sigterm();
            assert_eq!(process.wait_exit(DEADLINE), Some(0));
        }
    });
    assert_eq!(scene.sql("count() - uniqExact(_partition, _offset)"), "0", "an orderly end doubles nothing");
    scene.run_to_end();
    scene.expect_all(Duration::from_secs(5));
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn killed_and_started_again_twice_loses_nothing() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    // A killed member holds its partitions until its session is over, unless it comes back by its name.
    scene.config = scene.config.set("kafka.instance_id", "one").set("kafka.session_timeout", "6s");
    let config = scene.config.clone();
    while_publishing(&mut scene, || {
        for _ in 0..2 {
            let mut process = Penstock::run(&config);
            process.wait_ready();
            wait_for_progress(&process);
            process.kill9();
        }
    });
    scene.run_to_end();
    scene.expect_all(Duration::from_secs(5));
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn of_three_endpoints_one_killed_and_one_hanging_the_third_goes_on() {
    let servers = Servers::shared();
    let all = ClickHouse::start_private_set(3);
    let mut scene = Scene::new(&servers.kafka, &all[0]);
    // Each server is on its own: the table is made on all three, and the rows are counted over them.
    let ddl = all[0].query(&format!("SHOW CREATE TABLE {}.events FORMAT TSVRaw", scene.database.name));
    for other in &all[1..] {
        other.query(&format!("CREATE DATABASE {}", scene.database.name));
        other.query(&ddl);
    }
    let urls: Vec<&str> = all.iter().map(|ch| ch.url()).collect();
    scene.config = scene.config.set("clickhouse.endpoints", urls);
    let database = scene.database.name.clone();
    let config = scene.config.clone();
    let mut process = Penstock::run(&config);
    process.wait_ready();
    let gate = |process: &Penstock, server: usize, state: &str| {
        let endpoint = format!("{}\"", all[server].address());
        let labels = [endpoint.as_str(), &format!("state=\"{state}\"")].map(str::to_owned);
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        process.metric("penstock_gate_state", &labels) == Some(1.0)
    };
    let mut shut_after = Duration::ZERO;
    while_publishing(&mut scene, || {
        wait_for_progress(&process);
        all[1].kill();
        all[2].stop();
        let broken = Instant::now();
        let both = || !gate(&process, 1, "open") && !gate(&process, 2, "open");
        wait_until(Duration::from_secs(20), "the gates of both are shut", both);
        shut_after = broken.elapsed();
        wait_for_progress(&process);
        all[1].restart();
        all[2].cont();
        wait_until(DEADLINE, "the gates are open again", || {
            gate(&process, 1, "open") && gate(&process, 2, "open")
        });
        wait_for_progress(&process);
    });
    eprintln!("both gates shut after {shut_after:?}");
    assert!(shut_after < Duration::from_secs(5), "gates shut after {shut_after:?}");
    let limited = |server: usize| {
        let labels = [format!("{}\"", all[server].address()), "to=\"limited\"".to_owned()];
        process.metric("penstock_gate_transitions_total", &[&labels[0], &labels[1]]).unwrap_or(0.0)
    };
    assert!(1.0 <= limited(1) && 1.0 <= limited(2), "each gate was limited before it opened");
    scene.expect_committed(DEADLINE);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    let mut offsets = std::collections::BTreeSet::new();
    for ch in &all {
        let rows = ch.query(&format!("SELECT DISTINCT _partition, _offset FROM {database}.events"));
        offsets.extend(rows.lines().map(str::to_owned));
    }
    assert_eq!(offsets.len() as u64, scene.published(), "over the three servers nothing is missing");
}

#[test]
fn memory_stays_within_its_budget_while_clickhouse_hangs() {
    let servers = Servers::shared();
    let ch = ClickHouse::start_private();
    let mut scene = Scene::new(&servers.kafka, &ch);
    scene.config = scene
        .config
        .set("memory.budget", "48MiB")
        .set("kafka.prefetch", "16MiB")
        .set("batch.bytes_max", "4MiB")
        .set("batch.rows_max", 10_000_000);
    let text = "x".repeat(64 << 10);
    for _ in 0..4 {
        scene.publish_texts(400, &text);
    }
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_for_progress(&process);
    ch.stop();
    wait_until(DEADLINE, "reading is paused", || {
        process.metric("penstock_paused_partitions", &[]).is_some_and(|paused| 1.0 <= paused)
    });
    let used = process.metric("penstock_memory_used_bytes", &[]).unwrap();
    let budget = process.metric("penstock_memory_budget_bytes", &[]).unwrap();
    // The one record that went over the line may be as large as the largest here.
    assert!(used <= budget + 128.0 * 1024.0, "{used} of {budget}");
    ch.cont();
    wait_until(DEADLINE, "reading goes on", || {
        process.metric("penstock_paused_partitions", &[]) == Some(0.0)
    });
    scene.expect_all(DEADLINE);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn how_far_it_is_behind_goes_on_being_told_while_clickhouse_is_away() {
    let servers = Servers::shared();
    let proxy = TcpProxy::start(servers.clickhouse.address());
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.config = scene.config.set("clickhouse.endpoints", vec![proxy.url()]).set("batch.in_flight_max", 1);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    scene.publish(5);
    scene.expect_all(DEADLINE);
    scene.expect_committed(DEADLINE);
    let landed = scene.landed();
    let metric = |name: &str| process.metric(name, &[]).unwrap_or(0.0);
    proxy.set(Mode::Refuse);
    wait_until(DEADLINE, "all is paused", || {
        scene.publish(1);
        metric("penstock_paused_partitions") == 4.0
    });
    for more in [40, 50] {
        scene.publish(more);
        let behind = f64::from(u32::try_from(scene.published() - landed).unwrap());
        wait_until(DEADLINE, "what nobody reads is told too", || metric("penstock_lag_records") == behind);
    }
    assert_eq!(metric("penstock_paused_partitions"), 4.0);
    proxy.set(Mode::Pass);
    scene.expect_all(DEADLINE);
    wait_until(DEADLINE, "nothing is behind", || metric("penstock_lag_records") == 0.0);
}

#[test]
fn a_drain_that_cannot_finish_says_so_and_loses_nothing() {
    let servers = Servers::shared();
    let ch = ClickHouse::start_private();
    let mut scene = Scene::new(&servers.kafka, &ch);
    scene.config = scene.config.set("shutdown.drain", "3s");
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    scene.publish(100);
    wait_for_progress(&process);
    ch.stop();
    scene.publish(100);
    wait_until(DEADLINE, "rows are on their way", || {
        process.metric("penstock_decoded_records_total", &[]) == Some(800.0)
    });
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(5));
    ch.cont();
    scene.run_to_end();
    scene.expect_all(Duration::from_secs(5));
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn dead_letters_wait_for_their_topic() {
    let servers = Servers::shared();
    let kafka = Kafka::start_private();
    let mut scene = Scene::new(&kafka, &servers.clickhouse);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    kafka.delete_topic(&scene.dead_topic());
    scene.publish(10);
    scene.publish_raw("not json");
    scene.publish(10);
    wait_until(DEADLINE, "the good ones land", || scene.landed() == 80);
    wait_for(DEADLINE * 2, "health tells of the letter", || {
        process.health().filter(|(_, body)| body.contains("dead letters cannot be published"))
    });
    let group = scene.config.text("kafka.group");
    let committed = kafka.committed(group, &scene.topic, &[0]);
    assert_eq!(committed, [Some(10)], "nothing is committed past the record that is nowhere yet");
    kafka.create_topic(&scene.dead_topic(), 1, 1, &[]);
    scene.expect_committed(DEADLINE);
    assert_eq!(kafka.read_all(&scene.dead_topic()).len(), 1);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn records_of_a_topic_made_anew_are_not_taken_for_those_that_the_table_remembers() {
    let servers = Servers::shared();
    let table = |topic: &str| events_table(topic, "settings: {non_replicated_deduplication_window: 10000}\n");
    let mut scene = Scene::with_partitions(1, &servers.kafka, &servers.clickhouse, table);
    scene.publish(100);
    scene.run_to_end();
    let kafka = &scene.kafka;
    kafka.delete_topic(&scene.topic);
    wait_until(DEADLINE, "the topic is gone", || kafka.partitions(&scene.topic).is_empty());
    kafka.create_topic(&scene.topic, 1, 1, &[]);
    kafka.produce(&scene.topic, 0, (1000..1100).map(|n| format!("{{\"n\":{n},\"text\":\"new\"}}")));
    scene.run_to_end();
    assert_eq!(scene.sql("count(), uniqExact(n)"), "200\t200");
    // What is read again is the same, and known.
    scene.call(&["ledger", "rewind", "--topic", &scene.topic, "--partition", "0", "--to", "0", "--yes"]);
    scene.run_to_end();
    assert_eq!(scene.sql("count(), uniqExact(n)"), "200\t200");
}
