//! Which rows of a nullable column are NULL.
//!
//! Refuses to know values. A column that cannot hold NULL pays nothing for it: its bitmap is never made.

use arrow_buffer::{NullBuffer, NullBufferBuilder};

#[derive(Debug)]
pub struct Nulls(Option<NullBufferBuilder>);

impl Nulls {
    pub fn new(nullable: bool) -> Self {
        Nulls(nullable.then(|| NullBufferBuilder::new(0)))
    }

    pub fn nullable(&self) -> bool {
        self.0.is_some()
    }

    #[inline]
    pub fn push(&mut self, valid: bool) {
        if let Some(bits) = &mut self.0 {
            bits.append(valid);
        }
    }

    /// `row` must be below the number of rows pushed.
    pub fn is_null(&self, row: usize) -> bool {
        self.0.as_ref().is_some_and(|bits| row < bits.len() && !bits.is_valid(row))
    }

    pub fn truncate(&mut self, rows: usize) {
        if let Some(bits) = &mut self.0 {
            bits.truncate(rows);
        }
    }

    pub fn finish(&mut self) -> Option<NullBuffer> {
        self.0.as_mut().and_then(NullBufferBuilder::finish)
    }
}
