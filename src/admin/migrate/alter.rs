//! The commands of an ALTER TABLE: what each changes, how dearly, and whether a second time harms.
//!
//! Refuses to guess: what it does not know is neither cheap nor repeatable.

use super::lexer::Token;
use super::pragma::Danger;
use super::statement::{Class, Cursor};

/// One command, such as `ADD COLUMN IF NOT EXISTS c Int8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alter {
    /// Its leading words, as in the table below; empty for one that is not known.
    pub action: &'static str,
    /// Column, index, projection or constraint.
    pub name: Option<String>,
    /// The new name of a column.
    pub new_name: Option<String>,
    /// With IF EXISTS or IF NOT EXISTS.
    pub guarded: bool,
}

/// Whether a second time harms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Harmless,
    /// With IF EXISTS or IF NOT EXISTS only.
    Guarded,
    Harms,
}

/// Longer beginnings stand before those that they begin with.
const KNOWN: [(&str, Class, Again, Option<Danger>); 45] = {
    use Again::{Guarded, Harmless, Harms};
    use Class::{Metadata, Mutation, Parts, Rewrite};
    const DROP: Option<Danger> = Some(Danger::Drop);
    const DELETE: Option<Danger> = Some(Danger::Delete);
    [
        ("ADD COLUMN", Metadata, Guarded, None),
        ("ADD INDEX", Metadata, Guarded, None),
        ("ADD PROJECTION", Metadata, Guarded, None),
        ("ADD CONSTRAINT", Metadata, Guarded, None),
        ("ADD STATISTICS", Metadata, Guarded, None),
        ("DROP COLUMN", Mutation, Guarded, DROP),
        ("DROP INDEX", Mutation, Guarded, None),
        ("DROP PROJECTION", Mutation, Guarded, None),
        ("DROP STATISTICS", Mutation, Guarded, None),
        ("DROP CONSTRAINT", Metadata, Guarded, None),
        ("DROP DETACHED", Parts, Harms, DROP),
        ("DROP PARTITION", Parts, Harms, DROP),
        ("DROP PART", Parts, Harms, DROP),
        ("DETACH", Parts, Harms, DROP),
        ("ATTACH", Parts, Harms, None),
        ("REPLACE PARTITION", Parts, Harms, DROP),
        ("MOVE", Parts, Harms, None),
        ("FREEZE", Parts, Harms, None),
        ("UNFREEZE", Parts, Harms, None),
        ("FETCH", Parts, Harms, None),
        ("CLEAR COLUMN", Mutation, Harmless, DELETE),
        ("CLEAR INDEX", Mutation, Harmless, None),
        ("CLEAR PROJECTION", Mutation, Harmless, None),
        ("CLEAR STATISTICS", Mutation, Harmless, None),
        ("RENAME COLUMN", Mutation, Guarded, None),
        ("MODIFY COLUMN", Rewrite, Harmless, None),
        ("ALTER COLUMN", Rewrite, Harmless, None),
        ("COMMENT COLUMN", Metadata, Harmless, None),
        ("MODIFY COMMENT", Metadata, Harmless, None),
        ("MODIFY ORDER BY", Metadata, Harms, None),
        ("MODIFY SAMPLE BY", Metadata, Harmless, None),
        ("MODIFY TTL", Rewrite, Harmless, None),
        ("REMOVE TTL", Metadata, Harms, None),
        ("MODIFY SETTING", Metadata, Harmless, None),
        ("RESET SETTING", Metadata, Harmless, None),
        ("MODIFY QUERY", Metadata, Harmless, None),
        ("MODIFY REFRESH", Metadata, Harmless, None),
        ("MODIFY SQL SECURITY", Metadata, Harmless, None),
        ("MODIFY STATISTICS", Metadata, Harmless, None),
        ("MATERIALIZE", Rewrite, Harmless, None),
        ("APPLY DELETED MASK", Rewrite, Harmless, None),
        ("UPDATE", Mutation, Harms, None),
        ("DELETE", Mutation, Harms, DELETE),
        ("REMOVE SAMPLE BY", Metadata, Harms, None),
        ("REWRITE PARTS", Rewrite, Harmless, None),
    ]
};

impl Alter {
    fn known(&self) -> Option<&'static (&'static str, Class, Again, Option<Danger>)> {
        KNOWN.iter().find(|(action, ..)| *action == self.action)
    }

    pub fn class(&self) -> Class {
        self.known().map_or(Class::Unknown, |known| known.1)
    }

    pub fn is_repeatable(&self) -> bool {
        self.known().is_some_and(|known| match known.2 {
            Again::Harmless => true,
            Again::Guarded => self.guarded,
            Again::Harms => false,
        })
    }

    pub fn danger(&self) -> Option<Danger> {
        self.known().and_then(|known| known.3)
    }
}

/// The commands behind the table's name.
pub fn commands(mut cursor: Cursor<'_>) -> Vec<Alter> {
    if cursor.take("ON CLUSTER") {
        cursor.at += 1;
    }
    let rest = cursor.tokens.get(cursor.at..).unwrap_or_default();
    let mut all: Vec<Alter> = Vec::new();
    for tokens in split(rest) {
        match command(tokens) {
            Some(command) => all.push(command),
            // Settings and assignments have commas of their own.
            None if all.last().is_some_and(|last| {
                ["MODIFY SETTING", "RESET SETTING", "UPDATE", "MODIFY TTL"].contains(&last.action)
            }) => {}
            None => all.push(Alter { action: "", name: None, new_name: None, guarded: false }),
        }
    }
    all
}

/// Parted at the commas outside of parentheses.
fn split<'t>(tokens: &'t [Token<'t>]) -> Vec<&'t [Token<'t>]> {
    let mut depth = 0_usize;
    tokens
        .split(|token| {
            match token.text {
                "(" | "[" => depth += 1,
                ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.is_mark(',')
        })
        .collect()
}

fn command(tokens: &[Token<'_>]) -> Option<Alter> {
    // A command may stand in parentheses of its own.
    let open = tokens.iter().take_while(|token| token.is_mark('(')).count();
    let mut cursor = Cursor { tokens, at: open };
    let (action, ..) = KNOWN.iter().find(|(action, ..)| cursor.take(action))?;
    let guarded = cursor.take("IF NOT EXISTS") || cursor.take("IF EXISTS");
    let has_name = ["COLUMN", "INDEX", "PROJECTION", "CONSTRAINT"].iter().any(|kind| action.ends_with(kind))
        || (*action == "MATERIALIZE"
            && (cursor.take("COLUMN") || cursor.take("INDEX") || cursor.take("PROJECTION")));
    let name = if has_name { column(&mut cursor) } else { None };
    let new_name = if *action == "RENAME COLUMN" && cursor.take("TO") { column(&mut cursor) } else { None };
    Some(Alter { action, name, new_name, guarded })
}

/// A column's name, which has a dot in it within a Nested.
fn column(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut name = cursor.name()?;
    while cursor.peek().is_some_and(|token| token.is_mark('.')) {
        cursor.at += 1;
        name = format!("{name}.{}", cursor.name()?);
    }
    Some(name)
}
