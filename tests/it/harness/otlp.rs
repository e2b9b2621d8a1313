//! A receiver of traces: takes OTLP over HTTP in protobuf, reads it with OpenTelemetry's own types, and remembers it.
//!
//! It refuses to know who sends. It listens on loopback and ends with its guard.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::free_port;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Post {
    /// The request line and the headers, in lower case.
    pub head: String,
    pub body: ExportTraceServiceRequest,
}

pub struct Receiver {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub fn start() -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let (posts, ended) = (Arc::<Mutex<Vec<Post>>>::default(), Arc::new(AtomicBool::new(false)));
        let (taken, over) = (Arc::clone(&posts), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let (stream, taken) = (stream.expect("a connection"), Arc::clone(&taken));
                std::thread::spawn(move || serve(stream, &taken));
            }
        });
        Self { port, posts, ended, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every span that has come so far.
    pub fn spans(&self) -> Vec<Span> {
        let posts = self.posts();
        let scopes = posts.iter().flat_map(|post| &post.body.resource_spans).flat_map(|one| &one.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // The thread waits in `accept`; a connection wakes it.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

/// Answers every request of one connection until the other side has enough.
fn serve(stream: TcpStream, posts: &Mutex<Vec<Post>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(number) = line.strip_prefix("content-length: ") {
                length = number.parse().expect("a length");
            }
            head.push_str(&line);
            head.push('\n');
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body = ExportTraceServiceRequest::decode(body.as_slice()).expect("a request in protobuf");
        posts.lock().unwrap_or_else(PoisonError::into_inner).push(Post { head, body });
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// An attribute as text; empty if it is not there.
pub fn attribute(all: &[KeyValue], key: &str) -> String {
    let found = all.iter().find(|one| one.key == key).and_then(|one| one.value.clone()?.value);
    match found {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
