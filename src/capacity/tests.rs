//! The formulas by hand, the bounds that are told, and that more rows never need less.

use super::*;

fn means() -> Means {
    Means {
        rows_per_s_per_core: 400_000.0,
        load_max: 0.5,
        consumers: 1,
        pods_min: 2,
        is_exactly_once: false,
        batch_rows_max: 250_000.0,
        batch_bytes_max: 32.0 * 1048576.0,
        batch_age_max_s: 1.0,
        in_flight_max: 4.0,
        budget_bytes: 512.0 * 1048576.0,
        prefetch_bytes: 64.0 * 1048576.0,
        budget_percent: 60.0,
        replicas: 1,
        disk_fill_max: 0.8,
    }
}

fn demand(rows_per_s: f64) -> Demand {
    Demand {
        table: "t".to_owned(),
        rows_per_s,
        partitions: 16,
        row_bytes: 100.0,
        row_disk_bytes: 40.0,
        retention_s: 86_400.0,
        partition_keys: 1,
        partition_key_s: 86_400.0,
        parts_to_delay: 1000,
    }
}

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= wanted.abs() * 0.01 + 1e-9, "{found} is not {wanted}");
}

#[test]
fn cores_and_pods_follow_the_rate_and_leave_room() {
    let small = plan(&[demand(10_000.0)], &means());
    assert_eq!((small.pods, small.members), (2, 2), "two at least, so that one may go");
    let large = plan(&[demand(2_000_000.0)], &means());
    near(large.cores_busy, 5.0);
    near(large.cores, 10.0);
    assert_eq!((large.pods, large.members, large.partitions_min), (10, 10, 10));
    near(large.catch_up_of_an_hour_s, 3600.0);
    assert!(large.hints.is_empty(), "{:?}", large.hints);
    let two = plan(&[demand(2_000_000.0)], &Means { consumers: 2, ..means() });
    assert_eq!((two.pods, two.members), (5, 10));
}

#[test]
fn batches_close_by_age_rows_or_bytes_whichever_comes_first() {
    let one = |rows_per_s, change: fn(&mut Means)| {
        let mut means = Means { pods_min: 1, ..means() };
        change(&mut means);
        plan(&[demand(rows_per_s)], &means).tables.remove(0)
    };
    let slow = one(1000.0, |_| {});
    assert_eq!(slow.closed_by, "age");
    near(slow.inserts_per_s, 1.0 / 1.001);
    near(slow.rows_per_insert, 1001.0);
    let rare = one(0.1, |_| {});
    near(rare.inserts_per_s, 1.0 / 11.0);
    near(rare.rows_per_insert, 1.1);
    let by_rows = one(100_000.0, |means| means.batch_rows_max = 10_000.0);
    assert_eq!(by_rows.closed_by, "rows");
    near(by_rows.inserts_per_s, 10.0);
    let by_bytes = one(100_000.0, |means| means.batch_bytes_max = 1_000_000.0);
    assert_eq!((by_bytes.closed_by, by_bytes.rows_per_insert), ("bytes", 10_000.0));
    let exact = one(1600.0, |means| means.is_exactly_once = true);
    near(exact.inserts_per_s, 16.0 / 1.01);
}

#[test]
fn every_key_that_a_batch_touches_is_a_part() {
    let keys = Demand { partition_keys: 12, ..demand(1000.0) };
    let table = plan(&[keys], &Means { pods_min: 1, ..means() }).tables.remove(0);
    near(table.parts_per_s, 12.0 * table.inserts_per_s);
    near(table.merges_may_stop_s, 1000.0 / table.inserts_per_s);
}

#[test]
fn the_disk_holds_what_is_kept_with_room_for_merges_and_every_copy() {
    let found = plan(&[demand(1000.0)], &Means { replicas: 2, ..means() });
    near(found.disk_bytes, 2.0 * 1000.0 * 86_400.0 * 40.0 * 1.2 / 0.8);
}

#[test]
fn bounds_that_are_hit_are_told() {
    let told = |demand: Demand, means: Means, words: &str| {
        let found = plan(&[demand], &means);
        assert!(found.hints.iter().any(|hint| hint.contains(words)), "{:?}", found.hints);
    };
    told(Demand { partitions: 4, ..demand(2_000_000.0) }, means(), "would idle");
    told(demand(2_000_000.0), Means { budget_bytes: 64.0 * 1048576.0, ..means() }, "memory.budget");
    told(demand(2_000_000.0), Means { load_max: 0.95, ..means() }, "caught up");
    told(Demand { partition_keys: 30, ..demand(1000.0) }, means(), "parts a second");
    told(Demand { parts_to_delay: 10, ..demand(1000.0) }, means(), "stand still");
    told(demand(100.0), Means { is_exactly_once: true, ..means() }, "raise batch.age_max");
}

#[test]
fn more_rows_never_need_less() {
    let mut before = plan(&[demand(1.0)], &means());
    for step in 1..60 {
        let now = plan(&[demand(1.3_f64.powi(step))], &means());
        assert!(now.cores >= before.cores && now.pods >= before.pods && now.disk_bytes >= before.disk_bytes);
        assert!(now.memory_limit_bytes >= before.memory_limit_bytes * 0.5 && now.inserts_per_s.is_finite());
        before = now;
    }
}
