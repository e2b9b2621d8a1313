//! Rules between fields and beyond types. Every rule that is broken is one fault with a hint.
//!
//! Refuses to reach a server; the only thing looked at outside is whether named files exist.

use std::path::PathBuf;

use super::{Config, Fault, admin_side, kafka_side, text};
use crate::clickhouse::address;
use crate::clickhouse::config as clickhouse;
use crate::dead_letter::config::TOPIC_PLACEHOLDER;
use crate::kafka::config as kafka;
use crate::pipeline::config::Delivery;
use crate::telemetry::config::Traces;
use crate::telemetry::logs;
use crate::units::{ByteSize, Span};

/// Each time every audited table is asked a question.
const AUDIT_INTERVAL_MIN: Span = Span::secs(1);
const TOPIC_CHARS_MAX: usize = 249;

pub fn check(config: &Config) -> Vec<Fault> {
    let mut found = Vec::new();
    kafka_side::check(&config.kafka, &mut found);
    clickhouse_servers(&config.clickhouse, &mut found);
    memory(config, &mut found);
    nothing_is_zero(config, &mut found);
    dead_letter_topic(config, &mut found);
    files_exist(config, &mut found);
    refused_settings(config, &mut found);
    exactly_once(config, &mut found);
    admin_side::check(config, &mut found);
    if config.audit.interval < AUDIT_INTERVAL_MIN {
        let hint = "write 1s or more; `audit.enabled: never` turns it off";
        found.push(Fault::new("audit.interval", "is too short", hint));
    }
    if !is_host_port(&config.telemetry.listen) {
        let hint = "write host:port, such as 127.0.0.1:9464 or 0.0.0.0:9464";
        found.push(Fault::new("telemetry.listen", "is not an address", hint));
    }
    traces(&config.telemetry.traces, &mut found);
    if let Err(error) = logs::check_level(&config.telemetry.log.level) {
        found.push(from_error("telemetry.log.level", &error.to_string()));
    }
    found
}

/// The rules that need the topics of the tables: a dead letter must not come back as a record.
pub fn check_sources<'t>(config: &Config, topics: impl IntoIterator<Item = &'t str>) -> Vec<Fault> {
    let topics: Vec<&str> = topics.into_iter().collect();
    let mut found = Vec::new();
    for topic in &topics {
        let dead = config.dead_letter.topic_for(topic);
        if topics.contains(&dead.as_str()) {
            let message = format!("dead letters of `{topic}` would go to `{dead}`, which is read from");
            let hint = "take a topic that no table reads, such as {topic}.dead";
            found.push(Fault::new("dead_letter.topic", message, hint));
        }
        if let Some(fault) = topic_fault("dead_letter.topic", &dead) {
            found.push(fault);
        }
    }
    for topic in config.limits.topics.keys().filter(|topic| !topics.contains(&topic.as_str())) {
        let path = text::join_path(&["limits".to_owned(), "topics".to_owned(), topic.clone()]);
        found.push(Fault::new(
            path,
            "no table reads this topic",
            format!("the topics are {}", topics.join(", ")),
        ));
    }
    found
}

fn from_error(path: &str, error: &str) -> Fault {
    let (message, hint) = error.split_once("\nhint: ").unwrap_or((error, ""));
    Fault::new(path, message, hint)
}

fn traces(traces: &Traces, found: &mut Vec<Fault>) {
    if let Some(endpoint) = &traces.endpoint {
        let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
        let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        let hint = match authority.contains('@') {
            true => "put credentials into telemetry.traces.headers",
            false => "write an address such as http://collector:4318",
        };
        if authority.is_empty() || authority.contains(['@', ' ']) || endpoint.contains(['?', '#']) {
            found.push(Fault::new("telemetry.traces.endpoint", "is not the address of a receiver", hint));
        }
    }
    if !(0.0..=1.0).contains(&traces.sample_ratio) {
        let hint = "write a number from 0 to 1";
        found.push(Fault::new("telemetry.traces.sample_ratio", "is no share", hint));
    }
}

pub(super) fn is_host_port(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        let is_host = !host.is_empty() && !host.contains([' ', '/', '@']);
        is_host && (host.starts_with('[') || !host.contains(':')) && port.parse::<u16>().is_ok()
    })
}

fn clickhouse_servers(clickhouse: &clickhouse::Config, found: &mut Vec<Fault>) {
    if clickhouse.endpoints.is_empty() {
        let hint = "name at least one, such as http://localhost:8123";
        found.push(Fault::new("clickhouse.endpoints", "there is no endpoint", hint));
    }
    for (index, endpoint) in clickhouse.endpoints.iter().enumerate() {
        let path = format!("clickhouse.endpoints[{index}]");
        match address::check_endpoint(endpoint) {
            Err(error) => found.push(from_error(&path, &error.to_string())),
            Ok(()) if clickhouse.endpoints.iter().take(index).any(|other| other == endpoint) => {
                found.push(Fault::new(path, "is there twice", "name each server once"));
            }
            Ok(()) => {}
        }
    }
    if clickhouse.password.is_some() && clickhouse.password_file.is_some() {
        found.push(both_passwords("clickhouse"));
    }
    let tls = &clickhouse.tls;
    pair_of_files("clickhouse.tls", &tls.cert_file, &tls.key_file, found);
    let has_files = tls.ca_file.is_some() || tls.cert_file.is_some();
    let is_plain = !clickhouse.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    if has_files && is_plain && !clickhouse.endpoints.is_empty() {
        let hint = "write the endpoints with https://, or remove the certificate files";
        found.push(Fault::new("clickhouse.tls", "no endpoint encrypts, so certificates are not used", hint));
    }
    let ranges = [
        (
            "clickhouse.retry.backoff_min",
            clickhouse.retry.backoff_min,
            "backoff_max",
            clickhouse.retry.backoff_max,
        ),
        (
            "clickhouse.breaker.backoff_min",
            clickhouse.breaker.backoff_min,
            "backoff_max",
            clickhouse.breaker.backoff_max,
        ),
    ];
    for (path, min, max_name, max) in ranges {
        if min > max {
            let message = format!("{min} is more than {max_name}, {max}");
            found.push(Fault::new(path, message, format!("set it to at most {max}")));
        }
    }
}

pub(super) fn both_passwords(section: &str) -> Fault {
    let hint = "keep password_file, and remove the password (it may come from the environment)";
    Fault::new(format!("{section}.password"), "password and password_file are both set", hint)
}

pub(super) fn pair_of_files(
    section: &str,
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
    found: &mut Vec<Fault>,
) {
    let missing = match (cert, key) {
        (Some(_), None) => "key_file",
        (None, Some(_)) => "cert_file",
        _ => return,
    };
    let hint = "a certificate needs both cert_file and key_file";
    found.push(Fault::new(format!("{section}.{missing}"), "is missing", hint));
}

fn memory(config: &Config, found: &mut Vec<Fault>) {
    let batch = &config.batch;
    // Each batch holds its columns and, while it is sent, their encoded body.
    let batches = batch.bytes_max.0.saturating_mul(2 * u64::from(batch.in_flight_max));
    let prefetch = config.kafka.prefetch.0.saturating_mul(u64::from(config.kafka.consumers));
    let needed = batches.saturating_add(prefetch);
    let budget = config.memory.budget;
    if needed > budget.0 {
        let message = format!(
            "{budget} is too little: {} batches of {} with their bodies and {} prefetched hold {}",
            batch.in_flight_max,
            batch.bytes_max,
            ByteSize(prefetch),
            ByteSize(needed)
        );
        let hint = "raise it, or lower batch.bytes_max, batch.in_flight_max or kafka.prefetch";
        found.push(Fault::new("memory.budget", message, hint));
    }
    if config.decode.record_bytes_max > budget {
        let message =
            format!("a record of {} does not fit the memory budget", config.decode.record_bytes_max);
        found.push(Fault::new("decode.record_bytes_max", message, format!("set it to at most {budget}")));
    }
}

fn nothing_is_zero(config: &Config, found: &mut Vec<Fault>) {
    let clickhouse = &config.clickhouse;
    let spans = [
        ("kafka.commit_interval", config.kafka.commit_interval),
        ("clickhouse.connect_timeout", clickhouse.connect_timeout),
        ("clickhouse.insert_timeout", clickhouse.insert_timeout),
        ("clickhouse.request_timeout", clickhouse.request_timeout),
        ("clickhouse.health_interval", clickhouse.health_interval),
        ("clickhouse.retry.backoff_min", clickhouse.retry.backoff_min),
        ("clickhouse.breaker.window", clickhouse.breaker.window),
        ("clickhouse.breaker.backoff_min", clickhouse.breaker.backoff_min),
        ("batch.age_max", config.batch.age_max),
        ("batch.pressure.interval", config.batch.pressure.interval),
        ("batch.pressure.age_max", config.batch.pressure.age_max),
        ("migrations.timeout", config.migrations.timeout),
        ("lifecycle.timeout", config.lifecycle.timeout),
        ("dead_letter.produce_timeout", config.dead_letter.produce_timeout),
        ("dead_letter.ceiling.window", config.dead_letter.ceiling.window),
        ("reload.interval", config.reload.interval),
        ("admin.backup.timeout", config.admin.backup.timeout),
        ("admin.request_timeout", config.admin.request_timeout),
        ("admin.access.token_life", config.admin.access.token_life),
        ("admin.access.failures_window", config.admin.access.failures_window),
        ("admin.access.jwks_refresh", config.admin.access.jwks_refresh),
        ("admin.access.revoked_refresh", config.admin.access.revoked_refresh),
        ("admin.health.interval", config.admin.health.interval),
        ("admin.health.timeout", config.admin.health.timeout),
        ("admin.health.webhook.backoff_min", config.admin.health.webhook.backoff_min),
        ("admin.health.webhook.timeout", config.admin.health.webhook.timeout),
        ("telemetry.stalled_after", config.telemetry.stalled_after),
        ("telemetry.traces.timeout", config.telemetry.traces.timeout),
        ("shutdown.drain", config.shutdown.drain),
    ];
    let sizes = [
        ("kafka.fetch_bytes_max", config.kafka.fetch_bytes_max),
        ("kafka.prefetch", config.kafka.prefetch),
        ("batch.bytes_max", config.batch.bytes_max),
        ("decode.record_bytes_max", config.decode.record_bytes_max),
    ];
    let zero_spans = spans.iter().filter(|(_, span)| span.0.is_zero()).map(|(path, _)| *path);
    let zero_sizes = sizes.iter().filter(|(_, size)| size.0 == 0).map(|(path, _)| *path);
    let faults = zero_spans.chain(zero_sizes);
    found.extend(faults.map(|path| Fault::new(path, "is zero", "set it to more than zero")));
}

/// An insert that begins within the first half of its lease must be able to end within the second.
fn exactly_once(config: &Config, found: &mut Vec<Fault>) {
    let insert = config.clickhouse.insert_timeout.min(config.clickhouse.retry.deadline);
    let lease = config.exactly_once.lease;
    if config.delivery == Delivery::ExactlyOnce && lease.0 < insert.0 * 2 {
        let message = format!("{lease} is less than twice the time of an insert, {insert}");
        let hint = "raise it, or lower clickhouse.insert_timeout or clickhouse.retry.deadline";
        found.push(Fault::new("exactly_once.lease", message, hint));
    }
    if config.delivery == Delivery::ExactlyOnce && config.kafka.instance_id.is_some() {
        let message = "a member that returns by name is not told of everything that it lost meanwhile";
        let hint = "leave it out with `delivery: exactly_once`";
        found.push(Fault::new("kafka.instance_id", message, hint));
    }
}

fn dead_letter_topic(config: &Config, found: &mut Vec<Fault>) {
    let topic = config.dead_letter.topic.as_str();
    if topic == TOPIC_PLACEHOLDER {
        let hint = "add something to the name, such as {topic}.dead";
        found.push(Fault::new(
            "dead_letter.topic",
            "dead letters would go back to the topic they came from",
            hint,
        ));
    }
    found.extend(topic_fault("dead_letter.topic", &config.dead_letter.topic_for("t")));
    for name in config.limits.topics.keys() {
        let path = text::join_path(&["limits".to_owned(), "topics".to_owned(), name.clone()]);
        found.extend(topic_fault(&path, name));
    }
}

pub(super) fn topic_fault(path: &str, topic: &str) -> Option<Fault> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let message = match topic {
        "" => "is empty",
        "." | ".." => "is no name of a topic",
        _ if !topic.chars().all(is_allowed) => "has characters that no topic's name can have",
        _ if topic.len() > TOPIC_CHARS_MAX => "is longer than a topic's name can be",
        _ => return None,
    };
    Some(Fault::new(path, message, "take 1 to 249 letters, digits, `.`, `_` and `-`"))
}

fn files_exist(config: &Config, found: &mut Vec<Fault>) {
    let (security, tls) = (&config.kafka.security, &config.clickhouse.tls);
    let files = [
        ("kafka.security.ca_file", &security.ca_file),
        ("kafka.security.cert_file", &security.cert_file),
        ("kafka.security.key_file", &security.key_file),
        ("clickhouse.tls.ca_file", &tls.ca_file),
        ("clickhouse.tls.cert_file", &tls.cert_file),
        ("clickhouse.tls.key_file", &tls.key_file),
        ("telemetry.traces.ca_file", &config.telemetry.traces.ca_file),
        ("telemetry.control.key_file", &config.telemetry.control.key_file),
    ];
    for (path, file) in files {
        if let Some(file) = file.as_ref().filter(|file| !file.is_file()) {
            let message = format!("there is no file {}", file.display());
            found.push(Fault::new(path, message, "check the path, and that the file is mounted"));
        }
    }
}

fn refused_settings(config: &Config, found: &mut Vec<Fault>) {
    for name in config.kafka.client.keys() {
        if let Some((reason, hint)) = kafka::refusal(name) {
            let path = text::join_path(&["kafka".to_owned(), "client".to_owned(), name.clone()]);
            found.push(Fault::new(path, format!("cannot be set: {reason}"), hint));
        }
    }
    for name in config.clickhouse.settings.keys() {
        let refused = address::REFUSED.iter().find(|(refused, ..)| refused == name);
        if let Some((_, reason, hint)) = refused {
            let path = text::join_path(&["clickhouse".to_owned(), "settings".to_owned(), name.clone()]);
            found.push(Fault::new(path, format!("cannot be set: {reason}"), *hint));
        }
    }
}
