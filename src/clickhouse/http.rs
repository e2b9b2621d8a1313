//! Connections to one endpoint: made within a time-out, counted, and broken all at once on demand.
//!
//! Refuses to know requests. The name is resolved anew for every connection. Breaking is what ends a
//! request that waits for a server which will never answer: its read fails, so nothing waits for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::telemetry::metrics::METRICS;

/// Finds out that a peer is gone although nothing is sent.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// Servers close an idle connection after 3 s in older versions, 10 s in newer ones; a request must
/// not meet one that is just being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(2);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connections of one endpoint.
#[derive(Debug)]
pub struct Connections {
    name: String,
    opened: AtomicU64,
    open: AtomicUsize,
    alive: Mutex<CancellationToken>,
}

impl Connections {
    /// `name` stands in metrics.
    pub fn new(name: &str) -> Arc<Connections> {
        Arc::new(Connections {
            name: name.to_owned(),
            opened: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            alive: Mutex::new(CancellationToken::new()),
        })
    }

    /// Connections made so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections that exist now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Breaks every connection that exists, with the requests on them.
    pub fn break_all(&self) {
        std::mem::replace(&mut *self.alive.lock(), CancellationToken::new()).cancel();
    }

    fn track(self: Arc<Self>, io: Stream) -> Tracked {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        METRICS.endpoint_connections_opened.with_label_values(&[self.name.as_str()]).inc();
        let broken = Box::pin(self.alive.lock().clone().cancelled_owned());
        Tracked { io, broken, connections: self }
    }
}

/// An HTTP client over such connections.
pub fn client<B>(
    tls: ClientConfig,
    connect_timeout: Duration,
    connections: Arc<Connections>,
) -> Client<Connector, B>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.set_connect_timeout(Some(connect_timeout));
    let inner =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(Connector { inner, connect_timeout, connections })
}

/// Makes connections: resolves, connects and shakes hands within one time-out.
#[derive(Clone)]
pub struct Connector {
    inner: HttpsConnector<HttpConnector>,
    connect_timeout: Duration,
    connections: Arc<Connections>,
}

impl tower::Service<Uri> for Connector {
    type Response = Tracked;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Tracked, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (timeout, connections) = (self.connect_timeout, self.connections.clone());
        let connecting = self.inner.call(uri);
        Box::pin(async move {
            let io = tokio::time::timeout(timeout, connecting)
                .await
                .map_err(|_| format!("not connected within {timeout:?}"))??;
            Ok(connections.track(io))
        })
    }
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection that is counted while it lives.
pub struct Tracked {
    io: Stream,
    broken: Pin<Box<WaitForCancellationFutureOwned>>,
    connections: Arc<Connections>,
}

impl Tracked {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.broken.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "given up: the server does not answer"))
            }
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection for Tracked {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

impl Read for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Tracked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
