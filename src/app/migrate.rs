//! `penstock migrate`: who asks, with which values, and what the answer says about its cause.
//!
//! Refuses to print. Migrations themselves are `admin::migrate`'s.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::ProgressBar;

use super::admin::{local_actor, places};
use super::progress::styled;
use super::{Error, connect, runtime, tables};
use crate::admin::command;
use crate::admin::migrate::{self, Migrator, Setup, Values, lint};
use crate::clickhouse::quote_identifier;
use crate::config::{Config, Inputs, Loaded};
use crate::faults::Faults;
use crate::schema::ddl;
use crate::schema::diff::Difference;
use crate::telemetry::logs;

pub use crate::admin::migrate::lint::{Level, Remark};
pub use crate::admin::migrate::pragma::Danger;
pub use crate::admin::migrate::state::Standing;
pub use crate::admin::migrate::{
    Cost, Drift, Event, Finding, Lease, Mark, Options, Planned, PlannedStatement, Report, Status, StatusLine,
    Verified,
};

impl From<migrate::Error> for Error {
    fn from(error: migrate::Error) -> Self {
        use migrate::Error as E;
        match error {
            E::ClickHouse(error) => error.into(),
            error @ E::Locked { .. } => Error::Locked(error.into()),
            error @ (E::Folder { .. }
            | E::Files(_)
            | E::NoMigration(_)
            | E::Ambiguous(_)
            | E::Values { .. }
            | E::Danger { .. }
            | E::Undeclared { .. }
            | E::NoDown(_)
            | E::PlanDiffers { .. }
            | E::Command(command::Error::Forbidden { .. })) => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

/// A migrator that has had an answer from ClickHouse, and the runtime that it lives on.
pub struct Session {
    migrator: Migrator,
    runtime: tokio::runtime::Runtime,
    bar: ProgressBar,
}

impl Session {
    pub fn open(inputs: &Inputs, loaded: &Loaded) -> Result<Session, Error> {
        let config = &loaded.config;
        logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
        let runtime = runtime()?;
        let bar = styled(ProgressBar::new_spinner(), "{spinner} {pos} statements {elapsed} {msg}");
        let migrator = runtime.block_on(async {
            connect(&without_database(config)).await?.close().await;
            let setup = Setup {
                clickhouse: &config.clickhouse,
                config: &config.migrations,
                actor: local_actor(&inputs.environment),
                values: Values::new(inputs.environment.clone()),
                faults: Faults::new(&config.faults),
                places: places(config)?,
                age_rules: tables::age_rules(config),
            };
            Ok::<Migrator, Error>(Migrator::new(setup)?)
        })?;
        let shown = bar.clone();
        let is_terminal = std::io::stderr().is_terminal();
        let observer = Arc::new(move |event: &Event| {
            if !is_terminal {
                let Event { file, statement, host, outcome, took_ms, note } = event;
                tracing::info!(file, statement, host, outcome = outcome.name(), took_ms, note, "migration");
            }
            shown.inc(1);
            shown.set_message(format!("{}, statement {} on {}", event.file, event.statement, event.host));
        });
        Ok(Session { migrator: migrator.observed(observer), runtime, bar })
    }

    /// Runs one verb to its end.
    fn wait<T>(&self, work: impl Future<Output = Result<T, migrate::Error>>) -> Result<T, Error> {
        let result = self.runtime.block_on(work);
        self.bar.finish_and_clear();
        Ok(result?)
    }

    pub fn status(&self) -> Result<Status, Error> {
        self.wait(self.migrator.status())
    }

    pub fn plan(&self, options: &Options) -> Result<Planned, Error> {
        self.wait(self.migrator.plan(options))
    }

    pub fn up(&self, options: &Options) -> Result<Report, Error> {
        self.wait(self.migrator.up(options))
    }

    pub fn down(&self, options: &Options) -> Result<Report, Error> {
        self.wait(self.migrator.down(options))
    }

    pub fn baseline(&self, to: &str) -> Result<Report, Error> {
        self.wait(self.migrator.baseline(to))
    }

    pub fn mark(&self, mark: &Mark) -> Result<Report, Error> {
        self.wait(self.migrator.mark(mark))
    }

    pub fn repair(&self) -> Result<Report, Error> {
        self.wait(self.migrator.repair())
    }

    pub fn verify(&self) -> Result<Vec<Verified>, Error> {
        self.wait(self.migrator.verify())
    }

    pub fn drift(&self) -> Result<Drift, Error> {
        self.wait(self.migrator.drift())
    }
}

/// The database may be what the first migration is still to make.
fn without_database(config: &Config) -> Config {
    let mut config = config.clone();
    config.clickhouse.database = "default".to_owned();
    config
}

/// What is unwise in the files; asks no server.
pub fn lint(config: &Config) -> Result<Vec<Remark>, Error> {
    let folder = migrate::files::Folder::read(&config.migrations.path)?;
    Ok(lint::lint(&folder, config.migrations.target, config.clickhouse.endpoints.len()))
}

/// Writes an empty migration with the time as its version, and a down file; gives their paths.
pub fn new(config: &Config, name: &str) -> Result<Vec<PathBuf>, Error> {
    let up = "-- What changes, and why. Pragmas are in docs/migrations.md.\n\n";
    let down = "-- Takes back what the file beside it does.\n\n";
    write(config, name, up, down)
}

fn write(config: &Config, name: &str, up: &str, down: &str) -> Result<Vec<PathBuf>, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(Error::WrongUse(anyhow::anyhow!(
            "`{name}` is no name of a migration\nhint: use letters, digits, `_` and `-`"
        )));
    }
    let folder = &config.migrations.path;
    let failed = |error: std::io::Error| {
        let context = format!("{} cannot be written\nhint: set migrations.path", folder.display());
        Error::WrongUse(anyhow::Error::new(error).context(context))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let stem = format!("V{}__{name}", chrono::Utc::now().format("%Y%m%dT%H%M%S"));
    let files = [(folder.join(format!("{stem}.sql")), up), (folder.join(format!("{stem}.down.sql")), down)];
    for (path, text) in &files {
        let file = std::fs::File::create_new(path).map_err(failed)?;
        std::io::Write::write_all(&mut &file, text.as_bytes()).map_err(failed)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// What `schema plan` found: statements that would bring the live tables to their table files.
#[derive(Debug)]
pub struct SchemaPlan {
    pub statements: Vec<String>,
    /// Differences that no statement mends.
    pub remarks: Vec<String>,
    /// The migration that was written.
    pub files: Vec<PathBuf>,
}

/// Compares table files with the live tables, and with a name writes what is missing as a migration.
pub fn schema_plan(config: &Config, names: &[String], migration: Option<&str>) -> Result<SchemaPlan, Error> {
    let all = tables::select(tables::load(config)?, names)?;
    let (mut statements, mut remarks, mut undo) = (Vec::new(), Vec::new(), Vec::new());
    for (table, comparison) in all.iter().zip(tables::diff(config, names)?) {
        let name = ddl::qualified(table);
        let Some(differences) = comparison.differences else {
            statements.push(ddl::create_table(table, true));
            undo.push(format!("-- penstock: danger=drop\nDROP TABLE IF EXISTS {name}"));
            continue;
        };
        for difference in differences {
            match &difference {
                Difference::MissingColumn { name: column, sql, .. } => {
                    let column = quote_identifier(column);
                    statements.push(sql.clone());
                    undo.push(format!("-- penstock: danger=drop\nALTER TABLE {name} DROP COLUMN {column}"));
                }
                Difference::TypeDiffers { name: column, live, sql, .. } => {
                    statements.push(sql.clone());
                    undo.push(format!(
                        "ALTER TABLE {name} MODIFY COLUMN {} {live}",
                        quote_identifier(column)
                    ));
                }
                other => remarks.push(format!("{}: {other}", table.name)),
            }
        }
    }
    let files = match migration {
        Some(name) if !statements.is_empty() => {
            let mut up: String = remarks.iter().map(|remark| format!("-- not mended: {remark}\n")).collect();
            up.extend(statements.iter().map(|sql| format!("{sql};\n\n")));
            let down: String = undo.iter().rev().map(|sql| format!("{sql};\n\n")).collect();
            write(config, name, &up, &down)?
        }
        _ => Vec::new(),
    };
    Ok(SchemaPlan { statements, remarks, files })
}

/// The names of dangers as somebody typed them.
pub fn dangers(texts: &[String]) -> Result<BTreeSet<Danger>, Error> {
    let parse = |text: &String| {
        let known = Danger::ALL.map(Danger::name).join(", ");
        Danger::parse(text)
            .ok_or_else(|| Error::WrongUse(anyhow::anyhow!("`{text}` is no danger\nhint: there are {known}")))
    };
    texts.iter().map(parse).collect()
}
