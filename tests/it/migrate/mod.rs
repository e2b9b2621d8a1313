//! `penstock migrate` against real servers: a folder of files, a database of its own, the binary as a user calls it.
//!
//! It refuses to know how migrations work inside, but for the names of the places where the process is broken.

mod commands;
mod crash;
mod drift;
mod hosts;
mod lock;

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{ClickHouse, Database, Penstock, PenstockConfig, Servers};

pub const DEADLINE: Duration = Duration::from_secs(60);

/// A folder of migrations and a database.
pub struct Bench {
    pub ch: ClickHouse,
    pub database: Database,
    pub folder: TempDir,
    /// For what is not a migration: keys, and what is written with them.
    pub keys: TempDir,
    pub config: PenstockConfig,
}

impl Bench {
    pub fn new() -> Bench {
        let servers = Servers::shared();
        Bench::on(&servers.clickhouse, &[&servers.clickhouse])
    }

    pub fn on(first: &ClickHouse, endpoints: &[&ClickHouse]) -> Bench {
        let database = first.fresh_database();
        let folder = TempDir::new().unwrap();
        let kafka = crate::harness::Kafka::at("127.0.0.1:1");
        let config = PenstockConfig::new(&kafka, endpoints, &database.name, folder.path())
            .set("migrations.path", folder.path().to_str().unwrap());
        Bench { ch: first.clone(), database, folder, keys: TempDir::new().unwrap(), config }
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Exit code and everything that was printed.
    pub fn call(&self, arguments: &[&str]) -> (Option<i32>, String) {
        Penstock::output(&self.config, &[&["migrate"], arguments].concat(), DEADLINE)
    }

    /// The same, with the output read as JSON. Logs are left out.
    pub fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let quiet = [&["--log", "error", "migrate"], arguments, &["--output", "json"]].concat();
        let (code, log) = Penstock::output(&self.config, &quiet, DEADLINE);
        (code, serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}")))
    }

    /// Calls and expects success.
    pub fn done(&self, arguments: &[&str]) -> String {
        let (code, log) = self.call(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {log}");
        log
    }

    pub fn start(&self, faults: Value, arguments: &[&str]) -> Penstock {
        let config = self.config.clone().set("faults", faults);
        Penstock::start(&config, &[&["migrate"], arguments].concat())
    }

    /// Asks within the database.
    pub fn sql(&self, query: &str) -> String {
        self.ch.query(&query.replace("DB.", &format!("{}.", self.database.name)))
    }

    /// Every definition and all rows, without the database's name and penstock's own tables.
    pub fn contents(&self) -> Vec<String> {
        let database = &self.database.name;
        let tables = self.ch.query(&format!(
            "SELECT name, replaceAll(create_table_query, '{database}.', '') FROM system.tables \
             WHERE database = '{database}' AND NOT startsWith(name, 'penstock_') ORDER BY name"
        ));
        let rows = |line: &str| {
            let name = line.split('\t').next().unwrap();
            let sum = format!(
                "SELECT count(), sum(cityHash64(*)), groupBitXor(cityHash64(*)) FROM {database}.`{name}`"
            );
            format!("{line} | {}", self.ch.query(&sum))
        };
        tables.lines().map(rows).collect()
    }

    /// What the journal says, newest last.
    pub fn journal(&self, columns: &str) -> String {
        self.sql(&format!("SELECT {columns} FROM DB.penstock_migrations ORDER BY seq"))
    }
}

pub fn crash_at(point: &str, after: u32) -> Value {
    json!({ "crash_at": point, "after": after })
}

/// Thirty migrations with everything in them that could be taken for the end of a statement; how many statements.
pub fn thirty(bench: &Bench) -> usize {
    let counted = "ALTER TABLE events UPDATE counter = counter + 1 WHERE 1";
    let mut files = vec![
        "CREATE TABLE events (id UInt64, name String DEFAULT 'a;b', note String) ENGINE = MergeTree ORDER BY id".to_owned(),
        "INSERT INTO events VALUES (1, 'x;y', 'it''s;'), (2, 'q\\';', '-- ;')".to_owned(),
        "INSERT INTO events FORMAT CSV\n3,\"a;b\",\"c\"\n4,;,\"it's;\"\n;\nINSERT INTO events FORMAT JSONEachRow\n\
         {\"id\": 40, \"name\": \";\"}\n{\"id\": 41, \"name\": \"'\"}\n;\n\
         ALTER TABLE events ADD COLUMN counter UInt64 DEFAULT 0 -- ; not yet\n;\n"
            .to_owned(),
        "INSERT INTO events (id, name, note) SELECT 5, $t$a;b'c$t$, $$;$$;".to_owned(),
        format!("/* ; /* ; */ ' */\n# ; '\n{counted};\n-- the end;\n"),
        "CREATE VIEW `odd;name` AS SELECT id, ';' AS semicolon FROM events".to_owned(),
        "CREATE TABLE old (x Int8) ENGINE = Memory; RENAME TABLE old TO new; CREATE TABLE gone (x Int8) ENGINE = Memory;\n\
         -- penstock: danger=drop\nDROP TABLE gone"
            .to_owned(),
        "ALTER TABLE events ADD COLUMN extra String, ADD COLUMN more String COMMENT 'a;b'".to_owned(),
        "-- penstock: danger=drop\nALTER TABLE events DROP COLUMN extra; ALTER TABLE events RENAME COLUMN more TO most".to_owned(),
    ];
    for n in files.len() + 1..=30 {
        files.push(match n % 4 {
            0 => format!("CREATE TABLE t{n} (x UInt64, s String) ENGINE = MergeTree ORDER BY x"),
            1 => format!("INSERT INTO t{} SELECT number, $x$;$x$ FROM numbers({n})", n - 1),
            2 => format!("{counted};"),
            _ => format!("INSERT INTO events (id, name) VALUES ({n}, ';')"),
        });
    }
    let mut statements = 0;
    for (n, text) in (1..).zip(&files) {
        bench.write(&format!("V{n}__step.sql"), text);
        statements += 1;
    }
    bench.write(
        "R__summary.sql",
        "CREATE OR REPLACE VIEW summary AS SELECT count() AS n, ';' AS s FROM events",
    );
    // The third, seventh and ninth file have two, three and one more than one.
    statements + 1 + 2 + 3 + 1
}
