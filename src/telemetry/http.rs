//! The HTTP surface for operators: `/metrics`, `/health`, `/ready`, `/v1/summary` for the console, and where there is a key
//! for it `/v1/control`.
//!
//! Refuses to know what it shows. Runs on its own thread with its own runtime, so that load on the
//! line cannot starve it. Connections are bounded by `listen`.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::control::{self, Door};
use super::health::Health;
use super::listen::Limited;
use super::metrics::METRICS;
use super::summary::Snapshot;

/// Enough for a few scrapers and people; the rest waits in the listener's queue.
const CONNECTIONS_MAX: usize = 64;
/// A connection that sends nothing for this long is closed. Scrapers connect again.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Time for open requests at the end.
const STOP_MAX: Duration = Duration::from_secs(2);

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = r#"<!doctype html><title>penstock</title><h1>penstock</h1>
<ul><li><a href="/metrics">metrics</a><li><a href="/health">health</a><li><a href="/ready">ready</a>
<li><a href="/v1/summary">summary</a></ul>
"#;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot listen on `{listen}` for metrics and health\nhint: another process may hold the port: set telemetry.listen to a free one, or to port 0 for any"
    )]
    Bind { listen: String, source: io::Error },
    #[error("cannot start the thread for metrics and health")]
    Start(#[source] io::Error),
}

/// The running surface. Dropping it stops it, without waiting.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds and starts to answer. `listen` is `host:port`; with port 0 a free one is taken.
    pub fn start(listen: &str, health: Health) -> Result<Server, Error> {
        Server::start_with(listen, health, None)
    }

    /// The same, with a door for orders.
    pub fn start_with(listen: &str, health: Health, door: Option<Door>) -> Result<Server, Error> {
        let bind = |source| Error::Bind { listen: listen.to_owned(), source };
        let listener = StdListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = mpsc::sync_channel(1);
        let serve = async move {
            let listener = TcpListener::from_std(listener)?;
            let limited = Limited::new(listener, CONNECTIONS_MAX, IDLE_MAX);
            // A sender that was dropped means stop as well.
            let stopped = async {
                let _ = stopped.await;
            };
            axum::serve(limited, routes(health, door)).with_graceful_shutdown(stopped).await
        };
        let body = move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "the surface for metrics and health ended");
            }
            // Nobody waits for it when the server was dropped.
            let _ = end.send(());
        };
        let thread =
            std::thread::Builder::new().name("penstock-http".to_owned()).spawn(body).map_err(Error::Start)?;
        Ok(Server { addr, stop: Some(stop), ended, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops, and waits up to two seconds for open requests. Blocks the calling thread.
    pub fn stop(mut self) {
        drop(self.stop.take());
        let ended = self.ended.recv_timeout(STOP_MAX).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            // The thread is at its end; a panic in it was logged by the panic hook.
            let _ = thread.join();
        }
    }
}

fn routes(health: Health, door: Option<Door>) -> Router {
    let control = door.is_some();
    let summary =
        async move |State(health): State<Health>| Json(Snapshot { control, ..Snapshot::take(&health) });
    let mut router = Router::new();
    if let Some(door) = door.map(Arc::new) {
        let take = async move |request: Request| control::take(&door, request).await;
        router = router.route(control::PATH, post(take));
    }
    router
        .route("/", get(async || Html(INDEX)))
        .route("/metrics", get(async || ([(header::CONTENT_TYPE, METRICS_TYPE)], METRICS.render())))
        .route("/health", get(live))
        .route("/ready", get(ready))
        .route("/v1/summary", get(summary))
        .with_state(health)
}

async fn live(State(health): State<Health>) -> Response {
    let report = health.report();
    (status(report.is_live), Json(report)).into_response()
}

async fn ready(State(health): State<Health>) -> Response {
    let report = health.report();
    (status(report.is_ready), Json(report)).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as StdStream;

    use super::super::health::State as Doing;
    use super::*;

    fn ask(addr: SocketAddr, path: &str) -> String {
        let mut stream = StdStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn every_route_answers() {
        let health = Health::new(Duration::from_secs(30));
        let server = Server::start("127.0.0.1:0", health.clone()).unwrap();
        let addr = server.addr();
        assert_ne!(addr.port(), 0);

        assert!(ask(addr, "/ready").starts_with("HTTP/1.1 503"));
        health.set_state(Doing::Running, "consuming");
        assert!(ask(addr, "/ready").starts_with("HTTP/1.1 200"));
        let live = ask(addr, "/health");
        assert!(live.starts_with("HTTP/1.1 200") && live.contains(r#""sentence":"consuming""#), "{live}");
        let metrics = ask(addr, "/metrics");
        assert!(metrics.contains("version=0.0.4") && metrics.contains("penstock_build_info{"), "{metrics}");
        assert!(ask(addr, "/").contains("/metrics"));
        let summary = ask(addr, "/v1/summary");
        assert!(
            summary.contains(r#""sentence":"consuming""#) && summary.contains(r#""started_ms":"#),
            "{summary}"
        );
        assert!(ask(addr, "/nothing").starts_with("HTTP/1.1 404"));
        assert!(
            summary.contains(r#""control":false"#) && ask(addr, control::PATH).starts_with("HTTP/1.1 404")
        );
        health.set_state(Doing::Stopped, "stopped");
        assert!(ask(addr, "/health").starts_with("HTTP/1.1 503"));

        server.stop();
        assert!(StdStream::connect(addr).is_err());
    }

    #[test]
    fn a_port_in_use_is_told_with_a_hint() {
        let health = Health::new(Duration::from_secs(30));
        let held = StdListener::bind("127.0.0.1:0").unwrap();
        let listen = held.local_addr().unwrap().to_string();
        let error = Server::start(&listen, health).unwrap_err().to_string();
        assert!(error.contains(&listen) && error.contains("\nhint: "), "{error}");
    }
}
