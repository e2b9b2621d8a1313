//! Finds the columns that a key expression names: `toYYYYMM(time)` names `time`.
//!
//! Refuses to parse SQL. It takes out texts, numbers, functions and operators' words, and what is left
//! must be columns.

/// Words of expressions that are no columns.
const WORDS: [&str; 18] = [
    "and", "or", "not", "in", "is", "null", "like", "between", "case", "when", "then", "else", "end", "as",
    "asc", "desc", "true", "false",
];
/// Behind `INTERVAL` and a number they are no columns; elsewhere they may well be.
const UNITS: [&str; 8] = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"];

/// Names of columns in the order of the text; a subcolumn `a.b` as it stands.
pub fn columns(expression: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = expression;
    let mut awaits_unit = false;
    while let Some(first) = rest.chars().next() {
        let (name, behind) = match first {
            '\'' => (None, quoted(rest, '\'').1),
            '`' | '"' => {
                let (name, behind) = quoted(rest, first);
                (Some(name), behind)
            }
            c if c.is_alphabetic() || c == '_' => {
                let (word, behind) = word(rest);
                let is_unit = awaits_unit && is_among(&UNITS, word);
                let is_function = behind.trim_start().starts_with('(');
                let is_interval = word.eq_ignore_ascii_case("interval") && !is_function;
                awaits_unit = (awaits_unit && !is_unit) || is_interval;
                let is_name = !is_unit && !is_interval && !is_function && !is_among(&WORDS, word);
                (is_name.then(|| word.to_owned()), behind)
            }
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

/// The word at the start, and what stands behind.
fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len()))
}

fn is_among(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
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
            ("(day, month)", vec!["day", "month"]),
            ("(t + INTERVAL n week, hour)", vec!["t", "n", "hour"]),
            ("'it\\'s a' = x", vec!["x"]),
            ("tuple()", vec![]),
        ] {
            assert_eq!(columns(expression), expected, "{expression}");
        }
    }
}
