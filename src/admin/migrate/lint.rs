//! What is unwise in migration files, before anything is run.
//!
//! Refuses to reach a server: it reads the files. Faults stop `up` as well; warnings are advice.

use serde::Serialize;

use super::files::{Folder, Kind, Migration};
use super::pragma::Target;
use super::script::{self, Statement};
use super::statement::{Effect, Reading, What};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// `up` refuses it.
    Fault,
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    pub file: String,
    pub line: usize,
    pub level: Level,
    /// A stable name.
    pub rule: &'static str,
    pub message: String,
}

type Told = (Level, &'static str, String);

/// Everything that is to be said of the folder, in the order of its files.
pub fn lint(folder: &Folder, target: Target, endpoints: usize) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for migration in &folder.migrations {
        let told = |line, (level, rule, message)| Remark {
            file: migration.file.clone(),
            line,
            level,
            rule,
            message,
        };
        if migration.key.kind == Kind::Versioned && migration.down.is_none() {
            let message = "has no down file, so `penstock migrate down` cannot take it back".to_owned();
            remarks.push(told(1, (Level::Warning, "no_down", message)));
        }
        for statement in &migration.up.statements {
            let reading = &statement.reading;
            let runs_on_all = statement.pragmas.target.unwrap_or(target) == Target::All && endpoints > 1;
            let has_verify = migration.up.verify_of(statement).is_some();
            let all = danger(statement, reading)
                .into_iter()
                .chain(repetition(migration, reading, has_verify))
                .chain(definition(statement, reading))
                .chain(reach(reading, runs_on_all));
            remarks.extend(all.map(|one| told(statement.line, one)));
        }
    }
    remarks
}

fn danger(statement: &Statement, reading: &Reading) -> Option<Told> {
    let undeclared =
        reading.dangers().into_iter().find(|danger| !statement.pragmas.danger.contains(danger))?;
    let name = undeclared.name();
    Some((
        Level::Fault,
        "undeclared_danger",
        format!("removes something and does not say so; put `-- penstock: danger={name}` above it"),
    ))
}

fn repetition(migration: &Migration, reading: &Reading, has_verify: bool) -> Option<Told> {
    let warn = |rule, message: &str| Some((Level::Warning, rule, message.to_owned()));
    if migration.key.kind == Kind::Repeatable && !reading.is_repeatable() {
        return warn(
            "not_repeatable",
            "is run again whenever the file changes, and a second time would fail or do harm",
        );
    }
    match &reading.effect {
        Effect::Create { guarded: false, .. } => warn(
            "no_if_not_exists",
            "has no IF NOT EXISTS; fine for a first run, not after one outside of the journal",
        ),
        Effect::Drop { guarded: false, .. } => warn("no_if_exists", "has no IF EXISTS"),
        Effect::Insert(_) if !has_verify => warn(
            "insert_without_verify",
            "inserts rows without a `verify=SELECT …`; after a crash only the server's query log can tell whether it did",
        ),
        _ => None,
    }
}

fn definition(statement: &Statement, reading: &Reading) -> Vec<Told> {
    let tokens = script::significant(&statement.text);
    let has = |words: [&str; 2]| {
        tokens
            .windows(2)
            .any(|two| matches!(two, [one, two] if one.is_word(words[0]) && two.is_word(words[1])))
    };
    let mut told = Vec::new();
    let mut warn = |rule, message: &str| told.push((Level::Warning, rule, message.to_owned()));
    match &reading.effect {
        Effect::Create { what: What::Table, .. } => {
            let is_merge_tree = tokens.iter().any(|token| token.text.ends_with("MergeTree"));
            if tokens.iter().any(|token| token.is_word("allow_nullable_key")) {
                warn("nullable_key", "lets NULL into the sorting key, where it costs reads");
            }
            if is_merge_tree && !tokens.iter().any(|token| token.is_word("TTL")) {
                warn("no_ttl", "keeps its rows for ever; say so by a policy, or give it a TTL");
            }
        }
        Effect::Create { what: What::View, .. } if tokens.iter().any(|token| token.is_word("POPULATE")) => {
            warn("populate", "loses rows that are inserted while POPULATE runs");
        }
        Effect::Alter { commands, .. } => {
            if commands.iter().any(|command| command.action == "MODIFY ORDER BY") {
                warn(
                    "order_by",
                    "changes the sorting key, which only columns added in the same statement may join",
                );
            }
            if commands.iter().any(|command| matches!(command.action, "UPDATE" | "DELETE")) {
                warn(
                    "mutation",
                    "goes through every part of the table in the background; `plan` tells how many bytes",
                );
            }
            if commands.iter().any(|command| command.action.is_empty()) {
                warn("unknown_alter", "is an ALTER whose effect is not known here");
            }
            if has(["MODIFY", "TTL"])
                && !statement.pragmas.settings.contains_key("materialize_ttl_after_modify")
            {
                warn(
                    "ttl_rewrite",
                    "rewrites every part at once; `settings={materialize_ttl_after_modify=0}` leaves old parts",
                );
            }
        }
        _ => {}
    }
    told
}

fn reach(reading: &Reading, runs_on_all: bool) -> Option<Told> {
    match &reading.effect {
        Effect::Insert(_) if runs_on_all => Some((
            Level::Warning,
            "insert_on_all",
            "inserts the rows on every endpoint; into a replicated table once is enough: `target=one`"
                .to_owned(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_case() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "V1__a.sql",
            "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x SETTINGS allow_nullable_key = 1;\nDROP TABLE u;",
        );
        write(
            "V2__b.sql",
            "ALTER TABLE t UPDATE x = 1 WHERE 1; ALTER TABLE t MODIFY TTL d; ALTER TABLE t MODIFY ORDER BY (x, y)",
        );
        write("V3__c.sql", "INSERT INTO t VALUES (1);\n-- penstock: danger=drop\nDROP TABLE IF EXISTS u");
        write("V3__c.down.sql", "SELECT 1");
        write("R__v.sql", "CREATE VIEW v AS SELECT 1");
        let remarks = lint(&Folder::read(folder.path()).unwrap(), Target::All, 2);
        let found: Vec<_> =
            remarks.iter().map(|one| format!("{}:{} {}", one.file, one.line, one.rule)).collect();
        let expected = [
            "V1__a.sql:1 no_down",
            "V1__a.sql:1 no_if_not_exists",
            "V1__a.sql:1 nullable_key",
            "V1__a.sql:1 no_ttl",
            "V1__a.sql:2 undeclared_danger",
            "V1__a.sql:2 no_if_exists",
            "V2__b.sql:1 no_down",
            "V2__b.sql:1 mutation",
            "V2__b.sql:1 ttl_rewrite",
            "V2__b.sql:1 order_by",
            "V3__c.sql:1 insert_without_verify",
            "V3__c.sql:1 insert_on_all",
            "R__v.sql:1 not_repeatable",
        ];
        assert_eq!(found, expected);
        assert_eq!(remarks.iter().filter(|one| one.level == Level::Fault).count(), 1);
    }
}
