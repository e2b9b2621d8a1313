//! Reads the definitions that ClickHouse prints of its own tables: engines, settings, targets of views.
//!
//! Refuses to understand SQL: it tells words, quoted names, texts and marks apart, and finds what it looks for
//! among them. What is inside of a text or a quoted name is never taken for something else.

/// One token of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A keyword, a name without quotes or a number.
    Word(String),
    /// A name between backticks or double quotes.
    Name(String),
    /// A string literal.
    Text(String),
    Mark(char),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Name(name) => Some(name),
            Token::Text(_) | Token::Mark(_) => None,
        }
    }

    fn value(&self) -> Option<&str> {
        match self {
            Token::Word(value) | Token::Name(value) | Token::Text(value) => Some(value),
            Token::Mark(_) => None,
        }
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    let (mut all, mut rest) = (Vec::new(), text.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '\'' => all.push(Token::Text(quoted(&mut rest, c))),
            '`' | '"' => all.push(Token::Name(quoted(&mut rest, c))),
            c if is_in_word(c) => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| is_in_word(*c)) {
                    word.push(c);
                }
                all.push(Token::Word(word));
            }
            c if c.is_whitespace() => {}
            c => all.push(Token::Mark(c)),
        }
    }
    all
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The rest of a quoted token, without what escapes its characters.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, mark: char) -> String {
    let mut out = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => out.extend(rest.next()),
            c if c == mark && rest.next_if_eq(&mark).is_none() => break,
            c => out.push(c),
        }
    }
    out
}

/// Tokens outside of all brackets, each with its place.
fn top_level(tokens: &[Token]) -> impl Iterator<Item = (usize, &Token)> {
    let mut depth = 0_usize;
    tokens.iter().enumerate().filter(move |(_, token)| {
        match token {
            Token::Mark('(' | '[') => depth += 1,
            Token::Mark(')' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

/// The value of a setting in an `engine_full`.
pub fn setting(engine_full: &str, name: &str) -> Option<u64> {
    let tokens = tokens(engine_full);
    let (at, _) = top_level(&tokens).find(|(_, token)| token.is_word("SETTINGS"))?;
    let settings = tokens.get(at..)?;
    let value = settings.windows(3).find_map(|three| match three {
        [found, Token::Mark('='), value] if found.is_word(name) => value.value(),
        _ => None,
    });
    value?.parse().ok()
}

/// Whether rows of the table go, or become fewer, when their time is over.
pub fn has_ttl(engine_full: &str) -> bool {
    top_level(&tokens(engine_full)).any(|(_, token)| token.is_word("TTL"))
}

/// Whether rows of the table are merged into fewer ones by time.
pub fn groups_by_ttl(engine_full: &str) -> bool {
    let tokens = tokens(engine_full);
    let after = top_level(&tokens).skip_while(|(_, token)| !token.is_word("TTL"));
    after.map(|(_, token)| token).any(|token| token.is_word("GROUP"))
}

/// Where a materialized view writes to, by its CREATE statement; none if into a table of its own.
pub fn view_target(create: &str) -> Option<(Option<String>, String)> {
    let tokens = tokens(create);
    let before = top_level(&tokens).take_while(|(_, token)| !token.is_word("AS"));
    let at = before.filter(|(_, token)| token.is_word("TO")).last()?.0;
    let first = tokens.get(at + 1)?.name()?.to_owned();
    match tokens.get(at + 2) {
        Some(Token::Mark('.')) => Some((Some(first), tokens.get(at + 3)?.name()?.to_owned())),
        _ => Some((None, first)),
    }
}

/// The arguments of `Distributed(...)` in an `engine_full`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributedArguments {
    pub cluster: String,
    /// Empty for the database of the table itself.
    pub database: String,
    pub table: String,
    pub sharding_key: Option<Vec<Token>>,
}

pub fn distributed(engine_full: &str) -> Option<DistributedArguments> {
    let tokens = tokens(engine_full);
    let [Token::Word(_), Token::Mark('('), inside @ ..] = tokens.as_slice() else { return None };
    let (mut arguments, mut depth) = (vec![Vec::new()], 0_usize);
    for token in inside {
        match token {
            Token::Mark(')') if depth == 0 => break,
            Token::Mark(',') if depth == 0 => {
                arguments.push(Vec::new());
                continue;
            }
            Token::Mark('(') => depth += 1,
            Token::Mark(')') => depth -= 1,
            _ => {}
        }
        arguments.last_mut()?.push(token.clone());
    }
    let mut arguments = arguments.into_iter();
    let mut one = || arguments.next()?.first()?.value().map(str::to_owned);
    let (cluster, database, table) = (one()?, one()?, one()?);
    let sharding_key = arguments.next().filter(|tokens| !tokens.is_empty());
    Some(DistributedArguments { cluster, database, table, sharding_key })
}

/// Functions whose result is another one in another try.
const VOLATILE: [&str; 22] = [
    "now",
    "now64",
    "nowinblock",
    "nowinblock64",
    "today",
    "yesterday",
    "current_timestamp",
    "curdate",
    "utctimestamp",
    "fuzzbits",
    "hostname",
    "fqdn",
    "serveruuid",
    "queryid",
    "initialqueryid",
    "currentuser",
    "blocknumber",
    "rownumberinblock",
    "rownumberinallblocks",
    "runningaccumulate",
    "uptime",
    "connectionid",
];

/// The first function in the expression whose result is another one in another try.
pub fn volatile(tokens: &[Token]) -> Option<&str> {
    tokens.windows(2).find_map(|two| match two {
        [Token::Word(name), Token::Mark('(')] => {
            let lower = name.to_ascii_lowercase();
            let drawn =
                lower.starts_with("rand") || lower.starts_with("generate") && lower != "generateseries";
            (drawn || VOLATILE.contains(&lower.as_str())).then_some(name.as_str())
        }
        _ => None,
    })
}

/// Whether the expression names this column.
pub fn names(tokens: &[Token], column: &str) -> bool {
    tokens.iter().any(|token| token.name() == Some(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: &str = "ReplicatedMergeTree('/x SETTINGS a = 1', '{replica}') PARTITION BY toYYYYMM(d) ORDER BY k \
        TTL d + toIntervalDay(1) SETTINGS replicated_deduplication_window = 7, index_granularity = 8192";

    #[test]
    fn settings_are_found_where_they_stand() {
        assert_eq!(setting(ENGINE, "replicated_deduplication_window"), Some(7));
        assert_eq!(setting(ENGINE, "index_granularity"), Some(8192));
        assert_eq!(setting(ENGINE, "a"), None, "it is inside of a text");
        assert_eq!(setting("MergeTree ORDER BY k", "index_granularity"), None);
        assert!(!groups_by_ttl(ENGINE));
        assert!(groups_by_ttl("MergeTree ORDER BY k TTL d + toIntervalDay(1) GROUP BY k SET v = sum(v)"));
    }

    #[test]
    fn views_write_where_they_say() {
        let to = |text| view_target(text).map(|(d, t)| format!("{}/{t}", d.unwrap_or_default()));
        let cases = [
            (
                "CREATE MATERIALIZED VIEW x.`v 2` TO x.`d\\`1` (`TO` Int32) AS SELECT k FROM x.src",
                Some("x/d`1"),
            ),
            ("CREATE MATERIALIZED VIEW v TO d AS SELECT 1", Some("/d")),
            (
                "CREATE MATERIALIZED VIEW x.v (`k` Int32) ENGINE = MergeTree ORDER BY k AS SELECT k AS TO",
                None,
            ),
            (
                "CREATE MATERIALIZED VIEW x.v REFRESH EVERY 1 HOUR APPEND TO x.d (`k` Int32) AS SELECT 1",
                Some("x/d"),
            ),
            ("CREATE MATERIALIZED VIEW", None),
        ];
        for (text, target) in cases {
            assert_eq!(to(text).as_deref(), target, "{text}");
        }
    }

    #[test]
    fn distributed_tables_are_taken_apart() {
        let whole =
            distributed("Distributed('c1', 'db', 't', cityHash64(a, rand())) SETTINGS x = 1").unwrap();
        assert_eq!(
            (whole.cluster.as_str(), whole.database.as_str(), whole.table.as_str()),
            ("c1", "db", "t")
        );
        assert_eq!(volatile(&whole.sharding_key.unwrap()), Some("rand"));
        assert_eq!(distributed("Distributed('c1', 'db', 't')").unwrap().sharding_key, None);
        assert_eq!(distributed("Null"), None);
    }

    #[test]
    fn volatile_functions_are_found_and_nothing_else() {
        for text in ["toDate(now())", "NOW64(3)", "rand() % 4", "randCanonical()", "generateUUIDv7()"] {
            assert!(volatile(&tokens(text)).is_some(), "{text}");
        }
        for text in
            ["toYYYYMM(d)", "now", "`now`(1)", "'now()'", "cityHash64(k, 'rand()')", "generateSeries(1)"]
        {
            assert!(volatile(&tokens(text)).is_none(), "{text}");
        }
        assert!(names(&tokens("toDate(`a b`) + c"), "a b") && !names(&tokens("f('c')"), "c"));
    }
}
