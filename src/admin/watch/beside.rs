//! What is looked at beside ClickHouse: the brokers, the audit trail, and whether somebody leads.
//!
//! Refuses to pile up: what hangs is not begun a second time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, timeout};

use super::{Finding, State, Watch};
use crate::admin::audit::Chain;
use crate::kafka::leader::Standing;
use crate::kafka::{self, admin};
use crate::telemetry::metrics::METRICS;

impl Watch {
    pub(super) async fn kafka(&self) -> Finding {
        let hint = "check kafka.brokers, the network and kafka.security";
        let silent =
            || Finding::new(State::Failing, &format!("no answer within {}", self.config.timeout), hint);
        // One that hangs is not asked again before it has given up.
        if self.is_asking.swap(true, Ordering::AcqRel) {
            return silent();
        }
        let (kafka, is_asking) = (self.kafka.clone(), Arc::clone(&self.is_asking));
        let asked = tokio::task::spawn_blocking(move || {
            let answer = admin::partition_count(&kafka, &kafka.group);
            is_asking.store(false, Ordering::Release);
            answer
        });
        match timeout(self.config.timeout.0, asked).await {
            // There need not be such a topic.
            Ok(Ok(Ok(_) | Err(kafka::Error::MissingTopic { .. } | kafka::Error::Forbidden { .. }))) => {
                Finding::ok("the brokers answer")
            }
            Ok(Ok(Err(error))) => Finding::new(State::Failing, &first_line(&error), hint),
            Ok(Err(error)) => Finding::new(State::Failing, &first_line(&error), hint),
            Err(_) => silent(),
        }
    }

    /// Verified as a whole now and then; in between, and while it is read, the last verdict stands.
    pub(super) async fn trail(&self) -> Option<Finding> {
        let chain = self.chain.clone()?;
        let known = self.seen.lock().trail.clone();
        let is_fresh = known.as_ref().is_some_and(|(at, _)| at.elapsed() < self.config.audit_interval.0);
        if !is_fresh && !self.is_reading.swap(true, Ordering::AcqRel) {
            let (seen, is_reading) = (Arc::clone(&self.seen), Arc::clone(&self.is_reading));
            let read = tokio::task::spawn_blocking(move || {
                let finding = verdict(&chain);
                seen.lock().trail = Some((Instant::now(), finding));
                is_reading.store(false, Ordering::Release);
            });
            // A long one is done by the next look, or the one after.
            let _ = timeout(self.config.timeout.0, read).await;
        }
        let seen = self.seen.lock();
        let finding = seen.trail.as_ref().map(|(_, finding)| finding.clone());
        Some(finding.unwrap_or_else(|| Finding::ok("it is still being read")))
    }

    pub(super) fn leader(&self) -> Option<Finding> {
        let finding = match self.candidate.as_ref()?.standing() {
            Standing::Leading { .. } => Finding::ok("this process leads"),
            Standing::Following => Finding::ok("another process leads"),
            // At the start it takes a moment, which is no news.
            Standing::Outside(_) if self.seen.lock().looked_at.is_empty() => return None,
            Standing::Outside(why) => {
                let sentence = format!(
                    "nobody leads as far as is known here: {}",
                    why.lines().next().unwrap_or_default()
                );
                Finding::new(State::Degraded, &sentence, "nothing is run by schedule meanwhile; check Kafka")
            }
        };
        Some(finding)
    }
}

fn verdict(chain: &Chain) -> Finding {
    let hint = "`penstock audit verify` says from which line on; keep the files as they are";
    let verified = chain.verify();
    if let Ok(verdict) = &verified {
        let none: &[&str] = &[];
        METRICS.admin.chain_ok.with_label_values(none).set(i64::from(verdict.broken.is_none()));
        METRICS.admin.chain_verified.with_label_values(none).set(chrono::Utc::now().timestamp());
    }
    match verified {
        Ok(verdict) => match verdict.broken {
            None => Finding::ok(&format!("{} lines follow from one another", verdict.lines)),
            Some(broken) => {
                let sentence = format!("line {} of the audit trail: {}", broken.line, broken.message);
                Finding::new(State::Failing, &sentence, hint)
            }
        },
        Err(error) => Finding::new(State::Failing, &first_line(&error), "check admin.audit.file"),
    }
}

fn first_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
