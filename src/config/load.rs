//! Brings the layers together: defaults < file < environment < flags, each value with its origin.
//!
//! Refuses to read the process's environment itself: it is handed in. Reads nothing but the file of
//! the configuration and the files that secrets lie in, each bounded in size.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use config::{Map, Source, Value as Node, ValueKind};
use secrecy::zeroize::Zeroizing;
use serde_json::Value;

use super::{Config, Error, Fault, Loaded, faults, shape, text, validate};
use crate::clickhouse::address::Dsn;
use crate::crypt;
use crate::units::Secret;

const FILE_BYTES_MAX: u64 = 4 << 20;
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Two underscores separate levels; one belongs to the key.
const PREFIX: &str = "PENSTOCK__";

/// What a configuration is made of.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The file, in YAML; defaults alone without it.
    pub file: Option<PathBuf>,
    /// The environment; only variables of ours are looked at.
    pub environment: Vec<(String, String)>,
    /// `key=value` with dots between the levels of the key.
    pub flags: Vec<String>,
}

/// Where each value was set, by its path. Holds no values, since those may be secrets.
pub type Origins = BTreeMap<String, String>;

/// Reads, joins and checks. Every fault that can be found is in the error.
pub fn load(inputs: &Inputs) -> Result<Loaded, Error> {
    let schema = super::json_schema();
    let mut found = Vec::new();
    // What is set for every process of a machine or a pod stands below what is set for penstock.
    let mut layers = opentelemetry_variables(&inputs.environment);
    if let Some(path) = &inputs.file {
        layers.extend(file_layer(&schema, path).map_err(|fault| found.push(fault)).ok());
    }
    layers.extend(plain_variables(&inputs.environment, &mut found));
    layers.extend(own_variables(&schema, &inputs.environment));
    layers.extend(flags(&schema, &inputs.flags, &mut found));

    let mut origins = Origins::new();
    layers.iter().for_each(|layer| note_origins(&mut origins, &mut Vec::new(), &layer.0));
    let builder =
        layers.into_iter().fold(config::Config::builder(), |builder, layer| builder.add_source(layer));
    // Sources that lie in memory cannot fail; were there none at all, there is no root either.
    let joined = builder.build().ok().and_then(|joined| joined.cache.into_table().ok()?.remove(ROOT));
    let empty = || Node::new(None, ValueKind::Table(Map::new()));
    let mut document = to_json(&joined.unwrap_or_else(empty));
    let structural = faults::structural(&schema, &document);
    for fault in structural {
        remove(&mut document, &fault.keys);
        found.push(fault.fault);
    }
    // What is left is read all the same, so that faults between fields are told in the same breath.
    let config = serde_json::from_value::<Config>(document).map_err(|_| {
        // The error is not shown, because it quotes the value.
        let hint = "look for numbers that are too large, and compare with `penstock config schema`";
        found.push(Fault::new("", "a value does not fit its setting", hint));
    });
    let Ok(mut config) = config else { return Err(with_origins(found, &origins)) };
    found.extend(validate::check(&config));
    found.extend(read_secrets(&mut config));
    match found.is_empty() {
        true => Ok(Loaded { config, origins }),
        false => Err(with_origins(found, &origins)),
    }
}

fn with_origins(mut faults: Vec<Fault>, origins: &Origins) -> Error {
    for fault in &mut faults {
        let origin = origin(origins, &text::split_path(&fault.path));
        fault.origin = fault.origin.take().or(origin);
    }
    Error { faults }
}

/// Where the value at the path was set, or the nearest one above it.
fn origin(origins: &Origins, keys: &[String]) -> Option<String> {
    let above = (1..=keys.len()).rev().filter_map(|length| keys.get(..length));
    above.map(text::join_path).find_map(|path| origins.get(&path).cloned())
}

/// Later layers win; a section that several layers add to keeps its first origin.
fn note_origins(origins: &mut Origins, keys: &mut Vec<String>, node: &Node) {
    let entries: Vec<(String, &Node)> = match &node.kind {
        ValueKind::Table(entries) => entries.iter().map(|(key, below)| (key.clone(), below)).collect(),
        ValueKind::Array(items) => {
            items.iter().enumerate().map(|(i, below)| (i.to_string(), below)).collect()
        }
        _ => Vec::new(),
    };
    let path = text::join_path(keys);
    let is_section = matches!(node.kind, ValueKind::Table(_));
    match node.origin().filter(|_| !(is_section && origins.contains_key(&path))) {
        Some(origin) if !path.is_empty() => drop(origins.insert(path, origin.to_owned())),
        _ => {}
    }
    for (key, below) in entries {
        keys.push(key);
        note_origins(origins, keys, below);
        keys.pop();
    }
}

/// The `config` crate reads a source's own keys as paths, in which dots and brackets mean something,
/// but not the keys below. So everything lies below one key.
const ROOT: &str = "root";

/// One source of values for the `config` crate.
#[derive(Clone, Debug)]
struct Layer(Node);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Node>, config::ConfigError> {
        Ok(Map::from_iter([(ROOT.to_owned(), self.0.clone())]))
    }
}

fn file_layer(schema: &Value, path: &Path) -> Result<Layer, Fault> {
    let origin = format!("file {}", path.display());
    let fault =
        |message: String, hint: &str| Fault { origin: Some(origin.clone()), ..Fault::new("", message, hint) };
    let written = read_bounded(path, FILE_BYTES_MAX).map_err(|error| {
        fault(format!("the file cannot be read: {error}"), "check --config and PENSTOCK_CONFIG")
    })?;
    let mut options = serde_saphyr::Options::default();
    // The lines around a mistake may hold a password.
    options.with_snippet = false;
    let parsed: Option<Value> = serde_saphyr::from_str_with_options(&written, options).map_err(|error| {
        let place = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
        let message = format!("the file cannot be read as YAML{}", place.unwrap_or_default());
        fault(message, "check the indentation, the quotes and that no key is there twice")
    })?;
    let mut parsed = parsed.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    if !parsed.is_object() {
        return Err(fault("the file is not a mapping".to_owned(), "begin with a section such as `kafka:`"));
    }
    text::normalize(schema, &mut parsed);
    Ok(Layer(to_node(&parsed, &origin)))
}

fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut written = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut written)?;
    match u64::try_from(written.len()).is_ok_and(|bytes| bytes <= bytes_max) {
        true => Ok(written),
        false => Err(io::Error::other(format!("it is larger than {bytes_max} bytes"))),
    }
}

/// `PENSTOCK__KAFKA__GROUP` and the like, and `PENSTOCK_LOG`.
fn own_variables(schema: &Value, environment: &[(String, String)]) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (name, written) in environment {
        let keys = match (name.strip_prefix(PREFIX), name.as_str()) {
            (Some(name), _) => text::split_variable(schema, name),
            (None, "PENSTOCK_LOG") => text::split_path("telemetry.log.level"),
            _ => continue,
        };
        let value = text::convert(shape::at(schema, &keys), written);
        layers.push(nested(&keys, &value, &variable(name)));
    }
    layers
}

/// The variables that ClickHouse's own tools and images read. The address in parts goes before the DSN.
fn plain_variables(environment: &[(String, String)], found: &mut Vec<Fault>) -> Vec<Layer> {
    let get = |wanted: &str| {
        let value = environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    };
    let mut layers = Vec::new();
    let mut set = |keys: [&str; 2], value: Value, name: &str| {
        layers.push(nested(&keys.map(str::to_owned), &value, &variable(name)));
    };
    if let Some(dsn) = get("CLICKHOUSE_URL") {
        match Dsn::parse(dsn) {
            Ok(dsn) => {
                set(["clickhouse", "endpoints"], vec![dsn.endpoint].into(), "CLICKHOUSE_URL");
                let password = dsn.password.map(|password| password.expose().to_owned());
                for (key, value) in [("user", dsn.user), ("password", password), ("database", dsn.database)] {
                    value
                        .into_iter()
                        .for_each(|value| set(["clickhouse", key], value.into(), "CLICKHOUSE_URL"));
                }
            }
            Err(error) => {
                let error = error.to_string();
                let (message, hint) = error.split_once("\nhint: ").unwrap_or((&error, ""));
                let fault = Fault::new("clickhouse.endpoints", message, hint);
                found.push(Fault { origin: Some(variable("CLICKHOUSE_URL")), ..fault });
            }
        }
    }
    // A Kubernetes service called clickhouse sets CLICKHOUSE_PORT to tcp://…, which is not meant for us.
    let port = get("CLICKHOUSE_PORT").filter(|port| !port.contains("://"));
    let secure =
        get("CLICKHOUSE_SECURE").is_some_and(|flag| matches!(flag, "1" | "true" | "True" | "yes" | "on"));
    let host = get("CLICKHOUSE_HOST");
    if host.is_some() || port.is_some() {
        let (scheme, usual_port) = if secure { ("https", "8443") } else { ("http", "8123") };
        let endpoint = format!("{scheme}://{}:{}", host.unwrap_or("localhost"), port.unwrap_or(usual_port));
        let name = if host.is_some() { "CLICKHOUSE_HOST" } else { "CLICKHOUSE_PORT" };
        set(["clickhouse", "endpoints"], vec![endpoint].into(), name);
    }
    let others = [
        ("user", "CLICKHOUSE_USER"),
        ("user", "CLICKHOUSE_USERNAME"),
        ("password", "CLICKHOUSE_PASSWORD"),
        ("database", "CLICKHOUSE_DATABASE"),
    ];
    for (key, name) in others {
        get(name).into_iter().for_each(|value| set(["clickhouse", key], value.into(), name));
    }
    layers
}

/// What OpenTelemetry's own specification calls a process by, beside what `telemetry.traces.resource` says.
fn opentelemetry_variables(environment: &[(String, String)]) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut set = |key: &str, value: &str, name: &str| {
        let keys = ["telemetry", "traces", "resource", key].map(str::to_owned);
        layers.push(nested(&keys, &Value::from(value), &variable(name)));
    };
    let get = |wanted: &str| environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    for pair in get("OTEL_RESOURCE_ATTRIBUTES").iter().flat_map(|text| text.split(',')) {
        // A pair that is none is left out, as the specification has it.
        if let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.trim().is_empty()) {
            let value = percent_decoded(value.trim());
            set(key.trim(), &value, "OTEL_RESOURCE_ATTRIBUTES");
        }
    }
    if let Some(name) = get("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()) {
        set("service.name", name, "OTEL_SERVICE_NAME");
    }
    layers
}

fn percent_decoded(text: &str) -> String {
    // In a form a plus would be a space and an ampersand an end; here they are what they are.
    let form = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(form.as_bytes()).next().map_or_else(String::new, |(_, value)| value.into_owned())
}

fn variable(name: &str) -> String {
    format!("environment variable {name}")
}

fn flags(schema: &Value, flags: &[String], found: &mut Vec<Fault>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for flag in flags {
        let Some((path, written)) = flag.split_once('=').filter(|(path, _)| !path.trim().is_empty()) else {
            // The whole may be a secret whose key was forgotten, so it is not shown.
            let hint = "write --set key=value, such as --set kafka.group=events";
            found.push(Fault::new("", "a --set without a key and `=`", hint));
            continue;
        };
        let keys = text::join_free_keys(schema, text::split_path(path.trim()));
        let value = text::convert(shape::at(schema, &keys), written);
        layers.push(nested(&keys, &value, &format!("flag --set {}", path.trim())));
    }
    layers
}

fn nested(keys: &[String], value: &Value, origin: &str) -> Layer {
    let wrap = |inner: Node, key: &String| {
        let entries = Map::from_iter([(key.clone(), inner)]);
        Node::new(Some(&origin.to_owned()), ValueKind::Table(entries))
    };
    Layer(keys.iter().rev().fold(to_node(value, origin), wrap))
}

fn to_node(value: &Value, origin: &str) -> Node {
    let kind = match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(flag) => ValueKind::Boolean(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::U64(number),
            _ => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(items) => ValueKind::Array(items.iter().map(|item| to_node(item, origin)).collect()),
        Value::Object(entries) => ValueKind::Table(
            entries.iter().map(|(key, value)| (key.clone(), to_node(value, origin))).collect(),
        ),
    };
    Node::new(Some(&origin.to_owned()), kind)
}

fn to_json(node: &Node) -> Value {
    match &node.kind {
        ValueKind::Boolean(flag) => Value::Bool(*flag),
        ValueKind::I64(number) => Value::from(*number),
        ValueKind::U64(number) => Value::from(*number),
        // A whole number is one, however it is written.
        ValueKind::Float(number) if number.fract() == 0.0 => {
            format!("{number:.0}").parse::<i64>().map_or(Value::from(*number), Value::from)
        }
        ValueKind::Float(number) => Value::from(*number),
        ValueKind::String(text) => Value::String(text.clone()),
        ValueKind::Array(items) => items.iter().map(to_json).collect(),
        ValueKind::Table(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            sorted.into_iter().map(|(key, value)| (key.clone(), to_json(value))).collect()
        }
        ValueKind::Nil | ValueKind::I128(_) | ValueKind::U128(_) => Value::Null,
    }
}

/// Takes the value at the path out; a list goes as a whole, because an element cannot be missed.
fn remove(document: &mut Value, keys: &[String]) {
    let Some((last, parents)) = keys.split_last() else {
        *document = Value::Object(serde_json::Map::new());
        return;
    };
    let mut value = &mut *document;
    for (depth, key) in parents.iter().enumerate() {
        match value.get_mut(key) {
            Some(Value::Array(_)) => return remove(document, keys.get(..=depth).unwrap_or_default()),
            Some(below) => value = below,
            None => return,
        }
    }
    if let Some(entries) = value.as_object_mut() {
        entries.remove(last);
    }
}

/// Reads what the `…_file` settings of secrets point to.
fn read_secrets(config: &mut Config) -> Vec<Fault> {
    let crypt = &config.crypt;
    let security = &mut config.kafka.security;
    let clickhouse = &mut config.clickhouse;
    let secrets = [
        ("kafka.security.password_file", &security.password_file, &mut security.password),
        ("clickhouse.password_file", &clickhouse.password_file, &mut clickhouse.password),
    ];
    let mut found = Vec::new();
    for (path, file, secret) in secrets {
        let Some(file) = file else { continue };
        let hint = "the file must exist, be readable and hold the password and nothing else";
        let read = read_bounded(file, SECRET_BYTES_MAX).map(Zeroizing::new);
        let opened = read.and_then(|text| opened(crypt, path, &text));
        match opened {
            Ok(text) if text.trim_end().is_empty() => {
                found.push(Fault::new(path, format!("{} is empty", file.display()), hint));
            }
            Ok(text) => *secret = Some(Secret::new(text.trim_end())),
            Err(error) => {
                let told = error.to_string();
                let (why, hint) = told.split_once("\nhint: ").unwrap_or((told.as_str(), hint));
                found.push(Fault::new(path, format!("{} cannot be read: {why}", file.display()), hint));
            }
        }
    }
    found
}

/// What is in the envelope, if the file is one. It is made for the setting that names the file.
fn opened(crypt: &crypt::Config, path: &str, text: &str) -> io::Result<Zeroizing<String>> {
    let content = Zeroizing::new(text.as_bytes().to_vec());
    let content = crypt::open_secret(crypt, path, content).map_err(io::Error::other)?;
    let text = std::str::from_utf8(&content).map_err(io::Error::other)?;
    Ok(Zeroizing::new(text.to_owned()))
}
