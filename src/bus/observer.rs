//! Looking at topics and groups from outside, as often as one likes, over one connection.

use std::collections::BTreeMap;

use super::{Offset, Partition, Progress, Survey, Watermarks, another_sinks_group, embedded, kafka, unknown_topic};
use crate::error::Result;
use crate::record::Timestamp;

/// What every identity of a sink begins with; other programs may keep what they like in the metadata of their commits.
pub(super) const IDENTITY_PREFIX: &str = "userpipe:";

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first record that is not yet processed.
    pub offset: Offset,
    /// The identity of the sink it was committed for, or what another program put there.
    pub metadata: String,
}

/// A live member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is, for a person.
    pub name: String,
    /// What its client calls itself, where the bus knows that.
    pub client_id: Option<String>,
    /// The address that it speaks from, where the bus knows that.
    pub host: Option<String>,
    /// The partitions of the topic that are its own.
    pub partitions: Vec<Partition>,
}

/// A group as far as one topic is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// Its live members.
    pub members: Vec<Member>,
    /// What it has committed; partitions without an offset are left out.
    pub committed: BTreeMap<Partition, Committed>,
}

impl GroupView {
    /// The identity of another sink than this one that the group works for.
    pub fn another_sink(&self, identity: &str) -> Option<&str> {
        let is_other = |metadata: &&str| metadata.starts_with(IDENTITY_PREFIX) && *metadata != identity;
        self.committed.values().map(|committed| committed.metadata.as_str()).find(is_other)
    }

    /// The records of a partition that the group has before it. Without a committed offset those are all of them.
    pub fn lag(&self, partition: Partition, marks: Watermarks) -> i64 {
        let committed = self.committed.get(&partition).map_or(marks.low, |committed| committed.offset);
        (marks.high - committed.max(marks.low)).max(0)
    }

    /// The name of the member that has the partition.
    pub fn owner(&self, partition: Partition) -> Option<&str> {
        self.members.iter().find(|member| member.partitions.contains(&partition)).map(|member| member.name.as_str())
    }
}

/// Looks from outside: nothing is joined, created or committed.
pub trait Observer: Send + Sync {
    /// The partitions of a topic with what can be read of them, up to the first open transaction; none where there is no such topic.
    fn watermarks(&self, topic: &str) -> impl Future<Output = Result<BTreeMap<Partition, Watermarks>>> + Send;

    /// The members and the committed offsets of a group, as far as this topic is concerned.
    fn group(&self, topic: &str, group: &str) -> impl Future<Output = Result<GroupView>> + Send;

    /// The offset of the first record at or after this time in each partition, else its end; none where there is no such
    /// topic.
    fn at_time(&self, topic: &str, at: Timestamp) -> impl Future<Output = Result<BTreeMap<Partition, Offset>>> + Send;

    /// The latest timestamp of the records that are on the topic; `None` where there are none.
    fn newest(&self, topic: &str) -> impl Future<Output = Result<Option<Timestamp>>> + Send;
}

/// How far a group is in every partition of a topic.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when there is no such topic, or when the offsets were committed for another
/// sink than `identity`; those of the bus.
pub async fn survey(observer: &impl Observer, topic: &str, group: &str, identity: &str) -> Result<Survey> {
    // What is committed comes first: a record that comes between the two is behind the end, not before it.
    let view = observer.group(topic, group).await?;
    if let Some(theirs) = view.another_sink(identity) {
        return Err(another_sinks_group(group, theirs, identity));
    }
    let marks = observer.watermarks(topic).await?;
    if marks.is_empty() {
        return Err(unknown_topic(topic));
    }
    let committed = |partition| view.committed.get(&partition).map(|committed| committed.offset);
    Ok(marks.into_iter().map(|(p, marks)| (p, Progress { marks, committed: committed(p) })).collect())
}

/// The observer of the bus that was chosen.
#[derive(Debug)]
pub enum AnyObserver {
    /// Of the embedded bus.
    Embedded(embedded::EmbeddedObserver),
    /// Of Kafka.
    Kafka(Box<kafka::KafkaObserver>),
}

impl Observer for AnyObserver {
    async fn watermarks(&self, topic: &str) -> Result<BTreeMap<Partition, Watermarks>> {
        match self {
            AnyObserver::Embedded(observer) => observer.watermarks(topic).await,
            AnyObserver::Kafka(observer) => observer.watermarks(topic).await,
        }
    }

    async fn group(&self, topic: &str, group: &str) -> Result<GroupView> {
        match self {
            AnyObserver::Embedded(observer) => observer.group(topic, group).await,
            AnyObserver::Kafka(observer) => observer.group(topic, group).await,
        }
    }

    async fn at_time(&self, topic: &str, at: Timestamp) -> Result<BTreeMap<Partition, Offset>> {
        match self {
            AnyObserver::Embedded(observer) => observer.at_time(topic, at).await,
            AnyObserver::Kafka(observer) => observer.at_time(topic, at).await,
        }
    }

    async fn newest(&self, topic: &str) -> Result<Option<Timestamp>> {
        match self {
            AnyObserver::Embedded(observer) => observer.newest(topic).await,
            AnyObserver::Kafka(observer) => observer.newest(topic).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_offsets_that_carry_another_sink_of_ours_are_another_sinks() {
        let view = |metadata: &str| GroupView {
            members: Vec::new(),
            committed: BTreeMap::from([(0, Committed { offset: 1, metadata: metadata.to_owned() })]),
        };
        assert_eq!(view("userpipe:stdout").another_sink("userpipe:sqlite/t"), Some("userpipe:stdout"));
        for metadata in ["userpipe:sqlite/t", "", "what another program keeps"] {
            assert_eq!(view(metadata).another_sink("userpipe:sqlite/t"), None, "{metadata}");
        }
    }
}
