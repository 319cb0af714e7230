//! A consumer group from outside: what it has committed, whose offsets they are, and setting them anew.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::Kafka;
use krafka::admin::{DescribeConsumerGroupsOptions, ListConsumerGroupOffsetsOptions, OffsetSpec};
use krafka::consumer::{AutoOffsetReset, Consumer as Member, OffsetAndMetadata, TopicPartition};
use krafka::error::{ErrorCode, KrafkaError};
use tokio::time::{Instant, timeout_at};

use super::begin::Tag;
use super::client::{self, within};
use super::errors::{Failure, from_krafka, krafka_fenced, krafka_passes};
use super::{member, topic};
use crate::bus::{Moved, Offset, Partition, Reset, StartAt, another_sinks_group, unknown_topic};
use crate::config::{KafkaConfig, MemberConfig};
use crate::error::{Error, Kind, Result};

pub(super) use crate::bus::observer::{Committed, IDENTITY_PREFIX};

/// The limit for one administrative call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a group with members is looked at while their sessions run out.
const MEMBERS_INTERVAL: Duration = Duration::from_millis(500);

/// How long a reset may take to become the group's only member and to commit.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(30);

/// How soon the group is rid of a reset that was killed (classic groups).
const CLAIM_SESSION: Duration = Duration::from_secs(10);

/// One look at what the claiming member was assigned, and the delay between two attempts at its commit.
const CLAIM_POLL: Duration = Duration::from_millis(100);

/// A group on one topic, seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The cluster.
    pub config: &'a KafkaConfig,
    /// How its members join.
    pub settings: &'a MemberConfig,
    /// The topic whose offsets are meant.
    pub topic: &'a str,
    /// The group's name.
    pub name: &'a str,
    /// The sink that the group works for, as in [`super::KafkaConsumer::join`].
    pub identity: &'a str,
}

/// Where a reset would move the group's committed offsets on every partition of the topic. Changes nothing.
///
/// [`StartAt::Stored`] stays where it is. As in [`super::KafkaConsumer::join`], offsets that carry another identity are
/// refused with [`Kind::Config`], and so is a topic that is not there.
pub async fn plan_reset(group: &Group<'_>, start: StartAt) -> Result<Reset> {
    let kafka = client::open(group.config).await?;
    group.plan(&kafka, start).await
}

/// Commits what was planned for the group, in the name of its sink.
///
/// Only a group without members can be set: its members would commit over it. Those whose process died are waited for,
/// at most for `wait` (their session timeout is the measure); with others the reset is refused.
pub async fn apply_reset(group: &Group<'_>, planned: &Reset, wait: Duration) -> Result<()> {
    let kafka = client::open(group.config).await?;
    group.apply(&kafka, planned, wait).await
}

/// [`plan_reset`] and [`apply_reset`] in one; [`StartAt::Stored`] changes nothing.
pub async fn reset_group(group: &Group<'_>, start: StartAt, wait: Duration) -> Result<Reset> {
    let kafka = client::open(group.config).await?;
    group.reset(&kafka, start, wait).await
}

impl Group<'_> {
    pub(super) async fn reset(&self, kafka: &Kafka, start: StartAt, wait: Duration) -> Result<Reset> {
        let planned = self.plan(kafka, start).await?;
        if start != StartAt::Stored {
            self.apply(kafka, &planned, wait).await?;
        }
        Ok(planned)
    }

    async fn plan(&self, kafka: &Kafka, start: StartAt) -> Result<Reset> {
        let (config, topic) = (self.config, self.topic);
        let partitions = topic::leaders(config, kafka, topic).await?.ok_or_else(|| unknown_topic(topic))?;
        let partitions = &topic::numbers(partitions);
        check_identity(config, kafka, topic, self.name, self.identity).await?;
        let committed = committed(config, kafka, topic, self.name).await?;
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
        let moved = |(partition, after)| (partition, Moved { before: before(partition), after });
        Ok(after.into_iter().map(moved).collect())
    }

    async fn apply(&self, kafka: &Kafka, planned: &Reset, wait: Duration) -> Result<()> {
        wait_until_empty(self.config, kafka, self.name, wait).await?;
        let after = planned.iter().map(|(partition, moved)| (*partition, moved.after)).collect();
        self.claim(kafka, &after).await
    }

    /// Commits offsets with the sink's identity, so that the group is taken from now on.
    ///
    /// As its only member, for as long as that takes: Kafka's call for groups without members commits offsets without a
    /// word beside them, and another sink could take the group before the first record is committed.
    async fn claim(&self, kafka: &Kafka, offsets: &BTreeMap<Partition, Offset>) -> Result<()> {
        let topic = self.topic;
        let found = topic::find(self.config, kafka, topic).await?.ok_or_else(|| unknown_topic(topic))?;
        let tag = Tag::new(self.identity, found.id).to_string();
        let commit: Vec<_> = offsets
            .iter()
            .map(|(p, o)| (TopicPartition::new(topic, *p), OffsetAndMetadata::with_metadata(*o, tag.as_str())))
            .collect();
        let member = kafka
            .consumer(self.name)
            .group_protocol(member::protocol(kafka, self.settings.protocol).await?)
            .auto_offset_reset(AutoOffsetReset::None)
            .enable_auto_commit(false)
            .session_timeout(CLAIM_SESSION)
            .metrics_push(false)
            // It reads nothing.
            .max_poll_records(1)
            .fetch_max_bytes(1)
            .build()
            .await
            .map_err(|e| self.cannot_set(&e))?;
        let claimed = self.claim_as(&member, kafka, &commit).await;
        client::close(&member).await;
        claimed
    }

    async fn claim_as(
        &self,
        member: &Member,
        kafka: &Kafka,
        commit: &[(TopicPartition, OffsetAndMetadata)],
    ) -> Result<()> {
        let deadline = Instant::now() + CLAIM_TIMEOUT;
        member.subscribe([self.topic]).await.map_err(|e| self.cannot_set(&e))?;
        let mut has_all = false;
        while !has_all {
            if Instant::now() >= deadline {
                return Err(live_members(self.name, &[]));
            }
            match member.poll(CLAIM_POLL).await {
                Ok(_) => {}
                Err(KrafkaError::NoOffset { .. }) => tokio::time::sleep(CLAIM_POLL).await,
                Err(e) if krafka_passes(&e) || krafka_fenced(&e) => tokio::time::sleep(CLAIM_POLL).await,
                Err(e) => return Err(self.cannot_set(&e)),
            }
            has_all = member.assignment().await.get(self.topic).is_some_and(|assigned| assigned.len() >= commit.len());
        }
        // Who joins from here on gets nothing before we leave, and reads what we have committed.
        let others = members(self.config, kafka, self.name).await?;
        if others.len() > 1 {
            return Err(live_members(self.name, &others));
        }
        loop {
            match timeout_at(deadline, member.commit_offsets(commit.iter().map(|(p, o)| (p, o)))).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(e)) if krafka_passes(&e) || member::is_between_generations(&e) => {
                    if Instant::now() + CLAIM_POLL >= deadline {
                        return Err(self.cannot_set(&e));
                    }
                }
                Ok(Err(e)) => return Err(self.cannot_set(&e)),
                Err(_) => return Err(self.cannot_set(&KrafkaError::timeout("commit"))),
            }
            tokio::time::sleep(CLAIM_POLL).await;
        }
    }

    fn cannot_set(&self, error: &KrafkaError) -> Error {
        from_krafka("cannot set the committed offsets of the group", self.name, error)
    }
}

/// The first record at or after the time; the end where there is none.
/// The first offset at or after a time in each of these partitions, else its end.
pub(super) async fn at_time(
    config: &KafkaConfig,
    kafka: &Kafka,
    topic: &str,
    partitions: &[Partition],
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
    let tags: Vec<_> = committed.values().map(|committed| Tag::parse(&committed.metadata)).collect();
    match tags.iter().filter_map(Tag::identity).find(|theirs| *theirs != identity) {
        Some(theirs) => Err(another_sinks_group(group, theirs, identity)),
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

fn live_members(group: &str, members: &[String]) -> Error {
    let error = Error::new(Kind::Failed, format!("consumer group {group} has live members, so it cannot be reset"))
        .hint("stop them first, or use another group with --group");
    match members {
        [] => error,
        members => error.because(members.join(", ")),
    }
}
