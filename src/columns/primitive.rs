//! Columns of machine numbers: integers, floats, Bool, enums, and every time as its ticks.
//!
//! Refuses to know what a number means. Taking rows back is cutting two vectors.

use std::sync::Arc;

use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};

use super::nulls::Nulls;
use super::{Error, hand_over};

#[derive(Debug)]
pub struct Fixed<T> {
    values: Vec<T>,
    nulls: Nulls,
}

impl<T: Copy + Default + PartialEq + ArrowNativeType> Fixed<T> {
    pub fn new(nullable: bool) -> Self {
        Fixed { values: Vec::new(), nulls: Nulls::new(nullable) }
    }

    pub fn rows(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub fn push(&mut self, value: T) {
        self.values.push(value);
        self.nulls.push(true);
    }

    pub fn push_null(&mut self) {
        self.values.push(T::default());
        self.nulls.push(false);
    }

    #[inline]
    pub fn last(&self) -> T {
        self.values.last().copied().unwrap_or_default()
    }

    pub fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    pub fn push_from(&mut self, other: &Self, row: usize) {
        match other.values.get(row) {
            Some(value) if !other.nulls.is_null(row) => self.push(*value),
            _ => self.push_null(),
        }
    }

    pub fn last_equals(&self, other: &Self, row: usize) -> bool {
        other.values.get(row).is_some_and(|value| *value == self.last())
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.is_null(row)
    }

    pub fn nullable(&self) -> bool {
        self.nulls.nullable()
    }

    pub fn finish<P: ArrowPrimitiveType<Native = T>>(&mut self) -> Result<ArrayRef, Error> {
        let values = hand_over(&mut self.values);
        Ok(Arc::new(PrimitiveArray::<P>::try_new(ScalarBuffer::from(values), self.nulls.finish())?))
    }
}
