//! The house rules as tests: size of files and functions, first lines, imports between modules.
//!
//! Nesting, panics and printing are the compiler's and clippy's (see `[lints]` in Cargo.toml); here is what
//! they cannot see. The rules stand in ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Who may import whom among the crate's top modules. What is missing here may import nothing.
const EDGES: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("units", &[]),
    ("faults", &[]),
    ("crypt", &["units"]),
    ("tls", &[]),
    ("telemetry", &["tls", "units", "record"]),
    ("schema", &["crypt", "units", "record", "telemetry"]),
    ("columns", &["schema", "record", "units", "telemetry"]),
    ("decode", &["schema", "columns", "crypt", "record", "units", "telemetry"]),
    ("batch", &["columns", "record", "units", "telemetry"]),
    ("kafka", &["faults", "record", "units", "telemetry"]),
    ("clickhouse", &["faults", "record", "tls", "units", "telemetry"]),
    ("delivery", &["record", "units", "telemetry"]),
    ("dead_letter", &["kafka", "clickhouse", "faults", "record", "units", "telemetry"]),
    (
        "audit",
        &[
            "kafka",
            "decode",
            "columns",
            "clickhouse",
            "delivery",
            "dead_letter",
            "schema",
            "record",
            "units",
            "telemetry",
        ],
    ),
    (
        "pipeline",
        &[
            "audit",
            "kafka",
            "decode",
            "columns",
            "batch",
            "clickhouse",
            "delivery",
            "dead_letter",
            "schema",
            "faults",
            "record",
            "units",
            "telemetry",
        ],
    ),
    // Kafka for choosing a leader and for dead letters, never for the offsets of the line.
    (
        "admin",
        &[
            "kafka",
            "clickhouse",
            "dead_letter",
            "schema",
            "crypt",
            "faults",
            "record",
            "tls",
            "units",
            "telemetry",
        ],
    ),
    ("generate", &["kafka", "clickhouse", "record", "units", "telemetry"]),
    (
        "config",
        &[
            "admin",
            "audit",
            "pipeline",
            "kafka",
            "decode",
            "batch",
            "clickhouse",
            "dead_letter",
            "crypt",
            "faults",
            "telemetry",
            "units",
        ],
    ),
    ("capacity", &[]),
    (
        "app",
        &[
            "capacity",
            "config",
            "admin",
            "pipeline",
            "audit",
            "generate",
            "kafka",
            "decode",
            "columns",
            "batch",
            "clickhouse",
            "delivery",
            "dead_letter",
            "schema",
            "crypt",
            "faults",
            "record",
            "units",
            "telemetry",
        ],
    ),
    ("cli", &["app", "audit", "config", "generate", "pipeline", "schema", "units", "telemetry"]),
    ("main", &["cli"]),
];

/// Outside crates that may be named in one place only.
const CRATES: &[(&str, &[&str])] = &[
    ("rdkafka", &["kafka"]),
    ("hyper", &["clickhouse"]),
    ("axum", &["telemetry", "admin"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_proto", &["telemetry"]),
    ("anyhow", &["main", "cli", "app"]),
    ("ratatui", &["cli"]),
];

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut files, mut folders) = (Vec::new(), vec![root]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty(), "no sources under {folder}");
    files
}

/// The lines before the tests.
fn production(text: &str) -> Vec<&str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").collect()
}

fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "fake")
}

fn refuse(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// `src/kafka/client.rs` → `kafka`, `src/main.rs` → `main`.
fn module(path: &Path) -> String {
    let name = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    name.trim_end_matches(".rs").to_owned()
}

#[test]
fn files_open_with_their_purpose_and_stay_small() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for (path, text) in sources(folder) {
            let shown = path.display();
            if !text.starts_with("//!") {
                faults.push(format!("{shown}: does not open with `//!`"));
            }
            let lines = production(&text).len();
            if folder == "src" && !is_test_file(&path) && FILE_LINES_MAX < lines {
                faults.push(format!("{shown}: {lines} production lines, at most {FILE_LINES_MAX}"));
            }
        }
    }
    refuse(&faults);
}

#[test]
fn functions_stay_small() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let lines = production(&text);
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start().trim_start_matches("pub").trim_start_matches("(crate)");
            let head = head.trim_start_matches("(super)").trim_start();
            let head = head.trim_start_matches("const ").trim_start_matches("async ");
            if !head.starts_with("fn ") {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|l| *l == close).map_or(0, |n| n + 1);
            if FUNCTION_LINES_MAX < length {
                faults.push(format!(
                    "{}:{}: {length} lines, at most {FUNCTION_LINES_MAX}",
                    path.display(),
                    start + 1
                ));
            }
        }
    }
    // The one list that names every metric.
    faults.retain(|fault| !fault.starts_with("src/telemetry/metrics.rs"));
    refuse(&faults);
}

/// The modules named after `crate::`, alone or in braces.
fn targets(after: &str) -> Vec<String> {
    let list = after.strip_prefix('{').map_or(after, |rest| rest.split('}').next().unwrap_or(rest));
    let parts: Vec<&str> = if list.len() < after.len() { list.split(',').collect() } else { vec![after] };
    let name = |part: &str| part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    parts.into_iter().map(name).filter(|name: &String| !name.is_empty()).collect()
}

#[test]
fn modules_import_downward_only() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let module = module(&path);
        if module == "lib" || is_test_file(&path) {
            continue;
        }
        for (number, line) in production(&text).iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for after in code.split("crate::").skip(1) {
                for target in targets(after) {
                    let may = allowed.get(module.as_str()).is_some_and(|all| all.contains(&target.as_str()));
                    if target != module && !may {
                        faults.push(format!("{}:{}: {module} imports {target}", path.display(), number + 1));
                    }
                }
            }
            for (name, homes) in CRATES {
                let used = code.contains(&format!("{name}::")) || code.contains(&format!("use {name};"));
                if used && !homes.contains(&module.as_str()) {
                    faults.push(format!(
                        "{}:{}: {name} is used outside {homes:?}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    refuse(&faults);
}

#[test]
fn unsafe_code_has_one_home() {
    let (allowed, used) = (["unsafe_", "code"].concat(), ["unsafe", " {"].concat());
    let mut homes: Vec<_> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(sources)
        .filter(|(_, text)| text.contains(&allowed) || text.contains(&used))
        .map(|(path, _)| path)
        .filter(|path| path != Path::new("tests/it/tidy.rs"))
        .collect();
    homes.sort();
    // The module is allowed it where it is declared.
    assert_eq!(homes, [Path::new("src/kafka/mod.rs"), Path::new("src/kafka/native.rs")]);
}

#[test]
fn the_example_of_the_readme_compiles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let (example, readme) = (read("tests/it/example.rs"), read("README.md"));
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(
        readme.contains(&format!("```rust\n{code}```")),
        "README.md has another example than tests/it/example.rs"
    );
}

#[test]
fn nothing_is_left_for_later() {
    let mut faults = Vec::new();
    let words = [
        ["to", "do!"],
        ["unimple", "mented!"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["#[ig", "nore"],
        ["should_", "panic"],
    ];
    for folder in ["src", "tests", "benches"] {
        for (path, text) in sources(folder) {
            for (number, line) in text.lines().enumerate() {
                if let Some(word) = words.iter().map(|w| w.concat()).find(|word| line.contains(word.as_str()))
                {
                    faults.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    refuse(&faults);
}
