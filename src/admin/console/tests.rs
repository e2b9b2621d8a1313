//! The board against a clock that is handed in: pods that die, come back and move; and the console with listeners.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::board::{Beside, Board, Said, Silence};
use super::summary::{JobLine, Level, Summary};
use super::{Config, Console};
use crate::telemetry::health::{Health, State};
use crate::telemetry::http::Server;
use crate::telemetry::summary::{Partition, Snapshot, Topic};

const A: &str = "10.0.0.1:9464";
const B: &str = "10.0.0.2:9464";

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

/// A process that takes a hundred records a second in.
fn snapshot(second: i64, started_ms: i64) -> Snapshot {
    let records = u64::try_from(second * 100).unwrap();
    let topic = Topic { records, assigned: 2, ..Topic::default() };
    let lag =
        |partition, lag_s| Partition { topic: "events".to_owned(), partition, lag_records: Some(10), lag_s };
    Snapshot {
        at_ms: second * 1000,
        started_ms,
        version: "1".to_owned(),
        state: "running".to_owned(),
        is_live: true,
        topics: [("events".to_owned(), topic)].into(),
        partitions: vec![lag(0, 1.5), lag(1, 0.5)],
        partitions_total: 2,
        gates: [("ch:8123".to_owned(), "open".to_owned())].into(),
        ..Snapshot::default()
    }
}

fn gone() -> Result<Snapshot, Silence> {
    Err(Silence { is_gone: true, why: "connection refused".to_owned() })
}

fn board(addresses: &[&str]) -> Board {
    let mut board = Board::new(Said { name: "x".to_owned(), is_configured: true, ..Said::default() });
    let addresses: BTreeSet<String> = addresses.iter().map(|&address| address.to_owned()).collect();
    board.resolved(&addresses, Vec::new(), at(0));
    board
}

/// Looks each second of the span.
fn go(
    board: &mut Board,
    seconds: std::ops::Range<i64>,
    answer: impl Fn(&str, i64) -> Result<Snapshot, Silence>,
) -> Summary {
    let mut last = Summary::default();
    for second in seconds {
        for address in board.asked(at(second)) {
            board.heard(&address, answer(&address, second), at(second));
        }
        last = board.summary(at(second));
    }
    last
}

#[test]
fn a_line_that_is_well_is_told_with_its_rates() {
    let mut board = board(&[A, B]);
    let summary = go(&mut board, 0..30, |address, second| {
        // Each has partitions of its own.
        let shift = if address == A { 0 } else { 2 };
        let mut snapshot = snapshot(second, 1);
        snapshot.partitions.iter_mut().for_each(|one| one.partition += shift);
        Ok(snapshot)
    });
    assert_eq!(summary.verdict.level, Level::Healthy, "{:?}", summary.verdict);
    assert_eq!(summary.verdict.sentence, "Healthy: 1 topic, worst lag 2 s, nothing lost");
    assert_eq!(summary.totals.in_records_per_s, Some(200.0));
    assert_eq!((summary.totals.lag_records, summary.totals.lag_s), (Some(40), Some(1.5)));
    assert_eq!((summary.partitions_total, summary.partitions.len()), (4, 4));
    assert_eq!(summary.pods.iter().map(|pod| pod.in_records_per_s).collect::<Vec<_>>(), [Some(100.0); 2]);
    assert_eq!((summary.problems.len(), summary.history.len()), (0, 6));
    assert_eq!(summary.totals.freshness_good_ratio, Some(1.0));
    assert_eq!(summary.verdict.since, "2027-01-15T08:00:00.000Z");
}

#[test]
fn a_pod_that_dies_turns_grey_and_then_goes() {
    let mut board = board(&[A, B]);
    let dies =
        |address: &str, second| if address == B && 10 <= second { gone() } else { Ok(snapshot(second, 1)) };
    let summary = go(&mut board, 0..11, dies);
    let pod = summary.pods.iter().find(|pod| pod.address == B).unwrap();
    assert_eq!((pod.reachable, pod.age_s, pod.in_records_per_s, pod.partitions), (false, Some(1.0), None, 0));
    assert_eq!(summary.verdict.level, Level::Attention, "at the first look that nobody answers");
    assert_eq!(summary.problems[0].id, format!("pod:{B}"));
    assert!(
        summary.timeline[0].sentence.contains("Needs attention") && summary.timeline[1].kind == "pod",
        "{:?}",
        summary.timeline
    );
    // No name leads to it any more: it is no trouble, and stays in sight for ten minutes.
    board.resolved(&[A.to_owned()].into(), Vec::new(), at(11));
    let summary = go(&mut board, 11..600, dies);
    assert_eq!((summary.verdict.level, summary.pods.len()), (Level::Healthy, 2));
    assert_eq!(board.asked(at(600)), [A], "it is not asked for ever");
    let summary = go(&mut board, 600..620, dies);
    assert_eq!(summary.pods.len(), 1);
    assert!(summary.timeline.iter().any(|event| event.sentence == format!("pod {B} is forgotten")));
    assert!(summary.history.len() <= 181 && summary.timeline.len() <= 100);
}

#[test]
fn the_last_pod_that_dies_fails_the_line_and_one_that_is_slow_does_not_at_once() {
    let mut board = board(&[A]);
    go(&mut board, 0..10, |_, second| Ok(snapshot(second, 1)));
    let slow = |_: &str, _: i64| Err(Silence { is_gone: false, why: "no answer within 800 ms".to_owned() });
    let summary = go(&mut board, 10..12, slow);
    assert_eq!(summary.verdict.level, Level::Healthy, "a busy machine is no dead one");
    let summary = go(&mut board, 12..14, slow);
    assert_eq!(summary.verdict.sentence, "Failing: no pod of the line has answered for 4 s");
    assert_eq!(summary.totals.in_records_per_s, None);
    let summary = go(&mut board, 14..1000, |_, _| gone());
    assert_eq!(summary.verdict.level, Level::Failing);
    assert_eq!(summary.pods.len(), 1, "a name still leads to it");
    assert_eq!(summary.totals.freshness_good_ratio, Some(0.0), "what is not known is not good");
}

#[test]
fn a_pod_that_starts_anew_counts_from_zero() {
    let mut board = board(&[A]);
    let restarts = |_: &str, second: i64| match second {
        0..20 => Ok(snapshot(second + 1000, 1)),
        _ => Ok(snapshot(second - 20, 2)),
    };
    let summary = go(&mut board, 0..21, restarts);
    assert_eq!(summary.totals.in_records_per_s, None, "there is nothing to compare with");
    assert!(summary.timeline.iter().any(|event| event.sentence == format!("pod {A} has started anew, 1")));
    let summary = go(&mut board, 21..40, restarts);
    assert_eq!(summary.totals.in_records_per_s, Some(100.0));
    assert!(
        summary.history.iter().all(|point| point.records_per_s.is_none_or(|rate| rate <= 100.0)),
        "no leap"
    );
}

#[test]
fn dead_letters_are_told_for_a_while_and_a_problem_keeps_its_time() {
    let mut board = board(&[A]);
    let answer = |_: &str, second: i64| {
        let mut snapshot = snapshot(second, 1);
        let topic = snapshot.topics.get_mut("events").unwrap();
        topic.dead_letters = if 5 <= second { 12 } else { 0 };
        topic.reasons.insert("missing_field".to_owned(), topic.dead_letters);
        Ok(snapshot)
    };
    let summary = go(&mut board, 0..60, answer);
    assert_eq!(
        summary.problems[0].sentence,
        "12 dead letters of events in the last 15 minutes, most for missing_field"
    );
    assert_eq!(summary.problems[0].since, "2027-01-15T08:00:05.000Z");
    assert_eq!((summary.totals.dead_letters_total, summary.totals.dead_letters_per_min), (12, Some(0.0)));
    assert_eq!(go(&mut board, 60..920, answer).problems, []);
}

#[test]
fn a_partition_that_changes_hands_is_told_once_and_what_stands_beside_is_told_too() {
    let mut board = board(&[A, B]);
    let jobs = vec![JobLine { id: "1".to_owned(), state: "running".to_owned(), ..JobLine::default() }];
    board.beside(Beside {
        jobs,
        newest_verified_at: Some(at(-7200)),
        policies: vec!["nightly".to_owned()],
        ..Beside::default()
    });
    // Both say that they have it; the one whose look is newer is right.
    let summary = go(&mut board, 0..3, |address, second| {
        Ok(Snapshot { at_ms: second * 1000 + i64::from(address == B), ..snapshot(second, 1) })
    });
    let owners: Vec<&str> = summary.partitions.iter().map(|one| one.pod.as_str()).collect();
    assert_eq!(owners, [B, B]);
    assert_eq!((summary.jobs.len(), summary.backups.age_s), (1, Some(7202.0)));
    assert!(summary.verdict.sentence.ends_with("backup 2 h old"), "{:?}", summary.verdict);
}

#[test]
fn there_are_never_more_pods_than_the_bound() {
    let mut board = Board::new(Said::default());
    let many: BTreeSet<String> = (0..300).map(|n| format!("10.0.0.1:{n}")).collect();
    board.resolved(&many, Vec::new(), at(0));
    assert_eq!(board.asked(at(0)).len(), super::board::PODS_MAX);
}

async fn next(listener: &mut super::Listener) -> Arc<super::Look> {
    tokio::time::timeout(Duration::from_secs(10), listener.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn whoever_listens_hears_of_a_pod_that_dies_within_two_seconds() {
    let health = Health::new(Duration::from_secs(30));
    health.set_state(State::Running, "reading");
    let server = Server::start("127.0.0.1:0", health).unwrap();
    let config =
        Config { lines: vec![format!("http://{}", server.addr())], streams_max: 1, ..Config::default() };
    let console = Arc::new(Console::new(&config, None));
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&console).run(stop.clone()));
    let mut listener = console.listen().unwrap();
    assert!(console.listen().is_none(), "one more than may listen");
    while !next(&mut listener).await.summary.pods.first().is_some_and(|pod| pod.reachable) {}
    let once = console.newest().await;
    assert!(once.json.starts_with("{\"at\":") && once.summary.pods.len() == 1);
    let begun = Instant::now();
    tokio::task::spawn_blocking(|| server.stop()).await.unwrap();
    while next(&mut listener).await.summary.verdict.level != Level::Failing {}
    assert!(begun.elapsed() < Duration::from_secs(2) + Duration::from_secs(2), "{:?}", begun.elapsed());
    stop.cancel();
    running.await.unwrap();
    assert!(listener.next().await.is_none(), "it hears that it is over");
    drop(listener);
    assert!(console.listen().is_some(), "the place is free again");
}
