//! `penstock health`: what can be typed, and how the answer looks.
//!
//! Refuses to know what is looked at.

use clap::Args;
use serde_json::json;

use super::work::Call;
use super::{Exit, Failure};
use crate::app::health::{State, look};

const EXAMPLES: &str = "\
Examples:
  penstock health
  penstock health --output json

It looks from here at every endpoint of ClickHouse, at Kafka, at the audit trail and at the policies of
backups. Exit code 3 unless all is well.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct HealthArgs {}

impl Call<'_> {
    pub fn health(mut self) -> Result<Exit, Failure> {
        let report = look(&self.inputs, &self.loaded)?;
        let mut text = String::new();
        for check in &report.checks {
            text += &format!("{:<12} {:<9} {}\n", check.name, check.state.name(), check.sentence);
            if !check.hint.is_empty() {
                text += &format!("{:<22} hint: {}\n", "", check.hint);
            }
        }
        self.tell(&text, &json!(report))?;
        Ok(if report.state == State::Ok { Exit::Done } else { Exit::Differences })
    }
}
