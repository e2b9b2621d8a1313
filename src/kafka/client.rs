//! The librdkafka settings that we set, and why.
//!
//! Refuses to be overridden where a guarantee hangs on it: `config::refusal` keeps such names out of
//! `kafka.client`. Nothing of a password is logged.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::config::{Config, Mechanism, Protocol, RECEIVE_BYTES_MAX, Security, Start};

/// A dead letter may be as large as a record: what may be published is bounded by the broker alone.
const MESSAGE_BYTES_MAX: &str = "1000000000";

/// What librdkafka keeps beside the bytes of each message that waits, which it does not count itself.
const MESSAGE_OVERHEAD_BYTES: u64 = 320;

/// How much may wait, so that `prefetch` holds for memory: a quarter of it is for the answer on its way, and of
/// the rest one half for the bytes of messages and the other for what librdkafka keeps beside them.
struct Ahead {
    answer_bytes: u64,
    bytes: u64,
    messages: u64,
}

impl Ahead {
    fn of(config: &Config) -> Ahead {
        let answer_bytes = config.answer_bytes().max(1);
        let half = (config.prefetch.0 - answer_bytes.min(config.prefetch.0)) / 2;
        Ahead { answer_bytes, bytes: half, messages: (half / MESSAGE_OVERHEAD_BYTES).clamp(1, 10_000_000) }
    }
}

/// A member of the group; `member` tells those of one process apart.
pub fn consumer(config: &Config, member: usize) -> ClientConfig {
    let mut client = base(config);
    let ahead = Ahead::of(config);
    client
        .set("group.id", &config.group)
        // Only what moves is taken away in a rebalance; the rest of the line goes on.
        .set("partition.assignment.strategy", "cooperative-sticky")
        // Offsets move by watermarks alone (invariant I1).
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set(
            "auto.offset.reset",
            match config.start {
                Start::Earliest => "earliest",
                Start::Latest => "latest",
                Start::Fail => "error",
            },
        )
        .set("isolation.level", config.isolation.name())
        .set("session.timeout.ms", millis(config.session_timeout.0))
        .set("fetch.max.bytes", ahead.answer_bytes.to_string())
        // A record that is larger than the answer's limit is delivered all the same, alone.
        .set("max.partition.fetch.bytes", ahead.answer_bytes.to_string())
        .set("receive.message.max.bytes", RECEIVE_BYTES_MAX.to_string())
        .set("queued.max.messages.kbytes", (ahead.bytes / 1024).clamp(1, 2_097_151).to_string())
        // Over all partitions, as the bytes are: each of them feeds the one queue of the consumer.
        .set("queued.min.messages", ahead.messages.to_string())
        // The default waits a whole second before it fetches again when the queue was full.
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.wait.max.ms", "100")
        // A partition's lag is taken from the statistics.
        .set("statistics.interval.ms", "1000");
    if let Some(name) = &config.instance_id {
        let name = if config.consumers == 1 { name.clone() } else { format!("{name}-{member}") };
        client.set("group.instance.id", name);
    }
    overrides(&mut client, config);
    // Only the log of metadata tells that a topic was made anew (see `context`).
    let more = config.client.get("debug").map(|names| format!(",{names}")).unwrap_or_default();
    client.set("debug", format!("metadata{more}")).set_log_level(RDKafkaLogLevel::Debug);
    client
}

/// Publishes with acknowledgement by all in-sync replicas.
pub fn producer(config: &Config, produce_timeout: Duration) -> ClientConfig {
    let mut client = base(config);
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", millis(produce_timeout))
        .set("message.max.bytes", MESSAGE_BYTES_MAX)
        .set("queue.buffering.max.kbytes", "262144")
        .set("linger.ms", "5")
        .set("compression.type", "lz4");
    client
}

/// Looks at the cluster without being a member of the group.
pub fn probe(config: &Config) -> ClientConfig {
    let mut client = base(config);
    client
        .set("receive.message.max.bytes", MESSAGE_BYTES_MAX)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    client
}

/// A member of a group that chooses a leader. It reads nothing.
pub fn candidate(config: &Config, session_timeout: Duration) -> ClientConfig {
    let mut client = probe(config);
    client
        .set("group.id", &config.group)
        // Whoever leads goes on when others come and go.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "latest")
        .set("session.timeout.ms", millis(session_timeout))
        .set("heartbeat.interval.ms", millis(session_timeout / 5))
        // A broker that hangs is given up within a session.
        .set("socket.timeout.ms", millis(session_timeout.max(Duration::from_secs(1))));
    client
}

fn base(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", "penstock")
        .set("socket.keepalive.enable", "true")
        // One line per lost connection is noise; lost brokers are reported as errors.
        .set("log.connection.close", "false");
    security(&mut client, &config.security);
    client
}

fn security(client: &mut ClientConfig, security: &Security) {
    client.set(
        "security.protocol",
        match security.protocol {
            Protocol::Plaintext => "plaintext",
            Protocol::Ssl => "ssl",
            Protocol::SaslPlaintext => "sasl_plaintext",
            Protocol::SaslSsl => "sasl_ssl",
        },
    );
    let files = [
        ("ssl.ca.location", &security.ca_file),
        ("ssl.certificate.location", &security.cert_file),
        ("ssl.key.location", &security.key_file),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            client.set(name, file.to_string_lossy());
        }
    }
    if let Some(password) = &security.key_password {
        client.set("ssl.key.password", password.expose());
    }
    if security.skip_hostname_check {
        client.set("ssl.endpoint.identification.algorithm", "none");
    }
    if security.protocol.is_sasl() {
        sasl(client, security);
    }
}

fn sasl(client: &mut ClientConfig, security: &Security) {
    let (mechanism, user, password) = match security.mechanism {
        Mechanism::Plain => ("PLAIN", "sasl.username", "sasl.password"),
        Mechanism::ScramSha256 => ("SCRAM-SHA-256", "sasl.username", "sasl.password"),
        Mechanism::ScramSha512 => ("SCRAM-SHA-512", "sasl.username", "sasl.password"),
        Mechanism::Gssapi => ("GSSAPI", "sasl.username", "sasl.password"),
        Mechanism::Oauthbearer => {
            ("OAUTHBEARER", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret")
        }
    };
    client.set("sasl.mechanisms", mechanism);
    if let (true, Some(name)) = (security.mechanism.has_password(), &security.username) {
        client.set(user, name);
    }
    if let (true, Some(secret)) = (security.mechanism.has_password(), &security.password) {
        client.set(password, secret.expose());
    }
}

fn overrides(client: &mut ClientConfig, config: &Config) {
    for (name, value) in &config.client {
        client.set(name, value);
    }
}

fn millis(span: Duration) -> String {
    span.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;
    use crate::units::ByteSize;

    /// Nothing listens there, and nothing has to for the settings to be judged.
    fn is_taken(fetch_bytes_max: u64, prefetch: u64, message_bytes: Option<u64>) -> bool {
        let client = message_bytes.map(|bytes| ("message.max.bytes".to_owned(), bytes.to_string()));
        let config = Config {
            brokers: vec!["127.0.0.1:1".to_owned()],
            fetch_bytes_max: ByteSize(fetch_bytes_max),
            prefetch: ByteSize(prefetch),
            client: client.into_iter().collect(),
            ..Config::default()
        };
        let made: Result<BaseConsumer, _> = consumer(&config, 0).create();
        let (least, most) = config.answer_bounds();
        assert_eq!(made.is_ok(), (least..=most).contains(&config.answer_bytes()), "{config:?}");
        made.is_ok()
    }

    #[test]
    fn the_bounds_of_an_answer_are_those_of_the_client() {
        let much = 1 << 33;
        assert!(is_taken(much, 4_000_000, None) && !is_taken(much, 3_999_999, None));
        assert!(is_taken(1_000_000, much, None) && !is_taken(999_999, much, None));
        assert!(is_taken(999_999_488, much, None) && !is_taken(999_999_489, much, None));
        assert!(is_taken(2000, much, Some(2000)) && !is_taken(1999, much, Some(2000)));
    }
}
