//! What a run of the machine is asked for, as `NAME=value` in its arguments or `PENSTOCK_CHAOS_NAME` in the
//! environment.
//!
//! It refuses to guess: a name or a value that it does not know ends it before anything starts.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::catalogue::{self, CATALOGUE, Fault, Needs};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    AtLeastOnce,
    ExactlyOnce,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::AtLeastOnce => "at_least_once",
            Mode::ExactlyOnce => "exactly_once",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Plain,
    Replicated,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Engine::Plain => "plain",
            Engine::Replicated => "replicated",
        }
    }
}

/// A cluster of ClickHouse that somebody else has started. `{n}` in a command is the server's number, from 1.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub urls: Vec<String>,
    pub user: String,
    pub password: String,
    /// Ends a server at once.
    pub kill: String,
    /// Starts it again, and may return before it answers.
    pub start: String,
    pub freeze: Option<String>,
    pub thaw: Option<String>,
    pub keeper_stop: Option<String>,
    pub keeper_start: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub seeds: RangeInclusive<u64>,
    pub mode: Mode,
    pub engine: Engine,
    /// Only these faults; all that fit without any.
    pub faults: Vec<&'static Fault>,
    /// How long faults are made in one run.
    pub breaking: Duration,
    pub brokers: Option<usize>,
    pub cluster: Option<Cluster>,
    /// Print the faults that would be drawn, and start nothing.
    pub plan_only: bool,
    /// Tell the story and keep the logs of runs that pass, too.
    pub keep: bool,
    /// Break the result by hand after the first run, to see the check fail.
    pub self_test: bool,
}

pub const HELP: &str = "\
Breaks real servers under load and counts what is missing and what is doubled.

  make chaos SEEDS=100..149 MODE=exactly_once ENGINE=replicated
  make chaos FAULT=insert_late,member_zombie SEEDS=1..5
  make chaos PLAN=1 SEEDS=7..7           print what would be done

  SEEDS=a..b     one run for each                               1..1
  MODE=          at_least_once, exactly_once                    at_least_once
  ENGINE=        plain, replicated (a cluster in PENSTOCK_CHAOS_CLICKHOUSE, see docs/chaos.md)   plain
  FAULT=a,b      only these faults; LIST=1 prints their names   all that fit
  SECONDS=n      how long a run is broken                       40
  BROKERS=n      1 or 3                                         drawn from the seed
  KEEP=1         tell every fault and keep all logs of runs that pass, too
  SELFTEST=1     lose and double a row by hand after the first run; the check must see it
";

impl Options {
    /// Reads arguments and environment; None when something else was asked for and has been printed.
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut given: Vec<(String, String)> = Vec::new();
        let known =
            ["SEEDS", "MODE", "ENGINE", "FAULT", "SECONDS", "BROKERS", "SELFTEST", "KEEP", "PLAN", "LIST"];
        for name in known {
            given.extend(variable(&format!("PENSTOCK_CHAOS_{name}")).map(|value| (name.to_owned(), value)));
        }
        for argument in arguments {
            match argument.split_once('=') {
                Some((name, value)) if known.contains(&name) => {
                    given.push((name.to_owned(), value.to_owned()))
                }
                _ if argument == "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                // The test runner's own flags are for tests that have names; a name that is no part of ours means others.
                _ if argument.starts_with('-') => {}
                _ if "chaos".contains(&argument) => {}
                _ => {
                    println!("0 passed, 0 failed, 1 skipped");
                    return Ok(None);
                }
            }
        }
        // An argument goes before the environment; an empty value says nothing.
        let value = |name: &str| {
            let found = given.iter().rev().find(|(known, value)| known == name && !value.is_empty());
            found.map(|(_, value)| value.as_str())
        };
        if value("LIST").is_some() {
            CATALOGUE.iter().for_each(|fault| println!("{}", fault.name));
            return Ok(None);
        }
        let options = Options {
            seeds: seeds(value("SEEDS").unwrap_or("1..1"))?,
            mode: match value("MODE").unwrap_or("at_least_once") {
                "at_least_once" => Mode::AtLeastOnce,
                "exactly_once" => Mode::ExactlyOnce,
                other => return Err(format!("MODE={other} is neither at_least_once nor exactly_once")),
            },
            engine: match value("ENGINE").unwrap_or("plain") {
                "plain" => Engine::Plain,
                "replicated" => Engine::Replicated,
                other => return Err(format!("ENGINE={other} is neither plain nor replicated")),
            },
            faults: faults(value("FAULT").unwrap_or(""))?,
            breaking: Duration::from_secs(number(value("SECONDS").unwrap_or("40"))?),
            brokers: value("BROKERS").map(number).transpose()?,
            cluster: cluster(),
            plan_only: value("PLAN").is_some(),
            keep: value("KEEP").is_some(),
            self_test: value("SELFTEST").is_some(),
        };
        options.check()?;
        Ok(Some(options))
    }

    fn check(&self) -> Result<(), String> {
        if self.engine == Engine::Replicated && self.cluster.is_none() {
            return Err("ENGINE=replicated needs a cluster in PENSTOCK_CHAOS_CLICKHOUSE\n\
                        hint: docs/chaos.md says how one is given"
                .to_owned());
        }
        let unfit = self.faults.iter().find(|fault| !self.fits(fault));
        unfit.map_or(Ok(()), |fault| {
            Err(format!("{} needs {:?}, which this run does not have", fault.name, fault.needs))
        })
    }

    /// Whether this run can have the fault at all.
    pub fn fits(&self, fault: &Fault) -> bool {
        match fault.needs {
            Needs::Nothing => true,
            Needs::ExactlyOnce => self.mode == Mode::ExactlyOnce,
            Needs::ThreeBrokers => self.brokers.is_none_or(|count| count == 3),
            Needs::KeeperCommands => self.cluster.as_ref().is_some_and(|c| c.keeper_stop.is_some()),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    // The machine is told what to break; the configuration of penstock is another matter.
    #[allow(clippy::disallowed_methods)]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{text} is not a number"))
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first <= last { Ok(first..=last) } else { Err(format!("SEEDS={text} is empty")) }
}

fn faults(text: &str) -> Result<Vec<&'static Fault>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let known = |name: &str| {
        catalogue::find(name)
            .ok_or_else(|| format!("there is no fault {name}\nhint: LIST=1 prints the names"))
    };
    names.map(known).collect()
}

fn cluster() -> Option<Cluster> {
    let urls = variable("PENSTOCK_CHAOS_CLICKHOUSE")?;
    let text = |name: &str| variable(&format!("PENSTOCK_CHAOS_{name}"));
    Some(Cluster {
        urls: urls.split(',').map(|url| url.trim().to_owned()).collect(),
        user: text("USER").unwrap_or_else(|| "default".to_owned()),
        password: text("PASSWORD").unwrap_or_default(),
        kill: text("KILL").unwrap_or_else(|| "false".to_owned()),
        start: text("START").unwrap_or_else(|| "false".to_owned()),
        freeze: text("FREEZE"),
        thaw: text("THAW"),
        keeper_stop: text("KEEPER_STOP"),
        keeper_start: text("KEEPER_START"),
    })
}
