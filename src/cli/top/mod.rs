//! `penstock top`: how the line is, on a terminal that is drawn anew each second, as lines, or as JSON.
//!
//! Refuses to judge: what is well is said by the summary. Off a terminal it draws nothing.

mod screen;
mod state;
mod text;

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event};

use self::state::{Flow, State};
use super::{Exit, Failure, Global, Output, output};
use crate::app::top::Session;
use crate::app::top::summary::{Level, Summary};
use crate::units::Secret;

/// How soon a key is heard.
const KEYS_EVERY: Duration = Duration::from_millis(100);
const NEXT_MAX: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  penstock top --line http://127.0.0.1:9464
  penstock top --url https://admin.example:9480 --token-file alice.token
  penstock top --line http://127.0.0.1:9464 --once --json

It asks an admin process that has admin.console.lines, or the processes of the line themselves. On a terminal: arrows change
the view and scroll, s sorts, ? shows the keys, q ends. Elsewhere it prints one line each second. --once prints what is now;
exit code 3 unless the line is healthy.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    /// Address of the admin process
    #[arg(long, default_value = "http://127.0.0.1:9480", value_name = "URL")]
    pub url: String,
    /// File with the token for it; without it PENSTOCK_TOKEN is taken
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities that certify the admin process; those of the system without it
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Asks a process of the line at its telemetry.listen, without an admin process; may be repeated
    #[arg(long, value_name = "URL", conflicts_with_all = ["token_file", "ca_file"])]
    pub line: Vec<String>,
    /// Prints what is now, and ends
    #[arg(long)]
    pub once: bool,
    /// As JSON; the same as --output json
    #[arg(long)]
    pub json: bool,
}

/// Where a token may be in place of a file.
const TOKEN_VARIABLE: &str = "PENSTOCK_TOKEN";
const INSTEAD: &str = "; or ask the line itself with --line";

pub fn run(
    args: &TopArgs,
    global: &Global,
    environment: &[(String, String)],
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut session = match args.line.is_empty() {
        false => Session::lines(&args.line)?,
        true => Session::remote(
            &args.url,
            args.ca_file.as_deref(),
            token(args.token_file.as_deref(), environment, INSTEAD)?,
        )?,
    };
    let as_json = args.json || global.output == Output::Json;
    if args.once {
        let summary = session.first()?;
        match as_json {
            true => output::print_json(out, &*summary)?,
            false => output::print(out, &text::whole(&summary))?,
        }
        return Ok(exit(&summary));
    }
    if as_json || !std::io::stdout().is_terminal() {
        return lines(&mut session, as_json, out);
    }
    let mut terminal = ratatui::try_init()?;
    let shown = show(&session, &mut terminal);
    // The terminal is the user's again, whatever happened.
    ratatui::try_restore()?;
    shown?;
    Ok(Exit::Done)
}

fn exit(summary: &Summary) -> Exit {
    if summary.verdict.level == Level::Healthy { Exit::Done } else { Exit::Differences }
}

/// The token for an admin process, from a file or from the environment.
pub(super) fn token(
    file: Option<&Path>,
    environment: &[(String, String)],
    instead: &str,
) -> Result<Secret, Failure> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            Failure::wrong_use(anyhow::anyhow!("{} cannot be read: {error}", file.display()))
        })?,
        None => {
            let found = environment.iter().find(|(name, _)| name == TOKEN_VARIABLE);
            found.map(|(_, value)| value.clone()).ok_or_else(|| {
                Failure::wrong_use(anyhow::anyhow!(
                    "there is no token\nhint: name its file with --token-file, or set {TOKEN_VARIABLE}{instead}"
                ))
            })?
        }
    };
    Ok(Secret::new(text.trim()))
}

/// One line each second, until nobody reads them.
fn lines(session: &mut Session, as_json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    loop {
        let news = session.newest();
        if let Some(summary) = &news.summary {
            let mut line = match as_json {
                true => serde_json::to_string(&**summary).unwrap_or_default(),
                false => text::line(summary),
            };
            line.push('\n');
            output::print(out, &line)?;
        }
        session.wait(NEXT_MAX);
    }
}

fn show(session: &Session, terminal: &mut ratatui::DefaultTerminal) -> Result<(), Failure> {
    let mut state = State::default();
    loop {
        state.take(session.newest(), Instant::now());
        terminal.draw(|frame| screen::draw(frame, &state, Instant::now()))?;
        if event::poll(KEYS_EVERY)?
            && let Event::Key(key) = event::read()?
            && state.press(key) == Flow::End
        {
            return Ok(());
        }
    }
}
