//! `penstock line`: asks an admin process to act on the running line, and waits for what comes of it.
//!
//! Refuses to give orders itself: a pause has to be said again as long as it lasts, and everything has to be written
//! down by the process that has the trail.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Error, runtime};
use crate::admin::console::remote::{Remote, told};
use crate::units::Secret;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A reload takes longest.
const JOB_MAX: Duration = Duration::from_secs(60);

/// What is asked for, and how much of it is waited for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of the route, such as `/v1/line/flush`.
    pub path: &'static str,
    pub body: Value,
    pub dry_run: bool,
    /// Whether its first step says all, since the job goes on for as long as what was asked for.
    pub lasts: bool,
}

/// Where the admin process is.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub url: &'a str,
    pub authorities: Option<&'a Path>,
    pub token: Secret,
}

/// What came of it: the job, and what each process said.
#[derive(Clone, Debug)]
pub struct Came {
    /// None of a trial.
    pub job: Option<String>,
    /// Of a pause.
    pub until: Option<String>,
    /// A list of `address`, `ok`, `said`.
    pub pods: Value,
}

/// Asks, and waits until something came of it.
pub fn ask(place: Place<'_>, wanted: &Wanted) -> Result<Came, Error> {
    runtime()?.block_on(async {
        let remote = Remote::new(place.url, place.authorities, place.token)?;
        let query = if wanted.dry_run { "?dry_run=true" } else { "" };
        let answer = remote.call(&format!("{}{query}", wanted.path), Some(&wanted.body)).await?;
        if wanted.dry_run {
            return Ok(Came { job: None, until: None, pods: field(&answer, "pods") });
        }
        let id = field(&answer, "id").as_str().unwrap_or_default().to_owned();
        let looked = async {
            loop {
                let job = remote.call(&format!("/v1/jobs/{id}"), None).await?;
                if let Some(came) = outcome(&job, wanted.lasts)? {
                    return Ok(Came { job: Some(id.clone()), ..came });
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let slow = || Error::Failed(anyhow::anyhow!("job {id} goes on\nhint: look at GET /v1/jobs/{id}"));
        tokio::time::timeout(JOB_MAX, looked).await.unwrap_or_else(|_| Err(slow()))
    })
}

/// What a job has come to; nothing yet of one that runs.
fn outcome(job: &Value, lasts: bool) -> Result<Option<Came>, Error> {
    let first = |name: &str| {
        let mut events = job.get("events").and_then(Value::as_array).into_iter().flatten();
        events.find_map(|event| event.get(name).cloned())
    };
    let until = first("until").and_then(|until| until.as_str().map(str::to_owned));
    match job.get("state").and_then(Value::as_str) {
        Some("running") if !lasts => Ok(None),
        // Before the first step has been judged, nobody may have begun it.
        Some("running") => Ok(first("pods").filter(any_ok).map(|pods| Came { job: None, until, pods })),
        Some("done") => Ok(Some(Came { job: None, until, pods: field(&field(job, "result"), "pods") })),
        _ => Err(Error::Failed(anyhow::anyhow!(told(&field(job, "error"))))),
    }
}

/// What a field holds, and null where there is none.
fn field(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or_default()
}

fn any_ok(pods: &Value) -> bool {
    pods.as_array().is_some_and(|pods| pods.iter().any(|pod| field(pod, "ok") == true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pause_has_begun_once_a_process_does_it_and_the_rest_are_done_when_they_end() {
        let pods = |ok: bool| json!([{ "address": "a:1", "ok": ok, "said": "so" }]);
        let running = |ok: bool| json!({ "state": "running", "events": [{ "read": 0 }, { "read": 0, "until": "then", "pods": pods(ok) }] });
        let came = outcome(&running(true), true).unwrap().unwrap();
        assert_eq!((came.until.as_deref(), &came.pods), (Some("then"), &pods(true)));
        assert!(outcome(&running(false), true).unwrap().is_none());
        assert!(outcome(&running(true), false).unwrap().is_none());
        let done = json!({ "state": "done", "events": [], "result": { "pods": pods(true) } });
        assert_eq!(outcome(&done, false).unwrap().unwrap().pods, pods(true));
        let failed = json!({ "state": "failed", "error": { "detail": "nobody did it", "hint": "look" } });
        assert_eq!(outcome(&failed, true).unwrap_err().to_string(), "nobody did it\nhint: look");
    }
}
