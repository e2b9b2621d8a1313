//! Rules beyond the type, tested on the value that was just appended.
//!
//! Refuses to read JSON: bounds and allowed values are compiled to the column's own representation, so
//! that testing is comparing.

use std::ops::RangeInclusive;

use crate::columns::builder::Builder;
use crate::schema::model::{Constraints, Format};

use super::fault::{Fault, Result};
use super::json::Number;
use super::pattern::Pattern;
use super::reject::Reason;
use super::text;
use super::time::TimeType;
use super::value::{Kind, Shape};
use super::wide::Wide;

#[derive(Debug)]
pub struct Checks {
    /// One row per allowed value.
    one_of: Option<Builder>,
    range: Range,
    length: Option<RangeInclusive<usize>>,
    pattern: Option<Pattern>,
    format: Option<Format>,
    time: Option<(TimeType, RangeInclusive<i64>)>,
}

#[derive(Debug)]
enum Range {
    Any,
    Small(RangeInclusive<i128>),
    Wide { min: Option<Wide>, max: Option<Wide>, signed: bool },
    Float(RangeInclusive<f64>),
}

impl Checks {
    /// `None` if there is nothing to test. `one_of` holds the allowed values, converted. The error says
    /// which constraint does not fit the type.
    pub fn new(
        rules: &Constraints,
        shape: &Shape,
        one_of: Option<Builder>,
    ) -> std::result::Result<Option<Self>, &'static str> {
        let textual = matches!(shape.kind, Kind::String | Kind::FixedString);
        let counted = matches!(shape.kind, Kind::Array(_) | Kind::Map { .. } | Kind::Nested(_));
        if (rules.pattern.is_some() || rules.format.is_some()) && !matches!(shape.kind, Kind::String) {
            return Err("pattern and format need a String column");
        }
        let length = match (rules.length_min, rules.length_max) {
            (None, None) => None,
            _ if !textual && !counted => return Err("length needs a column of text, an Array or a Map"),
            (min, max) => Some(min.unwrap_or(0)..=max.unwrap_or(usize::MAX)),
        };
        let time = match (rules.past_max, rules.future_max, &shape.kind) {
            (None, None, _) => None,
            (past, future, Kind::Time(time)) => {
                let millis = |span: Option<std::time::Duration>| {
                    span.map_or(i64::MAX, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
                };
                Some((*time, millis(past).saturating_neg()..=millis(future)))
            }
            _ => return Err("past_max and future_max need a column of time"),
        };
        let range = Range::new(rules, shape)?;
        if matches!(range, Range::Any)
            && one_of.is_none()
            && length.is_none()
            && time.is_none()
            && rules.pattern.is_none()
            && rules.format.is_none()
        {
            return Ok(None);
        }
        let (pattern, format) = (rules.pattern.as_ref().map(Pattern::new), rules.format);
        Ok(Some(Checks { one_of, range, length, pattern, format, time }))
    }

    /// The range, if the rules of an integer column say nothing else.
    pub fn whole_range(&self) -> Option<RangeInclusive<i64>> {
        match (self, &self.range) {
            (Checks { one_of: None, .. }, Range::Small(range)) => {
                let near = |bound: &i128| {
                    i64::try_from(*bound).unwrap_or(if *bound < 0 { i64::MIN } else { i64::MAX })
                };
                Some(near(range.start())..=near(range.end()))
            }
            _ => None,
        }
    }

    /// The range, if the rules of a float column say nothing else.
    pub fn float_range(&self) -> Option<RangeInclusive<f64>> {
        match (self, &self.range) {
            (Checks { one_of: None, .. }, Range::Float(range)) => Some(range.clone()),
            _ => None,
        }
    }

    /// The length in characters and the pattern, if the rules of a text column say nothing else.
    pub fn text_rules(&self) -> Option<(RangeInclusive<usize>, Option<Pattern>)> {
        let Checks { one_of: None, format: None, length, pattern, .. } = self else { return None };
        Some((length.clone().unwrap_or(0..=usize::MAX), pattern.clone()))
    }

    /// The range in ticks and the distance in milliseconds, if the rules of a time column say nothing else.
    pub fn time_rules(&self) -> Option<(RangeInclusive<i64>, Option<RangeInclusive<i64>>)> {
        let Checks { one_of: None, range, time, .. } = self else { return None };
        let ticks = if matches!(range, Range::Any) { Some(i64::MIN..=i64::MAX) } else { self.whole_range() };
        Some((ticks?, time.as_ref().map(|(_, distance)| distance.clone())))
    }

    /// Tests the value appended last, which is not NULL.
    pub fn test(&self, value: &Builder, reference_ms: i64) -> Result {
        if let Some(allowed) = &self.one_of
            && !(0..allowed.len()).any(|row| value.last_equals(allowed, row))
        {
            return Err(Fault::new(Reason::NotInEnum, "the value is none of the allowed ones"));
        }
        if !self.range.holds(value) {
            return Err(Fault::new(Reason::OutOfRange, "the value is outside min and max"));
        }
        if let Some(length) = &self.length {
            test_length(length, value)?;
        }
        if let Builder::Text(text) = value {
            self.test_text(text.last())?;
        }
        if let (Some((time, bounds)), Some(ticks)) = (&self.time, small(value)) {
            let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
            let distance = time.to_millis(ticks).saturating_sub(reference_ms);
            if !bounds.contains(&distance) {
                let detail = "the time is too far from the record's own";
                return Err(Fault::new(Reason::TimeOutOfBounds, detail));
            }
        }
        Ok(())
    }

    fn test_text(&self, value: &str) -> Result {
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(value)) {
            let detail = format!("a string of {} bytes does not match the pattern", value.len());
            return Err(Fault::new(Reason::PatternMismatch, detail));
        }
        match self.format {
            Some(format) if !text::has_format(format, value) => {
                let detail = format!("a string of {} bytes is not of the format {format:?}", value.len());
                Err(Fault::new(Reason::BadFormat, detail))
            }
            _ => Ok(()),
        }
    }
}

fn test_length(allowed: &RangeInclusive<usize>, value: &Builder) -> Result {
    let length = match value {
        Builder::Text(column) => {
            if text::chars_within(column.last(), allowed) {
                return Ok(());
            }
            column.last().chars().count()
        }
        // Padding is not part of the value.
        Builder::Bytes(bytes) => {
            let padding = bytes.last().iter().rev().take_while(|byte| **byte == 0).count();
            let text = bytes.last().get(..bytes.width() - padding).unwrap_or_default();
            std::str::from_utf8(text).map_or(text.len(), |text| text.chars().count())
        }
        Builder::List(list) => list.last_count(),
        _ => return Ok(()),
    };
    if allowed.contains(&length) {
        return Ok(());
    }
    let detail = format!("a length of {length} is outside {} to {}", allowed.start(), allowed.end());
    Err(Fault::new(Reason::BadLength, detail))
}

/// The last value of a column of machine integers.
#[inline]
fn small(value: &Builder) -> Option<i128> {
    match value {
        Builder::I8(b) => Some(b.last().into()),
        Builder::I16(b) => Some(b.last().into()),
        Builder::I32(b) => Some(b.last().into()),
        Builder::I64(b) => Some(b.last().into()),
        Builder::U8(b) => Some(b.last().into()),
        Builder::U16(b) => Some(b.last().into()),
        Builder::U32(b) => Some(b.last().into()),
        Builder::U64(b) => Some(b.last().into()),
        _ => None,
    }
}

impl Range {
    fn new(rules: &Constraints, shape: &Shape) -> std::result::Result<Self, &'static str> {
        if rules.min.is_none() && rules.max.is_none() {
            return Ok(Range::Any);
        }
        let (scale, wide, signed) = match &shape.kind {
            Kind::Int => (0, false, true),
            Kind::WideInt { signed, .. } => (0, true, *signed),
            Kind::Decimal { precision, scale } => (i64::from(*scale), *precision > 18, true),
            Kind::Float32 | Kind::Float64 => return Range::float(rules),
            Kind::Time(time) => return Range::time(rules, *time),
            _ => return Err("min and max need a column of numbers or of time"),
        };
        let bound = |text: &Option<String>, up: bool| match text {
            None => Ok(None),
            Some(text) => whole_bound(text, scale, up).map(Some),
        };
        let (min, max) = (bound(&rules.min, true)?, bound(&rules.max, false)?);
        if wide {
            return Ok(Range::Wide { min, max, signed });
        }
        // A bound beyond 128 bits is beyond every small column, on its own side of it.
        let near =
            |bound: Wide| bound.to_i128().unwrap_or(if bound.is_negative() { i128::MIN } else { i128::MAX });
        Ok(Range::Small(min.map_or(i128::MIN, near)..=max.map_or(i128::MAX, near)))
    }

    fn float(rules: &Constraints) -> std::result::Result<Self, &'static str> {
        let bound = |text: &Option<String>, open: f64| match text {
            None => Ok(open),
            Some(text) => text.parse::<f64>().map_err(|_| "min and max must be numbers"),
        };
        Ok(Range::Float(bound(&rules.min, f64::NEG_INFINITY)?..=bound(&rules.max, f64::INFINITY)?))
    }

    fn time(rules: &Constraints, time: TimeType) -> std::result::Result<Self, &'static str> {
        let bound = |text: &Option<String>, open: i128| match text {
            None => Ok(open),
            Some(text) => time
                .ticks_of_text(text, true)
                .map(i128::from)
                .map_err(|_| "min and max of a time must be times that the column can hold"),
        };
        Ok(Range::Small(bound(&rules.min, i128::MIN)?..=bound(&rules.max, i128::MAX)?))
    }

    #[inline]
    fn holds(&self, value: &Builder) -> bool {
        match (self, value) {
            (Range::Any, _) => true,
            (Range::Small(range), value) => small(value).is_none_or(|value| range.contains(&value)),
            (Range::Float(range), Builder::F32(b)) => range.contains(&f64::from(b.last())),
            (Range::Float(range), Builder::F64(b)) => range.contains(&b.last()),
            (Range::Wide { min, max, signed }, Builder::Bytes(b)) => {
                let value = Wide::from_bytes(b.last(), *signed);
                min.is_none_or(|min| min <= value) && max.is_none_or(|max| value <= max)
            }
            _ => false,
        }
    }
}

/// A bound in the column's unscaled unit; one that lies between two units moves inward.
fn whole_bound(text: &str, scale: i64, up: bool) -> std::result::Result<Wide, &'static str> {
    let number = Number::parse(text).ok_or("min and max must be numbers")?;
    let scaled = Wide::scaled(&number, scale).map_err(|_| "min and max must have at most 256 bits")?;
    // Cutting went towards zero, which is inward for a negative minimum and a positive maximum.
    let inward = number.negative == up;
    Ok(if scaled.lost && !inward { scaled.value.step(up) } else { scaled.value })
}
