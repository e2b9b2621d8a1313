//! Tells one address of changes: signed, tried again within bounds, and given up in the end.
//!
//! Refuses to send anything anywhere else, to follow another address, and to wait for the address before the next look:
//! changes queue up, and beyond a bound the oldest are dropped and counted.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::{Request, Uri, header};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::Check;
use super::config::Webhook;
use crate::admin::access::jwks::{self, Caller};
use crate::admin::key::{self, Key, hex};
use crate::clickhouse;
use crate::crypt;
use crate::telemetry::metrics::METRICS;

/// Changes that wait to be told.
const QUEUE_MAX: usize = 100;
/// Keys of other purposes sign nothing here.
const PURPOSE: &str = "penstock webhook";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error(
        "admin.health.webhook.url is no address\nhint: write https://host/path; http:// only for 127.0.0.1 or localhost"
    )]
    Address(#[source] jwks::Error),
    #[error(
        "admin.health.webhook.key_file is missing\nhint: make a key with `openssl rand -base64 48`, and give it to the receiver"
    )]
    NoKey,
    #[error(transparent)]
    ClickHouse(#[from] clickhouse::Error),
}

/// What is told of a change: the body, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// The same in every try.
    pub id: String,
    pub at: String,
    /// Machine and process that saw it.
    pub instance: String,
    /// How it was before; empty at first.
    pub before: &'static str,
    #[serde(flatten)]
    pub check: Check,
}

/// Where changes are put.
#[derive(Clone)]
pub struct Teller(Option<Sender<Told>>);

impl Teller {
    /// Nobody is told.
    pub fn nobody() -> Teller {
        Teller(None)
    }

    /// Does not wait. What finds no room is dropped and said.
    pub fn tell(&self, told: Told) {
        let Some(sender) = &self.0 else { return };
        if let Err(TrySendError::Full(told) | TrySendError::Closed(told)) = sender.try_send(told) {
            METRICS.fleet.webhooks.with_label_values(&["dropped"]).inc();
            tracing::error!(
                check = told.check.name,
                "the webhook cannot keep up, and is not told of a change"
            );
        }
    }
}

/// Sends what is put, in order.
pub struct Sending {
    caller: Caller,
    uri: Uri,
    key: hmac::Key,
    config: Webhook,
    told: Receiver<Told>,
}

/// # Errors
/// An address or a key that cannot be used.
pub fn open(config: &Webhook, crypt: &crypt::Config) -> Result<(Teller, Option<Sending>), Error> {
    let Some(url) = &config.url else { return Ok((Teller::nobody(), None)) };
    let file = config.key_file.as_deref().ok_or(Error::NoKey)?;
    let key = Key::read(file, "admin.health.webhook.key_file", crypt)?;
    let (uri, caller) =
        jwks::caller(url, config.ca_file.as_deref().map(Path::new)).map_err(Error::Address)?;
    let (sender, told) = channel(QUEUE_MAX);
    let key = key.derive(PURPOSE);
    Ok((Teller(Some(sender)), Some(Sending { caller, uri, key, config: config.clone(), told })))
}

impl Sending {
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let told = tokio::select! {
                told = self.told.recv() => told,
                () = stop.cancelled() => return,
            };
            let Some(told) = told else { return };
            tokio::select! {
                () = self.deliver(&told) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn deliver(&self, told: &Told) {
        let body = serde_json::to_string(told).unwrap_or_default();
        let signature = format!("sha256={}", hex(hmac::sign(&self.key, body.as_bytes()).as_ref()));
        let mut pause = self.config.backoff_min.0;
        for attempt in 1..=self.config.attempts_max {
            match self.attempt(&body, &signature).await {
                Ok(()) => {
                    METRICS.fleet.webhooks.with_label_values(&["delivered"]).inc();
                    return;
                }
                Err(error) => {
                    tracing::warn!(error, attempt, check = told.check.name, "the webhook was not told");
                }
            }
            if attempt < self.config.attempts_max {
                tokio::time::sleep(pause).await;
                pause = next(pause, self.config.backoff_max.0);
            }
        }
        METRICS.fleet.webhooks.with_label_values(&["given_up"]).inc();
        tracing::error!(check = told.check.name, "telling the webhook of a change is given up");
    }

    async fn attempt(&self, body: &str, signature: &str) -> Result<(), String> {
        let told = |error: &dyn fmt::Display| error.to_string();
        let request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("penstock-signature", signature)
            .body(Body::from(body.to_owned()))
            .map_err(|error| told(&error))?;
        let sent = tokio::time::timeout(self.config.timeout.0, self.caller.request(request)).await;
        let answer = sent.map_err(|_| "no answer in time".to_owned())?.map_err(|error| told(&error))?;
        // Its body is not read, and with it the connection ends.
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
    }
}

fn next(pause: Duration, max: Duration) -> Duration {
    pause.saturating_mul(2).min(max)
}

/// What a body is signed with, for whoever checks it.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut pause = Duration::from_secs(1);
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(pause.as_secs());
            pause = next(pause, Duration::from_secs(6));
        }
        assert_eq!(all, [1, 2, 4, 6, 6]);
    }

    #[tokio::test]
    async fn a_full_queue_holds_nobody_up_and_an_address_needs_a_key() {
        let (sender, _told) = channel(1);
        let teller = Teller(Some(sender));
        let check = Check {
            name: "x",
            state: super::super::State::Ok,
            sentence: String::new(),
            hint: String::new(),
            since: String::new(),
        };
        let told = Told { id: String::new(), at: String::new(), instance: String::new(), before: "", check };
        let dropped = || METRICS.fleet.webhooks.with_label_values(&["dropped"]).get();
        let before = dropped();
        teller.tell(told.clone());
        assert_eq!(dropped(), before);
        teller.tell(told);
        assert_eq!(dropped(), before + 1);
        let url = Some("https://example.invalid/hook".to_owned());
        assert!(matches!(
            open(&Webhook { url, ..Webhook::default() }, &crypt::Config::default()),
            Err(Error::NoKey)
        ));
        assert!(open(&Webhook::default(), &crypt::Config::default()).unwrap().1.is_none());
    }
}
