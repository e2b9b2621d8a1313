//! How the whole line is, in one word and one sentence.
//!
//! Refuses to call well what it does not see: a fleet that says nothing is never healthy. Pure; since when it is so, the
//! board knows.

use super::problems::{View, is_working};
use super::summary::{Level, Problem, Severity, Verdict};
use super::words::{count, counted, span};

/// Judges by the problems and by who answers.
pub fn judge(view: &View<'_>, problems: &[Problem]) -> Verdict {
    if !view.is_configured {
        let what = "Name where the pods have their metrics in admin.console.lines.";
        return verdict(Level::Unknown, "Unknown: no line is configured".to_owned(), Some((what, "")));
    }
    let answered = view.pods.iter().any(|pod| pod.snapshot.is_some());
    if !answered {
        let why = view.pods.iter().find(|pod| !pod.fault.is_empty()).map(|pod| pod.fault);
        let why = why.or(view.lookups.first().map(|(_, why)| why.as_str()));
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let sentence = format!("Unknown: no pod of the line has answered yet{why}");
        return verdict(
            Level::Unknown,
            sentence,
            Some(("Check admin.console.lines, and whether pods run.", "PenstockAbsent")),
        );
    }
    if let Some(lost) = problems.iter().find(|problem| problem.level == Level::Failing) {
        return because("Failing", lost, problems);
    }
    if view.heard().next().is_none() {
        let silent_s = view.pods.iter().filter_map(|pod| pod.silent_s).fold(f64::INFINITY, f64::min);
        let sentence = match silent_s.is_finite() {
            true => format!("Failing: no pod of the line has answered for {}", span(silent_s)),
            false => "Failing: no pod of the line answers".to_owned(),
        };
        return verdict(
            Level::Failing,
            sentence,
            Some(("Look whether pods run, and at the log of one.", "PenstockAbsent")),
        );
    }
    if view.heard().all(|(_, snapshot)| !snapshot.is_live) {
        let sentence = "Failing: every pod that answers is stuck".to_owned();
        return verdict(
            Level::Failing,
            sentence,
            Some(("Restart the pods, and read the end of their logs.", "PenstockLoopStuck")),
        );
    }
    let working = view.heard().filter(|(_, snapshot)| is_working(snapshot));
    let states: Vec<&str> = working.map(|(_, snapshot)| snapshot.state.as_str()).collect();
    if states.is_empty() {
        let states: Vec<&str> = view.heard().map(|(_, snapshot)| snapshot.state.as_str()).collect();
        let sentence = format!("Paused: no pod takes anything in, they are {}", states.join(", "));
        return verdict(
            Level::Paused,
            sentence,
            Some(("Wait until one has started; its log says what it waits for.", "PenstockNotReady")),
        );
    }
    if let Some(paused) = problems.iter().find(|problem| problem.level == Level::Paused) {
        return because("Paused", paused, problems);
    }
    if states.iter().all(|state| *state == "paused") {
        if let Some(held) = problems.iter().find(|problem| problem.id.starts_with("component:topic ")) {
            return Verdict { level: Level::Paused, ..because("Paused", held, problems) };
        }
        let sentence = format!("Paused: reading waits for inserts, nothing lost{}", backlog(view));
        return verdict(
            Level::Paused,
            sentence,
            Some(("Look at the slowest stage.", "PenstockMemoryBudgetFull")),
        );
    }
    if let Some(first) = problems.iter().find(|problem| problem.level == Level::Attention) {
        return because("Needs attention", first, problems);
    }
    verdict(Level::Healthy, healthy(view), None)
}

fn healthy(view: &View<'_>) -> String {
    let backup = match view.backups.age_s {
        Some(age_s) => format!(", backup {} old", span(age_s)),
        None => String::new(),
    };
    let lag = span(view.totals.lag_s.unwrap_or(0.0));
    format!("Healthy: {}, worst lag {lag}, nothing lost{backup}", counted(view.totals.topics, "topic"))
}

/// What waits, if anything does.
fn backlog(view: &View<'_>) -> String {
    match view.totals.lag_records {
        Some(waiting) if 0 < waiting => format!(", {} records wait", count(waiting)),
        _ => String::new(),
    }
}

/// The verdict that a problem makes.
fn because(word: &str, problem: &Problem, all: &[Problem]) -> Verdict {
    let others = all.iter().filter(|other| other.severity != Severity::Info).count().saturating_sub(1);
    let more = if 0 < others { format!(" (and {others} more)") } else { String::new() };
    Verdict {
        level: problem.level,
        sentence: format!("{word}: {}{more}", problem.sentence),
        since: String::new(),
        what_to_do: Some(problem.what_to_do.clone()).filter(|text| !text.is_empty()),
        runbook: problem.runbook.clone(),
    }
}

fn verdict(level: Level, sentence: String, more: Option<(&str, &str)>) -> Verdict {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Verdict {
        level,
        sentence,
        since: String::new(),
        what_to_do: more.and_then(|(what, _)| text(what)),
        runbook: more.and_then(|(_, runbook)| text(runbook)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::problems::{PodView, problems};
    use super::super::summary::{Backups, Totals};
    use super::*;
    use crate::telemetry::summary::{Component, Snapshot, Topic};

    fn snapshot(state: &str) -> Snapshot {
        let topic = Topic { assigned: 4, ..Topic::default() };
        Snapshot {
            state: state.to_owned(),
            is_live: state != "stopped",
            topics: [("events".to_owned(), topic)].into(),
            gates: [("a:8123".to_owned(), "open".to_owned())].into(),
            ..Snapshot::default()
        }
    }

    fn pod(snapshot: Option<&Snapshot>, reachable: bool) -> PodView<'_> {
        let fault = if reachable { "" } else { "connection refused" };
        PodView { address: "a", snapshot, reachable, resolved: true, silent_s: snapshot.map(|_| 12.0), fault }
    }

    fn verdict_of(pods: Vec<PodView<'_>>) -> Verdict {
        let totals = Totals { topics: 4, lag_s: Some(3.0), ..Totals::default() };
        let backups = Backups { age_s: Some(7200.0), ..Backups::default() };
        let view = View { is_configured: true, pods, totals, backups, ..View::default() };
        judge(&view, &problems(&view))
    }

    #[test]
    fn one_sentence_says_how_it_is() {
        let (running, paused, starting) = (snapshot("running"), snapshot("paused"), snapshot("starting"));
        let all = [
            (
                vec![pod(Some(&running), true)],
                "healthy",
                "Healthy: 4 topics, worst lag 3 s, nothing lost, backup 2 h old",
            ),
            (vec![pod(Some(&paused), true)], "paused", "Paused: reading waits for inserts, nothing lost"),
            (vec![pod(Some(&paused), true), pod(Some(&running), true)], "healthy", "Healthy: 4 topics"),
            (
                vec![pod(Some(&starting), true)],
                "paused",
                "Paused: no pod takes anything in, they are starting",
            ),
            (
                vec![pod(Some(&running), false)],
                "failing",
                "Failing: no pod of the line has answered for 12 s",
            ),
            (
                vec![pod(Some(&running), true), pod(Some(&running), false)],
                "attention",
                "Needs attention: pod a has not",
            ),
            (
                vec![pod(None, false)],
                "unknown",
                "Unknown: no pod of the line has answered yet: connection refused",
            ),
            (vec![], "unknown", "Unknown: no pod of the line has answered yet"),
        ];
        for (pods, level, sentence) in all {
            let said = verdict_of(pods);
            assert_eq!(said.level.name(), level, "{said:?}");
            assert!(said.sentence.starts_with(sentence), "{said:?}");
            assert_eq!(said.what_to_do.is_none(), level == "healthy", "{said:?}");
        }
        let view = View::default();
        assert_eq!(judge(&view, &[]).sentence, "Unknown: no line is configured");
    }

    #[test]
    fn what_is_lost_goes_before_what_is_paused_and_that_before_the_rest() {
        let mut bad = snapshot("running");
        bad.topics.get_mut("events").unwrap().missing_rows = 2;
        let parked = Component { status: "down".to_owned(), sentence: "paused, nothing is lost".to_owned() };
        bad.components.insert("table events, consumer 0".to_owned(), parked);
        let said = verdict_of(vec![pod(Some(&bad), true)]);
        assert_eq!(
            said.sentence,
            "Failing: 2 rows of events that were committed are not in their table (and 1 more)"
        );
        bad.topics.get_mut("events").unwrap().missing_rows = 0;
        let said = verdict_of(vec![pod(Some(&bad), true)]);
        assert_eq!(
            (said.level, said.sentence.as_str()),
            (Level::Paused, "Paused: table events: paused, nothing is lost")
        );
        assert_eq!(said.runbook.as_deref(), Some("PenstockStalled"));
    }

    proptest! {
        #[test]
        fn a_silent_fleet_is_never_healthy(
            states in proptest::collection::vec(
                (proptest::sample::select(vec!["starting", "running", "paused", "draining", "stopped"]), any::<bool>(), any::<bool>()),
                0..6,
            ),
            is_configured in any::<bool>(),
        ) {
            let snapshots: Vec<Snapshot> = states.iter().map(|(state, ..)| snapshot(state)).collect();
            let pods: Vec<PodView<'_>> = snapshots
                .iter()
                .zip(&states)
                .map(|(snapshot, (_, answered, resolved))| PodView { resolved: *resolved, ..pod(answered.then_some(snapshot), false) })
                .collect();
            let view = View { is_configured, pods, ..View::default() };
            prop_assert_ne!(judge(&view, &problems(&view)).level, Level::Healthy);
        }
    }
}
