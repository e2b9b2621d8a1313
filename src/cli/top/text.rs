//! The summary as plain text: on one line, or whole.
//!
//! Refuses to steer the terminal: what comes from elsewhere is shown without control characters.

use crate::app::top::summary::{Level, Summary};
use crate::app::top::words::{count, span};

/// A sign beside the colour, which is never the only signal.
pub fn sign(level: Level) -> &'static str {
    match level {
        Level::Healthy => "ok",
        Level::Unknown => "??",
        Level::Attention => "!",
        Level::Paused => "||",
        Level::Failing => "XX",
    }
}

/// Without characters that would steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A rate as it is read at a glance: `182k/s`.
pub fn rate(per_s: Option<f64>) -> String {
    match per_s {
        None => "-".to_owned(),
        Some(n) if n < 10.0 => format!("{n:.1}/s"),
        Some(n) if n < 10_000.0 => format!("{n:.0}/s"),
        Some(n) if n < 10_000_000.0 => format!("{:.0}k/s", n / 1e3),
        Some(n) => format!("{:.1}M/s", n / 1e6),
    }
}

pub fn bytes(n: u64) -> String {
    let mib = n as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

pub fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), span)
}

pub fn number(n: Option<u64>) -> String {
    n.map_or_else(|| "-".to_owned(), count)
}

/// The figures that matter most.
pub fn totals(summary: &Summary) -> String {
    let totals = &summary.totals;
    let letters = totals.dead_letters_per_min.map_or_else(|| "-".to_owned(), |n| format!("{n:.0}/min"));
    format!(
        "in {}  out {}  p99 {}  lag {} ({})  dead letters {letters}  lost {}",
        rate(totals.in_records_per_s),
        rate(totals.out_rows_per_s),
        time(totals.e2e_p99_s),
        time(totals.lag_s),
        number(totals.lag_records),
        count(totals.lost_records),
    )
}

/// Everything on one line.
pub fn line(summary: &Summary) -> String {
    let verdict = plain(&summary.verdict.sentence);
    format!("{} [{}] {}  | {verdict}", summary.at, summary.verdict.level.name(), totals(summary))
}

/// The stages with how busy they are.
pub fn flow(summary: &Summary) -> String {
    let stage = |stage: &crate::app::top::summary::Stage| {
        let busy = stage.busy_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0));
        let mark = if summary.flow.bottleneck.as_ref() == Some(&stage.name) { " <- bottleneck" } else { "" };
        format!("{} {busy}{mark}", stage.name)
    };
    summary.flow.stages.iter().map(stage).collect::<Vec<_>>().join("  ")
}

/// Everything that a person wants to know, on a few lines.
pub fn whole(summary: &Summary) -> String {
    let memory = &summary.flow.memory;
    let mut text = format!(
        "{} {}\n[{}] {}\n{}\n{}\nmemory {} of {}\n",
        plain(&summary.name),
        summary.at,
        summary.verdict.level.name(),
        plain(&summary.verdict.sentence),
        totals(summary),
        flow(summary),
        bytes(memory.used_bytes),
        bytes(memory.budget_bytes),
    );
    if let Some(what) = &summary.verdict.what_to_do {
        text.push_str(&format!("what to do: {}\n", plain(what)));
    }
    for problem in &summary.problems {
        text.push_str(&format!("{}: {}\n", problem.severity.name(), plain(&problem.sentence)));
    }
    for pod in &summary.pods {
        let answers = if pod.reachable { pod.state.as_str() } else { "does not answer" };
        let (rows, lag) = (rate(pod.out_rows_per_s), time(pod.lag_s));
        text.push_str(&format!(
            "pod {} {answers}, {} partitions, in {}, out {rows}, lag {lag}\n",
            plain(&pod.address),
            pod.partitions,
            rate(pod.in_records_per_s),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_at_a_glance() {
        for (n, said) in [
            (None, "-"),
            (Some(0.0), "0.0/s"),
            (Some(812.4), "812/s"),
            (Some(182_400.0), "182k/s"),
            (Some(12_340_000.0), "12.3M/s"),
        ] {
            assert_eq!(rate(n), said);
        }
        assert_eq!((bytes(412 << 20).as_str(), bytes(3 << 30).as_str()), ("412 MiB", "3.0 GiB"));
        assert_eq!(plain("a\x1b[31m"), "a\u{fffd}[31m");
    }
}
