//! `penstock erase`: what can be typed, and how the answer looks.
//!
//! Refuses to print the value again.

use clap::Args;
use indicatif::HumanCount;
use serde_json::json;

use super::work::Call;
use super::{Exit, Failure};
use crate::app::erase::{Request, Subject, erase};

const EXAMPLES: &str = "\
Examples:
  penstock erase --subject user_id=4711 --dry-run
  penstock erase --subject email=a@b.example --reason \"request 88 of 2026-11-27\"
  penstock erase --subject user_id=4711 --reason \"request 88\" --lightweight

Rows are looked for in every table whose file names the column in subject_columns.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EraseArgs {
    /// Column and value of the rows that go
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = super::args::key_value)]
    subject: (String, String),
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Hides the rows at once; their bytes go with later merges
    #[arg(long)]
    lightweight: bool,
    /// Counts the rows and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Endpoint to work on, as host:port; the first without it
    #[arg(long, value_name = "HOST")]
    endpoint: Option<String>,
}

impl Call<'_> {
    pub fn erase(mut self, args: &EraseArgs) -> Result<Exit, Failure> {
        let (column, value) = args.subject.clone();
        let request = Request {
            subject: Subject { column, value },
            reason: args.reason.clone().unwrap_or_default(),
            lightweight: args.lightweight,
        };
        let erased = erase((&self.inputs, &self.loaded), args.endpoint.clone(), &request, args.dry_run)?;
        let what = if args.dry_run { "would go" } else { "are gone" };
        let mut text = String::new();
        for one in &erased.tables {
            text += &format!(
                "{}: {} rows in {} partitions {what}\n",
                one.table,
                HumanCount(one.rows),
                one.partitions.len()
            );
        }
        if !args.dry_run {
            text += &format!("no row is left; record {}\n", erased.id);
        }
        self.tell(&text, &json!(erased))?;
        Ok(Exit::Done)
    }
}
