//! What needs a person, each in a sentence with what to do: made of what the processes, the servers and backups are like.
//!
//! Refuses to remember anything: the same view gives the same problems. Since when each has been, the board knows.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::{
    ALL_SHUT, BACKUP, CHECK, COMPONENTS, FULL, Kind, LATE, LETTERS, LOOKUP, MISSING, OTHER, SILENT, SKEW,
    STUCK, SURPLUS, UNOWNED,
};
use super::summary::{Backups, Partition, Problem, Severity, Totals};
use super::words::{counted, span};
use crate::telemetry::summary::Snapshot;

/// A record that waits longer is late, as the rule of freshness has it.
pub const LATE_S: f64 = 60.0;
/// A backup that is verified less often needs somebody.
const BACKUP_AGE_MAX_S: f64 = 2.0 * 86_400.0;
const MEMORY_FULL_PERCENT: u64 = 95;
pub const PROBLEMS_MAX: usize = 100;

/// A process as the board knows it.
#[derive(Clone, Debug)]
pub struct PodView<'a> {
    pub address: &'a str,
    /// What it said last; none if it never answered.
    pub snapshot: Option<&'a Snapshot>,
    pub reachable: bool,
    /// Whether its name still leads to it.
    pub resolved: bool,
    /// Since its last answer.
    pub silent_s: Option<f64>,
    /// Why it does not answer.
    pub fault: &'a str,
}

/// What a check of the watch over the servers came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub name: String,
    pub is_failing: bool,
    pub sentence: String,
    pub hint: String,
}

/// Dead letters of the last quarter of an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    pub topic: String,
    /// The most frequent one.
    pub reason: String,
    pub count: u64,
}

/// Everything that problems and the verdict are made of.
#[derive(Clone, Debug, Default)]
pub struct View<'a> {
    pub is_configured: bool,
    pub pods: Vec<PodView<'a>>,
    /// Names that lead nowhere, with why.
    pub lookups: &'a [(String, String)],
    pub totals: Totals,
    /// Those that lag most, the worst first.
    pub partitions: Vec<Partition>,
    pub checks: &'a [Checked],
    pub letters: Vec<Recent>,
    pub backups: Backups,
}

impl<'a> View<'a> {
    /// What the processes that answer say.
    pub fn heard(&self) -> impl Iterator<Item = (&'a str, &'a Snapshot)> {
        self.pods.iter().filter(|pod| pod.reachable).filter_map(|pod| Some((pod.address, pod.snapshot?)))
    }
}

/// What needs a person now, the worst first.
pub fn problems(view: &View<'_>) -> Vec<Problem> {
    let mut all = Vec::new();
    pods(view, &mut all);
    rows(view, &mut all);
    components(view, &mut all);
    lag(view, &mut all);
    beside(view, &mut all);
    all.sort_by(|a, b| (a.severity, &a.id).cmp(&(b.severity, &b.id)));
    all.truncate(PROBLEMS_MAX);
    all
}

fn pods(view: &View<'_>, all: &mut Vec<Problem>) {
    for (name, why) in view.lookups {
        all.push(LOOKUP.problem(format!("lookup:{name}"), format!("{name} leads to no pod: {why}")));
    }
    for pod in view.pods.iter().filter(|pod| !pod.reachable && pod.resolved) {
        let ended = pod.snapshot.is_some_and(|last| matches!(last.state.as_str(), "draining" | "stopped"));
        if ended {
            continue;
        }
        let sentence = match pod.silent_s {
            Some(silent_s) => {
                format!("pod {} has not answered for {}: {}", pod.address, span(silent_s), pod.fault)
            }
            None => format!("pod {} has not answered yet: {}", pod.address, pod.fault),
        };
        all.push(SILENT.problem(format!("pod:{}", pod.address), sentence));
    }
    for (address, snapshot) in view.heard().filter(|(_, snapshot)| !snapshot.is_live) {
        let sentence = format!("pod {address} is stuck: {}", snapshot.sentence);
        all.push(STUCK.problem(format!("stuck:{address}"), sentence));
    }
    let working = view.heard().filter(|(_, snapshot)| is_working(snapshot));
    let owned: Vec<u64> =
        working.map(|(_, snapshot)| snapshot.topics.values().map(|topic| topic.assigned).sum()).collect();
    if !owned.is_empty() && owned.iter().sum::<u64>() == 0 {
        all.push(UNOWNED.problem("unowned".to_owned(), "no pod owns a partition".to_owned()));
    }
    let configs: BTreeSet<&str> =
        view.heard().map(|(_, snapshot)| snapshot.config.as_str()).filter(|hash| !hash.is_empty()).collect();
    if 1 < configs.len() {
        let sentence = format!("the pods run with {} different configurations", configs.len());
        all.push(SKEW.problem("config-skew".to_owned(), sentence));
    }
    for (address, snapshot) in view.heard() {
        let budget = snapshot.memory_budget_bytes;
        if 0 < budget && budget.saturating_mul(MEMORY_FULL_PERCENT) / 100 < snapshot.memory_used_bytes {
            let sentence = format!("pod {address} holds as much as its memory budget allows");
            all.push(FULL.problem(format!("memory:{address}"), sentence));
        }
    }
}

/// Whether a process takes records in, or would if it could.
pub fn is_working(snapshot: &Snapshot) -> bool {
    snapshot.is_live && matches!(snapshot.state.as_str(), "running" | "paused")
}

/// Rows that are not there, or are there twice.
fn rows(view: &View<'_>, all: &mut Vec<Problem>) {
    let mut topics: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    // Of processes that do not answer as well: what they found missing is missing.
    for snapshot in view.pods.iter().filter_map(|pod| pod.snapshot) {
        for (name, topic) in &snapshot.topics {
            let (missing, surplus) = topics.entry(name).or_default();
            *missing += topic.missing_rows;
            *surplus += topic.surplus_rows;
        }
    }
    for (topic, (missing, surplus)) in topics {
        if 0 < missing {
            let sentence =
                format!("{} of {topic} that were committed are not in their table", counted(missing, "row"));
            all.push(MISSING.problem(format!("missing:{topic}"), sentence));
        }
        if 0 < surplus {
            let sentence = format!("{topic} has {} too many in its table", counted(surplus, "row"));
            all.push(SURPLUS.problem(format!("surplus:{topic}"), sentence));
        }
    }
}

fn components(view: &View<'_>, all: &mut Vec<Problem>) {
    let gates = || view.heard().flat_map(|(_, snapshot)| snapshot.gates.values());
    let is_all_shut = gates().next().is_some() && gates().all(|state| state == "shut");
    if is_all_shut {
        let sentence = "no server of ClickHouse is let in: every gate is shut".to_owned();
        all.push(ALL_SHUT.problem("clickhouse-down".to_owned(), sentence));
    }
    // The same part of several members and processes is one trouble.
    let mut seen: BTreeMap<String, (&str, BTreeSet<&str>)> = BTreeMap::new();
    for (address, snapshot) in view.heard() {
        for (name, component) in &snapshot.components {
            let name = name.split(", consumer ").next().unwrap_or(name).to_owned();
            let (_, pods) = seen.entry(name).or_insert((&component.sentence, BTreeSet::new()));
            pods.insert(address);
        }
    }
    for (name, (sentence, pods)) in seen {
        if is_all_shut && name.starts_with("clickhouse ") {
            continue;
        }
        let fits =
            |(begin, within, _): &&(&str, &str, Kind)| name.starts_with(begin) && name.contains(within);
        let kind = COMPONENTS.iter().find(fits).map_or(&OTHER, |(_, _, kind)| kind);
        let on = if 1 < pods.len() { format!(" (on {} pods)", pods.len()) } else { String::new() };
        let mut problem = kind.problem(format!("component:{name}"), format!("{name}: {sentence}{on}"));
        let topic = name.strip_prefix("dead letters of ");
        problem.link = topic.map(|topic| format!("dead-letters?topic={topic}"));
        all.push(problem);
    }
}

fn lag(view: &View<'_>, all: &mut Vec<Problem>) {
    let late = |partition: &&Partition| partition.lag_s.is_some_and(|lag_s| LATE_S < lag_s);
    let count = view.partitions.iter().filter(late).count();
    if let Some(worst) = view.partitions.iter().find(late) {
        let others = match count.saturating_sub(1) {
            0 => String::new(),
            n => format!(", {n} more of them late"),
        };
        let until = match worst.catch_up_s {
            Some(left_s) => format!("catches up in about {}", span(left_s)),
            None => "does not catch up".to_owned(),
        };
        let behind = span(worst.lag_s.unwrap_or_default());
        let sentence = format!("{}/{} is {behind} behind and {until}{others}", worst.topic, worst.partition);
        all.push(LATE.problem("late".to_owned(), sentence));
    }
    for letters in &view.letters {
        let Recent { topic, reason, count } = letters;
        let sentence = format!(
            "{} of {topic} in the last 15 minutes, most for {reason}",
            counted(*count, "dead letter")
        );
        let mut problem = LETTERS.problem(format!("letters:{topic}"), sentence);
        problem.link = Some(format!("dead-letters?topic={topic}"));
        all.push(problem);
    }
}

fn beside(view: &View<'_>, all: &mut Vec<Problem>) {
    for check in view.checks {
        let sentence = format!("{}: {}", check.name, check.sentence);
        let mut problem = CHECK.problem(format!("check:{}", check.name), sentence);
        problem.what_to_do.clone_from(&check.hint);
        if check.is_failing {
            problem.severity = Severity::Critical;
            problem.runbook = Some("PenstockHealthFailing".to_owned());
        }
        all.push(problem);
    }
    if !view.backups.policies.is_empty() {
        let sentence = match view.backups.age_s {
            None => "no backup is known to be sound".to_owned(),
            Some(age_s) if BACKUP_AGE_MAX_S < age_s => {
                format!("the newest verified backup is {} old", span(age_s))
            }
            Some(_) => return,
        };
        all.push(BACKUP.problem("backup".to_owned(), sentence));
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::Level;
    use super::*;
    use crate::telemetry::summary::{Component, Topic};

    pub fn snapshot() -> Snapshot {
        let topic = Topic { assigned: 4, ..Topic::default() };
        Snapshot {
            state: "running".to_owned(),
            is_live: true,
            topics: [("events".to_owned(), topic)].into(),
            gates: [("a:8123".to_owned(), "open".to_owned())].into(),
            ..Snapshot::default()
        }
    }

    pub fn pod<'a>(address: &'a str, snapshot: &'a Snapshot) -> PodView<'a> {
        PodView {
            address,
            snapshot: Some(snapshot),
            reachable: true,
            resolved: true,
            silent_s: Some(0.1),
            fault: "",
        }
    }

    fn of(snapshots: &[Snapshot]) -> Vec<Problem> {
        let names: Vec<String> = (0..snapshots.len()).map(|n| format!("10.0.0.{n}:9464")).collect();
        let pods = names.iter().zip(snapshots).map(|(name, snapshot)| pod(name, snapshot)).collect();
        problems(&View { is_configured: true, pods, ..View::default() })
    }

    fn ill(name: &str, sentence: &str) -> Snapshot {
        let component = Component { status: "down".to_owned(), sentence: sentence.to_owned() };
        Snapshot { components: [(name.to_owned(), component)].into(), ..snapshot() }
    }

    #[test]
    fn what_is_well_is_no_problem() {
        assert_eq!(of(&[snapshot(), snapshot()]), []);
    }

    #[test]
    fn every_part_that_is_not_well_is_told_once_with_what_to_do_and_a_runbook_that_exists() {
        for (name, runbook, level) in [
            ("dead letters of events, consumer 0", "PenstockTopicPaused", Level::Paused),
            ("dead letters", "PenstockDeadLettersRefused", Level::Paused),
            ("clickhouse a:8123", "PenstockEndpointShut", Level::Attention),
            ("table events, parts", "PenstockPartsPressure", Level::Attention),
            ("table events, consumer 3", "PenstockStalled", Level::Paused),
            ("topic events", "PenstockTopicPaused", Level::Attention),
            ("partition events/3", "PenstockPartitionStuck", Level::Attention),
            ("audit of table events", "PenstockRowsMissing", Level::Attention),
            ("configuration", "PenstockReloadRefused", Level::Attention),
            ("something new", "PenstockDegraded", Level::Attention),
        ] {
            let all = of(&[ill(name, "it is so"), ill(name, "it is so")]);
            assert_eq!(all.len(), 1, "{all:?}");
            assert!(
                all[0].sentence.contains("it is so (on 2 pods)") && !all[0].what_to_do.is_empty(),
                "{all:?}"
            );
            assert_eq!((all[0].runbook.as_deref(), all[0].level), (Some(runbook), level), "{name}");
        }
        let capped = of(&[ill("dead letters of events, consumer 0", "paused")]);
        assert_eq!(capped[0].link.as_deref(), Some("dead-letters?topic=events"));
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
        let own =
            [OTHER, SILENT, LOOKUP, STUCK, MISSING, SURPLUS, ALL_SHUT, UNOWNED, SKEW, LATE, LETTERS, FULL];
        let all =
            COMPONENTS.iter().map(|(_, _, kind)| kind.runbook).chain(own.iter().map(|kind| kind.runbook));
        for runbook in all {
            assert!(std::path::Path::new(&format!("{folder}/{runbook}.md")).exists(), "{runbook}");
        }
    }

    #[test]
    fn pods_that_are_silent_stuck_or_idle_are_told() {
        let well = snapshot();
        let mut silent = pod("b", &well);
        (silent.reachable, silent.silent_s, silent.fault) = (false, Some(12.0), "connection refused");
        let ended = Snapshot { state: "draining".to_owned(), ..snapshot() };
        let mut gone = pod("c", &ended);
        gone.reachable = false;
        let never = PodView { snapshot: None, silent_s: None, ..silent.clone() };
        let unresolved = PodView { resolved: false, address: "d", ..silent.clone() };
        let lookups = [("penstock-metrics".to_owned(), "no such name".to_owned())];
        let pods = vec![pod("a", &well), silent, gone, PodView { address: "e", ..never }, unresolved];
        let all = problems(&View { is_configured: true, pods, lookups: &lookups, ..View::default() });
        let ids: Vec<&str> = all.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(
            ids,
            ["lookup:penstock-metrics", "pod:b", "pod:e"],
            "one that ended or was moved is no trouble"
        );
        assert_eq!(all[1].sentence, "pod b has not answered for 12 s: connection refused");

        let stuck = Snapshot {
            is_live: false,
            sentence: "consumer 0 has not turned for 40 s".to_owned(),
            ..snapshot()
        };
        assert_eq!(of(&[stuck])[0].id, "stuck:10.0.0.0:9464");
        let idle = Snapshot { topics: BTreeMap::new(), ..snapshot() };
        assert_eq!(
            (of(std::slice::from_ref(&idle))[0].id.as_str(), of(&[idle, snapshot()]).len()),
            ("unowned", 0)
        );
        let full = Snapshot { memory_used_bytes: 99, memory_budget_bytes: 100, ..snapshot() };
        assert_eq!(of(&[full])[0].severity, Severity::Info);
        let configs = ["x", "y"].map(|config| Snapshot { config: config.to_owned(), ..snapshot() });
        assert_eq!(of(&configs)[0].id, "config-skew");
    }

    #[test]
    fn clickhouse_away_is_one_problem_and_rows_that_are_missing_fail() {
        let mut away = ill("clickhouse a:8123", "its gate is shut");
        away.gates.insert("a:8123".to_owned(), "shut".to_owned());
        let all = of(std::slice::from_ref(&away));
        assert_eq!((all.len(), all[0].id.as_str(), all[0].level), (1, "clickhouse-down", Level::Paused));
        assert_eq!(of(&[away, snapshot()])[0].id, "component:clickhouse a:8123", "others have it open");
        let mut lossy = snapshot();
        lossy.topics.get_mut("events").unwrap().missing_rows = 3;
        lossy.topics.get_mut("events").unwrap().surplus_rows = 1;
        let all = of(&[lossy]);
        assert_eq!((all[0].level, all[1].id.as_str()), (Level::Failing, "surplus:events"));
        assert!(all[0].sentence.starts_with("3 rows of events"), "{all:?}");
    }

    #[test]
    fn lag_letters_checks_and_backups() {
        let late = |lag_s, catch_up_s| Partition {
            topic: "events".to_owned(),
            partition: 7,
            lag_s: Some(lag_s),
            catch_up_s,
            ..Partition::default()
        };
        let checks = [Checked {
            name: "disks".to_owned(),
            is_failing: true,
            sentence: "a: full".to_owned(),
            hint: "delete".to_owned(),
        }];
        let view = View {
            is_configured: true,
            partitions: vec![late(88.0, Some(180.0)), late(70.0, None), late(3.0, None)],
            checks: &checks,
            letters: vec![Recent {
                topic: "events".to_owned(),
                reason: "missing_field".to_owned(),
                count: 12,
            }],
            backups: Backups { policies: vec!["nightly".to_owned()], ..Backups::default() },
            ..View::default()
        };
        let all = problems(&view);
        let said: Vec<&str> = all.iter().map(|problem| problem.sentence.as_str()).collect();
        assert_eq!(
            said,
            [
                "disks: a: full",
                "no backup is known to be sound",
                "events/7 is 88 s behind and catches up in about 3 min, 1 more of them late",
                "12 dead letters of events in the last 15 minutes, most for missing_field",
            ]
        );
        assert_eq!((all[0].severity, all[0].what_to_do.as_str()), (Severity::Critical, "delete"));
    }
}
