//! Numbers, kept as text until the column's type is known.
//!
//! Refuses to round: nothing here goes through a float. What follows the number is for the caller to
//! judge; `01` and `1x` fail there, since neither a comma nor a bracket comes next.

use super::Cursor;
use crate::decode::fault::Result;

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
    /// A whole number of at most 18 digits without point and exponent, which is nearly every one.
    /// `None` leaves the cursor where it was.
    #[inline]
    pub fn small_integer(&mut self) -> Option<i64> {
        let bytes = self.rest();
        let (negative, body) = match bytes {
            [b'-', body @ ..] => (true, body),
            body => (false, body),
        };
        let mut value: i64 = 0;
        let mut count = 0;
        for byte in body.iter().take(19) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            count += 1;
        }
        let next = body.get(count).copied().unwrap_or(0);
        let leading_zero = count > 1 && body.first() == Some(&b'0');
        if count == 0 || count > 18 || leading_zero || matches!(next, b'.' | b'e' | b'E') {
            return None;
        }
        self.advance(count + usize::from(negative));
        Some(if negative { -value } else { value })
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
