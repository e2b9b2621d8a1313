//! The command line: what can be typed, and what the exit code says.
//!
//! Refuses to do the work of a command: each is a function of its own below, or of `app`. Errors go
//! to the standard error with their causes and hints, results to the standard output.

mod admin;
pub mod args;
mod audit;
mod backup;
mod capacity;
mod config;
mod crypt;
mod dlq;
mod erase;
pub mod failure;
mod health;
mod ledger;
mod lifecycle;
mod line;
mod migrate;
pub mod output;
mod schedule;
mod table;
mod token;
mod top;
mod trail;
mod work;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use self::args::{
    CheckArgs, CompletionsArgs, ConfigArgs, GenerateArgs, LedgerArgs, QueryArgs, RunArgs, SchemaArgs,
};
use self::audit::AuditRowsArgs;
pub use self::failure::Failure;
use self::work::Call;
use crate::config::Inputs;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage, configuration or table file
  3  differences were found, a damaged plan or backup, a broken audit trail, a token that does not hold, or health that is not ok
  4  a server could not be reached
  5  stopped before everything was written and committed
  6  migrations are pending, or a plan of lifecycle or of backups has something to do
  7  another process holds the lock of the migrations or of the lifecycle, or runs the same schedule

Examples:
  penstock --config penstock.yaml config check
  penstock --set kafka.group=events config dump";

/// Takes events from Kafka into ClickHouse: validated, batched, nothing lost silently
#[derive(Debug, Parser)]
#[command(name = "penstock", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// Configuration file, in YAML
    #[arg(long, short, global = true, env = "PENSTOCK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one setting, over file and environment; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub output: Output,
    /// Level of logs: error, warn, info, debug, trace, or by module as in info,penstock::kafka=debug
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Takes records from Kafka into ClickHouse
    Run(RunArgs),
    /// Checks table files, with the examples beside them
    Check(CheckArgs),
    /// Prints, compares and creates the tables
    Schema(SchemaArgs),
    /// Proves that every committed record is a row or accounted for; exit code 3 when rows are missing or surplus
    AuditRows(AuditRowsArgs),
    /// Publishes events to try it with
    Generate(GenerateArgs),
    /// Runs one statement in ClickHouse
    Query(QueryArgs),
    /// Shows how far the group is and what it has planned, and sets it back
    Ledger(LedgerArgs),
    /// Lists, shows, replays and purges dead letters
    Dlq(dlq::DlqArgs),
    /// Brings the tables from one version of their schema to the next
    Migrate(migrate::MigrateArgs),
    /// Serves the REST interface by which tables are cared for
    Admin(admin::AdminArgs),
    /// Encrypts secrets that lie in files, and keeps the keys
    Crypt(crypt::CryptArgs),
    /// Makes and checks tokens for it, and tells who may do what
    Token(token::TokenArgs),
    /// Tells what is done by schedule and what came of it, and runs a schedule now
    Schedule(schedule::ScheduleArgs),
    /// Looks at the servers and the audit trail; exit code 3 unless all is well
    Health(health::HealthArgs),
    /// Shows how the whole line is, on a terminal, as lines or as JSON; exit code 3 with --once unless it is healthy
    Top(top::TopArgs),
    /// Acts on the running line: pauses a topic, closes batches, reloads, has a server tried again
    Line(line::LineArgs),
    /// Shows and verifies the trail of what was done
    Audit(trail::TrailArgs),
    /// Carries out what the table files say of old rows: delete, move, shrink; and keeps what is held
    Lifecycle(lifecycle::LifecycleArgs),
    /// Deletes the rows of one person or thing from every table that declares the column
    Erase(erase::EraseArgs),
    /// Makes, verifies, keeps and restores backups of tables
    Backup(backup::BackupArgs),
    /// Tells how large tables are and how well they compress, and merges their parts
    Table(table::TableArgs),
    /// Tells how many pods, partitions, inserts and how much disk so many rows a second need
    PlanCapacity(capacity::CapacityArgs),
    /// Shows and checks the configuration
    Config(ConfigArgs),
    /// Prints a completion script for a shell
    Completions(CompletionsArgs),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// Wrong usage, configuration or table file.
    WrongUse,
    /// What was compared differs.
    Differences,
    /// A server could not be reached.
    Unreachable,
    /// Stopped before everything was written and committed.
    NotDrained,
    /// Migrations are pending, or a plan of lifecycle or of backups has something to do.
    Pending,
    /// Another process holds the lock of the migrations.
    Locked,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::WrongUse => 2,
            Exit::Differences => 3,
            Exit::Unreachable => 4,
            Exit::NotDrained => 5,
            Exit::Pending => 6,
            Exit::Locked => 7,
        }
    }
}

impl Global {
    /// What the configuration is made of, with the flags of this call.
    pub fn inputs(&self, environment: Vec<(String, String)>) -> Inputs {
        let level = self.log.iter().map(|level| format!("telemetry.log.level={level}"));
        let flags = self.set.iter().cloned().chain(level).collect();
        Inputs { file: self.config.clone(), environment, flags }
    }
}

/// Everything that `main` does: reads the arguments, runs the command, tells what went wrong.
pub fn main(args: impl IntoIterator<Item = OsString>, environment: Vec<(String, String)>) -> ExitCode {
    // Not locked: other threads write their logs to the standard error meanwhile.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let exit = match Cli::try_parse_from(args) {
        Ok(cli) => run(cli, environment, &mut out).unwrap_or_else(|failure| failure.tell(&mut err)),
        Err(usage) => {
            // Nothing is left to tell it to when even that cannot be printed.
            let _ = usage.print();
            if usage.use_stderr() { Exit::WrongUse } else { Exit::Done }
        }
    };
    ExitCode::from(exit.code())
}

fn run(cli: Cli, environment: Vec<(String, String)>, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    let call = |environment, out| Call::new(&global, environment, out);
    match command {
        Command::Run(args) => call(environment, out)?.run(&args),
        Command::Check(args) => call(environment, out)?.check(&args),
        Command::Schema(args) => call(environment, out)?.schema(&args),
        Command::AuditRows(args) => call(environment, out)?.audit_rows(&args),
        Command::Generate(args) => call(environment, out)?.generate(&args),
        Command::Query(args) => call(environment, out)?.query(&args),
        Command::Ledger(args) => call(environment, out)?.ledger(&args),
        Command::Migrate(args) => call(environment, out)?.migrate(&args),
        Command::Admin(_) => call(environment, out)?.admin(),
        Command::Token(args) => call(environment, out)?.token(&args),
        Command::Crypt(args) => call(environment, out)?.crypt(&args),
        Command::Schedule(args) => call(environment, out)?.schedule(&args),
        Command::Health(_) => call(environment, out)?.health(),
        Command::Line(args) => line::run(&args, &global, &environment, out),
        Command::Top(args) => top::run(&args, &global, &environment, out),
        Command::Audit(args) => call(environment, out)?.trail(&args),
        Command::Lifecycle(args) => call(environment, out)?.lifecycle(&args),
        Command::Erase(args) => call(environment, out)?.erase(&args),
        Command::Backup(args) => call(environment, out)?.backup(&args),
        Command::Table(args) => call(environment, out)?.table(&args),
        Command::Dlq(args) => dlq::run(&args, call(environment, out)?),
        Command::PlanCapacity(args) => call(environment, out)?.plan_capacity(&args),
        Command::Config(args) => config::run(args, &global, environment, out),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "penstock", &mut script);
            output::print(out, &String::from_utf8_lossy(&script))?;
            Ok(Exit::Done)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &[&str], environment: &[(&str, &str)]) -> (Exit, String, String) {
        let cli = Cli::try_parse_from([&["penstock"], line].concat()).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = run(cli, environment, &mut out).unwrap_or_else(|failure| failure.tell(&mut err));
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_definition_is_sound_and_the_help_tells_the_exit_codes() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::WrongUse,
            Exit::Differences,
            Exit::Unreachable,
            Exit::NotDrained,
            Exit::Pending,
            Exit::Locked,
        ] {
            assert!(help.contains(&format!("\n  {}  ", exit.code())), "{help}");
        }
    }

    /// Lines of help that begin with the program's name are examples, and examples must parse.
    #[test]
    fn every_example_in_the_help_parses() {
        let mut seen = 0;
        let mut commands = vec![Cli::command()];
        while let Some(mut command) = commands.pop() {
            let help = command.render_long_help().to_string();
            for example in help.lines().filter_map(|line| line.trim().strip_prefix("penstock ")) {
                // Every second part lies within quotes.
                let parts = example.split(" > ").next().unwrap().split(['"', '\'']).enumerate();
                let line = parts.flat_map(|(i, part)| match i % 2 {
                    0 => part.split_whitespace().collect(),
                    _ => vec![part],
                });
                let parsed = Cli::try_parse_from(std::iter::once("penstock").chain(line));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                seen += 1;
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(seen >= 5, "{seen}");
    }

    #[test]
    fn config_commands() {
        let (exit, out, _) = call(&["config", "check"], &[]);
        assert_eq!((exit, out.as_str()), (Exit::Done, "the configuration is valid\n"));

        let (exit, out, err) = call(&["--set", "kafka.grup=x", "config", "check"], &[]);
        assert_eq!((exit, out.as_str()), (Exit::WrongUse, ""));
        assert!(
            err.starts_with("error: the configuration has a fault") && err.contains("kafka.group"),
            "{err}"
        );
        assert!(err.lines().last().unwrap().starts_with("hint: "), "{err}");

        let (exit, out, _) = call(&["config", "check", "--output", "json", "--set", "kafka.grup=x"], &[]);
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, &told["valid"]), (Exit::WrongUse, &serde_json::json!(false)));
        assert_eq!(told["faults"][0]["path"], "kafka.grup");
        assert_eq!(told["faults"][0]["origin"], "flag --set kafka.grup");

        let password = [("CLICKHOUSE_PASSWORD", "hunter2")];
        for format in ["yaml", "json"] {
            let (exit, out, err) = call(&["config", "dump", "--format", format, "--log", "debug"], &password);
            assert_eq!(exit, Exit::Done, "{err}");
            assert!(out.contains("debug") && out.contains("<redacted>") && !out.contains("hunter2"), "{out}");
        }
        let (_, out, _) = call(&["config", "schema"], &[]);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), crate::config::json_schema());
    }

    #[test]
    fn completions_are_printed() {
        let (exit, out, _) = call(&["completions", "bash"], &[]);
        assert!(exit == Exit::Done && out.contains("penstock"), "{out}");
    }
}
