//! How dead letters look: one in full, and the cells of lists.
//!
//! Refuses to change what it shows: a value that cannot be set out without changing it is shown as it is, and
//! what cannot be shown as text is shown as bytes. Control characters never reach the terminal.

use serde_json::Value;

use crate::app::dlq::form::{hex, time};
use crate::app::dlq::{HEADERS, Header, Letter, State};

/// Bytes of a value that are shown without --full.
const SHOWN_BYTES_MAX: usize = 4096;
const DETAIL_CHARS_MAX: usize = 60;
const HEX_LINE_BYTES: usize = 16;

/// Rows under their head, each column as wide as its widest cell; nothing without rows.
pub fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut all: Vec<Vec<String>> = vec![head.iter().map(|&cell| cell.to_owned()).collect()];
    all.extend(rows.map(|row| row.iter().map(|cell| plain(cell)).collect()));
    if all.len() == 1 {
        return String::new();
    }
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

pub fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Replayed => "replayed",
        State::Purged => "purged",
    }
}

/// At most so much that it fits into a list.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The text on one line, without characters that would steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub fn in_full(letter: &Letter, full: bool) -> String {
    let origin = letter.origin.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let mut text = format!(
        "letter     {}\nstate      {}\nrecord     {origin}\nrefused    {}\nattempt    {}\nreason     {}\npath       {}\ndetail     {}\n",
        letter.position,
        state(letter.state),
        time(letter.refused_ms),
        letter.attempt,
        plain(&letter.reason),
        if letter.path.is_empty() { "(the record itself)".to_owned() } else { plain(&letter.path) },
        plain(&letter.detail),
    );
    if 0 < letter.payload_cut_bytes {
        text.push_str(&format!(
            "\nThe last {} bytes of the value are not in the letter, since its topic does not take so large a message.\n\
             The whole record is at {origin}, as long as the topic keeps it; a replay sends that.\n",
            letter.payload_cut_bytes
        ));
    }
    text.push_str("\nheaders of penstock\n");
    let (ours, theirs): (Vec<_>, Vec<_>) =
        letter.headers.iter().partition(|(name, _)| name.starts_with("penstock-"));
    let explained =
        |name: &str| HEADERS.iter().find(|(known, _)| *known == name).map_or("", |(_, what)| what);
    let line = |(name, value): &&Header, what: &str| {
        let what = if what.is_empty() { String::new() } else { format!("   ({what})") };
        format!("  {} = {}{what}\n", plain(name), value.as_deref().map_or("(null)".to_owned(), one_line))
    };
    ours.iter().for_each(|header| text.push_str(&line(header, explained(&header.0))));
    text.push_str("\nheaders of the record\n");
    theirs.iter().for_each(|header| text.push_str(&line(header, "")));
    if theirs.is_empty() {
        text.push_str("  none\n");
    }
    text.push_str(&format!("\nkey\n  {}\n", letter.key.as_deref().map_or("(null)".to_owned(), one_line)));
    match &letter.payload {
        Some(payload) => {
            text.push_str(&format!("\nvalue, {} bytes\n{}", payload.len(), value(payload, full)));
        }
        None => text.push_str("\nvalue\n  (null)\n"),
    }
    text
}

/// Bytes as text where they are, otherwise as hexadecimal digits.
fn one_line(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => plain(text),
        Err(_) => format!("0x{}", hex(bytes)),
    }
}

fn value(payload: &[u8], full: bool) -> String {
    let text = match std::str::from_utf8(payload) {
        Ok(text) => pretty(text).unwrap_or_else(|| text.to_owned()),
        Err(_) => dump(if full { payload } else { payload.get(..SHOWN_BYTES_MAX).unwrap_or(payload) }),
    };
    let end = (0..=SHOWN_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let shown = if full { text.as_str() } else { text.get(..end.unwrap_or(0)).unwrap_or_default() };
    let lines: String = shown.lines().map(|line| format!("  {}\n", plain(line))).collect();
    let cut = shown.len() < text.len() || (!full && SHOWN_BYTES_MAX < payload.len());
    if cut { format!("{lines}  … cut here; --full shows all of it\n") } else { lines }
}

/// JSON set out over lines, if that changes nothing but white space.
fn pretty(text: &str) -> Option<String> {
    let parsed: Value = serde_json::from_str(text).ok()?;
    (serde_json::to_string(&parsed).ok()? == without_space(text))
        .then(|| serde_json::to_string_pretty(&parsed).ok())
        .flatten()
}

/// JSON without the white space between its parts.
fn without_space(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let is_space = !in_string && c.is_ascii_whitespace();
        if escaped {
            escaped = false;
        } else if *c == '"' {
            in_string = !in_string;
        } else {
            escaped = in_string && *c == '\\';
        }
        !is_space
    };
    text.chars().filter(keep).collect()
}

/// Offset, bytes, and what can be read of them.
fn dump(bytes: &[u8]) -> String {
    let line = |(number, line): (usize, &[u8])| {
        let readable =
            line.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' });
        let digits = line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        format!("{:08x}  {digits:47}  {}\n", number * HEX_LINE_BYTES, readable.collect::<String>())
    };
    bytes.chunks(HEX_LINE_BYTES).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_set_out_only_if_that_changes_nothing() {
        assert_eq!(
            value(b"{\"a\": [1, \"x \\\" y\"]}", false),
            "  {\n    \"a\": [\n      1,\n      \"x \\\" y\"\n    ]\n  }\n"
        );
        for text in
            ["{\"a\":1.10}", "{\"a\":1,\"a\":2}", "{\"a\":123456789012345678901234567890}", "not json"]
        {
            assert_eq!(value(text.as_bytes(), false), format!("  {text}\n"));
        }
    }

    #[test]
    fn long_values_are_cut_and_bytes_are_dumped() {
        let long = "ä".repeat(SHOWN_BYTES_MAX);
        let shown = value(long.as_bytes(), false);
        assert!(shown.ends_with("--full shows all of it\n") && shown.len() < SHOWN_BYTES_MAX + 100);
        assert_eq!(value(long.as_bytes(), true), format!("  {long}\n"));
        let bytes = value(b"\xffab\x00", false);
        assert!(bytes.starts_with("  00000000  ff 61 62 00 ") && bytes.ends_with(" .ab.\n"), "{bytes}");
        assert!(value(&[0xff; SHOWN_BYTES_MAX + 1], false).contains("--full"));
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(one_line(b"a\x1b[31m\n"), "a\u{fffd}[31m\u{fffd}");
        let text = table(&["A", "B"], [vec!["\x1b".to_owned(), "long cell".to_owned()]].into_iter());
        assert_eq!(text, "A  B\n\u{fffd}  long cell\n");
        assert_eq!(table(&["A"], std::iter::empty()), "");
        assert_eq!(shortened(&"x".repeat(100)).chars().count(), DETAIL_CHARS_MAX + 1);
    }
}
