//! Values of the environment in statements, written `${NAME}`; `$${` stands for `${`.
//!
//! Refuses to paste: inside of quotes a value is escaped as those quotes want it, outside it may be a plain word
//! or number only (I11). What was put in is known afterwards, so that no message shows it (I10).

use std::collections::BTreeMap;

use super::lexer::{Kind, Token};
use super::script;
use crate::units::REDACTED;

const SECRET_BYTES_MIN: usize = 4;

/// The process's environment.
#[derive(Clone, Default)]
pub struct Values(BTreeMap<String, String>);

/// A statement as it is sent, and the values that are in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Filled {
    pub sql: String,
    used: Vec<String>,
}

impl std::fmt::Debug for Filled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hide(&self.sql))
    }
}

impl Filled {
    /// The text without the values. What is shorter than a secret can be stays, or nothing could be read any more.
    pub fn hide(&self, text: &str) -> String {
        let secrets = self.used.iter().filter(|value| value.len() >= SECRET_BYTES_MIN);
        secrets.fold(text.to_owned(), |text, value| text.replace(value, REDACTED))
    }
}

impl Values {
    pub fn new(environment: impl IntoIterator<Item = (String, String)>) -> Values {
        Values(environment.into_iter().collect())
    }

    /// The statement with its values.
    ///
    /// # Errors
    /// A variable that is not set, or a value that cannot stand where it is wanted, in a sentence without it.
    pub fn fill(&self, statement: &str) -> Result<Filled, String> {
        let mut filled = Filled { sql: String::with_capacity(statement.len()), used: Vec::new() };
        // Words and marks meet `${` between two tokens, so what is plain is collected up to the next quote.
        let mut plain = String::new();
        let pieces = script::pieces(statement).map_err(|unended| unended.what.to_owned())?;
        for token in pieces.iter().flat_map(|piece| &piece.tokens) {
            if matches!(token.kind, Kind::Space | Kind::Word | Kind::Mark | Kind::End) {
                plain.push_str(token.text);
                continue;
            }
            self.put(&std::mem::take(&mut plain), &Place::Plain, &mut filled)?;
            match token.kind {
                // Data is sent as it stands, and so are comments.
                Kind::Data | Kind::Comment => filled.sql.push_str(token.text),
                Kind::Heredoc => {
                    // The mark that ends the tag is none that escapes.
                    let tag = heredoc_tag(token.text);
                    let inside = token.text.get(tag.len()..token.text.len() - tag.len()).unwrap_or_default();
                    filled.sql.push_str(tag);
                    self.put(inside, &Place::UpTo(tag), &mut filled)?;
                    filled.sql.push_str(tag);
                }
                _ => self.put(token.text, &Place::of(token), &mut filled)?,
            }
        }
        self.put(&plain, &Place::Plain, &mut filled)?;
        Ok(filled)
    }

    fn put(&self, text: &str, place: &Place<'_>, filled: &mut Filled) -> Result<(), String> {
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                filled.sql.push_str(before);
                filled.sql.push_str("${");
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            filled.sql.push_str(before);
            let end = after.find('}').ok_or("a `${` has no `}`")?;
            let name = after.get(2..end).unwrap_or_default().trim();
            let value =
                self.0.get(name).ok_or_else(|| format!("the environment variable `{name}` is not set"))?;
            let written = place.written(name, value)?;
            filled.sql.push_str(&written);
            // Servers quote either: what they read, or what was written.
            filled.used.extend([value.clone(), written]);
            rest = after.get(end + 1..).unwrap_or_default();
        }
        filled.sql.push_str(rest);
        Ok(())
    }
}

fn heredoc_tag(text: &str) -> &str {
    let end = text.get(1..).and_then(|rest| rest.find('$')).map_or(1, |at| at + 2);
    text.get(..end).unwrap_or_default()
}

enum Place<'a> {
    Plain,
    Quoted(char),
    /// Before this text, where nothing can be escaped.
    UpTo(&'a str),
}

impl Place<'_> {
    fn of(token: &Token<'_>) -> Place<'static> {
        match token.text.chars().next() {
            Some('‘') => Place::UpTo("’"),
            Some('“') => Place::UpTo("”"),
            Some(quote) => Place::Quoted(quote),
            None => Place::Plain,
        }
    }

    fn written(&self, name: &str, value: &str) -> Result<String, String> {
        match self {
            Place::Plain => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-';
                match !value.is_empty() && value.chars().all(is_plain) && !value.contains("--") {
                    true => Ok(value.to_owned()),
                    false => Err(format!(
                        "the value of `{name}` is no plain word or number; put quotes around ${{{name}}}"
                    )),
                }
            }
            Place::Quoted(quote) => {
                let mut out = String::with_capacity(value.len());
                for c in value.chars() {
                    if c == '\\' || c == *quote {
                        out.push('\\');
                    }
                    out.push(c);
                }
                Ok(out)
            }
            // Even the beginning of an end could be made whole by what follows.
            Place::UpTo(end) if end.chars().next().is_some_and(|first| value.contains(first)) => Err(
                format!("the value of `{name}` would end the quotes around it; put single quotes instead"),
            ),
            Place::UpTo(_) => Ok(value.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> Values {
        let pairs = [("DB", "db_1"), ("EVIL", "x'; DROP TABLE t; --"), ("TAG", "a$t$b"), ("PASS", "it's\\")];
        Values::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn values_stand_where_they_are_wanted() {
        for (text, sql) in [
            ("SELECT * FROM ${DB}.t_${DB}", "SELECT * FROM db_1.t_db_1"),
            ("SELECT '${EVIL}', `a${EVIL}`", r"SELECT 'x\'; DROP TABLE t; --', `ax'; DROP TABLE t; --`"),
            ("SELECT 'p ${PASS} q'", r"SELECT 'p it\'s\\ q'"),
            ("SELECT $t$${DB}$t$ -- ${UNSET}", "SELECT $t$db_1$t$ -- ${UNSET}"),
            ("SELECT '$${DB}', 1 /* ${UNSET} */", "SELECT '${DB}', 1 /* ${UNSET} */"),
            ("INSERT INTO ${DB} FORMAT CSV\n${UNSET};'\n", "INSERT INTO db_1 FORMAT CSV\n${UNSET};'\n"),
        ] {
            assert_eq!(values().fill(text).unwrap().sql, sql);
        }
    }

    #[test]
    fn what_cannot_be_put_in_is_refused_and_not_shown() {
        for text in
            ["SELECT ${UNSET}", "SELECT ${EVIL}", "SELECT $t$${TAG}$t$", "SELECT ${DB", "SELECT '${UNSET}'"]
        {
            let fault = values().fill(text).unwrap_err();
            assert!(!fault.contains("DROP"), "{fault}");
        }
        let filled = values().fill("SELECT '${PASS}'").unwrap();
        assert!(!filled.hide("refused: it's\\ is wrong").contains("it's"), "{filled:?}");
    }

    proptest! {
        #[test]
        fn a_value_in_quotes_is_the_whole_text_and_nothing_else(value in ".{0,20}") {
            let values = Values::new([("V".to_owned(), value.clone())]);
            let filled = values.fill("SELECT '${V}'").unwrap();
            let found = filled.sql.strip_prefix("SELECT ").unwrap();
            prop_assert_eq!(super::super::lexer::unquoted(found), value);
        }
    }
}
