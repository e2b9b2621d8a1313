//! The HTTP surface for operators: `/metrics`, `/health`, `/ready`.
//!
//! Refuses to know what it shows. Runs on its own thread with its own runtime, so that load on the
//! line cannot starve it. Connections are bounded in number, idle time and life.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::health::Health;
use super::metrics::METRICS;

/// Enough for a few scrapers and people; the rest waits in the listener's queue.
const CONNECTIONS_MAX: usize = 64;
/// A connection that sends nothing for this long is closed. Scrapers connect again.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// No connection lives longer, so that one that trickles cannot hold its place for ever.
const LIFE_MAX: Duration = Duration::from_secs(300);
/// Wait after an `accept` that failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for open requests at the end.
const STOP_MAX: Duration = Duration::from_secs(2);

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = r#"<!doctype html><title>penstock</title><h1>penstock</h1>
<ul><li><a href="/metrics">metrics</a><li><a href="/health">health</a><li><a href="/ready">ready</a></ul>
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
            let limited =
                Limited { listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)), idle_max: IDLE_MAX };
            // A sender that was dropped means stop as well.
            let stopped = async {
                let _ = stopped.await;
            };
            axum::serve(limited, routes(health)).with_graceful_shutdown(stopped).await
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

fn routes(health: Health) -> Router {
    Router::new()
        .route("/", get(async || Html(INDEX)))
        .route("/metrics", get(async || ([(header::CONTENT_TYPE, METRICS_TYPE)], METRICS.render())))
        .route("/health", get(live))
        .route("/ready", get(ready))
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

struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle_max: Duration,
}

impl axum::serve::Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // The semaphore is never closed; were it, connections would only be unlimited.
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, peer)) => return (Connection::new(stream, permit, self.idle_max), peer),
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            }
            sleep(ACCEPT_PAUSE).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself when its peer is silent for too long.
struct Connection {
    stream: TcpStream,
    _permit: Option<OwnedSemaphorePermit>,
    idle_max: Duration,
    end_of_life: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(stream: TcpStream, permit: Option<OwnedSemaphorePermit>, idle_max: Duration) -> Connection {
        let now = Instant::now();
        let deadline = Box::pin(sleep_until(now + idle_max));
        Connection { stream, _permit: permit, idle_max, end_of_life: now + LIFE_MAX, deadline }
    }

    fn moved(&mut self) {
        let next = (Instant::now() + self.idle_max).min(self.end_of_life);
        self.deadline.as_mut().reset(next);
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending if self.is_over(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(Ok(())) => {
                self.moved();
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending if self.is_over(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
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
        assert!(ask(addr, "/nothing").starts_with("HTTP/1.1 404"));
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

    #[tokio::test]
    async fn a_silent_peer_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Connection::new(stream, None, Duration::from_millis(1));
        let mut byte = [0; 1];
        let error = tokio::io::AsyncReadExt::read(&mut connection, &mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
