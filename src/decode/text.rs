//! Texts with a form of their own: UUID, addresses, enumerations.
//!
//! Refuses every form but the canonical one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ahash::RandomState;

use super::swar::{hexadecimal, word};
use super::time;
use crate::schema::model::Format;

/// Up to this many names are compared one by one, which is faster than hashing.
const LINEAR_MAX: usize = 8;

/// The names of an Enum8 or Enum16.
#[derive(Debug)]
pub struct Names {
    pairs: Vec<(Box<str>, i16)>,
    index: HashMap<Box<str>, i16, RandomState>,
}

impl Names {
    pub fn new(values: &[(String, i16)]) -> Self {
        let pairs: Vec<_> = values.iter().map(|(name, value)| (name.as_str().into(), *value)).collect();
        Names { index: pairs.iter().cloned().collect(), pairs }
    }

    #[inline]
    pub fn get(&self, name: &str) -> Option<i16> {
        if self.pairs.len() > LINEAR_MAX {
            return self.index.get(name).copied();
        }
        self.pairs.iter().find(|(known, _)| **known == *name).map(|(_, value)| *value)
    }

    /// All of them, if they are few.
    pub fn few(&self) -> Option<&[(Box<str>, i16)]> {
        (self.pairs.len() <= LINEAR_MAX).then_some(self.pairs.as_slice())
    }

    pub fn has_value(&self, value: i64) -> bool {
        self.pairs.iter().any(|(_, known)| i64::from(*known) == value)
    }
}

/// `8-4-4-4-12` hex digits, laid out as on the wire: two halves, each little endian, high half first.
#[inline]
pub fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    let [_, _, _, _, _, _, _, _, b'-', _, _, _, _, b'-', _, _, _, _, b'-', _, _, _, _, b'-', ..] = text
    else {
        return None;
    };
    let eight = |from| text.get(from..).map(word).and_then(hexadecimal).map(u64::from);
    let fours = |one, other| {
        let (one, other) = (word(text.get(one..)?), word(text.get(other..)?));
        hexadecimal((one & 0xffff_ffff) | (other << 32)).map(u64::from)
    };
    let (high, low) = ((eight(0)? << 32) | fours(9, 14)?, (fours(19, 24)? << 32) | eight(28)?);
    Some(((u128::from(low) << 64) | u128::from(high)).to_le_bytes())
}

/// Whether the text has so many characters.
#[inline]
pub fn chars_within(text: &str, allowed: &RangeInclusive<usize>) -> bool {
    let bytes = text.len();
    // Counting is only needed when the number of bytes does not already tell.
    if bytes <= *allowed.end() && bytes / 4 >= *allowed.start() {
        return true;
    }
    // Bytes that do not go on with a character begin one.
    allowed.contains(&text.bytes().filter(|byte| !matches!(byte, 0x80..0xc0)).count())
}

pub fn ipv4(text: &str) -> Option<u32> {
    text.parse::<Ipv4Addr>().ok().map(u32::from)
}

/// Network order. An IPv4 address is not taken for an IPv6 one unless written as one (`::ffff:1.2.3.4`).
pub fn ipv6(text: &str) -> Option<[u8; 16]> {
    text.parse::<Ipv6Addr>().ok().map(|address| address.octets())
}

pub fn has_format(format: Format, text: &str) -> bool {
    match format {
        Format::Uuid => uuid(text.as_bytes()).is_some(),
        Format::DateTime => time::is_rfc3339(text),
        Format::Date => time::is_date(text),
        Format::Ipv4 => ipv4(text).is_some(),
        Format::Ipv6 => ipv6(text).is_some(),
    }
}
