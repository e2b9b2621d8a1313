//! `penstock crypt`: the key ring, and secrets that are encrypted with it.
//!
//! Refuses to print. The work is `crypt`'s and `admin::crypt`'s; what changes keys or files is written to the trail first.

use std::path::PathBuf;

use chrono::Utc;
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};

use super::admin::{local_actor, places};
use super::{Error, runtime};
use crate::admin::audit::Trail;
use crate::admin::command::{self, Command, Permission};
use crate::admin::crypt::Vault;
use crate::config::{Config, Inputs};
use crate::crypt::{self, system_random};

pub use crate::admin::crypt::{Rewrapped, Rotated, Status};

impl From<crypt::Error> for Error {
    fn from(error: crypt::Error) -> Self {
        match error {
            error @ (crypt::Error::File { .. } | crypt::Error::Random) => Error::Failed(error.into()),
            error => Error::WrongUse(error.into()),
        }
    }
}

/// The ring of the configuration, and the secrets that it names.
pub(super) fn vault(config: &Config) -> Result<Vault, crypt::Error> {
    let files = [&config.kafka.security.password_file, &config.clickhouse.password_file];
    let admin = &config.admin;
    // Keys of the admin process need not lie on each machine that has its configuration.
    let keys =
        [&admin.access.key_file, &admin.audit.key_file, &admin.tls.key_file, &admin.health.webhook.key_file];
    let keys = keys.into_iter().flatten().filter(|path| path.exists());
    Vault::new(&config.crypt, files.into_iter().flatten().chain(keys).cloned().collect(), &config.tables.path)
}

/// Keys and envelopes, for whoever runs the command.
pub struct Session<'a> {
    inputs: &'a Inputs,
    config: &'a Config,
    vault: Vault,
}

impl<'a> Session<'a> {
    pub fn open(inputs: &'a Inputs, config: &'a Config) -> Result<Session<'a>, Error> {
        Ok(Session { inputs, config, vault: vault(config)? })
    }

    /// The one path of what changes something.
    fn audited<T>(
        &self,
        action: &'static str,
        details: Value,
        work: impl FnOnce() -> Result<T, crypt::Error>,
    ) -> Result<T, Error> {
        let (trail, actor) = (Trail::new(places(self.config)?), local_actor(&self.inputs.environment));
        let resource = "the key ring".to_owned();
        let command = Command { action, resource, details, needs: Permission::KeyChange };
        runtime()?.block_on(command::run(&trail, &actor, command, async { Ok::<T, Error>(work()?) }))
    }

    /// An envelope, as one line of text.
    pub fn encrypt(&self, context: &str, content: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(crypt::as_text(&crypt::seal(&self.vault.ring()?, context, content, &mut system_random)?))
    }

    pub fn decrypt(&self, context: &str, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let none = crypt::Error::NotAnEnvelope("it begins with something else");
        let bytes = crypt::as_bytes(envelope)?.ok_or(none)?;
        self.audited("crypt.decrypt", json!({ "context": context }), || {
            crypt::open(&self.vault.ring()?, context, &bytes)
        })
    }

    /// What stands in place of the value in columns that are protected by pseudonyms of this key.
    pub fn pseudonym(&self, key: &str, value: &[u8]) -> Result<String, Error> {
        self.audited("crypt.pseudonym", json!({ "key": key }), || {
            Ok(crypt::Pseudonyms::new(&self.vault.ring()?, key)?.of(value))
        })
    }

    pub fn generate(&self) -> Result<String, Error> {
        self.audited("crypt.keygen", json!({}), || self.vault.generate(Utc::now(), &mut system_random))
    }

    pub fn rotate(&self, from: Option<&str>, to: Option<&str>, dry_run: bool) -> Result<Rotated, Error> {
        if dry_run {
            return Ok(self.vault.rotation((from, to))?);
        }
        let details = json!({ "from": from, "to": to });
        self.audited("crypt.rotate", details, || {
            self.vault.rotate((from, to), Utc::now(), &mut system_random)
        })
    }

    pub fn status(&self, more: &[PathBuf]) -> Result<Status, Error> {
        Ok(self.vault.status(more)?)
    }

    pub fn rewrap(&self, more: &[PathBuf], dry_run: bool) -> Result<Vec<Rewrapped>, Error> {
        if dry_run {
            return Ok(self.vault.rewrap(more, true, &mut system_random)?);
        }
        let details = json!({ "files": more });
        self.audited("crypt.rewrap", details, || self.vault.rewrap(more, false, &mut system_random))
    }

    pub fn destroy(&self, id: &str, more: &[PathBuf], dry_run: bool) -> Result<(), Error> {
        if dry_run {
            return Ok(self.vault.destroy(id, more, true)?);
        }
        let details = json!({ "key": id, "looked_at": more });
        self.audited("crypt.destroy", details, || self.vault.destroy(id, more, false))
    }
}
