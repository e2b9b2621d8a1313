//! The lane of the people around it: full disks, changed tables, offsets set by hand, topics made anew.
//!
//! It refuses to do what would lose events by itself without writing down what is then no longer asked for.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::catalogue::Act;
use crate::harness::{Penstock, wait_until};
use crate::options::{Engine, Mode};
use crate::plan::{Dice, Step};
use crate::producers::Publisher;
use crate::proxy::Passage;
use crate::world::{self, DEADLINE, Server, World, command};

/// The name of the producer that ends each partition with an event.
pub const CLOSER: u32 = 1_000;
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(15);

pub fn operator(world: &World, step: &Step) {
    let done = match step.fault.act {
        Act::DiskFull => setting(world, step, "min_free_disk_bytes_to_perform_insert", "1000000000000000000"),
        Act::TooManyParts => setting(world, step, "parts_to_throw_insert", "1"),
        Act::AddColumn => {
            let column = format!("extra_{:x} UInt8 DEFAULT 7", step.draw);
            world.somewhere(
                &format!("ALTER TABLE {}.events ADD COLUMN {column}", world.database),
                STATEMENT_TIME_MAX,
            )
        }
        Act::PoisonRows => {
            let count = u32::try_from(1 + step.draw % 4).unwrap_or(1);
            world.ledger.poison.fetch_add(count, Ordering::AcqRel);
            world.pause(STATEMENT_TIME_MAX, || world.ledger.poison.load(Ordering::Acquire) == 0)
        }
        Act::WindowOverrun => window_overrun(world, step),
        Act::OffsetsReset => offsets_moved(world, step, true),
        Act::OffsetsForward => offsets_moved(world, step, false),
        Act::TopicRecreated => topic_recreated(world),
        Act::RecordsDeleted => world
            .committed()
            .is_some_and(|offsets| world.kafka.delete_records(&world.topic, &offsets).is_ok()),
        Act::RecordsDeletedAhead => records_deleted_ahead(world, step),
        Act::MetadataGarbled => metadata_garbled(world, step),
        Act::ViewThrows => view_throws(world, step),
        Act::KeeperStop => keeper_stop(world, step),
        other => unreachable!("{other:?} is not the operator's"),
    };
    match done {
        true => world.did("operator", step.fault.name.to_owned()),
        false => world.note("operator", &format!("{} could not be done", step.fault.name)),
    }
}

/// Has every server do it; whether any of them did.
fn on_all(world: &World, sql: &str, deadline: Duration) -> bool {
    let one = |server: &Server| world.pause(deadline, || server.client().try_query(sql).is_ok());
    world.servers.iter().map(one).fold(false, |any, done| any | done)
}

/// Changes a setting of the table on every server for a while. Such a change is a replica's own.
fn setting(world: &World, step: &Step, name: &str, value: &str) -> bool {
    let table = format!("{}.events", world.database);
    let set = format!("ALTER TABLE {table} MODIFY SETTING {name} = {value}");
    let done = on_all(world, &set, STATEMENT_TIME_MAX);
    world.pause(step.hold, || false);
    let reset = format!("ALTER TABLE {table} RESET SETTING {name}");
    assert!(on_all(world, &reset, DEADLINE), "{name} stays set");
    done
}

/// More foreign blocks than the table remembers tokens of, while INSERTs of ours hang on their way.
fn window_overrun(world: &World, step: &Step) -> bool {
    let index = usize::try_from(step.draw).unwrap_or(0) % world.servers.len();
    let (proxy, server) = (&world.proxies[index], world.servers[index].client());
    proxy.set(Passage::Held);
    let blocks = 2 * world.layout.window;
    let done = server.try_query(&format!(
        "INSERT INTO {}.events (incarnation, producer, number, text, _topic, _partition, _offset) \
         SELECT 0, 0, number, 'foreign', '', -1, number FROM numbers({blocks}) SETTINGS max_block_size = 1, \
         max_insert_block_size = 1, min_insert_block_size_rows = 1, min_insert_block_size_bytes = 1, \
         max_insert_threads = 1, insert_deduplication_token = 'foreign-{:x}'",
        world.database, step.draw
    ));
    proxy.heal();
    if let Err(why) = &done {
        world.note("operator", &format!("foreign blocks: {why}"));
    }
    done.is_ok()
}

/// All members down, in order, while this is done.
fn without_members(world: &World, work: impl FnOnce() -> bool) -> bool {
    world.halted.store(true, Ordering::Release);
    wait_until(DEADLINE, "every member is down", || {
        world.members_down.load(Ordering::Acquire) == world.layout.members
    });
    let done = work();
    world.halted.store(false, Ordering::Release);
    wait_until(DEADLINE, "every member is up again", || world.members_down.load(Ordering::Acquire) == 0);
    done
}

/// The group's offsets set back or forward by hand, as the group tool does it.
fn offsets_moved(world: &World, step: &Step, back: bool) -> bool {
    let incarnation = *world.ledger.incarnation.read().unwrap_or_else(PoisonError::into_inner);
    without_members(world, || {
        let (Some(committed), Some(ends)) = (world.committed(), world.ends()) else { return false };
        let mut dice = Dice::new(step.draw, "offsets");
        let moved = |((partition, committed), (first, end)): (&(i32, i64), &(i64, i64))| {
            let by = i64::try_from(dice.between(1, 300)).unwrap_or(1);
            let to = if back { (committed - by).max(*first) } else { (committed + by).min(*end) };
            (*partition, to, String::new())
        };
        let offsets: Vec<(i32, i64, String)> = committed.iter().zip(&ends).map(moved).collect();
        // The group counts as empty only once the last session is over.
        let set = || world.kafka.reset_offsets(world.group(), &world.topic, &offsets).is_ok();
        if !world.pause(Duration::from_secs(30), set) {
            return false;
        }
        for (((partition, to, _), (_, committed)), (_, end)) in offsets.iter().zip(&committed).zip(&ends) {
            // What was planned and not committed as done may have landed, and is planned anew.
            world.ledger.moved((incarnation, *partition), (*to).min(*committed), *end, true);
            if !back {
                world.ledger.moved((incarnation, *partition), *committed, *to, false);
            }
        }
        world.note("operator", &format!("offsets {committed:?} became {offsets:?}"));
        true
    })
}

/// Records deleted beyond what is committed. What of them has not landed by then never can.
fn records_deleted_ahead(world: &World, step: &Step) -> bool {
    let incarnation = *world.ledger.incarnation.read().unwrap_or_else(PoisonError::into_inner);
    let (Some(committed), Some(ends)) = (world.committed(), world.ends()) else { return false };
    let by = i64::try_from(1 + step.draw % 100).unwrap_or(1);
    let below: Vec<(i32, i64)> =
        committed.iter().zip(&ends).map(|((p, at), (_, end))| (*p, (at + by).min(*end))).collect();
    for ((partition, at), (_, to)) in committed.iter().zip(&below) {
        world.ledger.moved((incarnation, *partition), *at, *to, false);
    }
    world.kafka.delete_records(&world.topic, &below).is_ok()
}

/// The text beside the group's offsets spoiled, as by a foreign tool or another version.
fn metadata_garbled(world: &World, step: &Step) -> bool {
    let incarnation = *world.ledger.incarnation.read().unwrap_or_else(PoisonError::into_inner);
    without_members(world, || {
        let (Some(committed), Some(ends)) = (world.committed(), world.ends()) else { return false };
        let texts = world.kafka.committed_texts(world.group(), &world.topic, &world.partitions());
        let Ok(texts) = texts else { return false };
        let spoiled = texts.iter().map(|text| match step.draw % 4 {
            0 => String::new(),
            1 => "committed by hand".to_owned(),
            2 => format!("9999{text}"),
            _ => text[..text.len() / 2].to_owned(),
        });
        let offsets: Vec<(i32, i64, String)> =
            committed.iter().zip(spoiled).map(|((p, at), text)| (*p, *at, text)).collect();
        let set = || world.kafka.reset_offsets(world.group(), &world.topic, &offsets).is_ok();
        if !world.pause(Duration::from_secs(30), set) {
            return false;
        }
        if world.options.mode == Mode::ExactlyOnce && step.draw % 4 == 3 {
            mend_plans(world);
        }
        for ((partition, from, _), (_, end)) in offsets.iter().zip(&ends) {
            // What was planned is forgotten, and what of it has landed lands again.
            world.ledger.moved((incarnation, *partition), *from, *end, true);
        }
        true
    })
}

/// What the hint of a halted partition says: look at the damaged plans, then drop them.
fn mend_plans(world: &World) {
    let (code, shown) = Penstock::output(&world.config, &["ledger", "show"], DEADLINE);
    assert_eq!(code, Some(3), "a damaged plan is told: {shown}");
    let rewind =
        ["ledger", "rewind", "--topic", &world.topic, "--all-partitions", "--to", "committed", "--yes"];
    let (code, said) = Penstock::output(&world.config, &rewind, DEADLINE);
    assert_eq!(code, Some(0), "{said}");
}

/// A view behind the table that fails each INSERT after the table has its rows.
fn view_throws(world: &World, step: &Step) -> bool {
    let database = &world.database;
    let engine = match world.options.engine {
        Engine::Plain => {
            "MergeTree ORDER BY x SETTINGS non_replicated_deduplication_window = 1000".to_owned()
        }
        Engine::Replicated => {
            format!("ReplicatedMergeTree('/chaos/{database}/thrown', '{{replica}}') ORDER BY x")
        }
    };
    let target = format!("CREATE TABLE IF NOT EXISTS {database}.thrown (x UInt8) ENGINE = {engine}");
    let view = format!(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.thrower TO {database}.thrown AS \
         SELECT toUInt8(throwIf(0 <= _offset, 'made by the breaking machine')) AS x FROM {database}.events"
    );
    let done = on_all(world, &target, STATEMENT_TIME_MAX) && on_all(world, &view, STATEMENT_TIME_MAX);
    world.pause(step.hold, || false);
    assert!(on_all(world, &format!("DROP VIEW IF EXISTS {database}.thrower"), DEADLINE), "the view stays");
    done
}

/// The topic deleted and made anew with everything drained, so that only positions come again.
fn topic_recreated(world: &World) -> bool {
    // No producer publishes while this is held.
    let mut incarnation = world.ledger.incarnation.write().unwrap_or_else(PoisonError::into_inner);
    if !close_partitions(world, *incarnation) || !world.pause(Duration::from_secs(45), || world.is_drained())
    {
        return false;
    }
    without_members(world, || {
        world.kafka.delete_topic(&world.topic);
        wait_until(DEADLINE, "the topic is gone", || world.kafka.partitions(&world.topic).is_empty());
        world.create_source_topic();
        *incarnation += 1;
        true
    })
}

/// Publishes one last event to each partition.
pub fn close_partitions(world: &World, incarnation: u32) -> bool {
    let number = world.closings.fetch_add(1, Ordering::AcqRel);
    let dice = Dice::new(world.seed, "closer");
    let name = CLOSER + number;
    let mut closer = Publisher::new(world.target(), world.ledger.clone(), name, false, dice);
    world.pause(DEADLINE, || closer.close(incarnation).is_ok())
}

fn keeper_stop(world: &World, step: &Step) -> bool {
    let Some(cluster) = &world.options.cluster else { return false };
    let (Some(stop), Some(start)) = (&cluster.keeper_stop, &cluster.keeper_start) else { return false };
    let stopped = command(stop, 1);
    // Now shorter than the servers' sessions with it, now longer.
    world.pause(if step.draw.is_multiple_of(2) { step.hold } else { Duration::from_secs(14) }, || false);
    wait_until(DEADLINE * 2, "the keeper is started", || world::start(start, 1));
    stopped
}
