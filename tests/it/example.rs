//! The example of README.md, which a test compares with it: what stands there compiles.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use penstock::clickhouse::breaker::{self, Breaker, CallError};
use penstock::clickhouse::retry::{self, Budget, Next, Policy};
use penstock::clickhouse::{Class, Client, Config, Insert};
use serde_json::json;
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        endpoints: vec!["http://ch-1:8123".to_owned(), "http://ch-2:8123".to_owned()],
        user: "penstock".to_owned(),
        ..Config::default()
    };
    let client = Client::new(&config)?;
    for health in client.health_check().await {
        println!("{} {:?} {:?}", health.endpoint, health.gate, health.result);
    }

    // Not repeated unless it surely was not begun; `execute_idempotent` is for what may run twice.
    client
        .execute("CREATE TABLE IF NOT EXISTS t (n UInt32, s String) ENGINE = MergeTree ORDER BY n", &[])
        .await?;

    // A batch: the type on the wire stands in each field's metadata. The same token means the same rows.
    let field = |name: &str, wire: &str, ty: DataType| {
        let metadata = HashMap::from([("clickhouse.type".to_owned(), wire.to_owned())]);
        Field::new(name, ty, false).with_metadata(metadata)
    };
    let schema =
        Schema::new(vec![field("n", "UInt32", DataType::UInt32), field("s", "String", DataType::Utf8)]);
    let batch = RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(UInt32Array::from(vec![1, 2])), Arc::new(StringArray::from(vec!["a", "b"]))],
    )?;
    let insert = Insert {
        table: "t".to_owned(),
        batch: batch.into(),
        token: "load-17".to_owned(),
        ..Insert::default()
    };
    println!("{:?}", client.insert(&insert).await?);

    // Values travel beside the statement, never in it.
    let found =
        client.query("SELECT n, s FROM t WHERE n >= {from:UInt32} ORDER BY n", &[("from", json!(1))]).await?;
    println!("{} rows in {:?}", found.rows.len(), found.elapsed);

    // What an error asks for: Elsewhere, Later, Data or Stop; with a stable code and a hint.
    if let Err(error) = client.query("SELEC 1", &[]).await {
        assert_eq!(error.class(), Class::Stop);
        println!("{}: {error}\nhint: {}", error.code(), error.hint());
    }

    // Breaker and retry go around any call.
    let breaker = Breaker::new("billing", breaker::Config::default());
    match breaker.call(|| async { Err::<(), _>("down") }, |_error| true).await {
        Err(CallError::Refused(refused)) => println!("not even called: {refused}"),
        Err(CallError::Failed(error)) => println!("called, and failed: {error}"),
        Ok(()) => {}
    }
    let settings = retry::Config::default();
    let budget = Budget::new(&settings, Instant::now());
    let policy = Policy::new(&settings, &budget, 0);
    let answer = retry::run(
        &policy,
        |_| Next::Later,
        |attempt| async move { if attempt < 3 { Err("not yet") } else { Ok(attempt) } },
    );
    println!("{:?}", answer.await.map_err(|given_up| given_up.reason));

    // Refuses later calls of every clone; calls under way go on.
    tokio::time::timeout(Duration::from_secs(1), client.close()).await?;
    Ok(())
}
