//! Addresses of servers as people write them, and the settings that may not be set by hand.
//!
//! Refuses to connect. An endpoint's address never carries credentials, so that it can stand in logs and
//! metric labels (invariant I10); a DSN may, and is taken apart here.

use hyper::Uri;

use crate::units::Secret;

const DURABLE: &str = "an answer must mean that every row is stored, or rows would be lost";
const BY_BATCH: &str = "the line sets it for each statement";

/// ClickHouse settings that `clickhouse.settings` refuses: name, reason, and what to do instead.
pub const REFUSED: &[(&str, &str, &str)] = &[
    ("async_insert", DURABLE, "set batch.rows_max and batch.age_max for larger inserts"),
    ("wait_for_async_insert", DURABLE, "leave it out"),
    ("input_format_allow_errors_num", DURABLE, "bad rows go to the dead-letter topic by themselves"),
    ("input_format_allow_errors_ratio", DURABLE, "bad rows go to the dead-letter topic by themselves"),
    ("insert_deduplication_token", BY_BATCH, "leave it out"),
    ("query_id", BY_BATCH, "leave it out"),
    ("database", "it has a setting of its own", "set clickhouse.database"),
    ("user", "it has a setting of its own", "set clickhouse.user"),
    ("password", "it would be printed with the configuration", "set clickhouse.password_file"),
];

/// What is wrong with an endpoint or a DSN. Never shows the address, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address does not parse\nhint: write http://host:8123 or https://host:8443")]
    Unreadable,
    #[error(
        "the address begins with neither http:// nor https://\nhint: penstock speaks ClickHouse's HTTP interface: write http://host:8123 or https://host:8443"
    )]
    Scheme,
    #[error(
        "the address carries credentials\nhint: set clickhouse.user and clickhouse.password_file, or pass a DSN in CLICKHOUSE_URL"
    )]
    Credentials,
    #[error(
        "the address carries a query or a path\nhint: set clickhouse.database and clickhouse.settings instead"
    )]
    Extras,
}

/// An address that may carry everything that is needed to log in: `https://user:password@host:8443/database`.
#[derive(Clone, Debug, Default)]
pub struct Dsn {
    /// As in `clickhouse.endpoints`.
    pub endpoint: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: Option<String>,
}

impl Dsn {
    pub fn parse(text: &str) -> Result<Dsn, AddressError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(AddressError::Unreadable)?;
        let scheme = match scheme {
            "http" | "clickhouse" | "clickhouse+http" => "http",
            "https" | "clickhouse+https" | "clickhouses" => "https",
            _ => return Err(AddressError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        if path.contains(['/', '?', '#']) || host.contains(['?', '#']) {
            return Err(AddressError::Extras);
        }
        let endpoint = format!("{scheme}://{host}");
        check_endpoint(&endpoint)?;
        let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            Some((user, password)) => (percent_decode(user)?, percent_decode(password)?),
            None => (None, None),
        };
        let database = percent_decode(path)?;
        Ok(Dsn { endpoint, user, password: password.map(Secret::new), database })
    }
}

/// Whether an endpoint's address can be used as it is.
pub fn check_endpoint(text: &str) -> Result<(), AddressError> {
    let uri: Uri = text.parse().map_err(|_| AddressError::Unreadable)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(AddressError::Scheme);
    }
    let authority = uri.authority().ok_or(AddressError::Unreadable)?;
    if authority.as_str().contains('@') {
        return Err(AddressError::Credentials);
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(AddressError::Extras);
    }
    let port_is_written = authority.as_str().len() > authority.host().len();
    match uri.host().is_none_or(str::is_empty) || (port_is_written && uri.port_u16().is_none()) {
        true => Err(AddressError::Unreadable),
        false => Ok(()),
    }
}

/// `None` for the empty text.
fn percent_decode(text: &str) -> Result<Option<String>, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, tail) = tail.split_first_chunk::<2>().ok_or(AddressError::Unreadable)?;
        let digits = std::str::from_utf8(digits).map_err(|_| AddressError::Unreadable)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| AddressError::Unreadable)?);
        rest = tail;
    }
    let text = String::from_utf8(bytes).map_err(|_| AddressError::Unreadable)?;
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for good in ["http://localhost:8123", "https://ch.example", "http://[::1]:8123", "http://10.0.0.1:1/"]
        {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
        let bad = [
            ("", AddressError::Unreadable),
            ("http://", AddressError::Unreadable),
            ("http://host:99999", AddressError::Unreadable),
            ("localhost:8123", AddressError::Scheme),
            ("tcp://host:9000", AddressError::Scheme),
            ("http://user:hunter2@host:8123", AddressError::Credentials),
            ("http://host:8123/?database=x", AddressError::Extras),
            ("http://host:8123/x", AddressError::Extras),
        ];
        for (text, error) in bad {
            assert_eq!(check_endpoint(text), Err(error), "{text}");
            assert!(error.to_string().contains("\nhint: "));
        }
    }

    #[test]
    fn a_dsn_is_taken_apart() {
        let dsn = Dsn::parse("https://al%40ice:p%3Aw@ch.example:8443/events").unwrap();
        assert_eq!(dsn.endpoint, "https://ch.example:8443");
        assert_eq!(dsn.user.as_deref(), Some("al@ice"));
        assert_eq!(dsn.password.as_ref().map(Secret::expose), Some("p:w"));
        assert_eq!(dsn.database.as_deref(), Some("events"));
        assert!(!format!("{dsn:?}").contains("p:w"));
        let bare = Dsn::parse("clickhouse://host:8123").unwrap();
        assert_eq!((bare.endpoint.as_str(), bare.user, bare.database), ("http://host:8123", None, None));
        for bad in ["host", "tcp://host:9000", "http://u:%zz@host", "http://u:%c3@host", "http://host/a/b"] {
            assert!(Dsn::parse(bad).is_err(), "{bad}");
        }
    }
}
