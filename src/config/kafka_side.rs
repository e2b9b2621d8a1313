//! Rules between settings of Kafka: brokers, the group, security, how much is fetched.
//!
//! Refuses to look at anything but the settings: what brokers say of them is found out when they are asked.

use super::Fault;
use super::validate::{both_passwords, is_host_port, pair_of_files};
use crate::kafka::config::{Config, PREFETCH_PER_ANSWER, Security};
use crate::units::{ByteSize, Span};

/// What brokers accept without settings of their own.
const SESSION_MIN: Span = Span::secs(6);
const SESSION_MAX: Span = Span::secs(1800);

pub(super) fn check(config: &Config, found: &mut Vec<Fault>) {
    group(config, found);
    security(&config.security, found);
    fetching(config, found);
}

fn group(kafka: &Config, found: &mut Vec<Fault>) {
    if kafka.brokers.is_empty() {
        let hint = "name at least one, such as localhost:9092";
        found.push(Fault::new("kafka.brokers", "there is no broker", hint));
    }
    for (index, broker) in kafka.brokers.iter().enumerate() {
        let address = broker.rsplit_once("://").map_or(broker.as_str(), |(_, address)| address);
        if !is_host_port(broker) {
            let hint = match is_host_port(address) && address != broker && !address.contains('@') {
                true => format!("leave the scheme out: {address}"),
                false => "write host:port, such as localhost:9092".to_owned(),
            };
            found.push(Fault::new(format!("kafka.brokers[{index}]"), "is not an address", hint));
        }
    }
    if kafka.group.trim().is_empty() {
        let hint = "name the consumer group; processes with the same name share the work";
        found.push(Fault::new("kafka.group", "is empty", hint));
    }
    if kafka.session_timeout < SESSION_MIN || kafka.session_timeout > SESSION_MAX {
        let message = format!("{} is out of range", kafka.session_timeout);
        let hint = format!("brokers accept {SESSION_MIN} to {SESSION_MAX}");
        found.push(Fault::new("kafka.session_timeout", message, hint));
    }
}

fn security(security: &Security, found: &mut Vec<Fault>) {
    let protocol = security.protocol;
    let at = |key: &str| format!("kafka.security.{key}");
    if security.password.is_some() && security.password_file.is_some() {
        found.push(both_passwords("kafka.security"));
    }
    let has_password = security.password.is_some() || security.password_file.is_some();
    if protocol.is_sasl() && security.mechanism.has_password() {
        if security.username.is_none() {
            found.push(Fault::new(
                at("username"),
                "is missing for this mechanism",
                "set the user to log in as",
            ));
        }
        if !has_password {
            let hint = "set kafka.security.password_file, or the password in the environment";
            found.push(Fault::new(at("password"), "is missing for this mechanism", hint));
        }
    }
    if !protocol.is_sasl() && (has_password || security.username.is_some()) {
        let hint = "set it to sasl_ssl, or remove username and password";
        found.push(Fault::new(
            at("protocol"),
            "this protocol does not log in, so the user is not used",
            hint,
        ));
    }
    let has_files = security.ca_file.is_some() || security.cert_file.is_some() || security.key_file.is_some();
    if !protocol.is_tls() && has_files {
        let hint = "set it to ssl or sasl_ssl, or remove the certificate files";
        found.push(Fault::new(
            at("protocol"),
            "this protocol does not encrypt, so certificates are not used",
            hint,
        ));
    }
    pair_of_files("kafka.security", &security.cert_file, &security.key_file, found);
}

/// The client refuses to begin with less or more, and names its own settings then.
fn fetching(kafka: &Config, found: &mut Vec<Fault>) {
    let (least, most) = kafka.answer_bounds();
    let mut wrong = |setting: &str, message: String, hint: String| {
        found.push(Fault::new(format!("kafka.{setting}"), message, hint));
    };
    if 0 < kafka.fetch_bytes_max.0 && kafka.fetch_bytes_max.0 < least {
        let message = format!("{} is less than the client takes", kafka.fetch_bytes_max);
        wrong("fetch_bytes_max", message, format!("set it to at least {least} bytes"));
    }
    let prefetch_min = least.saturating_mul(PREFETCH_PER_ANSWER);
    if 0 < kafka.prefetch.0 && kafka.prefetch.0 < prefetch_min {
        let message = format!("a quarter of {} is less than the client takes for an answer", kafka.prefetch);
        wrong("prefetch", message, format!("set it to at least {prefetch_min} bytes, such as 4MiB"));
    }
    if most < kafka.answer_bytes() {
        let message = format!("{} is more than the client takes", ByteSize(kafka.answer_bytes()));
        wrong("fetch_bytes_max", message, format!("set it to at most {most} bytes"));
    }
}
