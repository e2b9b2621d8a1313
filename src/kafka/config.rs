//! What can be set about Kafka: where it is, who we are in the group, how much is fetched, security.
//!
//! Refuses to know how the client is built from it. The raw overrides exclude every setting that a
//! guarantee of the line hangs on; each refusal has its reason here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Secret, Span};

/// Where records come from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Brokers to find the cluster through, as `host:port`.
    pub brokers: Vec<String>,
    /// Consumer group. Processes of one group share the partitions.
    pub group: String,
    /// Name of this process in the group, unique within it. A process that returns under its name
    /// within the session timeout gets its partitions back without a rebalance (static membership).
    /// With several consumers, each adds its number.
    pub instance_id: Option<String>,
    /// Where a partition begins that the group has no committed offset for.
    pub start: Start,
    /// Group members run by this process, each with a polling thread of its own.
    #[schemars(range(min = 1, max = 256))]
    pub consumers: u16,
    /// Whether records of open and aborted transactions are read.
    pub isolation: Isolation,
    /// After this long without a heartbeat the group gives the partitions to others.
    pub session_timeout: Span,
    /// How often progress is committed. A crash repeats at most what came after the last commit.
    pub commit_interval: Span,
    /// Largest answer to one fetch request, 1,000,000 bytes at least; never more than a quarter of `prefetch`.
    pub fetch_bytes_max: ByteSize,
    /// Bytes fetched ahead of decoding, over all partitions of one consumer, with what the client keeps
    /// beside each message; 4,000,000 at least.
    pub prefetch: ByteSize,
    /// Encryption and authentication.
    pub security: Security,
    /// Raw librdkafka settings by their names, for what has no setting here. Those that would break a
    /// guarantee, and those that hold secrets, are refused.
    pub client: BTreeMap<String, String>,
}

/// Of what is fetched ahead one answer is a quarter at most.
pub const PREFETCH_PER_ANSWER: u64 = 4;
/// What librdkafka takes for the largest record of a consumer, unless `kafka.client` says otherwise; it takes no limit of
/// answers below it.
const MESSAGE_BYTES: u64 = 1_000_000;
/// It wants 512 bytes beside an answer in what it receives.
pub const RECEIVE_BYTES_MAX: u64 = 1_000_000_000;

impl Config {
    /// Largest answer to one fetch request.
    pub fn answer_bytes(&self) -> u64 {
        self.fetch_bytes_max.0.min(self.prefetch.0 / PREFETCH_PER_ANSWER)
    }

    /// The least and the most that it may be.
    pub fn answer_bounds(&self) -> (u64, u64) {
        let given = self.client.get("message.max.bytes").and_then(|text| text.parse().ok());
        (given.unwrap_or(MESSAGE_BYTES), RECEIVE_BYTES_MAX - 512)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            brokers: vec!["localhost:9092".to_owned()],
            group: "penstock".to_owned(),
            instance_id: None,
            start: Start::Earliest,
            consumers: 1,
            isolation: Isolation::ReadCommitted,
            session_timeout: Span::secs(45),
            commit_interval: Span::secs(1),
            fetch_bytes_max: ByteSize::mib(16),
            prefetch: ByteSize::mib(64),
            security: Security::default(),
            client: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest record that the broker still has.
    Earliest,
    /// At the end: records published before the first start are not read.
    Latest,
    /// Nowhere: the process stops with an error.
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Only records of committed transactions, and those outside of any.
    ReadCommitted,
    /// Every record, also those of transactions that were aborted.
    ReadUncommitted,
}

impl Isolation {
    /// As the client's setting `isolation.level` has it.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// How brokers are spoken to.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Whether the connection is encrypted, and how the client logs in.
    pub protocol: Protocol,
    /// PEM file with the authorities that brokers' certificates are checked against; the system's
    /// without it.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's private key.
    pub key_file: Option<PathBuf>,
    /// Opens the private key.
    pub key_password: Option<Secret>,
    /// How the client proves who it is, with a `sasl_…` protocol.
    pub mechanism: Mechanism,
    /// User; the client id with `oauthbearer`.
    pub username: Option<String>,
    /// Password; the client secret with `oauthbearer`.
    pub password: Option<Secret>,
    /// File that holds the password; white space at its end is left out.
    pub password_file: Option<PathBuf>,
    /// Turns the check off that a broker's certificate was made out for its host name.
    pub skip_hostname_check: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// No encryption, no authentication.
    #[default]
    Plaintext,
    /// TLS; the client authenticates by certificate when it has one.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

impl Protocol {
    pub fn is_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    Plain,
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    #[default]
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
    /// Kerberos; its details are `sasl.kerberos.…` settings in `kafka.client`.
    Gssapi,
    /// OpenID Connect; its details are `sasl.oauthbearer.…` settings in `kafka.client`.
    Oauthbearer,
}

impl Mechanism {
    /// Whether a user and a password belong to it.
    pub fn has_password(self) -> bool {
        !matches!(self, Mechanism::Gssapi)
    }
}

const COMMITS: &str =
    "offsets are committed by the line alone, after the rows are durable, or records would be lost";
const MEMBERSHIP: &str = "revoked partitions are fenced by the line's own rebalance protocol";
const HAS_SETTING: &str = "it has a setting of its own, see the hint";
const SECRET: &str = "it would be printed with the configuration";
const EVENTS: &str = "the line depends on the events, errors and acknowledgements of the client";

/// Raw settings that `kafka.client` refuses: name, reason, and what to use instead.
pub const REFUSED: &[(&str, &str, &str)] = &[
    ("enable.auto.commit", COMMITS, "set kafka.commit_interval for the pace of commits"),
    ("auto.commit.enable", COMMITS, "set kafka.commit_interval for the pace of commits"),
    ("auto.commit.interval.ms", COMMITS, "set kafka.commit_interval"),
    ("enable.auto.offset.store", COMMITS, "leave it out"),
    ("offset.store.method", COMMITS, "leave it out"),
    ("offset.store.path", COMMITS, "leave it out"),
    ("partition.assignment.strategy", MEMBERSHIP, "leave it out"),
    ("group.protocol", MEMBERSHIP, "leave it out"),
    ("group.remote.assignor", MEMBERSHIP, "leave it out"),
    ("enable.partition.eof", EVENTS, "use `penstock run --stop-at-end`"),
    ("enable.idempotence", EVENTS, "leave it out"),
    ("acks", EVENTS, "leave it out"),
    ("request.required.acks", EVENTS, "leave it out"),
    ("delivery.report.only.error", EVENTS, "leave it out"),
    ("message.timeout.ms", EVENTS, "set dead_letter.produce_timeout"),
    ("delivery.timeout.ms", EVENTS, "set dead_letter.produce_timeout"),
    ("transactional.id", EVENTS, "leave it out"),
    ("bootstrap.servers", HAS_SETTING, "set kafka.brokers"),
    ("metadata.broker.list", HAS_SETTING, "set kafka.brokers"),
    ("group.id", HAS_SETTING, "set kafka.group"),
    ("group.instance.id", HAS_SETTING, "set kafka.instance_id"),
    ("auto.offset.reset", HAS_SETTING, "set kafka.start"),
    ("isolation.level", HAS_SETTING, "set kafka.isolation"),
    ("session.timeout.ms", HAS_SETTING, "set kafka.session_timeout"),
    ("fetch.max.bytes", HAS_SETTING, "set kafka.fetch_bytes_max"),
    ("queued.max.messages.kbytes", HAS_SETTING, "set kafka.prefetch"),
    ("security.protocol", HAS_SETTING, "set kafka.security.protocol"),
    ("sasl.mechanism", HAS_SETTING, "set kafka.security.mechanism"),
    ("sasl.mechanisms", HAS_SETTING, "set kafka.security.mechanism"),
    ("sasl.username", HAS_SETTING, "set kafka.security.username"),
    ("ssl.ca.location", HAS_SETTING, "set kafka.security.ca_file"),
    ("ssl.certificate.location", HAS_SETTING, "set kafka.security.cert_file"),
    ("ssl.key.location", HAS_SETTING, "set kafka.security.key_file"),
    ("ssl.endpoint.identification.algorithm", HAS_SETTING, "set kafka.security.skip_hostname_check"),
    ("sasl.oauthbearer.client.id", HAS_SETTING, "set kafka.security.username"),
    ("sasl.password", SECRET, "set kafka.security.password_file"),
    ("sasl.oauthbearer.client.secret", SECRET, "set kafka.security.password_file"),
    ("sasl.oauthbearer.config", SECRET, "use the oidc method and kafka.security.password_file"),
    ("ssl.key.password", SECRET, "set kafka.security.key_password"),
    ("ssl.key.pem", SECRET, "set kafka.security.key_file"),
    ("ssl.keystore.password", SECRET, "set kafka.security.cert_file and key_file"),
];

/// Why a raw setting is refused, and what to use instead; `None` when it is allowed.
pub fn refusal(name: &str) -> Option<(&'static str, &'static str)> {
    REFUSED.iter().find(|(refused, ..)| *refused == name).map(|(_, reason, hint)| (*reason, *hint))
}
