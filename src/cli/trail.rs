//! `penstock audit`: the trail as lines for people or programs.
//!
//! Refuses to judge: `app::trail` says what is wrong.

use std::io;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::work::Call;
use super::{Exit, Failure, Output, output};
use crate::app;

const EXAMPLES: &str = "\
Examples:
  penstock audit tail
  penstock audit tail -n 100 --follow --output json
  penstock audit verify

Proving that every record became a row is another command: `penstock audit-rows`. Here `verify` ends with exit code 3 when
the trail is not as it was written.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrailArgs {
    #[command(subcommand)]
    pub command: TrailCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum TrailCommand {
    /// Prints the last lines, oldest first
    Tail {
        /// How many
        #[arg(long, short = 'n', default_value_t = 20, value_name = "LINES", value_parser = clap::value_parser!(u32).range(0..=100_000))]
        lines: u32,
        /// Goes on with every line that comes, until SIGINT
        #[arg(long, short)]
        follow: bool,
    },
    /// Reads all of it; says the first line that was changed, and whether the end is missing
    Verify,
}

impl Call<'_> {
    pub fn trail(mut self, args: &TrailArgs) -> Result<Exit, Failure> {
        match args.command {
            TrailCommand::Tail { lines, follow } => {
                let count = usize::try_from(lines).unwrap_or(usize::MAX);
                let (as_json, out) = (self.output == Output::Json, self.out);
                let mut tell = |line: &str| -> io::Result<()> {
                    let text = if as_json { line.to_owned() } else { text(line) };
                    output::print(out, &format!("{text}\n"))
                };
                app::trail::tail(&self.loaded.config, count, follow, &mut tell)?;
                Ok(Exit::Done)
            }
            TrailCommand::Verify => {
                let verdict = app::trail::verify(&self.loaded.config)?;
                let mut text = format!("{} lines, {} checkpoints", verdict.lines, verdict.checkpoints);
                match &verdict.broken {
                    Some(broken) => {
                        text += &format!(
                            " before {}:{}: {}\n",
                            broken.file.display(),
                            broken.line,
                            broken.message
                        );
                    }
                    None => {
                        text += &format!("; everything up to line {} is vouched for\n", verdict.vouched_lines)
                    }
                }
                self.tell(&text, &json!(verdict))?;
                Ok(if verdict.broken.is_none() { Exit::Done } else { Exit::Differences })
            }
        }
    }
}

/// A line for people; one that is none of the trail as it is.
fn text(line: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let error = match field("error") {
        "" => String::new(),
        error => format!(": {}", error.lines().next().unwrap_or_default()),
    };
    format!(
        "{} {:<8} {} {} by {} at {}{error}",
        field("at"),
        field("phase"),
        field("action"),
        field("resource"),
        field("actor"),
        field("origin")
    )
}
