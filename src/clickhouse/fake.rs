//! A scripted server for tests: it answers as told and remembers what it was asked.
//!
//! Refuses to understand statements. Each test says by a function of the request what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This answer, written as it is.
    Raw(String),
    /// Nothing, and the connection stays.
    Hang,
    /// This answer once told, however long the client has given up by then.
    Late(Arc<Notify>, String),
    /// The connection is closed without an answer.
    Close,
}

impl Reply {
    pub fn ok(body: &str) -> Reply {
        Reply::with(200, "", body)
    }

    pub fn with(status: u16, headers: &str, body: &str) -> Reply {
        let length = body.len();
        Reply::Raw(format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{body}"))
    }

    /// An exception as ClickHouse sends it.
    pub fn exception(code: u32, text: &str) -> Reply {
        let body = format!("Code: {code}. DB::Exception: {text} (version 26.7)\n");
        Reply::with(500, &format!("X-ClickHouse-Exception-Code: {code}\r\n"), &body)
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    /// Path and parameters.
    pub target: String,
    pub body: Vec<u8>,
    /// Names and values, all in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn is_insert(&self) -> bool {
        self.target.contains("INSERT")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the address, as it stands there.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

pub struct Fake {
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    hang: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Fake {
    /// Answers pings and questions about settings; inserts and all else as the script says.
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let hang = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let fake = Fake { url, seen: seen.clone(), hang: hang.clone(), stop: stop.clone() };
        tokio::spawn(async move {
            let accepting = async {
                while let Ok((socket, _)) = listener.accept().await {
                    let (script, seen, hang) = (script.clone(), seen.clone(), hang.clone());
                    let serving = async move { serve(socket, &*script, &seen, &hang).await };
                    tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
                }
            };
            stop.run_until_cancelled(accepting).await;
        });
        fake
    }

    /// From now on accepts and never answers, or answers again.
    pub fn hang(&self, hang: bool) {
        self.hang.store(hang, Ordering::SeqCst);
    }

    pub fn inserts(&self) -> Vec<Request> {
        self.seen.lock().iter().filter(|r| r.is_insert()).cloned().collect()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(socket: TcpStream, script: &Script, seen: &Mutex<Vec<Request>>, hang: &AtomicBool) {
    let mut socket = BufReader::new(socket);
    while let Some(request) = read(&mut socket).await {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let reply = if hang.load(Ordering::SeqCst) {
            Reply::Hang
        } else if text == "SELECT 1" {
            Reply::ok("1\n")
        } else if text.contains("system.settings") {
            Reply::ok("max_insert_block_size\ndeduplicate_insert\n1790000000000\n")
        } else {
            script(&request)
        };
        seen.lock().push(request);
        match reply {
            Reply::Raw(answer) => {
                if socket.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Late(told, answer) => {
                told.notified().await;
                if socket.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Hang => std::future::pending().await,
            Reply::Close => return,
        }
    }
}

async fn read(socket: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    socket.read_line(&mut line).await.ok()?;
    let target = line.split(' ').nth(1)?.replace('+', " ");
    let (mut length, mut chunked, mut headers) = (0, false, Vec::new());
    loop {
        line.clear();
        socket.read_line(&mut line).await.ok()?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
        chunked |= header == "transfer-encoding: chunked";
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = Vec::new();
    loop {
        if chunked {
            line.clear();
            socket.read_line(&mut line).await.ok()?;
            length = usize::from_str_radix(line.trim(), 16).ok()?;
        }
        let start = body.len();
        body.resize(start + length, 0);
        socket.read_exact(&mut body[start..]).await.ok()?;
        if !chunked {
            break;
        }
        line.clear();
        socket.read_line(&mut line).await.ok()?;
        if length == 0 {
            break;
        }
    }
    Some(Request { target, body, headers })
}
