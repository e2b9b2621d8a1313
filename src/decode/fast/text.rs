//! Texts, and what is written as a text without escapes.
//!
//! Refuses escapes, rare ways of writing a time, and names that are not listed.

use std::ops::RangeInclusive;

use crate::columns::builder::{Builder, Bytes, Text};
use crate::decode::check::Checks;
use crate::decode::json::Cursor;
use crate::decode::number::push_i64;
use crate::decode::pattern::Pattern;
use crate::decode::swar::{Beginning, TENS, digits};
use crate::decode::text;
use crate::decode::time::{self, TimeType};

/// String columns.
#[derive(Debug)]
pub struct Texts {
    chars: RangeInclusive<usize>,
    pattern: Option<Pattern>,
}

impl Texts {
    pub fn new(checks: Option<&Checks>) -> (Self, bool) {
        match checks.map(Checks::text_rules) {
            None => (Texts { chars: 0..=usize::MAX, pattern: None }, true),
            Some(None) => (Texts { chars: 0..=usize::MAX, pattern: None }, false),
            Some(Some((chars, pattern))) => (Texts { chars, pattern }, true),
        }
    }

    #[inline]
    pub fn read(&self, cursor: &Cursor<'_>, to: &mut Text) -> Option<usize> {
        let value = cursor.plain_string()?;
        let fits = text::chars_within(value, &self.chars)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(value));
        if !fits || to.push(value).is_err() {
            return None;
        }
        Some(value.len() + 2)
    }
}

/// DateTime and DateTime64 as `YYYY-MM-DDThh:mm:ss[.fraction]Z`.
#[derive(Debug)]
pub struct Times {
    time: TimeType,
    precision: usize,
    ticks: RangeInclusive<i64>,
    /// Milliseconds from the record's own time.
    distance: Option<RangeInclusive<i64>>,
    /// The date seen last and its days since 1970: most times of one topic are of one day.
    date: ([u8; 10], i64),
}

impl Times {
    pub fn new(time: TimeType, checks: Option<&Checks>) -> Option<(Self, bool)> {
        let precision = time.subsecond_digits()?.into();
        let rules = checks.map(Checks::time_rules);
        let tested = !matches!(rules, Some(None));
        let (ticks, distance) = rules.flatten().unwrap_or((i64::MIN..=i64::MAX, None));
        Some((Times { time, precision, ticks, distance, date: ([0; 10], 0) }, tested))
    }

    #[inline]
    pub fn read(&mut self, text: &[u8], reference_ms: i64, to: &mut Builder) -> Option<usize> {
        let (b'"', text) = text.split_first()? else { return None };
        let (date, rest) = text.split_first_chunk::<10>()?;
        if *date != self.date.0 {
            self.date = (*date, time::date(date)?.0);
        }
        let (b'T', rest) = rest.split_first()? else { return None };
        let (second_of_day, rest) = time::clock(rest)?;
        let (fraction, count) = match rest.split_first()? {
            (b'.', rest) => digits(rest)?,
            _ => (0, 0),
        };
        let bytes = 20 + count + usize::from(count > 0);
        let (b"Z\"", _) = text.get(bytes - 1..)?.split_first_chunk::<2>()? else { return None };
        let finer = TENS.get(self.precision.checked_sub(count)?)?;
        let seconds = self.date.1 * time::DAY_SECONDS + second_of_day;
        let ticks = seconds.checked_mul(*TENS.get(self.precision)?)?.checked_add(fraction * finer)?;
        let ticks = self.time.within(ticks, self.date.1)?;
        let near = self.distance.as_ref().is_none_or(|distance| {
            distance.contains(&self.time.to_millis(ticks).saturating_sub(reference_ms))
        });
        if !near || !self.ticks.contains(&ticks) {
            return None;
        }
        push_i64(to, ticks).ok()?;
        Some(bytes + 2)
    }
}

/// Enum8 and Enum16 of few names.
#[derive(Debug)]
pub struct Names {
    /// Each as it stands in the text, quotes included.
    names: Vec<(Beginning, i64)>,
}

impl Names {
    pub fn new(names: &text::Names) -> Option<Self> {
        let plain = |name: &str| !name.contains(|c: char| c < ' ' || c == '"' || c == '\\');
        let few = names.few()?;
        let names = few.iter().filter(|(name, _)| plain(name));
        let names =
            names.map(|(name, value)| (Beginning::new(format!("\"{name}\"").as_bytes()), i64::from(*value)));
        Some(Names { names: names.collect() })
    }

    #[inline]
    pub fn read(&self, text: &[u8], to: &mut Builder) -> Option<usize> {
        let (name, value) = self.names.iter().find(|(name, _)| name.begins(text))?;
        push_i64(to, *value).ok()?;
        Some(name.len())
    }
}

#[inline]
pub fn uuid(text: &[u8], to: &mut Bytes) -> Option<usize> {
    let ([b'"', digits @ .., b'"'], _) = text.split_first_chunk::<38>()? else { return None };
    to.push(&text::uuid(digits)?).ok()?;
    Some(38)
}

#[inline]
pub fn ipv4(text: &[u8]) -> Option<(u32, usize)> {
    let (b'"', mut rest) = text.split_first()? else { return None };
    let mut address: u32 = 0;
    let mut bytes = 1;
    for end in [b'.', b'.', b'.', b'"'] {
        let (octet, count) = octet(rest)?;
        address = (address << 8) | octet;
        bytes += count + 1;
        match rest.get(count..)?.split_first()? {
            (found, after) if *found == end => rest = after,
            _ => return None,
        }
    }
    Some((address, bytes))
}

/// A number up to 255 without a leading zero, and its length.
#[inline]
fn octet(text: &[u8]) -> Option<(u32, usize)> {
    let digit = |n: usize| text.get(n).map(|byte| u32::from(byte.wrapping_sub(b'0'))).filter(|n| *n < 10);
    let first = digit(0)?;
    let Some(second) = digit(1).filter(|_| first > 0) else { return Some((first, 1)) };
    let two = first * 10 + second;
    match digit(2) {
        None => Some((two, 2)),
        Some(third) => (two * 10 + third < 256).then_some((two * 10 + third, 3)),
    }
}

#[inline]
pub fn boolean(text: &[u8]) -> Option<(u8, usize)> {
    if text.starts_with(b"false") {
        return Some((0, 5));
    }
    text.starts_with(b"true").then_some((1, 4))
}
