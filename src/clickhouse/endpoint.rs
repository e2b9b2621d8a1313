//! One server: its client, its gate, and what is going on with it.
//!
//! Refuses to retry and to choose. Every request passes [`Endpoint::request`], so that waits, time-outs,
//! counts and the gate see all of them. It is named by host and port, never by credentials (I10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Uri;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::config::{Compression, Config};
use super::error::Error;
use super::gate::State;
use super::http::{self, Connections};
use super::settings::Known;
use super::tls;
use super::transport::Transport;
use crate::telemetry::metrics::METRICS;

/// What is known about one endpoint now.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointStatistics {
    pub endpoint: String,
    pub gate: State,
    /// Requests waiting for an answer.
    pub in_use: usize,
    /// Connections that are open and not used by a request, as far as the counts tell.
    pub idle: usize,
    /// Requests that had to wait for their turn.
    pub waits: u64,
    /// Connections made so far.
    pub opened: u64,
    pub requests: u64,
    pub failures: u64,
    /// Moving average of the time to an answer, in milliseconds.
    pub latency_ms: u64,
}

/// What a check of one endpoint found.
#[derive(Debug)]
pub struct EndpointHealth {
    pub endpoint: String,
    pub gate: State,
    /// Time to the answer, or why there was none.
    pub result: Result<Duration, Error>,
}

pub struct Endpoint {
    name: String,
    /// As it stands in the configuration.
    url: String,
    /// Cancelled once it is no longer in force.
    retired: CancellationToken,
    client: clickhouse::Client,
    transport: Transport,
    breaker: Breaker,
    permits: Semaphore,
    permit_timeout: Duration,
    connections: Arc<Connections>,
    in_flight: AtomicUsize,
    waits: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    latency_us: AtomicU64,
    last_failure: Mutex<String>,
    known: Mutex<Option<Arc<Known>>>,
}

impl Endpoint {
    /// Makes the clients of all endpoints; connects to none.
    ///
    /// # Errors
    /// An address that is none, one with credentials in it, or TLS files that cannot be used.
    pub fn all(config: &Config) -> Result<Vec<Arc<Endpoint>>, Error> {
        let faults = config.faults();
        if !faults.is_empty() {
            let hint = "mend these values; `penstock config schema` tells what each means";
            return Err(Error::Config { message: faults.join("\n"), hint });
        }
        let parsed = |url: &String| parse(url).map(|(uri, name)| (url.clone(), uri, name));
        let urls = config.endpoints.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        let any_https = urls.iter().any(|(_, uri, _)| uri.scheme_str() == Some("https"));
        let tls = tls::client_config(&config.tls, any_https)?;
        let new = |(url, uri, name): (String, Uri, String)| {
            Endpoint::new(config, (url, &uri, name), tls.clone()).map(Arc::new)
        };
        urls.into_iter().map(new).collect()
    }

    fn new(
        config: &Config,
        (url, uri, name): (String, &Uri, String),
        tls: rustls::ClientConfig,
    ) -> Result<Endpoint, Error> {
        let connections = Connections::new(&name);
        let bodies = http::client(tls.clone(), config.connect_timeout.0, connections.clone());
        let http = http::client(tls, config.connect_timeout.0, connections.clone());
        let mut client = clickhouse::Client::with_http_client(http)
            .with_url(uri.to_string())
            .with_user(&config.user)
            .with_database(&config.database)
            .with_product_info("penstock", env!("CARGO_PKG_VERSION"))
            .with_compression(match config.compression {
                // Results are small; the client knows no third way.
                Compression::Lz4 | Compression::Zstd => clickhouse::Compression::Lz4,
                Compression::None => clickhouse::Compression::None,
            });
        if let Some(password) = &config.password {
            client = client.with_password(password.expose());
        }
        for (setting, value) in &config.settings {
            client = client.with_setting(setting, value);
        }
        // Before its first request, so that the first connection is seen as one more.
        METRICS.endpoint_connections_opened.with_label_values(&[name.as_str()]);
        METRICS.endpoint_requests_in_flight.with_label_values(&[name.as_str()]);
        Ok(Endpoint {
            breaker: Breaker::new(&name, config.breaker.clone()),
            transport: Transport::new(config, uri, name.clone(), bodies)?,
            name,
            url,
            retired: CancellationToken::new(),
            client,
            permits: Semaphore::new(usize::try_from(config.connections_max.max(1)).unwrap_or(1)),
            permit_timeout: config.request_timeout.0,
            connections,
            in_flight: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            latency_us: AtomicU64::new(0),
            last_failure: Mutex::new(String::new()),
            known: Mutex::new(None),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cancelled once it is no longer in force.
    pub fn retired(&self) -> CancellationToken {
        self.retired.clone()
    }

    /// It is no longer in force: nothing is told of it from now on, but for requests that are under way.
    pub fn retire(&self) {
        self.retired.cancel();
        let name = self.name();
        // A series that was never made cannot be removed, which is as well.
        for state in [State::Open, State::Limited, State::Shut] {
            let _ = METRICS.gate_state.remove_label_values(&[name, state.name()]);
            let _ = METRICS.gate_transitions.remove_label_values(&[name, state.name()]);
        }
        let _ = METRICS.endpoint_connections_opened.remove_label_values(&[name]);
        let _ = METRICS.ch_up.remove_label_values(&[name]);
        let _ = METRICS.endpoint_requests_in_flight.remove_label_values(&[name]);
    }

    pub fn client(&self) -> &clickhouse::Client {
        &self.client
    }

    /// What carries inserts; everything else goes through the client.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    pub fn outstanding(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Runs one request within `timeout` and notes how it ended. Waits for its turn first.
    pub async fn request<T, F: Future<Output = Result<T, Error>>>(
        &self,
        timeout: Duration,
        op: F,
    ) -> Result<T, Error> {
        let result = self.run(timeout, op).await;
        self.note(result.as_ref().err());
        result
    }

    /// The same for a statement that may be slow by itself: its time-out says nothing of the server,
    /// which the pings watch, so that a few heavy reads cannot shut the gate for the inserts.
    pub async fn statement<T, F: Future<Output = Result<T, Error>>>(
        &self,
        timeout: Duration,
        op: F,
    ) -> Result<T, Error> {
        let result = self.run(timeout, op).await;
        match &result {
            Err(Error::Timeout { .. }) => {}
            other => self.note(other.as_ref().err()),
        }
        result
    }

    async fn run<T, F: Future<Output = Result<T, Error>>>(
        &self,
        timeout: Duration,
        op: F,
    ) -> Result<T, Error> {
        let _permit = self.permit(self.permit_timeout.min(timeout)).await?;
        let _in_flight = InFlight::new(self);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let late = || Error::Timeout { endpoint: self.name.clone(), after: timeout };
        let result = tokio::time::timeout(timeout, op).await.unwrap_or_else(|_| Err(late()));
        self.note_latency(start.elapsed());
        if result.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn note(&self, error: Option<&Error>) {
        let against = error.filter(|error| error.counts_against_endpoint());
        if let Some(error) = against {
            self.note_failure(error);
        }
        self.breaker.record(against.is_none());
    }

    /// Remembers what speaks against this endpoint, for whoever finds its gate shut.
    pub fn note_failure(&self, error: &Error) {
        *self.last_failure.lock() = error.to_string();
    }

    /// The last failure that spoke against this endpoint; empty if there was none.
    pub fn last_failure(&self) -> String {
        self.last_failure.lock().clone()
    }

    async fn permit(&self, longest: Duration) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        self.waits.fetch_add(1, Ordering::Relaxed);
        let exhausted = || Error::PoolExhausted { endpoint: self.name.clone(), waited: longest };
        match tokio::time::timeout(longest, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(exhausted()),
        }
    }

    /// Asks for the smallest answer there is. Passes by the gate and by the queue.
    pub async fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        let start = Instant::now();
        let answer = async {
            let mut cursor = self.client.query_raw("SELECT 1").fetch_bytes("TabSeparated")?;
            cursor.collect().await
        };
        let late = || Error::Timeout { endpoint: self.name.clone(), after: timeout };
        let text = tokio::time::timeout(timeout, answer)
            .await
            .map_err(|_| late())?
            .map_err(|e| Error::from_crate(e, &self.name, timeout))?;
        if text.trim_ascii() != b"1" {
            let message = "SELECT 1 did not answer 1".to_owned();
            return Err(Error::Answer { endpoint: self.name.clone(), message });
        }
        Ok(start.elapsed())
    }

    pub fn statistics(&self) -> EndpointStatistics {
        let in_use = self.outstanding();
        EndpointStatistics {
            endpoint: self.name.clone(),
            gate: self.breaker.state(),
            in_use,
            idle: self.connections.open().saturating_sub(in_use),
            waits: self.waits.load(Ordering::Relaxed),
            opened: self.connections.opened(),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            latency_ms: self.latency_us.load(Ordering::Relaxed) / 1000,
        }
    }

    /// What the server said about itself, if it was asked.
    pub fn known(&self) -> Option<Arc<Known>> {
        self.known.lock().clone()
    }

    /// Remembers, or with none forgets, what the server said about itself.
    pub fn set_known(&self, known: Option<Known>) {
        *self.known.lock() = known.map(Arc::new);
    }

    fn note_latency(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // An eighth of each new value; a lost update under contention does not matter here.
        let old = self.latency_us.load(Ordering::Relaxed);
        let new = if old == 0 { took } else { old - old / 8 + took / 8 };
        self.latency_us.store(new, Ordering::Relaxed);
    }
}

/// Counts a request while it waits, however it ends.
struct InFlight<'a>(&'a Endpoint);

impl<'a> InFlight<'a> {
    fn new(endpoint: &'a Endpoint) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        METRICS.endpoint_requests_in_flight.with_label_values(&[endpoint.name.as_str()]).inc();
        InFlight(endpoint)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        METRICS.endpoint_requests_in_flight.with_label_values(&[self.0.name.as_str()]).dec();
    }
}

/// The address and its name without credentials.
fn parse(url: &str) -> Result<(Uri, String), Error> {
    let fault = |message: String, hint| Err(Error::Config { message, hint });
    // An address that may hold a password is not repeated in the message.
    if url.contains('@') {
        return fault(
            "a ClickHouse endpoint holds credentials".to_owned(),
            "write user and password under clickhouse.user and clickhouse.password",
        );
    }
    let hint = "write endpoints as http://host:port or https://host:port";
    let Ok(uri) = url.parse::<Uri>() else { return fault(format!("`{url}` is not an address"), hint) };
    let port = match uri.scheme_str() {
        Some("http") => 8123,
        Some("https") => 8443,
        _ => return fault(format!("`{url}` does not begin with http:// or https://"), hint),
    };
    let Some(host) = uri.host() else { return fault(format!("`{url}` has no host"), hint) };
    let Some(_) = uri.port_u16() else {
        return fault(format!("`{url}` has no port; ClickHouse's own is {port}"), hint);
    };
    if uri.query().is_some() {
        return fault(format!("`{url}` has a query part"), "write settings under clickhouse.settings");
    }
    let name = format!("{host}:{}", uri.port_u16().unwrap_or(port));
    Ok((uri, name))
}

#[cfg(test)]
mod tests {
    use super::super::config::Tls;
    use super::*;

    #[test]
    fn certificates_that_cannot_be_used_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, missing) = (dir.path().join("empty.pem"), dir.path().join("missing.pem"));
        std::fs::write(&empty, "").unwrap();
        let cases = [
            Tls { ca_file: Some(missing.clone()), ..Tls::default() },
            Tls { ca_file: Some(empty.clone()), ..Tls::default() },
            Tls { cert_file: Some(empty.clone()), insecure_skip_verify: true, ..Tls::default() },
            Tls {
                cert_file: Some(empty),
                key_file: Some(missing),
                insecure_skip_verify: true,
                ..Tls::default()
            },
        ];
        for tls in cases {
            let config = Config { tls, endpoints: vec!["https://ch:8443".to_owned()], ..Config::default() };
            let error = Endpoint::all(&config).err().unwrap().to_string();
            assert!(error.contains("hint: "), "{error}");
        }
    }

    #[test]
    fn addresses_are_named_without_credentials() {
        assert_eq!(parse("https://ch-1.example:8443/path").unwrap().1, "ch-1.example:8443");
        assert_eq!(parse("http://[::1]:8123").unwrap().1, "[::1]:8123");
        for url in ["", "ch:8123", "ftp://ch:1", "http://ch", "http://u:hunter2@ch:8123", "http://ch:1/?a=b"]
        {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains("hint: ") && !error.contains("hunter2"), "{error}");
        }
    }
}
