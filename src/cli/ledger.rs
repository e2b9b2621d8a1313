//! `penstock ledger`: prints what `app` found, and asks before anything is set back.
//!
//! Refuses to decide what may be set back.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::json;

use super::args::{LedgerArgs, LedgerCommand, RewindArgs};
use super::work::Call;
use super::{Exit, Failure};
use crate::app::ledger::{self, Change, Rewind, Shelf, Shown};

impl Call<'_> {
    pub fn ledger(mut self, args: &LedgerArgs) -> Result<Exit, Failure> {
        match &args.command {
            LedgerCommand::Show { topic, partition } => {
                let shown = ledger::show(&self.loaded.config, topic.as_deref(), *partition)?;
                self.tell(&describe(&shown), &json!(shown))?;
                Ok(if shown.is_damaged() { Exit::Differences } else { Exit::Done })
            }
            LedgerCommand::Rewind(args) => self.rewind(args),
        }
    }

    fn rewind(&mut self, args: &RewindArgs) -> Result<Exit, Failure> {
        let rewind = Rewind::prepare(&self.loaded.config, &args.topic, args.partition, args.to)?;
        let mut text: String = rewind.changes.iter().map(sentence).collect();
        let done = !args.dry_run && (args.yes || confirmed(&text)?);
        if done {
            rewind.apply()?;
        }
        text.push_str(if done { "done\n" } else { "nothing was changed\n" });
        let value = json!({ "group": rewind.group, "done": done, "changes": rewind.changes });
        self.tell(&text, &value)?;
        Ok(if done || args.dry_run { Exit::Done } else { Exit::Failed })
    }
}

/// Asks on the terminal; without one nobody can be asked.
fn confirmed(text: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::wrong_use(anyhow::anyhow!(
            "this changes what is read, and nobody is there to be asked\nhint: see it with --dry-run, do it with --yes"
        )));
    }
    let mut err = io::stderr();
    err.write_all(format!("{text}set these offsets? [y/N] ").as_bytes())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn describe(shown: &Shown) -> String {
    let mut text = format!("group {}: {}, {} members\n", shown.group, shown.state, shown.members.len());
    for (id, host) in &shown.members {
        text += &format!("  {id} at {host}\n");
    }
    shown.partitions.iter().for_each(|shelf| text += &line(shelf));
    text
}

fn line(shelf: &Shelf) -> String {
    let committed = shelf.committed.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
    let Shelf { topic, partition, log_first, log_end, sentence, .. } = shelf;
    let mut text =
        format!("{topic}/{partition}: committed {committed}, log {log_first} to {log_end}: {sentence}\n");
    if let (Some(lineage), Some(written), Some(left)) = (&shelf.lineage, &shelf.written, shelf.lease_left_ms)
    {
        let left = Duration::from_millis(left.unsigned_abs());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  lineage {lineage}, written {written}, lease left {left:?}");
    }
    shelf.ranges.iter().for_each(|range| text += &batch(range, ""));
    text
}

fn batch(range: &ledger::Range, note: &str) -> String {
    let ledger::Range { first, next, records, digest } = range;
    format!("  batch {first} to {next}: {records} records, digest {digest}{note}\n")
}

fn sentence(change: &Change) -> String {
    let before = change.before.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
    let Change { topic, partition, after, read_again, skipped, .. } = change;
    let mut text = format!(
        "{topic}/{partition}: from {before} to {after}; {read_again} offsets are read again, {skipped} are skipped\n"
    );
    for range in &change.abandoned {
        text += &batch(range, ", abandoned: it may or may not have landed");
    }
    if change.unreadable {
        text += "  a plan that cannot be read is dropped: what it listed may or may not have landed\n";
    }
    text
}
