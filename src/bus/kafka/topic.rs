//! The topic: whether it exists, what is in it, and its creation where it is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::Kafka;
use krafka::admin::{
    ConfigResource, DescribeClusterOptions, DescribeConfigsOptions, DescribeTopicsOptions, ListOffsetsOptions,
    OffsetSpec, TopicDescription as Described, TopicPartition,
};
use krafka::error::ErrorCode;
use rskafka::client::error::ProtocolError;

use super::client::{self, addresses, within};
use super::errors::{Failure, rskafka_code};
use crate::bus::{Offset, Partition, Retention, Watermarks};
use crate::config::KafkaConfig;
use crate::error::{Error, Kind, Result};

/// The limit for one administrative call; several fit into the connect timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the controller may take to create a topic before it answers.
const CREATE_TIMEOUT_MS: i32 = 10_000;

/// What tells a topic from another one of the same name; zeros where the brokers have no such ids (before Kafka 2.8).
pub(super) type TopicId = [u8; 16];

/// A topic that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: TopicId,
    pub(super) partitions: usize,
}

/// What [`ensure_topic`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// The topic was missing and is there now.
    Created {
        /// Its partitions, as configured.
        partitions: usize,
    },
    /// The topic was there; it is left as it is.
    Exists {
        /// Its partitions, which may differ from the configured number.
        partitions: usize,
    },
}

/// Creates the topic where it is missing, and waits until each of its partitions has a leader.
///
/// Another process may create it at the same time. A fresh broker may deny a topic it just created
/// (`UNKNOWN_TOPIC_OR_PARTITION`); both pass within the connect timeout.
pub async fn ensure_topic(config: &KafkaConfig, topic: &str) -> Result<Ensured> {
    let kafka = client::open(config).await?;
    if let Some(partitions) = leaders(config, &kafka, topic).await? {
        return Ok(Ensured::Exists { partitions });
    }
    let what = "cannot create the topic";
    within(config.connect_timeout, what, topic, || create(config, topic)).await?;
    let partitions = within(config.connect_timeout, what, topic, || async {
        match describe(&kafka, topic).await? {
            Some(described) if leaderless(&described) == 0 => Ok(described.partitions.len()),
            _ => Err(Failure::passing(no_leader(topic))),
        }
    })
    .await?;
    tracing::info!(topic, partitions, "created the topic");
    Ok(Ensured::Created { partitions })
}

/// The partitions and their watermarks; `None` where there is no such topic. Changes nothing.
pub async fn describe_topic(config: &KafkaConfig, topic: &str) -> Result<Option<BTreeMap<Partition, Watermarks>>> {
    let kafka = client::open(config).await?;
    let Some(partitions) = leaders(config, &kafka, topic).await? else { return Ok(None) };
    watermarks(config, &kafka, topic, partitions).await.map(Some)
}

/// How long the topic keeps its records.
pub async fn retention(config: &KafkaConfig, topic: &str) -> Result<Retention> {
    let kafka = client::open(config).await?;
    let what = "cannot read the topic's retention";
    within(config.connect_timeout, what, topic, || async {
        let failed = |e: &krafka::KrafkaError| Failure::krafka(what, topic, e);
        let resource = ConfigResource::topic(topic);
        let names = vec!["retention.ms".to_owned(), "cleanup.policy".to_owned()];
        let options = DescribeConfigsOptions::default().config_names(names).timeout(CALL_TIMEOUT);
        let mut described =
            kafka.admin().describe_configs([resource.clone()], options).await.map_err(|e| failed(&e))?;
        let entries = described.remove(&resource).unwrap_or_else(|| Ok(Vec::new())).map_err(|e| failed(&e))?;
        let value = |name| entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref());
        // negative is without a limit
        let time = value("retention.ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let policy = value("cleanup.policy").unwrap_or_default();
        let is_compacted = policy.contains("compact");
        Ok(Retention { time: time.filter(|_| !is_compacted || policy.contains("delete")), is_compacted })
    })
    .await
}

/// The cluster's id, which outlives addresses.
pub async fn cluster_id(config: &KafkaConfig) -> Result<String> {
    let kafka = client::open(config).await?;
    let (what, place) = ("cannot describe the Kafka cluster", addresses(config));
    within(config.connect_timeout, what, &place, || async {
        let options = DescribeClusterOptions::default().timeout(CALL_TIMEOUT);
        let cluster = kafka.admin().describe_cluster(options).await;
        cluster.map(|c| c.cluster_id).map_err(|e| Failure::krafka(what, &place, &e))
    })
    .await
}

/// What there is of the topic, leaders or not; `None` where there is no such topic.
pub(super) async fn find(config: &KafkaConfig, kafka: &Kafka, topic: &str) -> Result<Option<Found>> {
    within(config.connect_timeout, "cannot describe the topic", topic, || async {
        let described = describe(kafka, topic).await?;
        Ok(described.map(|d| Found { id: d.topic_id, partitions: d.partitions.len() }))
    })
    .await
}

/// How many partitions the topic has, once all of them have a leader; `None` where there is no such topic.
pub(super) async fn leaders(config: &KafkaConfig, kafka: &Kafka, topic: &str) -> Result<Option<usize>> {
    within(config.connect_timeout, "cannot describe the topic", topic, || async {
        match describe(kafka, topic).await? {
            Some(described) if leaderless(&described) > 0 => Err(Failure::passing(no_leader(topic))),
            described => Ok(described.map(|d| d.partitions.len())),
        }
    })
    .await
}

/// The low and high watermarks of `partitions` partitions of the topic.
pub(super) async fn watermarks(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    partitions: usize,
) -> Result<BTreeMap<Partition, Watermarks>> {
    watermarks_of(config, kafka, topic, &numbers(partitions)).await
}

/// The low and high watermarks of these partitions.
pub(super) async fn watermarks_of(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, Watermarks>> {
    let low = offsets(config, kafka, topic, partitions, OffsetSpec::Earliest).await?;
    let high = offsets(config, kafka, topic, partitions, OffsetSpec::Latest).await?;
    let pair = |(partition, low): (Partition, Offset)| {
        high.get(&partition).map(|high| (partition, Watermarks { low, high: *high }))
    };
    Ok(low.into_iter().filter_map(pair).collect())
}

/// The offset that `spec` means in each of these partitions.
pub(super) async fn offsets(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    partitions: &[Partition],
    spec: OffsetSpec,
) -> Result<BTreeMap<Partition, Offset>> {
    list_offsets(config, kafka, topic, partitions, spec, false).await
}

/// The end of each partition as a reader of committed records sees it: the first open transaction, else the end.
pub(super) async fn readable_ends(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, Offset>> {
    list_offsets(config, kafka, topic, partitions, OffsetSpec::Latest, true).await
}

async fn list_offsets(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    partitions: &[Partition],
    spec: OffsetSpec,
    read_committed: bool,
) -> Result<BTreeMap<Partition, Offset>> {
    let what = "cannot read the offsets of the topic";
    within(config.connect_timeout, what, topic, || async {
        let places = partitions.iter().map(|p| (TopicPartition::new(topic, *p), spec));
        let options = ListOffsetsOptions::default().timeout(CALL_TIMEOUT).read_committed(read_committed);
        let listed = kafka.admin().list_offsets(places, options).await;
        let listed = listed.map_err(|e| Failure::krafka(what, topic, &e))?;
        let offset = |(place, listed): (TopicPartition, krafka::Result<_>)| match listed {
            Ok(krafka::admin::ListedOffset { offset, .. }) => Ok((place.partition, offset)),
            Err(e) => Err(Failure::krafka(what, topic, &e)),
        };
        listed.into_iter().map(offset).collect()
    })
    .await
}

/// The first offset at or after the time in each partition; -1 where the time is after the last record.
///
/// Through a consumer: krafka's admin client takes that answer for a leader that does not know its offsets yet.
pub(super) async fn offsets_at(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    unix_ms: i64,
) -> Result<BTreeMap<Partition, Offset>> {
    let what = "cannot find the time in the topic";
    within(config.connect_timeout, what, topic, || async {
        let failed = |e: krafka::KrafkaError| Failure::krafka(what, topic, &e);
        let reader = kafka.consumer_without_group().build().await.map_err(failed)?;
        // negative numbers mean other things on the wire
        let found = reader.offsets_for_times_for_topic(topic, unix_ms.max(0)).await;
        client::close(&reader).await;
        let offset = |(partition, found): (Partition, krafka::Result<Offset>)| match found {
            Ok(offset) => Ok((partition, offset)),
            Err(e) => Err(failed(e)),
        };
        found.map_err(failed)?.into_iter().map(offset).collect()
    })
    .await
}

/// The numbers of `partitions` partitions.
pub(super) fn numbers(partitions: usize) -> Vec<Partition> {
    (0..Partition::try_from(partitions).unwrap_or(Partition::MAX)).collect()
}

async fn create(config: &KafkaConfig, topic: &str) -> Result<(), Failure> {
    let producing = client::open_to_produce(config).await?;
    let what = "cannot create the topic";
    let controller = producing.controller_client().map_err(|e| Failure::rskafka(what, topic, &e))?;
    // -1 is the broker's default (KIP-464)
    let replication = config.replication_factor.unwrap_or(-1);
    match controller.create_topic(topic, config.partitions, replication, CREATE_TIMEOUT_MS).await {
        Ok(()) => Ok(()),
        Err(e) if rskafka_code(&e) == Some(ProtocolError::TopicAlreadyExists) => Ok(()),
        Err(e) => Err(Failure::rskafka(what, topic, &e)),
    }
}

async fn describe(kafka: &Kafka, topic: &str) -> Result<Option<Described>, Failure> {
    let failed = |e: &krafka::KrafkaError| Failure::krafka("cannot describe the topic", topic, e);
    let options = DescribeTopicsOptions::default().timeout(CALL_TIMEOUT);
    let mut described = kafka.admin().describe_topics([topic], options).await.map_err(|e| failed(&e))?;
    match described.remove(topic) {
        Some(Ok(described)) => Ok(Some(described)),
        None | Some(Err(krafka::KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. })) => Ok(None),
        Some(Err(e)) => Err(failed(&e)),
    }
}

fn leaderless(described: &Described) -> usize {
    described.partitions.iter().filter(|p| p.leader.is_none()).count()
}

fn no_leader(topic: &str) -> Error {
    Error::new(Kind::Unreachable, "partitions of the topic have no leader")
        .at(topic)
        .hint("a broker is down, or still starting; try again")
}
