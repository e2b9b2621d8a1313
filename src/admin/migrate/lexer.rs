//! Tells the tokens of SQL apart as ClickHouse does, so that a `;` in a text, a comment or data parts nothing.
//!
//! Refuses to understand SQL. The texts of the tokens, one after the other, are the text that was read.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Space,
    /// `-- …`, `# …`, `#! …`, `// …` or nested `/* … */`.
    Comment,
    /// A keyword, a name without quotes or a number.
    Word,
    /// A name between backticks, double quotes or “ ”.
    Name,
    /// A text between single quotes or ‘ ’.
    Text,
    /// `$tag$ … $tag$`.
    Heredoc,
    /// Any other single character.
    Mark,
    /// `;` between statements.
    End,
    /// What follows `INSERT … FORMAT name`.
    Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
}

impl Token<'_> {
    /// Whether it says something to the server.
    pub fn is_significant(&self) -> bool {
        !matches!(self.kind, Kind::Space | Kind::Comment)
    }

    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark && self.text.chars().eq([mark])
    }

    /// What it names, if it can be a name: without quotes and escapes.
    pub fn name(&self) -> Option<String> {
        match self.kind {
            Kind::Word => Some(self.text.to_owned()),
            Kind::Name => Some(unquoted(self.text)),
            _ => None,
        }
    }
}

/// The text without its quotes and what escapes its characters.
pub fn unquoted(text: &str) -> String {
    let mut chars = text.chars();
    let Some(mark) = chars.next() else { return String::new() };
    let _last = chars.next_back();
    let (mut out, mut rest) = (String::new(), chars.peekable());
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('0') => out.push('\0'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c if c == mark => {
                let _second = rest.next_if_eq(&mark);
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// A token that never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unended {
    pub what: &'static str,
    /// Byte that it begins at.
    pub at: usize,
}

/// Goes through a text token by token.
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// Byte that the next token begins at.
    pub fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes data up to a line that holds nothing but `;`, or to the end.
    pub fn data(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let mut length = 0;
        for line in rest.split_inclusive('\n') {
            // The line that FORMAT stands on cannot end the data.
            if length > 0 && line.trim() == ";" {
                break;
            }
            length += line.len();
        }
        self.at += length;
        rest.get(..length).filter(|data| !data.is_empty()).map(|text| Token { kind: Kind::Data, text })
    }

    /// What stands on the rest of the line, before the next token is taken.
    pub fn rest_of_line(&self) -> &'a str {
        self.rest().split('\n').next().unwrap_or_default()
    }
}

/// Ends after a quote or a comment that is not closed.
impl<'a> Iterator for Lexer<'a> {
    type Item = Result<Token<'a>, Unended>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        match scan(rest, first) {
            Ok((kind, length)) => {
                self.at += length;
                Some(Ok(Token { kind, text: rest.get(..length).unwrap_or_default() }))
            }
            Err(what) => {
                let at = std::mem::replace(&mut self.at, self.text.len());
                Some(Err(Unended { what, at }))
            }
        }
    }
}

fn is_in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// Kind and length of the token that the text begins with.
fn scan(rest: &str, first: char) -> Result<(Kind, usize), &'static str> {
    let run = |kind, stop: fn(char) -> bool| (kind, rest.find(stop).unwrap_or(rest.len()));
    let second = rest.chars().nth(1);
    match (first, second) {
        (c, _) if is_space(c) => Ok(run(Kind::Space, |c| !is_space(c))),
        ('-', Some('-')) | ('/', Some('/')) | ('#', Some(' ' | '!')) => Ok(run(Kind::Comment, |c| c == '\n')),
        ('/', Some('*')) => nested_comment(rest).map(|length| (Kind::Comment, length)),
        ('\'', _) => quoted(rest, b'\'').map(|length| (Kind::Text, length)),
        ('`', _) => quoted(rest, b'`').map(|length| (Kind::Name, length)),
        ('"', _) => quoted(rest, b'"').map(|length| (Kind::Name, length)),
        ('‘', _) => up_to(rest, '’').map(|length| (Kind::Text, length)),
        ('“', _) => up_to(rest, '”').map(|length| (Kind::Name, length)),
        ('$', _) => Ok(dollar(rest)),
        (c, _) if c.is_ascii_digit() => Ok(run(Kind::Word, |c| !is_in_word(c))),
        (c, _) if is_in_word(c) => Ok(run(Kind::Word, |c| !is_in_word(c) && c != '$')),
        (';', _) => Ok((Kind::End, 1)),
        (c, _) => Ok((Kind::Mark, c.len_utf8())),
    }
}

fn nested_comment(rest: &str) -> Result<usize, &'static str> {
    let (mut depth, mut at, bytes) = (0_usize, 0, rest.as_bytes());
    while let Some(two) = bytes.get(at..at + 2) {
        match two {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Ok(at);
        }
    }
    Err("a comment that begins with /* is not closed; they nest")
}

/// A backslash takes the next character with it, and two quotes in a row are one inside.
fn quoted(rest: &str, mark: u8) -> Result<usize, &'static str> {
    let (mut at, bytes) = (1, rest.as_bytes());
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' => at += 2,
            byte if byte == mark && bytes.get(at + 1) == Some(&mark) => at += 2,
            byte if byte == mark => return Ok(at + 1),
            _ => at += 1,
        }
    }
    Err("a quote is not closed")
}

fn up_to(rest: &str, mark: char) -> Result<usize, &'static str> {
    rest.find(mark).map(|at| at + mark.len_utf8()).ok_or("a quote is not closed")
}

/// A heredoc if it has an end, or else a word or a mark.
fn dollar(rest: &str) -> (Kind, usize) {
    let after = rest.get(1..).unwrap_or_default();
    let tag_end =
        after.find(|c| !is_in_word(c)).filter(|end| after.get(*end..).is_some_and(|r| r.starts_with('$')));
    let heredoc = tag_end.and_then(|end| {
        let tag = rest.get(..end + 2)?;
        let inside = rest.get(tag.len()..)?;
        Some(tag.len() * 2 + inside.find(tag)?)
    });
    match heredoc {
        Some(length) => (Kind::Heredoc, length),
        None if after.starts_with(is_in_word) => {
            (Kind::Word, rest.find(|c| !is_in_word(c) && c != '$').unwrap_or(rest.len()))
        }
        None => (Kind::Mark, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        Lexer::new(text).map(|token| token.unwrap()).map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn nothing_in_quotes_comments_and_heredocs_ends_a_statement() {
        for (text, kind) in [
            (r"'a\';b'", Kind::Text),
            ("'a'';b'", Kind::Text),
            (r"'a;\\'", Kind::Text),
            ("‘it;s’", Kind::Text),
            (r"`a\`;b`", Kind::Name),
            ("`a``;b`", Kind::Name),
            ("\"a\"\";b\"", Kind::Name),
            ("“a;b”", Kind::Name),
            ("--; x", Kind::Comment),
            ("# ; x", Kind::Comment),
            ("#!; x", Kind::Comment),
            ("//; x", Kind::Comment),
            ("/* ; /* ' */ ; */", Kind::Comment),
            ("$$a;b$$", Kind::Heredoc),
            ("$tag$ ; $$ ; $tag$", Kind::Heredoc),
            ("$1$;$1$", Kind::Heredoc),
            ("a$b$c", Kind::Word),
            ("$unended", Kind::Word),
        ] {
            assert_eq!(kinds(text), [(kind, text)], "{text}");
        }
        assert_eq!(kinds("1$t$;$t$"), [(Kind::Word, "1"), (Kind::Heredoc, "$t$;$t$")]);
        assert_eq!(kinds("#x"), [(Kind::Mark, "#"), (Kind::Word, "x")]);
        assert_eq!(kinds("$-x$;")[3], (Kind::End, ";"));
    }

    #[test]
    fn what_is_not_closed_is_told_with_its_place() {
        for text in ["a 'b", "a /* /* */", "a `b\\`", "a \"", "a “b"] {
            let fault = Lexer::new(text).find_map(Result::err).unwrap();
            assert_eq!(fault.at, 2, "{text}");
        }
    }

    #[test]
    fn quotes_are_taken_off() {
        for (text, inside) in [("`a``b`", "a`b"), (r#""a\"b""#, "a\"b"), ("“a”", "a"), (r"'\\n'", "\\n")]
        {
            assert_eq!(unquoted(text), inside);
        }
    }

    proptest! {
        #[test]
        fn the_tokens_together_are_the_text(text in "([a-z ;'\"`$#/*\\-\n(“”‘’ü]|--|/\\*|\\*/|\\$t\\$|''){0,40}") {
            let tokens: Vec<_> = Lexer::new(&text).collect();
            let joined: String = tokens.iter().flatten().map(|token| token.text).collect();
            let ended = tokens.iter().find_map(|token| token.err()).map_or(text.len(), |unended| unended.at);
            prop_assert_eq!(&joined, &text[..ended]);
            prop_assert!(tokens.iter().flatten().all(|token| !token.text.is_empty()));
        }

        #[test]
        fn any_text_in_quotes_is_one_token(inside in ".{0,30}") {
            for quoted in [crate::clickhouse::quote_string(&inside), crate::clickhouse::quote_identifier(&inside)] {
                let found = kinds(&quoted);
                prop_assert_eq!(found.len(), 1);
                prop_assert_eq!(unquoted(&quoted), inside.clone());
            }
        }
    }
}
