//! A model of exactly_once: the production plan, ledger and token between a simulated group, log and server.
//!
//! Refuses to model what the clients do inside. Interleavings are drawn at random and shrunk to the shortest that
//! fails. The protocol must hold in all of them (invariant I12); each of its rules, taken away, must be found
//! missing, or else the model would prove nothing. PENSTOCK_MODEL_CASES asks for more cases than the usual, and for
//! new ones each time.

mod owner;
mod run;
mod world;

use std::cell::Cell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use owner::{Deadline, FULL, LEASE, Rules};

/// Steps of a schedule.
const STEPS: usize = 3_000;
const CASES: u32 = 500;
/// Cases in which a missing rule must be found; most are found within a handful.
const CASES_TO_FIND: u32 = 6_000;

fn asked_for() -> Option<u32> {
    // Asked for by a person who wants to search longer.
    #[allow(clippy::disallowed_methods)]
    let cases = std::env::var("PENSTOCK_MODEL_CASES").ok()?;
    Some(cases.parse().expect("PENSTOCK_MODEL_CASES is a number"))
}

/// The shortest schedule found that fails, and how it does.
fn search(rules: Rules, with: &str, cases: u32, shrinks: u32) -> Option<(String, Vec<u32>)> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: shrinks, ..Config::default() };
    let mut runner = match asked_for() {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let schedules = proptest::collection::vec(proptest::num::u32::ANY, 1..STEPS);
    let tried = Cell::new(0);
    let outcome = runner.run(&schedules, |schedule| {
        tried.set(tried.get() + 1);
        match run::run(rules, &schedule) {
            Err(reason) if reason.contains(with) => Err(TestCaseError::fail(reason)),
            _ => Ok(()),
        }
    });
    eprintln!("{} schedules tried", tried.get());
    match outcome {
        Ok(()) => None,
        Err(TestError::Fail(reason, schedule)) => Some((reason.message().to_owned(), schedule)),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn holds(rules: Rules) {
    let found = search(rules, "", asked_for().unwrap_or(CASES), 2_000);
    if let Some((reason, schedule)) = found {
        panic!("{reason}\nin {} steps: {schedule:?}\n{}", schedule.len(), run::story(&schedule));
    }
}

fn fails(rules: Rules, with: &str) {
    let found = search(rules, with, asked_for().unwrap_or(0).max(CASES_TO_FIND), 0);
    assert!(found.is_some(), "a rule is missing and the model does not notice");
}

#[test]
fn every_record_is_there_once_one_batch_at_a_time() {
    holds(Rules { depth: 1, ..FULL });
}

#[test]
fn every_record_is_there_once_with_three_batches_on_their_way() {
    holds(FULL);
}

#[test]
fn every_record_is_there_once_with_six_batches_on_their_way() {
    holds(Rules { depth: 6, ..FULL });
}

#[test]
fn a_plain_table_that_is_looked_into_has_every_record_once() {
    for depth in [1, 3, 6] {
        holds(Rules { depth, plain: true, ..FULL });
    }
}

#[test]
fn without_lineage_a_topic_made_anew_loses_records() {
    fails(Rules { lineage: false, ..FULL }, "lost");
}

#[test]
fn letting_go_before_commits_return_repeats_records() {
    fails(Rules { fence_first: false, ..FULL }, "times");
}

#[test]
fn sending_before_the_commit_is_acknowledged_repeats_records() {
    fails(Rules { commit_first: false, ..FULL }, "times");
}

#[test]
fn a_taker_with_boundaries_of_its_own_repeats_records() {
    fails(Rules { same_boundaries: false, ..FULL }, "times");
}

#[test]
fn moving_the_offset_before_rows_landed_loses_records() {
    fails(Rules { landed_first: false, ..FULL }, "lost");
}

/// The server forgets early, but not earlier than a lease is over.
const SMALL_WINDOW: Rules = Rules { window_blocks: 60, proof: LEASE, ..FULL };

#[test]
fn a_window_that_outlasts_the_lease_is_enough() {
    holds(SMALL_WINDOW);
}

#[test]
fn without_a_deadline_late_copies_repeat_records() {
    fails(Rules { deadline: Deadline::None, ..SMALL_WINDOW }, "times");
}

#[test]
fn a_deadline_counted_from_sending_repeats_records() {
    fails(Rules { deadline: Deadline::Sending, ..SMALL_WINDOW }, "times");
}

#[test]
fn cutting_anew_what_may_have_landed_repeats_records() {
    fails(Rules { recut_when_sure: false, ..FULL }, "times");
}

#[test]
fn a_plain_table_that_is_not_looked_into_loses_records() {
    fails(Rules { plain: true, read_back: false, window: 1_000 * LEASE, ..FULL }, "lost");
}

#[test]
fn a_commit_that_overtakes_repeats_records() {
    fails(Rules { commits_in_order: false, ..FULL }, "times");
}

#[test]
fn an_owner_that_commits_after_its_session_may_have_ended_repeats_records() {
    fails(Rules { fence_itself: false, ..FULL }, "times");
}

#[test]
fn an_age_counted_from_the_last_commit_repeats_records() {
    fails(Rules { age_of_batch: false, ..FULL }, "times");
}
