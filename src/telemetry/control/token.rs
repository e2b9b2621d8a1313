//! The tokens of orders: signed with the key that both processes have, short-lived, each for one body.
//!
//! Refuses to believe a token about its own life, and to take one a second time. Time is handed in; no token and no key
//! stands in an error or a log (I10).

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::units::{REDACTED, Secret};

/// No token of anything else has it.
const AUDIENCE: &str = "penstock-line-control";
const LIFE_S: i64 = 20;
/// No token is taken that lives longer.
const LIFE_MAX_S: i64 = 30;
/// How far the clocks of both processes may be apart.
const SKEW_S: i64 = 5;
const TOKEN_BYTES_MAX: usize = 2 << 10;
const ID_BYTES_MAX: usize = 64;
/// Tokens that were taken and have not ended. Beyond it none is taken until some have.
const SEEN_MAX: usize = 4096;

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no token")]
    Missing,
    #[error("it is no token of this key")]
    Signature,
    #[error("it is for something else")]
    Audience,
    #[error("it has ended, does not hold yet, or lives too long; compare the clocks of both machines")]
    Time,
    #[error("it is for another order")]
    Body,
    #[error("it was taken before")]
    Again,
    #[error("as many orders came as can be told apart")]
    Full,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Claims {
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
    /// SHA-256 of the body, in hexadecimal digits.
    body: String,
}

/// The key that the line and the admin process share.
#[derive(Clone)]
pub struct Key {
    sign: EncodingKey,
    verify: DecodingKey,
}

/// Tokens that were taken, until they end.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<String, i64>);

impl Key {
    pub fn new(bytes: &[u8]) -> Key {
        Key { sign: EncodingKey::from_secret(bytes), verify: DecodingKey::from_secret(bytes) }
    }

    /// A token for one sending of this body; none if it could not be signed.
    pub fn token(&self, body: &[u8], now: DateTime<Utc>) -> Option<Secret> {
        let iat = now.timestamp();
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            iat,
            exp: iat + LIFE_S,
            jti: uuid::Uuid::new_v4().to_string(),
            body: digest(body),
        };
        self.sign_claims(&claims)
    }

    fn sign_claims(&self, claims: &Claims) -> Option<Secret> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.sign).ok().map(Secret::new)
    }

    /// Who sends a token, before what is sent is read.
    pub(super) fn check(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, Refused> {
        if TOKEN_BYTES_MAX < token.len() {
            return Err(Refused::Signature);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        // The signature is the library's, the claims are judged below: by the time that was handed in.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verify, &validation);
        let claims = claims.map_err(|_| Refused::Signature)?.claims;
        if claims.aud != AUDIENCE || ID_BYTES_MAX < claims.jti.len() {
            return Err(Refused::Audience);
        }
        let now_s = now.timestamp();
        let holds = claims.iat.saturating_sub(SKEW_S) <= now_s && now_s < claims.exp.saturating_add(SKEW_S);
        let is_short = (0..=LIFE_MAX_S).contains(&claims.exp.saturating_sub(claims.iat));
        if holds && is_short { Ok(claims) } else { Err(Refused::Time) }
    }
}

impl Claims {
    /// Whether it was made for this body, and is here for the first time.
    pub(super) fn admit(self, body: &[u8], seen: &mut Seen, now: DateTime<Utc>) -> Result<(), Refused> {
        if self.body != digest(body) {
            return Err(Refused::Body);
        }
        seen.0.retain(|_, ends_s| now.timestamp() < *ends_s);
        if seen.0.contains_key(&self.jti) {
            return Err(Refused::Again);
        }
        if SEEN_MAX <= seen.0.len() {
            return Err(Refused::Full);
        }
        seen.0.insert(self.jti, self.exp.saturating_add(SKEW_S));
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

fn digest(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + s, 0).unwrap()
    }

    #[test]
    fn a_token_is_for_one_body_once_and_for_a_short_time() {
        let (key, mut seen) = (Key::new(&[b'k'; 32]), Seen::default());
        let mut admit = |token: &Secret, body: &[u8], s: i64| {
            key.check(token.expose(), at(s))?.admit(body, &mut seen, at(s))
        };
        let token = key.token(b"{}", at(0)).unwrap();
        assert_eq!(admit(&token, b"{ }", 1), Err(Refused::Body));
        assert_eq!(admit(&token, b"{}", -SKEW_S - 1), Err(Refused::Time));
        assert_eq!(admit(&token, b"{}", LIFE_S + SKEW_S), Err(Refused::Time));
        assert_eq!(admit(&token, b"{}", 1), Ok(()));
        assert_eq!(admit(&token, b"{}", LIFE_S + SKEW_S - 1), Err(Refused::Again), "as long as it holds");
        assert_eq!(format!("{key:?}"), REDACTED);
    }

    #[test]
    fn what_another_key_or_another_purpose_made_is_nothing() {
        let key = Key::new(&[b'k'; 32]);
        let other = Key::new(&[b'o'; 32]).token(b"", at(0)).unwrap();
        let refused = |token: &str| key.check(token, at(0)).err();
        assert_eq!(refused(other.expose()), Some(Refused::Signature));
        assert_eq!(refused("a.b.c"), Some(Refused::Signature));
        assert_eq!(refused(&"a".repeat(TOKEN_BYTES_MAX + 1)), Some(Refused::Signature));
        let claims = |aud: &str, life_s: i64| Claims {
            aud: aud.to_owned(),
            iat: at(0).timestamp(),
            exp: at(life_s).timestamp(),
            jti: "1".to_owned(),
            body: digest(b""),
        };
        let made = |claims: Claims| key.sign_claims(&claims).unwrap();
        assert_eq!(refused(made(claims("penstock", 20)).expose()), Some(Refused::Audience));
        assert_eq!(refused(made(claims(AUDIENCE, LIFE_MAX_S + 1)).expose()), Some(Refused::Time));
        assert_eq!(refused(made(claims(AUDIENCE, LIFE_MAX_S)).expose()), None);
        let mut unsigned = made(claims(AUDIENCE, 20)).expose().to_owned();
        unsigned.truncate(unsigned.rfind('.').unwrap() + 1);
        assert_eq!(refused(&unsigned), Some(Refused::Signature));
    }
}
