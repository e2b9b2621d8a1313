//! What the process really takes of the machine while ClickHouse hangs: the kernel's account of it, not its own.
//!
//! It refuses to know what holds the memory. `PENSTOCK_SOAK_SECONDS=120` makes the server hang for two minutes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::harness::{ClickHouse, Kafka, Penstock, wait_until};
use crate::scene::{DEADLINE, Scene, events_table};

const PARTITIONS: i32 = 64;
const EVENTS: u64 = 10_000;
/// One event in so many is large.
const LARGE_EVERY: u64 = 2_500;
const SMALL_BYTES: usize = 300;
const LARGE_BYTES: usize = 1_000_000;
const BUDGET_MIB: u64 = 256;
/// What the process may take beside what the budget counts: its code, stacks, and what the allocator keeps.
const BESIDE_MIB: u64 = 100;
const HANG: Duration = Duration::from_secs(15);

/// How long the server hangs.
fn hang() -> Duration {
    // Tests are handed their length by the environment; the configuration of penstock is another matter.
    #[allow(clippy::disallowed_methods)]
    let seconds = std::env::var("PENSTOCK_SOAK_SECONDS").ok();
    seconds.map_or(HANG, |text| Duration::from_secs(text.parse().expect("PENSTOCK_SOAK_SECONDS is a number")))
}

/// A line of the kernel's status of the process, in MiB.
fn status_mib(process: &Penstock, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("the line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024
}

fn expect_rss_within_budget(delivery: &str) {
    // One at a time, each with a broker of its own: two of these topics at once are much for one of the tests' size.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (kafka, ch) = (Kafka::start_private(), ClickHouse::start_private());
    let mut scene = Scene::with_partitions(PARTITIONS, &kafka, &ch, |topic| {
        events_table(topic, "settings: {non_replicated_deduplication_window: 100000}\n")
    });
    scene.config = scene
        .config
        .set("delivery", delivery)
        .set("memory.budget", format!("{BUDGET_MIB}MiB"))
        .set("kafka.prefetch", "64MiB")
        .set("batch.bytes_max", "16MiB")
        .set("batch.age_max", "1s");
    // Text that does not compress, so that bodies are as large as rows.
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).map(char::from);
    let text: String = letters.take(LARGE_BYTES * 2).collect();
    scene.publish_each(EVENTS, |n| {
        let length = if n % LARGE_EVERY == 0 { LARGE_BYTES } else { SMALL_BYTES };
        &text[usize::try_from(n).expect("a place in the text")..][..length]
    });

    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_until(DEADLINE, "the first rows are written", || {
        process.metric("penstock_inserted_rows_total", &[]).is_some_and(|rows| 0.0 < rows)
    });
    ch.stop();
    wait_until(DEADLINE, "reading is paused", || {
        process.metric("penstock_paused_partitions", &[]).is_some_and(|paused| 1.0 <= paused)
    });
    let (stopped, hang) = (Instant::now(), hang());
    // The kernel keeps the highest value, so that nothing between two looks is missed.
    let peak_max = BUDGET_MIB + BESIDE_MIB;
    wait_until(hang + DEADLINE, "the server has hung long enough", || {
        let peak = status_mib(&process, "VmHWM");
        assert!(
            peak < peak_max,
            "{peak} MiB of {peak_max} MiB, {:?} after the server hung",
            stopped.elapsed()
        );
        hang <= stopped.elapsed()
    });
    let (rss, peak) = (status_mib(&process, "VmRSS"), status_mib(&process, "VmHWM"));
    ch.cont();
    scene.expect_all(DEADLINE * 2);
    scene.expect_committed(DEADLINE);
    let after = status_mib(&process, "VmHWM");
    eprintln!("{delivery}: {rss} MiB after {hang:?}, at most {peak} MiB, afterwards at most {after} MiB");
    assert!(after < peak_max, "{after} MiB of {peak_max} MiB once the server went on");
    if delivery == "exactly_once" {
        assert_eq!(scene.sql("count() - uniqExact(_partition, _offset)"), "0", "nothing is there twice");
    }
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn at_least_once_takes_little_more_than_its_budget_while_clickhouse_hangs() {
    expect_rss_within_budget("at_least_once");
}

#[test]
fn exactly_once_takes_little_more_than_its_budget_while_clickhouse_hangs() {
    expect_rss_within_budget("exactly_once");
}
