//! Any text as configuration file, environment and flags.
//!
//! What must hold: no panic; an error has at least one fault, each with a hint; what is accepted can be shown, and never
//! shows a secret. The input is the file, then a line `--- env` and NAME=VALUE lines, then a line
//! `--- set` and KEY=VALUE lines.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use penstock::config::{Format, Inputs, load};

const ENVIRONMENT: &str = "\n--- env\n";
const FLAGS: &str = "\n--- set\n";
/// Stands in every environment as a password; must never be seen again.
const SECRET: &str = "hunter2-correct-horse";

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = crate::files("docs", ".yaml");
    seeds.extend(crate::files("dev", "demo.yaml"));
    let more = [
        "",
        "kafka: {group: g}\n--- env\nPENSTOCK__KAFKA__BROKERS=a:1,b:2\nPENSTOCK_LOG=debug\n--- set\nbatch.rows_max=5",
        "\n--- env\nCLICKHOUSE_URL=https://u:p@h:8443/db\nCLICKHOUSE_SECURE=1\n--- set\nlimits.topics.\"a.b\"=1",
        "\n--- env\nCLICKHOUSE_HOST=h\nCLICKHOUSE_PORT=1\nCLICKHOUSE_USER=u\nCLICKHOUSE_DATABASE=d",
        "\n--- set\nkafka.brokers[0]=x\nmemory.budget=1TiB\nshutdown.drain=5m\nclickhouse.settings.a=1",
    ];
    seeds.extend(more.map(|text| text.as_bytes().to_vec()));
    seeds
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What would be read or waited for outside is not what is looked for here.
    if text.contains("_file") {
        return;
    }
    let (rest, flags) = text.split_once(FLAGS).unwrap_or((text, ""));
    let (file, environment) = rest.split_once(ENVIRONMENT).unwrap_or((rest, ""));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut environment: Vec<_> = environment.lines().filter_map(pair).collect();
    environment.push(("PENSTOCK__CLICKHOUSE__PASSWORD".to_owned(), SECRET.to_owned()));
    fs::write(path(), file).expect("a file in memory");
    let inputs =
        Inputs { file: Some(path().clone()), environment, flags: flags.lines().map(str::to_owned).collect() };
    match load(&inputs) {
        Ok(loaded) => {
            for shown in [loaded.dump(Format::Yaml), loaded.dump(Format::Json)] {
                assert!(!shown.is_empty() && !shown.contains(SECRET), "a secret is shown");
            }
            assert!(!loaded.fingerprint().is_empty());
        }
        Err(error) => {
            assert!(!error.faults.is_empty(), "an error without a fault");
            assert!(
                error.faults.iter().all(|fault| !fault.hint.is_empty()),
                "a fault without a hint: {error}"
            );
            assert!(!error.to_string().contains(SECRET), "a secret is shown");
        }
    }
}

fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let folder = std::env::var_os("PENSTOCK_FUZZ_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from);
        folder.join("penstock.yaml")
    })
}
