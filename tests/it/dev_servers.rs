//! The harness and `dev/servers` themselves: what the other tests rest on must hold.

use std::time::Duration;

use crate::harness::{
    ClickHouse, HangingServer, Kafka, Message, Mode, Servers, TcpProxy, dev_servers, get, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn shared_servers_answer_and_keep_what_they_are_given() {
    let servers = Servers::shared();
    let database = servers.clickhouse.fresh_database();
    let table = format!("{}.numbers", database.name);
    servers.clickhouse.query(&format!("CREATE TABLE {table} (n UInt32) ENGINE = MergeTree ORDER BY n"));
    servers.clickhouse.insert(&table, "JSONEachRow", b"{\"n\":1}\n{\"n\":41}\n");
    assert_eq!(servers.clickhouse.value::<u64>(&format!("SELECT sum(n) FROM {table}")), 42);
    let refused = servers.clickhouse.try_query("SELECT nothing FROM nowhere.at_all").unwrap_err();
    assert!(refused.contains("Code: "), "{refused}");

    let topic = servers.kafka.fresh_topic(2);
    servers.kafka.produce(&topic, 1, (0..1000).map(|n| format!("{{\"n\":{n}}}")));
    let full = Message {
        partition: 0,
        offset: 0,
        timestamp_ms: Some(1_000_000_000_123),
        key: Some(b"key".to_vec()),
        payload: None,
        headers: vec![("why".to_owned(), Some(b"because".to_vec())), ("empty".to_owned(), None)],
    };
    servers.kafka.produce_message(&topic, &full);
    let read = servers.kafka.read_all(&topic);
    assert_eq!(read.len(), 1001);
    assert_eq!(read[0], full);
    assert_eq!(read[0].header("why").as_deref(), Some("because"));
    assert_eq!((read[1000].partition, read[1000].offset), (1, 999));
    assert_eq!(read[1000].payload.as_deref(), Some(b"{\"n\":999}".as_slice()));
    assert_eq!(servers.kafka.watermarks(&topic, 1), (0, 1000));
    assert_eq!(servers.kafka.committed("a-group-that-never-was", &topic, &[0, 1]), [None, None]);
}

#[test]
fn clickhouse_keeps_its_data_over_kill_and_answers_nothing_while_frozen() {
    let server = ClickHouse::start_private();
    server.query("CREATE DATABASE kept");
    server.query("CREATE TABLE kept.numbers (n UInt32) ENGINE = MergeTree ORDER BY n");
    server.query("INSERT INTO kept.numbers SELECT number FROM numbers(1000)");
    let url = server.url().to_owned();
    server.kill();
    assert!(server.try_query("SELECT 1").is_err());
    server.restart();
    assert_eq!(server.url(), url);
    assert_eq!(server.value::<u32>("SELECT count() FROM kept.numbers"), 1000);

    server.stop();
    let frozen = std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.query("SELECT 'late'"));
        // Long enough for an answer that would come at once from a server that is not frozen.
        wait_until(SOON, "the set says frozen", || status(server.set_name()).contains("frozen"));
        let early = asked.is_finished();
        server.cont();
        (early, asked.join().expect("the answer"))
    });
    assert_eq!(frozen, (false, "late".to_owned()));

    let name = server.set_name().to_owned();
    drop(server);
    assert!(dev_servers(&["status", "--name", &name]).is_err(), "the set {name} is still there");
}

#[test]
fn kafka_keeps_topics_messages_and_port_over_kill() {
    let kafka = Kafka::start_private();
    let topic = kafka.fresh_topic(3);
    kafka.produce(&topic, 2, ["before"]);
    kafka.kill(0);
    kafka.restart(0);
    kafka.produce(&topic, 2, ["after"]);
    let payloads: Vec<_> = kafka.read_all(&topic).into_iter().filter_map(|message| message.payload).collect();
    assert_eq!(payloads, [b"before".to_vec(), b"after".to_vec()]);

    let name = kafka.set_name().to_owned();
    drop(kafka);
    assert!(dev_servers(&["status", "--name", &name]).is_err(), "the set {name} is still there");
}

#[test]
fn proxy_passes_hangs_refuses_and_cuts() {
    let server = &Servers::shared().clickhouse;
    let proxy = TcpProxy::start(server.address());
    let through = ClickHouse::at(&proxy.url());
    assert_eq!(through.query("SELECT 1"), "1");

    proxy.set(Mode::Refuse);
    assert!(through.try_query("SELECT 1").is_err_and(|why| why.contains("refused")));
    proxy.set(Mode::Pass);
    assert_eq!(through.query("SELECT 2"), "2");

    proxy.set(Mode::Hang);
    std::thread::scope(|scope| {
        let before = proxy.connections();
        let asked = scope.spawn(|| through.query("SELECT 3"));
        wait_until(SOON, "the proxy accepts", || proxy.connections() > before);
        assert!(!asked.is_finished());
        proxy.set(Mode::Pass);
        assert_eq!(asked.join().expect("the answer"), "3");
    });

    // The request is done and its answer lost, which is what a retry has to live with.
    let database = server.fresh_database();
    server.query(&format!("CREATE TABLE {}.t (n UInt8) ENGINE = MergeTree ORDER BY n", database.name));
    proxy.set(Mode::CutAnswerAfter(0));
    assert!(through.try_query(&format!("INSERT INTO {}.t VALUES (1)", database.name)).is_err());
    wait_until(SOON, "the row is there", || {
        server.query(&format!("SELECT count() FROM {}.t", database.name)) == "1"
    });
    // Past the head: the development engine, unlike a server, ends when a connection ends inside a request's head.
    proxy.set(Mode::CutRequestAfter(1000));
    let rows = vec!["(2)"; 1000].join(",");
    assert!(through.try_query(&format!("INSERT INTO {}.t VALUES {rows}", database.name)).is_err());
    assert_eq!(server.query(&format!("SELECT count() FROM {}.t", database.name)), "1");
}

#[test]
fn hanging_server_accepts_and_stays_silent() {
    let server = HangingServer::start();
    let address = server.url().trim_start_matches("http://").to_owned();
    let asked = std::thread::spawn(move || get(&address, "/"));
    wait_until(SOON, "it accepts", || server.connections() == 1);
    assert!(!asked.is_finished());
    drop(server);
    assert!(asked.join().expect("no panic").is_err());
}

fn status(set: &str) -> String {
    dev_servers(&["status", "--name", set]).expect("the set is known")
}
