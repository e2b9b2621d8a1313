//! Dates and times from text or from Unix numbers into ticks.
//!
//! Refuses to guess: a local time that its zone skips or has twice, a second 60 and every form but the
//! two documented ones are refused, and so is what the column's type cannot hold.

use chrono::{DateTime, MappedLocalTime, TimeZone};
use chrono_tz::Tz;

use super::json::Number;
use super::reject::Reason;
use super::wide::Wide;
use crate::schema::Type;
use crate::schema::model::TimeFormat;

pub const DAY_SECONDS: i64 = 86_400;
/// 1900-01-01 and 2299-12-31.
const DAYS_MIN: i64 = -25_567;
const DAYS_MAX: i64 = 120_529;

/// What a time column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeType {
    pub unit: Unit,
    /// The zone of times written without an offset; `None` is UTC.
    zone: Option<Tz>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Days16,
    Days32,
    Seconds,
    Ticks { precision: u8 },
}

/// A moment, exact to the nanosecond.
#[derive(Clone, Copy, Debug)]
struct Moment {
    seconds: i64,
    nanos: u32,
    /// Digits finer than a nanosecond that are not zero.
    finer: bool,
}

impl TimeType {
    pub fn new(ty: &Type) -> Option<Self> {
        let (unit, zone) = match ty {
            Type::Date => (Unit::Days16, None),
            Type::Date32 => (Unit::Days32, None),
            Type::DateTime { zone } => (Unit::Seconds, *zone),
            Type::DateTime64 { precision, zone } => (Unit::Ticks { precision: *precision }, *zone),
            _ => return None,
        };
        Some(TimeType { unit, zone: zone.filter(|zone| *zone != Tz::UTC) })
    }

    /// The ticks for a text.
    #[inline]
    pub fn ticks_of_text(&self, text: &str, truncate: bool) -> Result<i64, Reason> {
        let bytes = text.as_bytes();
        if matches!(self.unit, Unit::Days16 | Unit::Days32) {
            let (days, rest) = date(bytes).ok_or(Reason::BadFormat)?;
            return if rest.is_empty() { self.check(days) } else { Err(Reason::BadFormat) };
        }
        let moment = self.moment(bytes).ok_or(Reason::BadFormat)?;
        let precision = self.precision();
        let unit = 10_u32.pow(9 - u32::from(precision.min(9)));
        if !truncate && (moment.finer || moment.nanos % unit != 0) {
            return Err(Reason::PrecisionLoss);
        }
        let ticks = moment.seconds.checked_mul(10_i64.pow(u32::from(precision)));
        let ticks = ticks.and_then(|ticks| ticks.checked_add(i64::from(moment.nanos / unit)));
        self.check(ticks.ok_or(Reason::OutOfRange)?)
    }

    /// The ticks for a number that counts `format`'s unit since 1970.
    pub fn ticks_of_unix(
        &self,
        number: &Number<'_>,
        format: TimeFormat,
        truncate: bool,
    ) -> Result<i64, Reason> {
        let digits = match format {
            TimeFormat::Iso => return Err(Reason::WrongType),
            TimeFormat::UnixSeconds => 0,
            TimeFormat::UnixMillis => 3,
            TimeFormat::UnixMicros => 6,
            TimeFormat::UnixNanos => 9,
        };
        let scaled = Wide::scaled(number, i64::from(self.precision()) - digits)?;
        let lower = scaled.lost && number.negative;
        let value = if lower { scaled.value.step(false) } else { scaled.value };
        let ticks = value.to_i64().ok_or(Reason::OutOfRange)?;
        if matches!(self.unit, Unit::Seconds | Unit::Ticks { .. }) {
            let ticks = self.check(ticks)?;
            return if scaled.lost && !truncate { Err(Reason::PrecisionLoss) } else { Ok(ticks) };
        }
        let days = self.check(ticks.div_euclid(DAY_SECONDS))?;
        let lost = scaled.lost || ticks.rem_euclid(DAY_SECONDS) != 0;
        if lost && !truncate { Err(Reason::PrecisionLoss) } else { Ok(days) }
    }

    /// The ticks for milliseconds since 1970; what is finer than the type is cut off.
    pub fn ticks_of_millis(&self, millis: i64) -> Result<i64, Reason> {
        let ticks = match self.unit {
            Unit::Days16 | Unit::Days32 => Some(millis.div_euclid(DAY_SECONDS * 1000)),
            Unit::Seconds => Some(millis.div_euclid(1000)),
            Unit::Ticks { precision: precision @ 0..=3 } => {
                Some(millis.div_euclid(10_i64.pow(3 - u32::from(precision))))
            }
            Unit::Ticks { precision } => millis.checked_mul(10_i64.pow(u32::from(precision.min(18)) - 3)),
        };
        self.check(ticks.ok_or(Reason::OutOfRange)?)
    }

    /// Milliseconds since 1970 of a value of this type; saturates.
    pub fn to_millis(self, ticks: i64) -> i64 {
        match self.unit {
            Unit::Days16 | Unit::Days32 => ticks.saturating_mul(DAY_SECONDS * 1000),
            Unit::Seconds => ticks.saturating_mul(1000),
            Unit::Ticks { precision: precision @ 0..=3 } => {
                ticks.saturating_mul(10_i64.pow(3 - u32::from(precision)))
            }
            Unit::Ticks { precision } => ticks.div_euclid(10_i64.pow(u32::from(precision.min(18)) - 3)),
        }
    }

    /// Digits of a second that a column of times holds; `None` for dates.
    pub fn subsecond_digits(&self) -> Option<u8> {
        (!matches!(self.unit, Unit::Days16 | Unit::Days32)).then(|| self.precision())
    }

    /// `ticks` of a time on the day `days`, if the type can hold it.
    #[inline]
    pub fn within(&self, ticks: i64, days: i64) -> Option<i64> {
        let within = match self.unit {
            Unit::Seconds => (0..=i64::from(u32::MAX)).contains(&ticks),
            _ => (DAYS_MIN..=DAYS_MAX).contains(&days),
        };
        within.then_some(ticks)
    }

    /// Ticks per second are ten to this.
    fn precision(&self) -> u8 {
        match self.unit {
            Unit::Ticks { precision } => precision.min(9),
            _ => 0,
        }
    }

    #[inline]
    fn check(&self, ticks: i64) -> Result<i64, Reason> {
        let within = match self.unit {
            Unit::Days16 => (0..=i64::from(u16::MAX)).contains(&ticks),
            Unit::Days32 => (DAYS_MIN..=DAYS_MAX).contains(&ticks),
            Unit::Seconds => (0..=i64::from(u32::MAX)).contains(&ticks),
            Unit::Ticks { precision } => {
                let days = ticks.div_euclid(10_i64.pow(u32::from(precision.min(9))) * DAY_SECONDS);
                (DAYS_MIN..=DAYS_MAX).contains(&days)
            }
        };
        if within { Ok(ticks) } else { Err(Reason::OutOfRange) }
    }

    #[inline]
    fn moment(&self, bytes: &[u8]) -> Option<Moment> {
        let (days, rest) = date(bytes)?;
        let (separator, rest) = rest.split_first()?;
        let (second_of_day, rest) = clock(rest)?;
        let local = days * DAY_SECONDS + second_of_day;
        let (nanos, finer, rest) = fraction(rest)?;
        let seconds = match (separator, rest) {
            (b' ', []) => self.local_to_utc(local)?,
            (b'T' | b't' | b' ', [b'Z' | b'z']) => local,
            (b'T' | b't' | b' ', zone) => local - offset(zone)?,
            _ => return None,
        };
        Some(Moment { seconds, nanos, finer })
    }

    fn local_to_utc(&self, local: i64) -> Option<i64> {
        let Some(zone) = self.zone else { return Some(local) };
        let naive = DateTime::from_timestamp(local, 0)?.naive_utc();
        match zone.from_local_datetime(&naive) {
            MappedLocalTime::Single(time) => Some(time.timestamp()),
            MappedLocalTime::Ambiguous(..) | MappedLocalTime::None => None,
        }
    }
}

/// Whether the text is an RFC 3339 time, with its offset.
pub fn is_rfc3339(text: &str) -> bool {
    let utc = TimeType { unit: Unit::Ticks { precision: 0 }, zone: None };
    let offset = text.bytes().skip(19).any(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-'));
    offset && utc.moment(text.as_bytes()).is_some()
}

pub fn is_date(text: &str) -> bool {
    date(text.as_bytes()).is_some_and(|(_, rest)| rest.is_empty())
}

/// Two digits, or something above 99.
#[inline]
fn two(tens: u8, ones: u8) -> i64 {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { 1000 } else { i64::from(tens) * 10 + i64::from(ones) }
}

/// `YYYY-MM-DD` in days since 1970, and what follows it.
#[inline]
pub fn date(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let ([c, d, y, z, b'-', m, n, b'-', a, b], rest) = bytes.split_first_chunk::<10>()? else { return None };
    let (century, year, month, day) = (two(*c, *d), two(*y, *z), two(*m, *n), two(*a, *b));
    if century > 99 || year > 99 || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let year = century * 100 + year;
    if day > month_days(year, month) {
        return None;
    }
    // Years from March on, so that the leap day is the last of its year; 400 years have 146,097 days.
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some((era * 146_097 + days - 719_468, rest))
}

#[inline]
fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `hh:mm:ss` in seconds, and what follows it.
#[inline]
pub fn clock(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let ([h, i, b':', m, n, b':', s, t], rest) = bytes.split_first_chunk::<8>()? else { return None };
    let (hour, minute, second) = (two(*h, *i), two(*m, *n), two(*s, *t));
    (hour < 24 && minute < 60 && second < 60).then_some((hour * 3600 + minute * 60 + second, rest))
}

/// `.digits` in nanoseconds, whether finer digits were not zero, and what follows.
#[inline]
fn fraction(bytes: &[u8]) -> Option<(u32, bool, &[u8])> {
    let [b'.', digits @ ..] = bytes else { return Some((0, false, bytes)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let (mut nanos, mut finer) = (0, false);
    for (n, digit) in digits.iter().take(count).enumerate() {
        let digit = u32::from(digit.wrapping_sub(b'0'));
        if n < 9 {
            nanos = nanos * 10 + digit;
        } else {
            finer |= digit != 0;
        }
    }
    for _ in count..9 {
        nanos *= 10;
    }
    Some((nanos, finer, digits.get(count..)?))
}

/// `+hh:mm` or `-hh:mm` in seconds.
fn offset(bytes: &[u8]) -> Option<i64> {
    let [sign, h, i, b':', m, n] = bytes else { return None };
    let (hours, minutes) = (two(*h, *i), two(*m, *n));
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}
