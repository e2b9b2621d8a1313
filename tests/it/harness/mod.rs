//! What integration tests stand on: real servers, the penstock process, faults on the network, waiting.
//!
//! It refuses to know what penstock promises; that is for the tests. Every guard ends what it began when it is
//! dropped, also in a test that fails.

// A helper may be written before the first test that takes it.
#![allow(dead_code, unused_imports)]

mod clickhouse;
mod faults;
mod http;
mod kafka;
mod otlp;
mod penstock;
mod servers;
mod sniff;

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use clickhouse::{ClickHouse, Database, PrivateClickHouse};
pub use faults::{HangingServer, Mode, TcpProxy};
pub use http::{Response, get, post, request};
pub use kafka::{Kafka, Message, PrivateKafka};
pub use otlp::{Post, Receiver, attribute, hex};
pub use penstock::{Penstock, PenstockConfig};
pub use servers::{Servers, Signal, dev_servers};
pub use sniff::{KafkaProxy, Stamp};

/// A name that no other test, thread, or run uses: letters, digits, underscores.
pub fn fresh_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static RUN: LazyLock<u32> = LazyLock::new(rand::random);
    format!("{prefix}_{:08x}_{}", *RUN, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Asks until the condition holds; panics with `what` once `deadline` has passed. The only sleep of the tests.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(deadline, what, || condition().then_some(()));
}

/// Asks until there is a value; panics with `what` once `deadline` has passed.
pub fn wait_for<T>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = ask() {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(200));
    }
}

/// A free port of loopback, below the range out of which the kernel serves outgoing connections, so that whoever
/// leaves it can return to it. Given out once in a process.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..10_000 {
        let port = rand::random_range(10_000..15_000_u16);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port) {
            return port;
        }
    }
    panic!("no free port between 10000 and 15000");
}
