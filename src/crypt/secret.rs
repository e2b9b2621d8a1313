//! Secrets in files, which may be envelopes: as bytes, or as one line of text.
//!
//! Refuses to read files: whoever has one hands in what it holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;

use super::envelope::{is_envelope, open};
use super::ring::Ring;
use super::{Config, Error};

/// How an envelope begins that is written as text.
const TEXT_MAGIC: &[u8] = b"cGVuc3RvY2sA";

/// Opens a secret that is an envelope, and gives any other as it is.
///
/// # Errors
/// An envelope without a ring, and see [`open`].
pub fn open_secret(
    config: &Config,
    context: &str,
    content: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    match (as_bytes(&content)?, &config.keyring_file) {
        (None, _) => Ok(content),
        (Some(_), None) => Err(Error::NoRing),
        (Some(bytes), Some(ring)) => open(&Ring::read(ring)?, context, &bytes),
    }
}

/// The bytes of an envelope, whether it is written as bytes or as text; nothing of what is none.
///
/// # Errors
/// Text that begins as an envelope does and goes on as something else.
pub fn as_bytes(content: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    match content {
        bytes if is_envelope(bytes) => Ok(Some(bytes.to_vec())),
        text if text.starts_with(TEXT_MAGIC) => match STANDARD.decode(text.trim_ascii()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err(Error::NotAnEnvelope("its text is no base64")),
        },
        _ => Ok(None),
    }
}

/// One line of text.
pub fn as_text(envelope: &[u8]) -> Vec<u8> {
    let mut text = STANDARD.encode(envelope).into_bytes();
    text.push(b'\n');
    text
}
