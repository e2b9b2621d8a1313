//! The fields that an object may have, matched against its keys in the order predicted from the last one.
//!
//! Refuses to know what the fields are for. No field is handed out twice for one object.

use std::collections::HashMap;

use ahash::RandomState;

use super::fault::{Fault, Result};
use super::json::keys::{self, Mark};
use super::json::{Cursor, Keys};
use super::swar::Beginning;

/// Keys that are predicted; a record with more keys than this has the rest looked up.
const PREDICTED_MAX: usize = 1024;

/// What stands in no text.
const NEVER: &[u8] = b"\xff";

#[derive(Debug)]
pub struct Fields {
    fields: Vec<Field>,
    /// Which field stood at which place in the last object.
    order: Vec<usize>,
    index: HashMap<Box<str>, usize, RandomState>,
    /// Counts objects; a field was seen in this one if its stamp says so.
    object: u64,
}

#[derive(Debug)]
struct Field {
    name: Box<str>,
    /// `"name":`, as most producers write it.
    written: Beginning,
    /// The same as it follows another field.
    next: Beginning,
    stamp: u64,
}

/// The way through one object.
#[derive(Debug)]
pub struct Walk {
    place: usize,
    seen: usize,
    mark: Mark,
}

pub enum Step {
    /// The cursor stands before the value of this field.
    Field(usize),
    /// The cursor stands before the value of a key that is no field; the key began at this byte.
    Unknown(usize),
    End,
}

impl Fields {
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let fields: Vec<Field> = names
            .into_iter()
            .map(|name| {
                // A name that JSON must escape cannot be compared as written and is always looked up.
                let plain = !name.contains(|c: char| c < ' ' || c == '"' || c == '\\');
                let written =
                    if plain { format!(",\"{name}\":").into_bytes() } else { [NEVER, NEVER].concat() };
                let next = Beginning::new(&written);
                let written = Beginning::new(written.get(1..).unwrap_or_default());
                Field { written, next, name: name.into(), stamp: 0 }
            })
            .collect();
        let index = fields.iter().enumerate().map(|(n, field)| (field.name.clone(), n)).collect();
        Fields { order: (0..fields.len()).collect(), fields, index, object: 0 }
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn name(&self, field: usize) -> &str {
        self.fields.get(field).map_or("", |field| &field.name)
    }

    /// Opens the object at the cursor, which stands on its brace.
    #[inline]
    pub fn open(&mut self, cursor: &mut Cursor<'_>, keys: &Keys) -> Result<Walk> {
        cursor.enter()?;
        self.object += 1;
        Ok(Walk { place: 0, seen: 0, mark: keys.mark() })
    }

    #[inline]
    pub fn next(&mut self, walk: &mut Walk, cursor: &mut Cursor<'_>, keys: &mut Keys) -> Result<Step> {
        let predicted = self.order.get(walk.place).copied().unwrap_or(usize::MAX);
        if walk.place > 0
            && let Some(field) = self.fields.get_mut(predicted)
            && field.next.begins(cursor.rest())
            && field.stamp != self.object
        {
            field.stamp = self.object;
            walk.place += 1;
            walk.seen += 1;
            cursor.advance(field.next.len());
            return Ok(Step::Field(predicted));
        }
        self.next_in_any_form(predicted, walk, cursor, keys)
    }

    /// The same with white space, at the object's ends, and for keys that come unexpected.
    fn next_in_any_form(
        &mut self,
        predicted: usize,
        walk: &mut Walk,
        cursor: &mut Cursor<'_>,
        keys: &mut Keys,
    ) -> Result<Step> {
        if !cursor.has_element(b'}', walk.place == 0)? {
            keys.close(walk.mark)?;
            return Ok(Step::End);
        }
        if cursor.peek() != b'"' {
            return Err(cursor.invalid("a key"));
        }
        walk.place += 1;
        if let Some(field) = self.fields.get_mut(predicted)
            && field.written.begins(cursor.rest())
            && field.stamp != self.object
        {
            field.stamp = self.object;
            walk.seen += 1;
            cursor.advance(field.written.len());
            return Ok(Step::Field(predicted));
        }
        self.look_up(walk, cursor, keys)
    }

    #[inline(never)]
    fn look_up(&mut self, walk: &mut Walk, cursor: &mut Cursor<'_>, keys: &mut Keys) -> Result<Step> {
        let start = cursor.position();
        let mark = keys.mark();
        keys.read(cursor)?;
        cursor.take(b':')?;
        let Some(found) = self.index.get(keys.last()).copied() else { return Ok(Step::Unknown(start)) };
        keys.forget(mark);
        let Some(field) = self.fields.get_mut(found) else { return Err(Fault::layout()) };
        if field.stamp == self.object {
            return Err(keys::duplicate(&field.name));
        }
        field.stamp = self.object;
        walk.seen += 1;
        let place = walk.place - 1;
        if place < PREDICTED_MAX {
            if self.order.len() <= place {
                self.order.resize(place + 1, usize::MAX);
            }
            if let Some(slot) = self.order.get_mut(place) {
                *slot = found;
            }
        }
        Ok(Step::Field(found))
    }

    /// The fields that the object just walked did not have.
    #[inline]
    pub fn first_missing(&self, walk: &Walk, from: usize) -> Option<usize> {
        if walk.seen == self.fields.len() {
            return None;
        }
        let mut rest = self.fields.iter().enumerate().skip(from);
        rest.find(|(_, field)| field.stamp != self.object).map(|(n, _)| n)
    }
}
