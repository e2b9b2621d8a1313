//! The processes of the line, over the network: where their names lead, and what each says.
//!
//! Refuses to judge what they say, to wait long for any, and to read more than a bound. A name stands for all of its
//! addresses.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, Uri};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::board::{PODS_MAX, Silence};
use crate::telemetry::summary::Snapshot;

/// Within the second between two looks.
const ANSWER_MAX: Duration = Duration::from_millis(800);
const CONNECT_MAX: Duration = Duration::from_millis(500);
const LOOKUP_MAX: Duration = Duration::from_secs(2);
const BODY_BYTES_MAX: usize = 1 << 20;
/// Processes that are asked at a time.
const ASKED_AT_A_TIME: usize = 50;

/// Where names lead, and which lead nowhere, with why.
pub type Found = (BTreeSet<String>, Vec<(String, String)>);

/// A host and a port, as `admin.console.lines` has them.
pub fn source(url: &str) -> Option<(String, u16)> {
    let rest = url.strip_prefix("http://")?;
    let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let inner = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let is_host = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_name),
    };
    let port = port.parse().ok().filter(|port| 0 < *port)?;
    is_host.then(|| (inner.unwrap_or(host).to_owned(), port))
}

/// What asks them.
pub struct Lines {
    sources: Vec<(String, u16)>,
    client: Client<HttpConnector, Body>,
}

impl Lines {
    /// Asks nobody yet. What is no source is left out: the configuration was checked.
    pub fn new(urls: &[String]) -> Lines {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(tcp);
        Lines { sources: urls.iter().filter_map(|url| source(url)).collect(), client }
    }

    /// Looks up every name.
    pub async fn resolve(&self) -> Found {
        let lookups = self.sources.iter().map(async |(host, port)| {
            let found =
                tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host.as_str(), *port))).await;
            let found = match found {
                Ok(Ok(found)) => Ok(found.map(|address| address.to_string()).collect::<Vec<_>>()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the name was not looked up in time".to_owned()),
            };
            (host, found)
        });
        let (mut addresses, mut faults) = (BTreeSet::new(), Vec::new());
        for (host, found) in join_all(lookups).await {
            match found {
                Ok(found) if found.is_empty() => faults.push((host.clone(), "it has no address".to_owned())),
                Ok(found) => addresses.extend(found),
                Err(why) => faults.push((host.clone(), why)),
            }
        }
        while PODS_MAX < addresses.len() {
            addresses.pop_last();
        }
        (addresses, faults)
    }

    /// Asks all of them, side by side.
    pub async fn ask_all(&self, addresses: &[String]) -> Vec<(String, Result<Snapshot, Silence>)> {
        let asked: Vec<_> = addresses.iter().cloned().map(|address| self.named(address)).collect();
        stream::iter(asked).buffer_unordered(ASKED_AT_A_TIME).collect().await
    }

    /// Sends one of them something, and gives what it answers.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(
        &self,
        request: Request<Body>,
        within: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let sent = async {
            let answer = self.client.request(request).await.map_err(|error| refused(&error).why)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let timed = tokio::time::timeout(within, sent).await;
        timed.unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs())))
    }

    async fn named(&self, address: String) -> (String, Result<Snapshot, Silence>) {
        let answer = self.ask(&address).await;
        (address, answer)
    }

    async fn ask(&self, address: &str) -> Result<Snapshot, Silence> {
        let slow = |why: String| Silence { is_gone: false, why };
        let look = async {
            let uri: Uri =
                format!("http://{address}/v1/summary").parse().map_err(|_| slow("no address".to_owned()))?;
            let answer = self.client.get(uri).await.map_err(|error| refused(&error))?;
            let status = answer.status();
            if status != StatusCode::OK {
                return Err(Silence { is_gone: true, why: format!("it answers {status}") });
            }
            let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| slow(error.to_string()))?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| slow(format!("its answer cannot be read: {error}")))
        };
        let timed = tokio::time::timeout(ANSWER_MAX, look).await;
        timed.unwrap_or_else(|_| Err(slow(format!("no answer within {} ms", ANSWER_MAX.as_millis()))))
    }
}

/// Whether nobody is there: only a refused connection says so.
fn refused(error: &hyper_util::client::legacy::Error) -> Silence {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let (mut is_gone, mut why) = (false, error.to_string());
    while let Some(error) = cause {
        why = error.to_string();
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            is_gone |= error.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    Silence { is_gone, why }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::telemetry::health::{Health, State};
    use crate::telemetry::http::Server;

    #[test]
    fn sources_are_a_host_and_a_port() {
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(source("http://penstock-metrics:9464"), is("penstock-metrics", 9464));
        assert_eq!(source("http://127.0.0.1:9464/"), is("127.0.0.1", 9464));
        assert_eq!(source("http://[::1]:9464"), is("::1", 9464));
        for wrong in [
            "",
            "a:1",
            "https://a:1",
            "http://a",
            "http://a:0",
            "http://a:1/x",
            "http://u@a:1",
            "http://:1",
            "http://[x]:1",
        ] {
            assert_eq!(source(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_name_stands_for_its_addresses_and_each_is_asked_within_bounds() {
        let health = Health::new(Duration::from_secs(30));
        health.set_state(State::Running, "reading");
        let server = Server::start("127.0.0.1:0", health).unwrap();
        // Takes connections, and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let urls =
            [server.addr(), silent.local_addr().unwrap(), gone].map(|address| format!("http://{address}"));
        let lines = Lines::new(&[urls.as_slice(), &["http://no-such-name.invalid:1".to_owned()]].concat());
        let (addresses, faults) = lines.resolve().await;
        assert_eq!((addresses.len(), faults.len(), faults[0].0.as_str()), (3, 1, "no-such-name.invalid"));
        let begun = Instant::now();
        let addresses: Vec<String> = addresses.into_iter().collect();
        let answers = lines.ask_all(&addresses).await;
        assert!(begun.elapsed() < ANSWER_MAX * 2, "side by side");
        let of = |address: String| &answers.iter().find(|(asked, _)| *asked == address).unwrap().1;
        assert_eq!(of(server.addr().to_string()).as_ref().unwrap().sentence, "reading");
        assert!(!of(silent.local_addr().unwrap().to_string()).as_ref().unwrap_err().is_gone);
        assert!(of(gone.to_string()).as_ref().unwrap_err().is_gone);
        server.stop();
    }
}
