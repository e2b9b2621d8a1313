//! Columns of text of any length: String and JSON.
//!
//! Refuses to know what the text says. Offsets are 32 bits wide on the wire, so a value that would pass
//! [`COLUMN_BYTES_MAX`] is refused with [`Full`] and nothing is appended.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::nulls::Nulls;
use super::{COLUMN_BYTES_MAX, Error, Full, hand_over};

#[derive(Debug)]
pub struct Text {
    values: String,
    /// One more than there are rows; the first is 0.
    offsets: Vec<i32>,
    nulls: Nulls,
}

impl Text {
    pub fn new(nullable: bool) -> Self {
        Text { values: String::new(), offsets: vec![0], nulls: Nulls::new(nullable) }
    }

    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub fn value_bytes(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub fn push(&mut self, value: &str) -> Result<(), Full> {
        let end = self.values.len() + value.len();
        if end > COLUMN_BYTES_MAX {
            return Err(Full);
        }
        self.values.push_str(value);
        self.offsets.push(i32::try_from(end).map_err(|_| Full)?);
        self.nulls.push(true);
        Ok(())
    }

    pub fn push_null(&mut self) {
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.push(end);
        self.nulls.push(false);
    }

    #[inline]
    pub fn get(&self, row: usize) -> &str {
        let start = self.offset(row);
        self.values.get(start..self.offset(row + 1)).unwrap_or_default()
    }

    #[inline]
    pub fn last(&self) -> &str {
        self.get(self.rows().saturating_sub(1))
    }

    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.values.truncate(self.offset(rows));
        self.nulls.truncate(rows);
    }

    pub fn push_from(&mut self, other: &Self, row: usize) -> Result<(), Full> {
        if other.nulls.is_null(row) {
            self.push_null();
            return Ok(());
        }
        self.push(other.get(row))
    }

    pub fn last_equals(&self, other: &Self, row: usize) -> bool {
        self.last() == other.get(row)
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.is_null(row)
    }

    pub fn nullable(&self) -> bool {
        self.nulls.nullable()
    }

    pub fn finish(&mut self) -> Result<ArrayRef, Error> {
        let offsets = hand_over(&mut self.offsets);
        self.offsets.push(0);
        let next = String::with_capacity(self.values.len());
        let mut values = std::mem::replace(&mut self.values, next);
        // As in `hand_over`.
        values.shrink_to_fit();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(StringArray::try_new(
            offsets,
            Buffer::from_vec(values.into_bytes()),
            self.nulls.finish(),
        )?))
    }

    fn offset(&self, row: usize) -> usize {
        self.offsets.get(row).and_then(|end| usize::try_from(*end).ok()).unwrap_or(self.values.len())
    }
}
