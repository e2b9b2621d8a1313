//! A migration file as a list of statements, each with what its pragmas say.
//!
//! Refuses to change a statement. The checksum sees neither comments nor white space, and it is made before
//! any value of the environment is put in.

use sha2::{Digest, Sha256};

use super::lexer::{Kind, Lexer, Token};
use super::pragma::Pragmas;
use super::statement::Reading;
use crate::admin::key::hex;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// From its first to its last token, without the `;` behind it.
    pub text: String,
    /// Line of its first token, counted from 1.
    pub line: usize,
    /// Its own pragmas with those of the file behind them.
    pub pragmas: Pragmas,
    /// Of its words, before any value is put in.
    pub reading: Reading,
    /// Of its tokens, as 64 hexadecimal digits.
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What is said before the first statement, and holds for all.
    pub pragmas: Pragmas,
    pub statements: Vec<Statement>,
    /// Of all statements, as 64 hexadecimal digits.
    pub sha256: String,
}

impl Script {
    /// # Errors
    /// A token that does not end, a pragma that is none, or a file without a statement.
    pub fn parse(text: &str) -> Result<Script, Fault> {
        let fault = |at: usize, message: String| Fault { line: line_of(text, at), message };
        let (mut head, mut statements) = (None, Vec::new());
        for piece in pieces(text).map_err(|unended| fault(unended.at, unended.what.to_owned()))? {
            let (mut before, mut own) = (Pragmas::default(), Pragmas::default());
            let (mut at, mut first) = (piece.at, None);
            for token in &piece.tokens {
                let into = if first.is_none() { &mut before } else { &mut own };
                if token.kind == Kind::Comment {
                    into.read(token.text).map_err(|message| fault(at, message))?;
                }
                if token.is_significant() && first.is_none() {
                    first = Some(at);
                }
                at += token.text.len();
            }
            let Some(first) = first.filter(|_| piece.has_statement()) else { continue };
            // What stands before the first statement is the file's, before any other one it is that one's.
            match head {
                None => head = Some(before),
                Some(_) => own = own.within(&before).or(before),
            }
            let file = head.as_ref().cloned().unwrap_or_default();
            statements.push(Statement {
                text: piece.statement().to_owned(),
                reading: Reading::of(piece.statement()),
                line: line_of(text, first),
                pragmas: own.within(&file),
                sha256: checksum(&piece.tokens),
            });
        }
        if statements.is_empty() {
            return Err(fault(0, "the file holds no statement; write one, or remove the file".to_owned()));
        }
        let all: Vec<&str> = statements.iter().map(|statement| statement.sha256.as_str()).collect();
        let sha256 = hex(Sha256::digest(all.join("\n").as_bytes()).as_slice());
        Ok(Script { pragmas: head.unwrap_or_default(), statements, sha256 })
    }

    /// What tells whether the statement was carried out. The file's own tells it only of a single one.
    pub fn verify_of<'s>(&'s self, statement: &'s Statement) -> Option<&'s str> {
        let of_file = self.pragmas.verify.as_deref().filter(|_| self.statements.len() == 1);
        statement.pragmas.verify.as_deref().or(of_file)
    }
}

impl Pragmas {
    /// Its own SELECTs, or else the other's.
    fn or(self, other: Pragmas) -> Pragmas {
        Pragmas { skip_if: self.skip_if.or(other.skip_if), verify: self.verify.or(other.verify), ..self }
    }
}

/// One statement with everything before it, and the `;` behind it.
pub struct Piece<'a> {
    at: usize,
    text: &'a str,
    pub tokens: Vec<Token<'a>>,
}

impl<'a> Piece<'a> {
    fn has_statement(&self) -> bool {
        self.tokens.iter().any(|token| token.is_significant() && token.kind != Kind::End)
    }

    fn statement(&self) -> &'a str {
        let length = |tokens: &[Token<'a>]| tokens.iter().map(|token| token.text.len()).sum::<usize>();
        let says = |token: &Token<'a>| token.is_significant() && token.kind != Kind::End;
        let first = self.tokens.iter().position(says).unwrap_or(0);
        let last = self.tokens.iter().rposition(says).map_or(0, |last| last + 1);
        let from = length(self.tokens.get(..first).unwrap_or_default());
        let to = length(self.tokens.get(..last).unwrap_or_default());
        self.text.get(from..to).unwrap_or_default()
    }
}

/// The text in pieces, which together are the text.
///
/// # Errors
/// A token that does not end.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, super::lexer::Unended> {
    let mut lexer = Lexer::new(text);
    let (mut pieces, mut tokens, mut begin) = (Vec::new(), Vec::new(), 0);
    while let Some(token) = lexer.next() {
        let token = token?;
        tokens.push(token);
        if token.kind == Kind::Word && data_follows(&tokens) && !ends_here(lexer.rest_of_line()) {
            tokens.extend(lexer.data());
        }
        if token.kind == Kind::End {
            let text = text.get(begin..lexer.at()).unwrap_or_default();
            pieces.push(Piece { at: begin, text, tokens: std::mem::take(&mut tokens) });
            begin = lexer.at();
        }
    }
    if !tokens.is_empty() {
        pieces.push(Piece { at: begin, text: text.get(begin..).unwrap_or_default(), tokens });
    }
    Ok(pieces)
}

/// What one statement says, token by token; nothing of what cannot be read.
pub fn significant(statement: &str) -> Vec<Token<'_>> {
    let tokens = pieces(statement).into_iter().flatten().flat_map(|piece| piece.tokens);
    tokens.filter(Token::is_significant).collect()
}

fn ends_here(rest_of_line: &str) -> bool {
    rest_of_line.trim_start().starts_with(';')
}

/// Whether the tokens are `INSERT … FORMAT name` with data behind them, which are no SQL. VALUES are.
fn data_follows(tokens: &[Token<'_>]) -> bool {
    let mut said = tokens.iter().filter(|token| token.is_significant());
    if !said.next().is_some_and(|token| token.is_word("INSERT")) {
        return false;
    }
    let said: Vec<&Token<'_>> = said.collect();
    let [.., before, format, name] = said.as_slice() else { return false };
    let is_name_of_table = before.is_word("INTO") || before.is_word("TABLE") || before.is_mark('.');
    if !format.is_word("FORMAT") || is_name_of_table || name.is_word("VALUES") {
        return false;
    }
    let mut depth = 0_usize;
    for token in &said {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let own = ["SELECT", "WITH", "INFILE", "VALUES", "WATCH"].iter().any(|word| token.is_word(word));
        if depth == 0 && own {
            return false;
        }
    }
    depth == 0
}

fn checksum(tokens: &[Token<'_>]) -> String {
    let mut hash = Sha256::new();
    for token in tokens.iter().filter(|token| token.is_significant() && token.kind != Kind::End) {
        // The end of a file may or may not have a line end.
        let text = if token.kind == Kind::Data { token.text.trim_end() } else { token.text };
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hex(hash.finalize().as_slice())
}

/// The checksum of a text as it is.
pub fn sha256(text: &str) -> String {
    hex(Sha256::digest(text.as_bytes()).as_slice())
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::super::pragma::{Danger, Target};
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<String> {
        Script::parse(text).unwrap().statements.into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn statements_are_parted_where_they_end_and_nowhere_else() {
        let file = "-- head; \nCREATE TABLE a (x String DEFAULT 'a;b') -- tail;\n;;\n/* ; */ SELECT $x$;$x$;\n\
                    INSERT INTO a VALUES ('1;'), (';');\nINSERT INTO a FORMAT CSV\n1;2\n\"a\n;b\"\n;\n\
                    INSERT INTO d.format (format) FORMAT JSONEachRow {\"x\": \";\"}\n{\"x\": 2};\n;\n\
                    INSERT INTO a SELECT 1 FORMAT Null; INSERT INTO a FORMAT Null;\nSELECT 'it''s;', `a;`\n# the end;\n";
        let expected = [
            "CREATE TABLE a (x String DEFAULT 'a;b')",
            "SELECT $x$;$x$",
            "INSERT INTO a VALUES ('1;'), (';')",
            "INSERT INTO a FORMAT CSV\n1;2\n\"a\n;b\"\n",
            "INSERT INTO d.format (format) FORMAT JSONEachRow {\"x\": \";\"}\n{\"x\": 2};\n",
            "INSERT INTO a SELECT 1 FORMAT Null",
            "INSERT INTO a FORMAT Null",
            "SELECT 'it''s;', `a;`",
        ];
        assert_eq!(texts(file), expected);
        let joined: String = pieces(file).unwrap().iter().map(|piece| piece.text).collect();
        assert_eq!(joined, file);
    }

    #[test]
    fn pragmas_are_the_files_the_next_statements_or_the_statements_own() {
        let file = "-- penstock: target=one, verify=SELECT 1\nSELECT -- penstock: timeout=3s\n 1;\n\
                    -- penstock: danger=drop, verify=SELECT 2\nSELECT 2;";
        let script = Script::parse(file).unwrap();
        let [first, second] = script.statements.as_slice() else { panic!("{script:?}") };
        assert_eq!((first.pragmas.target, second.pragmas.target), (Some(Target::One), Some(Target::One)));
        assert!(first.pragmas.timeout.is_some() && second.pragmas.timeout.is_none());
        assert!(first.pragmas.danger.is_empty() && second.pragmas.danger.contains(&Danger::Drop));
        assert_eq!((first.line, second.line), (2, 5));
        assert_eq!((script.verify_of(first), script.verify_of(second)), (None, Some("SELECT 2")));
    }

    #[test]
    fn faults_have_their_line() {
        for (text, line) in
            [("SELECT 1;\n\nSELECT 'x", 3), ("\n-- penstock: danger=x\nSELECT 1", 2), ("-- only\n", 1)]
        {
            assert_eq!(Script::parse(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn the_checksum_sees_tokens_only() {
        let sum = |text| Script::parse(text).unwrap().sha256;
        let one = sum("SELECT 1, 'a b'; SELECT 2");
        assert_eq!(one, sum("-- penstock: timeout=1s\nSELECT /* x */ 1,\n 'a b';\nSELECT 2;\n"));
        for other in [
            "SELECT 1, 'a  b'; SELECT 2",
            "SELECT 1, 'a b'",
            "SELECT 2; SELECT 1, 'a b'",
            "SELECT 11, 'a b'; SELECT 2",
        ] {
            assert_ne!(one, sum(other), "{other}");
        }
    }

    fn statement() -> impl Strategy<Value = String> {
        let inside = "[a-z;'\"`$ \n#*/-]{0,12}";
        prop_oneof![
            inside.prop_map(|text| format!("SELECT {}", crate::clickhouse::quote_string(&text))),
            inside.prop_map(|text| format!("SELECT {} FROM t", crate::clickhouse::quote_identifier(&text))),
            "[a-z;'\"` \n#*/-]{0,12}".prop_map(|text| format!("SELECT $q$ {text} $q$")),
            "[a-z;'\"` -]{0,12}".prop_map(|text| format!("SELECT 1 -- {text}\n, 2")),
            "[a-z;'\"` \n-]{0,12}".prop_map(|text| format!("SELECT 1 /* {text} */, 2")),
            "x[a-z;'\"`/*]{0,8}(\n[a-z;'\"`]{2,8}){0,3}"
                .prop_map(|data| format!("INSERT INTO t FORMAT CSV\n{data}\n")),
        ]
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_taken_apart(all in prop::collection::vec(statement(), 1..8)) {
            let file: String = all.iter().map(|one| format!("{one};\n")).collect();
            prop_assert_eq!(texts(&file), all);
            let joined: String = pieces(&file).unwrap().iter().map(|piece| piece.text).collect();
            prop_assert_eq!(joined, file);
        }

        #[test]
        fn any_text_is_the_join_of_its_pieces(text in "(INSERT INTO t |FORMAT CSV|[a-z ;'\"`$#\n(]|--|/\\*|\\*/|\\$t\\$){0,30}") {
            if let Ok(found) = pieces(&text) {
                let joined: String = found.iter().map(|piece| piece.text).collect();
                prop_assert_eq!(joined, text);
            }
        }
    }
}
