//! Columns that hold columns: lists (Array, Map, Nested) and tuples.
//!
//! Refuses to know what the elements are. A list's children may run ahead of its offsets while a row is
//! being built; cutting back to a row always cuts the children too.

use std::sync::Arc;

use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields};

use super::builder::Builder;
use super::{COLUMN_BYTES_MAX, Error, Full, hand_over};

/// Rows that are runs of elements. Array has one child; Map has one, a tuple of key and value; Nested has
/// one child per field, all of one length.
#[derive(Debug)]
pub struct List {
    offsets: Vec<i32>,
    children: Vec<Builder>,
    /// Elements of all rows that are closed.
    elements: usize,
}

impl List {
    pub fn new(children: Vec<Builder>) -> Self {
        List { offsets: vec![0], children, elements: 0 }
    }

    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub fn children(&self) -> &[Builder] {
        &self.children
    }

    pub fn children_mut(&mut self) -> &mut [Builder] {
        &mut self.children
    }

    /// The only child of an Array or a Map.
    pub fn child_mut(&mut self) -> Option<&mut Builder> {
        self.children.first_mut()
    }

    /// Closes a row of `count` elements, which have been pushed to every child.
    pub fn close_row(&mut self, count: usize) -> Result<(), Full> {
        let end = self.elements + count;
        if end > COLUMN_BYTES_MAX {
            return Err(Full);
        }
        self.offsets.push(i32::try_from(end).map_err(|_| Full)?);
        self.elements = end;
        Ok(())
    }

    /// Elements in the last row.
    pub fn last_count(&self) -> usize {
        let (start, end) = self.row(self.rows().saturating_sub(1));
        end.saturating_sub(start)
    }

    pub fn value_bytes(&self) -> usize {
        self.offsets.len() * 4 + self.children.iter().map(Builder::bytes).sum::<usize>()
    }

    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.elements = self.offset(self.rows());
        for child in &mut self.children {
            child.truncate(self.elements);
        }
    }

    pub fn push_from(&mut self, other: &Self, row: usize) -> Result<(), Full> {
        let (start, end) = other.row(row);
        for (child, from) in self.children.iter_mut().zip(&other.children) {
            for element in start..end {
                child.push_from(from, element)?;
            }
        }
        self.close_row(end.saturating_sub(start))
    }

    /// One array per child.
    pub fn finish(&mut self, fields: &[Field]) -> Result<Vec<ArrayRef>, Error> {
        let offsets = hand_over(&mut self.offsets);
        self.offsets.push(0);
        self.elements = 0;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.children.len());
        for (child, field) in self.children.iter_mut().zip(fields) {
            let values = child.finish(field.data_type())?;
            let field = Arc::new(field.clone());
            arrays.push(Arc::new(ListArray::try_new(field, offsets.clone(), values, None)?));
        }
        Ok(arrays)
    }

    fn row(&self, row: usize) -> (usize, usize) {
        (self.offset(row), self.offset(row + 1))
    }

    fn offset(&self, row: usize) -> usize {
        self.offsets.get(row).and_then(|end| usize::try_from(*end).ok()).unwrap_or(self.elements)
    }
}

/// Rows of several values side by side.
#[derive(Debug)]
pub struct Tuple {
    children: Vec<Builder>,
}

impl Tuple {
    pub fn new(children: Vec<Builder>) -> Self {
        Tuple { children }
    }

    pub fn rows(&self) -> usize {
        self.children.first().map_or(0, Builder::len)
    }

    pub fn children_mut(&mut self) -> &mut [Builder] {
        &mut self.children
    }

    pub fn value_bytes(&self) -> usize {
        self.children.iter().map(Builder::bytes).sum()
    }

    pub fn truncate(&mut self, rows: usize) {
        for child in &mut self.children {
            child.truncate(rows);
        }
    }

    pub fn push_from(&mut self, other: &Self, row: usize) -> Result<(), Full> {
        for (child, from) in self.children.iter_mut().zip(&other.children) {
            child.push_from(from, row)?;
        }
        Ok(())
    }

    pub fn finish(&mut self, ty: &DataType) -> Result<ArrayRef, Error> {
        let DataType::Struct(fields) = ty else { return Err(Error::Layout) };
        let fields: Fields = fields.clone();
        let mut arrays = Vec::with_capacity(fields.len());
        for (child, field) in self.children.iter_mut().zip(fields.iter()) {
            arrays.push(child.finish(field.data_type())?);
        }
        Ok(Arc::new(StructArray::try_new(fields, arrays, None)?))
    }
}
