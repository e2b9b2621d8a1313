//! Columns whose values are not to be seen: which they are, which keys they need, and a record without them.
//!
//! Refuses to change values of rows, which is `decode`'s, and to read keys: whoever fills tables puts them in.

use std::sync::Arc;

use serde_json::Value;

use super::fault::Faults;
use super::file::ProtectFile;
use super::model::{Column, Meta, Source, Table, Type};
use crate::crypt::{self, Ring, is_id};

/// What stands in place of what is not shown.
pub const HIDDEN: &str = "***";
/// More would be the value itself.
const KEEP_LAST_MAX: usize = 16;

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protect {
    /// [`HIDDEN`] stands for it.
    Redact,
    /// So many characters are left of it, if it has more.
    KeepLast(usize),
    /// A keyed hash, with this key of the ring.
    Pseudonym(String),
    /// An envelope, with this key of the ring.
    Encrypt(String),
}

impl Protect {
    /// The key of the ring that it needs.
    pub fn key(&self) -> Option<&str> {
        match self {
            Protect::Redact | Protect::KeepLast(_) => None,
            Protect::Pseudonym(key) | Protect::Encrypt(key) => Some(key),
        }
    }

    /// Whether equal values can be found by what it makes of them, and others not.
    pub fn is_same_for_same(&self) -> bool {
        matches!(self, Protect::Pseudonym(_))
    }
}

/// A column that needs a key of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// `table.column`.
    pub column: String,
    pub key: String,
}

impl Table {
    /// Whether any value of it is hidden.
    pub fn hides(&self) -> bool {
        self.columns.iter().any(|column| column.protect.is_some())
    }

    /// The columns that need a key.
    pub fn needs(&self) -> impl Iterator<Item = Need> {
        self.columns.iter().filter_map(|column| {
            let key = column.protect.as_ref().and_then(Protect::key)?.to_owned();
            Some(Need { column: self.context(&column.name), key })
        })
    }

    /// What encrypted values of the column are for.
    pub fn context(&self, column: &str) -> String {
        format!("{}.{column}", self.name)
    }

    /// Puts in the keys, if a column needs some.
    ///
    /// # Errors
    /// A key that is not in the ring.
    pub fn put_keys(&mut self, ring: &Arc<Ring>) -> Result<(), crypt::Error> {
        self.needs().try_for_each(|need| ring.check(&need.key))?;
        if self.needs().next().is_some() {
            self.keys = Some(Arc::clone(ring));
        }
        Ok(())
    }

    /// The value of a record with [`HIDDEN`] in place of what the table hides; `None` where it cannot be told, since it
    /// is no JSON object.
    pub fn without_hidden(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut value: Value = serde_json::from_slice(payload).ok().filter(Value::is_object)?;
        for column in self.columns.iter().filter(|column| column.protect.is_some()) {
            if let Source::Path(keys) = &column.source {
                hide(&mut value, keys);
            }
        }
        serde_json::to_vec(&value).ok()
    }

    /// Whether the key of a record is hidden.
    pub fn hides_key(&self) -> bool {
        let hides = |column: &Column| column.protect.is_some() && column.source == Source::Meta(Meta::Key);
        self.columns.iter().any(hides)
    }
}

fn hide(value: &mut Value, keys: &[String]) {
    let mut found = Some(value);
    for key in keys {
        found = found.and_then(|value| value.get_mut(key.as_str()));
    }
    if let Some(found) = found.filter(|found| !found.is_null()) {
        *found = Value::from(HIDDEN);
    }
}

pub(super) fn resolve(
    file: &ProtectFile,
    column: &Column,
    place: &str,
    faults: &mut Faults,
) -> Option<Protect> {
    if *column.ty.bare() != Type::String {
        faults.add(place, format!("`protect` does not go with {}", column.ty), "it is for String");
    }
    if !matches!(column.source, Source::Path(_) | Source::Meta(Meta::Key)) {
        faults.add(place, "it hides what is no secret", "protect fields of the record, or `from: $key`");
    }
    let protect = match file {
        ProtectFile::Redact => Protect::Redact,
        ProtectFile::KeepLast(count) if (1..=KEEP_LAST_MAX).contains(count) => Protect::KeepLast(*count),
        ProtectFile::KeepLast(_) => {
            let hint = format!("write 1 to {KEEP_LAST_MAX} characters, or `redact`");
            faults.add(place, "so many characters would be left", hint);
            return None;
        }
        ProtectFile::Pseudonym(key) => Protect::Pseudonym(key.clone()),
        ProtectFile::Encrypt(key) => Protect::Encrypt(key.clone()),
    };
    if protect.key().is_some_and(|key| !is_id(key)) {
        faults.add(place, "this is no name of a key", "`penstock crypt status` lists the keys of the ring");
    }
    if matches!((&protect, &column.ty), (Protect::Encrypt(_), Type::LowCardinality(_))) {
        let hint = "take LowCardinality away: no two encrypted values are the same";
        faults.add(place, "encrypted values do not go into LowCardinality", hint);
    }
    Some(protect)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::schema::{Error, parse_table};

    fn table(column: &str, more: &str) -> Result<Table, Error> {
        let text = format!(
            "table: t\ntopics: [t]\norder_by: []\ncolumns: [{{name: n, type: UInt8}}, {{name: c, {column}}}]\n{more}"
        );
        parse_table(&text, Path::new("t.yaml"))
    }

    #[test]
    fn what_hides_nothing_or_cannot_be_done_is_a_fault() {
        for (column, more, told) in [
            ("type: UInt8, protect: redact", "", "does not go with UInt8"),
            ("type: 'FixedString(8)', protect: redact", "", "does not go with FixedString(8)"),
            ("type: 'Array(String)', protect: redact", "", "does not go with Array(String)"),
            ("type: String, from: $topic, protect: redact", "", "no secret"),
            ("type: String, protect: {keep_last: 0}", "", "would be left"),
            ("type: String, protect: {keep_last: 17}", "", "would be left"),
            ("type: String, protect: {encrypt: 'a b'}", "", "no name of a key"),
            ("type: LowCardinality(String), protect: {encrypt: k}", "", "LowCardinality"),
            ("type: String, protect: {encrypt: k}", "subject_columns: [c]", "are hidden"),
            ("type: String, protect: redact", "subject_columns: [c]", "are hidden"),
            ("type: String, protect: hide", "", "protect"),
            ("type: String, protect: {keep_last: -1}", "", "protect"),
        ] {
            let error = table(column, more).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("hint: "), "{column}: {error}");
        }
    }

    #[test]
    fn what_is_protected_says_which_keys_it_needs() {
        for (column, protect) in [
            ("type: String, protect: redact", Protect::Redact),
            ("type: String, from: $key, protect: {keep_last: 4}", Protect::KeepLast(4)),
            (
                "type: LowCardinality(Nullable(String)), protect: {pseudonym: k-1}",
                Protect::Pseudonym("k-1".to_owned()),
            ),
            ("type: Nullable(String), protect: {encrypt: k_2}", Protect::Encrypt("k_2".to_owned())),
        ] {
            let mut found = table(column, "").unwrap();
            assert!(found.hides(), "{column}");
            assert_eq!(found.columns[1].protect, Some(protect.clone()));
            let need = protect.key().map(|key| Need { column: "t.c".to_owned(), key: key.to_owned() });
            assert_eq!(found.needs().next(), need);
            let ring = Arc::new(Ring::of(&[("k-1", [1; 32])]));
            let put = found.put_keys(&ring);
            assert_eq!(put.is_ok(), protect.key() != Some("k_2"), "{column}");
            assert_eq!(found.keys.is_some(), protect.key() == Some("k-1"), "{column}");
        }
        assert!(table("type: String, protect: {pseudonym: k}", "subject_columns: [c]").is_ok());
        assert!(!table("type: String", "").unwrap().hides());
    }

    #[test]
    fn a_record_is_shown_without_what_is_hidden() {
        let found = table("type: String, path: a.b, protect: redact", "").unwrap();
        let shown =
            |text: &str| found.without_hidden(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(shown(r#"{"n":1,"a":{"b":"secret","d":2}}"#).unwrap(), r#"{"n":1,"a":{"b":"***","d":2}}"#);
        assert_eq!(shown(r#"{"a":{"b":["secret"]}}"#).unwrap(), r#"{"a":{"b":"***"}}"#);
        assert_eq!(shown(r#"{"a":{"b":null}}"#).unwrap(), r#"{"a":{"b":null}}"#);
        assert_eq!(shown(r#"{"a":"x"}"#).unwrap(), r#"{"a":"x"}"#);
        assert!(shown("secret").is_none() && shown(r#""secret""#).is_none() && shown("{\"a").is_none());
        assert!(!found.hides_key());
    }
}
