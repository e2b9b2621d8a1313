//! The whole table file turned into the model, with every fault of meaning on the way.
//!
//! Refuses to know files and YAML. Without a fault, what comes out satisfies what `model` promises.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::column::{self, Place};
use super::expression;
use super::fault::{Faults, nearest};
use super::file::{TableFile, UnknownFieldsFile};
use super::json_schema::{Candidate, Compiled};
use super::lifecycle::{self, Around};
use super::model::{Column, Source, Table, Tombstones, Type, UnknownFields};
use super::structure::{Sound, hint};
use super::subject::names_somebody;

/// Columns of one table.
pub(super) const COLUMNS_MAX: usize = 10_000;
/// Kafka's limit for a topic's name.
const TOPIC_CHARS_MAX: usize = 249;

pub(super) fn table(sound: &Sound, compiled: Option<Compiled>, faults: &mut Faults) -> Option<Table> {
    let file = &sound.file;
    name(file.table.as_deref(), "table", faults);
    name(file.database.as_deref(), "database", faults);
    topics(file, faults);
    let mut gathered = gather(file, compiled, faults);
    if gathered.columns.is_empty()
        && gathered.names.is_empty()
        && !sound.broken.contains("columns")
        && file.json_schema.is_none()
    {
        faults.add("columns", "there are no columns", hint("columns"));
    }
    check_unique(&gathered.columns, faults);
    let unknown_fields = unknown_fields(file, &mut gathered, faults);
    let engine = file.engine.clone().unwrap_or_else(|| "MergeTree".to_owned());
    if engine.trim().is_empty() || engine.contains(';') {
        faults.add("engine", "this is no table engine", hint("engine"));
    }
    keys(sound, &gathered, &engine, faults);
    let settings = settings(file, faults);
    subjects(file, &gathered, faults);
    let around = Around {
        columns: &gathered.columns,
        order_by: file.order_by.as_deref().unwrap_or_default(),
        engine: &engine,
    };
    let lifecycle = file.lifecycle.as_ref().and_then(|file| lifecycle::resolve(file, &around, faults));
    Some(Table {
        database: file.database.clone(),
        name: file.table.clone()?,
        topics: file.topics.clone()?,
        columns: gathered.columns,
        unknown_fields,
        tombstones: file.tombstones.map_or(Tombstones::Reject, |tombstones| tombstones.model()),
        engine,
        order_by: file.order_by.clone().unwrap_or_default(),
        partition_by: file.partition_by.clone(),
        settings,
        subject_columns: file.subject_columns.clone().unwrap_or_default(),
        lifecycle,
        keys: None,
        residual: gathered.compiled.and_then(|compiled| {
            compiled.residual(
                !gathered.exact,
                file.unknown_fields.as_ref().map(|policy| matches!(policy, UnknownFieldsFile::Reject)),
            )
        }),
    })
}

fn name(name: Option<&str>, key: &str, faults: &mut Faults) {
    if name.is_some_and(|name| name.is_empty() || name.contains('\0')) {
        faults.add(key, "the name is empty or holds a NUL", hint(key));
    }
}

fn topics(file: &TableFile, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, topic) in file.topics.iter().flatten().enumerate() {
        let path = format!("topics[{index}]");
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let regex = topic.starts_with('^');
        if !regex
            && (!(1..=TOPIC_CHARS_MAX).contains(&topic.len())
                || !topic.chars().all(legal)
                || topic == "."
                || topic == "..")
        {
            faults.add(
                &path,
                format!("`{topic}` cannot be a topic's name"),
                "names have letters, digits, `.`, `_` and `-`; a regular expression starts with `^`",
            );
        }
        if !seen.insert(topic) {
            faults.add(&path, format!("the topic `{topic}` stands twice"), "take one of them away");
        }
    }
}

/// All columns of a table, and what is known of those that have faults.
struct Gathered {
    columns: Vec<Column>,
    /// Declared names, broken columns' too, so that no fault follows from another.
    names: HashSet<String>,
    /// Whether every column of the JSON Schema document was taken as it is.
    exact: bool,
    compiled: Option<Compiled>,
}

fn gather(file: &TableFile, mut compiled: Option<Compiled>, faults: &mut Faults) -> Gathered {
    let files = file.columns.as_deref().unwrap_or_default();
    let keep = match &file.unknown_fields {
        Some(UnknownFieldsFile::Keep(column)) => Some(column.as_str()),
        _ => None,
    };
    let mut candidates = compiled
        .as_mut()
        .map(|compiled| {
            faults.0.append(&mut compiled.faults.0);
            std::mem::take(&mut compiled.candidates)
        })
        .unwrap_or_default();
    let mut names: HashSet<String> = candidates.iter().map(|candidate| candidate.name.clone()).collect();
    let (mut added, mut exact) = (Vec::new(), true);
    for (index, file) in files.iter().enumerate() {
        let name = file.name.as_deref().unwrap_or_default();
        let inherited = candidates.iter().find(|candidate| candidate.name == name);
        let place = Place {
            path: format!("columns[{index}]"),
            inherited: inherited.and_then(|candidate| candidate.column.as_ref()),
            keeps_rest: keep == Some(name),
        };
        let column = column::resolve(file, &place, faults);
        names.insert(name.to_owned());
        let before = candidates.len();
        candidates.retain(|candidate| {
            candidate.name != name && !column.as_ref().is_some_and(|column| takes(column, candidate))
        });
        exact &= candidates.len() == before;
        exact &= !column.as_ref().is_some_and(|column| matches!(column.source, Source::Path(_)));
        added.extend(column);
    }
    let mut columns = Vec::new();
    for candidate in candidates {
        faults.0.extend(candidate.fault);
        columns.extend(candidate.column);
    }
    columns.append(&mut added);
    if columns.len() > COLUMNS_MAX {
        faults.add(
            "columns",
            format!("{} columns are too many", columns.len()),
            format!("a table has at most {COLUMNS_MAX}"),
        );
        columns.clear();
    }
    Gathered { columns, names, exact, compiled }
}

/// Whether the column takes the field of the candidate, or one around it.
fn takes(column: &Column, candidate: &Candidate) -> bool {
    matches!(&column.source, Source::Path(keys) if candidate.path.starts_with(keys))
}

fn check_unique(columns: &[Column], faults: &mut Faults) {
    let mut names: HashSet<String> = HashSet::new();
    for column in columns {
        let mut all = vec![column.name.clone()];
        if let Type::Nested(fields) = &column.ty {
            all.extend(
                fields.iter().flat_map(|field| &field.name).map(|field| format!("{}.{field}", column.name)),
            );
        }
        if let Some(name) = all.into_iter().find(|name| !names.insert(name.clone())) {
            faults.add(
                "columns",
                format!("the column `{name}` stands twice"),
                "rename or take away one of them",
            );
        }
    }
    let mut paths: HashMap<&[String], &str> = HashMap::new();
    for column in columns {
        if let Source::Path(keys) = &column.source
            && let Some(other) = paths.insert(keys, &column.name)
            && *other != column.name
        {
            let message = format!(
                "the columns `{other}` and `{}` take the same field `{}`",
                column.name,
                keys.join(".")
            );
            faults.add(
                "columns",
                message,
                "a field goes into one column; let ClickHouse compute the other as MATERIALIZED",
            );
        }
    }
    for column in columns {
        let Source::Path(keys) = &column.source else { continue };
        let around =
            (1..keys.len()).find_map(|length| keys.get(..length).and_then(|prefix| paths.get(prefix)));
        if let Some(around) = around {
            let message = format!("the column `{}` takes a field inside of that of `{around}`", column.name);
            faults.add("columns", message, "take the outer field as a whole, or its inner fields one by one");
        }
    }
}

fn unknown_fields(file: &TableFile, gathered: &mut Gathered, faults: &mut Faults) -> UnknownFields {
    match &file.unknown_fields {
        Some(UnknownFieldsFile::Ignore) => UnknownFields::Ignore,
        Some(UnknownFieldsFile::Reject) => UnknownFields::Reject,
        None if gathered.compiled.as_ref().is_some_and(Compiled::is_closed) => UnknownFields::Reject,
        None => UnknownFields::Ignore,
        Some(UnknownFieldsFile::Keep(name)) => {
            let index = gathered
                .columns
                .iter()
                .position(|column| column.name == *name && column.source == Source::Rest);
            if index.is_none()
                && !(file.columns.iter().flatten().any(|column| column.name.as_ref() == Some(name)))
            {
                faults.add(
                    "unknown_fields.keep",
                    format!("there is no column `{name}`"),
                    format!("add `- {{name: {name}, type: JSON}}` to `columns`"),
                );
            }
            index.map_or(UnknownFields::Ignore, |column| UnknownFields::Keep { column })
        }
    }
}

/// The sorting and partition keys name columns that exist, and that a key can be made of.
fn keys(sound: &Sound, gathered: &Gathered, engine: &str, faults: &mut Faults) {
    let file = &sound.file;
    if engine.contains("MergeTree") && file.order_by.is_none() && !sound.broken.contains("order_by") {
        faults.add(
            "order_by",
            "`order_by` is missing",
            "write a list of columns (`order_by: [time, id]`), or `order_by: []` for unsorted rows",
        );
    }
    if sound.broken.contains("columns") && gathered.names.is_empty() {
        return;
    }
    let nullable_allowed = file.settings.iter().flatten().any(|(name, _)| name == "allow_nullable_key");
    let order =
        file.order_by.iter().flatten().enumerate().map(|(index, text)| (format!("order_by[{index}]"), text));
    for (path, text) in order.chain(file.partition_by.iter().map(|text| ("partition_by".to_owned(), text))) {
        if text.trim().is_empty() {
            faults.add(&path, "the expression is empty", hint("order_by"));
        }
        for name in expression::columns(text) {
            let column = gathered.columns.iter().find(|column| is_part(&name, &column.name));
            let known = column.is_some() || gathered.names.iter().any(|known| is_part(&name, known));
            if !known {
                let meant = nearest(&name, gathered.names.iter().map(String::as_str));
                let hint = meant.map_or("name a column of this table".to_owned(), |meant| {
                    format!("did you mean `{meant}`?")
                });
                faults.add(&path, format!("there is no column `{name}`"), hint);
            }
            if column.is_some_and(|column| column.ty.is_nullable()) && *text == name && !nullable_allowed {
                faults.add(
                    &path,
                    format!("`{name}` can be NULL, which ClickHouse refuses in a key"),
                    "take another column, or add `settings: {allow_nullable_key: 1}`",
                );
            }
        }
    }
}

/// Whether the name is that of the column or of a part of it.
fn is_part(name: &str, column: &str) -> bool {
    name.strip_prefix(column).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Columns that name a person must be there, and hold values with one spelling.
fn subjects(file: &TableFile, gathered: &Gathered, faults: &mut Faults) {
    for (index, name) in file.subject_columns.iter().flatten().enumerate() {
        let path = format!("subject_columns[{index}]");
        let found = gathered.columns.iter().find(|column| column.name == *name);
        if found
            .is_some_and(|column| column.protect.as_ref().is_some_and(|protect| !protect.is_same_for_same()))
        {
            let hint =
                "a pseudonym is the same for the same person; what is hidden otherwise cannot be looked for";
            faults.add(&path, format!("the values of `{name}` are hidden"), hint);
        } else if found.is_some_and(|column| !names_somebody(&column.ty)) {
            let hint = "name a column of text, of whole numbers up to 128 bits, of UUID or of addresses";
            faults.add(&path, format!("`{name}` holds values that name nobody"), hint);
        } else if found.is_none() && !gathered.names.contains(name) {
            faults.add(&path, format!("there is no column `{name}`"), "name a column of this table");
        }
    }
}

fn settings(file: &TableFile, faults: &mut Faults) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (name, value) in file.settings.iter().flatten() {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            faults.add("settings", format!("`{name}` is no setting's name"), hint("settings"));
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(on) => u8::from(*on).to_string(),
            other => other.to_string(),
        };
        settings.push((name.clone(), text));
    }
    settings
}
