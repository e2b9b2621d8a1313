//! Pragmas: what a migration file says of itself in comments, as in `-- penstock: timeout=2h, danger=drop`.
//!
//! Refuses to carry them out. One that is not known is a fault: a mistyped `danger` must not be taken for prose.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::units::Span;

const MARK: &str = "penstock:";

/// Where a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// On every endpoint, one after the other.
    All,
    /// On the first endpoint only: for replicated databases, and for rows of replicated tables.
    One,
}

/// What somebody has to allow by name before it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    /// A table, view, database, column or partition is removed.
    Drop,
    /// Rows or values are removed.
    Delete,
    /// The file says that the line must not write to the table meanwhile.
    Blocking,
    /// A version below one that is applied already.
    OutOfOrder,
}

impl Danger {
    pub const ALL: [Danger; 4] = [Danger::Drop, Danger::Delete, Danger::Blocking, Danger::OutOfOrder];

    pub fn name(self) -> &'static str {
        match self {
            Danger::Drop => "drop",
            Danger::Delete => "delete",
            Danger::Blocking => "blocking",
            Danger::OutOfOrder => "out_of_order",
        }
    }

    pub fn parse(text: &str) -> Option<Danger> {
        Danger::ALL.into_iter().find(|danger| danger.name() == text)
    }
}

/// Everything that pragmas say of a file or of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pragmas {
    pub target: Option<Target>,
    pub timeout: Option<Span>,
    pub settings: BTreeMap<String, String>,
    /// A SELECT; nothing is run where it gives anything but 0.
    pub skip_if: Option<String>,
    /// A SELECT that gives 1 where it was carried out, and 0 where it was not.
    pub verify: Option<String>,
    pub danger: BTreeSet<Danger>,
}

impl Pragmas {
    /// Takes in what a comment says; of comments for people nothing.
    ///
    /// # Errors
    /// A pragma that is not known, or a value that is none, in a sentence.
    pub fn read(&mut self, comment: &str) -> Result<(), String> {
        let Some(line) = comment.strip_prefix("--") else { return Ok(()) };
        let Some(mut rest) = line.trim().strip_prefix(MARK).map(str::trim) else { return Ok(()) };
        while !rest.is_empty() {
            let (item, after) = split_item(rest);
            self.item(item.trim())?;
            rest = after.trim();
        }
        Ok(())
    }

    fn item(&mut self, item: &str) -> Result<(), String> {
        let (key, value) =
            item.split_once('=').map_or((item, None), |(key, value)| (key.trim(), Some(value.trim())));
        match (key, value) {
            ("target", Some("all")) => self.target = Some(Target::All),
            ("target", Some("one")) => self.target = Some(Target::One),
            ("target", _) => return Err("`target` is `all` or `one`".to_owned()),
            ("timeout", Some(span)) => {
                let span: Span = span.parse().map_err(|error: crate::units::Error| error.to_string())?;
                self.timeout = Some(span);
            }
            ("settings", Some(list)) => self.settings(list)?,
            ("skip_if", Some(sql)) => self.skip_if = Some(select(sql)?),
            ("verify", Some(sql)) => self.verify = Some(select(sql)?),
            ("blocking", None) => drop(self.danger.insert(Danger::Blocking)),
            ("danger", Some("drop")) => drop(self.danger.insert(Danger::Drop)),
            ("danger", Some("delete")) => drop(self.danger.insert(Danger::Delete)),
            ("danger", _) => return Err("`danger` is `drop` or `delete`".to_owned()),
            _ => {
                return Err(format!(
                    "`{key}` is no pragma; there are target=, timeout=, settings={{…}}, skip_if=, verify=, danger= \
                     and blocking"
                ));
            }
        }
        Ok(())
    }

    fn settings(&mut self, list: &str) -> Result<(), String> {
        let inside = list.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let inside = inside.ok_or("write settings={name=value, name=value}")?;
        for pair in inside.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("write settings={name=value, name=value}")?;
            let value = value.trim().trim_matches('\'');
            self.settings.insert(name.trim().to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// What holds for a statement of a file with these pragmas.
    pub fn within(&self, file: &Pragmas) -> Pragmas {
        let mut settings = file.settings.clone();
        settings.extend(self.settings.clone());
        Pragmas {
            target: self.target.or(file.target),
            timeout: self.timeout.or(file.timeout),
            settings,
            skip_if: self.skip_if.clone(),
            verify: self.verify.clone(),
            danger: self.danger.union(&file.danger).copied().collect(),
        }
    }
}

/// The first item, and what follows its comma. A SELECT takes the whole rest of its line.
fn split_item(text: &str) -> (&str, &str) {
    if text.starts_with("skip_if") || text.starts_with("verify") {
        return (text, "");
    }
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                return (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (text, "")
}

fn select(sql: &str) -> Result<String, String> {
    let sql = sql.trim().trim_end_matches(';').trim();
    let word = sql.split_whitespace().next().unwrap_or_default();
    match word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("with") {
        true => Ok(sql.to_owned()),
        false => Err("skip_if= and verify= take a SELECT, which is the rest of the line".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pragma_is_read() {
        let mut found = Pragmas::default();
        for line in [
            "-- for people: penstock: is not at the beginning",
            "/* penstock: blocking */",
            "--penstock: target=one, timeout=2h,settings={max_threads=1, x='y'}, danger=drop,blocking",
            "-- penstock: verify=SELECT count() = 1, 2 FROM t WHERE a = 'x'",
            "-- penstock: danger=delete, skip_if=SELECT 0;",
        ] {
            found.read(line).unwrap();
        }
        assert_eq!((found.target, found.timeout), (Some(Target::One), Some(Span::secs(7200))));
        assert_eq!(
            found.settings.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>(),
            ["max_threads:1", "x:y"]
        );
        assert_eq!(found.danger.iter().map(|d| d.name()).collect::<Vec<_>>(), ["drop", "delete", "blocking"]);
        assert_eq!(found.verify.as_deref(), Some("SELECT count() = 1, 2 FROM t WHERE a = 'x'"));
        assert_eq!(found.skip_if.as_deref(), Some("SELECT 0"));
    }

    #[test]
    fn what_is_mistyped_is_a_fault() {
        for line in [
            "dangre=drop",
            "danger=drops",
            "timeout=2",
            "target=some",
            "settings=a",
            "verify=1",
            "blocking=1",
        ] {
            let fault = Pragmas::default().read(&format!("-- penstock: {line}")).unwrap_err();
            assert!(!fault.is_empty(), "{line}");
        }
    }
}
