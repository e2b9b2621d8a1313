//! The metrics of the admin interface: requests, refusals, the trail, certificates.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::catalogue::Builder;

/// Up to the time-out of a request. Coarse, since there is a set for each route.
const SECONDS: [f64; 6] = [0.01, 0.05, 0.2, 1.0, 5.0, 30.0];
/// From a statement that only changes metadata to mutations of a day.
const MIGRATION_SECONDS: [f64; 9] = [0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 14_400.0, 86_400.0];

pub struct Admin {
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
    pub jobs: IntCounterVec,
    pub auth_failures: IntCounterVec,
    pub denied: IntCounterVec,
    pub trail_entries: IntCounterVec,
    pub chain_ok: IntGaugeVec,
    pub chain_verified: IntGaugeVec,
    pub certificate_end: IntGaugeVec,
    pub coalesced: IntCounterVec,
    pub migration_duration: HistogramVec,
    pub key_age: IntGaugeVec,
}

impl Admin {
    pub(super) fn new(b: &Builder) -> Admin {
        Admin {
            requests: b.counter(
                "admin_requests_total",
                "Requests to the admin process by what they ask for and the answer's status",
                &["action", "status"],
            ),
            request_duration: b.histogram(
                "admin_request_duration_seconds",
                "Time from a request to its answer, by what it asks for",
                &["action"],
                &SECONDS,
            ),
            jobs: b.counter(
                "admin_jobs_total",
                "Jobs of the admin process that ended: done, failed, cancelled, skipped",
                &["action", "outcome"],
            ),
            auth_failures: b.counter(
                "admin_auth_failures_total",
                "Requests without a token that holds: missing, invalid, revoked, too_many",
                &["reason"],
            ),
            denied: b.counter(
                "admin_authz_denied_total",
                "Requests of somebody known who may not do that",
                &["action"],
            ),
            trail_entries: b.counter(
                "admin_audit_records_total",
                "Entries of the trail of commands by phase: intent, refused, done, failed",
                &["phase"],
            ),
            // Without labels, and yet not there before they are set: in a process of the line 0 would be a lie.
            chain_ok: b.gauge(
                "admin_audit_chain_ok",
                "1 if the file of the trail was sound when it was verified last, else 0",
                &[],
            ),
            chain_verified: b.gauge(
                "admin_audit_last_verified_timestamp_seconds",
                "When the file of the trail was verified last, in seconds since 1970",
                &[],
            ),
            certificate_end: b.gauge(
                "admin_cert_not_after_timestamp_seconds",
                "When a certificate that this process shows ends, in seconds since 1970, by its setting",
                &["name"],
            ),
            coalesced: b.counter(
                "admin_query_coalesced_total",
                "Requests that waited for what another one of the same was finding, and got that",
                &["action"],
            ),
            migration_duration: b.histogram(
                "admin_migration_duration_seconds",
                "Time from the first statement of a migration's file to its last, of those that this process ran to their end",
                &["direction"],
                &MIGRATION_SECONDS,
            ),
            key_age: b.gauge(
                "admin_key_age_seconds",
                "Age of the key that new things are made with, by what it is for: data (of the key ring); other keys have no date",
                &["purpose"],
            ),
        }
    }
}
