//! The journal: what was sent, when, by whom, and what came of it; one row for each change of state.
//!
//! Refuses to change or remove a row: what counts is the latest. Written under the lock only, which makes
//! its numbers ascend.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::Error;
use super::files::{Key, Kind, Version};
use crate::admin::rows::Keeping;
use crate::clickhouse::{self, Client, Rows};

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is about to be sent. If nothing follows, what became of it has to be found out.
    Sent,
    Done,
    Failed,
    /// `skip_if` said so.
    Skipped,
    /// Somebody says that it is done.
    Marked,
    /// It was not carried out: found out, or somebody says so.
    Undone,
}

impl Outcome {
    const ALL: [Outcome; 6] =
        [Outcome::Sent, Outcome::Done, Outcome::Failed, Outcome::Skipped, Outcome::Marked, Outcome::Undone];

    pub fn name(self) -> &'static str {
        match self {
            Outcome::Sent => "sent",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
            Outcome::Marked => "marked",
            Outcome::Undone => "undone",
        }
    }

    /// Whether nothing is left to do.
    pub fn is_settled(self) -> bool {
        matches!(self, Outcome::Done | Outcome::Skipped | Outcome::Marked)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }
}

/// A row of the journal. Times are texts of the server's clock in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    pub seq: u64,
    pub key: Key,
    pub name: String,
    pub file: String,
    pub direction: Direction,
    /// Counted from 1.
    pub statement: u32,
    /// How many of the file are run on this host.
    pub statements: u32,
    pub host: String,
    pub outcome: Outcome,
    pub query_id: String,
    pub started: String,
    pub finished: String,
    pub error: String,
    pub statement_sha256: String,
    pub file_sha256: String,
    pub actor: String,
    /// Number of the row whose place it takes; 0 for none.
    pub replaces: u64,
    /// How that was found out, or why somebody says so.
    pub note: String,
}

/// The columns, each with the type of its parameter.
const COLUMNS: [(&str, &str); 19] = [
    ("seq", "UInt64"),
    ("kind", "String"),
    ("version", "String"),
    ("key_name", "String"),
    ("name", "String"),
    ("file", "String"),
    ("direction", "String"),
    ("statement", "UInt32"),
    ("statements", "UInt32"),
    ("host", "String"),
    ("outcome", "String"),
    ("query_id", "String"),
    ("started", "String"),
    ("finished", "String"),
    ("error", "String"),
    ("statement_sha256", "String"),
    ("file_sha256", "String"),
    ("actor", "String"),
    ("note", "String"),
];

/// The journal's table on the first endpoint.
#[derive(Clone)]
pub struct Journal {
    client: Client,
    table: String,
    keeping: Keeping,
}

impl Journal {
    /// `table` as it stands in statements.
    pub fn new(client: Client, table: String, keeping: Keeping) -> Journal {
        Journal { client, table, keeping }
    }

    /// Makes the table unless it is there.
    pub async fn create(&self) -> Result<(), Error> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (
    seq UInt64,
    kind LowCardinality(String), version String, key_name String, name String, file String,
    direction LowCardinality(String), statement UInt32, statements UInt32, host LowCardinality(String),
    outcome LowCardinality(String), query_id String,
    started DateTime64(3, 'UTC'), finished Nullable(DateTime64(3, 'UTC')), error String,
    statement_sha256 String, file_sha256 String,
    server String DEFAULT version(), app LowCardinality(String), actor String,
    replaces UInt64, note String,
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
) ENGINE = {} ORDER BY (seq, host, statement)
COMMENT 'what penstock migrate has run; never changed, the latest row counts'",
            self.table,
            self.keeping.engine()
        );
        Ok(self.keeping.create(&self.client, &sql).await?)
    }

    /// Every row in order, those that another replica has too; none where there is no table yet.
    pub async fn read(&self) -> Result<Vec<Record>, Error> {
        self.keeping.catch_up(&self.client, &self.table).await?;
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "SELECT {}, ifNull(toString(finished), '') AS finished_at, replaces FROM {} ORDER BY seq, recorded_at",
            names.join(", ").replace("started, finished,", "toString(started), '',"),
            self.table
        );
        match self.client.query(&sql, &[]).await {
            Ok(rows) => records(&rows),
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a row. One that is written twice counts once, since both have one number.
    pub async fn write(&self, record: &Record) -> Result<(), Error> {
        let values = [
            json!(record.seq),
            json!(record.key.kind.name()),
            json!(record.key.version.to_string()),
            json!(record.key.name),
            json!(record.name),
            json!(record.file),
            json!(record.direction.name()),
            json!(record.statement),
            json!(record.statements),
            json!(record.host),
            json!(record.outcome.name()),
            json!(record.query_id),
            json!(record.started),
            json!(record.finished),
            json!(record.error),
            json!(record.statement_sha256),
            json!(record.file_sha256),
            json!(record.actor),
            json!(record.note),
        ];
        let app = json!(env!("CARGO_PKG_VERSION"));
        let mut params: Vec<(&str, Value)> = COLUMNS.iter().map(|(name, _)| *name).zip(values).collect();
        params.extend([("replaces", json!(record.replaces)), ("app", app)]);
        let selected: Vec<String> = COLUMNS
            .iter()
            .map(|(name, ty)| match *name {
                "started" => "parseDateTime64BestEffort({started:String}, 3, 'UTC')".to_owned(),
                "finished" => "parseDateTime64BestEffortOrNull({finished:String}, 3, 'UTC')".to_owned(),
                name => format!("{{{name}:{ty}}}"),
            })
            .collect();
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "INSERT INTO {} ({}, replaces, app) SELECT {}, {{replaces:UInt64}}, {{app:String}}",
            self.table,
            names.join(", "),
            selected.join(", ")
        );
        Ok(self.client.execute_idempotent(&sql, &params).await?)
    }
}

pub const UNKNOWN_TABLE: u32 = 60;
pub const UNKNOWN_DATABASE: u32 = 81;

/// Whether there is no such table, or not even its database.
pub fn is_missing(error: &clickhouse::Error) -> bool {
    error.is_missing()
}

fn records(rows: &Rows) -> Result<Vec<Record>, Error> {
    let mut all: Vec<Record> = Vec::new();
    for row in &rows.rows {
        let record = record(row).ok_or_else(|| Error::Answer(format!("a row of the journal: {row:?}")))?;
        // A row whose writing was repeated.
        if all.last() != Some(&record) {
            all.push(record);
        }
    }
    Ok(all)
}

fn record(row: &[Value]) -> Option<Record> {
    let text = |at: usize| row.get(at).and_then(Value::as_str).map(str::to_owned);
    let number = |at: usize| row.get(at).and_then(number);
    let outcome = text(10)?;
    let version = text(2)?;
    let version = if version.is_empty() { Version::default() } else { Version::parse(&version)? };
    Some(Record {
        seq: number(0)?,
        key: Key::new(Kind::parse(&text(1)?)?, version, &text(3)?),
        name: text(4)?,
        file: text(5)?,
        direction: if text(6)? == "down" { Direction::Down } else { Direction::Up },
        statement: u32::try_from(number(7)?).ok()?,
        statements: u32::try_from(number(8)?).ok()?,
        host: text(9)?,
        outcome: Outcome::ALL.into_iter().find(|one| one.name() == outcome)?,
        query_id: text(11)?,
        started: text(12)?,
        finished: text(19)?,
        error: text(14)?,
        statement_sha256: text(15)?,
        file_sha256: text(16)?,
        actor: text(17)?,
        note: text(18)?,
        replaces: number(20)?,
    })
}

/// A number as JSON has it: those of 64 bits are in quotes where the server is set so.
pub fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
