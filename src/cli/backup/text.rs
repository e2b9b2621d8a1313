//! How the answers of `penstock backup` look.
//!
//! Refuses to ask for them.

use indicatif::{HumanBytes, HumanCount};

use crate::app::backup::{Entry, Pruning, Replayed, Restored, Verification};

pub fn is_whole(replayed: &[Replayed]) -> bool {
    replayed.iter().all(|one| one.gone == 0)
}

pub fn kind(entry: &Entry) -> &'static str {
    if entry.manifest.base.is_some() { "incremental" } else { "full" }
}

pub fn entry_line(entry: &Entry) -> String {
    let manifest = &entry.manifest;
    let trust = match (entry.is_damaged(), entry.is_verified()) {
        (true, _) => "DAMAGED",
        (_, true) => "verified",
        _ => "not verified",
    };
    let held = if entry.hold.is_some() { ", held" } else { "" };
    format!(
        "{}  {:<8} {:<11} {} tables, {} rows, {} ({} new), {trust}{held}\n",
        entry.id,
        entry.state.name(),
        kind(entry),
        manifest.tables.len(),
        HumanCount(manifest.rows()),
        HumanBytes(manifest.bytes),
        HumanBytes(manifest.new_bytes),
    )
}

pub fn entry_text(entry: &Entry) -> String {
    let manifest = &entry.manifest;
    let mut text = entry_line(entry);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text += &format!("  {name:<10} {value}\n");
        }
    };
    line("policy", manifest.policy.clone());
    line("adds to", manifest.base.clone().unwrap_or_default());
    line("made by", manifest.actor.clone());
    line("server", format!("ClickHouse {}, penstock {}", manifest.server, manifest.app));
    line("took", format!("{:.1} s", manifest.seconds));
    line("error", entry.error.clone());
    line("held", entry.hold.as_ref().map(|hold| hold.reason.clone()).unwrap_or_default());
    for table in &manifest.tables {
        let rows = table.partitions.iter().map(|one| one.rows).sum();
        line("table", format!("{}.{}: {} rows counted", manifest.database, table.name, HumanCount(rows)));
    }
    for cut in &manifest.cut {
        line("offset", format!("{} of {}/{}, for {}", cut.offset, cut.topic, cut.partition, cut.table));
    }
    text + &entry.verification.as_ref().map(verification_text).unwrap_or_default()
}

pub fn verification_text(verification: &Verification) -> String {
    let lines: String = verification.findings.iter().map(|finding| format!("  {finding}\n")).collect();
    let (level, seconds) = (verification.level.name(), verification.seconds);
    match verification.findings.is_empty() {
        true => format!("verified by {level}: sound, in {seconds:.1} s\n"),
        false => format!("verified by {level}: damaged\n{lines}"),
    }
}

pub fn restored_text(restored: &Restored, is_dry: bool) -> String {
    let mut text = format!("from {}\n", restored.chain.join(", "));
    for one in &restored.tables {
        let what = if is_dry { "would be restored" } else { "is restored" };
        text += &format!("  {} {what} as {}: {} rows counted\n", one.table, one.target, HumanCount(one.rows));
    }
    restored.findings.iter().for_each(|finding| text += &format!("  differs: {finding}\n"));
    if restored.erased_rows > 0 {
        text += &format!("  {} rows of erased subjects are gone again\n", HumanCount(restored.erased_rows));
    }
    text + &replayed_text(&restored.replayed, is_dry)
}

pub fn replayed_text(replayed: &[Replayed], is_dry: bool) -> String {
    let mut text = String::new();
    for one in replayed {
        let span = format!("{}/{} from {} to {}", one.topic, one.partition, one.first, one.next);
        text += &match is_dry {
            true => format!("  {span} would be read again\n"),
            false => format!(
                "  {span}: {} rows, of which {} were missing and are there now\n",
                HumanCount(one.rows),
                HumanCount(one.inserted)
            ),
        };
        if one.gone > 0 {
            text +=
                &format!("  the first {} offsets of it are no longer in the topic\n", HumanCount(one.gone));
        }
    }
    text
}

pub fn pruning_text(pruning: &Pruning) -> String {
    let mut text = String::new();
    for plan in &pruning.plans {
        text += &format!("{}: {} kept, {} to delete\n", plan.policy, plan.kept.len(), plan.deleted.len());
        for one in &plan.kept {
            text += &format!("  keep   {}  {}\n", one.id, one.because.join(", "));
        }
        for one in &plan.deleted {
            text += &format!("  delete {}  {}\n", one.id, HumanBytes(one.new_bytes));
        }
        if !plan.refused.is_empty() {
            text += &format!("  nothing may be deleted: {}\n", plan.refused);
        }
    }
    for one in &pruning.deleted {
        let left = if one.files_left { "; its files are left" } else { "" };
        text += &format!("{} is deleted{left}\n", one.id);
    }
    match pruning.is_empty() || !pruning.deleted.is_empty() {
        true => text,
        false => text + &format!("days and weeks are those of {}\nplan {}\n", pruning.timezone, pruning.hash),
    }
}
