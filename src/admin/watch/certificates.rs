//! Until when the certificates hold that this process shows to others.
//!
//! Refuses to judge anything else of them, and to look at keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::{Finding, State};
use crate::telemetry::metrics::METRICS;
use crate::tls;

const HINT: &str = "put a new certificate in its place; the process reads it at its next start";

/// The one that ends first; none where there is none.
pub fn look(files: &[(&str, PathBuf)], left_min: Duration, now: DateTime<Utc>) -> Option<Finding> {
    let found = files.iter().map(|(setting, path)| one(setting, path, left_min, now));
    found.reduce(Finding::worse)
}

fn one(setting: &str, path: &Path, left_min: Duration, now: DateTime<Utc>) -> Finding {
    match end(path) {
        Ok(end) => {
            METRICS.admin.certificate_end.with_label_values(&[setting]).set(end.timestamp());
            judge(setting, end, left_min, now)
        }
        Err(why) => {
            Finding::new(State::Degraded, &format!("{setting} cannot be looked at: {why}"), "check the file")
        }
    }
}

fn judge(setting: &str, end: DateTime<Utc>, left_min: Duration, now: DateTime<Utc>) -> Finding {
    let told = end.to_rfc3339_opts(SecondsFormat::Secs, true);
    match (end - now).to_std() {
        Err(_) => Finding::new(State::Failing, &format!("{setting} has ended at {told}"), HINT),
        Ok(left) if left < left_min => {
            Finding::new(State::Degraded, &format!("{setting} ends at {told}"), HINT)
        }
        Ok(_) => Finding::ok(&format!("{setting} holds until {told}")),
    }
}

/// When the first certificate of the file ends.
fn end(path: &Path) -> Result<DateTime<Utc>, String> {
    let all = tls::certificates(path).map_err(|error| error.to_string())?;
    let first = all.first().ok_or_else(|| "it holds no certificate".to_owned())?;
    let certificate = Certificate::from_der(first.as_ref()).map_err(|error| error.to_string())?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    let end = i64::try_from(end.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    end.ok_or_else(|| "its end is no time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_before_they_end() {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/http/testdata/cert.pem"));
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc);
        let day = Duration::from_secs(86_400);
        let files = [("admin.tls.cert_file", path)];
        let state = |now: &str| look(&files, day * 14, at(now)).unwrap();
        assert_eq!(state("2126-10-01T00:00:00Z").state, State::Ok);
        let soon = state("2126-11-01T00:00:00Z");
        assert_eq!(soon.state, State::Degraded);
        assert!(soon.sentence.contains("admin.tls.cert_file ends at 2126-11-03T"), "{soon:?}");
        assert_eq!(state("2126-12-01T00:00:00Z").state, State::Failing);
        assert_eq!(look(&[], day, at("2030-01-01T00:00:00Z")), None);
        let missing = look(&[("x", PathBuf::from("/nowhere"))], day, at("2030-01-01T00:00:00Z")).unwrap();
        assert_eq!(missing.state, State::Degraded);
    }
}
