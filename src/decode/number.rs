//! Numbers from JSON into the columns' integers, floats and decimals: exact, or refused.
//!
//! Refuses to clamp, wrap or round, except that a float column takes the float nearest to what was
//! written.

use super::json::Number;
use super::reject::Reason;
use super::wide::Wide;
use crate::columns::builder::Builder;
use crate::schema::model::Coercion;

/// Powers of ten that a double holds exactly.
const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Appends a whole number to a column of integers or ticks of up to 64 bits.
#[inline]
pub fn push_i64(builder: &mut Builder, value: i64) -> Result<(), Reason> {
    let range = |_| Reason::OutOfRange;
    match builder {
        Builder::I8(b) => b.push(i8::try_from(value).map_err(range)?),
        Builder::I16(b) => b.push(i16::try_from(value).map_err(range)?),
        Builder::I32(b) => b.push(i32::try_from(value).map_err(range)?),
        Builder::I64(b) => b.push(value),
        Builder::U8(b) => b.push(u8::try_from(value).map_err(range)?),
        Builder::U16(b) => b.push(u16::try_from(value).map_err(range)?),
        Builder::U32(b) => b.push(u32::try_from(value).map_err(range)?),
        Builder::U64(b) => b.push(u64::try_from(value).map_err(range)?),
        _ => return Err(Reason::WrongType),
    }
    Ok(())
}

/// Appends to a column of integers of up to 64 bits.
pub fn push_wide(builder: &mut Builder, value: Wide) -> Result<(), Reason> {
    match (value.to_i64(), builder) {
        (Some(small), builder) => push_i64(builder, small),
        (None, Builder::U64(b)) => {
            let value = value.to_i128().and_then(|value| u64::try_from(value).ok());
            b.push(value.ok_or(Reason::OutOfRange)?);
            Ok(())
        }
        (None, _) => Err(Reason::OutOfRange),
    }
}

/// The number as a whole one, if the coercion lets it be one.
pub fn whole(number: &Number<'_>, coercion: Coercion) -> Result<Wide, Reason> {
    if !number.plain && !coercion.integral_float {
        return Err(Reason::WrongType);
    }
    let scaled = Wide::scaled(number, 0)?;
    if scaled.lost { Err(Reason::PrecisionLoss) } else { Ok(scaled.value) }
}

/// The unscaled value of a decimal.
pub fn decimal(number: &Number<'_>, precision: u8, scale: u8, truncate: bool) -> Result<Wide, Reason> {
    let scaled = Wide::scaled(number, i64::from(scale))?;
    if Wide::ten_to(precision).is_some_and(|limit| scaled.value.abs() >= limit) {
        return Err(Reason::OutOfRange);
    }
    if scaled.lost && !truncate { Err(Reason::PrecisionLoss) } else { Ok(scaled.value) }
}

/// The same for the usual case: at most 18 digits in all and nothing to cut off.
#[inline]
pub fn small_decimal(number: &Number<'_>, precision: u8, scale: u8) -> Option<i64> {
    let scale = usize::from(scale);
    let missing = scale.checked_sub(number.fraction.len())?;
    let fits = number.integer.len() + scale <= 18.min(usize::from(precision));
    if !fits || number.exponent != 0 {
        return None;
    }
    let digits = number.integer.iter().chain(number.fraction).chain(std::iter::repeat_n(&b'0', missing));
    let value = digits.fold(0_i64, |value, digit| value * 10 + i64::from(digit.wrapping_sub(b'0')));
    Some(if number.negative { -value } else { value })
}

/// The nearest double.
#[inline]
pub fn double(number: &Number<'_>) -> Result<f64, Reason> {
    let value = match exact_double(number) {
        Some(value) => value,
        None => number.text.parse::<f64>().map_err(|_| Reason::BadFormat)?,
    };
    if value.is_finite() { Ok(value) } else { Err(Reason::OutOfRange) }
}

/// A mantissa below 2^53 times or over an exact power of ten is rounded once, so it is the nearest.
#[inline]
fn exact_double(number: &Number<'_>) -> Option<f64> {
    if number.exponent != 0 || number.integer.len() + number.fraction.len() > 15 {
        return None;
    }
    let digits = number.integer.iter().chain(number.fraction);
    let mantissa = digits.fold(0_u64, |value, digit| value * 10 + u64::from(digit.wrapping_sub(b'0')));
    let value = exact(mantissa, number.integer.len() + number.fraction.len(), number.fraction.len())?;
    Some(if number.negative { -value } else { value })
}

/// `mantissa`, which has so many `digits`, with the last `decimals` of them behind the point.
#[inline]
pub fn exact(mantissa: u64, digits: usize, decimals: usize) -> Option<f64> {
    if digits > 15 {
        return None;
    }
    // Both halves are exact: 15 digits stay below 2^53.
    let high = f64::from(u32::try_from(mantissa >> 32).ok()?) * 4_294_967_296.0;
    let magnitude = high + f64::from(u32::try_from(mantissa & 0xffff_ffff).ok()?);
    Some(magnitude / EXACT.get(decimals)?)
}

/// The nearest single; not by way of a double, which would round twice.
pub fn single(number: &Number<'_>) -> Result<f32, Reason> {
    let value = number.text.parse::<f32>().map_err(|_| Reason::BadFormat)?;
    if value.is_finite() { Ok(value) } else { Err(Reason::OutOfRange) }
}
