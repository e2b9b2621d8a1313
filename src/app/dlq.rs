//! `penstock dlq`: finds the dead-letter topics, and does what was asked for with their letters.
//!
//! Refuses to print and to ask: what would be done is given back before it is done. Everything that is long
//! shows a bar on a terminal, and ends at a signal.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use indicatif::ProgressBar;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::progress::styled;
use super::{Error, run, runtime, tables};
use crate::config::{Config, Loaded};
use crate::dead_letter::groups::Groups;
use crate::dead_letter::purge;
use crate::dead_letter::replay::{Replay, Scribe};
use crate::dead_letter::{Library, Watch};
use crate::kafka;
use crate::pipeline;
use crate::schema::Table;
use crate::schema::protect::HIDDEN;
use crate::telemetry::logs;

pub use crate::dead_letter::form;
pub use crate::dead_letter::groups::Group;
pub use crate::dead_letter::letter::HEADERS;
pub use crate::dead_letter::purge::Part;
pub use crate::dead_letter::replay::{Options, Outcome};
pub use crate::dead_letter::{Filter, Letter, State};
pub use crate::record::{Header, Offset, Partition, Position};

/// Letters found with one origin that are kept; more would be as many replays of one record.
const SAME_ORIGIN_MAX: usize = 100;

/// What table files hide, where dead letters are shown; with nothing known of them, all that could be hidden.
pub struct Curtain(Option<Vec<Arc<Table>>>);

impl Curtain {
    /// Without table files nothing is hidden. Those with faults are an error: what they hide is not known.
    pub fn new(config: &Config) -> Result<Curtain, Error> {
        match tables::present(&config.tables.path) {
            Ok(tables) => Ok(Curtain(Some(tables))),
            Err(error) => Err(Error::WrongUse(anyhow::anyhow!(
                "{error}\nhint: what the table hides is not known; --plain shows all of the letter"
            ))),
        }
    }

    /// For lists, which go on where table files have faults.
    pub fn draw_over(letters: &mut [Letter], config: &Config) {
        let curtain = Curtain::new(config).unwrap_or(Curtain(None));
        for letter in letters {
            curtain.draw(letter);
        }
    }

    /// Takes out of the letter what its table hides, and gives whether there was anything to take.
    pub fn draw(&self, letter: &mut Letter) -> bool {
        let hidden = || HIDDEN.as_bytes().to_vec();
        let table = match &self.0 {
            None => None,
            Some(tables) => match tables.iter().find(|table| table.name == letter.table && table.hides()) {
                None => return false,
                found => found,
            },
        };
        if table.is_none_or(|table| table.hides_key()) {
            letter.key = letter.key.as_ref().map(|_| hidden());
        }
        // What is no object may hold the value anywhere.
        let shown =
            |payload: &Vec<u8>| table.and_then(|table| table.without_hidden(payload)).unwrap_or_else(hidden);
        letter.payload = letter.payload.as_ref().map(shown);
        true
    }
}

/// Opened dead-letter topics.
pub struct Session {
    library: Library,
    runtime: Runtime,
    kafka: kafka::Config,
    bar: ProgressBar,
}

/// Letters by signature, and how many had none of those told apart.
pub struct Grouped {
    pub groups: Vec<Group>,
    pub others: u64,
}

impl Session {
    /// Opens the dead-letter topic of one source topic, or those of all tables.
    pub fn open(loaded: &Loaded, topic: Option<&str>) -> Result<Session, Error> {
        Session::with(loaded, |config| match topic {
            Some(topic) => Ok(vec![config.dead_letter.topic_for(topic)]),
            None => dead_letter_topics(config),
        })
    }

    /// Opens the topic that a letter lies in.
    pub fn open_at(loaded: &Loaded, position: &Position) -> Result<Session, Error> {
        Session::with(loaded, |_| Ok(vec![position.source.topic.to_string()]))
    }

    fn with(
        loaded: &Loaded,
        topics: impl FnOnce(&Config) -> Result<Vec<String>, Error>,
    ) -> Result<Session, Error> {
        let config = &loaded.config;
        logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
        let runtime = runtime()?;
        let cancel = CancellationToken::new();
        runtime.block_on(async { run::stop_on_signals(&cancel) })?;
        let bar = bar();
        let shown = bar.clone();
        let progress = Arc::new(move |progress: kafka::scan::Progress| {
            shown.set_length(progress.total);
            shown.set_position(progress.read);
        });
        let library = Library::open(&config.kafka, &topics(config)?, Watch { cancel, progress })?;
        Ok(Session { library, runtime, kafka: config.kafka.clone(), bar })
    }

    /// The newest letters that are meant, newest last, and how many there are.
    pub fn list(&self, filter: &Filter, limit: usize) -> Result<(Vec<Letter>, u64), Error> {
        let found = self.library.newest(filter, limit, 0)?;
        self.bar.finish_and_clear();
        Ok(found)
    }

    /// The first `limit` letters that are meant, by what they have in common.
    pub fn groups(&self, filter: &Filter, limit: u64) -> Result<Grouped, Error> {
        let (mut groups, mut left) = (Groups::default(), limit);
        self.library.read(filter, |letter| {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            groups.add(&letter);
            Ok(ControlFlow::Continue(()))
        })?;
        self.bar.finish_and_clear();
        Ok(Grouped { others: groups.others(), groups: groups.sorted() })
    }

    /// One letter by its own position.
    pub fn show(&self, position: &Position) -> Result<Letter, Error> {
        Ok(self.library.get(position)?)
    }

    /// The newest letter of the record at this position of its source topic, and how many there are.
    pub fn show_origin(&self, origin: &Position) -> Result<(Letter, u64), Error> {
        let filter = Filter {
            topic: Some(origin.source.topic.to_string()),
            partition: Some(origin.source.partition),
            offset: Some(origin.offset),
            ..Filter::default()
        };
        let (letters, found) = self.list(&filter, SAME_ORIGIN_MAX)?;
        let newest = letters.last().ok_or_else(|| {
            Error::WrongUse(anyhow::anyhow!(
                "no dead letter comes from {origin}\nhint: without --origin the position is that of the letter, as \
                 `penstock dlq list` prints it"
            ))
        })?;
        Ok((self.show(&newest.position)?, found))
    }

    /// What a replay would send, by what the letters have in common.
    pub fn plan_replay(&self, filter: &Filter, options: &Options) -> Result<Grouped, Error> {
        let state = (!options.again).then_some(State::Waiting);
        self.groups(&Filter { state, ..filter.clone() }, options.limit)
    }

    /// Replays; what was done is told also when it was not all.
    pub fn replay(&self, filter: &Filter, options: Options) -> Result<Outcome, Error> {
        let scribe = Scribe::new(&self.kafka, self.runtime.handle().clone())?;
        let mut replay = Replay::new(&self.library, scribe, options);
        let result = replay.run(filter);
        self.bar.finish_and_clear();
        let sent = replay.outcome.sent;
        match result.map_err(Error::from) {
            Ok(()) => Ok(replay.outcome),
            Err(Error::Failed(error)) => Err(Error::Failed(error.context(format!(
                "the replay did not come to its end; {sent} letters were sent\nhint: run it again, it goes on \
                 where it stood"
            )))),
            Err(other) => Err(other),
        }
    }

    pub fn plan_purge(&self, filter: &Filter) -> Result<Vec<Part>, Error> {
        let parts = purge::plan(&self.library, filter)?;
        self.bar.finish_and_clear();
        Ok(parts)
    }

    pub fn purge(&self, parts: &[Part]) -> Result<(), Error> {
        let scribe = Scribe::new(&self.kafka, self.runtime.handle().clone())?;
        Ok(purge::carry_out(&self.library, &scribe, parts)?)
    }
}

/// The dead-letter topic of a source topic that a table takes, or those of all tables.
pub(super) fn topics(config: &Config, topic: Option<&str>) -> Result<Vec<String>, Error> {
    let Some(topic) = topic else { return dead_letter_topics(config) };
    let existing = kafka::admin::topics(&config.kafka)?;
    match sources(config, &existing)?.iter().any(|(source, _)| source == topic) {
        true => Ok(vec![config.dead_letter.topic_for(topic)]),
        false => Err(Error::WrongUse(anyhow::anyhow!(
            "no table takes records of topic `{topic}`\nhint: name a topic of the table files"
        ))),
    }
}

/// The topics of all tables.
fn sources(config: &Config, existing: &[String]) -> Result<Vec<(String, usize)>, Error> {
    let tables = tables::load(config)?;
    let named = tables.iter().flat_map(|table| table.topics.iter().map(|topic| (topic.clone(), 0)));
    Ok(pipeline::expand(named.collect(), existing)?)
}

/// The dead-letter topics of all tables, as far as they exist.
fn dead_letter_topics(config: &Config) -> Result<Vec<String>, Error> {
    let existing = kafka::admin::topics(&config.kafka)?;
    let sources = sources(config, &existing)?;
    let wanted: BTreeSet<String> =
        sources.iter().map(|(topic, _)| config.dead_letter.topic_for(topic)).collect();
    let (found, missing): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|topic| existing.contains(topic));
    match (found.is_empty(), missing.into_iter().next()) {
        (true, Some(topic)) => Err(kafka::Error::MissingDeadLetterTopic { topic }.into()),
        _ => Ok(found),
    }
}

/// Hidden where the standard error is no terminal.
fn bar() -> ProgressBar {
    styled(ProgressBar::new(0), "{bar:40} {human_pos}/{human_len} records read {per_sec}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{OwnedRecord, TopicPartition};

    #[test]
    fn what_a_table_hides_is_taken_out_of_its_letters() {
        let text = "table: t\ntopics: [t]\norder_by: []\ncolumns: [{name: c, type: String, protect: redact}, {name: k, type: String, from: $key, protect: {keep_last: 2}}]\n";
        let curtain = Curtain(Some(vec![Arc::new(
            crate::schema::parse_table(text, std::path::Path::new("t.yaml")).unwrap(),
        )]));
        let drawn = |table: &str, payload: &str| {
            let headers = vec![("penstock-table".to_owned(), Some(table.as_bytes().to_vec()))];
            let source = TopicPartition { topic: "t.dead".into(), partition: Partition(0) };
            let record = OwnedRecord {
                position: Position { source, offset: Offset(0) },
                timestamp_ms: None,
                key: Some(b"secret".to_vec()),
                payload: Some(payload.as_bytes().to_vec()),
                headers,
            };
            let mut letter = Letter::read(record, State::Waiting);
            let hides = curtain.draw(&mut letter);
            let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
            (hides, text(letter.key), text(letter.payload))
        };
        let three = |hides, key: &str, payload: &str| (hides, key.to_owned(), payload.to_owned());
        assert_eq!(drawn("t", r#"{"c":"secret","n":1}"#), three(true, "***", r#"{"c":"***","n":1}"#));
        assert_eq!(drawn("t", r#"{"c":"secret"#), three(true, "***", "***"));
        assert_eq!(drawn("u", r#"{"c":"secret"}"#), three(false, "secret", r#"{"c":"secret"}"#));
    }
}
