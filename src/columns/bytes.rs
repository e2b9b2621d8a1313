//! Columns of values of one fixed width: 128- and 256-bit numbers, UUID, IPv6, FixedString.
//!
//! Refuses to know what the bytes mean; whoever pushes has laid them out for the wire. A shorter value is
//! padded with zero bytes.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray};
use arrow_buffer::Buffer;

use super::nulls::Nulls;
use super::{COLUMN_BYTES_MAX, Error, Full, hand_over};

#[derive(Debug)]
pub struct Bytes {
    values: Vec<u8>,
    width: usize,
    rows: usize,
    nulls: Nulls,
}

impl Bytes {
    pub fn new(width: usize, nullable: bool) -> Self {
        Bytes { values: Vec::new(), width, rows: 0, nulls: Nulls::new(nullable) }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn value_bytes(&self) -> usize {
        self.values.len()
    }

    /// `value` must not be longer than the width; what is beyond would be lost, so it is refused.
    pub fn push(&mut self, value: &[u8]) -> Result<(), Full> {
        let end = self.values.len() + self.width;
        if end > COLUMN_BYTES_MAX || value.len() > self.width {
            return Err(Full);
        }
        self.values.extend_from_slice(value);
        self.values.resize(end, 0);
        self.rows += 1;
        self.nulls.push(true);
        Ok(())
    }

    pub fn push_null(&mut self) -> Result<(), Full> {
        let end = self.values.len() + self.width;
        if end > COLUMN_BYTES_MAX {
            return Err(Full);
        }
        self.values.resize(end, 0);
        self.rows += 1;
        self.nulls.push(false);
        Ok(())
    }

    pub fn get(&self, row: usize) -> &[u8] {
        let start = row * self.width;
        self.values.get(start..start + self.width).unwrap_or_default()
    }

    pub fn last(&self) -> &[u8] {
        self.get(self.rows.saturating_sub(1))
    }

    pub fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows * self.width);
        self.rows = self.rows.min(rows);
        self.nulls.truncate(rows);
    }

    pub fn push_from(&mut self, other: &Self, row: usize) -> Result<(), Full> {
        if other.nulls.is_null(row) {
            return self.push_null();
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
        let values = Buffer::from_vec(hand_over(&mut self.values));
        let rows = std::mem::take(&mut self.rows);
        let width = i32::try_from(self.width).map_err(|_| Error::Width(self.width))?;
        let nulls = self.nulls.finish();
        Ok(Arc::new(FixedSizeBinaryArray::try_new_with_len(width, values, nulls, rows)?))
    }
}
