//! Connections of the interface: as they come, or encrypted.
//!
//! Refuses to shake hands while others wait: a connection is taken as it is, and shakes hands when it is first read.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::crypt::{self, open_secret};
use crate::telemetry::listen::{Connection, Limited};
use crate::tls;

/// What the encryption is made of.
///
/// # Errors
/// What of the files cannot be used.
pub fn acceptor(cert: &Path, key: &Path, crypt: &crypt::Config) -> Result<TlsAcceptor, String> {
    let unusable = |path, error: &dyn std::fmt::Display| tls::Error::file(path, error).to_string();
    let chain = tls::certificates(cert).map_err(|error| error.to_string())?;
    let private = std::fs::read(key).map_err(|error| unusable(key, &error))?;
    let private = open_secret(crypt, "admin.tls.key_file", Zeroizing::new(private));
    let private = private.map_err(|error| unusable(key, &error))?;
    let private = PrivateKeyDer::from_pem_slice(&private).map_err(|error| unusable(key, &error))?;
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| unusable(cert, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections that are encrypted, if there is something to encrypt them with.
pub struct Listener {
    pub inner: Limited,
    pub tls: Option<TlsAcceptor>,
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        let (connection, peer) = axum::serve::Listener::accept(&mut self.inner).await;
        let stream = match &self.tls {
            Some(tls) => Stream::Shaking(Box::new(tls.accept(connection))),
            None => Stream::Plain(connection),
        };
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        axum::serve::Listener::local_addr(&self.inner)
    }
}

/// A connection, encrypted or not.
pub enum Stream {
    Plain(Connection),
    Shaking(Box<Accept<Connection>>),
    Tls(Box<TlsStream<Connection>>),
}

impl Stream {
    /// Ends the handshake, if there is one.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stream::Shaking(accept) = self {
            let open = ready!(Pin::new(accept.as_mut()).poll(cx))?;
            *self = Stream::Tls(Box::new(open));
        }
        Poll::Ready(Ok(()))
    }
}

/// Nothing is written or flushed by a handshake that is under way but by itself.
macro_rules! on_open {
    ($self:ident, $cx:ident, $stream:ident => $work:expr) => {{
        ready!($self.poll_open($cx))?;
        match &mut *$self {
            Stream::Plain($stream) => {
                let $stream = Pin::new($stream);
                $work
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $work
            }
            Stream::Shaking(_) => Poll::Pending,
        }
    }};
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_open!(self, cx, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_open!(self, cx, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_open!(self, cx, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_open!(self, cx, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::admin::access::jwks::Source;

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/http/testdata").join(name)
    }

    /// Both ends at once: what is served encrypted, and the only client that the admin side has.
    #[tokio::test]
    async fn keys_are_fetched_over_an_encrypted_connection_from_whom_is_certified() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tls = Some(acceptor(&file("cert.pem"), &file("key.pem"), &crypt::Config::default()).unwrap());
        let listener = Listener { inner: Limited::new(listener, 8, Duration::from_secs(30)), tls };
        let routes = Router::new()
            .route("/keys", get(async || "{}"))
            .route("/long", get(async || "x".repeat(2 << 20)));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        // One that never shakes hands holds nobody up.
        let _silent = TcpStream::connect(addr).await.unwrap();
        let source = |path: &str, authorities: Option<&Path>| {
            Source::url(&format!("https://localhost:{}{path}", addr.port()), authorities).unwrap()
        };
        let ca = file("ca.pem");
        assert_eq!(source("/keys", Some(&ca)).read().await.unwrap(), "{}");
        assert!(source("/keys", None).read().await.is_err(), "certified by nobody that is known");
        assert!(source("/nothing", Some(&ca)).read().await.is_err());
        assert!(source("/long", Some(&ca)).read().await.is_err());
        let plain = Source::url(&format!("http://127.0.0.1:{}/keys", addr.port()), None).unwrap();
        assert!(plain.read().await.is_err());
        assert!(acceptor(&file("key.pem"), &file("key.pem"), &crypt::Config::default()).is_err());
        assert!(acceptor(&file("cert.pem"), &file("none.pem"), &crypt::Config::default()).is_err());
    }
}
