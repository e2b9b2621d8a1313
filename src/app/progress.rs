//! What a person sees while records run: one line that moves on a terminal, plain lines elsewhere.
//!
//! Refuses to touch the line itself: it looks at the totals from outside, a few times a second.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::pipeline::{Snapshot, Totals};

const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

pub struct Progress {
    totals: Arc<Totals>,
    started: Instant,
    bar: Option<ProgressBar>,
    plain: bool,
    task: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows progress on the standard error; `None` shows it on a terminal only.
    pub fn start(totals: Arc<Totals>, wanted: Option<bool>) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let shown = wanted.unwrap_or(terminal);
        let bar = (shown && terminal)
            .then(|| styled(ProgressBar::new_spinner(), "{spinner} {elapsed_precise} {msg}"));
        let mut progress =
            Progress { totals, started: Instant::now(), plain: shown && !terminal, bar, task: None };
        if shown {
            progress.task = Some(progress.watch());
        }
        progress
    }

    fn watch(&self) -> JoinHandle<()> {
        let (totals, bar, started) = (Arc::clone(&self.totals), self.bar.clone(), self.started);
        tokio::spawn(async move {
            let interval = if bar.is_some() { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
            let mut ticks = tokio::time::interval(interval);
            let mut last = (started, totals.snapshot());
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let now = (Instant::now(), totals.snapshot());
                let text = describe(&now.1, &last.1, now.0 - last.0);
                match &bar {
                    Some(bar) => bar.set_message(text),
                    None => say(&text),
                }
                // A rate over a second or more does not flicker.
                if Duration::from_secs(1) <= now.0 - last.0 {
                    last = now;
                }
            }
        })
    }

    /// Ends the display with the averages of the whole run.
    pub fn finish(self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let text = describe(&self.totals.snapshot(), &Snapshot::default(), self.started.elapsed());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.plain || self.bar.is_some() {
            say(&text);
        }
    }
}

/// The bar as this template shows it. indicatif itself hides it where the standard error is no terminal.
pub fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn say(text: &str) {
    use std::io::Write as _;
    // A closed standard error does not stop the line.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// `1,234,567 rows  310,000 rows/s  35.2 MB/s  lag 12,345  dead letters 0`
fn describe(now: &Snapshot, before: &Snapshot, span: Duration) -> String {
    let seconds = span.as_secs_f64().max(0.001);
    // Rates are for people: a whole number of rows is exact enough.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rows_per_second = (now.rows.saturating_sub(before.rows) as f64 / seconds) as u64;
    let megabytes = now.bytes.saturating_sub(before.bytes) as f64 / seconds / 1e6;
    format!(
        "{} rows  {} rows/s  {megabytes:.1} MB/s  lag {}  dead letters {}",
        HumanCount(now.rows),
        HumanCount(rows_per_second),
        HumanCount(now.lag),
        HumanCount(now.dead_letters),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_sums_and_rates() {
        let before = Snapshot { records: 0, bytes: 1_000_000, rows: 1_000, dead_letters: 1, lag: 0 };
        let now = Snapshot { records: 0, bytes: 5_000_000, rows: 21_000, dead_letters: 2, lag: 1_234 };
        assert_eq!(
            describe(&now, &before, Duration::from_secs(2)),
            "21,000 rows  10,000 rows/s  2.0 MB/s  lag 1,234  dead letters 2"
        );
    }
}
