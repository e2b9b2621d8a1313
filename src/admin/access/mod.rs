//! Who may do what: tokens say who somebody is, roles say what that person may.
//!
//! Refuses what is not surely right: a token without an end, of another algorithm than its key's, or without a role
//! that is known. Refuses to know HTTP. No token stands in a log, an error or a URL (I10).

mod config;
mod failures;
pub(in crate::admin) mod jwks;
mod keys;
pub mod revoked;
mod role;
mod token;

pub use config::Config;
pub use failures::Failures;
pub use keys::{Error as KeysError, Keys};
pub use revoked::Revocations;
pub use role::{Role, matrix};
pub use token::{Error, Issued, Principal, Request};

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::admin::key::Key;
use crate::crypt;
use crate::units::Secret;

/// Verifies and issues tokens.
#[derive(Clone)]
pub struct Access {
    keys: Arc<Keys>,
    rules: Arc<Config>,
    /// Where tokens are looked up that were taken back; nowhere without it.
    revocations: Option<Revocations>,
}

impl Access {
    /// Reads the keys that lie in files.
    ///
    /// # Errors
    /// A file that cannot be read, or no key at all.
    pub fn new(config: &Config, crypt: &crypt::Config) -> Result<Access, KeysError> {
        let read = |path| Key::read(path, "admin.access.key_file", crypt);
        let secret = config.key_file.as_deref().map(read).transpose()?;
        Ok(Access {
            keys: Arc::new(Keys::new(config, secret)?),
            rules: Arc::new(config.clone()),
            revocations: None,
        })
    }

    /// Refuses tokens of this list, and all of them before it is known.
    pub fn looking_up(self, revocations: Revocations) -> Access {
        Access { revocations: Some(revocations), ..self }
    }

    pub fn revocations(&self) -> Option<&Revocations> {
        self.revocations.as_ref()
    }

    /// Fetches the public keys for the first time; what cannot be fetched now is tried again when it is needed.
    pub async fn warm(&self, now: DateTime<Utc>) {
        self.keys.refresh(now).await;
    }

    /// Who bears the token.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn verify(&self, token: &Secret, now: DateTime<Utc>) -> Result<Principal, Error> {
        let principal = token::verify(&self.keys, &self.rules, token, now).await?;
        match self.revocations.as_ref().map(|list| list.is_revoked(&principal.id, now)) {
            Some(None) => Err(Error::Unknown),
            Some(Some(true)) => Err(Error::Revoked),
            _ => Ok(principal),
        }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// No key to sign with, or a request beyond the rules.
    pub fn issue(&self, request: &Request, now: DateTime<Utc>) -> Result<Issued, Error> {
        token::issue(&self.keys, &self.rules, request, now)
    }

    /// A new token for whoever bears one of ours that still holds.
    ///
    /// # Errors
    /// A token of somebody else, or one whose first beginning is too long ago.
    pub fn refresh(&self, principal: &Principal, now: DateTime<Utc>) -> Result<Issued, Error> {
        token::refresh(&self.keys, &self.rules, principal, now)
    }

    /// How long the longest of the own tokens may hold.
    pub fn life_max(&self) -> Duration {
        self.rules.token_life_max.0
    }

    /// What is in effect for tokens whose request does not say it.
    pub fn life(&self) -> Duration {
        self.rules.token_life.0
    }
}
