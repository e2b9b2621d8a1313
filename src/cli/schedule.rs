//! `penstock schedule`: what can be typed, and how the answer looks.
//!
//! Refuses to know how anything is run.

use clap::{Args, Subcommand};
use serde_json::json;

use super::work::Call;
use super::{Exit, Failure};
use crate::app::schedule::{Job, Session, State};

const EXAMPLES: &str = "\
Examples:
  penstock schedule list
  penstock schedule history nightly -n 20 --output json
  penstock schedule run nightly --dry-run
  penstock schedule run nightly

Schedules stand in admin.schedules, and are run by the admin process that leads. `run` runs one from here and waits for
its end: exit code 1 if it fails, 7 if another run of it is under way.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Tells when each is due next, and what came of its last run
    List,
    /// Tells the runs of one, newest first, with due times that were left out
    History {
        /// Its name
        name: String,
        /// At most so many
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        lines: u16,
    },
    /// Runs one now, and waits for its end
    Run {
        /// Its name
        name: String,
        /// Says what would be done and does nothing
        #[arg(long)]
        dry_run: bool,
    },
}

impl Call<'_> {
    pub fn schedule(mut self, args: &ScheduleArgs) -> Result<Exit, Failure> {
        let session = Session::open(&self.inputs, &self.loaded)?;
        match &args.command {
            ScheduleCommand::List => {
                let (schedules, complete) = session.list();
                let mut text = String::new();
                for one in &schedules {
                    let last = one.last.as_ref().map_or_else(|| "never run".to_owned(), outcome);
                    let when = format!("{} {}", one.when, one.timezone);
                    text +=
                        &format!("{}: {} ({when})\n  next {}, {last}\n", one.name, one.what, one.next_due);
                }
                if schedules.is_empty() {
                    text += "there are no schedules\n";
                }
                self.tell(
                    &(text + unread(complete)),
                    &json!({ "schedules": schedules, "complete": complete }),
                )?;
                Ok(Exit::Done)
            }
            ScheduleCommand::History { name, lines } => {
                let (runs, complete) = session.history(name, usize::from(*lines))?;
                let mut text: String = runs.iter().map(|run| format!("{}\n", outcome(run))).collect();
                if runs.is_empty() {
                    text += "never run\n";
                }
                let value = json!({ "schedule": name, "runs": runs, "complete": complete });
                self.tell(&(text + unread(complete)), &value)?;
                Ok(Exit::Done)
            }
            ScheduleCommand::Run { name, dry_run: true } => {
                let preview = session.preview(name)?;
                let text = serde_json::to_string_pretty(&preview).unwrap_or_default();
                self.tell(&format!("{text}\n"), &preview)?;
                Ok(Exit::Done)
            }
            ScheduleCommand::Run { name, dry_run: false } => {
                let job = session.run(name)?;
                self.tell(&format!("{}\n", outcome(&job)), &json!(job))?;
                let is_overlap = job.state == State::Skipped;
                Ok(match job.state {
                    State::Done => Exit::Done,
                    _ if is_overlap => Exit::Locked,
                    _ => Exit::Failed,
                })
            }
        }
    }
}

/// What came of a run, in one line.
fn outcome(job: &Job) -> String {
    let why = job.error.as_ref().and_then(|error| error["detail"].as_str()).unwrap_or_default();
    let why = why.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
    let due =
        if job.due.is_empty() { format!("asked for by {}", job.actor) } else { format!("due {}", job.due) };
    format!("{} {}, {due}, job {}{why}", job.began, job.state.name(), job.id)
}

fn unread(complete: bool) -> &'static str {
    if complete { "" } else { "the table of jobs cannot be read, so runs are missing\n" }
}
