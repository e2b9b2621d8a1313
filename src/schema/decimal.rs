//! Decimal numbers as text, compared exactly however long they are.
//!
//! Refuses to know exponents, which no bound in a table file needs.

use std::cmp::Ordering;

use serde_json::Value;

use super::model::Int;

/// A decimal number without leading and trailing zeros; zero is never negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Decimal {
    pub fn parse(text: &str) -> Option<Decimal> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let negative = negative && !(whole.is_empty() && fraction.is_empty());
        Some(Decimal { negative, whole, fraction })
    }

    /// From a JSON number or from decimal text in quotes; `None` for anything else, and for a float
    /// that may have lost digits on its way here.
    pub fn of_value(value: &Value) -> Option<Decimal> {
        match value {
            Value::String(text) => Decimal::parse(text),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => (float.fract() != 0.0 || float.abs() < 9e15)
                    .then(|| Decimal::parse(&float.to_string()))?,
                _ => Decimal::parse(&number.to_string()),
            },
            _ => None,
        }
    }

    pub fn is_whole(&self) -> bool {
        self.fraction.is_empty()
    }

    /// Whether it has at most `scale` digits after the point and `precision` in all.
    pub fn fits(&self, precision: u8, scale: u8) -> bool {
        self.fraction.len() <= usize::from(scale)
            && self.whole.len() <= usize::from(precision.saturating_sub(scale))
    }

    pub fn fits_int(&self, int: Int) -> bool {
        let (min, max) = int_bounds(int);
        self.is_whole() && *self >= min && *self <= max
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        let point = if self.fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{}", self.fraction)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude = (self.whole.len().cmp(&other.whole.len()))
            .then_with(|| self.whole.cmp(&other.whole))
            .then_with(|| self.fraction.cmp(&other.fraction));
        match (self.negative, other.negative) {
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

/// The smallest and the largest number of an integer type.
pub(super) fn int_bounds(int: Int) -> (Decimal, Decimal) {
    let number = |negative, digits: String| Decimal { negative, whole: digits, fraction: String::new() };
    let zero = number(false, String::new());
    if int.signed {
        let bits = int.bits.saturating_sub(1);
        (number(true, power_of_two(bits, 0)), number(false, power_of_two(bits, 1)))
    } else {
        (zero, number(false, power_of_two(int.bits, 1)))
    }
}

/// `2^exponent - less`, for `less` of 0 or 1: a power of two never ends in the digit 0.
fn power_of_two(exponent: u16, less: u8) -> String {
    let mut digits = vec![1_u8];
    for _ in 0..exponent {
        let mut carry = 0;
        for digit in &mut digits {
            let doubled = *digit * 2 + carry;
            *digit = doubled % 10;
            carry = doubled / 10;
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    if let Some(last) = digits.first_mut() {
        *last = last.saturating_sub(less);
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_types() {
        for (bits, signed, min, max) in [
            (8, true, "-128", "127"),
            (64, false, "0", "18446744073709551615"),
            (128, true, &i128::MIN.to_string(), &i128::MAX.to_string()),
        ] {
            let (low, high) = int_bounds(Int { bits, signed });
            assert_eq!((low.to_string().as_str(), high.to_string().as_str()), (min, max));
        }
        let wide = int_bounds(Int { bits: 256, signed: false }).1.to_string();
        assert!(wide.starts_with("115792089237316195423570985008687907853") && wide.ends_with("639935"));
    }

    #[test]
    fn order_is_that_of_numbers() {
        let sorted =
            ["-100", "-99.5", "-0.01", "0", "0.009", "0.01", "1", "9.99", "10", "100000000000000000000"];
        for (low, high) in sorted.iter().zip(&sorted[1..]) {
            assert!(Decimal::parse(low) < Decimal::parse(high), "{low} {high}");
        }
        assert_eq!(Decimal::parse("-0.0"), Decimal::parse("000"));
        for text in ["", "-", "1e5", "1.", ".5", "0x1", "NaN", "+1", "١"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
