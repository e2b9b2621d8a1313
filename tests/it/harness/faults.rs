//! Faults on the network: a server that never answers, and a proxy that can be turned against its clients.
//!
//! It refuses to know what passes through it. Both listen on loopback, and both end with their guard.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::free_port;

/// Accepts every connection and says nothing, until it is dropped.
pub struct HangingServer {
    port: u16,
    accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HangingServer {
    pub fn start() -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let (accepted, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, over) = (Arc::clone(&accepted), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                held.push(stream);
                count.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { port, accepted, ended, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many connections it holds.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::Acquire)
    }
}

impl Drop for HangingServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // The thread waits in `accept`; a connection wakes it.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

/// What the proxy does with connections, new ones and those that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Connections are accepted and nothing moves; what waits goes on once the mode is `Pass` again.
    Hang,
    /// Nothing listens, and existing connections are cut.
    Refuse,
    /// Each connection is cut after this many bytes from the client, counted from the change of mode. The
    /// development ClickHouse ends when this cuts a request inside its head, so give it more than the head has.
    CutRequestAfter(usize),
    /// Each connection is cut after this many bytes to the client: a request done, its answer lost.
    CutAnswerAfter(usize),
}

/// Stands between a client and a server, on a port of its own.
pub struct TcpProxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    /// Counts the changes of mode, so that byte counts begin anew with each.
    epoch: usize,
    listening: bool,
    ended: bool,
    accepted: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let held = self.changed.wait_while(self.lock(), |state| condition(state));
        held.unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

impl TcpProxy {
    /// Passes connections on to `upstream`, a `host:port`.
    pub fn start(upstream: &str) -> Self {
        let port = free_port();
        let state = State { mode: Mode::Pass, epoch: 0, listening: false, ended: false, accepted: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (inner, upstream) = (Arc::clone(&shared), upstream.to_owned());
        std::thread::spawn(move || accept(&inner, port, &upstream));
        drop(shared.wait_while(|state| !state.listening));
        Self { port, shared }
    }

    /// `host:port` for the client.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// How many connections it has accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().accepted
    }

    /// Returns once the mode holds: after `Refuse` nothing listens, after anything else something does.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        state.mode = mode;
        state.epoch += 1;
        drop(state);
        self.shared.changed.notify_all();
        if mode == Mode::Refuse {
            // The thread waits in `accept`; a connection wakes it, and it sees the mode.
            let _woken = TcpStream::connect(("127.0.0.1", self.port));
        }
        drop(self.shared.wait_while(|state| state.listening == (mode == Mode::Refuse)));
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn accept(shared: &Arc<Shared>, port: u16, upstream: &str) {
    loop {
        if shared.wait_while(|state| state.mode == Mode::Refuse && !state.ended).ended {
            return;
        }
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
        shared.lock().listening = true;
        shared.changed.notify_all();
        for client in listener.incoming() {
            let mut state = shared.lock();
            if state.ended || state.mode == Mode::Refuse {
                break;
            }
            state.accepted += 1;
            drop(state);
            if let (Ok(client), Ok(server)) = (client, TcpStream::connect(upstream)) {
                join(shared, client, server);
            }
        }
        drop(listener);
        shared.lock().listening = false;
        shared.changed.notify_all();
    }
}

/// Carries bytes both ways on two threads, until either side ends or the proxy does.
fn join(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) {
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    let (there, back) = (Arc::clone(shared), Arc::clone(shared));
    std::thread::spawn(move || carry(&there, client, server, Direction::Request));
    std::thread::spawn(move || carry(&back, server_too, client_too, Direction::Answer));
}

fn carry(shared: &Shared, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
    let mut buffer = vec![0; 64 << 10];
    let (mut epoch, mut carried) = (0, 0_usize);
    // A short wait for bytes lets a change of mode reach a connection on which nothing moves.
    let _set = from.set_read_timeout(Some(Duration::from_millis(20)));
    loop {
        let state = shared.wait_while(|state| state.mode == Mode::Hang && !state.ended);
        if state.epoch != epoch {
            (epoch, carried) = (state.epoch, 0);
        }
        let left = match (state.mode, direction) {
            _ if state.ended => 0,
            (Mode::Refuse, _) => 0,
            (Mode::CutRequestAfter(bytes), Direction::Request) => bytes.saturating_sub(carried),
            (Mode::CutAnswerAfter(bytes), Direction::Answer) => bytes.saturating_sub(carried),
            _ => buffer.len(),
        };
        let mode = state.mode;
        drop(state);
        let cut_on_data = matches!(mode, Mode::CutRequestAfter(_) | Mode::CutAnswerAfter(_));
        if left == 0 && !cut_on_data {
            break;
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => {
                // One side may be done while the other still speaks.
                let _closed = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(read) => read,
            Err(error) if is_timeout(&error) => continue,
            Err(_) => break,
        };
        // The mode may have changed to one that holds everything back while this waited for bytes.
        drop(shared.wait_while(|state| state.mode == Mode::Hang && !state.ended));
        let passing = read.min(left);
        if to.write_all(&buffer[..passing]).is_err() || passing < read {
            break;
        }
        carried += passing;
    }
    let _both = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
