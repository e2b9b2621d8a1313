//! What becomes of a table's rows with age: deleted, moved, recompressed, rolled up, cleared column by column.
//!
//! Refuses to run anything and to know what is held: it prints the TTL that the rules stand for. Rules that were
//! resolved keep the table's own floor: none that destroys data acts before `min_retention`.

mod file;
mod live;

use std::fmt;

pub(super) use file::{Around, LifecycleFile, resolve};
pub use live::{plain, ttl_of};

use super::codec::Codec;
use super::print::{literal, name_as_printed};
use crate::units::Span;

/// The rules of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    pub time_column: String,
    /// Whether ages are counted from whole days.
    pub counts_days: bool,
    /// No rule that destroys data acts on rows that are younger.
    pub min_retention: Option<Span>,
    pub method: Method,
    /// In the order in which they are printed.
    pub rules: Vec<Rule>,
}

/// Who deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// ClickHouse, by the table's TTL, and `penstock lifecycle expire` before it.
    #[default]
    Ttl,
    /// `penstock lifecycle expire` alone: the table has no TTL that deletes.
    DropPartition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Age of a row from which it acts.
    pub after: Span,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Delete,
    MoveToVolume(String),
    MoveToDisk(String),
    Recompress(Codec),
    RollUp {
        group_by: Vec<String>,
        set: Vec<(String, String)>,
    },
    /// The column gets its default.
    Clear(String),
}

impl Action {
    /// Whether something is gone afterwards.
    pub fn destroys(&self) -> bool {
        matches!(self, Action::Delete | Action::RollUp { .. } | Action::Clear(_))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Delete => write!(f, "delete")?,
            Action::MoveToVolume(name) => write!(f, "move to volume `{name}`")?,
            Action::MoveToDisk(name) => write!(f, "move to disk `{name}`")?,
            Action::Recompress(codec) => write!(f, "recompress with {codec}")?,
            Action::RollUp { group_by, .. } => write!(f, "roll up by {}", group_by.join(", "))?,
            Action::Clear(column) => write!(f, "clear `{column}`")?,
        }
        write!(f, " after {}", self.after)
    }
}

impl Lifecycle {
    /// The rule that deletes whole rows, if there is one.
    pub fn delete(&self) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.action == Action::Delete)
    }

    /// When a time has that age, as an expression over an expression of the time column's type.
    pub fn due(&self, time: &str, after: Span) -> String {
        let time = if self.counts_days { time.to_owned() } else { format!("toDateTime({time})") };
        format!("{time} + {}", interval(after))
    }

    /// The table's TTL; with a hold on the table without the rules that destroy data. None if nothing is left.
    pub fn table_ttl(&self, held: bool) -> Option<String> {
        let time = name_as_printed(&self.time_column);
        let one = |rule: &Rule| {
            let due = self.due(&time, rule.after);
            Some(match &rule.action {
                _ if held && rule.action.destroys() => return None,
                Action::Clear(_) => return None,
                Action::Delete if self.method == Method::DropPartition => return None,
                Action::Delete => due,
                Action::MoveToVolume(name) => format!("{due} TO VOLUME {}", literal(name)),
                Action::MoveToDisk(name) => format!("{due} TO DISK {}", literal(name)),
                Action::Recompress(codec) => format!("{due} RECOMPRESS CODEC({codec})"),
                Action::RollUp { group_by, set } => {
                    let set: Vec<String> = set
                        .iter()
                        .map(|(column, value)| format!("{} = {value}", name_as_printed(column)))
                        .collect();
                    format!("{due} GROUP BY {} SET {}", group_by.join(", "), set.join(", "))
                }
            })
        };
        let all: Vec<String> = self.rules.iter().filter_map(one).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// The TTL of one column, under which it is cleared.
    pub fn column_ttl(&self, column: &str, held: bool) -> Option<String> {
        let clears = |rule: &&Rule| matches!(&rule.action, Action::Clear(name) if name == column);
        let rule = self.rules.iter().find(clears).filter(|_| !held)?;
        Some(self.due(&name_as_printed(&self.time_column), rule.after))
    }
}

fn interval(span: Span) -> String {
    let seconds = span.0.as_secs();
    let units = [("Day", 86_400), ("Hour", 3_600), ("Minute", 60)];
    match units.iter().find(|(_, size)| seconds.is_multiple_of(*size)) {
        Some((unit, size)) => format!("toInterval{unit}({})", seconds / size),
        None => format!("toIntervalSecond({seconds})"),
    }
}

#[cfg(test)]
mod tests;
