//! Drift: where the live tables are not what the migrations make, and the SQL that would bring them back.
//!
//! Refuses to repair by itself, and to count a TTL that comes from rules of age. Repairs of tables are proven: they are
//! run on a copy of the live definition in a scratch database, and count as proven only if the result is the one that is
//! wanted.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::definition::{Definition, Item, literal};
use super::error::Error;
use super::host::Host;
use super::journal::Direction;
use super::lock::Lock;
use super::migrator::Migrator;
use super::plan::Scope;
use super::pragma::Target;
use super::script;
use super::shadow::{Coverage, Scratch};
use crate::clickhouse::{quote_identifier, quote_string};
use crate::telemetry::metrics::METRICS;

/// One table, view or dictionary that is not as the migrations make it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    pub host: String,
    pub table: String,
    /// One sentence for each difference.
    pub differences: Vec<String>,
    pub sql: Vec<String>,
    /// The SQL was tried on a copy and gives what is wanted.
    pub proven: bool,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Drift {
    pub findings: Vec<Finding>,
    /// What the comparison could not cover.
    pub notes: Vec<String>,
}

type Definitions = BTreeMap<String, Definition>;

impl Migrator {
    /// Compares the live tables with those that the applied migrations make. Takes the lock, because what is compared
    /// must not move.
    ///
    /// # Errors
    /// See [`Error`]; differences are no error but the answer.
    pub async fn drift(&self) -> Result<Drift, Error> {
        let drift = self.locked(None, async |_: &Lock| self.compare().await).await?;
        let (metrics, none) = (&METRICS.upkeep, &[] as &[&str]);
        let count = i64::try_from(drift.findings.len()).unwrap_or(i64::MAX);
        metrics.drift.with_label_values(none).set(count);
        metrics.drift_compared.with_label_values(none).set(chrono::Utc::now().timestamp());
        Ok(drift)
    }

    async fn compare(&self) -> Result<Drift, Error> {
        let (folder, state, hosts) = (self.folder()?, self.state().await?, self.host_names());
        let scope = self.scope(&folder, &state, &hosts);
        scope.check()?;
        Scratch::sweep(self.first()?, &self.clickhouse.database).await?;
        let (wanted, copies) = (self.scratch().await?, self.scratch().await?);
        let result = Box::pin(self.compare_in(&scope, &wanted, &copies)).await;
        wanted.remove().await;
        copies.remove().await;
        result
    }

    async fn compare_in(
        &self,
        scope: &Scope<'_>,
        wanted: &Scratch,
        copies: &Scratch,
    ) -> Result<Drift, Error> {
        let (mut coverage, mut drift) = (Coverage::default(), Drift::default());
        let first = self.first()?.name.clone();
        for migration in scope.effective() {
            let settled = |number| {
                let latest = scope.latest(&migration.key, Direction::Up, number, &first);
                latest.is_some_and(|record| record.outcome.is_settled())
            };
            wanted.replay(migration, &self.values, settled, &mut coverage).await?;
        }
        let aged = (self.age_rules)().unwrap_or_else(|error| {
            coverage
                .notes
                .push(format!("which tables have rules of age, since their files have faults: {error}"));
            BTreeSet::new()
        });
        let expected = self.definitions(wanted.host(), &wanted.name, &aged).await?;
        for table in aged.iter().filter(|table| expected.contains_key(*table)) {
            coverage
                .notes
                .push(format!("the TTL of {table} has rules of age: see `penstock lifecycle drift`"));
        }
        let count = if self.config.target == Target::One { 1 } else { self.hosts.len() };
        for host in self.hosts.iter().take(count) {
            let live = self.definitions(host, &self.clickhouse.database, &aged).await?;
            for table in expected.keys().chain(live.keys()).collect::<BTreeSet<_>>() {
                let database = &self.clickhouse.database;
                if let Some((differences, sql)) =
                    differs(database, table, expected.get(table), live.get(table))
                {
                    let proven = match (expected.get(table), live.get(table)) {
                        (Some(want), Some(live)) if !sql.is_empty() => {
                            self.prove((copies, &aged), table, (live, want), &sql).await
                        }
                        _ => false,
                    };
                    let (host, table) = (host.name.clone(), table.clone());
                    drift.findings.push(Finding { host, table, differences, sql, proven });
                }
            }
        }
        drift.notes = coverage.notes;
        Ok(drift)
    }

    /// Whether the SQL turns the live table into the wanted one.
    async fn prove(
        &self,
        (copies, aged): (&Scratch, &BTreeSet<String>),
        table: &str,
        (live, want): (&Definition, &Definition),
        sql: &[String],
    ) -> bool {
        let name = quote_identifier(table);
        let attempt = async {
            copies.execute(&format!("DROP TABLE IF EXISTS {name} SYNC")).await?;
            copies.execute(&live.create).await?;
            for statement in sql {
                copies.execute(statement).await?;
            }
            let made = self.definitions(copies.host(), &copies.name, aged).await?;
            Ok::<bool, Error>(made.get(table).is_some_and(|made| made == want))
        };
        // What cannot be tried is not proven, and that is all there is to say.
        attempt.await.unwrap_or(false)
    }

    /// Every table of a database that is not penstock's own, not ignored and not inside of another one; those that are
    /// `aged` without their TTL, which `lifecycle drift` compares.
    async fn definitions(
        &self,
        host: &Host,
        database: &str,
        aged: &BTreeSet<String>,
    ) -> Result<Definitions, Error> {
        let sql = "SELECT name, create_table_query FROM system.tables WHERE database = {database:String} AND NOT is_temporary";
        let rows = host.client.query(sql, &[("database", json!(database))]).await?;
        let mut all = Definitions::new();
        for row in &rows.rows {
            let [Some(name), Some(create)] =
                [row.first(), row.get(1)].map(|value| value.and_then(|v| v.as_str()))
            else {
                return Err(Error::Answer("its tables".to_owned()));
            };
            if !is_own(name, &self.config.table)
                && !name.starts_with(".inner")
                && !self.config.is_ignored(name)
            {
                let parse =
                    if aged.contains(name) { Definition::parse_without_ttl } else { Definition::parse };
                all.insert(name.to_owned(), parse(create, database));
            }
        }
        Ok(all)
    }
}

/// Whether the table is penstock's own: the journal with what belongs to it, and all whose names were not chosen by
/// somebody else (holds, erasures, scratch tables).
fn is_own(name: &str, journal: &str) -> bool {
    let of_journal = |rest: &str| rest.is_empty() || rest == "_audit" || rest.starts_with("_lock_");
    name.starts_with("penstock_") || name.strip_prefix(journal).is_some_and(of_journal)
}

/// What differs and what would mend it; `None` where nothing does.
fn differs(
    database: &str,
    table: &str,
    want: Option<&Definition>,
    live: Option<&Definition>,
) -> Option<(Vec<String>, Vec<String>)> {
    let name = format!("{}.{}", quote_identifier(database), quote_identifier(table));
    match (want, live) {
        (Some(want), Some(live)) if want == live => None,
        (Some(want), Some(live)) => Some(repair(&name, want, live)),
        (Some(want), None) => Some((vec!["is missing".to_owned()], vec![want.create.clone()])),
        // That somebody's table is to go is not for a program to say.
        (None, Some(_)) => Some((vec!["comes from no migration".to_owned()], Vec::new())),
        (None, None) => None,
    }
}

/// What differs of one table, and the commands that mend it.
struct Repair<'a> {
    name: &'a str,
    want: &'a Definition,
    live: &'a Definition,
    differences: Vec<String>,
    sql: Vec<String>,
}

fn repair(name: &str, want: &Definition, live: &Definition) -> (Vec<String>, Vec<String>) {
    if want.clause("ENGINE").is_none() || live.clause("ENGINE").is_none() {
        return of_view(name, want);
    }
    let mut repair = Repair { name, want, live, differences: Vec::new(), sql: Vec::new() };
    // What hangs on columns goes before them and comes after them.
    let is_other = |one: &Definition, item: &Item| {
        item.what != "COLUMN" && one.item(item.what, &item.name) != Some(item)
    };
    for item in live.items.iter().filter(|item| is_other(want, item)) {
        let difference = format!("{} `{}` is too much or another", item.what.to_lowercase(), item.name);
        repair.alter(difference, &format!("DROP {} {}", item.what, quote_identifier(&item.name)));
    }
    repair.columns();
    for item in want.items.iter().filter(|item| is_other(live, item)) {
        let difference = format!("{} `{}` is missing", item.what.to_lowercase(), item.name);
        repair.alter(difference, &format!("ADD {} {}", item.what, item.text));
    }
    repair.clauses();
    let Repair { mut differences, sql, .. } = repair;
    if differences.is_empty() {
        differences.push("the order of its columns differs".to_owned());
    }
    differences.dedup();
    (differences, sql)
}

impl Repair<'_> {
    fn alter(&mut self, difference: String, command: &str) {
        self.differences.push(difference);
        self.sql.push(format!("ALTER TABLE {} {command}", self.name));
    }

    fn columns(&mut self) {
        let (want, live) = (self.want, self.live);
        let mut before = "FIRST".to_owned();
        for item in want.items.iter().filter(|item| item.what == "COLUMN") {
            match live.item("COLUMN", &item.name) {
                None => {
                    let difference = format!("column `{}` is missing", item.name);
                    self.alter(difference, &format!("ADD COLUMN {} {before}", item.text));
                }
                Some(found) if found.text != item.text => self.column(item, found),
                Some(_) => {}
            }
            before = format!("AFTER {}", quote_identifier(&item.name));
        }
        let is_surplus = |item: &&Item| item.what == "COLUMN" && want.item("COLUMN", &item.name).is_none();
        for item in live.items.iter().filter(is_surplus) {
            let command = format!("DROP COLUMN {}", quote_identifier(&item.name));
            self.alter(format!("column `{}` is too much", item.name), &command);
        }
    }

    fn column(&mut self, want: &Item, found: &Item) {
        let difference = format!("column is `{}` and not `{}`", found.text, want.text);
        // What is not written in MODIFY COLUMN stays as it was.
        for property in ["DEFAULT", "MATERIALIZED", "ALIAS", "CODEC", "TTL", "COMMENT"] {
            let has = |text: &str| script::significant(text).iter().any(|token| token.is_word(property));
            if has(&found.text) && !has(&want.text) {
                let command = format!("MODIFY COLUMN {} REMOVE {property}", quote_identifier(&want.name));
                self.alter(difference.clone(), &command);
            }
        }
        self.alter(difference, &format!("MODIFY COLUMN {}", want.text));
    }

    fn clauses(&mut self) {
        let (want, live) = (self.want, self.live);
        match (want.clause("TTL"), live.clause("TTL")) {
            (want, live) if want == live => {}
            (Some(want), _) => self.alter(format!("TTL is not {want}"), &format!("MODIFY TTL {want}")),
            (None, _) => self.alter("TTL is too much".to_owned(), "REMOVE TTL"),
        }
        let (wanted, found) = (want.settings(), live.settings());
        for (name, value) in wanted.iter().filter(|(name, value)| found.get(*name) != Some(value)) {
            let command = format!("MODIFY SETTING {name} = {value}");
            self.alter(format!("setting {name} is not {value}"), &command);
        }
        for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
            self.alter(format!("setting {name} is too much"), &format!("RESET SETTING {name}"));
        }
        if want.clause("COMMENT") != live.clause("COMMENT") {
            let comment = literal(want.clause("COMMENT").unwrap_or("''"));
            self.alter(
                "the comment differs".to_owned(),
                &format!("MODIFY COMMENT {}", quote_string(&comment)),
            );
        }
        for clause in ["ENGINE", "PARTITION BY", "PRIMARY KEY", "ORDER BY", "SAMPLE BY"] {
            let (want, live) = (want.clause(clause), live.clause(clause));
            if want != live {
                let (want, live) = (want.unwrap_or("nothing"), live.unwrap_or("nothing"));
                let difference = format!("{clause} is {live} and not {want}; only a new table can have that");
                self.differences.push(difference);
            }
        }
    }
}

fn of_view(name: &str, want: &Definition) -> (Vec<String>, Vec<String>) {
    let rest = |words: &str| want.create.strip_prefix(words).map(str::to_owned);
    let differences = vec!["is defined otherwise".to_owned()];
    if want.create.starts_with("CREATE MATERIALIZED VIEW")
        && let Some(query) = want.clause("AS")
    {
        return (differences, vec![format!("ALTER TABLE {name} MODIFY QUERY {query}")]);
    }
    let replaced =
        ["VIEW", "DICTIONARY"].into_iter().find_map(|what| Some((what, rest(&format!("CREATE {what} "))?)));
    let sql = replaced.map(|(what, rest)| format!("CREATE OR REPLACE {what} {rest}"));
    (differences, sql.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_penstock_itself_are_no_drift() {
        for name in ["j", "j_audit", "j_lock_7", "penstock_holds", "penstock_codec_0123"] {
            assert!(is_own(name, "j"), "{name}");
        }
        assert!(!is_own("j_other", "j") && !is_own("events", "j"));
    }

    #[test]
    fn repairs_say_what_differs() {
        let parse = |text: &str| Definition::parse(text, "db");
        let want = parse(
            "CREATE TABLE db.t (`a` Int32, `b` String, INDEX i b TYPE minmax GRANULARITY 1) ENGINE = MergeTree ORDER BY a TTL d SETTINGS x = 1",
        );
        let live = parse(
            "CREATE TABLE db.t (`a` Int64 CODEC(ZSTD(1)), `c` Int8) ENGINE = MergeTree ORDER BY (a, c) SETTINGS x = 2, y = 3 COMMENT 'q'",
        );
        let (differences, sql) = differs("db", "t", Some(&want), Some(&live)).unwrap();
        let expected = [
            "MODIFY COLUMN `a` REMOVE CODEC",
            "MODIFY COLUMN `a` Int32",
            "ADD COLUMN `b` String AFTER `a`",
            "DROP COLUMN `c`",
            "ADD INDEX i b TYPE minmax GRANULARITY 1",
            "MODIFY TTL d",
            "MODIFY SETTING x = 1",
            "RESET SETTING y",
            "MODIFY COMMENT ''",
        ];
        let expected: Vec<String> =
            expected.iter().map(|command| format!("ALTER TABLE `db`.`t` {command}")).collect();
        assert_eq!(sql, expected);
        assert!(
            differences.iter().any(|one| one.contains("ORDER BY is (a, c) and not a")),
            "{differences:?}"
        );
        assert!(differs("db", "t", Some(&want), Some(&want)).is_none());
        let view = parse("CREATE VIEW db.v (`x` Int8) AS SELECT x FROM db.t");
        let other = parse("CREATE VIEW db.v (`x` Int8) AS SELECT x + 1 AS x FROM db.t");
        let (_, sql) = differs("db", "v", Some(&view), Some(&other)).unwrap();
        assert_eq!(sql, ["CREATE OR REPLACE VIEW v (`x` Int8) AS SELECT x FROM t"]);
    }
}
