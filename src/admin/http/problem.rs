//! What went wrong, as RFC 9457 wants it told, with what to do about it.
//!
//! Refuses to show what a token is. Codes are stable; sentences are not.

use std::fmt;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::admin::access::revoked;
use crate::admin::{access, care, command, desk, erase, jobs, lifecycle, migrate, schedule};
use crate::clickhouse;
use crate::crypt;

/// A problem, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// `urn:penstock:problem:` and a stable code.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// What to do about it, if there is something.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    pub hint: String,
    /// Seconds to wait before it is worth asking again.
    #[serde(skip)]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// The text's lines that begin with `hint: ` say what to do.
    pub fn new(status: StatusCode, code: &str, text: &str) -> Problem {
        let (hints, lines): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("hint: "));
        let hints: Vec<&str> = hints.iter().filter_map(|line| line.strip_prefix("hint: ")).collect();
        Problem {
            kind: format!("urn:penstock:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: lines.join("\n"),
            hint: hints.join("\n"),
            retry_after_s: None,
        }
    }

    /// What is not as the description has it.
    pub fn bad(text: &str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", text)
    }

    /// What is as the description has it, and yet cannot be.
    pub fn unfit(text: &str) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", text)
    }

    pub fn after(self, seconds: u64) -> Problem {
        Problem { retry_after_s: Some(seconds.max(1)), ..self }
    }

    pub fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = (status, self.value().to_string()).into_response();
        let headers = answer.headers_mut();
        let mut set = |name: HeaderName, value: HeaderValue| headers.insert(name, value);
        set(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            set(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            set(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

impl From<access::Error> for Problem {
    fn from(error: access::Error) -> Self {
        let status = match error {
            access::Error::Revoked => {
                return Problem::new(StatusCode::UNAUTHORIZED, "revoked", &error.to_string());
            }
            access::Error::Unknown => {
                return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "revocations", &error.to_string())
                    .after(5);
            }
            access::Error::NoSecret => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Problem::new(status, "token", &error.to_string())
    }
}

impl From<command::Error> for Problem {
    fn from(error: command::Error) -> Self {
        let (status, code) = match error {
            command::Error::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            command::Error::Untraced { .. } => (StatusCode::SERVICE_UNAVAILABLE, "untraced"),
            command::Error::Unfinished { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "unfinished"),
        };
        Problem::new(status, code, &told(&error))
    }
}

impl From<jobs::Error> for Problem {
    fn from(error: jobs::Error) -> Self {
        let (status, code) = match error {
            jobs::Error::Busy(_) | jobs::Error::Waiting(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            jobs::Error::KeyUsed => (StatusCode::CONFLICT, "key_used"),
            jobs::Error::Unknown(_) => (StatusCode::NOT_FOUND, "no_job"),
            jobs::Error::Ended(_) => (StatusCode::CONFLICT, "job_ended"),
            jobs::Error::Overlap { .. } => (StatusCode::CONFLICT, "overlap"),
            jobs::Error::Elsewhere { .. } => (StatusCode::CONFLICT, "job_elsewhere"),
            jobs::Error::Unread(_) => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
            jobs::Error::Closed => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        };
        let problem = Problem::new(status, code, &error.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE { problem.after(5) } else { problem }
    }
}

impl From<schedule::Error> for Problem {
    fn from(error: schedule::Error) -> Self {
        match error {
            schedule::Error::Jobs(error) => error.into(),
            error @ schedule::Error::Unknown(..) => {
                Problem::new(StatusCode::NOT_FOUND, "no_schedule", &error.to_string())
            }
            error @ schedule::Error::Forbidden { .. } => {
                Problem::new(StatusCode::FORBIDDEN, "forbidden", &error.to_string())
            }
        }
    }
}

impl From<revoked::Error> for Problem {
    fn from(error: revoked::Error) -> Self {
        match error {
            revoked::Error::Command(error) => error.into(),
            revoked::Error::ClickHouse(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unreachable", &told(&error))
            }
            error => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "token", &error.to_string()),
        }
    }
}

impl From<migrate::Error> for Problem {
    fn from(error: migrate::Error) -> Self {
        use migrate::Error as E;
        let (status, code) = match &error {
            E::Command(_) => {
                let E::Command(error) = error else { return Problem::bad("") };
                return error.into();
            }
            E::ClickHouse(error) => return server(error),
            E::Answer(_) => (StatusCode::BAD_GATEWAY, "clickhouse"),
            E::NoMigration(_) => (StatusCode::NOT_FOUND, "no_migration"),
            E::PlanDiffers { .. } => (StatusCode::CONFLICT, "plan_differs"),
            E::Locked { .. } => (StatusCode::CONFLICT, "locked"),
            E::LockLost(_) => (StatusCode::CONFLICT, "lock_lost"),
            E::Changed(_) | E::Missing(_) => (StatusCode::CONFLICT, "files_differ"),
            E::HalfTakenBack(_) | E::Unfinished(_) => (StatusCode::CONFLICT, "unfinished_migration"),
            E::Unknown { .. } | E::StillRunning { .. } => (StatusCode::CONFLICT, "in_doubt"),
            E::Danger { .. } | E::Undeclared { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "danger"),
            E::NoDown(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no_down_file"),
            E::Ambiguous(_) | E::Files(_) | E::Folder { .. } | E::Values { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "files")
            }
            E::Disk { .. } => (StatusCode::INSUFFICIENT_STORAGE, "disk"),
            E::Cancelled { .. } => (StatusCode::CONFLICT, "cancelled"),
            E::Statement { .. } | E::NotVerified { .. } | E::Shadow { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "statement")
            }
        };
        Problem::new(status, code, &told(&error))
    }
}

/// What ClickHouse said.
fn server(error: &clickhouse::Error) -> Problem {
    let (status, code) = match error.is_unreachable() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
        false => (StatusCode::BAD_GATEWAY, "clickhouse"),
    };
    let text = told(error);
    match text.contains("hint: ") {
        true => Problem::new(status, code, &text),
        false => Problem::new(status, code, &format!("{text}\nhint: {}", error.hint())),
    }
}

impl From<desk::Error> for Problem {
    fn from(error: desk::Error) -> Self {
        use desk::Error as E;
        let (status, code) = match &error {
            E::ClickHouse(error) => return server(error),
            E::NoEndpoint(..) => (StatusCode::UNPROCESSABLE_ENTITY, "no_endpoint"),
            E::NoTable(_) => (StatusCode::NOT_FOUND, "no_table"),
            E::StillRunning { .. } => (StatusCode::GATEWAY_TIMEOUT, "still_running"),
            E::Disk { .. } => (StatusCode::INSUFFICIENT_STORAGE, "disk"),
            E::Cancelled(_) => (StatusCode::CONFLICT, "cancelled"),
            E::Lock(_) => (StatusCode::CONFLICT, "lock_lost"),
            E::Answer(_) => (StatusCode::BAD_GATEWAY, "clickhouse"),
        };
        Problem::new(status, code, &told(&error))
    }
}

impl From<care::Error> for Problem {
    fn from(error: care::Error) -> Self {
        use care::Error as E;
        let (status, code) = match error {
            E::Desk(error) => return error.into(),
            E::Command(error) => return error.into(),
            E::NoPartition { .. } => (StatusCode::NOT_FOUND, "no_partition"),
            E::NoColumn { .. } => (StatusCode::NOT_FOUND, "no_column"),
            E::NoParts { .. } | E::NoTarget => (StatusCode::UNPROCESSABLE_ENTITY, "no_parts"),
            E::NoSample => (StatusCode::CONFLICT, "no_sample"),
        };
        Problem::new(status, code, &told(&error))
    }
}

impl From<lifecycle::Error> for Problem {
    fn from(error: lifecycle::Error) -> Self {
        use lifecycle::Error as E;
        let (status, code) = match error {
            E::Desk(error) => return error.into(),
            E::Command(error) => return error.into(),
            E::Locked { .. } => (StatusCode::CONFLICT, "locked"),
            E::Files(_) | E::Floor { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "table_files"),
            E::NoTableFile(_) | E::NoRules(_) => (StatusCode::NOT_FOUND, "no_rules"),
            E::PlanDiffers { .. } => (StatusCode::CONFLICT, "plan_differs"),
            E::Drifted(_) => (StatusCode::CONFLICT, "drifted"),
            E::NoPartition { .. } => (StatusCode::NOT_FOUND, "no_partition"),
            E::Held { .. } => (StatusCode::CONFLICT, "held"),
            E::HoldExists(_) => (StatusCode::CONFLICT, "hold_exists"),
            E::NoHold(_) => (StatusCode::NOT_FOUND, "no_hold"),
            E::HoldOver(_) => (StatusCode::UNPROCESSABLE_ENTITY, "hold_over"),
            E::ForeignTtl { .. } => (StatusCode::CONFLICT, "foreign_ttl"),
            E::TooLarge { .. } => (StatusCode::CONFLICT, "too_large_to_drop"),
        };
        Problem::new(status, code, &told(&error))
    }
}

impl From<erase::Error> for Problem {
    fn from(error: erase::Error) -> Self {
        use erase::Error as E;
        let (status, code) = match error {
            E::Desk(error) => return error.into(),
            E::Command(error) => return error.into(),
            E::Lifecycle(error) => return error.into(),
            E::NoTable(_) => (StatusCode::NOT_FOUND, "no_table"),
            E::NoValue { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no_value"),
            E::Held { .. } => (StatusCode::CONFLICT, "held"),
            E::Left { .. } => (StatusCode::CONFLICT, "left"),
        };
        Problem::new(status, code, &told(&error))
    }
}

impl From<crypt::Error> for Problem {
    fn from(error: crypt::Error) -> Self {
        use crypt::Error as E;
        let (status, code) = match &error {
            E::NoRing | E::NoPrimary => (StatusCode::NOT_FOUND, "no_ring"),
            E::NoKey(_) => (StatusCode::NOT_FOUND, "no_key"),
            E::Moved { .. } => (StatusCode::CONFLICT, "rotated_meanwhile"),
            E::InUse { .. } | E::IsPrimary(_) => (StatusCode::CONFLICT, "key_in_use"),
            E::Full { .. } => (StatusCode::CONFLICT, "ring_full"),
            E::File { .. } | E::NotARing { .. } | E::Needs { .. } | E::Random => {
                (StatusCode::INTERNAL_SERVER_ERROR, "key_ring")
            }
            E::NotAnEnvelope(_) | E::Refused { .. } | E::TooLarge { .. } | E::Derived { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "envelope")
            }
        };
        Problem::new(status, code, &told(&error))
    }
}

/// An error with what is behind it.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(&format!("\ncaused by: {message}"));
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_have_a_field_of_their_own() {
        let problem = Problem::new(StatusCode::CONFLICT, "x", "one\ntwo\nhint: do this\nhint: and that");
        assert_eq!((problem.detail.as_str(), problem.hint.as_str()), ("one\ntwo", "do this\nand that"));
        let value = problem.value();
        assert_eq!((&value["type"], &value["status"]), (&"urn:penstock:problem:x".into(), &409.into()));
        let answer = problem.after(0).into_response();
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
