//! The running interface: where it listens, and how it ends.
//!
//! Refuses to leave work behind: at the end jobs are asked to stop, and are waited for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::secure::{Listener, acceptor};
use super::{Parts, Surface, routes};
use crate::telemetry::listen::Limited;

/// A connection may be silent for as long as a request takes, and so much longer.
const IDLE_BEYOND: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot listen on `{listen}` for the admin interface\nhint: set admin.listen to a free address, or to port 0 for any"
    )]
    Bind { listen: String, source: io::Error },
    #[error(
        "the admin interface cannot be encrypted: {0}\nhint: name PEM files in admin.tls.cert_file and key_file"
    )]
    Tls(String),
}

/// The running interface.
pub struct Server {
    addr: SocketAddr,
    surface: Arc<Surface>,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Binds and begins to answer. Needs a runtime around the call.
    ///
    /// # Errors
    /// An address that cannot be listened on, or files that cannot be used.
    pub async fn start(parts: Parts) -> Result<Server, Error> {
        let config = &parts.config;
        let tls = match (&config.tls.cert_file, &config.tls.key_file) {
            (Some(cert), Some(key)) => Some(acceptor(cert, key, &parts.crypt).map_err(Error::Tls)?),
            (None, None) => None,
            _ => return Err(Error::Tls("certificate and key belong together".to_owned())),
        };
        let bind = |source| Error::Bind { listen: config.listen.clone(), source };
        let listener = TcpListener::bind(&config.listen).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        if tls.is_none() && !addr.ip().is_loopback() {
            tracing::warn!(%addr, "tokens come over the network without encryption: set admin.tls, or encrypt before it");
        }
        let connections_max = usize::try_from(config.connections_max).unwrap_or(usize::MAX);
        let idle_max = config.request_timeout.0 + IDLE_BEYOND;
        let listener = Listener { inner: Limited::new(listener, connections_max, idle_max), tls };
        let (surface, stop) = (Arc::new(Surface::new(parts)), CancellationToken::new());
        // Addresses of peers come with connections only through this.
        let listener = listener.tap_io(|_| {});
        let service =
            routes::router(Arc::clone(&surface)).into_make_service_with_connect_info::<SocketAddr>();
        let stopped = stop.clone().cancelled_owned();
        let serving =
            tokio::spawn(async move { axum::serve(listener, service).with_graceful_shutdown(stopped).await });
        Ok(Server { addr, surface, stop, serving })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes nothing more in, and waits for what is under way, at most so long. Whether everything ended.
    pub async fn stop(self, within: Duration) -> bool {
        self.stop.cancel();
        let all = async {
            self.surface.jobs.close().await;
            // Connections that are only kept open end with it.
            let _ = self.serving.await;
        };
        tokio::time::timeout(within, all).await.is_ok()
    }
}
