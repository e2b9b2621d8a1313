//! Stands between a Kafka client and one broker, and writes down with which generation offsets are committed.
//!
//! It refuses to know what is committed. The broker's own address in its answers is replaced by that of the
//! proxy, so that a client stays with it. Unencrypted connections on loopback only.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::free_port;

const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const HEARTBEAT: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;

/// What an OffsetCommit request was stamped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub generation: i32,
    pub member: String,
}

pub struct KafkaProxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// `host:port`: the broker, or another proxy before it.
    upstream: String,
    /// The broker's address as it stands in its answers, and what takes its place.
    address: (Vec<u8>, Vec<u8>),
    stamps: Mutex<Vec<Stamp>>,
    /// Heartbeats are answered with ILLEGAL_GENERATION.
    illegal: AtomicBool,
    /// Texts of committed offsets come back spoiled.
    spoil: AtomicBool,
    ended: AtomicBool,
}

impl KafkaProxy {
    /// Passes connections on to `upstream`; `broker` is the `127.0.0.1:port` that the broker tells clients.
    pub fn start(broker: &str, upstream: &str) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let told = broker.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            address: (address(told), address(port)),
            stamps: Mutex::default(),
            illegal: AtomicBool::new(false),
            spoil: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if inner.ended.load(Ordering::Acquire) {
                    return;
                }
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(&inner.upstream)) {
                    join(&inner, &client, &server);
                }
            }
        });
        Self { port, shared }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Of every OffsetCommit so far.
    pub fn stamps(&self) -> Vec<Stamp> {
        self.shared.stamps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on every heartbeat is answered with ILLEGAL_GENERATION.
    pub fn refuse_heartbeats(&self) {
        self.shared.illegal.store(true, Ordering::Release);
    }

    /// From now on the texts beside committed offsets are not what was written.
    pub fn spoil_texts(&self) {
        self.shared.spoil.store(true, Ordering::Release);
    }
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // The thread waits in `accept`; a connection wakes it.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Host and port as they lie side by side in answers of every version.
fn address(port: u16) -> Vec<u8> {
    [b"127.0.0.1".as_slice(), &i32::from(port).to_be_bytes()].concat()
}

type Asked = Arc<Mutex<HashMap<[u8; 4], i16>>>;

fn join(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let asked = Asked::default();
    let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    let (there, back) = (Arc::clone(shared), Arc::clone(shared));
    let (from, to, requests) = (clone(client), clone(server), Arc::clone(&asked));
    std::thread::spawn(move || carry(from, to, |frame| request(&there, &requests, frame)));
    let (from, to) = (clone(server), clone(client));
    std::thread::spawn(move || carry(from, to, |frame| answer(&back, &asked, frame)));
}

/// Carries whole frames one way until a side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&mut [u8])) {
    let mut length = [0; 4];
    while from.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        if from.read_exact(&mut frame).is_err() {
            break;
        }
        see(&mut frame);
        if to.write_all(&length).and_then(|()| to.write_all(&frame)).is_err() {
            break;
        }
    }
    let _both = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn request(shared: &Shared, asked: &Asked, frame: &mut [u8]) {
    let api = i16::from_be_bytes([frame[0], frame[1]]);
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let correlation = [frame[4], frame[5], frame[6], frame[7]];
    asked.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation, api);
    if api == OFFSET_COMMIT {
        assert!(version >= 8, "the compact form of OffsetCommit, not version {version}");
        let client = usize::from(u16::from_be_bytes([frame[8], frame[9]]));
        // After the client's name the header's empty tags; then the group, each text led by its length plus one.
        let group = 10 + client + 1;
        let at = group + usize::from(frame[group]);
        let generation = i32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let member = &frame[at + 5..at + 4 + usize::from(frame[at + 4])];
        let member = String::from_utf8_lossy(member).into_owned();
        let mut stamps = shared.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.push(Stamp { generation, member });
    }
}

fn answer(shared: &Shared, asked: &Asked, frame: &mut [u8]) {
    let correlation = [frame[0], frame[1], frame[2], frame[3]];
    let api = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&correlation);
    replace(frame, &shared.address.0, &shared.address.1);
    if api == Some(HEARTBEAT) && shared.illegal.load(Ordering::Acquire) {
        // Correlation, tags in the compact form, time of throttling, error.
        let error = if frame.len() == 10 { 8 } else { 9 };
        frame[error..error + 2].copy_from_slice(&ILLEGAL_GENERATION.to_be_bytes());
    }
    if api == Some(OFFSET_FETCH) && shared.spoil.load(Ordering::Acquire) {
        replace(frame, b"kept", b"lost");
    }
}

fn replace(frame: &mut [u8], this: &[u8], by: &[u8]) {
    let mut at = 0;
    while let Some(found) = frame[at..].windows(this.len()).position(|window| window == this) {
        at += found;
        frame[at..at + by.len()].copy_from_slice(by);
        at += by.len();
    }
}
