//! Makes events and publishes them: for demonstrations, tests and measurements.
//!
//! Refuses to know table files. Synthetic events depend on their seed alone, so that a run can be
//! repeated; real ones are read from a file by ClickHouse, row by row as JSON.

pub mod clicks;
pub mod publish;

use bytes::{Bytes, BytesMut};

pub use publish::{Published, Publisher};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a message was not published: {0}")]
    Publish(#[source] crate::kafka::Error),
    #[error("the rows could not be read: {0}")]
    Read(#[from] crate::clickhouse::Error),
}

/// Cuts a stream of bytes into lines, wherever its chunks end.
#[derive(Debug, Default)]
pub struct Lines(BytesMut);

impl Lines {
    pub fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    /// The next whole line, without its end.
    pub fn next_line(&mut self) -> Option<Bytes> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let mut line = self.0.split_to(end + 1).freeze();
        line.truncate(end);
        Some(line)
    }

    /// What came after the last line's end, if anything.
    pub fn rest(self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| self.0.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_chunks() {
        let text = b"one\n\ntwo and three\nrest";
        for size in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for chunk in text.chunks(size) {
                lines.push(chunk);
                while let Some(line) = lines.next_line() {
                    found.push(line);
                }
            }
            found.extend(lines.rest());
            assert_eq!(found, ["one", "", "two and three", "rest"]);
        }
    }
}
