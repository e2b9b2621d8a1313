//! Connections of an HTTP surface: bounded in number, idle time and life.
//!
//! Refuses to know what is asked over them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// No connection lives longer, so that one that trickles cannot hold its place for ever.
const LIFE_MAX: Duration = Duration::from_secs(300);
/// Wait after an `accept` that failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections, so many at a time.
pub struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle_max: Duration,
}

impl Limited {
    /// Others wait in the listener's queue; a peer that sends and takes nothing for so long is cut off.
    pub fn new(listener: TcpListener, connections_max: usize, idle_max: Duration) -> Limited {
        Limited { listener, permits: Arc::new(Semaphore::new(connections_max)), idle_max }
    }
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
pub struct Connection {
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
            // Whoever takes a stream in is silent, and there all the same.
            Poll::Ready(Ok(written)) => {
                self.moved();
                Poll::Ready(Ok(written))
            }
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
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_only_takes_a_stream_in_is_kept_until_the_end_of_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Connection::new(stream, None, Duration::from_secs(10));
        for _ in 0..30 {
            tokio::time::advance(Duration::from_secs(9)).await;
            tokio::io::AsyncWriteExt::write_all(&mut connection, b"event").await.unwrap();
        }
        // Ten seconds after the last write it would be cut off, and at its end it is.
        let mut byte = [0; 1];
        let begun = Instant::now();
        let error = tokio::io::AsyncReadExt::read(&mut connection, &mut byte).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
        tokio::time::advance(LIFE_MAX).await;
        let error = tokio::io::AsyncReadExt::read(&mut connection, &mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
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
