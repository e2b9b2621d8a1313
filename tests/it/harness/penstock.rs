//! The penstock process under test: its own configuration file, its log, its signals, its HTTP surface.
//!
//! It refuses to know the library; what a user of the binary cannot see, a test here cannot see. The process is
//! killed with the guard, and a failing test prints the end of its log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::clickhouse::{PASSWORD, USER};
use super::{ClickHouse, Kafka, free_port, get, wait_for};

const CONFIG_FILE: &str = "penstock.yaml";
const LOG_TAIL_LINES: usize = 60;
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// A configuration file in the making. JSON is YAML, so the file is written as JSON.
#[derive(Clone, Debug)]
pub struct PenstockConfig {
    pub value: Value,
}

impl PenstockConfig {
    /// What every run needs: brokers, group, endpoints, database, table files.
    pub fn new(kafka: &Kafka, endpoints: &[&ClickHouse], database: &str, tables: &Path) -> Self {
        let urls: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.url()).collect();
        let brokers: Vec<&str> = kafka.brokers.split(',').collect();
        let (user, password) = endpoints.first().map_or((USER, PASSWORD), |ch| (&ch.user, &ch.password));
        let value = json!({
            "kafka": { "brokers": brokers, "group": super::fresh_name("group") },
            "clickhouse": { "endpoints": urls, "database": database, "user": user, "password": password },
            "tables": { "path": tables },
        });
        Self { value }
    }

    /// Sets one value; the path's parts are parted by dots and made where they are missing.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let pointer = path.split('.').fold(&mut self.value, |node, part| &mut node[part]);
        *pointer = value.into();
        self
    }

    /// The value at a path of dots, as text.
    pub fn text(&self, path: &str) -> &str {
        let found = path.split('.').fold(&self.value, |node, part| &node[part]);
        found.as_str().unwrap_or_else(|| panic!("{path} is no text"))
    }
}

pub struct Penstock {
    child: Child,
    folder: TempDir,
    telemetry: String,
    exited: Option<ExitStatus>,
}

impl Penstock {
    /// Starts `penstock --config FILE run`.
    pub fn run(config: &PenstockConfig) -> Self {
        Self::start(config, &["run"])
    }

    /// Starts `penstock --config FILE ARGUMENTS`.
    pub fn start(config: &PenstockConfig, arguments: &[&str]) -> Self {
        Self::start_with_env(config, arguments, &[])
    }

    /// The same, with these environment variables and none of the developer's.
    pub fn start_with_env(config: &PenstockConfig, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        // Where others are told of it before it starts.
        let told = config.value["telemetry"]["listen"].as_str().map(str::to_owned);
        let telemetry = told.unwrap_or_else(|| format!("127.0.0.1:{}", free_port()));
        let file = folder.path().join(CONFIG_FILE);
        write_config(&file, config, &telemetry);
        let log = File::create(folder.path().join("log")).expect("a log");
        let child = command()
            .arg("--config")
            .arg(&file)
            .args(arguments)
            .envs(env.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("penstock starts");
        Self { child, folder, telemetry, exited: None }
    }

    /// Runs `penstock ARGUMENTS` to its end within the deadline; exit code and everything it printed.
    pub fn output(config: &PenstockConfig, arguments: &[&str], deadline: Duration) -> (Option<i32>, String) {
        let mut process = Self::start(config, arguments);
        let code = process.wait_exit(deadline);
        (code, process.log())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/ready` says yes; panics if the process ends first.
    pub fn wait_ready(&mut self) {
        let telemetry = self.telemetry.clone();
        wait_for(READY_TIME_MAX, "penstock is ready", || {
            if let Some(status) = self.poll_exit() {
                panic!("penstock ended before it was ready: {status}");
            }
            get(&telemetry, "/ready").ok().filter(|answer| answer.status == 200).map(drop)
        });
    }

    /// The text of `/metrics`; None when nothing answers.
    pub fn metrics(&self) -> Option<String> {
        get(&self.telemetry, "/metrics").ok().filter(|answer| answer.status == 200).map(|answer| answer.body)
    }

    /// The sum of a metric over the label sets that contain all of `labels` (each as `name="value"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let text = self.metrics()?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let matching = text.lines().filter(of_name).filter(|line| labels.iter().all(|l| line.contains(l)));
        let values: Vec<f64> = matching.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Status and text of `/health`; None when nothing answers.
    pub fn health(&self) -> Option<(u16, String)> {
        get(&self.telemetry, "/health").ok().map(|answer| (answer.status, answer.body))
    }

    /// Status and text of `/ready`; None when nothing answers.
    pub fn ready(&self) -> Option<(u16, String)> {
        get(&self.telemetry, "/ready").ok().map(|answer| (answer.status, answer.body))
    }

    /// `host:port` of the telemetry server.
    pub fn telemetry(&self) -> &str {
        &self.telemetry
    }

    /// Everything it has written so far, both streams.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    pub fn wait_log(&mut self, needle: &str, deadline: Duration) {
        wait_for(deadline, &format!("the log says {needle:?}"), || self.log().contains(needle).then_some(()));
    }

    /// Writes the configuration file anew.
    pub fn reconfigure(&self, config: &PenstockConfig) {
        write_config(&self.folder.path().join(CONFIG_FILE), config, &self.telemetry);
    }

    pub fn sighup(&self) {
        self.signal("HUP");
    }

    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    pub fn kill9(&mut self) {
        self.child.kill().expect("it can be killed");
        self.exited = Some(self.child.wait().expect("it ends"));
    }

    /// Freezes the process, as a long pause of its machine would.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    pub fn cont(&self) {
        self.signal("CONT");
    }

    /// The exit code; None if a signal ended it. Panics once the deadline has passed.
    pub fn wait_exit(&mut self, deadline: Duration) -> Option<i32> {
        wait_for(deadline, "penstock ends", || self.poll_exit()).code()
    }

    pub fn is_running(&mut self) -> bool {
        self.poll_exit().is_none()
    }

    fn poll_exit(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().expect("its state can be asked");
        }
        self.exited
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        // The shell has `kill` built in, also where no such program is installed.
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status();
        assert!(sent.expect("a shell").success(), "cannot send {name} to penstock");
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Penstock {
    fn drop(&mut self) {
        if self.exited.is_none() {
            let _killed = self.child.kill();
            let _waited = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!("--- the last lines of penstock's log\n{}", tail.join("\n"));
        }
    }
}

fn write_config(file: &Path, config: &PenstockConfig, telemetry: &str) {
    let config = config.clone().set("telemetry.listen", telemetry);
    std::fs::write(file, serde_json::to_vec_pretty(&config.value).expect("JSON")).expect("a file");
}

/// The binary with an environment in which nothing of the developer's speaks to it.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.env_clear();
    // Backtraces and the search path are the test run's; everything else is the configuration's.
    for name in ["PATH", "RUST_BACKTRACE", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}
