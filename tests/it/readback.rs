//! Reads back from a real ClickHouse what landed.
//!
//! Refuses to know Kafka: the columns are only named like it. Servers as in `clickhouse`.

use penstock::clickhouse::readback::missing;
use penstock::clickhouse::{Client, Freshness, Place, Present};

use crate::clickhouse::{config, fresh};

fn place() -> Place {
    Place {
        database: Some("penstock_readback".to_owned()),
        table: "it's `t`".to_owned(),
        topic: Some(("the topic".to_owned(), "a'b".to_owned())),
        partition: ("partition".to_owned(), 3),
        offset: "offset".to_owned(),
        freshness: Freshness::Server,
    }
}

#[tokio::test]
async fn what_landed_is_counted_and_listed() {
    let client: Client = fresh("penstock_readback", config()).await;
    let table = r"`it's \`t\``";
    let ddl = format!(
        "CREATE TABLE {table} (`the topic` LowCardinality(String), partition UInt16, offset UInt64) \
         ENGINE = MergeTree ORDER BY offset"
    );
    client.execute(&ddl, &[]).await.unwrap();
    for select in [
        r"'a\'b', 3, number FROM numbers(100) WHERE number % 10 != 7",
        "'a\\'b', 3, 40 FROM numbers(2)",
        "'other', 3, 17",
        "'a\\'b', 4, 17",
    ] {
        client.execute(&format!("INSERT INTO {table} SELECT {select}"), &[]).await.unwrap();
    }
    for freshness in [Freshness::Server, Freshness::Sequential] {
        let place = Place { freshness, ..place() };
        let present = client.present(&place, 10, 50).await.unwrap();
        assert_eq!(present, Present { rows: 38, distinct: 36 });
        assert_eq!(present.surplus(), 2);
    }
    let offsets = client.offsets(&place(), 10, 50).await.unwrap();
    assert_eq!(offsets.len(), 36);
    assert_eq!(missing(&offsets, 10..50), [17, 27, 37, 47]);
    let without_topic = Place { topic: None, database: None, ..place() };
    assert_eq!(client.offsets(&without_topic, 17, 18).await.unwrap(), [17]);
    assert_eq!(client.present(&place(), 1000, 2000).await.unwrap(), Present::default());
    let error = client.present(&Place { freshness: Freshness::Synced, ..place() }, 0, 9).await.unwrap_err();
    assert_eq!(error.exception(), Some(36), "it is not a replica: {error}");
}
