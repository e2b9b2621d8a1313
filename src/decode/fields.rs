//! The fields that an object may have, matched against its keys in the order predicted from the last one.
//!
//! Refuses to know what the fields are for. No field is handed out twice for one object.

use std::collections::HashMap;

use ahash::RandomState;

use super::fault::{Fault, Result};
use super::json::keys::{self, Mark};
use super::json::{Cursor, Keys};

/// Keys that are predicted; a record with more keys than this has the rest looked up.
const PREDICTED_MAX: usize = 1024;

/// A text that no key begins with.
const NEVER: &str = "\n";

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
    written: Written,
    next: Option<Next>,
    stamp: u64,
}

/// `"name":`, as most producers write it, in words to compare eight bytes at a time without a call.
#[derive(Debug)]
struct Written {
    text: Box<[u8]>,
    words: Box<[u64]>,
    /// The bytes beyond the whole words, and which bits of a word they fill.
    tail: u64,
    mask: u64,
}

impl Written {
    fn new(text: Vec<u8>) -> Self {
        let (words, rest) = text.as_chunks::<8>();
        let mut tail = [0; 8];
        let mut mask = [0; 8];
        for ((tail, mask), byte) in tail.iter_mut().zip(&mut mask).zip(rest) {
            *tail = *byte;
            *mask = 0xff;
        }
        Written {
            words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            tail: u64::from_le_bytes(tail),
            mask: u64::from_le_bytes(mask),
            text: text.into(),
        }
    }

    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        for word in &self.words {
            match rest.split_first_chunk::<8>() {
                Some((chunk, after)) if u64::from_le_bytes(*chunk) == *word => rest = after,
                _ => return false,
            }
        }
        match rest.first_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk) & self.mask == self.tail,
            // Too close to the end of the record for a whole word.
            None => bytes.starts_with(&self.text),
        }
    }
}

/// `,"name":` of at most sixteen bytes, as it follows another field, to compare at once.
#[derive(Debug)]
struct Next {
    text: u128,
    mask: u128,
    bytes: usize,
}

impl Next {
    fn new(name: &str) -> Option<Self> {
        let written = format!(",\"{name}\":").into_bytes();
        let (mut text, mut mask) = ([0; 16], [0; 16]);
        text.get_mut(..written.len())?.copy_from_slice(&written);
        mask.get_mut(..written.len())?.fill(0xff);
        Some(Next { text: u128::from_le_bytes(text), mask: u128::from_le_bytes(mask), bytes: written.len() })
    }

    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        bytes.first_chunk::<16>().is_some_and(|chunk| u128::from_le_bytes(*chunk) & self.mask == self.text)
    }
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
                let written = if plain { format!("\"{name}\":") } else { NEVER.to_owned() }.into_bytes();
                let next = plain.then(|| Next::new(&name)).flatten();
                Field { name: name.into(), written: Written::new(written), next, stamp: 0 }
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
            && let Some(next) = field.next.as_ref().filter(|next| next.begins(cursor.rest()))
            && field.stamp != self.object
        {
            field.stamp = self.object;
            walk.place += 1;
            walk.seen += 1;
            cursor.advance(next.bytes);
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
            cursor.advance(field.written.text.len());
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
