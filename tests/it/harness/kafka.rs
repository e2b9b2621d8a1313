//! A Kafka cluster as tests see it: topics made, messages put in, messages read back by position.
//!
//! It refuses to join a consumer group when it reads, so that reading never disturbs the group under test.

use std::ops::Deref;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::servers::{Node, Set, Signal};
use super::{fresh_name, wait_for};

/// A broker that has just started may need this long for the first request of a kind.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub brokers: String,
}

/// A message as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Message {
    /// The first header of this name as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        value.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Kafka {
    pub fn at(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned() }
    }

    pub fn start_private() -> PrivateKafka {
        Self::start_private_cluster(1)
    }

    /// Several brokers as one cluster.
    pub fn start_private_cluster(count: usize) -> PrivateKafka {
        let nodes = Set::start("kafka", count);
        let brokers: Vec<&str> = nodes.iter().map(|node| node.address.as_str()).collect();
        PrivateKafka { client: Self::at(&brokers.join(",")), nodes }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("message.max.bytes", "67108864");
        config.set("receive.message.max.bytes", "134217728");
        // Without it a reader rests for a second whenever its queue is full.
        config.set("fetch.queue.backoff.ms", "5");
        config.set("reconnect.backoff.max.ms", "500");
        config
    }

    /// Makes a topic with a fresh name and returns the name once every partition has a leader.
    pub fn fresh_topic(&self, partitions: i32) -> String {
        let name = fresh_name("it");
        self.create_topic(&name, partitions, 1, &[]);
        name
    }

    pub fn create_topic(&self, name: &str, partitions: i32, copies: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIME_MAX));
        let results =
            block_on(admin.create_topics([&topic], &options)).expect("the request reaches a broker");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("cannot create {topic}: {code}"));
        }
        let count = usize::try_from(partitions).expect("a count");
        wait_for(REQUEST_TIME_MAX, "every partition has a leader", || {
            (self.partitions(name).len() == count).then_some(())
        });
    }

    pub fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIME_MAX));
        block_on(admin.delete_topics(&[name], &options)).expect("the request reaches a broker");
    }

    /// The partitions of a topic that have a leader; none if there is no such topic.
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        let Ok(metadata) = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)) else {
            return Vec::new();
        };
        let topics =
            metadata.topics().iter().filter(|known| known.name() == topic && known.error().is_none());
        topics.flat_map(|known| known.partitions()).filter(|p| p.leader() >= 0).map(|p| p.id()).collect()
    }

    /// Publishes messages to one partition in this order and waits until all of them are acknowledged.
    pub fn produce<P: AsRef<[u8]>>(
        &self,
        topic: &str,
        partition: i32,
        payloads: impl IntoIterator<Item = P>,
    ) {
        let producer = self.producer();
        for payload in payloads {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(payload.as_ref());
            send(&producer, record);
        }
        finish(&producer);
    }

    /// Publishes one message with everything that a message can have; no payload is a tombstone.
    pub fn produce_message(&self, topic: &str, message: &Message) {
        let producer = self.producer();
        let mut headers = OwnedHeaders::new();
        for (key, value) in &message.headers {
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition).headers(headers);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        if let Some(payload) = &message.payload {
            record = record.payload(payload);
        }
        if let Some(timestamp_ms) = message.timestamp_ms {
            record = record.timestamp(timestamp_ms);
        }
        send(&producer, record);
        finish(&producer);
    }

    /// Publishes messages to one partition in a transaction, and ends it so or so.
    pub fn produce_transaction<P: AsRef<[u8]>>(
        &self,
        topic: &str,
        partition: i32,
        payloads: impl IntoIterator<Item = P>,
        is_committed: bool,
    ) {
        let mut config = self.config();
        let producer: BaseProducer =
            config.set("transactional.id", fresh_name("transaction")).create().expect("a producer");
        producer.init_transactions(REQUEST_TIME_MAX).expect("transactions");
        producer.begin_transaction().expect("a transaction");
        for payload in payloads {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(payload.as_ref());
            send(&producer, record);
        }
        finish(&producer);
        match is_committed {
            true => producer.commit_transaction(REQUEST_TIME_MAX).expect("it is committed"),
            false => producer.abort_transaction(REQUEST_TIME_MAX).expect("it is aborted"),
        }
    }

    /// Deletes a partition's messages below this offset, as retention does.
    pub fn delete_below(&self, topic: &str, partition: i32, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIME_MAX));
        let done = block_on(admin.delete_records(&list, &options)).expect("the request reaches a broker");
        done.elements()[0].error().expect("they are deleted");
    }

    fn producer(&self) -> BaseProducer {
        let mut config = self.config();
        config.set("enable.idempotence", "true");
        config.set("linger.ms", "5");
        config.set("queue.buffering.max.kbytes", "262144");
        config.create().expect("a producer")
    }

    /// The first offset and the one after the last of a partition.
    pub fn watermarks(&self, topic: &str, partition: i32) -> (i64, i64) {
        self.try_watermarks(topic, partition).expect("the watermarks")
    }

    /// The same where brokers may be away.
    pub fn try_watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        // Otherwise an open transaction would be the end.
        let consumer: BaseConsumer = self.config().set("isolation.level", "read_uncommitted").create()?;
        consumer.fetch_watermarks(topic, partition, REQUEST_TIME_MAX)
    }

    /// Removes what lies below these offsets.
    pub fn delete_records(&self, topic: &str, offsets: &[(i32, i64)]) -> Result<(), KafkaError> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIME_MAX));
        let mut below = TopicPartitionList::new();
        for (partition, offset) in offsets {
            below.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        block_on(admin.delete_records(&below, &options)).map(drop)
    }

    /// Sets the offsets of a group and the text beside each, as the group tool does; the group must have no
    /// members.
    pub fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        offsets: &[(i32, i64, String)],
    ) -> Result<(), KafkaError> {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut wanted = TopicPartitionList::new();
        for (partition, offset, text) in offsets {
            let mut element = wanted.add_partition(topic, *partition);
            element.set_offset(Offset::Offset(*offset))?;
            element.set_metadata(text);
        }
        consumer.commit(&wanted, CommitMode::Sync)
    }

    /// Every message that a topic holds now, by partition and offset.
    pub fn read_all(&self, topic: &str) -> Vec<Message> {
        let mut config = self.config();
        config.set("group.id", "read-all-never-joins").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let partitions = self.partitions(topic);
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            assignment.add_partition_offset(topic, *partition, Offset::Beginning).expect("a position");
        }
        consumer.assign(&assignment).expect("an assignment");

        let (mut messages, mut open) = (Vec::new(), partitions.len());
        let mut heard = Instant::now();
        while open > 0 {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => messages.push(own(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => eprintln!("reading {topic}: {error}"),
                None => {
                    assert!(heard.elapsed() < REQUEST_TIME_MAX, "{topic} went silent before its end");
                    continue;
                }
            }
            heard = Instant::now();
        }
        messages.sort_by_key(|message| (message.partition, message.offset));
        messages
    }

    /// The committed offset of each of these partitions; None where the group has none.
    pub fn committed(&self, group: &str, topic: &str, partitions: &[i32]) -> Vec<Option<i64>> {
        self.try_committed(group, topic, partitions).expect("the committed offsets")
    }

    /// The same where brokers may be away.
    pub fn try_committed(
        &self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<Option<i64>>, KafkaError> {
        let answer = self.group_offsets(group, topic, partitions)?;
        let of = |partition: &i32| match answer.find_partition(topic, *partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok(partitions.iter().map(of).collect())
    }

    /// The text that was committed beside the offset of each of these partitions.
    pub fn committed_texts(
        &self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<String>, KafkaError> {
        let answer = self.group_offsets(group, topic, partitions)?;
        let of = |partition: &i32| {
            answer.find_partition(topic, *partition).map_or_else(String::new, |p| p.metadata().to_owned())
        };
        Ok(partitions.iter().map(of).collect())
    }

    fn group_offsets(
        &self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<TopicPartitionList, KafkaError> {
        let mut config = self.config();
        config.set("group.id", group);
        let consumer: BaseConsumer = config.create()?;
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(topic, *partition);
        }
        let answer = consumer.committed_offsets(asked, REQUEST_TIME_MAX)?;
        // What cannot be told is no "nothing is committed".
        answer.elements().iter().try_for_each(|element| element.error())?;
        Ok(answer)
    }
}

fn send(producer: &BaseProducer, record: BaseRecord<'_, [u8], [u8]>) {
    let mut waiting = Some(record);
    wait_for(REQUEST_TIME_MAX, "the producer's queue has room", || match producer.send(waiting.take()?) {
        Ok(()) => Some(()),
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
            producer.poll(Duration::from_millis(50));
            waiting = Some(record);
            None
        }
        Err((error, _)) => panic!("cannot publish: {error}"),
    });
    producer.poll(Duration::ZERO);
}

fn finish(producer: &BaseProducer) {
    producer.flush(REQUEST_TIME_MAX * 2).expect("every message is acknowledged");
    assert_eq!(producer.in_flight_count(), 0, "messages without acknowledgement");
}

fn own(message: &rdkafka::message::BorrowedMessage<'_>) -> Message {
    let headers = message.headers().map(|headers| {
        let owned = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
        headers.iter().map(owned).collect()
    });
    Message {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// A cluster of one test, to be killed, frozen and restarted at will. Brokers count from 0.
pub struct PrivateKafka {
    client: Kafka,
    nodes: Vec<Node>,
}

impl PrivateKafka {
    pub fn kill(&self, broker: usize) {
        self.nodes[broker].signal(Signal::Kill);
    }

    pub fn stop(&self, broker: usize) {
        self.nodes[broker].signal(Signal::Stop);
    }

    pub fn cont(&self, broker: usize) {
        self.nodes[broker].signal(Signal::Cont);
    }

    /// Same port, same data; returns once it answers.
    pub fn restart(&self, broker: usize) {
        self.nodes[broker].restart();
    }

    pub fn set_name(&self) -> &str {
        &self.nodes[0].set.name
    }
}

impl Deref for PrivateKafka {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.client
    }
}
