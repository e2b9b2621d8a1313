//! The servers of a test run: the shared ones out of the environment, private ones through `dev/servers`.
//!
//! It refuses to know how a server is started; `dev/servers` does. A private set ends with its last guard, and
//! belongs to this process, so that `dev/servers` removes it even after a `kill -9` of the tests.

use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::{ClickHouse, Kafka, fresh_name};

/// The servers that all tests share. Kill none of them.
pub struct Servers {
    pub clickhouse: ClickHouse,
    /// Every shared endpoint, the first one included.
    pub endpoints: Vec<ClickHouse>,
    pub kafka: Kafka,
}

impl Servers {
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(|| {
            let endpoints: Vec<ClickHouse> =
                addresses("PENSTOCK_TEST_CLICKHOUSE").iter().map(|url| ClickHouse::at(url)).collect();
            let kafka = Kafka::at(&addresses("PENSTOCK_TEST_KAFKA").join(","));
            Self { clickhouse: endpoints[0].clone(), endpoints, kafka }
        })
    }
}

fn variable(name: &str) -> Option<String> {
    // Tests are handed their servers by the environment; the configuration of penstock is another matter.
    #[allow(clippy::disallowed_methods)]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn addresses(name: &str) -> Vec<String> {
    let value = variable(name).unwrap_or_else(|| {
        panic!(
            "{name} is not set: this test needs real servers\n\
             hint: run `make test`, `make it T=name`, or \
             `dev/servers with --clickhouse 1 --kafka 1 -- cargo test --release --test it`"
        )
    });
    value.split(',').map(|address| address.trim().to_owned()).collect()
}

#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Ends it at once.
    Kill,
    /// Asks it to end.
    Term,
    /// Freezes it: its sockets stay open and nothing answers.
    Stop,
    /// Thaws it.
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Term => "TERM",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// Runs `dev/servers`; what it prints, or what it complains of.
pub fn dev_servers(arguments: &[&str]) -> Result<String, String> {
    let tool = variable("PENSTOCK_TEST_DEV")
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/dev/servers").to_owned());
    let output = Command::new(&tool)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {tool}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A set of servers of one test; removed with its data when the last handle is dropped.
pub struct Set {
    pub name: String,
}

impl Set {
    /// Starts `count` servers of a kind and hands over their handles, ready to be used.
    pub fn start(kind: &str, count: usize) -> Vec<Node> {
        let run = variable("PENSTOCK_TEST_SET").unwrap_or_else(|| "it".to_owned());
        let set = Arc::new(Self { name: format!("{run}.{}", fresh_name(kind)) });
        let (flag, number, owner) = (format!("--{kind}"), count.to_string(), std::process::id().to_string());
        let arguments = ["start", "--name", &set.name, &flag, &number, "--owner", &owner, "--json"];
        let printed = dev_servers(&arguments).unwrap_or_else(|why| panic!("{why}"));
        let described: Value = serde_json::from_str(&printed).expect("dev/servers prints JSON");
        described["servers"]
            .as_array()
            .expect("the set has servers")
            .iter()
            .map(|server| Node {
                id: server["id"].as_str().expect("an id").to_owned(),
                address: server["address"].as_str().expect("an address").to_owned(),
                set: Arc::clone(&set),
            })
            .collect()
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        // A panic inside a drop while a test fails would hide why it fails.
        if let Err(why) = dev_servers(&["stop", "--name", &self.name, "--purge"]) {
            eprintln!("the set {} could not be stopped: {why}", self.name);
        }
    }
}

/// One server of a private set.
#[derive(Clone)]
pub struct Node {
    pub id: String,
    pub address: String,
    pub set: Arc<Set>,
}

impl Node {
    /// Sends the signal and returns once it has had its effect.
    pub fn signal(&self, signal: Signal) {
        let arguments = ["kill", &self.id, "--signal", signal.name(), "--name", &self.set.name];
        dev_servers(&arguments).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Starts it again on the same ports and data, whether it runs or not; returns once it answers.
    pub fn restart(&self) {
        dev_servers(&["restart", &self.id, "--name", &self.set.name]).unwrap_or_else(|why| panic!("{why}"));
    }
}
