//! Values of columns: pseudonyms, and encrypted values.
//!
//! Refuses to be random: a record that is read again must give the same row to the byte, since a batch that is rebuilt
//! goes out under the token of the first. So each encrypted value has a key of its own, made of the ring's key and a salt,
//! and the salt is a keyed hash of everything that tells values apart: what it is for, where the record stands, and the
//! value itself. Two values have one key only if they are the same value of the same column of the same record, also when
//! a topic was made anew and its offsets begin again; the nonce can therefore be constant, and the number of values under
//! one key of the ring is not bounded by the length of a random nonce.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;

use super::envelope::{KEY_BYTES, seal_derived};
use super::ring::Ring;
use super::{Error, hex};

pub const SALT_BYTES: usize = 32;
/// Largest value that is encrypted.
pub const CONTENT_BYTES_MAX: usize = super::envelope::CONTENT_BYTES_MAX;

const PSEUDONYM: &str = "penstock pseudonym";
const SALT: &str = "penstock column salt";
const CONTENT: &str = "penstock column content";

/// A key for one purpose alone.
fn derive(key: &[u8], purpose: &str) -> hmac::Key {
    let master = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, purpose.as_bytes()).as_ref())
}

/// The key that opens the value with this salt.
pub(super) fn content_key(key: &[u8], salt: &[u8; SALT_BYTES]) -> Zeroizing<[u8; KEY_BYTES]> {
    key_of(&derive(key, CONTENT), salt)
}

fn key_of(content: &hmac::Key, salt: &[u8; SALT_BYTES]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut own = Zeroizing::new([0; KEY_BYTES]);
    own.copy_from_slice(hmac::sign(content, salt).as_ref());
    own
}

/// Puts in place of a value what only the holder of the key can make of it: equal values have equal pseudonyms.
#[derive(Clone, Debug)]
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// # Errors
    /// A key that is not in the ring.
    pub fn new(ring: &Ring, id: &str) -> Result<Pseudonyms, Error> {
        Ok(Pseudonyms(derive(ring.key(id)?, PSEUDONYM)))
    }

    /// HMAC-SHA-256 of the value, as 64 hexadecimal digits.
    pub fn of(&self, value: &[u8]) -> String {
        hex(hmac::sign(&self.0, value).as_ref())
    }
}

/// Encrypts values of one column.
#[derive(Clone, Debug)]
pub struct Cipher {
    id: String,
    context: String,
    salt: hmac::Key,
    content: hmac::Key,
}

impl Cipher {
    /// `context` says what the values are for, and is needed to open them.
    ///
    /// # Errors
    /// A key that is not in the ring.
    pub fn new(ring: &Ring, id: &str, context: &str) -> Result<Cipher, Error> {
        let key = ring.key(id)?;
        let (salt, content) = (derive(key, SALT), derive(key, CONTENT));
        Ok(Cipher { id: id.to_owned(), context: context.to_owned(), salt, content })
    }

    /// The same as text, which is put behind what is there.
    ///
    /// # Errors
    /// As [`Cipher::seal`].
    pub fn seal_text(&self, place: &str, value: &[u8], to: &mut String) -> Result<(), Error> {
        STANDARD.encode_string(self.seal(place, value)?, to);
        Ok(())
    }

    /// The envelope of a value of the record that stands at `place`. The same gives the same.
    ///
    /// # Errors
    /// A value or a context that is too long.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<Vec<u8>, Error> {
        if value.len() > CONTENT_BYTES_MAX {
            return Err(Error::TooLarge { what: "the value", max: CONTENT_BYTES_MAX });
        }
        let mut hash = hmac::Context::with_key(&self.salt);
        // With their lengths, so that nothing moves from one part into the next.
        for part in [self.context.as_bytes(), place.as_bytes(), value] {
            hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(hash.sign().as_ref());
        let own = key_of(&self.content, &salt);
        seal_derived((&self.id, own.as_slice()), &salt, &self.context, value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::super::{Header, open, rewrap, system_random};
    use super::*;

    /// Made by another implementation of what is written here and in `envelope`.
    const VECTORS: &str = include_str!("testdata/fields.json");

    #[derive(Deserialize)]
    struct Vector {
        id: String,
        key: String,
        context: String,
        place: String,
        value: String,
        pseudonym: String,
        envelope: String,
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn vectors() -> Vec<(Ring, Vector)> {
        let all: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
        let ring = |one: &Vector| Ring::of(&[(one.id.as_str(), bytes(&one.key).try_into().unwrap())]);
        all.into_iter().map(|one| (ring(&one), one)).collect()
    }

    #[test]
    fn values_come_out_as_another_implementation_makes_them() {
        assert_eq!(vectors().len(), 3);
        for (ring, one) in vectors() {
            let pseudonyms = Pseudonyms::new(&ring, &one.id).unwrap();
            assert_eq!(pseudonyms.of(one.value.as_bytes()), one.pseudonym);
            let cipher = Cipher::new(&ring, &one.id, &one.context).unwrap();
            let sealed = cipher.seal(&one.place, one.value.as_bytes()).unwrap();
            assert_eq!(hex(&sealed), one.envelope);
            assert_eq!(*open(&ring, &one.context, &sealed).unwrap(), one.value.as_bytes());
            assert_eq!(Header::parse(&sealed).unwrap().key, one.id);
        }
    }

    #[test]
    fn each_flipped_bit_each_cut_and_another_column_are_refused() {
        for (ring, one) in vectors() {
            let sealed = bytes(&one.envelope);
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&ring, &one.context, &changed).is_err(), "{bit}");
            }
            for length in 0..sealed.len() {
                assert!(open(&ring, &one.context, &sealed[..length]).is_err(), "{length}");
            }
            assert!(open(&ring, "another.column", &sealed).is_err());
            let rewrapped = rewrap(&ring, &sealed, &mut system_random);
            assert!(matches!(rewrapped, Err(Error::Derived { .. })));
        }
    }

    #[test]
    fn keys_are_shown_nowhere_and_one_that_is_missing_is_told() {
        let ring = Ring::of(&[("a", [7; KEY_BYTES])]);
        let cipher = Cipher::new(&ring, "a", "t.c").unwrap();
        let shown = format!("{cipher:?} {:?}", Pseudonyms::new(&ring, "a").unwrap());
        assert!(!shown.contains("7, 7"), "{shown}");
        assert!(matches!(Pseudonyms::new(&ring, "b"), Err(Error::NoKey(_))));
        assert!(matches!(Cipher::new(&ring, "b", ""), Err(Error::NoKey(_))));
        let long = vec![0; CONTENT_BYTES_MAX + 1];
        assert!(matches!(cipher.seal("p", &long), Err(Error::TooLarge { .. })));
    }

    proptest! {
        /// What is the same comes out the same; what differs anywhere has another salt, and so another key.
        #[test]
        fn one_key_is_for_one_value_alone(
            one in ("[a-z.]{0,4}", "[a-z/0-9]{0,4}", "[a-z]{0,4}"),
            other in ("[a-z.]{0,4}", "[a-z/0-9]{0,4}", "[a-z]{0,4}"),
        ) {
            let ring = Ring::of(&[("a", [7; KEY_BYTES])]);
            let seal = |(context, place, value): &(String, String, String)| {
                Cipher::new(&ring, "a", context).unwrap().seal(place, value.as_bytes()).unwrap()
            };
            let salt = |sealed: &[u8]| sealed[13..13 + SALT_BYTES].to_vec();
            prop_assert_eq!(seal(&one), seal(&one));
            prop_assert_eq!(one == other, salt(&seal(&one)) == salt(&seal(&other)));
        }
    }
}
