//! Strings: found sixteen bytes at a time, borrowed unless they have escapes.
//!
//! Refuses control characters and escapes that name half a surrogate pair.

use wide::u8x16;

use super::Cursor;
use crate::decode::fault::{Fault, Result};

/// A bit for each byte that is `"`, `\` or below 0x20.
#[inline]
fn special(chunk: &[u8; 16]) -> u32 {
    let bytes = u8x16::new(*chunk);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    (bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | control).to_bitmask()
}

/// How many bytes stand before the first quote, backslash or control character.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut count = 0;
    while let Some((chunk, tail)) = rest.split_first_chunk::<16>() {
        let marks = special(chunk);
        if marks != 0 {
            return count + usize::try_from(marks.trailing_zeros()).unwrap_or(0);
        }
        count += 16;
        rest = tail;
    }
    count + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

impl<'a> Cursor<'a> {
    /// The string at the cursor, which stands on its opening quote. Borrowed from the record, or from
    /// `scratch` if it has escapes.
    #[inline]
    pub fn string<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str>
    where
        'a: 's,
    {
        self.position += 1;
        let start = self.position;
        self.position += plain_bytes(self.rest());
        if self.byte() == b'"' {
            let plain = self.since(start);
            self.position += 1;
            return Ok(plain);
        }
        self.escaped(start, scratch)?;
        Ok(scratch)
    }

    /// The string at the cursor, which stays, if it is written without escapes.
    #[inline]
    pub fn plain_string(&self) -> Option<&'a str> {
        let (b'"', body) = self.rest().split_first()? else { return None };
        let count = plain_bytes(body);
        if body.get(count) != Some(&b'"') {
            return None;
        }
        self.text.get(self.position + 1..self.position + 1 + count)
    }

    #[inline(never)]
    fn escaped(&mut self, start: usize, scratch: &mut String) -> Result {
        scratch.clear();
        scratch.push_str(self.since(start));
        loop {
            match self.byte() {
                b'"' => {
                    self.position += 1;
                    return Ok(());
                }
                b'\\' => scratch.push(self.escape()?),
                _ => return Err(self.bad_string()),
            }
            let start = self.position;
            self.position += plain_bytes(self.rest());
            scratch.push_str(self.since(start));
        }
    }

    pub(super) fn skip_string(&mut self) -> Result {
        self.position += 1;
        loop {
            self.position += plain_bytes(self.rest());
            match self.byte() {
                b'"' => {
                    self.position += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.escape()?;
                }
                _ => return Err(self.bad_string()),
            }
        }
    }

    #[cold]
    fn bad_string(&self) -> Fault {
        self.invalid("the rest of a string (control characters must be escaped)")
    }

    fn escape(&mut self) -> Result<char> {
        self.position += 1;
        let plain = match self.byte() {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.position += 1;
                return self.unicode();
            }
            _ => return Err(self.invalid("an escape")),
        };
        self.position += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.hex()?;
        let code = match first {
            0xd800..0xdc00 => {
                if !self.rest().starts_with(b"\\u") {
                    return Err(self.invalid("the second half of a surrogate pair"));
                }
                self.position += 2;
                let second = self.hex()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(self.invalid("the second half of a surrogate pair"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        // Only a second half without its first is left to be refused here.
        char::from_u32(code).ok_or_else(|| self.invalid("no lone half of a surrogate pair"))
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.rest().first_chunk::<4>().ok_or_else(|| self.invalid("four hex digits"))?;
        let mut value = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or_else(|| self.invalid("four hex digits"))?;
            value = value * 16 + digit;
        }
        self.position += 4;
        Ok(value)
    }
}
