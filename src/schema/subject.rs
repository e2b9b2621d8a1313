//! Subjects that were erased: which values of which columns, as digests, and until when records of theirs are left out.
//!
//! Refuses to hold a value. Digests are made of one spelling of each value, so that whoever erases and whoever reads
//! records make the same of it; a type that has several spellings, or none, names nobody.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use sha2::{Digest as _, Sha256};

use super::model::Type;

/// SHA-256 of the column's name, a NUL, and the value as [`canonical`] spells it.
pub type Digest = [u8; 32];

/// Half of a digest: enough to tell subjects apart, and half the memory.
type Short = u128;

/// Bytes that an erased subject takes, about.
const ENTRY_BYTES: usize = 48;
/// Subjects that are held: some 200 MB.
pub const SUBJECTS_MAX: usize = 4_000_000;

/// How digests of one column begin.
#[derive(Clone, Debug)]
pub struct Seed(Sha256);

impl Seed {
    pub fn new(column: &str) -> Seed {
        Seed(Sha256::new().chain_update(column.as_bytes()).chain_update([0]))
    }

    /// Of a value as [`canonical`] spells it.
    pub fn digest(&self, value: &[u8]) -> Digest {
        self.0.clone().chain_update(value).finalize().into()
    }
}

/// The one spelling of a value of this type; `None` where the text is no value of it, or where the type names nobody.
pub fn canonical(ty: &Type, text: &str) -> Option<String> {
    match ty.bare() {
        Type::String => Some(text.to_owned()),
        Type::FixedString(width) => {
            let text = text.trim_end_matches('\0');
            (text.len() <= *width).then(|| text.to_owned())
        }
        Type::Int(int) if int.bits <= 128 && int.signed => {
            let value: i128 = text.parse().ok()?;
            let spare = 128u32.checked_sub(u32::from(int.bits))?;
            (((value << spare) >> spare) == value).then(|| value.to_string())
        }
        Type::Int(int) if int.bits <= 128 => {
            let value: u128 = text.parse().ok()?;
            let spare = 128u32.checked_sub(u32::from(int.bits))?;
            (((value << spare) >> spare) == value).then(|| value.to_string())
        }
        Type::Uuid => Some(uuid::Uuid::try_parse(text).ok()?.hyphenated().to_string()),
        Type::Ipv4 => Some(text.parse::<Ipv4Addr>().ok()?.to_string()),
        Type::Ipv6 => Some(text.parse::<Ipv6Addr>().ok()?.to_string()),
        _ => None,
    }
}

/// Whether values of the type have one spelling, and so can name somebody.
pub fn names_somebody(ty: &Type) -> bool {
    match ty.bare() {
        Type::String | Type::FixedString(_) | Type::Uuid | Type::Ipv4 | Type::Ipv6 => true,
        Type::Int(int) => int.bits <= 128,
        _ => false,
    }
}

/// Everybody who was erased, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased(BTreeMap<String, HashMap<Short, i64>>);

impl Erased {
    /// Records of the subject that were published until then are left out; the latest time counts.
    pub fn insert(&mut self, column: &str, digest: &Digest, until_ms: i64) {
        let of_column = match self.0.get_mut(column) {
            Some(found) => found,
            None => self.0.entry(column.to_owned()).or_default(),
        };
        let until = of_column.entry(short(digest)).or_insert(until_ms);
        *until = until_ms.max(*until);
    }

    /// Until when records of the subject are left out, in milliseconds since 1970.
    pub fn until(&self, column: &str, digest: &Digest) -> Option<i64> {
        self.0.get(column)?.get(&short(digest)).copied()
    }

    /// Whether anybody was erased by this column.
    pub fn has(&self, column: &str) -> bool {
        self.0.get(column).is_some_and(|all| !all.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        self.len().saturating_mul(ENTRY_BYTES)
    }
}

fn short(digest: &Digest) -> Short {
    digest.first_chunk().map_or(0, |half: &[u8; 16]| Short::from_be_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_one_spelling_and_what_is_none_of_the_type_has_none() {
        for (ty, text, expected) in [
            ("UInt64", "7", Some("7")),
            ("UInt64", "007", Some("7")),
            ("Nullable(UInt8)", "255", Some("255")),
            ("UInt8", "256", None),
            ("UInt8", "-1", None),
            ("Int8", "-128", Some("-128")),
            ("Int8", "-129", None),
            (
                "Int128",
                "-170141183460469231731687303715884105728",
                Some("-170141183460469231731687303715884105728"),
            ),
            (
                "UInt128",
                "340282366920938463463374607431768211455",
                Some("340282366920938463463374607431768211455"),
            ),
            ("UInt64", "seven", None),
            ("LowCardinality(String)", " a", Some(" a")),
            ("FixedString(3)", "ab\0", Some("ab")),
            ("FixedString(3)", "abcd", None),
            ("UUID", "00000000-0000-0000-0000-00000000000A", Some("00000000-0000-0000-0000-00000000000a")),
            ("UUID", "x", None),
            ("IPv4", "10.0.0.1", Some("10.0.0.1")),
            ("IPv6", "2001:DB8:0::1", Some("2001:db8::1")),
            ("Float64", "1", None),
            ("Date", "2026-01-01", None),
            ("UInt256", "1", None),
        ] {
            let parsed: Type = ty.parse().unwrap();
            assert_eq!(canonical(&parsed, text).as_deref(), expected, "{ty} {text}");
            assert!(expected.is_none() || names_somebody(&parsed), "{ty}");
        }
    }

    #[test]
    fn the_latest_erasure_counts_and_columns_are_apart() {
        let (mut erased, seven) = (Erased::default(), Seed::new("user_id").digest(b"7"));
        assert!(erased.is_empty() && !erased.has("user_id"));
        erased.insert("user_id", &seven, 20);
        erased.insert("user_id", &seven, 10);
        assert_eq!((erased.until("user_id", &seven), erased.until("email", &seven)), (Some(20), None));
        assert_eq!(erased.until("user_id", &Seed::new("user_id").digest(b"8")), None);
        assert_ne!(Seed::new("user_i").digest(b"d7"), seven);
        assert_eq!((erased.len(), erased.bytes()), (1, ENTRY_BYTES));
    }
}
