//! The section `lifecycle` of a table file as people write it, and what is wrong with it.
//!
//! Refuses rules that contradict the table: columns that are not there, ages that no interval can say, rules that
//! undercut the section's own floor.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::codec::Codec;
use super::super::fault::{Faults, nearest};
use super::super::model::{Column, Type};
use super::{Action, Lifecycle, Method, Rule};
use crate::units::Span;

/// What becomes of the rows with age.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::schema) struct LifecycleFile {
    /// Column from which ages are counted: a Date, Date32, DateTime or DateTime64 that cannot be NULL.
    #[schemars(required)]
    pub time_column: Option<String>,
    /// No rule may destroy rows or values that are younger than this, such as `30d`.
    pub min_retention: Option<Span>,
    /// Rows are deleted when they are this old.
    pub delete_after: Option<Span>,
    /// Who deletes them: `ttl` (ClickHouse; the default) or `drop_partition` (`penstock lifecycle expire` alone).
    pub method: Option<MethodFile>,
    /// Where parts lie when all of their rows are this old.
    #[serde(rename = "move")]
    pub moves: Option<Vec<MoveFile>>,
    /// With which codecs parts are written again when all of their rows are this old.
    pub recompress: Option<Vec<RecompressFile>>,
    /// How rows of one group become a single row when they are this old.
    pub roll_up: Option<Vec<RollUpFile>>,
    /// Columns whose values become the default when they are this old: `{email: 30d}`.
    pub clear: Option<BTreeMap<String, Span>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::schema) enum MethodFile {
    Ttl,
    DropPartition,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::schema) struct MoveFile {
    /// Age, such as `7d`.
    #[schemars(required)]
    pub after: Option<Span>,
    /// A volume of the table's storage policy.
    pub to_volume: Option<String>,
    /// A disk of the table's storage policy.
    pub to_disk: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::schema) struct RecompressFile {
    /// Age, such as `14d`.
    #[schemars(required)]
    pub after: Option<Span>,
    /// Codecs, such as `ZSTD(9)`.
    #[schemars(required)]
    pub codec: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::schema) struct RollUpFile {
    /// Age, such as `30d`.
    #[schemars(required)]
    pub after: Option<Span>,
    /// The first columns or expressions of `order_by`.
    #[schemars(required, length(min = 1))]
    pub group_by: Option<Vec<String>>,
    /// Other columns and their values for the group: `{clicks: sum(clicks)}`.
    #[schemars(required)]
    pub set: Option<BTreeMap<String, String>>,
}

/// What the section is judged by.
pub(in crate::schema) struct Around<'a> {
    pub columns: &'a [Column],
    pub order_by: &'a [String],
    pub engine: &'a str,
}

/// The rules, with every fault on the way.
pub(in crate::schema) fn resolve(
    file: &LifecycleFile,
    around: &Around<'_>,
    faults: &mut Faults,
) -> Option<Lifecycle> {
    if !around.engine.contains("MergeTree") {
        let message = format!("the engine {} keeps no ages", around.engine);
        faults.add("lifecycle", message, "take an engine of the MergeTree family, or leave the section out");
    }
    let time_column = file.time_column.clone()?;
    let counts_days = time(&time_column, around, faults);
    let mut rules = Vec::new();
    rules.extend(rule(file.delete_after, Action::Delete, "lifecycle.delete_after", faults));
    moves(file, &mut rules, faults);
    for (index, one) in file.recompress.iter().flatten().enumerate() {
        let at = format!("lifecycle.recompress[{index}]");
        let Some(codec) = &one.codec else { continue };
        match codec.parse::<Codec>() {
            Ok(codec) => {
                rules.extend(rule(one.after, Action::Recompress(codec), &format!("{at}.after"), faults))
            }
            Err(error) => {
                let text = error.to_string();
                let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
                faults.add(format!("{at}.codec"), message, hint);
            }
        }
    }
    for (index, one) in file.roll_up.iter().flatten().enumerate() {
        let at = format!("lifecycle.roll_up[{index}]");
        roll_up(one, &at, around, faults);
        let group_by = one.group_by.clone().unwrap_or_default();
        let set = one.set.iter().flatten().map(|(column, value)| (column.clone(), value.clone())).collect();
        rules.extend(rule(one.after, Action::RollUp { group_by, set }, &format!("{at}.after"), faults));
    }
    for (column, after) in file.clear.iter().flatten() {
        let at = format!("lifecycle.clear.{column}");
        clear((column, &at), &time_column, around, faults);
        rules.extend(rule(Some(*after), Action::Clear(column.clone()), &at, faults));
    }
    floor(file.min_retention, &rules, faults);
    let method = match file.method {
        Some(MethodFile::DropPartition) => Method::DropPartition,
        Some(MethodFile::Ttl) | None => Method::Ttl,
    };
    Some(Lifecycle { time_column, counts_days, min_retention: file.min_retention, method, rules })
}

/// Whether the column has days only; every fault of it.
fn time(name: &str, around: &Around<'_>, faults: &mut Faults) -> bool {
    let at = "lifecycle.time_column";
    let Some(column) = column(name, at, around, faults) else { return false };
    match &column.ty {
        Type::Date => true,
        Type::Date32 | Type::DateTime { .. } | Type::DateTime64 { .. } => false,
        other => {
            let message = format!("`{name}` is {other}, which is no time");
            faults.add(at, message, "take a column of type Date, Date32, DateTime or DateTime64");
            false
        }
    }
}

fn column<'a>(name: &str, at: &str, around: &Around<'a>, faults: &mut Faults) -> Option<&'a Column> {
    let found = around.columns.iter().find(|column| column.name == name);
    if found.is_none() {
        let meant = nearest(name, around.columns.iter().map(|column| column.name.as_str()));
        let hint = meant
            .map_or("name a column of this table".to_owned(), |meant| format!("did you mean `{meant}`?"));
        faults.add(at, format!("there is no column `{name}`"), hint);
    }
    found
}

/// The rule, if its age is one.
fn rule(after: Option<Span>, action: Action, at: &str, faults: &mut Faults) -> Option<Rule> {
    let after = after?;
    if after.0.is_zero() || after.0.subsec_nanos() != 0 {
        faults.add(at, format!("{after} is no age"), "write whole seconds or more: `30d`, `12h`");
        return None;
    }
    Some(Rule { after, action })
}

fn moves(file: &LifecycleFile, rules: &mut Vec<Rule>, faults: &mut Faults) {
    for (index, one) in file.moves.iter().flatten().enumerate() {
        let at = format!("lifecycle.move[{index}]");
        let action = match (&one.to_volume, &one.to_disk) {
            (Some(volume), None) => Action::MoveToVolume(volume.clone()),
            (None, Some(disk)) => Action::MoveToDisk(disk.clone()),
            _ => {
                let hint = "write `{after: 7d, to_volume: cold}` or `{after: 7d, to_disk: s3}`";
                faults.add(at, "it says not one place to move to", hint);
                continue;
            }
        };
        rules.extend(rule(one.after, action, &format!("{at}.after"), faults));
    }
}

fn roll_up(file: &RollUpFile, at: &str, around: &Around<'_>, faults: &mut Faults) {
    let squeezed = |text: &String| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let group_by: Vec<String> = file.group_by.iter().flatten().map(squeezed).collect();
    let order_by: Vec<String> = around.order_by.iter().map(squeezed).collect();
    if !order_by.starts_with(&group_by) {
        faults.add(
            format!("{at}.group_by"),
            "these are not the first columns of `order_by`, which ClickHouse demands",
            format!("write the beginning of [{}]", around.order_by.join(", ")),
        );
    }
    for (name, value) in file.set.iter().flatten() {
        let place = format!("{at}.set.{name}");
        column(name, &place, around, faults);
        if group_by.contains(name) {
            faults.add(&place, "rows of a group have the same value in it", "leave it out");
        }
        if value.trim().is_empty() || value.contains(';') {
            faults.add(&place, "this is no expression", "write an aggregate: `clicks: sum(clicks)`");
        }
    }
}

fn clear((name, at): (&str, &str), time_column: &str, around: &Around<'_>, faults: &mut Faults) {
    column(name, at, around, faults);
    let in_key = around
        .order_by
        .iter()
        .any(|key| super::super::expression::columns(key).iter().any(|one| one == name));
    if in_key || name == time_column {
        faults.add(at, format!("`{name}` is part of a key or the time itself"), "clear another column");
    }
}

fn floor(min_retention: Option<Span>, rules: &[Rule], faults: &mut Faults) {
    let Some(min) = min_retention else { return };
    for rule in rules.iter().filter(|rule| rule.action.destroys() && rule.after < min) {
        faults.add(
            "lifecycle.min_retention",
            format!("`{rule}` acts before {min}"),
            "let it act later; lowering the floor is a decision of its own",
        );
    }
}
