//! A broker that is killed, and one that hangs.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use userpipe::bus::kafka::KafkaConsumer;
use userpipe::bus::{Commit, Consumer, Event, Producer};
use userpipe::config::KafkaConfig;
use userpipe::error::Kind;

use super::broker::PrivateBroker;
use super::{assigned, config, join, name, next_offsets, produce, record, topic};

const SENDS: usize = 150;
const RECORDS_A_SEND: usize = 100;

/// Reads and commits until `count` different places of the topic were seen; a kill may show some of them twice.
async fn read_through(mut consumer: KafkaConsumer, count: usize) -> BTreeMap<(i32, i64), bytes::Bytes> {
    let mut seen = BTreeMap::new();
    let begin = Instant::now();
    while seen.len() < count && begin.elapsed() < Duration::from_secs(90) {
        match consumer.poll(Duration::from_millis(200)).await {
            Ok(Event::Records(records)) if !records.is_empty() => {
                let commit = next_offsets(&records);
                seen.extend(records.into_iter().map(|r| ((r.partition, r.offset), r.key.unwrap())));
                match consumer.commit(&commit).await {
                    Ok(Commit::Stored | Commit::Fenced) => {}
                    Err(error) => assert_eq!(error.kind(), Kind::Unreachable, "{error}"),
                }
            }
            Ok(Event::Revoked(_, release)) => drop(release),
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), Kind::Unreachable, "{error}"),
        }
    }
    consumer.close().await.unwrap();
    seen
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_killed_broker_loses_nothing_acknowledged_and_nobody_needs_a_restart() {
    let broker = PrivateBroker::start();
    let config = config(&broker.address());
    let (topic, producer) = topic(&config, "killed").await;
    let consumer = join(&config, &topic, &name("group")).await;
    let reader = tokio::spawn(read_through(consumer, SENDS * RECORDS_A_SEND));
    let sender = tokio::spawn(async move {
        let mut acks = Vec::new();
        for n in 0..SENDS {
            acks.extend(produce(&producer, n * RECORDS_A_SEND..(n + 1) * RECORDS_A_SEND).await.acks);
            sleep(Duration::from_millis(20)).await;
        }
        acks
    });
    sleep(Duration::from_secs(1)).await;
    broker.signal(Signal::SIGKILL);
    sleep(Duration::from_secs(2)).await;
    let broker = tokio::task::spawn_blocking(move || {
        broker.restart();
        broker
    })
    .await
    .unwrap();
    let acks = sender.await.unwrap();
    let seen = reader.await.unwrap();
    for (n, ack) in acks.iter().enumerate() {
        let ack = ack.unwrap();
        assert_eq!(seen.get(&(ack.partition, ack.offset)), record(n).key.as_ref(), "record {n} at {ack:?}");
    }
    drop(broker);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_broker_that_hangs_is_given_up_in_time_and_used_again() {
    let broker = PrivateBroker::start();
    let config = KafkaConfig { delivery_timeout: Duration::from_secs(5), ..config(&broker.address()) };
    let (topic, producer) = topic(&config, "hangs").await;
    produce(&producer, 0..1_000).await;
    broker.signal(Signal::SIGSTOP);
    let begin = Instant::now();
    let records: Vec<_> = (1_000..2_000).map(record).collect();
    let sent = producer.send(&records).await;
    let took = begin.elapsed();
    broker.signal(Signal::SIGCONT);
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(7), "{took:?}");
    assert!(sent.acks.iter().all(Option::is_none));
    let error = sent.failure.unwrap();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("5s"), "{error}");

    let patient = KafkaConfig { delivery_timeout: Duration::from_mins(1), ..config };
    produce(&producer, 2_000..3_000).await;
    let mut consumer = join(&patient, &topic, &name("group")).await;
    assigned(&mut consumer, 6).await;
    consumer.close().await.unwrap();
}
