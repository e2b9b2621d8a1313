//! Sizes and spans of time as people write them (`64MiB`, `250ms`), and secrets that never print.
//!
//! Refuses to know what they measure or open. What parses prints back to something that parses to the
//! same, except a secret, which prints as `<redacted>` everywhere (invariant I10).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "`{0}` is not a size\nhint: write a whole number and a unit, such as 512KiB, 64MiB, 2GiB or 1000B"
    )]
    Size(String),
    #[error(
        "`{0}` is not a span of time\nhint: write a whole number and a unit, such as 250ms, 5s, 10m or 1h"
    )]
    Span(String),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("format" = "size", "pattern" = r"^[0-9]+ *(B|KiB|MiB|GiB|kB|MB|GB)$"))]
pub struct ByteSize(pub u64);

/// A span of time in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("format" = "span", "pattern" = r"^[0-9]+ *(ms|s|m|h|d)$"))]
pub struct Span(pub Duration);

/// A text that no log, dump, error or schema shows.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String", extend("writeOnly" = true))]
pub struct Secret(SecretString);

/// What stands in a secret's place wherever it would be printed.
pub const REDACTED: &str = "<redacted>";

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const SPANS_MS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl ByteSize {
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }

    /// As a `usize`; a size beyond the address space saturates.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Span {
    pub const fn millis(n: u64) -> Self {
        Span(Duration::from_millis(n))
    }

    pub const fn secs(n: u64) -> Self {
        Span(Duration::from_secs(n))
    }
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(SecretString::from(text.into()))
    }

    /// The text itself: only for handing it to the client that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim())?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn print(value: u64, units: &[(&str, u64)], smallest: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}{smallest}"),
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text, &SIZES).map(ByteSize).ok_or_else(|| Error::Size(text.to_owned()))
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text, &SPANS_MS)
            .map(|ms| Span(Duration::from_millis(ms)))
            .ok_or_else(|| Error::Span(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self.0, &SIZES, "B", f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPANS_MS, "ms", f)
    }
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(ByteSize, Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_parses_to_the_same() {
        for bytes in [0, 1, 999, 1000, 1024, 64 << 20, (2 << 30) + 1] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        for ms in [0, 1, 250, 5000, 60_000, 86_400_000] {
            assert_eq!(Span::millis(ms).to_string().parse(), Ok(Span::millis(ms)));
        }
    }

    #[test]
    fn a_secret_prints_nowhere() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), REDACTED);
        assert_eq!(serde_json::to_string(&secret).unwrap(), format!("\"{REDACTED}\""));
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "MiB", "-1B", "1.5GiB", "12", "1XB", "99999999999999999999B", "20000000000GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in ["", "s", "5", "5 weeks", "-1s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
