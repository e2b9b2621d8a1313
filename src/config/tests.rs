//! What loading a configuration must hold: layers, faults, secrets, and the documents made from it.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::units::{ByteSize, Secret};

const SECRET: &str = "hunter2-must-not-be-seen";

struct Given {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

fn given(yaml: &str, environment: &[(&str, &str)], flags: &[&str]) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("penstock.yaml");
    fs::write(&file, yaml).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Given { folder, inputs: Inputs { file: Some(file), environment, flags } }
}

fn loaded(yaml: &str, environment: &[(&str, &str)], flags: &[&str]) -> Loaded {
    load(&given(yaml, environment, flags).inputs).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(yaml: &str, environment: &[(&str, &str)], flags: &[&str]) -> Vec<Fault> {
    let error = load(&given(yaml, environment, flags).inputs).err();
    error.map(|error| error.faults).unwrap_or_default()
}

#[test]
fn defaults_are_valid_and_an_empty_file_is_too() {
    for yaml in ["", "kafka:\n", "# nothing\n---\n", "batch: {in_flight_max: 4.0}"] {
        let config = loaded(yaml, &[], &[]).config;
        assert_eq!(config.kafka.group, "penstock");
        assert_eq!(config.memory.budget, ByteSize::mib(512));
    }
    assert!(load(&Inputs::default()).is_ok());
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let file = "kafka: {group: of-file, instance_id: of-file}\n";
    let variable = [("PENSTOCK__KAFKA__GROUP", "of-environment")];
    assert_eq!(loaded("", &[], &[]).config.kafka.group, "penstock");
    assert_eq!(loaded(file, &[], &[]).config.kafka.group, "of-file");
    let config = loaded(file, &variable, &[]).config;
    assert_eq!(
        (config.kafka.group.as_str(), config.kafka.instance_id.as_deref()),
        ("of-environment", Some("of-file"))
    );
    let all = loaded(file, &variable, &["kafka.group=of-flag", "kafka.group=of-last-flag"]);
    assert_eq!(all.config.kafka.group, "of-last-flag");
    assert!(all.dump(Format::Yaml).contains("group: of-last-flag  # flag --set kafka.group"));
    let log = [("PENSTOCK_LOG", "debug")];
    assert_eq!(loaded("telemetry: {log: {level: warn}}", &log, &[]).config.telemetry.log.level, "debug");
}

#[test]
fn text_takes_the_type_of_its_setting() {
    let environment = [
        ("PENSTOCK__KAFKA__BROKERS", "a:1,b:2"),
        ("PENSTOCK__BATCH__IN_FLIGHT_MAX", "2"),
        ("PENSTOCK__CLICKHOUSE__PASSWORD", "12345"),
        ("PENSTOCK__CLICKHOUSE__SETTINGS__max_threads", "4"),
        ("PATH", "/bin"),
        ("PENSTOCK_SERVICE_PORT", "tcp://10.0.0.1:9464"),
    ];
    let flags = ["kafka.client.fetch.min.bytes=100", "limits.topics.\"flights.v1\".records_per_second=7"];
    let config = loaded("clickhouse: {settings: {max_insert_threads: 2}}", &environment, &flags).config;
    assert_eq!(config.kafka.brokers, ["a:1", "b:2"]);
    assert_eq!(config.batch.in_flight_max, 2);
    assert_eq!(config.clickhouse.password.as_ref().map(Secret::expose), Some("12345"));
    assert_eq!(config.clickhouse.settings["max_threads"], "4");
    assert_eq!(config.clickhouse.settings["max_insert_threads"], "2");
    assert_eq!(config.kafka.client["fetch.min.bytes"], "100");
    assert_eq!(config.limits.topics["flights.v1"].records_per_second, 7);
}

#[test]
fn the_plain_variables_of_clickhouse_are_honoured() {
    let parts = [
        ("CLICKHOUSE_HOST", "ch"),
        ("CLICKHOUSE_PORT", "18123"),
        ("CLICKHOUSE_USERNAME", "alice"),
        ("CLICKHOUSE_PASSWORD", SECRET),
        ("CLICKHOUSE_DATABASE", "events"),
    ];
    let yaml = "clickhouse: {endpoints: ['http://other:8123'], user: bob}";
    let clickhouse = loaded(yaml, &parts, &[]).config.clickhouse;
    assert_eq!(clickhouse.endpoints, ["http://ch:18123"]);
    assert_eq!((clickhouse.user.as_str(), clickhouse.database.as_str()), ("alice", "events"));
    assert_eq!(clickhouse.password.as_ref().map(Secret::expose), Some(SECRET));

    let endpoint = |environment: &[(&str, &str)]| loaded("", environment, &[]).config.clickhouse.endpoints;
    let secure = [("CLICKHOUSE_HOST", "ch"), ("CLICKHOUSE_SECURE", "true")];
    assert_eq!(endpoint(&secure), ["https://ch:8443"]);
    // What Kubernetes sets for a service of that name is no port.
    assert_eq!(endpoint(&[("CLICKHOUSE_PORT", "tcp://10.0.0.1:8123")]), ["http://localhost:8123"]);
    let url = ("CLICKHOUSE_URL", "https://carol:pw@ch:8443/flights");
    let clickhouse = loaded("", &[url, ("CLICKHOUSE_USERNAME", "alice")], &[]).config.clickhouse;
    assert_eq!(clickhouse.endpoints, ["https://ch:8443"]);
    assert_eq!((clickhouse.user.as_str(), clickhouse.database.as_str()), ("alice", "flights"));
    let own = [url, ("PENSTOCK__CLICKHOUSE__ENDPOINTS", "http://own:8123")];
    assert_eq!(endpoint(&own), ["http://own:8123"]);
}

#[test]
fn every_fault_is_told_at_once_with_path_origin_and_hint() {
    let yaml = "
kafka:
  brokrs: [a:1]
  group: ''
  consumers: 0
  start: earlyest
  client: {enable.auto.commit: true}
clickhouse:
  endpoints: ['http://u:hunter2-must-not-be-seen@h:8123', 'tcp://h:9000']
  insert_timeout: 60
batch: {bytes_max: 64 megs, rows_max: many}
delivery: exactly_twice
limits: {topics: {flights: {}}}
rows_max: 3
dead_letter: {topic: '{topic}'}
";
    let expected = [
        ("kafka.brokrs", "did you mean `kafka.brokers`?"),
        ("kafka.group", "name the consumer group"),
        ("kafka.consumers", "from 1 to 256"),
        ("kafka.start", "did you mean `earliest`?"),
        ("kafka.client.\"enable.auto.commit\"", "kafka.commit_interval"),
        ("clickhouse.endpoints[0]", "clickhouse.password_file"),
        ("clickhouse.endpoints[1]", "HTTP interface"),
        ("clickhouse.insert_timeout", "with its unit"),
        ("batch.bytes_max", "64MiB"),
        ("batch.rows_max", "a whole number"),
        ("delivery", "did you mean `exactly_once`?"),
        ("limits.topics.flights.records_per_second", "add `records_per_second`"),
        ("rows_max", "did you mean `batch.rows_max`?"),
        ("dead_letter.topic", "{topic}.dead"),
    ];
    let found = faults(yaml, &[], &[]);
    for (path, hint) in expected {
        let matching: Vec<_> = found.iter().filter(|fault| fault.path == path).collect();
        assert_eq!(matching.len(), 1, "{path} in {found:#?}");
        assert!(matching[0].hint.contains(hint), "{path}: {}", matching[0]);
        assert!(
            matching[0].origin.as_ref().is_some_and(|o| o.starts_with("file ")),
            "{path}: {}",
            matching[0]
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let typo = faults("", &[("PENSTOCK__KAFAK__GROUP", "x"), ("PENSTOCK__BATCH", SECRET)], &[]);
    assert_eq!(typo.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(), ["batch", "kafak"]);
    assert_eq!(typo[1].origin.as_deref(), Some("environment variable PENSTOCK__KAFAK__GROUP"));
    assert!(typo[1].hint.contains("`kafka`") && !format!("{typo:?}").contains(SECRET), "{typo:#?}");
    let printed = Error { faults: found }.to_string();
    assert!(printed.starts_with("the configuration has 14 faults") && !printed.contains(SECRET), "{printed}");
}

#[test]
fn faults_between_fields() {
    let cases: [(&str, &[&str]); 21] = [
        ("kafka.brokers", &["kafka.brokers=[]"]),
        ("kafka.brokers[0]", &["kafka.brokers=kafka://a:9092"]),
        ("clickhouse.endpoints", &["clickhouse.endpoints="]),
        ("clickhouse.endpoints[1]", &["clickhouse.endpoints=http://a:1,http://a:1"]),
        ("memory.budget", &["memory.budget=100MiB", "decode.record_bytes_max=1MiB"]),
        ("shutdown.drain", &["shutdown.drain=0s"]),
        ("kafka.session_timeout", &["kafka.session_timeout=1s"]),
        ("kafka.prefetch", &["kafka.prefetch=1MiB"]),
        ("kafka.fetch_bytes_max", &["kafka.fetch_bytes_max=999999"]),
        (
            "kafka.fetch_bytes_max",
            &["kafka.fetch_bytes_max=1GiB", "kafka.prefetch=8GiB", "memory.budget=9GiB"],
        ),
        ("clickhouse.tls", &["clickhouse.tls.ca_file=Cargo.toml"]),
        ("kafka.security.ca_file", &["kafka.security.ca_file=/no/such", "kafka.security.protocol=ssl"]),
        ("kafka.security.protocol", &["kafka.security.username=u"]),
        ("clickhouse.settings.async_insert", &["clickhouse.settings.async_insert=1"]),
        ("dead_letter.topic", &["dead_letter.topic=a b"]),
        ("lifecycle.holds_table", &["lifecycle.holds_table="]),
        ("lifecycle.erasures_table", &["lifecycle.erasures_table=penstock_holds"]),
        ("lifecycle.timeout", &["lifecycle.timeout=0s"]),
        ("admin.backup.timeout", &["admin.backup.timeout=0s"]),
        ("telemetry.listen", &["telemetry.listen=9464"]),
        ("telemetry.log.level", &["telemetry.log.level=penstock=loud"]),
    ];
    for (path, flags) in cases {
        let found = faults("", &[], flags);
        let paths: Vec<_> = found.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, [path], "{found:#?}");
        assert!(!found[0].hint.is_empty());
    }
    let records = faults("kafka: {client: {message.max.bytes: \"20000000\"}}", &[], &[]);
    let paths: Vec<_> = records.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["kafka.fetch_bytes_max", "kafka.prefetch"], "{records:#?}");
    let config = Config::default();
    assert!(check_sources(&config, ["a", "b"]).is_empty());
    assert_eq!(check_sources(&config, ["a", "a.dead"])[0].path, "dead_letter.topic");
}

#[test]
fn a_file_that_cannot_be_used_is_one_fault_among_others() {
    let missing = Inputs { file: Some(PathBuf::from("/no/such.yaml")), ..Inputs::default() };
    let error = load(&missing).unwrap_err();
    assert!(error.to_string().contains("/no/such.yaml") && error.to_string().contains("hint: "), "{error}");
    for yaml in
        ["clickhouse:\n  password: hunter2-must-not-be-seen\n bad: [", "- a\n", "a: 1\na: 2\n", "kafka: {"]
    {
        let found = faults(yaml, &[], &["kafka.grup=x", "nonsense"]);
        assert_eq!(found.len(), 3, "{yaml}: {found:#?}");
        assert!(!format!("{found:?}").contains(SECRET), "{found:#?}");
    }
}

#[test]
fn secrets_are_read_from_files_and_never_shown() {
    let case = given("", &[("PENSTOCK__CLICKHOUSE__PASSWORD", SECRET)], &[]);
    let file = case.folder.path().join("password");
    fs::write(&file, format!("{SECRET}-of-file\n")).unwrap();
    let mut inputs = case.inputs.clone();
    let named = format!("kafka.security.password_file={}", file.display());
    inputs.flags = vec![
        named,
        "kafka.security.protocol=sasl_plaintext".to_owned(),
        "kafka.security.username=u".to_owned(),
        format!("kafka.security.key_password={SECRET}"),
    ];
    let loaded = load(&inputs).unwrap_or_else(|error| panic!("{error}"));
    let read = loaded.config.kafka.security.password.as_ref().map(Secret::expose);
    assert_eq!(read, Some(format!("{SECRET}-of-file").as_str()));
    let shown = [
        loaded.dump(Format::Yaml),
        loaded.dump(Format::Json),
        format!("{:?}", loaded.config),
        format!("{loaded:?}"),
    ];
    for text in shown {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(loaded.dump(Format::Yaml).contains("password: \"<redacted>\"  # environment variable"));

    inputs.flags.push(format!("kafka.security.password={SECRET}"));
    inputs.flags.push(format!("clickhouse.password_file={}", case.folder.path().join("none").display()));
    inputs.flags.push(format!("clickhouse.pasword={SECRET}"));
    inputs.flags.push(format!("kafka.start={SECRET}-and-a-tail-that-is-long-enough"));
    inputs.environment.push(("CLICKHOUSE_URL".to_owned(), format!("tcp://u:{SECRET}@h")));
    let error = load(&inputs).unwrap_err();
    assert!(error.faults.len() >= 6, "{error}");
    assert!(!error.to_string().contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error}");
}

#[test]
fn a_dump_reads_back_to_the_same() {
    let flags = ["kafka.group=12", "kafka.instance_id=yes", "limits.topics.\"a.b\".records_per_second=5"];
    let first = loaded("kafka: {client: {debug: 'a: # \"b\"'}}", &[], &flags);
    let second = loaded(&first.dump(Format::Yaml), &[], &[]);
    let yaml = first.dump(Format::Yaml);
    assert!(yaml.contains("  group: \"12\"  # flag --set kafka.group\n"), "{yaml}");
    assert!(yaml.contains("  session_timeout: 45s\n"), "defaults have no origin: {yaml}");
    assert_eq!(first.dump(Format::Json), second.dump(Format::Json));
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_ne!(first.fingerprint(), loaded("", &[], &[]).fingerprint());
}

#[test]
fn every_setting_is_described() {
    fn walk(path: &str, shape: &serde_json::Value) {
        for (name, shape) in shape::properties(shape) {
            let path = format!("{path}.{name}");
            let described =
                shape.get("description").is_some_and(|text| text.as_str().is_some_and(|t| !t.is_empty()));
            assert!(described || !shape::explained_choices(shape).is_empty(), "{path} has no doc comment");
            walk(&path, shape);
        }
    }
    walk("", &json_schema());
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_reference_is_up_to_date() {
    let path = repository("docs/configuration.md");
    // Asked for by a person who changed a setting; never by the test suite.
    #[allow(clippy::disallowed_methods)]
    let regenerate = std::env::var("PENSTOCK_REGENERATE").is_ok();
    if regenerate {
        fs::write(&path, reference()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let how = "run PENSTOCK_REGENERATE=1 cargo test --lib config::";
    assert!(written == reference(), "docs/configuration.md is not what the settings say: {how}");
}

#[test]
fn the_example_is_valid_and_shows_every_section() {
    let example = fs::read_to_string(repository("docs/penstock.example.yaml")).unwrap();
    loaded(&example, &[], &[]);
    // Faults are for tests; nobody is to set them because an example does.
    for (section, _) in shape::properties(&json_schema()).filter(|(name, _)| *name != "faults") {
        assert!(example.lines().any(|line| line.starts_with(&format!("{section}:"))), "{section}");
    }
}

#[test]
fn exactly_once_wants_a_lease_that_is_long_enough_and_no_static_member() {
    let yaml = "{delivery: exactly_once, exactly_once: {lease: 50s}}";
    let found = faults(yaml, &[], &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].path, "exactly_once.lease");
    loaded("{delivery: exactly_once, exactly_once: {lease: 60s}}", &[], &[]);
    loaded("{exactly_once: {lease: 50s}}", &[], &[]);
    let found = faults("{delivery: exactly_once, kafka: {instance_id: one}}", &[], &[]);
    assert_eq!(found[0].path, "kafka.instance_id");
}

#[test]
fn schedules_that_make_no_sense_are_told_with_their_place() {
    let good = "admin: {schedules: [{name: a-1, what: 'table optimize x y', when: '15 3 * * 1-5', timezone: Europe/Berlin},\
                {name: b, what: audit verify, every: 1h, catch_up: true}]}";
    let config = loaded(good, &[], &[]).config;
    assert_eq!(
        (config.admin.schedules.len(), config.admin.schedules[1].late_max),
        (2, crate::units::Span::secs(300))
    );
    let fault = |schedule: &str| {
        let all = faults(&format!("admin: {{schedules: [{schedule}]}}"), &[], &[]);
        assert!(all.len() == 1 && !all[0].hint.is_empty(), "{schedule}: {all:?}");
        all[0].path.clone()
    };
    for (schedule, path) in [
        ("{name: 'a b', what: audit verify, every: 1h}", "admin.schedules[0].name"),
        ("{name: a, what: drop everything, every: 1h}", "admin.schedules[0].what"),
        ("{name: a, what: audit verify}", "admin.schedules[0].every"),
        ("{name: a, what: audit verify, every: 500ms}", "admin.schedules[0].every"),
        ("{name: a, what: audit verify, when: '* * *'}", "admin.schedules[0].when"),
        ("{name: a, what: audit verify, when: '* * * * *', timezone: Mars}", "admin.schedules[0].timezone"),
        (
            "{name: a, what: audit verify, every: 1h}, {name: a, what: migrate drift, every: 1h}",
            "admin.schedules[1].name",
        ),
    ] {
        assert_eq!(fault(schedule), path, "{schedule}");
    }
    let of = |yaml: &str| faults(yaml, &[], &[]).into_iter().map(|fault| fault.path).collect::<Vec<_>>();
    assert_eq!(of("admin: {leader: {session_timeout: 10m}}"), ["admin.leader.session_timeout"]);
    assert_eq!(of("admin: {leader: {name: 'a/b'}}"), ["admin.leader.name"]);
    assert_eq!(
        of("admin: {health: {webhook: {url: 'https://a.example/'}}}"),
        ["admin.health.webhook.key_file"]
    );
}
