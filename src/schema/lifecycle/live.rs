//! Finds the TTL in what `system.tables` says of a table, and compares spellings.
//!
//! Refuses to parse expressions: it knows quotes and brackets, so that a word inside of them is never taken for the
//! beginning or the end.

/// The TTL clause of an `engine_full` or of a column's definition; none without one.
pub fn ttl_of(definition: &str) -> Option<&str> {
    let begin = word_at(definition, "TTL", 0)?;
    let from = begin + "TTL".len();
    let to = word_at(definition, "SETTINGS", from).unwrap_or(definition.len());
    definition.get(from..to).map(str::trim)
}

/// Where the word stands by itself, outside of quotes and brackets, from a place on.
fn word_at(text: &str, word: &str, from: usize) -> Option<usize> {
    let (mut depth, mut quote, mut escaped, mut in_word) = (0_usize, None, false, false);
    for (at, c) in text.char_indices() {
        let starts = !in_word;
        in_word = quote.is_none() && (c.is_alphanumeric() || c == '_');
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(mark), c) if c == mark => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '`' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 && starts && from <= at => {
                let rest = text.get(at..).unwrap_or_default();
                let behind = rest.strip_prefix(word).map(|behind| behind.chars().next());
                if behind.is_some_and(|next| next.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))) {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// A text without what only its spelling can differ in.
pub fn plain(ttl: &str) -> String {
    ttl.chars().filter(|c| !c.is_whitespace() && *c != '`').collect()
}
