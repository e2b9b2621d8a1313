//! One program for all fuzz targets; PENSTOCK_FUZZ_TARGET names the one that runs.
//!
//! Refuses to know what is fuzzed: each target is a module with `seeds`, which gives inputs made of the
//! repository's own files, and `run`, which panics on a finding. The engine is LLVM's libFuzzer.

#![no_main]

#[path = "../../it/corpus.rs"]
#[allow(dead_code)] // What a case must come to is the integration tests' business.
mod corpus;

mod config;
mod decoder;
mod ledger;
mod table;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

struct Target {
    name: &'static str,
    seeds: fn() -> Vec<Vec<u8>>,
    run: fn(&[u8]),
}

const TARGETS: [Target; 4] = [
    Target { name: "decoder", seeds: decoder::seeds, run: decoder::run },
    Target { name: "table", seeds: table::seeds, run: table::run },
    Target { name: "config", seeds: config::seeds, run: config::run },
    Target { name: "ledger", seeds: ledger::seeds, run: ledger::run },
];

static TARGET: OnceLock<&'static Target> = OnceLock::new();

/// Longer seeds only slow the engine down.
const SEED_BYTES_MAX: usize = 64 << 10;

/// Finds the target, and writes its seeds before the engine looks for them.
fn prepare() {
    let name = std::env::var("PENSTOCK_FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.each_ref().map(|target| target.name).join(", ");
    let found = TARGETS.iter().find(|target| target.name == name);
    let Some(target) = found else { panic!("no fuzz target `{name}`\nhint: it is one of {known}") };
    if let Ok(folder) = std::env::var("PENSTOCK_FUZZ_SEEDS") {
        let seeds = (target.seeds)().into_iter().filter(|seed| seed.len() <= SEED_BYTES_MAX);
        for (number, seed) in seeds.enumerate() {
            fs::write(Path::new(&folder).join(format!("seed-{number:03}")), seed).expect("seeds are written");
        }
    }
    assert!(TARGET.set(target).is_ok(), "prepared once");
}

fuzz_target!(init: prepare(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});

/// The contents of the repository's files below `folder` whose names end like this.
fn files(folder: &str, end: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let (mut found, mut folders) = (Vec::new(), vec![root]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(fs::read(&path).expect("a file of the repository"));
            }
        }
    }
    found
}
