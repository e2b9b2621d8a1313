//! A definition as the server prints it, taken apart: columns and indexes, engine, keys, TTL, settings, comment.
//!
//! Refuses to know which server it comes from: the database's name and how a table is replicated are left out, so
//! that the same table has the same definition everywhere.

use std::collections::BTreeMap;

use super::lexer::{Kind, Token, unquoted};
use super::script;

/// One table, view or dictionary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Everything, without the database.
    pub create: String,
    /// Columns, indexes, constraints and projections in order: what each is, its name, and its text.
    pub items: Vec<Item>,
    /// By their first words, such as `ENGINE`, `ORDER BY`, `TTL`.
    pub clauses: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `COLUMN`, `INDEX`, `CONSTRAINT` or `PROJECTION`.
    pub what: &'static str,
    pub name: String,
    /// As between the parentheses; without the leading word.
    pub text: String,
}

const CLAUSES: [&str; 9] =
    ["ENGINE", "PARTITION BY", "PRIMARY KEY", "ORDER BY", "SAMPLE BY", "TTL", "SETTINGS", "COMMENT", "AS"];

/// The tokens without the database's name before a dot, ON CLUSTER, and what replicates a table.
pub fn neutral<'a>(text: &'a str, database: &str) -> Vec<Token<'a>> {
    let tokens = script::pieces(text).into_iter().flatten().flat_map(|piece| piece.tokens);
    let tokens: Vec<Token<'a>> = tokens.filter(|token| token.kind != Kind::Comment).collect();
    let said: Vec<usize> =
        (0..tokens.len()).filter(|at| tokens.get(*at).is_some_and(Token::is_significant)).collect();
    let token = |index: usize| said.get(index).and_then(|at| tokens.get(*at));
    let mut left_out = vec![false; tokens.len()];
    let mut leave = |from: usize, to: usize| {
        // With the spaces behind.
        let end = said.get(to).copied().unwrap_or(left_out.len());
        let range = said.get(from).copied().unwrap_or(end)..end;
        left_out.get_mut(range).into_iter().flatten().for_each(|flag| *flag = true);
    };
    for index in 0..said.len() {
        let (Some(this), next) = (token(index), token(index + 1)) else { continue };
        let follows_dot = index.checked_sub(1).and_then(token).is_some_and(|token| token.is_mark('.'));
        let names_database =
            this.name().as_deref() == Some(database) && next.is_some_and(|next| next.is_mark('.'));
        if names_database && !follows_dot && token(index + 2).is_some_and(|name| name.name().is_some()) {
            leave(index, index + 2);
        }
        if this.is_word("ON") && next.is_some_and(|next| next.is_word("CLUSTER")) {
            leave(index, index + 3);
        }
        if is_replicated(this) {
            // Path and replica are texts; what the engine itself takes is not.
            let is_text = |at: usize| token(at).is_some_and(|token| token.kind == Kind::Text);
            if next.is_some_and(|next| next.is_mark('(')) && is_text(index + 2) && is_text(index + 4) {
                let comma = usize::from(token(index + 5).is_some_and(|token| token.is_mark(',')));
                leave(index + 2, index + 5 + comma);
            }
        }
    }
    let kept = tokens.iter().zip(left_out).filter(|(_, left_out)| !left_out).map(|(token, _)| *token);
    kept.map(|token| if is_replicated(&token) { plain_engine(token) } else { token }).collect()
}

fn is_replicated(token: &Token<'_>) -> bool {
    token.kind == Kind::Word && token.text.starts_with("Replicated") && token.text.ends_with("MergeTree")
}

fn plain_engine(token: Token<'_>) -> Token<'_> {
    Token { text: token.text.strip_prefix("Replicated").unwrap_or(token.text), ..token }
}

/// The tokens as one text, parted by single spaces where the text had any.
pub fn text(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    for token in tokens {
        match token.kind {
            Kind::Space if out.ends_with(' ') || out.is_empty() => {}
            Kind::Space => out.push(' '),
            _ => out.push_str(token.text),
        }
    }
    // An engine whose arguments were all left out.
    out.trim_end().replace("MergeTree()", "MergeTree")
}

/// The tokens without the TTL of the table and of its columns.
fn without_ttl<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let (mut kept, mut depth, mut left_out) =
        (Vec::<Token<'a>>::new(), 0_usize, None::<(usize, Option<Token<'a>>)>);
    for (at, token) in tokens.iter().enumerate() {
        if let Some((outside, space)) = left_out
            && depth == outside
        {
            let ends_column = outside > 0 && (token.is_mark(',') || token.is_mark(')'));
            let ends_clause = clause_at(tokens, at).is_some();
            if ends_column || ends_clause {
                kept.extend(space.filter(|_| ends_clause));
                left_out = None;
            }
        }
        if left_out.is_none() && depth <= 1 && token.is_word("TTL") {
            left_out = Some((depth, kept.pop_if(|last| last.kind == Kind::Space)));
        }
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        kept.extend(left_out.is_none().then_some(*token));
    }
    kept
}

impl Definition {
    pub fn parse(create: &str, database: &str) -> Definition {
        Definition::of(&neutral(create, database))
    }

    /// The same of a table whose TTL is not its definition's affair.
    pub fn parse_without_ttl(create: &str, database: &str) -> Definition {
        Definition::of(&without_ttl(&neutral(create, database)))
    }

    fn of(tokens: &[Token<'_>]) -> Definition {
        let create = text(tokens);
        let open = tokens.iter().position(|token| token.is_mark('('));
        // A view's columns stand before AS as well; a query in parentheses does not.
        let close = open.and_then(|open| closing(tokens, open));
        let (items, tail) = match (open, close) {
            (Some(open), Some(close)) if !has_clause(tokens.get(..open).unwrap_or_default()) => (
                items(tokens.get(open + 1..close).unwrap_or_default()),
                tokens.get(close + 1..).unwrap_or_default(),
            ),
            _ => (Vec::new(), tokens),
        };
        Definition { create, items, clauses: clauses(tail) }
    }

    pub fn clause(&self, name: &str) -> Option<&str> {
        self.clauses.get(name).map(String::as_str)
    }

    /// `SETTINGS` by name.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let pairs = split(&script::significant(self.clause("SETTINGS").unwrap_or_default()));
        let pair = |tokens: &Vec<Token<'_>>| {
            let (name, rest) = tokens.split_first()?;
            Some((name.text.to_owned(), text(rest.get(1..)?)))
        };
        pairs.iter().filter_map(pair).collect()
    }

    pub fn item(&self, what: &str, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.what == what && item.name == name)
    }
}

fn has_clause(tokens: &[Token<'_>]) -> bool {
    tokens.iter().any(|token| token.is_word("AS") || token.is_word("ENGINE"))
}

fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Parted at the commas outside of parentheses.
fn split<'a>(tokens: &[Token<'a>]) -> Vec<Vec<Token<'a>>> {
    let (mut all, mut depth) = (vec![Vec::new()], 0_usize);
    for token in tokens {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        match all.last_mut() {
            Some(last) if !(depth == 0 && token.is_mark(',')) => last.push(*token),
            _ => all.push(Vec::new()),
        }
    }
    all
}

fn items(tokens: &[Token<'_>]) -> Vec<Item> {
    let one = |tokens: Vec<Token<'_>>| {
        let said: Vec<&Token<'_>> = tokens.iter().filter(|token| token.is_significant()).collect();
        let first = said.first()?;
        let kinds = ["INDEX", "CONSTRAINT", "PROJECTION"];
        // A column of such a name stands in backticks.
        let kind = kinds.into_iter().find(|kind| first.is_word(kind));
        let name = match kind {
            Some(_) => said.get(1)?.name()?,
            None => first.name()?,
        };
        let skipped =
            if kind.is_some() { tokens.iter().position(|token| token.is_significant())? + 1 } else { 0 };
        let text = text(tokens.get(skipped..)?).trim().to_owned();
        Some(Item { what: kind.unwrap_or("COLUMN"), name, text })
    };
    split(tokens).into_iter().filter_map(one).collect()
}

fn clauses(tokens: &[Token<'_>]) -> BTreeMap<&'static str, String> {
    let (mut found, mut current, mut begin, mut depth) = (BTreeMap::new(), None, 0, 0_usize);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let here = if depth == 0 && current != Some("AS") { clause_at(tokens, at) } else { None };
        if let Some((clause, length)) = here {
            put(&mut found, current, tokens.get(begin..at).unwrap_or_default());
            (current, begin) = (Some(clause), at + length);
            at = begin;
        } else {
            at += 1;
        }
    }
    put(&mut found, current, tokens.get(begin..).unwrap_or_default());
    found
}

fn put(found: &mut BTreeMap<&'static str, String>, clause: Option<&'static str>, tokens: &[Token<'_>]) {
    if let Some(clause) = clause {
        let text = text(tokens);
        found.insert(clause, text.trim().trim_start_matches("= ").to_owned());
    }
}

/// The clause whose words stand here, and how many tokens they are.
fn clause_at(tokens: &[Token<'_>], at: usize) -> Option<(&'static str, usize)> {
    CLAUSES.into_iter().find_map(|clause| {
        let mut length = 0;
        for word in clause.split(' ') {
            while tokens.get(at + length).is_some_and(|token| token.kind == Kind::Space) && length > 0 {
                length += 1;
            }
            if !tokens.get(at + length)?.is_word(word) {
                return None;
            }
            length += 1;
        }
        Some((clause, length))
    })
}

/// The text of a literal.
pub fn literal(text: &str) -> String {
    unquoted(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_taken_apart() {
        let create = "CREATE TABLE db.t (`a` Int32, `d` DateTime TTL d + toIntervalDay(2), `INDEX` String DEFAULT 'x,(' CODEC(ZSTD(3)) \
            COMMENT 'db.t', INDEX i b TYPE minmax GRANULARITY 1, CONSTRAINT k CHECK a > 0, PROJECTION pr (SELECT b ORDER BY b)) \
            ENGINE = ReplicatedReplacingMergeTree('/p/{shard}', '{replica}', v) PARTITION BY toYYYYMM(d) ORDER BY (a, db.b) \
            TTL d + toIntervalDay(1) SETTINGS index_granularity = 8192, x = 'y,z' COMMENT 'ORDER BY'";
        let found = Definition::parse(create, "db");
        let items: Vec<_> =
            found.items.iter().map(|item| format!("{} {}: {}", item.what, item.name, item.text)).collect();
        assert_eq!(
            items,
            [
                "COLUMN a: `a` Int32",
                "COLUMN d: `d` DateTime TTL d + toIntervalDay(2)",
                "COLUMN INDEX: `INDEX` String DEFAULT 'x,(' CODEC(ZSTD(3)) COMMENT 'db.t'",
                "INDEX i: i b TYPE minmax GRANULARITY 1",
                "CONSTRAINT k: k CHECK a > 0",
                "PROJECTION pr: pr (SELECT b ORDER BY b)",
            ]
        );
        let clauses: Vec<_> = found.clauses.iter().map(|(name, text)| format!("{name}|{text}")).collect();
        assert_eq!(
            clauses,
            [
                "COMMENT|'ORDER BY'",
                "ENGINE|ReplacingMergeTree(v)",
                "ORDER BY|(a, b)",
                "PARTITION BY|toYYYYMM(d)",
                "SETTINGS|index_granularity = 8192, x = 'y,z'",
                "TTL|d + toIntervalDay(1)",
            ]
        );
        assert_eq!(found.settings().get("x").map(String::as_str), Some("'y,z'"));
    }

    #[test]
    fn a_table_is_the_same_with_and_without_ttl_where_that_does_not_count() {
        let table = |column: &str, clause: &str| {
            format!(
                "CREATE TABLE db.t (`TTL` DateTime{column}, `e` String CODEC(ZSTD(1)){column} SETTINGS (x = 1), \
                 `f` Tuple(a Int8){column}) ENGINE = MergeTree ORDER BY `TTL`{clause} SETTINGS y = 2 COMMENT 'TTL'"
            )
        };
        let parse = |create: &str| Definition::parse_without_ttl(create, "db");
        let plain = table("", "");
        let aged = table(
            " TTL `TTL` + toIntervalDay(2)",
            " TTL `TTL` + toIntervalDay(1), `TTL` + toIntervalDay(9) GROUP BY `TTL` SET e = max(e)",
        );
        assert_eq!(parse(&plain), Definition::parse(&plain, "db"));
        assert_eq!(parse(&aged), parse(&plain));
        let last = "CREATE TABLE db.t (`a` Date) ENGINE = MergeTree ORDER BY a";
        assert_eq!(parse(&format!("{last} TTL a + toIntervalDay(1)")), parse(last));
    }

    #[test]
    fn the_same_table_elsewhere_is_the_same() {
        let one = Definition::parse(
            "CREATE TABLE a.t (`x` Int8) ENGINE = ReplicatedMergeTree('/a', 'b') ORDER BY x",
            "a",
        );
        let two = Definition::parse("CREATE TABLE `b-c`.t\n(`x` Int8)\nENGINE = MergeTree ORDER BY x", "b-c");
        assert_eq!(one, two);
        assert_eq!(one.create, "CREATE TABLE t (`x` Int8) ENGINE = MergeTree ORDER BY x");
        let view = Definition::parse("CREATE VIEW a.v (`x` Int8) AS SELECT (x) FROM a.t ORDER BY x", "a");
        assert_eq!(view.clause("AS"), Some("SELECT (x) FROM t ORDER BY x"));
        assert_eq!(view.clauses.len(), 1);
    }
}
