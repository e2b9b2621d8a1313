//! The keys that tokens are verified by: the own secret, and public keys of somebody else.
//!
//! Refuses to let a token choose: a key has one algorithm, and a public key is never taken for a secret. The last set
//! that could be read stays until there is a newer one.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use parking_lot::RwLock;

use super::config::Config;
use super::jwks::{self, Source};
use crate::admin::key::{self, Key};

/// However many unknown keys are named, the set is not fetched more often.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);
/// A set with more keys is none of a service that we would trust.
const KEYS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error(
        "no key is set by which tokens could be verified\nhint: set admin.access.key_file, jwks_file or jwks_url"
    )]
    None,
    #[error("jwks_file and jwks_url are both set\nhint: keep one of them in admin.access")]
    Both,
    #[error(transparent)]
    Source(#[from] jwks::Error),
}

/// A key with the one algorithm that it is for.
struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The own secret, both ways.
struct Secret {
    id: String,
    sign: EncodingKey,
    verify: DecodingKey,
}

#[derive(Default)]
struct Set {
    keys: Vec<PublicKey>,
    read: Option<DateTime<Utc>>,
    tried: Option<DateTime<Utc>>,
}

/// Every key by which a token may be verified.
pub struct Keys {
    secret: Option<Secret>,
    source: Option<Source>,
    set: RwLock<Set>,
    refresh: Duration,
    /// One fetches, the others wait for it.
    fetching: tokio::sync::Mutex<()>,
}

impl Keys {
    /// # Errors
    /// Settings that contradict each other, or an address that may not be asked.
    pub fn new(config: &Config, secret: Option<Key>) -> Result<Keys, Error> {
        let source = match (&config.jwks_file, &config.jwks_url) {
            (Some(_), Some(_)) => return Err(Error::Both),
            (Some(path), None) => Some(Source::File(path.clone())),
            (None, Some(url)) => Some(Source::url(url, config.jwks_ca_file.as_deref())?),
            (None, None) => None,
        };
        if secret.is_none() && source.is_none() {
            return Err(Error::None);
        }
        let secret = secret.map(|key| Secret {
            id: key.id(),
            sign: EncodingKey::from_secret(key.expose()),
            verify: DecodingKey::from_secret(key.expose()),
        });
        let (set, fetching) = (RwLock::default(), tokio::sync::Mutex::default());
        Ok(Keys { secret, source, set, refresh: config.jwks_refresh.0, fetching })
    }

    /// The secret to sign with, and its name.
    pub fn signer(&self) -> Option<(&str, &EncodingKey)> {
        self.secret.as_ref().map(|secret| (secret.id.as_str(), &secret.sign))
    }

    /// The key of a token that says this about itself. The set is fetched again if it is old or does not know it.
    pub async fn find(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        now: DateTime<Utc>,
    ) -> Option<DecodingKey> {
        if algorithm == Algorithm::HS256 {
            let secret = self.secret.as_ref()?;
            return id.is_none_or(|id| id == secret.id).then(|| secret.verify.clone());
        }
        let found = self.set.read().find(algorithm, id);
        if found.is_some() && !self.is_old(now) {
            return found;
        }
        self.refresh(now).await;
        self.set.read().find(algorithm, id)
    }

    fn is_old(&self, now: DateTime<Utc>) -> bool {
        let read = self.set.read().read;
        read.is_none_or(|read| since(read, now) >= self.refresh)
    }

    /// Reads the set again, unless that was tried a moment ago.
    pub async fn refresh(&self, now: DateTime<Utc>) {
        let Some(source) = &self.source else { return };
        let _fetching = self.fetching.lock().await;
        if self.set.read().tried.is_some_and(|tried| since(tried, now) < REFRESH_PAUSE) {
            return;
        }
        let text = source.read().await;
        let mut set = self.set.write();
        set.tried = Some(now);
        match text.map(|text| parse(&text)) {
            Ok(Some(keys)) => (set.keys, set.read) = (keys, Some(now)),
            Ok(None) => tracing::warn!(%source, "is no set of keys, and the last one stays"),
            Err(error) => {
                tracing::warn!(%source, %error, "the set of keys cannot be read, and the last one stays")
            }
        }
    }
}

fn since(then: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - then).to_std().unwrap_or_default()
}

impl Set {
    /// Without a name there must be no choice.
    fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<DecodingKey> {
        let mut fitting = self.keys.iter().filter(|one| one.algorithm == algorithm);
        match id {
            Some(id) => fitting.find(|one| one.id.as_deref() == Some(id)).map(|one| one.key.clone()),
            None => fitting.next().filter(|_| fitting.next().is_none()).map(|one| one.key.clone()),
        }
    }
}

/// The keys of a set that are for one of our algorithms; the others are left out.
fn parse(text: &[u8]) -> Option<Vec<PublicKey>> {
    let set: serde_json::Value = serde_json::from_slice(text).ok()?;
    let keys = set.get("keys")?.as_array()?;
    let one = |value: &serde_json::Value| {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let algorithm = algorithm(&jwk)?;
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(PublicKey { id: jwk.common.key_id, algorithm, key })
    };
    Some(keys.iter().take(KEYS_MAX).filter_map(one).collect())
}

/// What the key is for: by its kind, and by what it says itself. Secrets have no place in a set.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let (by_kind, said) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    jwk.common.key_algorithm.is_none_or(|algorithm| algorithm == said).then_some(by_kind)
}
