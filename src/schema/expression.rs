//! Finds the columns that a key expression names: `toYYYYMM(time)` names `time`.
//!
//! Refuses to parse SQL. It takes out texts, numbers, functions and operators' words, and what is left
//! must be columns.

/// Words of expressions that are no columns.
const WORDS: [&str; 24] = [
    "and", "or", "not", "in", "is", "null", "like", "between", "case", "when", "then", "else", "end", "as",
    "asc", "desc", "interval", "true", "false", "second", "minute", "hour", "day", "month",
];

/// Names of columns in the order of the text; a subcolumn `a.b` as it stands.
pub fn columns(expression: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let (name, behind) = match first {
            '\'' => (None, quoted(rest, '\'').1),
            '`' | '"' => {
                let (name, behind) = quoted(rest, first);
                (Some(name), behind)
            }
            c if c.is_alphabetic() || c == '_' => word(rest),
            c if c.is_ascii_digit() => {
                (None, rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '.'))
            }
            c => (None, rest.get(c.len_utf8()..).unwrap_or_default()),
        };
        names.extend(name);
        rest = behind;
    }
    names
}

fn word(text: &str) -> (Option<String>, &str) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let function = rest.trim_start().starts_with('(');
    let known = WORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
    ((!function && !known).then(|| word.to_owned()), rest)
}

/// The text between the quote at the start and its end, and what stands behind.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut content = String::new();
    let mut chars = text.chars();
    chars.next();
    while let Some(c) = chars.next() {
        match c {
            '\\' => content.extend(chars.next()),
            c if c == quote => break,
            c => content.push(c),
        }
    }
    (content, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_are_told_from_everything_else() {
        for (expression, expected) in [
            ("time", vec!["time"]),
            ("toYYYYMM(time)", vec!["time"]),
            ("(a, lower (b) DESC, 'c', 1e3, `d e`, n.x)", vec!["a", "b", "d e", "n.x"]),
            ("toStartOfInterval(t, INTERVAL 1 DAY)", vec!["t"]),
            ("'it\\'s a' = x", vec!["x"]),
            ("tuple()", vec![]),
        ] {
            assert_eq!(columns(expression), expected, "{expression}");
        }
    }
}
