//! One run from its first event to its verdict: load and faults side by side, then peace, then the judge.
//!
//! It refuses to judge before everything is healthy and the group has committed all there is.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::catalogue::Lane;
use crate::check::{self, Verdict};
use crate::members::Member;
use crate::plan::{Dice, Layout, Steps};
use crate::producers::Publisher;
use crate::world::World;
use crate::{lanes, operator};

/// Everything is healthy again, so what is left has to be through by then.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(180);
/// Whatever is paused or waits for a session to end goes on sooner than this.
const ORPHANED_AFTER: Duration = Duration::from_secs(45);

/// The lanes of a run, each with its number.
pub fn all_lanes(layout: &Layout, servers: usize) -> Vec<(Lane, usize)> {
    let several = |lane, count| (0..count).map(move |index| (lane, index));
    several(Lane::Member, layout.members)
        .chain(several(Lane::Server, servers))
        .chain(several(Lane::Network, servers))
        .chain(several(Lane::Broker, 1))
        .chain(several(Lane::Operator, 1))
        .collect()
}

/// The whole run. Gives what else went wrong, too.
pub fn run(world: &World) -> (Verdict, Vec<String>) {
    let members = break_all(world);
    let problems = recover(world, members);
    (check::check(world), problems)
}

/// Makes faults under load until the time is over; every lane has mended its own when this returns.
fn break_all(world: &World) -> Vec<Member<'_>> {
    let steps = |lane, index| Steps::new(world.seed, &world.options, &world.layout, lane, index);
    let quiet = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publishers = publish(world, scope, &quiet);
        let members: Vec<_> = (0..world.layout.members)
            .map(|index| {
                let steps = steps(Lane::Member, index);
                scope.spawn(move || Member::new(world, index).run(steps))
            })
            .collect();
        let mut others = Vec::new();
        for (lane, index) in all_lanes(&world.layout, world.servers.len()) {
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
        let members =
            members.into_iter().map(|member| member.join().expect("a member's lane ends")).collect();
        publishers.into_iter().for_each(|publisher| publisher.join().expect("a producer ends"));
        assert!(!broken.contains(&true), "a lane has broken down");
        members
    })
}

fn publish<'scope, 'w: 'scope>(
    world: &World,
    scope: &'scope Scope<'scope, '_>,
    quiet: &'w AtomicBool,
) -> Vec<ScopedJoinHandle<'scope, ()>> {
    let layout = &world.layout;
    let start = |index: usize| {
        let name = u32::try_from(index).unwrap_or(0);
        let dice = Dice::new(world.seed, &format!("producer-{index}"));
        let transactional = layout.producers <= index;
        let publisher = Publisher::new(world.target(), world.ledger.clone(), name, transactional, dice);
        scope.spawn(move || publisher.run(quiet))
    };
    (0..layout.producers + layout.transactional).map(start).collect()
}

/// Waits until everything is read, then ends the members in order; gives what did not go as it should.
fn recover<'w>(world: &'w World, mut members: Vec<Member<'w>>) -> Vec<String> {
    let mut problems = Vec::new();
    let incarnation = *world.ledger.incarnation.read().unwrap_or_else(PoisonError::into_inner);
    assert!(operator::close_partitions(world, incarnation), "the last events cannot be published");
    let begun = Instant::now();
    let drained = world.pause(DRAIN_TIME_MAX, || {
        members.iter_mut().for_each(Member::tend);
        // A static member that dies between giving partitions back and joining again leaves them without an
        // owner until the next rebalance, and Kafka makes none by itself. Somebody new makes one.
        let alone = members.len() == world.layout.members && world.layout.static_names;
        if alone && ORPHANED_AFTER < begun.elapsed() {
            println!("seed {}: partitions without an owner; another member joins", world.seed);
            world.stalled.store(true, Ordering::Release);
            members.push(Member::reinforcement(world));
        }
        world.is_drained()
    });
    if !drained {
        let (committed, ends) = (world.committed(), world.ends());
        problems.push(format!("not drained within {DRAIN_TIME_MAX:?}: committed {committed:?} of {ends:?}"));
    }
    println!("seed {}: drained in {:.1} s", world.seed, begun.elapsed().as_secs_f64());
    for member in &mut members {
        let code = member.terminate();
        if code != Some(0) {
            problems.push(format!("a member that had nothing left to do ended with {code:?}"));
        }
    }
    problems
}
