//! The place in the text, and the grammar of everything but strings and numbers.
//!
//! Refuses to interpret values. Nesting is bounded: what opens deeper than `depth_max` is refused before
//! it is entered, so that no input can exhaust the stack.

use super::keys::{self, Keys};
use crate::decode::fault::{Fault, Result};
use crate::decode::reject::Reason;

#[derive(Debug)]
pub struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) position: usize,
    depth: usize,
    depth_max: usize,
}

/// A place to come back to, to read the same value once more.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    position: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str, depth_max: usize) -> Self {
        Cursor { text, position: 0, depth: 0, depth_max }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn mark(&self) -> Mark {
        Mark { position: self.position, depth: self.depth }
    }

    pub fn reset(&mut self, mark: Mark) {
        self.position = mark.position;
        self.depth = mark.depth;
    }

    /// The text from `start` to here.
    #[inline]
    pub fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.position).unwrap_or_default()
    }

    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.position..).unwrap_or_default()
    }

    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.position += bytes;
    }

    /// The byte here, without skipping anything; 0 at the end (which no grammar accepts).
    #[inline]
    pub fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.position).copied().unwrap_or(0)
    }

    /// Skips white space and gives the byte that follows, which stays; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        let byte = self.byte();
        if byte > b' ' { byte } else { self.skip_space() }
    }

    fn skip_space(&mut self) -> u8 {
        let spaces = self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.position += spaces.count();
        self.byte()
    }

    /// Skips white space and takes `byte`.
    #[inline]
    pub fn take(&mut self, byte: u8) -> Result {
        if self.peek() != byte {
            return Err(self.expected(byte));
        }
        self.position += 1;
        Ok(())
    }

    #[cold]
    fn expected(&self, byte: u8) -> Fault {
        Fault::invalid_json(&format!("`{}`", char::from(byte)), self.position)
    }

    #[cold]
    pub fn invalid(&self, expected: &str) -> Fault {
        Fault::invalid_json(expected, self.position)
    }

    /// Takes the bracket that [`Cursor::peek`] has shown and goes one level down.
    #[inline]
    pub fn enter(&mut self) -> Result {
        if self.depth >= self.depth_max {
            let detail = format!("values are nested deeper than {} levels", self.depth_max);
            return Err(Fault::new(Reason::TooDeep, detail));
        }
        self.depth += 1;
        self.position += 1;
        Ok(())
    }

    /// Takes the closing bracket.
    #[inline]
    pub fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.position += 1;
    }

    /// Before each element: whether there is one. `first` tells whether a comma must stand before it.
    #[inline]
    pub fn has_element(&mut self, close: u8, first: bool) -> Result<bool> {
        let byte = self.peek();
        if byte == close {
            self.leave();
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        if byte != b',' {
            return Err(self.invalid("`,` or the closing bracket"));
        }
        self.position += 1;
        // A closing bracket here would follow a comma; no value starts with one, so it is refused there.
        Ok(true)
    }

    pub fn literal(&mut self, word: &str) -> Result {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.invalid("a value"));
        }
        self.position += word.len();
        Ok(())
    }

    /// The key that begins at `start`, which has been read before.
    #[cold]
    pub fn key_at(&self, start: usize) -> String {
        let mut again = Cursor { text: self.text, position: start, depth: 0, depth_max: 0 };
        let mut scratch = String::new();
        again.string(&mut scratch).map(str::to_owned).unwrap_or_default()
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result {
        self.peek();
        if self.position < self.text.len() { Err(self.invalid("the end of the record")) } else { Ok(()) }
    }

    /// Passes over a value of any kind, checking its grammar. With `keys`, a key that an object holds
    /// twice is refused too.
    pub fn skip(&mut self, mut keys: Option<&mut Keys>) -> Result {
        match self.peek() {
            b'"' => self.skip_string(),
            b'{' => self.skip_object(&mut keys),
            b'[' => {
                self.enter()?;
                let mut first = true;
                while self.has_element(b']', first)? {
                    first = false;
                    self.skip(keys.as_deref_mut())?;
                }
                Ok(())
            }
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number().map(|_| ()),
        }
    }

    fn skip_object(&mut self, keys: &mut Option<&mut Keys>) -> Result {
        self.enter()?;
        let mark = keys.as_deref().map(Keys::mark);
        let mut first = true;
        while self.has_element(b'}', first)? {
            first = false;
            if self.peek() != b'"' {
                return Err(self.invalid("a key"));
            }
            match keys.as_deref_mut() {
                Some(keys) => keys.read(self)?,
                None => self.skip_string()?,
            }
            self.take(b':')?;
            self.skip(keys.as_deref_mut())?;
        }
        match (keys.as_deref_mut(), mark) {
            // What is passed over has no path; the caller names the value as a whole.
            (Some(keys), Some(mark)) => keys.close(mark).map_err(|_| keys::duplicate_within()),
            _ => Ok(()),
        }
    }
}
