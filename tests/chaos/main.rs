//! The breaking machine: real servers, real load, faults drawn from a seed, and a count of what is missing or twice.
//!
//! It refuses to pass without having broken anything. docs/chaos.md says how to run it and what each fault is.
//! The last line is `runs=N faults=N missing=N doubled=N`.

// A program of tests fails by panicking, and prints what it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod catalogue;
mod check;
mod evidence;
#[path = "../it/harness/mod.rs"]
mod harness;
mod lanes;
mod ledger;
mod members;
mod operator;
mod options;
mod plan;
mod producers;
mod proxy;
mod run;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use catalogue::CATALOGUE;
use check::Verdict;
use ledger::Fate;
use options::{Mode, Options};
use plan::{Layout, Steps};
use world::World;

const SHOWN_MAX: usize = 20;

#[derive(Default)]
struct Sum {
    runs: usize,
    failed: usize,
    faults: usize,
    missing: usize,
    doubled: usize,
    /// Runs with partitions that nobody owned any more.
    stalled: usize,
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("chaos: {why}");
            return ExitCode::from(2);
        }
    };
    if options.plan_only {
        options.seeds.clone().for_each(|seed| print_plan(seed, &options));
        return ExitCode::SUCCESS;
    }
    let mut sum = Sum::default();
    if let Err(why) = documented() {
        eprintln!("chaos: {why}");
        sum.failed += 1;
    }
    for seed in options.seeds.clone() {
        let begun = Instant::now();
        // A run that panics has failed; the next one has servers of its own.
        match catch_unwind(AssertUnwindSafe(|| one(seed, &options, &mut sum))) {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                sum.failed += 1;
                println!("seed {seed} FAILED; again with: {}", replay(seed, &options));
            }
        }
        sum.runs += 1;
        println!("seed {seed} took {:.0} s", begun.elapsed().as_secs_f64());
    }
    let passed = sum.runs.saturating_sub(sum.failed);
    if sum.stalled != 0 {
        println!("{} runs stood still until another member joined", sum.stalled);
    }
    println!("{passed} passed, {} failed", sum.failed);
    println!("runs={} faults={} missing={} doubled={}", sum.runs, sum.faults, sum.missing, sum.doubled);
    if sum.failed == 0 && sum.faults != 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, options: &Options) -> String {
    let mut text = format!(
        "make chaos SEEDS={seed}..{seed} MODE={} ENGINE={}",
        options.mode.name(),
        options.engine.name()
    );
    text.push_str(&format!(" SECONDS={}", options.breaking.as_secs()));
    if let Some(count) = options.brokers {
        text.push_str(&format!(" BROKERS={count}"));
    }
    if !options.faults.is_empty() {
        let names: Vec<&str> = options.faults.iter().map(|fault| fault.name).collect();
        text.push_str(&format!(" FAULT={}", names.join(",")));
    }
    text
}

/// Every fault stands in the document.
fn documented() -> Result<(), String> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/chaos.md")).unwrap_or_default();
    let missing = CATALOGUE.iter().find(|fault| !text.contains(&format!("`{}`", fault.name)));
    missing.map_or(Ok(()), |fault| Err(format!("docs/chaos.md does not know `{}`", fault.name)))
}

fn print_plan(seed: u64, options: &Options) {
    let layout = Layout::draw(seed, options);
    println!("seed {seed}: {layout:?}");
    let servers = options.cluster.as_ref().map_or(1, |cluster| cluster.urls.len());
    for (lane, index) in run::all_lanes(&layout, servers) {
        let mut at = Duration::ZERO;
        for step in Steps::new(seed, options, &layout, lane, index) {
            at += step.gap;
            if options.breaking < at {
                break;
            }
            println!("{:>8.2} s  {lane:?}-{index}  {}", at.as_secs_f64(), step.fault.name);
            at += step.hold;
        }
    }
}

/// One run; whether it came out as promised.
fn one(seed: u64, options: &Options, sum: &mut Sum) -> bool {
    let layout = Layout::draw(seed, options);
    println!("seed {seed}: {layout:?}");
    let world = World::new(seed, options, layout);
    let outcome = catch_unwind(AssertUnwindSafe(|| run::run(&world)));
    sum.faults += world.faults_done();
    sum.stalled += usize::from(world.stalled.load(Ordering::Acquire));
    let problems = match outcome {
        Ok((verdict, mut problems)) => {
            println!(
                "seed {seed}: {} faults, {} events ({} aborted, {} of unknown fate), {} rows, {} dead letters",
                world.faults_done(),
                verdict.events,
                world.ledger.count(Fate::Aborted),
                world.ledger.count(Fate::Unknown),
                verdict.rows,
                verdict.letters,
            );
            println!(
                "seed {seed}: missing={} doubled={} wrong={}",
                verdict.missing.len(),
                verdict.doubled.len(),
                verdict.wrong.len()
            );
            sum.missing += verdict.missing.len();
            sum.doubled += verdict.doubled.len();
            problems.extend(complaints(&verdict, options.mode));
            problems
        }
        Err(_) => vec!["the run did not come to its end".to_owned()],
    };
    let failed = !problems.is_empty() || world.faults_done() == 0;
    if failed || options.keep {
        problems.iter().for_each(|problem| println!("  {problem}"));
        println!("{}", world.story());
        println!("  everything is kept in {}", world.keep_evidence().display());
    }
    if !failed && options.self_test && sum.runs == 0 {
        let before = check::check(&world);
        match check::self_test(&world, &before) {
            Ok(()) => {
                println!("seed {seed}: the check sees a row lost, one doubled and one misplaced by hand")
            }
            Err(why) => {
                println!("  the check is blind: {why}");
                return false;
            }
        }
    }
    !failed
}

fn complaints(verdict: &Verdict, mode: Mode) -> Vec<String> {
    let list = |what: &str, all: &[String]| {
        let shown: Vec<String> = all.iter().take(SHOWN_MAX).cloned().collect();
        (!all.is_empty()).then(|| format!("{} {what}:\n    {}", all.len(), shown.join("\n    ")))
    };
    let doubled = if mode == Mode::ExactlyOnce { &verdict.doubled[..] } else { &[] };
    [list("missing", &verdict.missing), list("doubled", doubled), list("wrong", &verdict.wrong)]
        .into_iter()
        .flatten()
        .collect()
}
