//! The lanes that break servers, the network and the brokers. Each one mends what it broke before it goes on.
//!
//! They refuse to count what did not happen: an INSERT that was to be spoiled and never came is no fault.

use std::time::Duration;

use crate::catalogue::Act;
use crate::plan::{Step, Steps};
use crate::proxy::Passage;
use crate::world::World;

/// INSERTs come a few times a second while anything goes.
const INSERT_TIME_MAX: Duration = Duration::from_secs(8);

/// Does one lane's faults in order until the time is over.
pub fn run(world: &World, steps: Steps, mut suffer: impl FnMut(&Step)) {
    for step in steps {
        if world.pause(step.gap, || world.is_over()) {
            return;
        }
        suffer(&step);
    }
}

pub fn server(world: &World, index: usize, step: &Step) {
    let server = &world.servers[index];
    let happened = match step.fault.act {
        Act::ServerKill => {
            let killed = server.kill();
            world.pause(step.hold, || false);
            server.restart();
            killed
        }
        Act::ServerFreeze => {
            let frozen = server.freeze(true);
            if frozen {
                world.pause(step.hold, || false);
                server.freeze(false);
            }
            frozen
        }
        other => unreachable!("{other:?} is not a server's"),
    };
    if happened {
        world.did(&format!("server-{index}"), format!("{} for {:?}", step.fault.name, step.hold));
    }
}

pub fn network(world: &World, index: usize, step: &Step) {
    let proxy = &world.proxies[index];
    let lane = format!("network-{index}");
    match step.fault.act {
        Act::Insert(spoil) => {
            let count = u32::try_from(1 + step.draw % 3).unwrap_or(1);
            proxy.spoil(spoil, count);
            world.pause(INSERT_TIME_MAX, || proxy.spoiled() == count);
            proxy.heal();
            let spoiled = proxy.spoiled();
            if spoiled != 0 {
                world.did(&lane, format!("{}, {spoiled} inserts", step.fault.name));
            }
        }
        Act::NetworkHang | Act::NetworkClosed => {
            let hang = step.fault.act == Act::NetworkHang;
            proxy.set(if hang { Passage::Held } else { Passage::Closed });
            world.pause(step.hold, || false);
            proxy.heal();
            world.did(&lane, format!("{} for {:?}", step.fault.name, step.hold));
        }
        other => unreachable!("{other:?} is not the network's"),
    }
}

pub fn broker(world: &World, step: &Step) {
    let broker = usize::try_from(step.draw).unwrap_or(0) % world.layout.brokers;
    match step.fault.act {
        Act::BrokerKill => {
            world.kafka.kill(broker);
            world.pause(step.hold, || false);
            world.kafka.restart(broker);
        }
        Act::BrokerFreeze => {
            world.kafka.stop(broker);
            world.pause(step.hold, || false);
            world.kafka.cont(broker);
        }
        other => unreachable!("{other:?} is not a broker's"),
    }
    world.did(&format!("broker-{broker}"), format!("{} for {:?}", step.fault.name, step.hold));
}
