//! What Kafka and its client do with commits that are late, refused in part, or from somebody who was thrown out.
//!
//! It refuses to know tables: members of a group are the library's own consumers, as `run` makes them.

use std::time::Duration;

use penstock::kafka::context::Notice;
use penstock::kafka::{Config, Consumer, Error, Event};
use penstock::record::{Offset, Partition, TopicPartition};
use penstock::units::Span;

use crate::harness::{Servers, fresh_name, wait_until};
use crate::scene::DEADLINE;

/// The shortest that brokers allow by default.
const SESSION: Duration = Duration::from_secs(6);

fn config(brokers: &str, group: &str) -> Config {
    Config {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        group: group.to_owned(),
        session_timeout: Span(SESSION),
        client: [("heartbeat.interval.ms", "500"), ("reconnect.backoff.max.ms", "200")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Config::default()
    }
}

/// One member, and what it was told and has answered.
struct Member {
    consumer: Consumer,
    /// Assigned and accepted, not yet given back.
    owned: Vec<TopicPartition>,
    /// Every notice of a change, in order.
    heard: Vec<Notice>,
    /// Taken away, and not yet given back.
    asked: Vec<TopicPartition>,
}

impl Member {
    fn join(config: &Config, topic: &str) -> Member {
        let consumer = Consumer::new(config, &[topic], 0).unwrap();
        Member { consumer, owned: Vec::new(), heard: Vec::new(), asked: Vec::new() }
    }

    /// Polls for a moment; accepts what is assigned, and gives nothing back.
    fn poll(&mut self) {
        match self.consumer.poll(Duration::from_millis(50)).unwrap() {
            Event::Notice(Notice::Assigned(partitions)) => {
                self.consumer.accept(&partitions).unwrap();
                self.owned.extend(partitions.iter().cloned());
                self.heard.push(Notice::Assigned(partitions));
            }
            Event::Notice(Notice::Revoked { partitions, lost }) => {
                self.asked.extend(partitions.iter().cloned());
                self.heard.push(Notice::Revoked { partitions, lost });
            }
            Event::Notice(Notice::Progress(_)) | Event::Record(_) | Event::Idle => {}
        }
    }

    /// Gives back what the group asked for.
    fn give_back(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.consumer.release(&asked).unwrap();
        self.owned.retain(|source| !asked.contains(source));
    }

    fn commit(&self, source: &TopicPartition, offset: i64, text: &str) -> Result<(), Error> {
        self.consumer.committer().commit(&[(source.clone(), Offset(offset), text.to_owned())])
    }

    fn committed(&self, source: &TopicPartition) -> (Option<Offset>, String) {
        let found = self.consumer.committer().committed(std::slice::from_ref(source), DEADLINE).unwrap();
        (found[0].1, found[0].2.clone())
    }
}

/// The only member of a fresh group, with all partitions of a fresh topic.
fn alone(brokers: &str, partitions: i32) -> (Member, Config, String) {
    let topic = Servers::shared().kafka.fresh_topic(partitions);
    let config = config(brokers, &fresh_name("group"));
    let mut member = Member::join(&config, &topic);
    wait_until(DEADLINE, "the member owns all", || {
        member.poll();
        member.owned.len() == partitions as usize
    });
    (member, config, topic)
}

fn source(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: Partition(partition) }
}

#[test]
fn a_commit_that_is_refused_for_one_partition_is_an_error_and_texts_are_proven() {
    let (member, _, topic) = alone(&Servers::shared().kafka.brokers, 2);
    let (one, two) = (source(&topic, 0), source(&topic, 1));
    let committer = member.consumer.committer();
    let long = "x".repeat(5_000);
    let mut both = [(one.clone(), Offset(7), "short".to_owned()), (two.clone(), Offset(8), long)];
    for _ in 0..2 {
        both.reverse();
        let refused = committer.commit(&both).unwrap_err();
        assert!(refused.to_string().contains("OffsetMetadataTooLarge"), "{refused}");
    }
    // The other one was committed all the same.
    assert_eq!(member.committed(&one), (Some(Offset(7)), "short".to_owned()));
    assert_eq!(member.committed(&two), (None, String::new()));
    let text = "y".repeat(4_000);
    member.commit(&two, 9, &text).unwrap();
    assert_eq!(member.committed(&two), (Some(Offset(9)), text));
}

#[test]
fn what_is_not_held_is_passed_over_when_it_is_given_back() {
    let (mut member, config, topic) = alone(&Servers::shared().kafka.brokers, 2);
    let elsewhere = source(&topic, 99);
    member.consumer.release(&[elsewhere, source(&topic, 1)]).unwrap();
    member.consumer.release(&[source(&topic, 1)]).unwrap();
    member.consumer.accept_at(&[(source(&topic, 1), Some(Offset(3)))]).unwrap();
    // The group is answered all the same: another member gets its share.
    let mut other = Member::join(&config, &topic);
    wait_until(DEADLINE, "the members share the partitions", || {
        member.poll();
        if !member.asked.is_empty() {
            member.give_back();
        }
        other.poll();
        member.owned.len() == 1 && other.owned.len() == 1
    });
}
