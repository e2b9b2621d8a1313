//! Texts with a form of their own: UUID, addresses, enumerations.
//!
//! Refuses every form but the canonical one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ahash::RandomState;

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

    pub fn has_value(&self, value: i64) -> bool {
        self.pairs.iter().any(|(_, known)| i64::from(*known) == value)
    }
}

/// A value for each byte that is a hex digit, 0xff for the others.
const HEX: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut n: u8 = 0;
    while n < 10 {
        #[allow(clippy::indexing_slicing, reason = "evaluated when compiling, where it cannot panic unseen")]
        {
            table[(b'0' + n) as usize] = n;
        }
        n += 1;
    }
    let mut n: u8 = 0;
    while n < 6 {
        #[allow(clippy::indexing_slicing, reason = "evaluated when compiling, where it cannot panic unseen")]
        {
            table[(b'a' + n) as usize] = 10 + n;
            table[(b'A' + n) as usize] = 10 + n;
        }
        n += 1;
    }
    table
};

#[inline]
fn hex(digit: u8) -> u8 {
    HEX.get(usize::from(digit)).copied().unwrap_or(0xff)
}

/// `8-4-4-4-12` hex digits, laid out as on the wire: two halves, each little endian, high half first.
#[inline]
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let [_, _, _, _, _, _, _, _, b'-', _, _, _, _, b'-', _, _, _, _, b'-', _, _, _, _, b'-', ..] = bytes
    else {
        return None;
    };
    if bytes.len() != 36 {
        return None;
    }
    let high = half([bytes.get(..8)?, bytes.get(9..13)?, bytes.get(14..18)?])?;
    let low = half([bytes.get(19..23)?, bytes.get(24..32)?, bytes.get(32..)?])?;
    // The high half stands first, each in little endian.
    Some(((u128::from(low) << 64) | u128::from(high)).to_le_bytes())
}

/// Sixteen hex digits in three groups.
#[inline]
fn half(groups: [&[u8]; 3]) -> Option<u64> {
    let mut value: u64 = 0;
    let mut bad = 0;
    for group in groups {
        for digit in group {
            let digit = hex(*digit);
            bad |= digit;
            value = (value << 4) | u64::from(digit & 15);
        }
    }
    (bad < 16).then_some(value)
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
        Format::Uuid => uuid(text).is_some(),
        Format::DateTime => time::is_rfc3339(text),
        Format::Date => time::is_date(text),
        Format::Ipv4 => ipv4(text).is_some(),
        Format::Ipv6 => ipv6(text).is_some(),
    }
}
