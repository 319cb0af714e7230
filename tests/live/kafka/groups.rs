//! A group from outside: whose it is, and setting it anew.

use std::collections::BTreeMap;
use std::time::Duration;

use rskafka::client::ClientBuilder;
use rskafka::client::partition::UnknownTopicHandling;
use userpipe::bus::kafka::{KafkaConsumer, reset_group};
use userpipe::bus::{Commit, Consumer, Event, Moved, Offset, StartAt};
use userpipe::config::KafkaConfig;
use userpipe::error::Kind;
use userpipe::record::Timestamp;

use super::{IDENTITY, assigned, name, produce, read, shared, topic};

const NO_WAIT: Duration = Duration::ZERO;

fn moved(before: Option<Offset>, after: Offset) -> Moved {
    Moved { before, after }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_group_is_reset_only_without_live_members() {
    let config = KafkaConfig { partitions: 1, ..shared() };
    let (topic, producer) = topic(&config, "reset").await;
    let group = name("group");
    produce(&producer, 0..100).await;
    let mut member = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    read(&mut member, 100).await;
    assert_eq!(member.commit(&BTreeMap::from([(0, 70)])).await.unwrap(), Commit::Stored);

    let reset = async |start, wait| reset_group(&config, &topic, &group, IDENTITY, start, wait).await;
    let error = reset(StartAt::Beginning, Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("live members") && error.to_string().contains("userpipe/"), "{error}");
    assert!(error.hint_text().unwrap().contains("--group"), "{error:?}");
    member.close().await.unwrap();

    assert_eq!(reset(StartAt::Stored, NO_WAIT).await.unwrap()[&0], moved(Some(70), 70));
    assert_eq!(reset(StartAt::End, NO_WAIT).await.unwrap()[&0], moved(Some(70), 100));
    let time = Timestamp::from_unix_ms(1_700_000_000_000 + 25).unwrap();
    assert_eq!(reset(StartAt::Time(time), NO_WAIT).await.unwrap()[&0], moved(Some(100), 25));
    assert_eq!(reset(StartAt::Time(Timestamp::now()), NO_WAIT).await.unwrap()[&0], moved(Some(25), 100));
    assert_eq!(reset(StartAt::Beginning, NO_WAIT).await.unwrap()[&0], moved(Some(100), 0));
    let mut member = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    assert_eq!(read(&mut member, 100).await[0].offset, 0);
    member.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_member_that_died_is_waited_for() {
    let config = KafkaConfig { partitions: 1, ..shared() };
    let (topic, producer) = topic(&config, "died").await;
    let group = name("group");
    produce(&producer, 0..10).await;
    let mut member = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    assigned(&mut member, 1).await;
    // no goodbye: its heartbeats stop with it
    drop(member);
    let wait = Duration::from_secs(25);
    let reset = reset_group(&config, &topic, &group, IDENTITY, StartAt::End, wait).await.unwrap();
    assert_eq!(reset[&0], moved(None, 10));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_group_that_works_for_another_sink_is_refused() {
    let config = KafkaConfig { partitions: 1, ..shared() };
    let (topic, producer) = topic(&config, "identity").await;
    let group = name("group");
    produce(&producer, 0..10).await;
    let mut first = KafkaConsumer::join(&config, &topic, &group, "userpipe:cassandra").await.unwrap();
    read(&mut first, 10).await;
    assert_eq!(first.commit(&BTreeMap::from([(0, 5)])).await.unwrap(), Commit::Stored);
    first.close().await.unwrap();

    let error = KafkaConsumer::join(&config, &topic, &group, "userpipe:sqlite").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("userpipe:cassandra"), "{error}");
    let reset = reset_group(&config, &topic, &group, "userpipe:sqlite", StartAt::End, NO_WAIT).await;
    assert_eq!(reset.unwrap_err().kind(), Kind::Config);
    let again = KafkaConsumer::join(&config, &topic, &group, "userpipe:cassandra").await.unwrap();
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn an_offset_that_retention_removed_is_an_error_and_not_a_gap() {
    let config = KafkaConfig { partitions: 1, ..shared() };
    let (topic, producer) = topic(&config, "retention").await;
    let group = name("group");
    produce(&producer, 0..100).await;
    let mut first = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    read(&mut first, 100).await;
    assert_eq!(first.commit(&BTreeMap::from([(0, 10)])).await.unwrap(), Commit::Stored);
    first.close().await.unwrap();
    let client = ClientBuilder::new(config.brokers.clone()).build().await.unwrap();
    let partition = client.partition_client(topic.as_str(), 0, UnknownTopicHandling::Retry).await.unwrap();
    partition.delete_records(50, 5_000).await.unwrap();

    let mut second = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    assigned(&mut second, 1).await;
    let error = second.poll(super::SOON).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Failed, "{error}");
    assert!(error.hint_text().unwrap().contains("--from-beginning"), "{error:?}");
    second.close().await.unwrap();

    let reset = reset_group(&config, &topic, &group, IDENTITY, StartAt::Beginning, NO_WAIT).await.unwrap();
    assert_eq!(reset[&0], moved(Some(10), 50));
    // without a committed offset the same place is simply the beginning
    let mut fresh = KafkaConsumer::join(&config, &topic, &name("group"), IDENTITY).await.unwrap();
    assert_eq!(read(&mut fresh, 50).await[0].offset, 50);
    assert!(matches!(fresh.poll(NO_WAIT).await.unwrap(), Event::Records(r) if r.is_empty()));
    fresh.close().await.unwrap();
}
