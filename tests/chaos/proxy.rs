//! Stands between penstock and one ClickHouse, understands where a request ends, and spoils single INSERTs.
//!
//! It refuses to know what an INSERT holds. Whatever it does to one request, the others pass unharmed, so that
//! each fault is counted by the requests that it really met.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What becomes of an INSERT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// The server gets half of the body and then nothing: both connections are closed.
    CutUpload,
    /// The server gets half of the body and the end of the stream; its answer goes back.
    HalfClose,
    /// The server gets half of the body, and for this time nothing more; then both connections are closed.
    Stall(Duration),
    /// The server gets all of it, and the client's connection is closed at once.
    CutAfterRequest,
    /// The server has answered; the client gets half of the head, then the end.
    CutAnswer,
    /// The server has answered; the client gets a chunked answer that breaks off.
    TruncateAnswer,
    /// The server has answered; the client hears of it after this time.
    SlowAnswer(Duration),
    /// The client's connection is closed after this time, and only then does the server get the request.
    Late(Duration),
    /// The server gets nothing; the client gets this exception.
    Refuse(u32),
    /// The server has answered; the client gets this exception instead.
    LoseAnswer(u32),
    /// The server gets nothing; the client gets `200 OK` with an exception in the head.
    OkWithException(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// Nothing moves until it is open again.
    Held,
    /// Every connection is closed as soon as something comes over it.
    Closed,
}

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    passage: Passage,
    spoil: Option<Spoil>,
    /// INSERTs still to be spoiled.
    left: u32,
    spoiled: u32,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the passage is held; whether the connection may go on.
    fn may_pass(&self) -> bool {
        let held = |state: &mut State| state.passage == Passage::Held && !state.ended;
        let state = self.changed.wait_while(self.lock(), held).unwrap_or_else(PoisonError::into_inner);
        !state.ended && state.passage != Passage::Closed
    }

    fn spoil_next(&self) -> Option<Spoil> {
        let mut state = self.lock();
        if state.left == 0 {
            return None;
        }
        state.left -= 1;
        state.spoiled += 1;
        state.spoil
    }
}

impl Proxy {
    /// `upstream` is a `host:port`.
    pub fn start(port: u16, upstream: &str) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let state = State { passage: Passage::Open, spoil: None, left: 0, spoiled: 0, ended: false };
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if inner.lock().ended {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&inner)) else { continue };
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || {
                    let _broken = serve(&shared, &client);
                    let _closed = client.shutdown(Shutdown::Both);
                });
            }
        });
        Proxy { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, passage: Passage) {
        self.shared.lock().passage = passage;
        self.shared.changed.notify_all();
    }

    /// Spoils the next INSERTs, `count` of them; [`Proxy::spoiled`] tells how many there were.
    pub fn spoil(&self, spoil: Spoil, count: u32) {
        let mut state = self.shared.lock();
        (state.spoil, state.left, state.spoiled) = (Some(spoil), count, 0);
    }

    /// How many INSERTs the last spoiling has met so far.
    pub fn spoiled(&self) -> u32 {
        self.shared.lock().spoiled
    }

    pub fn heal(&self) {
        self.shared.lock().left = 0;
        self.set(Passage::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // The thread waits in `accept`; a connection wakes it.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One client's connection, request by request.
fn serve(shared: &Shared, mut client: &TcpStream) -> io::Result<()> {
    let mut from_client = Stream::default();
    let mut server: Option<(TcpStream, Stream)> = None;
    loop {
        let Some(request) = from_client.message(&mut client, false)? else { return Ok(()) };
        if !shared.may_pass() {
            return Ok(());
        }
        let is_insert = request.head().lines().next().is_some_and(|line| line.contains("INSERT"));
        let spoil = if is_insert { shared.spoil_next() } else { None };
        match spoil {
            Some(Spoil::Refuse(code)) => {
                client.write_all(&exception(500, code))?;
                continue;
            }
            Some(Spoil::OkWithException(code)) => {
                client.write_all(&exception(200, code))?;
                continue;
            }
            Some(Spoil::Late(after)) => {
                std::thread::sleep(after);
                client.shutdown(Shutdown::Both)?;
            }
            _ => {}
        }
        if server.is_none() {
            server = Some((TcpStream::connect(&shared.upstream)?, Stream::default()));
        }
        let Some((upstream, from_server)) = &mut server else { return Ok(()) };
        let half = request.head_length + (request.bytes.len() - request.head_length) / 2;
        match spoil {
            Some(Spoil::CutUpload) => {
                upstream.write_all(&request.bytes[..half])?;
                return upstream.shutdown(Shutdown::Both);
            }
            Some(Spoil::Stall(time)) => {
                upstream.write_all(&request.bytes[..half])?;
                std::thread::sleep(time);
                return upstream.shutdown(Shutdown::Both);
            }
            Some(Spoil::HalfClose) => {
                upstream.write_all(&request.bytes[..half])?;
                upstream.shutdown(Shutdown::Write)?;
            }
            _ => upstream.write_all(&request.bytes)?,
        }
        if spoil == Some(Spoil::CutAfterRequest) {
            client.shutdown(Shutdown::Both)?;
        }
        let Some(answer) = from_server.message(upstream, true)? else { return Ok(()) };
        if !shared.may_pass() {
            return Ok(());
        }
        match spoil {
            Some(Spoil::CutAnswer) => return client.write_all(&answer.bytes[..answer.head_length / 2]),
            Some(Spoil::TruncateAnswer) => {
                return client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nno");
            }
            Some(Spoil::LoseAnswer(code)) => client.write_all(&exception(500, code))?,
            Some(Spoil::SlowAnswer(after)) => {
                std::thread::sleep(after);
                client.write_all(&answer.bytes)?;
            }
            _ => client.write_all(&answer.bytes)?,
        }
    }
}

/// An answer as ClickHouse gives it for a failed statement.
fn exception(status: u16, code: u32) -> Vec<u8> {
    let body = format!("Code: {code}. DB::Exception: made by the breaking machine.\n");
    let head = format!(
        "HTTP/1.1 {status} made\r\nX-ClickHouse-Exception-Code: {code}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// A whole request or answer, as it came.
struct Message {
    bytes: Vec<u8>,
    head_length: usize,
}

impl Message {
    fn head(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.head_length]).into_owned()
    }
}

/// One direction of a connection; keeps what came beyond the last message.
#[derive(Default)]
struct Stream {
    rest: Vec<u8>,
}

impl Stream {
    /// The next message; None when the stream ends before one begins.
    fn message(&mut self, from: &mut impl Read, is_answer: bool) -> io::Result<Option<Message>> {
        let head_length = loop {
            if let Some(at) = find(&self.rest, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more(from)? {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.rest[..head_length]).to_ascii_lowercase();
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let length = if header("transfer-encoding") == Some("chunked") {
            self.chunks_end(from, head_length)?
        } else if let Some(length) = header("content-length") {
            head_length + length.parse::<usize>().map_err(io::Error::other)?
        } else if is_answer && !head.contains(" 204") {
            // It ends with the connection.
            while self.more(from)? {}
            self.rest.len()
        } else {
            head_length
        };
        while self.rest.len() < length {
            if !self.more(from)? {
                return Ok(None);
            }
        }
        let left = self.rest.split_off(length);
        let bytes = std::mem::replace(&mut self.rest, left);
        Ok(Some(Message { bytes, head_length }))
    }

    /// Where a body in chunks ends.
    fn chunks_end(&mut self, from: &mut impl Read, mut at: usize) -> io::Result<usize> {
        loop {
            while find(&self.rest[at..], b"\r\n").is_none() {
                if !self.more(from)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let line = find(&self.rest[at..], b"\r\n").unwrap_or(0);
            let size = String::from_utf8_lossy(&self.rest[at..at + line]).into_owned();
            let size = size.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            at += line + 2 + size + 2;
            while self.rest.len() < at {
                if !self.more(from)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            if size == 0 {
                return Ok(at);
            }
        }
    }

    /// Whether there was more.
    fn more(&mut self, from: &mut impl Read) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        let read = from.read(&mut buffer)?;
        self.rest.extend_from_slice(&buffer[..read]);
        Ok(read != 0)
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
