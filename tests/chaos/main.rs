//! The breaking machine: real servers, real load, faults drawn from a seed, and a count of what is missing or twice.
//!
//! It refuses to pass without having broken anything. docs/chaos.md says how to run it and what each fault is.
//! The last line is `runs=N faults=N missing=N doubled=N`.

// A program of tests fails by panicking, and prints what it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod catalogue;
mod check;
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
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use catalogue::{CATALOGUE, Lane};
use check::Verdict;
use ledger::Fate;
use members::Member;
use options::{Mode, Options};
use plan::{Dice, Layout, Steps};
use producers::Publisher;
use world::World;

/// Everything is healthy again, so what is left has to be through by then.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(180);
/// Whatever is paused or waits for a session to end goes on sooner than this.
const ORPHANED_AFTER: Duration = Duration::from_secs(60);
const SHOWN_MAX: usize = 20;

#[derive(Default)]
struct Sum {
    runs: usize,
    failed: usize,
    faults: usize,
    missing: usize,
    doubled: usize,
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
        match catch_unwind(AssertUnwindSafe(|| run(seed, &options, &mut sum))) {
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

/// The lanes of a run, each with its number.
fn all_lanes(layout: &Layout, servers: usize) -> Vec<(Lane, usize)> {
    let several = |lane, count| (0..count).map(move |index| (lane, index));
    several(Lane::Member, layout.members)
        .chain(several(Lane::Server, servers))
        .chain(several(Lane::Network, servers))
        .chain(several(Lane::Broker, 1))
        .chain(several(Lane::Operator, 1))
        .collect()
}

fn print_plan(seed: u64, options: &Options) {
    let layout = Layout::draw(seed, options);
    println!("seed {seed}: {layout:?}");
    let servers = options.cluster.as_ref().map_or(1, |cluster| cluster.urls.len());
    for (lane, index) in all_lanes(&layout, servers) {
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
fn run(seed: u64, options: &Options, sum: &mut Sum) -> bool {
    let layout = Layout::draw(seed, options);
    println!("seed {seed}: {layout:?}");
    let world = World::new(seed, options, layout);
    let outcome = catch_unwind(AssertUnwindSafe(|| break_and_check(&world)));
    sum.faults += world.faults_done();
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
            if std::env::var_os("CHAOS_DEBUG").is_some() {
                verdict.doubled.iter().step_by(verdict.doubled.len() / 30 + 1).for_each(|d| println!("  {d}"));
                println!("{}", world.story());
                world.keep_evidence();
            }
            sum.missing += verdict.missing.len();
            sum.doubled += verdict.doubled.len();
            problems.extend(complaints(&verdict, options.mode));
            problems
        }
        Err(_) => vec!["the run did not come to its end".to_owned()],
    };
    let failed = !problems.is_empty() || world.faults_done() == 0;
    if failed {
        problems.iter().for_each(|problem| println!("  {problem}"));
        println!("{}", world.story());
        println!("  everything is kept in {}", world.keep_evidence().display());
    } else if options.self_test && sum.runs == 0 {
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

/// Load and faults side by side, then peace, then the judge. Gives what else went wrong, too.
fn break_and_check(world: &World) -> (Verdict, Vec<String>) {
    let (seed, layout) = (world.seed, &world.layout);
    let steps = |lane, index| Steps::new(seed, &world.options, layout, lane, index);
    let quiet = AtomicBool::new(false);
    let mut members: Vec<Member<'_>> = Vec::new();
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..layout.producers + layout.transactional)
            .map(|index| {
                let name = u32::try_from(index).unwrap_or(0);
                let dice = Dice::new(seed, &format!("producer-{index}"));
                let transactional = layout.producers <= index;
                let publisher =
                    Publisher::new(world.target(), world.ledger.clone(), name, transactional, dice);
                let quiet = &quiet;
                scope.spawn(move || publisher.run(quiet))
            })
            .collect();
        let alive: Vec<_> = (0..layout.members)
            .map(|index| {
                let steps = steps(Lane::Member, index);
                scope.spawn(move || Member::new(world, index).run(steps))
            })
            .collect();
        let mut others = Vec::new();
        for (lane, index) in all_lanes(layout, world.servers.len()) {
            let steps = steps(lane, index);
            others.push(scope.spawn(move || match lane {
                Lane::Member => {}
                Lane::Server => lanes::run(world, steps, |step| lanes::server(world, index, step)),
                Lane::Network => lanes::run(world, steps, |step| lanes::network(world, index, step)),
                Lane::Broker => lanes::run(world, steps, |step| lanes::broker(world, step)),
                Lane::Operator => lanes::run(world, steps, |step| operator::operator(world, step)),
            }));
        }
        world.pause(world.options.breaking, || false);
        world.over.store(true, Ordering::Release);
        let broken: Vec<bool> = others.into_iter().map(|lane| lane.join().is_err()).collect();
        // The operator needs the members to obey until the last of its deeds is done.
        world.members_over.store(true, Ordering::Release);
        world.halted.store(false, Ordering::Release);
        quiet.store(true, Ordering::Release);
        members = alive.into_iter().map(|member| member.join().expect("a member's lane ends")).collect();
        publishers.into_iter().for_each(|publisher| publisher.join().expect("a producer ends"));
        assert!(!broken.contains(&true), "a lane has broken down");
    });
    let mut problems = Vec::new();
    let incarnation = *world.ledger.incarnation.read().unwrap_or_else(PoisonError::into_inner);
    assert!(operator::close_partitions(world, incarnation), "the last events cannot be published");
    let begun = Instant::now();
    let drained = world.pause(DRAIN_TIME_MAX, || {
        members.iter_mut().for_each(Member::tend);
        // A static member that dies between giving partitions back and joining again leaves them without an owner
        // until the next rebalance, and Kafka makes none by itself. Somebody new makes one.
        if layout.static_names && members.len() == layout.members && ORPHANED_AFTER < begun.elapsed() {
            println!("seed {seed}: STALLED: partitions without an owner; another member joins");
            members.push(Member::reinforcement(world));
        }
        world.is_drained()
    });
    if !drained {
        problems.push(format!(
            "not drained within {DRAIN_TIME_MAX:?}: committed {:?} of {:?}",
            world.committed(),
            world.ends()
        ));
    }
    println!("seed {seed}: drained in {:.1} s", begun.elapsed().as_secs_f64());
    for member in &mut members {
        let code = member.terminate();
        if code != Some(0) {
            problems.push(format!("a member that had nothing left to do ended with {code:?}"));
        }
    }
    (check::check(world), problems)
}
