//! The bus on a real broker: `USERPIPE_TEST_KAFKA` is its `host:port`, `USERPIPE_TEST_SERVICES` the services script.
//!
//! Topics and groups are new for each test. A test that breaks a broker starts its own.

mod broker;
mod consume;
mod groups;
mod members;
mod outage;
mod produce;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use userpipe::bus::kafka::{KafkaConsumer, KafkaProducer, ensure_topic};
use userpipe::bus::{Consumer, Event, Message, Outgoing, Partition, Producer, Sent};
use userpipe::config::{Compression, KafkaConfig, MemberConfig};
use userpipe::record::Timestamp;

/// How long anything here may take that is expected to happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) const IDENTITY: &str = "userpipe:test";

/// The configuration for the shared broker.
pub(crate) fn shared() -> KafkaConfig {
    config(&std::env::var("USERPIPE_TEST_KAFKA").expect("USERPIPE_TEST_KAFKA names a live broker: make test"))
}

/// The configuration for the broker at this address.
pub(crate) fn config(broker: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: vec![broker.to_owned()],
        security: userpipe::config::KafkaSecurity::default(),
        partitions: 6,
        replication_factor: None,
        compression: Compression::None,
        batch_bytes_max: 512 * 1024,
        batch_records_max: 1_000,
        delivery_timeout: Duration::from_mins(1),
        connect_timeout: SOON,
    }
}

/// A name that no other test has.
pub(crate) fn name(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::now_v7().simple())
}

/// A record whose key and value tell its number.
pub(crate) fn record(n: usize) -> Outgoing {
    Outgoing {
        key: Some(format!("key-{n}").into()),
        value: Some(format!("value-{n}-{}", "x".repeat(200)).into()),
        headers: Vec::new(),
        timestamp: Timestamp::from_unix_ms(1_700_000_000_000 + i64::try_from(n).unwrap()).unwrap(),
    }
}

/// A new topic and a producer for it.
pub(crate) async fn topic(config: &KafkaConfig, what: &str) -> (String, KafkaProducer) {
    let topic = name(what);
    ensure_topic(config, &topic).await.unwrap();
    let producer = KafkaProducer::connect(config, &topic).await.unwrap();
    (topic, producer)
}

/// Sends records `range` and expects every acknowledgement.
pub(crate) async fn produce(producer: &KafkaProducer, range: std::ops::Range<usize>) -> Sent {
    let records: Vec<_> = range.map(record).collect();
    let sent = producer.send(&records).await;
    assert!(sent.failure.is_none(), "{:?}", sent.failure);
    assert!(sent.acks.iter().all(Option::is_some));
    sent
}

/// A member with the usual settings.
pub(crate) async fn join(config: &KafkaConfig, topic: &str, group: &str) -> KafkaConsumer {
    KafkaConsumer::join(config, &MemberConfig::default(), topic, group, IDENTITY).await.unwrap()
}

/// Waits for the group's partitions; everything else that comes in between is an error.
pub(crate) async fn assigned(consumer: &mut KafkaConsumer, count: usize) -> Vec<Partition> {
    let mut have = Vec::new();
    let deadline = Instant::now() + SOON;
    while have.len() < count && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(200)).await.unwrap() {
            Event::Assigned(partitions) => have.extend(partitions),
            Event::Records(records) if records.is_empty() => {}
            other => panic!("expected partitions, got {other:?}"),
        }
    }
    assert_eq!(have.len(), count, "{have:?}");
    have
}

/// Reads until `count` records are there.
pub(crate) async fn read(consumer: &mut KafkaConsumer, count: usize) -> Vec<Message> {
    let mut all = Vec::new();
    let deadline = Instant::now() + SOON;
    while all.len() < count && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(200)).await.unwrap() {
            Event::Records(records) => all.extend(records),
            Event::Assigned(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(all.len(), count);
    all
}

/// The next offset to read of each partition in `records`.
pub(crate) fn next_offsets(records: &[Message]) -> BTreeMap<Partition, i64> {
    let mut next = BTreeMap::new();
    for record in records {
        let slot = next.entry(record.partition).or_insert(0);
        *slot = (*slot).max(record.offset + 1);
    }
    next
}
