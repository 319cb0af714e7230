//! Kafka, looked at from outside over one client.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::Kafka;
use krafka::admin::{
    ConsumerGroupMember, DescribeConsumerGroupsOptions, ListOffsetsOptions, OffsetSpec, TopicPartition,
};
use krafka::error::{ErrorCode, KrafkaError};

use super::begin::Tag;
use super::client::{self, within};
use super::errors::Failure;
use super::{group, topic};
use crate::bus::observer::{GroupView, Member, Observer};
use crate::bus::{Offset, Partition, Watermarks};
use crate::config::KafkaConfig;
use crate::error::Result;
use crate::record::Timestamp;

/// The limit for describing a group.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The limit for the newest timestamps; shorter, since krafka takes a partition that holds nothing but transaction markers for
/// one that does not know its offsets yet, and asks on.
const NEWEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The characters of a member's id that tell it from the others of its host.
const MEMBER_ID_CHARACTERS: usize = 8;

/// Looks at topics and groups of a cluster.
pub struct KafkaObserver {
    config: KafkaConfig,
    kafka: Kafka,
}

impl std::fmt::Debug for KafkaObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaObserver").field("brokers", &self.config.brokers).finish_non_exhaustive()
    }
}

impl KafkaObserver {
    /// Connects.
    ///
    /// # Errors
    /// [`Kind::Unreachable`](crate::error::Kind::Unreachable) within the connect timeout, or
    /// [`Kind::Refused`](crate::error::Kind::Refused).
    pub async fn connect(config: &KafkaConfig) -> Result<Self> {
        Ok(Self::over(config.clone(), client::open(config).await?))
    }

    /// Over a client that is connected already.
    pub(super) fn over(config: KafkaConfig, kafka: Kafka) -> Self {
        Self { config, kafka }
    }

    async fn members(&self, topic: &str, group: &str) -> Result<Vec<Member>> {
        let what = "cannot describe the consumer group";
        within(self.config.connect_timeout, what, group, || async {
            let options = DescribeConsumerGroupsOptions::default().timeout(CALL_TIMEOUT);
            let described = self.kafka.admin().describe_consumer_groups([group], options).await;
            match described.map_err(|e| Failure::krafka(what, group, &e))?.remove(group) {
                None | Some(Err(KrafkaError::Broker { code: ErrorCode::GroupIdNotFound, .. })) => Ok(Vec::new()),
                Some(Ok(found)) => Ok(found.members.iter().map(|m| member(m, topic)).collect()),
                Some(Err(e)) => Err(Failure::krafka(what, group, &e)),
            }
        })
        .await
    }
}

fn member(member: &ConsumerGroupMember, topic: &str) -> Member {
    let host = member.client_host.trim_start_matches('/');
    let id: String = member.member_id.trim_start_matches(&member.client_id).trim_start_matches('-').to_owned();
    let id: String = id.chars().take(MEMBER_ID_CHARACTERS).collect();
    let of_topic = member.assignment.iter().flatten().filter(|assigned| assigned.topic_name == topic);
    let mut partitions: Vec<_> = of_topic.flat_map(|assigned| assigned.partitions.iter().copied()).collect();
    partitions.sort_unstable();
    Member {
        name: format!("{}@{host}#{id}", member.client_id),
        client_id: Some(member.client_id.clone()),
        host: Some(host.to_owned()),
        partitions,
    }
}

impl Observer for KafkaObserver {
    async fn watermarks(&self, topic: &str) -> Result<BTreeMap<Partition, Watermarks>> {
        let Some(partitions) = topic::leaders(&self.config, &self.kafka, topic).await? else {
            return Ok(BTreeMap::new());
        };
        let (config, kafka) = (&self.config, &self.kafka);
        let partitions = topic::numbers(partitions);
        let low = topic::offsets(config, kafka, topic, &partitions, OffsetSpec::Earliest).await?;
        let high = topic::readable_ends(config, kafka, topic, &partitions).await?;
        let marks = |(p, high)| (p, Watermarks { low: low.get(&p).copied().unwrap_or(high), high });
        Ok(high.into_iter().map(marks).collect())
    }

    async fn group(&self, topic: &str, group: &str) -> Result<GroupView> {
        let members = self.members(topic, group).await?;
        let mut committed = group::committed(&self.config, &self.kafka, topic, group).await?;
        for one in committed.values_mut() {
            // Beside the identity stands the topic's id, which is the bus's own business.
            if let Some(identity) = Tag::parse(&one.metadata).identity() {
                identity.clone_into(&mut one.metadata);
            }
        }
        Ok(GroupView { members, committed })
    }

    async fn at_time(&self, topic: &str, at: Timestamp) -> Result<BTreeMap<Partition, Offset>> {
        let Some(partitions) = topic::leaders(&self.config, &self.kafka, topic).await? else {
            return Ok(BTreeMap::new());
        };
        group::at_time(&self.config, &self.kafka, topic, &topic::numbers(partitions), at.unix_ms()).await
    }

    async fn newest(&self, topic: &str) -> Result<Option<Timestamp>> {
        let marks = self.watermarks(topic).await?;
        let filled: Vec<_> = marks.into_iter().filter(|(_, marks)| marks.low < marks.high).collect();
        if filled.is_empty() {
            return Ok(None);
        }
        let what = "cannot find the newest record of the topic";
        within(self.config.connect_timeout, what, topic, || async {
            let places = filled.iter().map(|(p, _)| (TopicPartition::new(topic, *p), OffsetSpec::MaxTimestamp));
            let options = ListOffsetsOptions::default().timeout(NEWEST_TIMEOUT);
            let listed = self.kafka.admin().list_offsets(places, options).await;
            let listed = listed.map_err(|e| Failure::krafka(what, topic, &e))?;
            // A partition that does not tell leaves the others.
            let newest = listed.into_values().filter_map(|listed| listed.ok()?.timestamp).max();
            Ok(newest.map(Timestamp::saturating_from_unix_ms))
        })
        .await
    }
}
