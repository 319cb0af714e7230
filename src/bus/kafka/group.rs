//! A consumer group from outside: what it has committed, whose offsets they are, and setting them anew.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::Kafka;
use krafka::admin::{
    AlterConsumerGroupOffsetsOptions, DescribeConsumerGroupsOptions, ListConsumerGroupOffsetsOptions, OffsetSpec,
    TopicPartition,
};
use krafka::error::{ErrorCode, KrafkaError};
use tokio::time::Instant;

use super::client::{self, within};
use super::errors::Failure;
use super::topic;
use crate::bus::observer::{Committed, IDENTITY_PREFIX};
use crate::bus::{
    Moved, Offset, Partition, Progress, Reset, StartAt, Survey, Watermarks, another_sinks_group, unknown_topic,
};
use crate::config::KafkaConfig;
use crate::error::{Error, Kind, Result};

/// The limit for one administrative call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a group with members is looked at while their sessions run out.
const MEMBERS_INTERVAL: Duration = Duration::from_millis(500);

/// How far the group is in every partition of the topic. Changes nothing.
///
/// Ends are those of records that can be read: before the first open transaction.
///
/// # Errors
/// [`Kind::Config`] when there is no such topic, or when the offsets were committed for another sink than `identity`.
pub async fn survey(config: &KafkaConfig, topic: &str, group: &str, identity: &str) -> Result<Survey> {
    let kafka = client::open(config).await?;
    let partitions = topic::leaders(config, &kafka, topic).await?.ok_or_else(|| unknown_topic(topic))?;
    let committed = committed(config, &kafka, topic, group).await?;
    refuse_another_sinks(group, identity, &committed)?;
    let low = topic::offsets(config, &kafka, topic, partitions, OffsetSpec::Earliest).await?;
    let high = topic::readable_ends(config, &kafka, topic, partitions).await?;
    let progress = |(partition, high): (Partition, Offset)| {
        let marks = Watermarks { low: low.get(&partition).copied().unwrap_or(high), high };
        (partition, Progress { marks, committed: committed.get(&partition).map(|c| c.offset) })
    };
    Ok(high.into_iter().map(progress).collect())
}

/// Where a reset would move the group's committed offsets on every partition of the topic. Changes nothing.
///
/// [`StartAt::Stored`] stays where it is. As in [`super::KafkaConsumer::join`], offsets that carry another identity are
/// refused with [`Kind::Config`], and so is a topic that is not there.
pub async fn plan_reset(
    config: &KafkaConfig,
    topic: &str,
    group: &str,
    identity: &str,
    start: StartAt,
) -> Result<Reset> {
    let kafka = client::open(config).await?;
    plan(config, &kafka, topic, group, identity, start).await
}

/// Commits what was planned for the group.
///
/// Only a group without members can be set: its members would commit over it. Those whose process died are waited for,
/// at most for `wait` (their session timeout is the measure); with others the reset is refused.
pub async fn apply_reset(
    config: &KafkaConfig,
    topic: &str,
    group: &str,
    planned: &Reset,
    wait: Duration,
) -> Result<()> {
    let kafka = client::open(config).await?;
    apply(config, &kafka, topic, group, planned, wait).await
}

/// [`plan_reset`] and [`apply_reset`] in one; [`StartAt::Stored`] changes nothing.
pub async fn reset_group(
    config: &KafkaConfig,
    topic: &str,
    group: &str,
    identity: &str,
    start: StartAt,
    wait: Duration,
) -> Result<Reset> {
    let kafka = client::open(config).await?;
    let planned = plan(config, &kafka, topic, group, identity, start).await?;
    if start != StartAt::Stored {
        apply(config, &kafka, topic, group, &planned, wait).await?;
    }
    Ok(planned)
}

async fn plan(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    group: &str,
    identity: &str,
    start: StartAt,
) -> Result<Reset> {
    let partitions = topic::leaders(config, kafka, topic).await?.ok_or_else(|| unknown_topic(topic))?;
    check_identity(config, kafka, topic, group, identity).await?;
    let committed = committed(config, kafka, topic, group).await?;
    let before = |partition| committed.get(&partition).map(|c| c.offset);
    let after = match start {
        StartAt::Stored => {
            let low = topic::offsets(config, kafka, topic, partitions, OffsetSpec::Earliest).await?;
            low.into_iter().map(|(p, low)| (p, before(p).unwrap_or(low))).collect()
        }
        StartAt::Beginning => topic::offsets(config, kafka, topic, partitions, OffsetSpec::Earliest).await?,
        StartAt::End => topic::offsets(config, kafka, topic, partitions, OffsetSpec::Latest).await?,
        StartAt::Time(time) => at_time(config, kafka, topic, partitions, time.unix_ms()).await?,
    };
    Ok(after.into_iter().map(|(partition, after)| (partition, Moved { before: before(partition), after })).collect())
}

async fn apply(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    group: &str,
    planned: &Reset,
    wait: Duration,
) -> Result<()> {
    wait_until_empty(config, kafka, group, wait).await?;
    let after = planned.iter().map(|(partition, moved)| (*partition, moved.after)).collect();
    alter(config, kafka, topic, group, &after).await
}

/// The first record at or after the time; the end where there is none.
async fn at_time(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    partitions: usize,
    unix_ms: i64,
) -> Result<BTreeMap<Partition, Offset>> {
    let found = topic::offsets_at(config, kafka, topic, unix_ms).await?;
    let end = topic::offsets(config, kafka, topic, partitions, OffsetSpec::Latest).await?;
    let first = |(partition, end)| match found.get(&partition) {
        Some(offset) if *offset >= 0 => (partition, *offset),
        _ => (partition, end),
    };
    Ok(end.into_iter().map(first).collect())
}

/// What the group has committed for the topic; partitions without an offset are left out.
pub(super) async fn committed(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    group: &str,
) -> Result<BTreeMap<Partition, Committed>> {
    let what = "cannot read the committed offsets of the group";
    within(config.connect_timeout, what, group, || async {
        let options = ListConsumerGroupOffsetsOptions::default().timeout(CALL_TIMEOUT);
        let listed = match kafka.admin().list_consumer_group_offsets(group, options).await {
            Ok(listed) => listed,
            Err(KrafkaError::Broker { code: ErrorCode::GroupIdNotFound, .. }) => return Ok(BTreeMap::new()),
            Err(e) => return Err(Failure::krafka(what, group, &e)),
        };
        let mut committed = BTreeMap::new();
        for (place, offset) in listed.into_iter().filter(|(place, _)| place.topic == topic) {
            let found = offset.map_err(|e| Failure::krafka(what, group, &e))?;
            if let Some(offset) = found.offset {
                let metadata = found.metadata.unwrap_or_default();
                committed.insert(place.partition, Committed { offset, metadata });
            }
        }
        Ok(committed)
    })
    .await
}

/// Refuses a group that works for another sink.
pub(super) async fn check_identity(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    group: &str,
    identity: &str,
) -> Result<()> {
    refuse_another_sinks(group, identity, &committed(config, kafka, topic, group).await?)
}

fn refuse_another_sinks(group: &str, identity: &str, committed: &BTreeMap<Partition, Committed>) -> Result<()> {
    match committed.values().find(|c| c.metadata.starts_with(IDENTITY_PREFIX) && c.metadata != identity) {
        Some(other) => Err(another_sinks_group(group, &other.metadata, identity)),
        None => Ok(()),
    }
}

async fn wait_until_empty(config: &KafkaConfig, kafka: &Kafka, group: &str, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    let mut told = false;
    loop {
        let members = members(config, kafka, group).await?;
        if members.is_empty() {
            return Ok(());
        }
        if Instant::now() + MEMBERS_INTERVAL >= deadline {
            return Err(live_members(group, &members));
        }
        if !told {
            tracing::info!(group, ?members, limit = ?wait, "the group has members, waiting for them to leave");
            told = true;
        }
        tokio::time::sleep(MEMBERS_INTERVAL).await;
    }
}

/// The members as `client@host`.
async fn members(config: &KafkaConfig, kafka: &Kafka, group: &str) -> Result<Vec<String>> {
    let what = "cannot describe the consumer group";
    within(config.connect_timeout, what, group, || async {
        let options = DescribeConsumerGroupsOptions::default().timeout(CALL_TIMEOUT);
        let mut described = kafka
            .admin()
            .describe_consumer_groups([group], options)
            .await
            .map_err(|e| Failure::krafka(what, group, &e))?;
        match described.remove(group) {
            None | Some(Err(KrafkaError::Broker { code: ErrorCode::GroupIdNotFound, .. })) => Ok(Vec::new()),
            Some(Ok(description)) => Ok(description
                .members
                .iter()
                .map(|m| format!("{}@{}", m.client_id, m.client_host.trim_start_matches('/')))
                .collect()),
            Some(Err(e)) => Err(Failure::krafka(what, group, &e)),
        }
    })
    .await
}

async fn alter(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    group: &str,
    offsets: &BTreeMap<Partition, Offset>,
) -> Result<()> {
    let what = "cannot set the committed offsets of the group";
    within(config.connect_timeout, what, group, || async {
        let places = offsets.iter().map(|(partition, offset)| (TopicPartition::new(topic, *partition), *offset));
        let options = AlterConsumerGroupOffsetsOptions::default().timeout(CALL_TIMEOUT);
        let altered = kafka.admin().alter_consumer_group_offsets(group, places, options).await;
        for outcome in altered.map_err(|e| Failure::krafka(what, group, &e))?.into_values() {
            match outcome {
                Ok(()) => {}
                // someone joined since we looked
                Err(KrafkaError::Broker { code: ErrorCode::UnknownMemberId | ErrorCode::NonEmptyGroup, .. }) => {
                    return Err(Failure::lasting(live_members(group, &[])));
                }
                Err(e) => return Err(Failure::krafka(what, group, &e)),
            }
        }
        Ok(())
    })
    .await
}

fn live_members(group: &str, members: &[String]) -> Error {
    let error = Error::new(Kind::Failed, format!("consumer group {group} has live members, so it cannot be reset"))
        .hint("stop them first, or use another group with --group");
    match members {
        [] => error,
        members => error.because(members.join(", ")),
    }
}
