//! `penstock line`: what can be done to the running line, asked of an admin process.
//!
//! Refuses to take a token as an argument, where other users of the machine would see it.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, Failure, Global, Output, output, top};
use crate::app::line::{Came, Place, Wanted, ask};
use crate::units::Span;

const EXAMPLES: &str = "\
Examples:
  penstock line pause --topic events --for 15m --reason \"ticket 812\" --token-file alice.token
  penstock line resume --topic events --token-file alice.token
  penstock line flush --topic events --url https://admin.example:9480 --token-file alice.token
  penstock line reload --output json
  penstock line probe --endpoint clickhouse-2:8123 --reason \"its disk is mended\" --dry-run

An admin process with admin.console.control_key_file is asked, and the token needs the permission line_control. A pause ends
by itself. Exit code 1 if no process of the line did it.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LineArgs {
    #[command(subcommand)]
    pub command: LineCommand,
    /// Address of the admin process
    #[arg(long, global = true, default_value = "http://127.0.0.1:9480", value_name = "URL")]
    pub url: String,
    /// File with the token for it; without it PENSTOCK_TOKEN is taken
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities that certify the admin process; those of the system without it
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Says who would be told and does nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub enum LineCommand {
    /// Stops reading a topic for a while; nothing is lost, and it is read again by itself
    Pause {
        #[arg(long, value_name = "TOPIC")]
        topic: String,
        /// How long, from 1s to 24h
        #[arg(long = "for", value_name = "SPAN")]
        span: Span,
        /// Why; it is written down, and shown to all who look at the line
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Reads a topic again before its pause ends
    Resume {
        #[arg(long, value_name = "TOPIC")]
        topic: String,
    },
    /// Closes open batches now, so that they are written before their age
    Flush {
        /// Of this topic alone
        #[arg(long, value_name = "TOPIC")]
        topic: Option<String>,
    },
    /// Has configuration and table files read again, as SIGHUP does
    Reload,
    /// Lets the shut gate of a server try now, without the rest of its back-off
    Probe {
        #[arg(long, value_name = "HOST:PORT")]
        endpoint: String,
        /// Why; it is written down
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

impl LineCommand {
    fn wanted(&self, dry_run: bool) -> Wanted {
        let (path, body) = match self {
            LineCommand::Pause { topic, span, reason } => {
                ("/v1/line/pause", json!({ "topic": topic, "for_s": span.0.as_secs(), "reason": reason }))
            }
            LineCommand::Resume { topic } => ("/v1/line/resume", json!({ "topic": topic })),
            LineCommand::Flush { topic } => ("/v1/line/flush", json!({ "topic": topic })),
            LineCommand::Reload => ("/v1/line/reload", json!({})),
            LineCommand::Probe { endpoint, reason } => {
                ("/v1/line/probe", json!({ "endpoint": endpoint, "reason": reason }))
            }
        };
        Wanted { path, body, dry_run, lasts: matches!(self, LineCommand::Pause { .. }) }
    }
}

pub fn run(
    args: &LineArgs,
    global: &Global,
    environment: &[(String, String)],
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let token = top::token(args.token_file.as_deref(), environment, "")?;
    let place = Place { url: &args.url, authorities: args.ca_file.as_deref(), token };
    let came = ask(place, &args.command.wanted(args.dry_run))?;
    match global.output {
        Output::Text => output::print(out, &text(&came))?,
        Output::Json => {
            output::print_json(out, &json!({ "job": came.job, "until": came.until, "pods": came.pods }))?
        }
    }
    Ok(Exit::Done)
}

fn text(came: &Came) -> String {
    let of = |pod: &Value, name: &str| pod.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let line = |pod: &Value| {
        let mark = if pod.get("ok") == Some(&Value::Bool(true)) { "" } else { "not done: " };
        format!("{}: {mark}{}\n", of(pod, "address"), of(pod, "said"))
    };
    let mut text: String = came.pods.as_array().into_iter().flatten().map(line).collect();
    if let Some(until) = &came.until {
        text += &format!("until {until}");
        text += &came.job.as_ref().map(|job| format!(", job {job}")).unwrap_or_default();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_do_it_is_told_as_such() {
        let pods = json!([
            { "address": "a:1", "ok": true, "said": "it is paused" },
            { "address": "b:1", "ok": false, "said": "no answer" },
        ]);
        let came = Came { job: Some("7".to_owned()), until: Some("then".to_owned()), pods };
        assert_eq!(text(&came), "a:1: it is paused\nb:1: not done: no answer\nuntil then, job 7\n");
    }
}
