//! When something is due: pure, by times that are handed in.
//!
//! Refuses to look at a clock. Every process that has the same schedule finds the same due times.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// More due times that passed are not counted.
pub const MISSED_COUNTED_MAX: u32 = 1000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("neither `when` nor `every` says when, or both do")]
    Both,
    #[error("`every` is no whole number of seconds")]
    Every,
    #[error("`{0}` is no time zone")]
    Zone(String),
    #[error("`when` cannot be read: {0}")]
    Cron(String),
    #[error("`when` never comes")]
    Never,
}

/// The times at which something is due.
#[derive(Clone, Debug)]
pub enum When {
    Cron {
        cron: Box<Cron>,
        zone: Tz,
    },
    /// Whole multiples of so many seconds since 1970.
    Every(i64),
}

/// How a run that begins late is taken.
#[derive(Clone, Copy, Debug)]
pub struct Lateness {
    pub late_max: Duration,
    pub catch_up: bool,
}

/// What is due now, beyond what was claimed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The last due time that has come: everything up to it is settled by this.
    pub upto: Option<DateTime<Utc>>,
    /// Whether that one is run.
    pub is_run: bool,
    /// Due times that are not, [`MISSED_COUNTED_MAX`] at most, and the last of them.
    pub missed: u32,
    pub missed_upto: Option<DateTime<Utc>>,
}

impl When {
    /// # Errors
    /// What of it makes no sense.
    pub fn parse(when: Option<&str>, every: Option<Duration>, zone: &str) -> Result<When, Error> {
        let zone = Tz::from_str(zone).map_err(|_| Error::Zone(zone.to_owned()))?;
        let text = match (when, every) {
            (Some(text), None) => text,
            (None, Some(every)) => {
                let whole = every.subsec_nanos() == 0 && every >= Duration::from_secs(1);
                let seconds = i64::try_from(every.as_secs()).ok().filter(|_| whole);
                return seconds.map(When::Every).ok_or(Error::Every);
            }
            _ => return Err(Error::Both),
        };
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| Error::Cron(error.to_string()))?;
        let when = When::Cron { cron: Box::new(cron), zone };
        // A day that no month has.
        if when.next(DateTime::UNIX_EPOCH).is_none() { Err(Error::Never) } else { Ok(when) }
    }

    /// The first due time after this one.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            When::Every(seconds) => {
                at(after.timestamp().div_euclid(*seconds).checked_add(1)?.checked_mul(*seconds)?)
            }
            When::Cron { cron, zone } => {
                let found =
                    cron.find_next_occurrence(&after.with_timezone(zone), false).ok()?.with_timezone(&Utc);
                // What does not move on would be due for ever.
                Some(found).filter(|found| *found > after)
            }
        }
    }

    /// The last due time at or before this one.
    pub fn latest(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            When::Every(seconds) => at(now.timestamp().div_euclid(*seconds).checked_mul(*seconds)?),
            When::Cron { cron, zone } => {
                let found = cron.find_previous_occurrence(&now.with_timezone(zone), true).ok()?;
                Some(found.with_timezone(&Utc)).filter(|found| *found <= now)
            }
        }
    }

    /// What is due, if everything up to `last` was settled before.
    pub fn due(&self, last: DateTime<Utc>, now: DateTime<Utc>, lateness: Lateness) -> Due {
        let Some(first) = self.next(last).filter(|first| *first <= now) else { return Due::default() };
        let (mut upto, mut before, mut count) = (first, None, 1);
        while let Some(next) = self.next(upto).filter(|next| *next <= now) {
            before = Some(upto);
            upto = next;
            count += 1;
            if count > MISSED_COUNTED_MAX {
                upto = self.latest(now).unwrap_or(upto).max(upto);
                before = self.latest(upto - chrono::Duration::seconds(1)).or(before);
                break;
            }
        }
        let late = (now - upto).to_std().unwrap_or_default();
        let is_run = late <= lateness.late_max || lateness.catch_up;
        let missed_upto = if is_run { before } else { Some(upto) };
        Due { upto: Some(upto), is_run, missed: count - u32::from(is_run), missed_upto }
    }
}

fn at(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, Timelike};
    use proptest::prelude::*;

    use super::*;

    const LATE: Lateness = Lateness { late_max: Duration::from_secs(60), catch_up: false };

    fn time(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    fn cron(text: &str, zone: &str) -> When {
        When::parse(Some(text), None, zone).unwrap()
    }

    fn every(seconds: u64) -> When {
        When::parse(None, Some(Duration::from_secs(seconds)), "UTC").unwrap()
    }

    #[test]
    fn nonsense_is_refused() {
        let parse = |when, every, zone| When::parse(when, every, zone).unwrap_err();
        assert_eq!(parse(None, None, "UTC"), Error::Both);
        assert_eq!(parse(Some("* * * * *"), Some(Duration::from_secs(1)), "UTC"), Error::Both);
        assert_eq!(parse(None, Some(Duration::from_millis(1500)), "UTC"), Error::Every);
        assert_eq!(parse(None, Some(Duration::ZERO), "UTC"), Error::Every);
        assert_eq!(parse(Some("* * * * *"), None, "Mars/Here"), Error::Zone("Mars/Here".to_owned()));
        assert!(matches!(parse(Some("61 * * * *"), None, "UTC"), Error::Cron(_)));
        assert_eq!(parse(Some("0 0 31 2 *"), None, "UTC"), Error::Never);
    }

    #[test]
    fn an_hour_that_is_not_there_or_is_there_twice_has_one_run() {
        let night = cron("30 2 * * *", "Europe/Berlin");
        // Summer time begins at 2 o'clock on 2026-03-29, and ends at 3 o'clock on 2026-10-25.
        let spring = night.next(time("2026-03-28T12:00:00Z")).unwrap();
        assert_eq!(spring, time("2026-03-29T01:00:00Z"), "the first moment after the gap");
        assert_eq!(night.next(spring).unwrap(), time("2026-03-30T00:30:00Z"));
        let autumn = night.next(time("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!(night.next(autumn).unwrap(), time("2026-10-26T01:30:00Z"), "not once more an hour later");
        let hourly = cron("0 * * * *", "Europe/Berlin");
        assert_eq!(hourly.next(time("2026-10-25T00:00:00Z")).unwrap(), time("2026-10-25T01:00:00Z"));
    }

    #[test]
    fn a_run_is_on_time_made_up_for_or_left_out() {
        let hourly = every(3600);
        let last = time("2026-01-01T00:00:00Z");
        let due = |now: &str, catch_up| hourly.due(last, time(now), Lateness { catch_up, ..LATE });
        assert_eq!(due("2026-01-01T00:59:59Z", true), Due::default());
        let at_one = Some(time("2026-01-01T01:00:00Z"));
        let run = Due { upto: at_one, is_run: true, missed: 0, missed_upto: None };
        assert_eq!(due("2026-01-01T01:00:30Z", false), run);
        let left_out = Due { upto: at_one, is_run: false, missed: 1, missed_upto: at_one };
        assert_eq!(due("2026-01-01T01:01:01Z", false), left_out);
        assert_eq!(due("2026-01-01T01:01:01Z", true), run);
        let (at_four, at_five) = (Some(time("2026-01-01T04:00:00Z")), Some(time("2026-01-01T05:00:00Z")));
        let made_up_for = Due { upto: at_five, is_run: true, missed: 4, missed_upto: at_four };
        assert_eq!(due("2026-01-01T05:30:00Z", true), made_up_for);
        let long = every(1).due(last, time("2027-01-01T00:00:00Z"), LATE);
        assert_eq!((long.upto, long.missed), (Some(time("2027-01-01T00:00:00Z")), MISSED_COUNTED_MAX));
    }

    fn schedules() -> impl Strategy<Value = When> {
        let zones = prop_oneof![
            Just("Europe/Berlin"),
            Just("America/St_Johns"),
            Just("UTC"),
            Just("Australia/Lord_Howe")
        ];
        prop_oneof![
            (1_u64..200_000).prop_map(every),
            (0_u32..60, 0_u32..24, zones.clone())
                .prop_map(|(m, h, zone)| cron(&format!("{m} {h} * * *"), zone)),
            (1_u32..30, zones).prop_map(|(step, zone)| cron(&format!("*/{step} * * * *"), zone)),
        ]
    }

    proptest! {
        /// However often somebody looks, each due time is run or missed, once, and never before it has come.
        #[test]
        fn every_due_time_is_settled_once_however_often_it_is_looked(
            when in schedules(),
            begin in 1_767_000_000_i64..1_798_000_000,
            steps in prop::collection::vec(1_i64..90_000, 1..40),
            catch_up: bool,
        ) {
            let (begin, lateness) = (at(begin).unwrap(), Lateness { catch_up, ..LATE });
            let (mut last, mut now, mut settled, mut runs) = (begin, begin, 0, Vec::new());
            for step in steps {
                now += chrono::Duration::seconds(step);
                let due = when.due(last, now, lateness);
                let Some(upto) = due.upto else { continue };
                prop_assert!(last < upto && upto <= now);
                if due.is_run {
                    runs.push(upto);
                    prop_assert!(catch_up || now - upto <= chrono::Duration::seconds(60));
                }
                prop_assert_eq!(due.missed > 0, due.missed_upto.is_some());
                prop_assert!(due.missed_upto.is_none_or(|missed| missed <= upto && last < missed));
                prop_assume!(due.missed < MISSED_COUNTED_MAX);
                settled += due.missed + u32::from(due.is_run);
                last = upto;
            }
            let (mut all, mut one) = (Vec::new(), begin);
            while let Some(next) = when.next(one).filter(|next| *next <= now) {
                all.push(next);
                one = next;
            }
            prop_assert_eq!(settled as usize, all.len());
            prop_assert!(runs.iter().all(|run| all.contains(run)));
            prop_assert!(runs.windows(2).all(|pair| pair[0] < pair[1]));
        }

        /// Every day of a year has one run of a daily time, those on which clocks are changed too.
        #[test]
        fn a_time_of_the_day_comes_once_a_day(minute in 0_u32..60, hour in 0_u32..24) {
            let when = cron(&format!("{minute} {hour} * * *"), "Europe/Berlin");
            let mut at = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc()
                - chrono::Duration::hours(1) - chrono::Duration::seconds(1);
            for day in 0..365 {
                at = when.next(at).unwrap();
                let local = at.with_timezone(&chrono_tz::Europe::Berlin);
                let date = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + chrono::Duration::days(day);
                prop_assert_eq!(local.date_naive(), date);
                prop_assert!(local.hour() == hour || (hour == 2 && local.hour() == 3));
                prop_assert_eq!(when.latest(at + chrono::Duration::seconds(1)), Some(at));
            }
        }
    }
}
