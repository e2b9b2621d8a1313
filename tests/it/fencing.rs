//! What Kafka and its client do with commits that are late, refused in part, or from somebody who was thrown out.
//!
//! It refuses to know tables: members of a group are the library's own consumers, as `run` makes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use penstock::kafka::context::Notice;
use penstock::kafka::group::Outsider;
use penstock::kafka::{Config, Consumer, Error, Event};
use penstock::record::{Offset, Partition, TopicPartition};
use penstock::units::Span;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::harness::{KafkaProxy, Mode, Servers, Stamp, TcpProxy, fresh_name, wait_until};

const DEADLINE: Duration = Duration::from_secs(30);
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
            Event::Notice(Notice::Progress(_)) | Event::Record(_) | Event::Jumped(..) | Event::Idle => {}
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
    alone_as(brokers, partitions, None)
}

fn alone_as(brokers: &str, partitions: i32, instance_id: Option<&str>) -> (Member, Config, String) {
    let topic = Servers::shared().kafka.fresh_topic(partitions);
    let instance_id = instance_id.map(str::to_owned);
    let config = Config { instance_id, ..config(brokers, &fresh_name("group")) };
    let mut member = Member::join(&config, &topic);
    wait_until(DEADLINE, "the member owns all", || {
        member.poll();
        member.owned.len() == usize::try_from(partitions).unwrap()
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

/// What a member behind proxies is like: every commit is written down, and its network can be taken away.
struct Watched {
    proxy: KafkaProxy,
    network: TcpProxy,
}

impl Watched {
    fn new() -> Watched {
        let broker = &Servers::shared().kafka.brokers;
        let network = TcpProxy::start(broker);
        Watched { proxy: KafkaProxy::start(broker, &network.address()), network }
    }

    /// What the last commit was stamped with.
    fn last(&self) -> Stamp {
        self.proxy.stamps().pop().unwrap()
    }
}

/// Another member of the group, on a network of its own.
fn another(config: &Config, topic: &str) -> Member {
    let brokers = vec![Servers::shared().kafka.brokers.clone()];
    Member::join(&Config { brokers, instance_id: None, ..config.clone() }, topic)
}

/// Polls both until the first is asked to give a partition back; which one.
fn asked(first: &mut Member, second: &mut Member) -> TopicPartition {
    wait_until(DEADLINE, "a partition is asked back", || {
        first.poll();
        second.poll();
        !first.asked.is_empty()
    });
    first.asked[0].clone()
}

fn wait_owned(member: &mut Member, count: usize) {
    wait_until(DEADLINE, &format!("a member owns {count}"), || {
        member.poll();
        member.owned.len() == count
    });
}

/// Begins a commit on a thread of its own; returns once the client is being asked.
fn begin(member: &Member, source: &TopicPartition) -> JoinHandle<Result<(), Error>> {
    let (committer, source) = (member.consumer.committer(), source.clone());
    let (asking, asked) = std::sync::mpsc::channel();
    let late = std::thread::spawn(move || {
        asking.send(()).unwrap();
        committer.commit(&[(source, Offset(3), "late".to_owned())])
    });
    asked.recv().unwrap();
    late
}

#[test]
fn a_late_commit_of_what_was_given_back_is_taken() {
    let watched = Watched::new();
    let (mut a, config, topic) = alone(&watched.proxy.address(), 2);
    a.commit(&source(&topic, 0), 1, "own").unwrap();
    let owning = watched.last();
    let mut b = another(&config, &topic);
    let moved = asked(&mut a, &mut b);
    a.give_back();
    wait_until(DEADLINE, "the other member owns it", || {
        a.poll();
        b.poll();
        b.owned.len() == 1
    });
    b.commit(&moved, 9, "of the owner").unwrap();
    // The hole: the broker looks at member and generation only, and the client stamps its newest.
    a.commit(&moved, 7, "late").unwrap();
    assert_eq!(b.committed(&moved), (Some(Offset(7)), "late".to_owned()));
    let late = watched.last();
    assert!(owning.member == late.member && owning.generation + 1 < late.generation);
}

/// A member that was asked to give back the first partition returned, does not answer, and is thrown out behind
/// its back; everything passes to another member, which commits and leaves.
fn thrown_out(instance_id: Option<&str>) -> (Watched, Member, [TopicPartition; 2]) {
    let watched = Watched::new();
    let (mut a, config, topic) = alone_as(&watched.proxy.address(), 2, instance_id);
    a.commit(&source(&topic, 0), 1, "own").unwrap();
    let owning = watched.last();
    let mut b = another(&config, &topic);
    let moving = asked(&mut a, &mut b);
    let kept = source(&topic, 1 - moving.partition.0);
    // Not given back yet, so that nobody else has it, whatever generation it is.
    a.commit(&moving, 2, "in time").unwrap();
    assert_eq!(watched.last().generation, owning.generation + 1);
    assert!(!b.owned.contains(&moving));

    watched.network.set(Mode::Hang);
    wait_owned(&mut b, 2);
    for source in [&moving, &kept] {
        b.commit(source, 9, "of the owner").unwrap();
    }
    let late = begin(&a, &moving);
    watched.network.set(Mode::Pass);
    for refused in [late.join().unwrap(), a.commit(&moving, 3, "later")] {
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains("UnknownMemberId") && refused.is_fenced(), "{refused}");
    }
    assert!(watched.proxy.stamps().iter().all(|stamp| stamp.generation <= owning.generation + 1));
    assert_eq!(b.committed(&moving), (Some(Offset(9)), "of the owner".to_owned()));
    drop(b);
    (watched, a, [moving, kept])
}

/// Answers everything until this member owns both partitions again; what it was told on the way.
fn come_back(a: &mut Member) -> Vec<Notice> {
    let before = a.heard.len();
    a.give_back();
    wait_until(DEADLINE, "it owns everything again", || {
        a.poll();
        if !a.asked.is_empty() {
            a.give_back();
        }
        a.owned.len() == 2
    });
    a.heard.split_off(before)
}

#[test]
fn whoever_was_thrown_out_is_refused_and_is_told_of_everything_it_lost() {
    let (_watched, mut a, [moving, kept]) = thrown_out(None);
    let heard = come_back(&mut a);
    // Told only once it joins again; until then its commits are refused.
    assert!(heard.contains(&Notice::Revoked { partitions: vec![kept.clone()], lost: true }), "{heard:?}");
    let assigned =
        |notice: &Notice| matches!(notice, Notice::Assigned(p) if p.contains(&kept) && p.contains(&moving));
    assert!(heard.iter().any(assigned), "{heard:?}");
}

#[test]
fn a_static_member_is_not_told_of_everything_it_lost() {
    let (_watched, mut a, [_, kept]) = thrown_out(Some("one"));
    let heard = come_back(&mut a);
    // It goes on with what was somebody else's in the meantime, and may commit it: why a plan that must not be
    // overtaken needs a member without a name.
    let told = |notice: &Notice| match notice {
        Notice::Assigned(partitions) | Notice::Revoked { partitions, .. } => partitions.contains(&kept),
        Notice::Progress(_) => false,
    };
    assert!(!heard.iter().any(told), "{heard:?}");
    assert_eq!(a.committed(&kept), (Some(Offset(9)), "of the owner".to_owned()));
    a.commit(&kept, 4, "stale").unwrap();
}

#[test]
fn nothing_is_committed_once_the_assignment_is_lost() {
    let watched = Watched::new();
    let (mut a, _, topic) = alone(&watched.proxy.address(), 1);
    let only = source(&topic, 0);
    a.commit(&only, 1, "own").unwrap();
    watched.proxy.refuse_heartbeats();
    wait_until(DEADLINE, "the loss is told", || {
        a.poll();
        !a.asked.is_empty()
    });
    assert_eq!(a.heard.last(), Some(&Notice::Revoked { partitions: vec![only.clone()], lost: true }));
    assert!(a.commit(&only, 2, "late").unwrap_err().is_fenced());
    assert_eq!(watched.proxy.stamps().len(), 1);
    assert_eq!(a.committed(&only), (Some(Offset(1)), "own".to_owned()));
}

/// The bare client, which answers assignments and nothing else.
#[derive(Default)]
struct Unanswered {
    lost: AtomicBool,
    ended: AtomicBool,
}

impl ClientContext for Unanswered {}

impl ConsumerContext for Unanswered {
    fn rebalance(&self, client: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            client.incremental_assign(list).unwrap();
        } else if self.ended.load(Ordering::Acquire) {
            client.incremental_unassign(list).unwrap();
        } else {
            self.lost.store(client.assignment_lost(), Ordering::Release);
        }
    }
}

#[test]
fn with_an_illegal_generation_the_client_names_none_and_an_empty_group_takes_it() {
    let watched = Watched::new();
    let topic = Servers::shared().kafka.fresh_topic(1);
    let (group, only) = (fresh_name("group"), source(&topic, 0));
    let client: BaseConsumer<Unanswered> = ClientConfig::new()
        .set("bootstrap.servers", watched.proxy.address())
        .set("group.id", &group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .create_with_context(Unanswered::default())
        .unwrap();
    client.subscribe(&[&topic]).unwrap();
    let poll = |until: &dyn Fn() -> bool| {
        wait_until(DEADLINE, "the client is told", || {
            client.poll(Duration::from_millis(50));
            until()
        });
    };
    let commit = |offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(offset)).unwrap();
        client.commit(&list, CommitMode::Sync)
    };
    poll(&|| 0 < client.assignment().unwrap().count());
    commit(1).unwrap();
    let owning = watched.last();
    watched.proxy.refuse_heartbeats();
    poll(&|| client.context().lost.load(Ordering::Acquire));
    assert!(commit(2).unwrap_err().to_string().contains("IllegalGeneration"));
    assert_eq!(watched.last(), Stamp { generation: -1, member: owning.member });
    let mut b = another(&config(&watched.proxy.address(), &group), &topic);
    wait_owned(&mut b, 1);
    b.commit(&only, 9, "of the owner").unwrap();
    assert!(commit(2).unwrap_err().to_string().contains("UnknownMemberId"));
    drop(b);
    // The hole: an empty group takes what names no generation.
    commit(2).unwrap();
    assert_eq!(watched.last(), Stamp { generation: -1, member: String::new() });
    assert_eq!(Servers::shared().kafka.committed(&group, &topic, &[0]), [Some(2)]);
    client.context().ended.store(true, Ordering::Release);
    client.incremental_unassign(&client.assignment().unwrap()).unwrap();
}

#[test]
fn a_commit_that_waits_for_the_coordinator_is_refused_when_somebody_else_took_over() {
    for instance_id in [None, Some("one")] {
        let watched = Watched::new();
        let (mut a, config, topic) = alone_as(&watched.proxy.address(), 1, instance_id);
        let only = source(&topic, 0);
        a.commit(&only, 1, "own").unwrap();
        let owning = watched.last();
        watched.network.set(Mode::Refuse);
        let mut b = another(&config, &topic);
        let late = begin(&a, &only);
        wait_owned(&mut b, 1);
        b.commit(&only, 9, "of the owner").unwrap();
        wait_until(DEADLINE, "the loss is told", || {
            a.poll();
            !a.asked.is_empty()
        });
        watched.network.set(Mode::Pass);
        wait_until(DEADLINE, "the commit is answered", || {
            a.poll();
            b.poll();
            late.is_finished()
        });
        let answer = late.join().unwrap();
        assert!(answer.is_err());
        // Never newer than the one in which it was asked for, since the loss was not answered meanwhile.
        let theirs = |stamp: &Stamp| stamp.generation == owning.generation;
        assert!(watched.proxy.stamps().iter().all(theirs));
        assert_eq!(b.committed(&only), (Some(Offset(9)), "of the owner".to_owned()));
    }
}

#[test]
fn brokers_that_do_not_keep_texts_are_found_out() {
    let watched = Watched::new();
    let (member, _, topic) = alone(&watched.proxy.address(), 1);
    watched.proxy.spoil_texts();
    let lost = member.commit(&source(&topic, 0), 1, "kept").unwrap_err();
    assert!(matches!(lost, Error::MetadataLost { wrote: 4, found: 4, .. }), "{lost}");
}

#[test]
fn a_topic_made_anew_is_noticed_before_anything_of_it_is_read() {
    let watched = Watched::new();
    let kafka = &Servers::shared().kafka;
    let (mut a, config, topic) = alone(&watched.proxy.address(), 1);
    let only = source(&topic, 0);
    let read = |a: &mut Member| match a.consumer.poll(Duration::from_millis(50)) {
        Ok(Event::Record(message)) => Ok(Some(message.to_owned())),
        other => other.map(|_| None),
    };
    kafka.produce(&topic, 0, (0..100).map(|n| format!("old {n}")));
    wait_until(DEADLINE, "everything is read", || {
        read(&mut a).unwrap().is_some_and(|record| record.position.offset == Offset(99))
    });
    a.commit(&only, 100, "of the old one").unwrap();
    // Behind its back, and the new one holds records at the offset that it would read next.
    watched.network.set(Mode::Hang);
    kafka.delete_topic(&topic);
    wait_until(DEADLINE, "it is gone", || kafka.partitions(&topic).is_empty());
    kafka.create_topic(&topic, 1, 1, &[]);
    kafka.produce(&topic, 0, (0..200).map(|n| format!("new {n}")));
    assert_eq!(kafka.committed(&config.group, &topic, &[0]), [None]);
    watched.network.set(Mode::Pass);
    let mut ended = None;
    wait_until(DEADLINE, "it is noticed", || {
        match read(&mut a) {
            Ok(record) => assert!(record.is_none(), "{record:?}"),
            Err(error) => ended = Some(error),
        }
        ended.is_some()
    });
    let replaced = |error: &Error| matches!(error, Error::TopicReplaced { topic: t } if *t == topic);
    assert!(replaced(&ended.unwrap()) && replaced(&a.commit(&only, 150, "of the old one").unwrap_err()));
    assert_eq!(kafka.committed(&config.group, &topic, &[0]), [None]);
}

#[test]
fn an_outsider_cannot_commit_while_somebody_is_in_the_group() {
    let (member, config, topic) = alone(&Servers::shared().kafka.brokers, 1);
    let only = source(&topic, 0);
    let outsider = Outsider::new(&config).unwrap();
    let refused = outsider.commit(&[(only.clone(), Offset(3))]).unwrap_err();
    assert!(matches!(refused, Error::GroupNotEmpty { .. }), "{refused}");
    assert_eq!(member.committed(&only), (None, String::new()));
    drop(member);
    outsider.commit(&[(only, Offset(3))]).unwrap();
}
