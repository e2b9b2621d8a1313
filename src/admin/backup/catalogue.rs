//! The catalogue: what happened to each backup, as a table that is only ever added to.
//!
//! Refuses to forget: a backup that is deleted stays known. How one stands is what its rows come to, in their order; rows
//! that are there twice say the same.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Backups;
use super::destination::is_id;
use super::entry::{Entries, Entry, Hold, State, Verification};
use super::error::Error;
use super::manifest::Manifest;
use crate::admin::desk::{self, Row, TableName};
use crate::admin::migrate::journal::is_missing;
use crate::admin::rows;

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The server is about to be told; what is not known yet is not in it.
    Began {
        manifest: Manifest,
    },
    Done {
        manifest: Manifest,
    },
    Failed {
        error: String,
    },
    Verified {
        verification: Verification,
    },
    Held {
        hold: Hold,
    },
    Released {
        reason: String,
    },
    Deleting,
    /// It is not deleted after all.
    Spared,
    Deleted {
        files_left: bool,
    },
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Event::Began { .. } => "began",
            Event::Done { .. } => "done",
            Event::Failed { .. } => "failed",
            Event::Verified { .. } => "verified",
            Event::Held { .. } => "held",
            Event::Released { .. } => "released",
            Event::Deleting => "deleting",
            Event::Spared => "spared",
            Event::Deleted { .. } => "deleted",
        }
    }
}

/// A row of it.
#[derive(Clone, Debug)]
struct Noted {
    id: String,
    at: DateTime<Utc>,
    event: Event,
}

/// What the rows come to. One of which nothing was heard for `silence` has failed.
fn fold(rows: Vec<Noted>, now: DateTime<Utc>, silence: std::time::Duration) -> Entries {
    let mut all: Vec<Entry> = Vec::new();
    for Noted { id, at, event } in rows {
        let index = all.iter().position(|entry| entry.id == id).unwrap_or_else(|| {
            all.push(fresh(id, at));
            all.len() - 1
        });
        if let Some(entry) = all.get_mut(index) {
            apply(entry, event);
        }
    }
    for entry in all.iter_mut().filter(|entry| entry.state == State::Running) {
        if (now - entry.at).to_std().unwrap_or_default() > silence {
            entry.state = State::Failed;
            entry.error = "nothing was heard of it".to_owned();
        }
    }
    all.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
    Entries(all)
}

fn fresh(id: String, at: DateTime<Utc>) -> Entry {
    Entry {
        id,
        at,
        state: State::Running,
        manifest: Manifest::default(),
        error: String::new(),
        verification: None,
        hold: None,
        files_left: false,
    }
}

fn apply(entry: &mut Entry, event: Event) {
    match event {
        Event::Began { manifest } => entry.manifest = manifest,
        Event::Done { manifest } => {
            entry.manifest = manifest;
            entry.state = State::Done;
        }
        Event::Failed { error } => {
            entry.state = State::Failed;
            entry.error = error;
        }
        Event::Verified { verification } => {
            // What was found damaged is only taken as sound again by as thorough a look.
            let outdone = entry.verification.as_ref().is_some_and(|last| {
                !last.findings.is_empty()
                    && verification.findings.is_empty()
                    && verification.level < last.level
            });
            if !outdone {
                entry.verification = Some(verification);
            }
        }
        Event::Held { hold } => entry.hold = Some(hold),
        Event::Released { .. } => entry.hold = None,
        Event::Deleting => entry.state = State::Deleting,
        Event::Spared => entry.state = State::Done,
        Event::Deleted { files_left } => {
            entry.state = State::Deleted;
            entry.files_left = files_left;
        }
    }
}

impl Backups {
    pub(super) fn catalogue(&self) -> TableName {
        self.desk.table(None, &self.config.table)
    }

    /// Every backup that was ever made, oldest first. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn entries(&self) -> Result<Entries, Error> {
        let sql = format!(
            "SELECT id, toUnixTimestamp64Micro(at), body FROM {} ORDER BY at, event",
            self.catalogue().sql()
        );
        let rows = match self.desk.rows(&sql, &[]).await {
            Ok(rows) => rows,
            // Nobody has made one yet.
            Err(desk::Error::ClickHouse(error)) if is_missing(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let rows = rows.iter().map(noted).collect::<Result<Vec<_>, _>>()?;
        let entries = fold(rows, Utc::now(), self.config.timeout.0);
        self.show(&entries);
        Ok(entries)
    }

    /// # Errors
    /// See [`Error`].
    pub async fn show_one(&self, id: &str) -> Result<Entry, Error> {
        Ok(self.entry(id).await?.1)
    }

    pub(super) async fn entry(&self, id: &str) -> Result<(Entries, Entry), Error> {
        let entries = self.entries().await?;
        let entry = entries.get(id).cloned().ok_or_else(|| Error::NoBackup(id.to_owned()))?;
        Ok((entries, entry))
    }

    pub(super) async fn create_catalogue(&self) -> Result<(), Error> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'), id String, \
             event LowCardinality(String), actor String, body String CODEC(ZSTD(3))) ENGINE = {} ORDER BY (at, id) \
             COMMENT 'what became of each backup that penstock made'",
            self.catalogue().sql(),
            self.desk.keeping.engine()
        );
        Ok(self.desk.keeping.create(&self.desk.client, &sql).await?)
    }

    pub(super) async fn note(&self, id: &str, event: &Event) -> Result<(), Error> {
        self.note_at(id, Utc::now(), event).await
    }

    pub(super) async fn note_at(&self, id: &str, at: DateTime<Utc>, event: &Event) -> Result<(), Error> {
        let body = serde_json::to_string(event).map_err(|error| Error::List(error.to_string()))?;
        let row = [
            ("at", "DateTime64(6, 'UTC')", json!(at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())),
            ("id", "String", json!(id)),
            ("event", "String", json!(event.name())),
            ("actor", "String", json!(self.desk.actor().to_string())),
            ("body", "String", json!(body)),
        ];
        Ok(rows::append(&self.desk.client, &self.catalogue().sql(), &row).await?)
    }
}

fn noted(row: &Row) -> Result<Noted, Error> {
    let wrong = |what: &str| Error::Desk(desk::Error::Answer(format!("a row of the catalogue: {what}")));
    let micros = i64::try_from(row.number(1)).ok().and_then(DateTime::from_timestamp_micros);
    let id = row.text(0);
    if !is_id(&id) {
        return Err(wrong("its id"));
    }
    let event = serde_json::from_str(&row.text(2)).map_err(|error| wrong(&error.to_string()))?;
    Ok(Noted { id, at: micros.ok_or_else(|| wrong("its time"))?, event })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::config::Level;
    use super::super::entry::tests::{at, verified};
    use super::*;

    fn noted(id: &str, hours: i64, event: Event) -> Noted {
        Noted { id: id.to_owned(), at: at(hours), event }
    }

    fn began() -> Event {
        Event::Began { manifest: Manifest::default() }
    }

    #[test]
    fn how_a_backup_stands_is_what_its_rows_come_to() {
        let done = || Event::Done { manifest: Manifest { bytes: 7, ..Manifest::default() } };
        let hold = Hold { reason: "case".to_owned(), until: None };
        let rows = vec![
            noted("b", 2, began()),
            noted("a", 1, began()),
            noted("a", 3, done()),
            noted("a", 3, done()),
            noted("a", 4, Event::Held { hold: hold.clone() }),
            noted("c", 5, began()),
            noted("c", 6, Event::Failed { error: "x".to_owned() }),
            noted("d", 7, done()),
            noted("d", 8, Event::Deleting),
            noted("e", 8, done()),
            noted("e", 8, Event::Deleting),
            noted("e", 8, Event::Deleted { files_left: true }),
        ];
        let all = fold(rows, at(9), Duration::from_secs(7200));
        let states: Vec<_> = all.0.iter().map(|entry| (entry.id.as_str(), entry.state)).collect();
        assert_eq!(
            states,
            [
                ("a", State::Done),
                ("b", State::Failed),
                ("c", State::Failed),
                ("d", State::Deleting),
                ("e", State::Deleted)
            ]
        );
        assert_eq!((all.0[0].manifest.bytes, &all.0[0].hold), (7, &Some(hold)));
        assert!(all.0[1].error.contains("nothing was heard") && all.0[4].has_files());
        let fresh = fold(vec![noted("b", 2, began())], at(3), Duration::from_secs(7200));
        assert_eq!(fresh.0[0].state, State::Running);
    }

    #[test]
    fn damage_is_only_taken_back_by_as_thorough_a_look() {
        let look = |level, findings: &[&str]| Event::Verified {
            verification: Verification { level, ..verified(findings).unwrap() },
        };
        let after = |events: Vec<Event>| {
            let mut rows = vec![noted("a", 0, Event::Done { manifest: Manifest::default() })];
            rows.extend(events.into_iter().map(|event| noted("a", 1, event)));
            fold(rows, at(2), Duration::from_secs(9999)).0[0].is_damaged()
        };
        assert!(after(vec![look(Level::Sample, &["x"]), look(Level::Files, &[])]));
        assert!(!after(vec![look(Level::Sample, &["x"]), look(Level::Restore, &[])]));
        assert!(after(vec![look(Level::Restore, &[]), look(Level::Files, &["x"])]));
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        for event in [began(), Event::Deleting, Event::Deleted { files_left: true }] {
            let text = serde_json::to_string(&event).unwrap();
            assert!(text.contains(event.name()), "{text}");
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
    }
}
