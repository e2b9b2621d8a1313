//! Numbers, kept as text until the column's type is known.
//!
//! Refuses to round: nothing here goes through a float. What follows the number is for the caller to
//! judge; `01` and `1x` fail there, since neither a comma nor a bracket comes next.

use super::Cursor;
use crate::decode::fault::Result;
use crate::decode::swar::{self, TENS};

/// A number by its parts, all borrowed from the text.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    pub text: &'a str,
    pub negative: bool,
    pub integer: &'a [u8],
    /// Without the point; empty if there is none.
    pub fraction: &'a [u8],
    /// Saturates far beyond every type's range.
    pub exponent: i64,
    /// Written without point and exponent.
    pub plain: bool,
}

/// A number of at most 18 digits without an exponent, which is nearly every one.
pub struct Short {
    /// Without the point.
    pub value: i64,
    pub negative: bool,
    pub digits: usize,
    /// How many of them stand behind the point.
    pub decimals: usize,
    pub bytes: usize,
}

impl Short {
    /// The number that the text begins with; `None` for what is longer, and for what is none.
    #[inline]
    pub fn read(text: &[u8]) -> Option<Self> {
        let negative = text.first() == Some(&b'-');
        let mut bytes = usize::from(negative);
        let body = text.get(bytes..)?;
        let (mut value, mut count) = swar::digits(body)?;
        if count > 1 && body.first() == Some(&b'0') {
            return None;
        }
        bytes += count;
        let mut decimals = 0;
        if text.get(bytes) == Some(&b'.') {
            let (fraction, more) = swar::digits(text.get(bytes + 1..)?)?;
            if count + more > 18 {
                return None;
            }
            value = value * TENS.get(more)? + fraction;
            count += more;
            decimals = more;
            bytes += more + 1;
        }
        if matches!(text.get(bytes), Some(b'e' | b'E')) {
            return None;
        }
        let value = if negative { -value } else { value };
        Some(Short { value, negative, digits: count, decimals, bytes })
    }
}

impl<'a> Number<'a> {
    /// A whole text that must be one number.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(text, 0);
        let number = cursor.number().ok()?;
        (cursor.position() == text.len()).then_some(number)
    }
}

#[inline]
fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

impl<'a> Cursor<'a> {
    /// A whole number of at most 18 digits, without point and exponent. `None` leaves the cursor where it was.
    #[inline]
    pub fn small_integer(&mut self) -> Option<i64> {
        let short = Short::read(self.rest()).filter(|short| short.decimals == 0)?;
        self.advance(short.bytes);
        Some(short.value)
    }

    #[inline]
    pub fn number(&mut self) -> Result<Number<'a>> {
        let start = self.position();
        let negative = self.byte() == b'-';
        if negative {
            self.advance(1);
        }
        let rest = self.rest();
        let count = if rest.first() == Some(&b'0') { 1 } else { digits(rest) };
        if count == 0 {
            return Err(self.invalid("a value"));
        }
        let integer = rest.get(..count).unwrap_or_default();
        self.advance(count);
        let mut number = Number { text: "", negative, integer, fraction: &[], exponent: 0, plain: true };
        if self.byte() == b'.' {
            self.advance(1);
            number.fraction = self.digits()?;
            number.plain = false;
        }
        if matches!(self.byte(), b'e' | b'E') {
            number.exponent = self.exponent()?;
            number.plain = false;
        }
        number.text = self.since(start);
        Ok(number)
    }

    fn digits(&mut self) -> Result<&'a [u8]> {
        let rest = self.rest();
        let count = digits(rest);
        if count == 0 {
            return Err(self.invalid("a digit"));
        }
        self.advance(count);
        Ok(rest.get(..count).unwrap_or_default())
    }

    fn exponent(&mut self) -> Result<i64> {
        self.advance(1);
        let negative = self.byte() == b'-';
        if matches!(self.byte(), b'-' | b'+') {
            self.advance(1);
        }
        let value = self
            .digits()?
            .iter()
            .fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
        // Half the range, so that adding lengths to it cannot overflow.
        let value = value.min(i64::MAX / 2);
        Ok(if negative { -value } else { value })
    }
}
