//! Reads table files and tells every fault of all of them at once.
//!
//! Refuses to know what the keys mean; it is about files, folders and their bounds. A table that comes
//! out of here satisfies what `model` promises.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::fault::{Error, Fault, Faults};
use super::json_schema;
use super::model::Table;
use super::resolve::{self, COLUMNS_MAX};
use super::structure;
pub use super::structure::table_file_schema;

/// Size of one table file or of one JSON Schema document.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Tables in one folder.
const TABLES_MAX: usize = 10_000;
/// Name of the table file in a table's folder.
const TABLE_FILE: &str = "table.yaml";

/// Reads one table: a file, or a folder that holds `table.yaml`.
pub fn load_table(path: &Path) -> Result<Table, Error> {
    let path = if path.is_dir() { path.join(TABLE_FILE) } else { path.to_owned() };
    let text = read(&path)?;
    parse_table(&text, &path)
}

/// Reads every `<path>/<table>/table.yaml`, sorted by folder; also takes one table's file or folder.
pub fn load_dir(path: &Path) -> Result<Vec<Arc<Table>>, Error> {
    Ok(load_files(path)?.into_iter().map(|(_, table)| table).collect())
}

/// As [`load_dir`], each table with its file.
pub fn load_files(path: &Path) -> Result<Vec<(PathBuf, Arc<Table>)>, Error> {
    let files = if path.is_dir() && !path.join(TABLE_FILE).is_file() {
        table_files(path)?
    } else if path.is_dir() {
        vec![path.join(TABLE_FILE)]
    } else {
        vec![path.to_owned()]
    };
    let mut tables = Vec::with_capacity(files.len());
    let mut errors = Vec::new();
    let mut names: HashMap<(Option<String>, String), PathBuf> = HashMap::new();
    for file in files {
        match load_table(&file) {
            Ok(table) => {
                let name = (table.database.clone(), table.name.clone());
                match names.insert(name, file.clone()) {
                    Some(first) => errors.push(twice(&table.name, &first, file)),
                    None => tables.push((file, Arc::new(table))),
                }
            }
            Err(error) => errors.push(error),
        }
    }
    match errors.len() {
        0 => Ok(tables),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Several(errors)),
    }
}

fn twice(name: &str, first: &Path, path: PathBuf) -> Error {
    let fault = Fault {
        path: "table".to_owned(),
        message: format!("the table `{name}` is described by {} already", first.display()),
        hint: "give one of them another name or database, or join their topics".to_owned(),
    };
    Error::Faults { path, faults: vec![fault] }
}

fn table_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path().join(TABLE_FILE);
        if file.is_file() {
            files.push(file);
        }
        if files.len() > TABLES_MAX {
            return Err(Error::TooManyTables { path: folder.to_owned(), tables_max: TABLES_MAX });
        }
    }
    if files.is_empty() {
        return Err(Error::NoTables { path: folder.to_owned() });
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned(), bytes_max: FILE_BYTES_MAX });
    }
    Ok(text)
}

/// Reads a table from its text. `path` names it in errors, and a JSON Schema document is looked for
/// beside it.
pub fn parse_table(text: &str, path: &Path) -> Result<Table, Error> {
    let mut options = serde_saphyr::Options::default();
    // A column may be called `n` or `on`; only true and false are booleans.
    options.strict_booleans = true;
    let value: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Error::Yaml { path: path.to_owned(), message: error.to_string() })?;
    let mut faults = Faults::default();
    let sound = structure::check(value, &mut faults);
    let document = sound.file.json_schema.as_deref().and_then(|file| document(path, file, &mut faults));
    let compiled = document.map(|document| json_schema::compile(&document));
    let table = resolve::table(&sound, compiled, &mut faults);
    match table {
        Some(table) if faults.0.is_empty() => Ok(table),
        _ => Err(Error::Faults { path: path.to_owned(), faults: faults.0 }),
    }
}

fn document(table_file: &Path, file: &str, faults: &mut Faults) -> Option<Value> {
    let path = table_file.parent().unwrap_or(Path::new("")).join(file);
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) => {
            let text = error.to_string();
            let message = text.split("\nhint").next().unwrap_or_default();
            faults.add("json_schema", message, "give a path relative to the table file");
            return None;
        }
    };
    serde_json::from_str(&text)
        .map_err(|error| {
            let message = format!("{} is not JSON: {error}", path.display());
            faults.add("json_schema", message, "mend the document at that line");
        })
        .ok()
}

const _: () = assert!(COLUMNS_MAX == 10_000, "the bound in the published schema is written out");
