//! A ClickHouse server as tests see it: queries in, text out.
//!
//! It refuses to share code with `penstock::clickhouse`, so that a fault there cannot hide itself here.

use std::ops::Deref;

use super::http::{self, escape};
use super::servers::{Node, Set, Signal};
use super::{Response, fresh_name};

/// The user that penstock takes on development servers.
pub const USER: &str = "penstock";
pub const PASSWORD: &str = "penstock";

#[derive(Clone, Debug)]
pub struct ClickHouse {
    /// `http://host:port`.
    pub url: String,
    pub user: String,
    pub password: String,
}

impl ClickHouse {
    pub fn at(url: &str) -> Self {
        Self::at_as(url, USER, PASSWORD)
    }

    /// A server that knows other users than the development servers do.
    pub fn at_as(url: &str, user: &str, password: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { url, user: user.to_owned(), password: password.to_owned() }
    }

    pub fn start_private() -> PrivateClickHouse {
        Self::start_private_set(1).remove(0)
    }

    /// Several servers that know nothing of each other; all end with the last of the guards.
    pub fn start_private_set(count: usize) -> Vec<PrivateClickHouse> {
        let nodes = Set::start("clickhouse", count);
        nodes.into_iter().map(|node| PrivateClickHouse { client: Self::at(&node.address), node }).collect()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// What the query answers, without its last line end; panics with the server's words.
    pub fn query(&self, sql: &str) -> String {
        self.try_query(sql).unwrap_or_else(|why| panic!("{sql}\n{why}"))
    }

    /// What the query answers, or what the server or the network says against it.
    pub fn try_query(&self, sql: &str) -> Result<String, String> {
        let answer = self.send(sql, "", b"").map_err(|error| error.to_string())?;
        let body = answer.body.trim_end_matches('\n').to_owned();
        let refused = answer.status != 200 || answer.header("x-clickhouse-exception-code").is_some();
        if refused { Err(body) } else { Ok(body) }
    }

    /// The query's answer read as one value.
    pub fn value<T: std::str::FromStr>(&self, sql: &str) -> T {
        let text = self.query(sql);
        text.parse().unwrap_or_else(|_| panic!("{sql}\nanswered {text:?}"))
    }

    /// `INSERT INTO table FORMAT format` with this body.
    pub fn insert(&self, table: &str, format: &str, body: &[u8]) {
        let sql = format!("INSERT INTO {table} FORMAT {format}");
        let answer = self.send("", &format!("&query={}", escape(&sql)), body).expect("an answer");
        assert_eq!(answer.status, 200, "{sql}\n{}", answer.body);
    }

    /// A database of its own, dropped with the guard.
    pub fn fresh_database(&self) -> Database {
        let name = fresh_name("it");
        self.query(&format!("CREATE DATABASE {name}"));
        Database { name, server: self.clone() }
    }

    fn send(&self, sql: &str, parameters: &str, data: &[u8]) -> std::io::Result<Response> {
        let headers =
            [("X-ClickHouse-User", self.user.as_str()), ("X-ClickHouse-Key", self.password.as_str())];
        // The whole answer is buffered by the server, so that a query that fails late still says so in its status.
        let path = format!("/?wait_end_of_query=1{parameters}");
        let body = if sql.is_empty() { data } else { sql.as_bytes() };
        http::post(self.address(), &path, &headers, body)
    }
}

/// A database of one test.
pub struct Database {
    pub name: String,
    server: ClickHouse,
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may have been killed by the test, and a shared one is removed with the run anyway.
        let _dropped = self.server.try_query(&format!("DROP DATABASE IF EXISTS {}", self.name));
    }
}

/// A server of one test, to be killed, frozen and restarted at will.
pub struct PrivateClickHouse {
    client: ClickHouse,
    node: Node,
}

impl PrivateClickHouse {
    pub fn kill(&self) {
        self.node.signal(Signal::Kill);
    }

    pub fn stop(&self) {
        self.node.signal(Signal::Stop);
    }

    pub fn cont(&self) {
        self.node.signal(Signal::Cont);
    }

    /// Same port, same data; returns once it answers.
    pub fn restart(&self) {
        self.node.restart();
    }

    pub fn set_name(&self) -> &str {
        &self.node.set.name
    }
}

impl Deref for PrivateClickHouse {
    type Target = ClickHouse;

    fn deref(&self) -> &ClickHouse {
        &self.client
    }
}
