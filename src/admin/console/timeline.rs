//! What changed from one look to the next, in sentences.
//!
//! Refuses to remember more than the last look, and to tell one change of many pods as many changes.

use std::collections::{BTreeMap, BTreeSet};

use super::summary::{JobLine, Level, Summary};
use super::words::counted;
use crate::telemetry::summary::Snapshot;

/// What of a look is compared with the next one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    pub pods: BTreeMap<String, PodLook>,
    /// By endpoint the worst gate.
    pub gates: BTreeMap<String, String>,
    /// Topics whose dead letters are too many.
    pub capped: BTreeSet<String>,
    pub level: Level,
    pub sentence: String,
    pub jobs: Vec<JobLine>,
    pub verified_at: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodLook {
    pub reachable: bool,
    pub started_ms: i64,
    pub state: String,
    pub version: String,
    pub config: String,
    pub rebalances: u64,
}

impl PodLook {
    pub fn of(snapshot: &Snapshot, reachable: bool) -> PodLook {
        PodLook {
            reachable,
            started_ms: snapshot.started_ms,
            state: snapshot.state.clone(),
            version: snapshot.version.clone(),
            config: snapshot.config.clone(),
            rebalances: snapshot.rebalances,
        }
    }
}

impl Look {
    /// What a look at the line came to.
    pub fn of(summary: &Summary, pods: BTreeMap<String, PodLook>) -> Look {
        let capped = summary
            .problems
            .iter()
            .filter_map(|problem| problem.id.strip_prefix("component:dead letters of "))
            .map(str::to_owned);
        Look {
            pods,
            gates: summary
                .flow
                .gates
                .iter()
                .map(|gate| (gate.endpoint.clone(), gate.state.clone()))
                .collect(),
            capped: capped.collect(),
            level: summary.verdict.level,
            sentence: summary.verdict.sentence.clone(),
            jobs: summary.jobs.clone(),
            verified_at: summary.backups.newest_verified_at.clone(),
        }
    }
}

/// What is different now: kind and sentence, in the order of importance.
pub fn changes(before: &Look, after: &Look) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if before.level != after.level {
        all.push(("verdict", after.sentence.clone()));
    }
    pods(before, after, &mut all);
    for topic in after.capped.difference(&before.capped) {
        all.push(("pause", format!("{topic} is paused: too many dead letters")));
    }
    for topic in before.capped.difference(&after.capped) {
        all.push(("pause", format!("{topic} is read again")));
    }
    for (endpoint, state) in &after.gates {
        if before.gates.get(endpoint).is_some_and(|old| old != state) {
            all.push(("gate", format!("the gate of {endpoint} is {state}")));
        }
    }
    jobs(before, after, &mut all);
    if let Some(at) = after.verified_at.as_ref().filter(|at| before.verified_at.as_ref() != Some(at)) {
        // What was there at the first look is no news.
        if before.verified_at.is_some() {
            all.push(("backup", format!("the backup of {at} was verified")));
        }
    }
    all
}

fn pods(before: &Look, after: &Look, all: &mut Vec<(&'static str, String)>) {
    let (mut assigned, mut reloaded) = (BTreeSet::new(), BTreeSet::new());
    for (address, pod) in &after.pods {
        let Some(old) = before.pods.get(address) else {
            all.push(("pod", format!("pod {address} is there, {} {}", pod.version, pod.state)));
            continue;
        };
        if old.started_ms != pod.started_ms {
            all.push(("pod", format!("pod {address} has started anew, {}", pod.version)));
            continue;
        }
        match (old.reachable, pod.reachable) {
            (true, false) => all.push(("pod", format!("pod {address} does not answer any more"))),
            (false, true) => all.push(("pod", format!("pod {address} answers again"))),
            // Running and paused take turns under load, and the verdict tells what matters of it.
            _ if old.state != pod.state && is_notable(&old.state, &pod.state) => {
                all.push(("pod", format!("pod {address} is {}", pod.state)));
            }
            _ => {}
        }
        if old.rebalances < pod.rebalances {
            assigned.insert(address.as_str());
        }
        if old.config != pod.config && !old.config.is_empty() {
            reloaded.insert(address.as_str());
        }
    }
    for address in before.pods.keys().filter(|address| !after.pods.contains_key(*address)) {
        all.push(("pod", format!("pod {address} is forgotten")));
    }
    let on = |pods: &BTreeSet<&str>| match pods.first() {
        Some(only) if pods.len() == 1 => format!("pod {only}"),
        _ => counted(pods.len() as u64, "pod"),
    };
    if !assigned.is_empty() {
        all.push(("rebalance", format!("partitions were assigned anew: {}", on(&assigned))));
    }
    if !reloaded.is_empty() {
        all.push(("reload", format!("another configuration is in effect: {}", on(&reloaded))));
    }
}

fn is_notable(old: &str, new: &str) -> bool {
    let takes_turns = |state: &str| matches!(state, "running" | "paused" | "degraded");
    !(takes_turns(old) && takes_turns(new))
}

fn jobs(before: &Look, after: &Look, all: &mut Vec<(&'static str, String)>) {
    let old: BTreeMap<&str, &str> =
        before.jobs.iter().map(|job| (job.id.as_str(), job.state.as_str())).collect();
    for job in after.jobs.iter().rev() {
        let kind = match job.action.split('.').next() {
            Some("backup") => "backup",
            Some("migrate") => "migration",
            _ => "operator",
        };
        let JobLine { action, actor, state, .. } = job;
        match old.get(job.id.as_str()) {
            // Those of before the first look are no news.
            None if before.jobs.is_empty() && state != "running" => {}
            None if state == "running" => all.push((kind, format!("{action} was begun by {actor}"))),
            None => all.push((kind, format!("{action} of {actor}: {state}"))),
            Some(old) if old != state => all.push((kind, format!("{action} of {actor}: {state}"))),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        let pod = PodLook {
            reachable: true,
            started_ms: 1,
            state: "running".to_owned(),
            config: "c".to_owned(),
            ..PodLook::default()
        };
        Look {
            pods: [("a".to_owned(), pod.clone()), ("b".to_owned(), pod)].into(),
            gates: [("ch:8123".to_owned(), "open".to_owned())].into(),
            level: Level::Healthy,
            ..Look::default()
        }
    }

    fn said(change: impl FnOnce(&mut Look)) -> Vec<String> {
        let mut after = look();
        change(&mut after);
        changes(&look(), &after).into_iter().map(|(kind, sentence)| format!("{kind}: {sentence}")).collect()
    }

    fn pod(look: &mut Look) -> &mut PodLook {
        look.pods.get_mut("a").unwrap()
    }

    fn job(state: &str) -> JobLine {
        JobLine {
            id: "1".to_owned(),
            action: "backup.create".to_owned(),
            actor: "ann".to_owned(),
            state: state.to_owned(),
            ..JobLine::default()
        }
    }

    #[test]
    fn every_change_is_told_and_what_stays_is_not() {
        assert!(said(|_| {}).is_empty());
        assert_eq!(said(|look| pod(look).reachable = false), ["pod: pod a does not answer any more"]);
        assert_eq!(said(|look| pod(look).started_ms = 2), ["pod: pod a has started anew, "]);
        assert_eq!(said(|look| pod(look).state = "draining".to_owned()), ["pod: pod a is draining"]);
        assert!(said(|look| pod(look).state = "paused".to_owned()).is_empty(), "a turn of backpressure");
        assert_eq!(said(|look| drop(look.pods.remove("a"))), ["pod: pod a is forgotten"]);
        assert_eq!(
            said(|look| drop(look.pods.insert("c".to_owned(), PodLook::default()))),
            ["pod: pod c is there,  "]
        );
        let both = |look: &mut Look| look.pods.values_mut().for_each(|pod| pod.rebalances += 2);
        assert_eq!(said(both), ["rebalance: partitions were assigned anew: 2 pods"]);
        assert_eq!(
            said(|look| pod(look).config = "d".to_owned()),
            ["reload: another configuration is in effect: pod a"]
        );
        let shut = |look: &mut Look| drop(look.gates.insert("ch:8123".to_owned(), "shut".to_owned()));
        assert_eq!(said(shut), ["gate: the gate of ch:8123 is shut"]);
        assert_eq!(
            said(|look| look.capped.extend(["t".to_owned()])),
            ["pause: t is paused: too many dead letters"]
        );
        let failing =
            |look: &mut Look| (look.level, look.sentence) = (Level::Failing, "Failing: so".to_owned());
        assert_eq!(said(failing), ["verdict: Failing: so"]);
    }

    #[test]
    fn jobs_are_told_when_they_begin_and_end_and_old_ones_are_no_news() {
        let with = |jobs: Vec<JobLine>| Look { jobs, ..look() };
        let said = |before: &Look, after: &Look| changes(before, after);
        assert_eq!(said(&look(), &with(vec![job("done")])), []);
        assert_eq!(
            said(&look(), &with(vec![job("running")])),
            [("backup", "backup.create was begun by ann".to_owned())]
        );
        let ended = said(&with(vec![job("running")]), &with(vec![job("failed")]));
        assert_eq!(ended, [("backup", "backup.create of ann: failed".to_owned())]);
    }
}
