//! A changed configuration or table file taken over without a restart: on SIGHUP, when somebody asks, or when a file has
//! changed.
//!
//! Refuses to leave the group, and to take over a part of what is wrong: everything is read and checked as at start,
//! and on any fault what was there before stays in force. What cannot change while the line runs keeps its value and
//! is named in the log. [`live`], [`changed`] and [`merge`] do no I/O.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::{Error, connect, levels, tables};
use crate::clickhouse::Client;
use crate::config::{Config, Inputs, Loaded, check_sources, load};
use crate::decode::Decoder;
use crate::pipeline::config::Delivery;
use crate::pipeline::resolve_topics;
use crate::pipeline::update::{Control, Update};
use crate::schema::Table;
use crate::schema::model::Source;
use crate::telemetry::control::Reply;
use crate::telemetry::health::{Health, Status};
use crate::telemetry::metrics::METRICS;
use crate::units::Secret;

/// Files of one folder that are watched.
const FILES_MAX: usize = 10_000;
const COMPONENT: &str = "configuration";

/// What each watched file was like.
type Stamps = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// What a process was started with, watched from then on.
pub struct Reload {
    inputs: Inputs,
    /// In force.
    loaded: Loaded,
    hangups: Signal,
    /// As they were when they were last read, and when they were last looked at.
    read: Stamps,
    seen: Stamps,
}

/// What is changed with.
pub struct Line {
    pub control: Control,
    pub client: Client,
    pub health: Health,
    /// In force.
    pub tables: Vec<Arc<Table>>,
}

/// What came of the new tables.
#[derive(Debug, Default)]
struct Merged {
    /// To be in force; those that have not changed are the same as before.
    tables: Vec<Arc<Table>>,
    changed: Vec<String>,
    needs_restart: Vec<String>,
}

impl Reload {
    /// From here on SIGHUP no longer ends the process.
    pub fn new(inputs: &Inputs, loaded: &Loaded) -> Result<Reload, Error> {
        let hangups = signal(SignalKind::hangup()).map_err(|error| Error::Failed(error.into()))?;
        let read = stamps(inputs.file.as_deref(), &loaded.config.tables.path);
        Ok(Reload { inputs: inputs.clone(), loaded: loaded.clone(), hangups, seen: read.clone(), read })
    }

    /// Takes changes over for ever. Cancel-safe between two changes.
    pub async fn run(mut self, mut line: Line, mut asked: mpsc::Receiver<oneshot::Sender<Reply>>) {
        loop {
            let reload = self.loaded.config.reload.clone();
            tokio::select! {
                Some(()) = self.hangups.recv() => drop(self.take_over(&mut line).await),
                Some(reply) = asked.recv() => {
                    let said = self.take_over(&mut line).await;
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(said);
                }
                () = tokio::time::sleep(reload.interval.0) => {
                    if reload.watch && self.has_changed().await {
                        drop(self.take_over(&mut line).await);
                    }
                }
            }
        }
    }

    /// Whether the files differ from those that were read, and somebody is not just writing them.
    async fn has_changed(&mut self) -> bool {
        let now = self.stamps().await;
        let is_settled = now == self.seen;
        self.seen = now;
        is_settled && self.seen != self.read
    }

    async fn stamps(&self) -> Stamps {
        let (file, tables) = (self.inputs.file.clone(), self.loaded.config.tables.path.clone());
        let looked = tokio::task::spawn_blocking(move || stamps(file.as_deref(), &tables)).await;
        looked.unwrap_or_default()
    }

    async fn take_over(&mut self, line: &mut Line) -> Reply {
        self.read = self.stamps().await;
        self.seen.clone_from(&self.read);
        let (outcome, status) = match self.reload(line).await {
            Ok(true) => ("ok", Status::Ok),
            Ok(false) => ("unchanged", Status::Ok),
            Err(error) => {
                let (Error::WrongUse(error)
                | Error::Unreachable(error)
                | Error::Locked(error)
                | Error::Failed(error)) = error;
                let reason = format!("{error:#}");
                tracing::error!("the new configuration is refused and the old one stays in force: {reason}");
                let reason: Vec<&str> = reason.split_whitespace().collect();
                let reason = reason.join(" ");
                (
                    "refused",
                    Status::Degraded(format!(
                        "the last reload was refused, the old one is in force: {reason}"
                    )),
                )
            }
        };
        METRICS.config_reloads.with_label_values(&[outcome]).inc();
        let said = match (&status, outcome) {
            (Status::Degraded(why) | Status::Down(why), _) => Reply::refused(why.as_str()),
            (Status::Ok, "unchanged") => Reply::done("nothing has changed"),
            (Status::Ok, _) => Reply::done("what has changed is in force"),
        };
        METRICS.reload_ok.set(i64::from(outcome != "refused"));
        line.health.set_component(COMPONENT, status);
        said
    }

    /// Reads, checks and applies; says whether anything has changed.
    async fn reload(&mut self, line: &mut Line) -> Result<bool, Error> {
        let (inputs, old) = (self.inputs.clone(), self.loaded.config.clone());
        let read = tokio::task::spawn_blocking(move || read(&inputs, &old)).await;
        let (mut loaded, tables) = read.map_err(|error| Error::Failed(error.into()))??;
        let old = &self.loaded.config;
        let config = live(old, &loaded.config);
        let written = std::mem::replace(&mut loaded.config, config);
        let config = &loaded.config;
        check(&written, &tables).await?;
        let merged = merge(&line.tables, &tables);
        let moves = config.clickhouse.endpoints != old.clickhouse.endpoints;
        let newcomers = newcomers(old, config).await?;
        let stay = config.clickhouse.endpoints.iter().any(|url| old.clickhouse.endpoints.contains(url));
        let is_news_to_known = (stay && !merged.changed.is_empty()) || (moves && newcomers.is_none());
        let known = is_news_to_known.then(|| line.client.clone());
        for client in known.into_iter().chain(newcomers) {
            tables::check_live(config, &client, &merged.tables).await?;
            if config.delivery == Delivery::ExactlyOnce {
                levels::exactly_once(config, &client, &merged.tables, &line.health).await?;
            }
        }
        for key in changed(config, &written).iter().chain(&merged.needs_restart) {
            tracing::warn!(%key, "it has changed but needs a restart; the old value stays in force");
        }
        let changes: Vec<_> = changed(old, config).into_iter().chain(merged.changed).collect();
        if changes.is_empty() {
            return Ok(false);
        }
        if moves {
            line.client.set_endpoints(&config.clickhouse.endpoints)?;
        }
        line.tables.clone_from(&merged.tables);
        line.control.apply(Update {
            limits: config.limits.clone(),
            batch: config.batch.clone(),
            ceiling: config.dead_letter.ceiling.clone(),
            decode: config.decode.clone(),
            tables: merged.tables,
        });
        tell_in_force(&loaded);
        tracing::info!(changes = %changes.join(", "), "the new configuration is in force");
        self.loaded = loaded;
        Ok(true)
    }
}

/// Tells metrics which configuration is in force from now on.
pub(super) fn tell_in_force(loaded: &Loaded) {
    METRICS.config_info.reset();
    METRICS.config_info.with_label_values(&[&loaded.fingerprint()]).set(1);
    for outcome in ["ok", "refused", "unchanged"] {
        METRICS.config_reloads.with_label_values(&[outcome]);
    }
    METRICS.reload_ok.set(1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    METRICS.reload_time.set(now.as_secs_f64());
}

/// A client of the servers that were not used before, one of which has answered; none if there is no such server.
async fn newcomers(old: &Config, new: &Config) -> Result<Option<Client>, Error> {
    let mut config = new.clone();
    config.clickhouse.endpoints.retain(|url| !old.clickhouse.endpoints.contains(url));
    match config.clickhouse.endpoints.is_empty() {
        true => Ok(None),
        false => connect(&config).await.map(Some),
    }
}

/// The configuration and the table files; the faults of both are told at once.
fn read(inputs: &Inputs, old: &Config) -> Result<(Loaded, Vec<Arc<Table>>), Error> {
    let loaded = load(inputs);
    let tables = tables::load_to_fill(loaded.as_ref().map_or(old, |loaded| &loaded.config));
    match (loaded, tables) {
        (Ok(loaded), tables) => Ok((loaded, tables?)),
        (Err(error), Err(Error::WrongUse(other))) => {
            Err(Error::WrongUse(anyhow::anyhow!("{error}\n{other:#}")))
        }
        (Err(error), _) => Err(Error::WrongUse(error.into())),
    }
}

/// What the start would refuse, but for what is asked of ClickHouse.
async fn check(config: &Config, tables: &[Arc<Table>]) -> Result<(), Error> {
    let topics = tables.iter().flat_map(|table| table.topics.iter().map(String::as_str));
    let faults = check_sources(config, topics.filter(|topic| !topic.starts_with('^')));
    if !faults.is_empty() {
        return Err(Error::WrongUse(crate::config::Error { faults }.into()));
    }
    let wrong = tables.iter().filter_map(|table| {
        let error = Decoder::new(Arc::clone(table), &config.decode).err()?;
        Some(format!("table `{}`: {error}", table.name))
    });
    let wrong: Vec<_> = wrong.collect();
    if !wrong.is_empty() {
        return Err(Error::WrongUse(anyhow::anyhow!("{}", wrong.join("\n"))));
    }
    resolve_topics(&config.kafka, &config.dead_letter, tables).await?;
    Ok(())
}

/// `old` with everything of `new` that can change while the line runs.
fn live(old: &Config, new: &Config) -> Config {
    let mut config = old.clone();
    config.clickhouse.endpoints.clone_from(&new.clickhouse.endpoints);
    config.limits = new.limits.clone();
    config.decode = new.decode.clone();
    config.reload = new.reload.clone();
    config.dead_letter.ceiling = new.dead_letter.ceiling.clone();
    config.batch = new.batch.clone();
    config.batch.partition_keys_max = old.batch.partition_keys_max;
    config.batch.pressure.enabled = old.batch.pressure.enabled;
    config.batch.pressure.interval = old.batch.pressure.interval;
    config
}

/// The keys whose values differ, secrets too.
fn changed(old: &Config, new: &Config) -> Vec<String> {
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &value(old), &value(new), &mut found);
    let secrets = [
        ("clickhouse.password", &old.clickhouse.password, &new.clickhouse.password),
        ("kafka.security.password", &old.kafka.security.password, &new.kafka.security.password),
    ];
    let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    for (path, old, new) in secrets {
        if text(old) != text(new) && !found.iter().any(|known| known == path) {
            found.push(path.to_owned());
        }
    }
    found.sort();
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let value = |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                compare(&path, &value(before), &value(after), found);
            }
        }
        (old, new) if old != new => found.push(path.to_owned()),
        _ => {}
    }
}

/// The tables in force, with the new rules of those whose rules alone have changed.
fn merge(old: &[Arc<Table>], new: &[Arc<Table>]) -> Merged {
    let name = |table: &Table| (table.database.clone(), table.name.clone());
    let mut merged = Merged::default();
    for table in old {
        let kept = match new.iter().find(|other| name(other) == name(table)) {
            None => Err("is gone"),
            Some(other) if fixed(other) != fixed(table) => Err(
                "has other topics, another engine, order or partitioning, other `subject_columns`, or other columns for topic, partition or offset",
            ),
            Some(other) => Ok(other),
        };
        match kept {
            Ok(other) if !is_same(table, other) => {
                merged.changed.push(format!("table `{}`", table.name));
                merged.tables.push(Arc::clone(other));
                continue;
            }
            Ok(_) => {}
            Err(why) => merged.needs_restart.push(format!("table `{}` {why}", table.name)),
        }
        merged.tables.push(Arc::clone(table));
    }
    let added = new.iter().filter(|table| old.iter().all(|other| name(other) != name(table)));
    merged.needs_restart.extend(added.map(|table| format!("table `{}` is new", table.name)));
    merged
}

/// What of a table the line relies on: where its records come from, how its rows are found again, and whether it has to
/// know who was erased.
fn fixed(table: &Table) -> String {
    let meta = table.columns.iter().filter(|column| matches!(column.source, Source::Meta(_)));
    let meta: Vec<_> = meta.map(|column| (&column.name, &column.source, &column.ty)).collect();
    format!(
        "{:?}",
        (&table.topics, &table.engine, &table.order_by, &table.partition_by, &table.subject_columns, meta)
    )
}

/// A JSON Schema document that was not compiled as a whole cannot be compared, and counts as changed.
fn is_same(one: &Table, other: &Table) -> bool {
    one.residual.is_none() && other.residual.is_none() && format!("{one:?}") == format!("{other:?}")
}

/// What the files are like now: the configuration file, and those of the folders of tables.
fn stamps(file: Option<&Path>, tables: &Path) -> Stamps {
    let mut paths: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
    match tables.is_dir() {
        true => {
            for entry in entries(tables) {
                paths.extend(entries(&entry));
                paths.push(entry);
            }
        }
        // A JSON Schema document lies beside its table file.
        false => paths.extend(entries(tables.parent().unwrap_or(Path::new("")))),
    }
    paths.retain(|path| path.is_file());
    let stamp = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok();
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        (path, modified, metadata.map_or(0, |metadata| metadata.len()))
    };
    paths.into_iter().map(stamp).collect()
}

/// The YAML and JSON files and the folders within; nothing of what is no folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.take(FILES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
    let is_ours = |path: &PathBuf| {
        path.extension().is_none_or(|extension| ["yaml", "yml", "json"].iter().any(|ours| extension == *ours))
    };
    let mut paths: Vec<_> = paths.filter(is_ours).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::config::Rate;
    use crate::units::Span;

    fn table(text: &str) -> Arc<Table> {
        Arc::new(crate::schema::parse_table(text, Path::new("t.yaml")).unwrap())
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let old = Config::default();
        let mut new = old.clone();
        assert_eq!(changed(&old, &new), [""; 0]);
        new.limits.tables.insert("t".to_owned(), Rate { records_per_second: 5 });
        new.batch.rows_max = 7;
        new.clickhouse.endpoints = vec!["http://other:8123".to_owned()];
        new.batch.pressure.interval = Span::secs(9);
        new.dead_letter.ceiling.percent_max = 3;
        new.kafka.group = "other".to_owned();
        new.clickhouse.password = Some(Secret::new("hunter2"));
        let config = live(&old, &new);
        assert_eq!(
            changed(&old, &config),
            ["batch.rows_max", "clickhouse.endpoints", "dead_letter.ceiling.percent_max", "limits.tables.t"]
        );
        assert_eq!(changed(&config, &new), ["batch.pressure.interval", "clickhouse.password", "kafka.group"]);
        let mut other = new.clone();
        other.clickhouse.password = Some(Secret::new("hunter3"));
        assert_eq!(changed(&new, &other), ["clickhouse.password"], "though both are printed alike");
    }

    #[test]
    fn rules_of_tables_change_and_where_records_come_from_does_not() {
        let text = |name: &str, topic: &str, extra: &str| {
            table(&format!(
                "table: {name}\ntopics: [{topic}]\norder_by: []\ncolumns:\n- {{name: n, type: UInt8}}\n{extra}"
            ))
        };
        let old = [text("a", "a", ""), text("b", "b", ""), text("c", "c", "")];
        let new = [
            text("a", "a", "- {name: m, type: UInt8}\n"),
            text("b", "other", "- {name: m, type: UInt8}\n"),
            text("c", "c", ""),
            text("d", "d", ""),
        ];
        let merged = merge(&old, &new);
        assert_eq!(merged.changed, ["table `a`"]);
        assert!(merged.needs_restart[0].starts_with("table `b` has other topics"), "{merged:?}");
        assert_eq!(merged.needs_restart[1..], ["table `d` is new"]);
        assert!(Arc::ptr_eq(&merged.tables[0], &new[0]));
        assert!(Arc::ptr_eq(&merged.tables[1], &old[1]) && Arc::ptr_eq(&merged.tables[2], &old[2]));
        assert_eq!(merge(&old, &new[1..3]).needs_restart[0], "table `a` is gone");
    }

    #[test]
    fn a_written_table_file_shows() {
        let folder = tempfile::TempDir::new().unwrap();
        let (file, tables) = (folder.path().join("penstock.yaml"), folder.path().join("tables"));
        std::fs::create_dir_all(tables.join("t")).unwrap();
        std::fs::write(tables.join("t/table.yaml"), "one").unwrap();
        let before = stamps(Some(&file), &tables);
        assert_eq!(before.len(), 1);
        assert_eq!(before, stamps(Some(&file), &tables));
        std::fs::write(tables.join("t/table.yaml"), "three").unwrap();
        assert_ne!(before, stamps(Some(&file), &tables));
        std::fs::write(&file, "").unwrap();
        assert_eq!(stamps(Some(&file), &tables).len(), 2);
    }
}
