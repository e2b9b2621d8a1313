//! Moments as text, as JSON has them: RFC 3339 in UTC.
//!
//! Refuses other forms.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serializer, de};

pub fn serialize<S: Serializer>(at: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = || de::Error::custom("write a time as 2027-01-01T12:00:00Z");
    Ok(DateTime::parse_from_rfc3339(&text).map_err(|_| wrong())?.to_utc())
}

/// The same where there may be none.
pub mod option {
    use super::{DateTime, Deserialize, Deserializer, Serializer, Utc, de};

    pub fn serialize<S: Serializer>(at: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let wrong = || de::Error::custom("write a time as 2027-01-01T12:00:00Z");
        Ok(Some(DateTime::parse_from_rfc3339(&text).map_err(|_| wrong())?.to_utc()))
    }
}
