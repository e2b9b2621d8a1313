//! The bytes of an encrypted object.
//!
//! Refuses to know where keys and objects are kept. Every byte of an object is vouched for: those of the header that say
//! which key opens it by the wrapped key, all others by the content.
//!
//! An object of its own, whose key is random:
//!
//! | bytes | what |
//! |---|---|
//! | 9 | `penstock` and a zero byte |
//! | 1 | version, 1 |
//! | 1 | algorithm, 1: AES-256-GCM for both |
//! | 12 | nonce of the content |
//! | 1, n | length and text of the key's id |
//! | 12 | nonce of the wrapped key |
//! | 48 | the object's own key, encrypted with the ring's, and a tag |
//! | n + 16 | the content, encrypted, and a tag |
//!
//! The wrapped key has everything before its nonce as associated data; the content has the first 23 bytes, and the length
//! and text of what it is for.
//!
//! The value of a column, whose key is made of the ring's and a salt (see `field`):
//!
//! | bytes | what |
//! |---|---|
//! | 9 | `penstock` and a zero byte |
//! | 1 | version, 1 |
//! | 1 | algorithm, 2: AES-256-GCM with a derived key and a nonce of zeros |
//! | 1, n | length and text of the key's id |
//! | 32 | salt |
//! | n + 16 | the content, encrypted, and a tag |
//!
//! The content has everything before it as associated data, and the length and text of what it is for.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use secrecy::zeroize::Zeroizing;

use super::field::{SALT_BYTES, content_key};
use super::ring::Ring;
use super::{Error, Random};

const MAGIC: &[u8; 9] = b"penstock\0";
const VERSION: u8 = 1;
const WRAPPED: u8 = 1;
const DERIVED: u8 = 2;
const NONCE_BYTES: usize = 12;
pub(super) const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Magic, version, algorithm.
const KIND_BYTES: usize = MAGIC.len() + 2;
/// The same and the nonce of the content.
const FIXED_BYTES: usize = MAGIC.len() + 2 + NONCE_BYTES;
/// Largest content.
pub const CONTENT_BYTES_MAX: usize = 16 << 20;
const CONTEXT_BYTES_MAX: usize = 1 << 10;
pub const ID_BYTES_MAX: usize = 64;
/// Largest envelope.
pub const ENVELOPE_BYTES_MAX: usize =
    FIXED_BYTES + 1 + ID_BYTES_MAX + NONCE_BYTES + WRAPPED_BYTES + CONTENT_BYTES_MAX + TAG_BYTES;

/// What an envelope says of itself, which is believed only once it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Key of the ring that it needs.
    pub key: &'a str,
    way: Way<'a>,
    content: &'a [u8],
}

/// Where the content's own key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way<'a> {
    Wrapped {
        /// Magic, version, algorithm, nonce of the content.
        fixed: &'a [u8],
        /// Everything before the nonce of the wrapped key.
        head: &'a [u8],
        nonce: [u8; NONCE_BYTES],
        own: &'a [u8],
    },
    Derived {
        /// Everything before the content.
        head: &'a [u8],
        salt: &'a [u8; SALT_BYTES],
    },
}

/// Whether the bytes begin as an envelope does.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl<'a> Header<'a> {
    /// # Errors
    /// Bytes that are no envelope, or one of another version.
    pub fn parse(bytes: &'a [u8]) -> Result<Header<'a>, Error> {
        let short = || Error::NotAnEnvelope("it ends too early");
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(Error::TooLarge { what: "the envelope", max: ENVELOPE_BYTES_MAX });
        }
        if !is_envelope(bytes) {
            return Err(Error::NotAnEnvelope("it begins with something else"));
        }
        match bytes.get(MAGIC.len()..KIND_BYTES) {
            Some(&[VERSION, WRAPPED]) => Header::wrapped(bytes).ok_or_else(short)?,
            Some(&[VERSION, DERIVED]) => Header::derived(bytes).ok_or_else(short)?,
            _ => Err(Error::NotAnEnvelope("it is of a version or an algorithm that is not known here")),
        }
    }

    fn wrapped(bytes: &'a [u8]) -> Option<Result<Header<'a>, Error>> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_BYTES)?;
        let (key, rest) = id(rest)?;
        let Ok(key) = key else { return Some(Err(Error::NotAnEnvelope("it names no key"))) };
        let head = bytes.get(..FIXED_BYTES + 1 + key.len())?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (own, content) = rest.split_at_checked(WRAPPED_BYTES)?;
        let way = Way::Wrapped { fixed, head, nonce: *nonce, own };
        (content.len() >= TAG_BYTES).then_some(Ok(Header { key, way, content }))
    }

    fn derived(bytes: &'a [u8]) -> Option<Result<Header<'a>, Error>> {
        let (key, rest) = id(bytes.get(KIND_BYTES..)?)?;
        let Ok(key) = key else { return Some(Err(Error::NotAnEnvelope("it names no key"))) };
        let head = bytes.get(..KIND_BYTES + 1 + key.len() + SALT_BYTES)?;
        let (salt, content) = rest.split_first_chunk()?;
        let way = Way::Derived { head, salt };
        (content.len() >= TAG_BYTES).then_some(Ok(Header { key, way, content }))
    }

    fn open(&self, ring: &Ring, context: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(match &self.way {
            Way::Wrapped { fixed, .. } => {
                let own = self.unwrap(ring)?;
                let nonce = fixed.last_chunk().copied().unwrap_or_default();
                decrypt(&own, nonce, &purpose(fixed, context)?, self.content)
            }
            Way::Derived { head, salt } => {
                let own = content_key(ring.key(self.key)?, salt);
                decrypt(own.as_slice(), [0; NONCE_BYTES], &purpose(head, context)?, self.content)
            }
        })
    }

    /// The object's own key.
    fn unwrap(&self, ring: &Ring) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Way::Wrapped { head, nonce, own, .. } = &self.way else {
            return Err(Error::Derived { key: self.key.to_owned() });
        };
        let refused = || Error::Refused { key: self.key.to_owned() };
        decrypt(ring.key(self.key)?, *nonce, head, own).ok_or_else(refused)
    }
}

/// The id of a key with its length before it, and what follows; an error where it is none.
fn id(bytes: &[u8]) -> Option<(Result<&str, ()>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(key).ok().filter(|key| is_id(key)).ok_or(()), rest))
}

/// What names of keys are made of.
pub fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Encrypts the content for a purpose, with the primary key of the ring.
///
/// # Errors
/// A ring without a primary key, what is too large, or no random bytes.
pub fn seal(ring: &Ring, context: &str, content: &[u8], random: Random<'_>) -> Result<Vec<u8>, Error> {
    if content.len() > CONTENT_BYTES_MAX {
        return Err(Error::TooLarge { what: "the content", max: CONTENT_BYTES_MAX });
    }
    let (mut own, mut nonce) = (Zeroizing::new([0; KEY_BYTES]), [0; NONCE_BYTES]);
    random(own.as_mut_slice())?;
    random(&mut nonce)?;
    let mut envelope = [MAGIC.as_slice(), &[VERSION, WRAPPED], &nonce].concat();
    let sealed = encrypt(own.as_slice(), nonce, &purpose(&envelope, context)?, content)?;
    wrap(ring, &mut envelope, own.as_slice(), random)?;
    envelope.extend_from_slice(&sealed);
    Ok(envelope)
}

/// Gives the content, if the envelope is whole and was made for this purpose.
///
/// # Errors
/// No envelope, a key that is not in the ring, or an envelope that was changed.
pub fn open(ring: &Ring, context: &str, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let header = Header::parse(bytes)?;
    let content = header.open(ring, context)?;
    content.ok_or_else(|| Error::Refused { key: header.key.to_owned() })
}

/// Encrypts the value of a column with a key that is for this value alone.
///
/// # Errors
/// A context that is too long.
pub(super) fn seal_derived(
    key: (&str, &[u8]),
    salt: &[u8; SALT_BYTES],
    context: &str,
    content: &[u8],
) -> Result<Vec<u8>, Error> {
    let (id, own) = key;
    let length = u8::try_from(id.len()).map_err(|_| Error::NoKey(id.to_owned()))?;
    let mut envelope = [MAGIC.as_slice(), &[VERSION, DERIVED, length], id.as_bytes(), salt].concat();
    let sealed = encrypt(own, [0; NONCE_BYTES], &purpose(&envelope, context)?, content)?;
    envelope.extend_from_slice(&sealed);
    Ok(envelope)
}

/// The same content under the primary key. It is not opened, so its purpose need not be known, and only the header is
/// proven.
///
/// # Errors
/// As [`open`], and the value of a column.
pub fn rewrap(ring: &Ring, bytes: &[u8], random: Random<'_>) -> Result<Vec<u8>, Error> {
    let header = Header::parse(bytes)?;
    let own = header.unwrap(ring)?;
    let Way::Wrapped { fixed, .. } = header.way else {
        return Err(Error::Derived { key: header.key.to_owned() });
    };
    let mut envelope = fixed.to_vec();
    wrap(ring, &mut envelope, &own, random)?;
    envelope.extend_from_slice(header.content);
    Ok(envelope)
}

/// Appends the key's id, a nonce and the wrapped key.
fn wrap(ring: &Ring, envelope: &mut Vec<u8>, own: &[u8], random: Random<'_>) -> Result<(), Error> {
    let (id, key) = ring.primary()?;
    envelope.push(u8::try_from(id.len()).map_err(|_| Error::NoKey(id.to_owned()))?);
    envelope.extend_from_slice(id.as_bytes());
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce)?;
    let wrapped = encrypt(key, nonce, envelope, own)?;
    envelope.extend_from_slice(&nonce);
    envelope.extend_from_slice(&wrapped);
    Ok(())
}

/// What the content is bound to.
fn purpose(fixed: &[u8], context: &str) -> Result<Vec<u8>, Error> {
    if context.len() > CONTEXT_BYTES_MAX {
        return Err(Error::TooLarge { what: "the context", max: CONTEXT_BYTES_MAX });
    }
    let length = u16::try_from(context.len()).unwrap_or_default().to_be_bytes();
    Ok([fixed, &length, context.as_bytes()].concat())
}

fn encrypt(key: &[u8], nonce: [u8; NONCE_BYTES], with: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    // Neither fails for a key of this length and a content of this size.
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Random)?;
    let mut sealed = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, Aad::from(with), &mut sealed)
        .map_err(|_| Error::Random)?;
    Ok(sealed)
}

fn decrypt(key: &[u8], nonce: [u8; NONCE_BYTES], with: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = LessSafeKey::new(key).open_in_place(nonce, Aad::from(with), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Made by another implementation of the table above, with these keys and these bytes for random ones.
    const VECTORS: &str = include_str!("testdata/vectors.json");

    #[derive(Deserialize)]
    struct Vector {
        id: String,
        key: String,
        random: String,
        context: String,
        content: String,
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

    /// Gives these bytes, and then no more.
    fn from(mut bytes: Vec<u8>) -> impl FnMut(&mut [u8]) -> Result<(), Error> {
        move |out| {
            let rest = bytes.split_off(out.len());
            out.copy_from_slice(&bytes);
            bytes = rest;
            Ok(())
        }
    }

    #[test]
    fn envelopes_are_what_another_implementation_makes() {
        assert_eq!(vectors().len(), 3);
        for (ring, one) in vectors() {
            let mut random = from(bytes(&one.random));
            let sealed = seal(&ring, &one.context, &bytes(&one.content), &mut random).unwrap();
            assert_eq!(sealed, bytes(&one.envelope), "{}", one.id);
            assert_eq!(*open(&ring, &one.context, &sealed).unwrap(), bytes(&one.content), "{}", one.id);
            assert_eq!(Header::parse(&sealed).unwrap().key, one.id);
        }
    }

    #[test]
    fn each_flipped_bit_and_each_cut_is_refused() {
        for (ring, one) in vectors() {
            let sealed = bytes(&one.envelope);
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let error = open(&ring, &one.context, &changed).unwrap_err();
                let told = matches!(error, Error::Refused { .. } | Error::NotAnEnvelope(_) | Error::NoKey(_));
                assert!(told, "{} {bit}: {error}", one.id);
            }
            for length in 0..sealed.len() {
                assert!(open(&ring, &one.context, &sealed[..length]).is_err(), "{} {length}", one.id);
            }
            let longer = [sealed.as_slice(), &[0]].concat();
            assert!(open(&ring, &one.context, &longer).is_err() && open(&ring, "other", &sealed).is_err());
        }
    }

    #[test]
    fn the_header_of_one_opens_no_other_and_another_key_of_the_same_name_opens_nothing() {
        let ring = Ring::of(&[("a", [1; KEY_BYTES])]);
        let mut random = super::super::system_random;
        let one = seal(&ring, "c", b"one", &mut random).unwrap();
        let other = seal(&ring, "c", b"two", &mut random).unwrap();
        let length = one.len() - 3 - TAG_BYTES;
        let mixed = [&one[..length], &other[length..]].concat();
        assert!(matches!(open(&ring, "c", &mixed), Err(Error::Refused { .. })));
        let stranger = Ring::of(&[("a", [2; KEY_BYTES])]);
        assert!(matches!(open(&stranger, "c", &one), Err(Error::Refused { .. })));
        assert_ne!(
            seal(&ring, "c", b"one", &mut random).unwrap(),
            one,
            "each has a key and nonces of its own"
        );
    }

    #[test]
    fn what_is_wrapped_again_has_the_same_content_under_the_primary_key() {
        let old = Ring::of(&[("a", [1; KEY_BYTES])]);
        let both = Ring::of(&[("a", [1; KEY_BYTES]), ("b", [2; KEY_BYTES])]);
        let new = Ring::of(&[("b", [2; KEY_BYTES])]);
        let mut random = super::super::system_random;
        let sealed = seal(&old, "c", b"secret", &mut random).unwrap();
        let again = rewrap(&both, &sealed, &mut random).unwrap();
        assert_eq!(Header::parse(&again).unwrap().key, "b");
        assert_eq!(*open(&new, "c", &again).unwrap(), b"secret");
        assert_eq!(sealed[sealed.len() - 22..], again[again.len() - 22..], "the content is as it was");
        assert!(matches!(open(&new, "c", &sealed), Err(Error::NoKey(_))));
        assert!(matches!(rewrap(&new, &sealed, &mut random), Err(Error::NoKey(_))));
    }

    #[test]
    fn sizes_are_bounded() {
        let ring = Ring::of(&[("a", [1; KEY_BYTES])]);
        let mut random = super::super::system_random;
        let long = vec![0; CONTENT_BYTES_MAX + 1];
        assert!(matches!(seal(&ring, "c", &long, &mut random), Err(Error::TooLarge { .. })));
        let context = "c".repeat(CONTEXT_BYTES_MAX + 1);
        assert!(matches!(seal(&ring, &context, b"x", &mut random), Err(Error::TooLarge { .. })));
        let whole = seal(&ring, "c", &long[1..], &mut random).unwrap();
        assert!(whole.len() <= ENVELOPE_BYTES_MAX && open(&ring, "c", &whole).is_ok());
        assert!(matches!(seal(&Ring::default(), "c", b"x", &mut random), Err(Error::NoPrimary)));
        let mut none = |_: &mut [u8]| Err(Error::Random);
        assert!(matches!(seal(&ring, "c", b"x", &mut none), Err(Error::Random)));
    }
}
