//! Whose tokens are taken, and what is in them.
//!
//! Refuses to read the keys: it says where they are.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Tokens (JWT) of the admin process, and who may do what.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File of the secret that tokens are signed with (HS256), 32 bytes or more. With it `penstock token issue` makes
    /// tokens, and the admin process takes them.
    pub key_file: Option<PathBuf>,
    /// File of public keys (a JWK set) by which tokens of somebody else are verified: RS256, ES256, EdDSA. It is read
    /// again when it is older than `jwks_refresh`.
    pub jwks_file: Option<PathBuf>,
    /// Address of such a set, `https://` or on the own machine; nothing is fetched without it.
    pub jwks_url: Option<String>,
    /// PEM file of the authorities that the address must be certified by; those of the system without it.
    pub jwks_ca_file: Option<PathBuf>,
    /// How old the set may be before it is fetched again.
    pub jwks_refresh: Span,
    /// What a token must have as `iss`, and what our own have.
    pub issuer: String,
    /// What a token must have as `aud`, alone or among others.
    pub audience: String,
    /// Where in a token its roles are; dots go down, as in `realm_access.roles`.
    pub roles_claim: String,
    /// Where in a token it says that whoever bears it may see personal data; dots go down. Beside the role it must be `true`
    /// for the permission `dead_letter_value`.
    pub pii_claim: String,
    /// How far clocks may be apart, at most a minute.
    pub skew_max: Span,
    /// How long a token holds that is issued without a word about it.
    pub token_life: Span,
    /// Longest life of a token that is issued, and longest time over which one is refreshed.
    pub token_life_max: Span,
    /// Table in `clickhouse.database` on the first endpoint that keeps tokens which were taken back.
    pub revoked_table: String,
    /// How often it is read: so long at most a token holds elsewhere that was taken back in one process.
    pub revoked_refresh: Span,
    /// Tokens that one address may try in vain within `failures_window`; then it has to wait.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub failures_max: u32,
    /// Time over which they are counted.
    pub failures_window: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            key_file: None,
            jwks_file: None,
            jwks_url: None,
            jwks_ca_file: None,
            jwks_refresh: Span::secs(3600),
            issuer: "penstock".to_owned(),
            audience: "penstock".to_owned(),
            roles_claim: "roles".to_owned(),
            pii_claim: "pii".to_owned(),
            skew_max: Span::secs(30),
            token_life: Span::secs(3600),
            token_life_max: Span::secs(86_400),
            revoked_table: "penstock_revoked_tokens".to_owned(),
            revoked_refresh: Span::secs(10),
            failures_max: 10,
            failures_window: Span::secs(60),
        }
    }
}
