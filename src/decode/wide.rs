//! Whole numbers of up to 256 bits with a sign, exact or refused.
//!
//! Refuses to wrap: every operation that could overflow says so.

use std::cmp::Ordering;

use super::json::Number;
use super::reject::Reason;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wide {
    /// Never set for zero.
    negative: bool,
    /// Low limb first.
    magnitude: [u64; 4],
}

/// A number brought to a scale.
#[derive(Clone, Copy, Debug)]
pub struct Scaled {
    pub value: Wide,
    /// Digits that are not zero were cut off, towards zero.
    pub lost: bool,
}

impl Wide {
    /// The number times ten to the `scale`.
    pub fn scaled(number: &Number<'_>, scale: i64) -> Result<Scaled, Reason> {
        let fraction = i64::try_from(number.fraction.len()).unwrap_or(i64::MAX / 4);
        let integer = i64::try_from(number.integer.len()).unwrap_or(i64::MAX / 4);
        let shift = number.exponent.saturating_sub(fraction).saturating_add(scale);
        let kept = integer.saturating_add(fraction).saturating_add(shift.min(0)).max(0);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let mut magnitude = [0; 4];
        let mut lost = false;
        for (n, digit) in number.integer.iter().chain(number.fraction).enumerate() {
            let digit = u64::from(digit.wrapping_sub(b'0'));
            if n < kept {
                magnitude = times_ten_plus(magnitude, digit).ok_or(Reason::OutOfRange)?;
            } else {
                lost |= digit != 0;
            }
        }
        let mut zeros = shift.max(0);
        while zeros > 0 && magnitude != [0; 4] {
            magnitude = times_ten_plus(magnitude, 0).ok_or(Reason::OutOfRange)?;
            zeros -= 1;
        }
        let negative = number.negative && magnitude != [0; 4];
        Ok(Scaled { value: Wide { negative, magnitude }, lost })
    }

    pub fn ten_to(power: u8) -> Option<Wide> {
        let mut magnitude = [1, 0, 0, 0];
        for _ in 0..power {
            magnitude = times_ten_plus(magnitude, 0)?;
        }
        Some(Wide { negative: false, magnitude })
    }

    pub fn is_negative(self) -> bool {
        self.negative
    }

    pub fn abs(self) -> Wide {
        Wide { negative: false, magnitude: self.magnitude }
    }

    /// One further from zero in the given direction; saturates.
    pub fn step(self, up: bool) -> Wide {
        let grows = self.magnitude == [0; 4] || self.negative != up;
        let one = [1, 0, 0, 0];
        let magnitude = if grows { plus(self.magnitude, one) } else { minus_one(self.magnitude) };
        let negative = if self.magnitude == [0; 4] { !up } else { self.negative };
        Wide { negative: negative && magnitude != [0; 4], magnitude }
    }

    pub fn to_i64(self) -> Option<i64> {
        i64::try_from(self.to_i128()?).ok()
    }

    pub fn to_i128(self) -> Option<i128> {
        let [low, high, 0, 0] = self.magnitude else { return None };
        let value = (u128::from(high) << 64) | u128::from(low);
        if self.negative { 0_i128.checked_sub_unsigned(value) } else { i128::try_from(value).ok() }
    }

    /// Two's complement, little endian; `None` if the value does not fit `bits`.
    pub fn to_bytes(self, bits: u16, signed: bool) -> Option<[u8; 32]> {
        if self.negative && !signed {
            return None;
        }
        // A negative number has one more value than a positive one: compare its magnitude less one.
        let bounded = if self.negative { minus_one(self.magnitude) } else { self.magnitude };
        if bit_length(bounded) > u32::from(bits) - u32::from(signed) {
            return None;
        }
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(bounded) {
            let limb = if self.negative { !limb } else { limb };
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        Some(bytes)
    }

    /// Reads what [`Wide::to_bytes`] wrote, in 16 or 32 bytes.
    pub fn from_bytes(bytes: &[u8], signed: bool) -> Wide {
        let negative = signed && bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut limbs = [if negative { u64::MAX } else { 0 }; 4];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*chunk);
        }
        if !negative {
            return Wide { negative, magnitude: limbs };
        }
        Wide { negative, magnitude: plus(limbs.map(|limb| !limb), [1, 0, 0, 0]) }
    }
}

impl Ord for Wide {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitudes = self.magnitude.iter().rev().cmp(other.magnitude.iter().rev());
        match (self.negative, other.negative) {
            (false, false) => magnitudes,
            (true, true) => magnitudes.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn halves(value: u128) -> (u64, u64) {
    let bytes = value.to_le_bytes();
    let (low, high) = bytes.split_at(8);
    let limb = |half: &[u8]| half.first_chunk::<8>().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    (limb(low), limb(high))
}

fn times_ten_plus(value: [u64; 4], digit: u64) -> Option<[u64; 4]> {
    let mut carry = digit;
    let mut out = value;
    for limb in &mut out {
        let (low, high) = halves(u128::from(*limb) * 10 + u128::from(carry));
        *limb = low;
        carry = high;
    }
    (carry == 0).then_some(out)
}

/// Saturates.
fn plus(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    let mut carry = false;
    let mut out = a;
    for (limb, other) in out.iter_mut().zip(b) {
        let (sum, first) = limb.overflowing_add(other);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        *limb = sum;
        carry = first || second;
    }
    if carry { [u64::MAX; 4] } else { out }
}

/// Stays at zero.
fn minus_one(value: [u64; 4]) -> [u64; 4] {
    if value == [0; 4] {
        return value;
    }
    let mut out = value;
    for limb in &mut out {
        let (rest, borrow) = limb.overflowing_sub(1);
        *limb = rest;
        if !borrow {
            break;
        }
    }
    out
}

fn bit_length(value: [u64; 4]) -> u32 {
    let mut length = 0;
    for (limb, below) in value.iter().zip([0, 64, 128, 192]) {
        if *limb != 0 {
            length = below + 64 - limb.leading_zeros();
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str) -> Wide {
        Wide::scaled(&Number::parse(text).unwrap(), 0).unwrap().value
    }

    #[test]
    fn bounds_of_every_width_fit_and_one_beyond_does_not() {
        let cases = [
            (128, true, "170141183460469231731687303715884105727", "170141183460469231731687303715884105728"),
            (
                128,
                true,
                "-170141183460469231731687303715884105728",
                "-170141183460469231731687303715884105729",
            ),
            (
                128,
                false,
                "340282366920938463463374607431768211455",
                "340282366920938463463374607431768211456",
            ),
            (256, false, "0", "-1"),
            (
                256,
                true,
                "-57896044618658097711785492504343953926634992332820282019728792003956564819968",
                "-57896044618658097711785492504343953926634992332820282019728792003956564819969",
            ),
        ];
        for (bits, signed, good, bad) in cases {
            let bytes = wide(good).to_bytes(bits, signed).unwrap();
            let width = usize::from(bits / 8);
            assert_eq!(Wide::from_bytes(&bytes[..width], signed), wide(good), "{good}");
            assert!(wide(bad).to_bytes(bits, signed).is_none(), "{bad}");
        }
        assert_eq!(&wide("-2").to_bytes(128, true).unwrap()[..16], &(-2_i128).to_le_bytes());
        let too_wide = format!("1{}", "0".repeat(78));
        assert_eq!(Wide::scaled(&Number::parse(&too_wide).unwrap(), 0).unwrap_err(), Reason::OutOfRange);
    }

    #[test]
    fn order_and_steps_follow_the_number_line() {
        let line = ["-100000000000000000000", "-2", "-1", "0", "1", "2", "100000000000000000000"].map(wide);
        assert!(line.is_sorted());
        assert_eq!(wide("-1").step(true), wide("0"));
        assert_eq!(wide("0").step(false), wide("-1"));
        assert_eq!(wide("18446744073709551615").step(true), wide("18446744073709551616"));
        assert_eq!(wide("-18446744073709551616").step(true), wide("-18446744073709551615"));
    }

    #[test]
    fn scaling_keeps_or_reports_every_digit() {
        for (text, scale, value, lost) in [
            ("1.25", 2, "125", false),
            ("1.250", 2, "125", false),
            ("1.259", 2, "125", true),
            ("-0.001", 2, "0", true),
            ("12e2", 0, "1200", false),
            ("1200e-2", 0, "12", false),
            ("0e999999999999999999999", 0, "0", false),
            ("5e-999999999999999999999", 0, "0", true),
        ] {
            let scaled = Wide::scaled(&Number::parse(text).unwrap(), scale).unwrap();
            assert_eq!((scaled.value, scaled.lost), (wide(value), lost), "{text}");
        }
    }
}
