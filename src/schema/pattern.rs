//! Translates a regular expression of JSON Schema (ECMA-262) into one of ours.
//!
//! Refuses what the two dialects could read differently: such a pattern is left to the residual.

/// Size of a compiled pattern, so that one rule cannot take the memory of many rows.
pub(super) const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The pattern, where both dialects of regular expressions agree on it; `\d` and `\w` are ASCII there.
pub(super) fn translated(text: &str) -> Option<regex::Regex> {
    let mut out = String::with_capacity(text.len());
    let mut in_class = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, in_class) {
            ('\\', _) => match (chars.next()?, in_class) {
                ('d', true) => out.push_str("0-9"),
                ('d', false) => out.push_str("[0-9]"),
                ('w', true) => out.push_str("0-9A-Za-z_"),
                ('w', false) => out.push_str("[0-9A-Za-z_]"),
                (escaped, _) if escaped.is_ascii_punctuation() => out.extend(['\\', escaped]),
                _ => return None,
            },
            ('.', false) => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            ('[', false) => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if chars.peek() == Some(&']') {
                    return None;
                }
            }
            ('[' | '&' | '~', true) => return None,
            ('-', true) if chars.peek() == Some(&'-') => return None,
            (']', true) => {
                in_class = false;
                out.push(']');
            }
            ('(', false) if chars.peek() == Some(&'?') => {
                chars.next();
                if chars.next() != Some(':') {
                    return None;
                }
                out.push_str("(?:");
            }
            ('{', false) if !chars.peek().is_some_and(char::is_ascii_digit) => return None,
            (c, _) => out.push(c),
        }
    }
    regex::RegexBuilder::new(&out).size_limit(PATTERN_BYTES_MAX).build().ok()
}
