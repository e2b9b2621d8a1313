//! What a statement does, as far as its words tell: to which object, how dearly, and whether a second time harms.
//!
//! Refuses to guess. What it does not know counts as not repeatable, and somebody has to look.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::alter::{self, Alter};
use super::lexer::{Kind, Token};
use super::pragma::Danger;
use super::script;

/// A table, view, dictionary or function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Object {
    /// That of the connection without it.
    pub database: Option<String>,
    pub name: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            Some(database) => write!(f, "{database}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Table,
    View,
    Dictionary,
    Database,
    /// Functions, users, roles, named collections and what else there is beside databases.
    Global,
}

/// How dear it is for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Only the definition changes.
    Metadata,
    /// Whole parts come, go or move; none is written again.
    Parts,
    /// Parts are gone through in the background, and written again where they are touched.
    Mutation,
    /// Parts are written again.
    Rewrite,
    /// Rows are inserted.
    Data,
    /// Not known from its words.
    Unknown,
}

impl Class {
    pub fn words(self) -> &'static str {
        match self {
            Class::Metadata => "metadata only",
            Class::Parts => "whole parts",
            Class::Mutation => "mutation",
            Class::Rewrite => "rewrites parts",
            Class::Data => "inserts rows",
            Class::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `guarded`: with IF NOT EXISTS or OR REPLACE.
    Create {
        what: What,
        object: Object,
        guarded: bool,
    },
    /// `guarded`: with IF EXISTS.
    Drop {
        what: What,
        object: Object,
        guarded: bool,
    },
    Rename(Vec<(Object, Object)>),
    Alter {
        object: Object,
        commands: Vec<Alter>,
    },
    Insert(Option<Object>),
    /// DELETE FROM.
    Delete(Object),
    Truncate(Object),
    Optimize(Object),
    /// By its first word.
    Other(String),
}

/// What is known of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub effect: Effect,
    pub cluster: Option<String>,
}

impl Reading {
    pub fn of(text: &str) -> Reading {
        let tokens = script::significant(text);
        let effect = Cursor { tokens: &tokens, at: 0 }.effect();
        Reading { effect, cluster: cluster(&tokens) }
    }

    /// What it works on, if that is one object.
    pub fn object(&self) -> Option<&Object> {
        match &self.effect {
            Effect::Create { object, .. }
            | Effect::Drop { object, .. }
            | Effect::Alter { object, .. }
            | Effect::Insert(Some(object))
            | Effect::Delete(object)
            | Effect::Truncate(object)
            | Effect::Optimize(object) => Some(object),
            Effect::Rename(_) | Effect::Insert(None) | Effect::Other(_) => None,
        }
    }

    /// Whether it may be carried out twice with the effect of once.
    pub fn is_repeatable(&self) -> bool {
        match &self.effect {
            Effect::Create { guarded, .. } | Effect::Drop { guarded, .. } => *guarded,
            Effect::Alter { commands, .. } => commands.iter().all(Alter::is_repeatable),
            Effect::Optimize(_) => true,
            Effect::Other(word) => {
                ["SELECT", "WITH", "SHOW", "SYSTEM", "GRANT", "REVOKE", "EXISTS", "DESCRIBE", "CHECK"]
                    .contains(&word.as_str())
            }
            Effect::Rename(_) | Effect::Insert(_) | Effect::Delete(_) | Effect::Truncate(_) => false,
        }
    }

    pub fn dangers(&self) -> BTreeSet<Danger> {
        match &self.effect {
            Effect::Drop { .. } => BTreeSet::from([Danger::Drop]),
            Effect::Delete(_) | Effect::Truncate(_) => BTreeSet::from([Danger::Delete]),
            Effect::Alter { commands, .. } => commands.iter().filter_map(Alter::danger).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// The dearest of what it does.
    pub fn class(&self) -> Class {
        match &self.effect {
            Effect::Create { .. } | Effect::Rename(_) => Class::Metadata,
            Effect::Drop { .. } | Effect::Truncate(_) => Class::Parts,
            Effect::Alter { commands, .. } => {
                commands.iter().map(Alter::class).max().unwrap_or(Class::Unknown)
            }
            Effect::Insert(_) => Class::Data,
            Effect::Delete(_) => Class::Mutation,
            Effect::Optimize(_) => Class::Rewrite,
            Effect::Other(_) => Class::Unknown,
        }
    }
}

/// The name behind ON CLUSTER.
fn cluster(tokens: &[Token<'_>]) -> Option<String> {
    let found = tokens
        .windows(3)
        .find(|three| matches!(three, [on, cluster, _] if on.is_word("ON") && cluster.is_word("CLUSTER")))?;
    let name = found.last()?;
    name.name().or_else(|| (name.kind == Kind::Text).then(|| super::lexer::unquoted(name.text)))
}

/// Goes over tokens word by word.
pub struct Cursor<'t> {
    pub tokens: &'t [Token<'t>],
    pub at: usize,
}

impl<'t> Cursor<'t> {
    pub fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.at)
    }

    /// Takes these words if they come next.
    pub fn take(&mut self, words: &str) -> bool {
        let words: Vec<&str> = words.split(' ').collect();
        let next = self.tokens.get(self.at..self.at + words.len()).unwrap_or_default();
        let found =
            next.len() == words.len() && next.iter().zip(&words).all(|(token, word)| token.is_word(word));
        if found {
            self.at += words.len();
        }
        found
    }

    pub fn name(&mut self) -> Option<String> {
        let name = self.peek()?.name()?;
        self.at += 1;
        Some(name)
    }

    /// `name` or `database.name`.
    pub fn object(&mut self) -> Option<Object> {
        let first = self.name()?;
        if !self.peek().is_some_and(|token| token.is_mark('.')) {
            return Some(Object { database: None, name: first });
        }
        self.at += 1;
        Some(Object { database: Some(first), name: self.name()? })
    }

    fn other(&self) -> Effect {
        let first = self.tokens.first().map(|token| token.text.to_ascii_uppercase());
        Effect::Other(first.unwrap_or_default())
    }

    fn effect(mut self) -> Effect {
        let known = if self.take("CREATE") || self.take("ATTACH") {
            self.create()
        } else if self.take("REPLACE") {
            self.what().and_then(|what| Some(Effect::Create { what, object: self.object()?, guarded: true }))
        } else if self.take("DROP") || self.take("DETACH") {
            self.removal()
        } else if self.take("RENAME") || self.take("EXCHANGE") {
            self.renaming()
        } else if self.take("ALTER TABLE") {
            self.object().map(|object| Effect::Alter {
                object,
                commands: alter::commands(Cursor { tokens: self.tokens, at: self.at }),
            })
        } else if self.take("INSERT INTO") {
            let _table = self.take("TABLE");
            let is_function = self.take("FUNCTION");
            Some(Effect::Insert(if is_function { None } else { self.object() }))
        } else if self.take("DELETE FROM") {
            self.object().map(Effect::Delete)
        } else if self.take("TRUNCATE") {
            let _words = (self.take("TABLE"), self.take("IF EXISTS"));
            self.object().map(Effect::Truncate)
        } else if self.take("OPTIMIZE TABLE") {
            self.object().map(Effect::Optimize)
        } else {
            None
        };
        known.unwrap_or_else(|| self.other())
    }

    fn create(&mut self) -> Option<Effect> {
        let replaces = self.take("OR REPLACE");
        let what = self.what()?;
        let if_not_exists = self.take("IF NOT EXISTS");
        Some(Effect::Create { what, object: self.object()?, guarded: replaces || if_not_exists })
    }

    fn removal(&mut self) -> Option<Effect> {
        let what = self.what()?;
        let guarded = self.take("IF EXISTS");
        let _empty = self.take("IF EMPTY");
        Some(Effect::Drop { what, object: self.object()?, guarded })
    }

    fn renaming(&mut self) -> Option<Effect> {
        // Two tables or dictionaries that change names are no single renaming, but can be looked at no better.
        let exchanges = self.tokens.first().is_some_and(|token| token.is_word("EXCHANGE"));
        let _what =
            self.take("TABLES") || self.take("TABLE") || self.take("DICTIONARY") || self.take("DICTIONARIES");
        if exchanges || self.take("DATABASE") {
            return None;
        }
        let mut pairs = Vec::new();
        loop {
            let _guard = self.take("IF EXISTS");
            let from = self.object()?;
            if !self.take("TO") {
                return None;
            }
            pairs.push((from, self.object()?));
            if !self.peek().is_some_and(|token| token.is_mark(',')) {
                return Some(Effect::Rename(pairs));
            }
            self.at += 1;
        }
    }

    fn what(&mut self) -> Option<What> {
        let kinds = [
            ("TEMPORARY TABLE", What::Global),
            ("TABLE", What::Table),
            ("MATERIALIZED VIEW", What::View),
            ("LIVE VIEW", What::View),
            ("WINDOW VIEW", What::View),
            ("VIEW", What::View),
            ("DICTIONARY", What::Dictionary),
            ("DATABASE", What::Database),
            ("FUNCTION", What::Global),
            ("NAMED COLLECTION", What::Global),
            ("ROW POLICY", What::Global),
            ("SETTINGS PROFILE", What::Global),
            ("USER", What::Global),
            ("ROLE", What::Global),
            ("QUOTA", What::Global),
        ];
        kinds.into_iter().find(|(words, _)| self.take(words)).map(|(_, what)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statements_do() {
        for (text, object, class, repeatable, dangers) in [
            ("create table a.`b c` (x Int8) engine=Memory", "a.b c", Class::Metadata, false, ""),
            ("CREATE TABLE IF NOT EXISTS t (x Int8) ENGINE=Memory", "t", Class::Metadata, true, ""),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", "v", Class::Metadata, true, ""),
            ("CREATE MATERIALIZED VIEW m TO t AS SELECT 1", "m", Class::Metadata, false, ""),
            ("DROP TABLE IF EXISTS t ON CLUSTER 'c 1' SYNC", "t", Class::Parts, true, "drop"),
            ("DROP VIEW v", "v", Class::Parts, false, "drop"),
            ("RENAME TABLE a TO b, c TO d.e", "", Class::Metadata, false, ""),
            ("EXCHANGE TABLES a AND b", "", Class::Unknown, false, ""),
            (
                "ALTER TABLE t ADD COLUMN IF NOT EXISTS c Int8, MODIFY COMMENT 'x, y'",
                "t",
                Class::Metadata,
                true,
                "",
            ),
            ("ALTER TABLE t ADD COLUMN c Int8 AFTER b", "t", Class::Metadata, false, ""),
            ("ALTER TABLE t MODIFY COLUMN c Int64", "t", Class::Rewrite, true, ""),
            ("ALTER TABLE t MODIFY SETTING a = 1, b = 2", "t", Class::Metadata, true, ""),
            ("ALTER TABLE t UPDATE a = 1, b = f(1, 2) WHERE c", "t", Class::Mutation, false, ""),
            ("ALTER TABLE t DELETE WHERE c", "t", Class::Mutation, false, "delete"),
            ("ALTER TABLE t DROP COLUMN a, DROP PARTITION 1", "t", Class::Mutation, false, "drop"),
            ("ALTER TABLE t DROP INDEX IF EXISTS i", "t", Class::Mutation, true, ""),
            ("INSERT INTO TABLE t VALUES (1)", "t", Class::Data, false, ""),
            ("INSERT INTO FUNCTION url('x') VALUES (1)", "", Class::Data, false, ""),
            ("DELETE FROM t WHERE 1", "t", Class::Mutation, false, "delete"),
            ("TRUNCATE TABLE IF EXISTS t", "t", Class::Parts, false, "delete"),
            ("OPTIMIZE TABLE t FINAL", "t", Class::Rewrite, true, ""),
            ("SYSTEM RELOAD DICTIONARY d", "", Class::Unknown, true, ""),
            ("SET x = 1", "", Class::Unknown, false, ""),
            ("", "", Class::Unknown, false, ""),
        ] {
            let found = Reading::of(text);
            let named = found.object().map(ToString::to_string).unwrap_or_default();
            let danger: Vec<_> = found.dangers().into_iter().map(Danger::name).collect();
            assert_eq!(
                (named.as_str(), found.class(), found.is_repeatable(), danger.join(" ").as_str()),
                (object, class, repeatable, dangers),
                "{text}"
            );
        }
        assert_eq!(Reading::of("DROP TABLE t ON CLUSTER 'c 1'").cluster.as_deref(), Some("c 1"));
        assert_eq!(Reading::of("DROP TABLE t ON CLUSTER `{c}`").cluster.as_deref(), Some("{c}"));
    }
}
