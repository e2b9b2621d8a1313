//! The bytes of an encrypted object.
//!
//! Refuses to know where keys and objects are kept. Every byte of an object is vouched for: those of the header that say
//! which key opens it by the wrapped key, all others by the content.
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

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use secrecy::zeroize::Zeroizing;

use super::ring::Ring;
use super::{Error, Random};

const MAGIC: &[u8; 9] = b"penstock\0";
const VERSION: u8 = 1;
const ALGORITHM: u8 = 1;
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Magic, version, algorithm, nonce of the content.
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
    /// Magic, version, algorithm, nonce of the content.
    fixed: &'a [u8],
    /// Everything before the nonce of the wrapped key.
    head: &'a [u8],
    /// Key of the ring that it needs.
    pub key: &'a str,
    wrap_nonce: [u8; NONCE_BYTES],
    wrapped: &'a [u8],
    content: &'a [u8],
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
        let (fixed, rest) = bytes.split_at_checked(FIXED_BYTES).ok_or_else(short)?;
        if fixed.get(MAGIC.len()..MAGIC.len() + 2) != Some(&[VERSION, ALGORITHM]) {
            return Err(Error::NotAnEnvelope("it is of a version or an algorithm that is not known here"));
        }
        let (length, rest) = rest.split_first().ok_or_else(short)?;
        let (key, rest) = rest.split_at_checked(usize::from(*length)).ok_or_else(short)?;
        let key = std::str::from_utf8(key).ok().filter(|key| is_id(key));
        let key = key.ok_or(Error::NotAnEnvelope("it names no key"))?;
        let head = bytes.get(..FIXED_BYTES + 1 + key.len()).ok_or_else(short)?;
        let (wrap_nonce, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (wrapped, content) = rest.split_at_checked(WRAPPED_BYTES).ok_or_else(short)?;
        if content.len() < TAG_BYTES {
            return Err(short());
        }
        Ok(Header { fixed, head, key, wrap_nonce: *wrap_nonce, wrapped, content })
    }

    /// The object's own key.
    fn unwrap(&self, ring: &Ring) -> Result<Zeroizing<Vec<u8>>, Error> {
        let refused = || Error::Refused { key: self.key.to_owned() };
        let key = ring.key(self.key)?;
        decrypt(key, self.wrap_nonce, self.head, self.wrapped).ok_or_else(refused)
    }
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
    let mut envelope = [MAGIC.as_slice(), &[VERSION, ALGORITHM], &nonce].concat();
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
    let own = header.unwrap(ring)?;
    let nonce = header.fixed.last_chunk().copied().unwrap_or_default();
    let content = decrypt(&own, nonce, &purpose(header.fixed, context)?, header.content);
    content.ok_or_else(|| Error::Refused { key: header.key.to_owned() })
}

/// The same content under the primary key. It is not opened, so its purpose need not be known, and only the header is
/// proven.
///
/// # Errors
/// As [`open`].
pub fn rewrap(ring: &Ring, bytes: &[u8], random: Random<'_>) -> Result<Vec<u8>, Error> {
    let header = Header::parse(bytes)?;
    let own = header.unwrap(ring)?;
    let mut envelope = header.fixed.to_vec();
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
