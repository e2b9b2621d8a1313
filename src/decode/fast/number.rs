//! Integers, floats and decimals of few digits.
//!
//! Refuses exponents, more digits than fit and every number that would have to be rounded twice.

use std::ops::RangeInclusive;

use crate::columns::builder::Builder;
use crate::decode::check::Checks;
use crate::decode::json::number::Short;
use crate::decode::number::{exact, push_i64};
use crate::decode::swar::TENS;

/// Integers of up to 64 bits.
#[derive(Debug)]
pub struct Integers {
    allowed: RangeInclusive<i64>,
}

impl Integers {
    /// With the rules of the column, if a range is all that they say.
    pub fn new(column: &Builder, checks: Option<&Checks>) -> Option<(Self, bool)> {
        let of_type = match column {
            Builder::I8(_) => i8::MIN.into()..=i8::MAX.into(),
            Builder::I16(_) => i16::MIN.into()..=i16::MAX.into(),
            Builder::I32(_) => i32::MIN.into()..=i32::MAX.into(),
            Builder::I64(_) => i64::MIN..=i64::MAX,
            Builder::U8(_) => 0..=u8::MAX.into(),
            Builder::U16(_) => 0..=u16::MAX.into(),
            Builder::U32(_) => 0..=u32::MAX.into(),
            Builder::U64(_) => 0..=i64::MAX,
            _ => return None,
        };
        Some(match checks.map(Checks::whole_range) {
            None => (Integers { allowed: of_type }, true),
            Some(None) => (Integers { allowed: of_type }, false),
            Some(Some(range)) => {
                let allowed = (*range.start()).max(*of_type.start())..=(*range.end()).min(*of_type.end());
                (Integers { allowed }, true)
            }
        })
    }

    #[inline]
    pub fn read(&self, text: &[u8], to: &mut Builder) -> Option<usize> {
        let number = Short::read(text)?;
        if number.decimals > 0 || !self.allowed.contains(&number.value) {
            return None;
        }
        push_i64(to, number.value).ok()?;
        Some(number.bytes)
    }
}

/// Float64.
#[derive(Debug)]
pub struct Floats {
    allowed: RangeInclusive<f64>,
}

impl Floats {
    pub fn new(checks: Option<&Checks>) -> (Self, bool) {
        let range = checks.map(Checks::float_range);
        let tested = !matches!(range, Some(None));
        (Floats { allowed: range.flatten().unwrap_or(f64::NEG_INFINITY..=f64::INFINITY) }, tested)
    }

    #[inline]
    pub fn read(&self, text: &[u8]) -> Option<(f64, usize)> {
        let number = Short::read(text)?;
        let value = exact(number.value.unsigned_abs(), number.digits, number.decimals)?;
        let value = if number.negative { -value } else { value };
        self.allowed.contains(&value).then_some((value, number.bytes))
    }
}

/// Decimals of up to 18 digits.
#[derive(Debug)]
pub struct Decimals {
    scale: usize,
    /// Digits before the point.
    whole_max: usize,
}

impl Decimals {
    pub fn new(precision: u8, scale: u8) -> Self {
        Decimals { scale: scale.into(), whole_max: usize::from(precision.saturating_sub(scale)) }
    }

    #[inline]
    pub fn read(&self, text: &[u8], to: &mut Builder) -> Option<usize> {
        let number = Short::read(text)?;
        if number.digits - number.decimals > self.whole_max {
            return None;
        }
        let missing = TENS.get(self.scale.checked_sub(number.decimals)?)?;
        push_i64(to, number.value.checked_mul(*missing)?).ok()?;
        Some(number.bytes)
    }
}
