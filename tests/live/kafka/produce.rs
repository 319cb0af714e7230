//! Sending: codecs, partitions, headers, sizes, and what is said when there is nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use userpipe::bus::kafka::{Ensured, KafkaProducer, cluster_id, describe_topic, ensure_topic};
use userpipe::bus::{Consumer, Outgoing, Producer};
use userpipe::config::{Compression, KafkaConfig};
use userpipe::error::Kind;
use userpipe::record::Timestamp;

use super::broker::tool;
use super::{assigned, join, name, produce, read, record, shared, topic};

const RECORDS: usize = 10_000;

async fn there_and_back(compression: Compression) -> String {
    let config = KafkaConfig { compression, ..shared() };
    let (topic, producer) = topic(&config, "codec").await;
    let sent = produce(&producer, 0..RECORDS).await;
    let mut consumer = join(&config, &topic, &name("group")).await;
    let messages = read(&mut consumer, RECORDS).await;
    let by_place: BTreeMap<_, _> = messages.iter().map(|m| ((m.partition, m.offset), m)).collect();
    for (n, ack) in sent.acks.iter().enumerate() {
        let ack = ack.unwrap();
        let (message, sent) = (by_place[&(ack.partition, ack.offset)], record(n));
        assert_eq!((&message.key, &message.value, message.timestamp), (&sent.key, &sent.value, sent.timestamp));
    }
    consumer.close().await.unwrap();
    topic
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn every_codec_goes_there_and_back() {
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
        there_and_back(codec).await;
    }
    let topic = there_and_back(Compression::Zstd).await;
    let broker = &shared().brokers[0];
    let count = RECORDS.to_string();
    let seen = tool(
        &[
            "console-consumer",
            "--bootstrap-server",
            broker,
            "--topic",
            &topic,
            "--from-beginning",
            "--max-messages",
            &count,
            "--timeout-ms",
            "20000",
        ],
        "",
    );
    let mut lines: Vec<_> = seen.lines().map(str::to_owned).collect();
    let mut expected: Vec<_> =
        (0..RECORDS).map(|n| String::from_utf8(record(n).value.unwrap().to_vec()).unwrap()).collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert!(lines == expected, "Kafka's own consumer reads the same {} records", lines.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_key_goes_where_javas_producer_puts_it() {
    let config = KafkaConfig { partitions: 7, ..shared() };
    let (ours, producer) = topic(&config, "ours").await;
    let javas = name("javas");
    assert_eq!(ensure_topic(&config, &javas).await.unwrap(), Ensured::Created { partitions: 7 });
    let keys: Vec<_> = (0..300).map(|n| "é".repeat(n % 5) + &format!("{n}")).collect();
    let input = keys.join("\tv\n") + "\tv\n";
    let broker = &config.brokers[0];
    let parse = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=\t"];
    tool(&[&["console-producer", "--bootstrap-server", broker, "--topic", &javas][..], &parse].concat(), &input);

    let mut consumer = join(&config, &javas, &name("group")).await;
    let there = read(&mut consumer, keys.len()).await;
    let there: BTreeMap<_, _> = there.into_iter().map(|m| (m.key.unwrap(), m.partition)).collect();
    let records: Vec<_> = keys.iter().map(|key| Outgoing { key: Some(key.clone().into()), ..record(0) }).collect();
    let sent = producer.send(&records).await;
    for (record, ack) in records.iter().zip(&sent.acks) {
        let key = record.key.as_ref().unwrap();
        assert_eq!(ack.unwrap().partition, there[key], "{key:?}");
    }
    assert_eq!(describe_topic(&config, &ours).await.unwrap().unwrap().len(), 7);
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn headers_tombstones_and_times_survive() {
    let config = shared();
    let (topic, producer) = topic(&config, "headers").await;
    let header = |name: &str, value: Option<&'static str>| (name.to_owned(), value.map(Into::into));
    let timestamp = Timestamp::from_unix_ms(1_234_567_890_123).unwrap();
    let tombstone = Outgoing { value: None, headers: vec![header("why", Some("purged"))], timestamp, ..record(1) };
    // what a sorted map would lose: order, a name twice, a null
    let headers = vec![header("b", Some("1")), header("a", None), header("b", Some("2"))];
    let full = Outgoing { headers, timestamp, ..record(2) };
    let keyless = Outgoing { key: None, timestamp, ..record(3) };
    let sent = producer.send(&[tombstone.clone(), full.clone(), keyless.clone()]).await;
    assert!(sent.failure.is_none(), "{:?}", sent.failure);

    let mut consumer = join(&config, &topic, &name("group")).await;
    let messages = read(&mut consumer, 3).await;
    for (out, ack) in [tombstone, full, keyless].iter().zip(&sent.acks) {
        let ack = ack.unwrap();
        let found = messages.iter().find(|m| (m.partition, m.offset) == (ack.partition, ack.offset)).unwrap();
        assert_eq!((&found.key, &found.value, &found.headers), (&out.key, &out.value, &out.headers));
        assert_eq!(found.timestamp, timestamp);
    }
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_record_too_large_is_reported_alone() {
    let config = KafkaConfig { partitions: 1, batch_bytes_max: 8 * 1024 * 1024, ..shared() };
    let (_, producer) = topic(&config, "large").await;
    let mut records: Vec<_> = (0..500).map(record).collect();
    records[137].value = Some(vec![b'x'; 2_000_000].into());
    let sent = producer.send(&records).await;
    let missing: Vec<_> = sent.acks.iter().enumerate().filter(|(_, ack)| ack.is_none()).map(|(n, _)| n).collect();
    assert_eq!(missing, [137]);
    let error = sent.failure.unwrap();
    assert!(error.to_string().contains("2000"), "{error}");
    assert!(error.hint_text().unwrap().contains("max.message.bytes"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_topic_is_created_once_and_then_left_alone() {
    let config = shared();
    let topic = name("topic");
    assert_eq!(describe_topic(&config, &topic).await.unwrap(), None);
    let error = KafkaProducer::connect(&config, &topic).await.unwrap_err();
    assert_eq!((error.kind(), error.hint_text().is_some()), (Kind::Config, true), "{error}");
    let racing = futures::future::join_all((0..4).map(|_| ensure_topic(&config, &topic))).await;
    assert!(racing.iter().all(Result::is_ok), "{racing:?}");
    let wider = KafkaConfig { partitions: 9, ..config.clone() };
    assert_eq!(ensure_topic(&wider, &topic).await.unwrap(), Ensured::Exists { partitions: 6 });
    assert!(!cluster_id(&config).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn more_replicas_than_brokers_is_a_configuration_error() {
    let config = KafkaConfig { replication_factor: Some(3), ..shared() };
    let error = ensure_topic(&config, &name("replicas")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(error.hint_text().unwrap().contains("--replication-factor"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn nobody_there_ends_with_69_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = listener.local_addr().unwrap().to_string();
    drop(listener);
    let config = KafkaConfig { connect_timeout: Duration::from_secs(3), ..super::config(&dead) };
    let begin = Instant::now();
    let error = ensure_topic(&config, "any").await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains(&dead) && error.to_string().contains("refused"), "{error}");
    assert!(error.hint_text().unwrap().contains("make up"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn an_empty_consumer_waits_as_long_as_it_is_told() {
    let config = shared();
    let (topic, _producer) = topic(&config, "empty").await;
    let mut consumer = join(&config, &topic, &name("group")).await;
    assigned(&mut consumer, 6).await;
    let begin = Instant::now();
    assert!(read(&mut consumer, 0).await.is_empty());
    consumer.poll(Duration::from_millis(700)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(700), "{:?}", begin.elapsed());
    consumer.close().await.unwrap();
}
