//! What is kept of a run that failed: every log, the list of faults, and what the servers can tell.
//!
//! It refuses to judge, and to change anything.

use std::path::PathBuf;
use std::process::Command;
use std::sync::PoisonError;

use crate::world::{Server, World};

impl World {
    /// Keeps every log and the list of faults where a person finds them.
    pub fn keep_evidence(&self) -> PathBuf {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.dev/logs"))
            .join(format!("chaos-{}-{}", self.seed, self.database));
        std::fs::create_dir_all(&folder).expect("a folder for the logs");
        for (name, log) in self.logs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            std::fs::write(folder.join(name), log).expect("a log");
        }
        std::fs::write(folder.join("faults"), self.story()).expect("the list of faults");
        for (number, server) in self.servers.iter().enumerate() {
            for (name, sql) in evidence(&self.database) {
                let told = server.client().try_query(&sql).unwrap_or_else(|error| error);
                std::fs::write(folder.join(format!("server-{number}-{name}.tsv")), told).expect("a table");
            }
        }
        let run = concat!(env!("CARGO_MANIFEST_DIR"), "/.dev/run");
        let mut sets = vec![self.kafka.set_name()];
        if let Server::Private(server) = &self.servers[0] {
            sets.push(server.set_name());
        }
        for set in sets {
            let copied = Command::new("sh")
                .args(["-c", "cd \"$0\" && cp --parents */*.log \"$1\"", &format!("{run}/{set}")])
                .arg(&folder)
                .status();
            assert!(copied.is_ok_and(|status| status.success()), "the logs of {set} cannot be copied");
        }
        folder
    }
}

/// What a server can tell of a run: its parts, and positions that are there twice.
fn evidence(database: &str) -> [(&'static str, String); 2] {
    [
        (
            "parts",
            format!(
                "SELECT table, name, rows, active, modification_time FROM system.parts \
                 WHERE database = '{database}' ORDER BY ALL FORMAT TSVWithNames"
            ),
        ),
        (
            "doubled",
            format!(
                "SELECT _partition, _offset, groupArray(_part) FROM {database}.events \
                 WHERE 0 <= _partition GROUP BY ALL HAVING 1 < count() ORDER BY ALL FORMAT TSVWithNames"
            ),
        ),
    ]
}
