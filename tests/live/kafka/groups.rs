//! A group as others see it: Kafka's own tools, transactions of foreign producers, partitions that are added.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::Record;
use krafka::admin::{CreatePartitionsOptions, ListConsumerGroupOffsetsOptions};
use tokio::time::{Instant, sleep};
use userpipe::bus::kafka::{Group, KafkaProducer, reset_group};
use userpipe::bus::{Commit, Consumer, Event, Moved, StartAt};
use userpipe::config::{GroupProtocol, KafkaConfig, MemberConfig};
use userpipe::record::Timestamp;

use super::members::contract::{self, Bus, SOON};
use super::members::live;
use super::{IDENTITY, assigned, name, next_offsets, produce, read, shared, topic};
use crate::services;

const BOTH: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

/// One row of `kafka-consumer-groups --describe`: partition, offset, lag, and the member's id.
fn described(group: &str) -> Vec<(i32, i64, i64, String)> {
    let arguments = ["--bootstrap-server", &services::kafka(), "--describe", "--group", group];
    let rows = services::tool("consumer-groups", arguments);
    let row = |line: &str| {
        let cells: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| cells.get(at)?.parse::<i64>().ok();
        Some((i32::try_from(number(2)?).ok()?, number(3)?, number(5)?, (*cells.get(6)?).to_owned()))
    };
    rows.lines().filter(|line| line.starts_with(group)).filter_map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn kafkas_own_tool_shows_members_offsets_and_lag() {
    for protocol in BOTH {
        let bus = live(protocol);
        let mut seat = bus.seat("described", 2).await;
        seat.settings.static_id = Some("pod-0".to_owned());
        bus.send(&seat.topic, 100).await;
        let mut member = bus.join(&seat).await.unwrap();
        let records = contract::read(&mut member, 100).await;
        let part: Vec<_> = records.iter().filter(|record| record.offset < 10).cloned().collect();
        assert_eq!(member.commit(&next_offsets(&part)).await.unwrap(), Commit::Stored);
        let rows = described(&seat.group);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows.iter().all(|(_, offset, _, member)| *offset == 10 && member.len() > 10), "{rows:?}");
        assert_eq!(rows.iter().map(|(_, _, lag, _)| lag).sum::<i64>(), 80, "{rows:?}");
        member.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn records_of_aborted_transactions_are_not_seen_and_leave_no_lag() {
    for protocol in BOTH {
        let bus = live(protocol);
        let seat = bus.seat("transactions", 2).await;
        let producer = bus.kafka().await.producer().build_transactional(name("tx")).await.unwrap();
        let transaction = async |partition, value: &str, commits: bool| {
            producer.begin().unwrap();
            for n in 0..5 {
                let record = Record::new(seat.topic.as_str(), format!("{value} {n}")).partition(partition);
                let _stored_at = producer.send(record).await.unwrap();
            }
            if commits {
                producer.commit().await.unwrap();
            } else {
                producer.abort().await.unwrap();
            }
        };
        transaction(0, "good", true).await;
        transaction(0, "bad", false).await;
        // A partition that never had anything else.
        transaction(1, "bad", false).await;

        let mut member = bus.join(&seat).await.unwrap();
        let records = contract::read(&mut member, 5).await;
        let values: Vec<_> = records.iter().map(|r| String::from_utf8_lossy(r.value.as_ref().unwrap())).collect();
        assert!(values.iter().all(|value| value.starts_with("good")), "{values:?}");
        assert_eq!(member.commit(&next_offsets(&records)).await.unwrap(), Commit::Stored);
        lag_is_gone(&mut member).await;
        // One that comes later is passed as well, with nothing to be committed for it.
        transaction(0, "bad", false).await;
        lag_is_gone(&mut member).await;
        let rows = described(&seat.group);
        assert!(rows.len() == 2 && rows.iter().all(|(_, _, lag, _)| *lag == 0), "{rows:?}");
        member.close().await.unwrap();
    }
}

/// Gives away what is asked for, and waits for `count` partitions.
async fn wider_by(member: &mut impl Consumer, count: usize) {
    let mut have = 0;
    while have < count {
        match contract::event(member, Duration::from_secs(100)).await {
            Ok(Event::Assigned(partitions)) => have += partitions.len(),
            Ok(Event::Revoked(_, release)) => drop(release),
            other => panic!("{have} of {count} partitions, then {other:?}"),
        }
    }
}

async fn lag_is_gone(member: &mut impl Consumer) {
    let begin = Instant::now();
    loop {
        let ends = member.watermarks().await.unwrap().into_iter().map(|(p, marks)| (p, marks.high));
        if ends.collect::<BTreeMap<_, _>>() == member.committed().await.unwrap() {
            return;
        }
        assert!(begin.elapsed() < SOON, "{:?}", member.committed().await);
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_reset_finds_the_time_and_leaves_the_sinks_name() {
    let config = KafkaConfig { partitions: 1, ..shared() };
    let (topic, producer) = topic(&config, "reset").await;
    produce(&producer, 0..100).await;
    for protocol in BOTH {
        let settings = MemberConfig { protocol, ..MemberConfig::default() };
        let group = name("group");
        let group = Group { config: &config, settings: &settings, topic: &topic, name: &group, identity: IDENTITY };
        let at = |ms| StartAt::Time(Timestamp::from_unix_ms(ms).unwrap());
        let begin = Instant::now();
        let done = reset_group(&group, at(1_700_000_000_025), Duration::ZERO).await.unwrap();
        eprintln!("{protocol:?}: a group was reset in {:?}", begin.elapsed());
        assert_eq!(done[&0], Moved { before: None, after: 25 });
        let done = reset_group(&group, StartAt::Time(Timestamp::now()), Duration::ZERO).await.unwrap();
        assert_eq!(done[&0], Moved { before: Some(25), after: 100 });

        let kafka = live(protocol).kafka().await;
        let options = ListConsumerGroupOffsetsOptions::default();
        let stored = kafka.admin().list_consumer_group_offsets(group.name, options).await.unwrap();
        let stored: Vec<_> = stored.into_values().map(|stored| stored.unwrap().metadata.unwrap()).collect();
        assert!(matches!(&stored[..], [one] if one.starts_with(&format!("{IDENTITY} topic-id="))), "{stored:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn partitions_that_are_added_are_read() {
    for protocol in BOTH {
        let bus = live(protocol);
        let seat = bus.seat("wider", 2).await;
        let mut member = bus.join(&seat).await.unwrap();
        assigned(&mut member, 2).await;
        let producer = KafkaProducer::connect(&shared(), &seat.topic).await.unwrap();
        let kafka = bus.kafka().await;
        let admin = kafka.admin();
        let wider = admin.create_partitions([(seat.topic.as_str(), 4)], CreatePartitionsOptions::default()).await;
        wider.unwrap().into_values().for_each(|done| done.unwrap());
        let begin = Instant::now();
        // A classic member joins anew.
        let count = if protocol == GroupProtocol::Classic { 4 } else { 2 };
        wider_by(&mut member, count).await;
        eprintln!("{protocol:?}: a member got partitions that were added after {:?}", begin.elapsed());
        sleep(Duration::from_secs(61).saturating_sub(begin.elapsed())).await;
        // The producer was there before, and looks before it sends.
        produce(&producer, 0..100).await;
        let records = read(&mut member, 100).await;
        assert_eq!(next_offsets(&records).len(), 4);
        member.close().await.unwrap();
    }
}
