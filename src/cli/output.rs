//! Where results are written: the standard output, behind a writer that tests replace.
//!
//! Refuses to lose an error: a full disk behind a redirection is told, and a closed pipe ends the
//! command quietly (see `failure`).

use std::io::{self, Write};

use serde::Serialize;

/// Writes and flushes the text as it is.
pub fn print(out: &mut dyn Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a value as JSON over several lines.
pub fn print_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(out, &format!("{text}\n"))
}
