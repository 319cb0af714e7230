//! The reading half of the bus on Kafka: one member of a consumer group on one topic, through krafka.
//!
//! The member is a task (`pump`) that never stops polling; this handle takes from what the task has put down
//! (`handover`), so its `poll` can be cancelled anywhere, and commits by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use krafka::admin::DescribeFeaturesOptions;
use krafka::consumer::{
    AutoOffsetReset, Consumer as Member, GroupProtocol, IsolationLevel, OffsetAndMetadata,
    PartitionAssignmentStrategy as Assignor, TopicPartition,
};
use krafka::error::ErrorCode;
use krafka::{CloseOptions, Kafka, KrafkaError};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::errors::{from_krafka, krafka_fenced, krafka_passes};
use super::handover::Handover;
use super::pump::{Listener, Pump};
use super::{client, group, topic};
use crate::bus::{Commit, Consumer, Event, Offset, Partition, Watermarks, unknown_topic};
use crate::config::KafkaConfig;
use crate::error::{Error, Result};
use crate::retry;

/// Without a sign of life for this long, a classic member is out of its group (Kafka's default; KIP-848 groups have
/// the broker's).
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// A third of the shortest session a broker may demand, and less (Kafka's default).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// The rebalance timeout: how long a member may take to give partitions away (Kafka's default). The pump polls all
/// the time, so nothing else comes near it.
const MAX_POLL_INTERVAL: Duration = Duration::from_mins(5);

/// Records of one poll: what the queue may go over its limit by.
const POLL_RECORDS_MAX: i32 = 1_000;

/// Records that krafka holds decoded beyond those of a poll.
const BUFFERED_RECORDS_MAX: i32 = 2_000;

/// Bytes of one answer, and of one partition in it, before decompression. A larger batch still comes, alone (KIP-74).
const FETCH_BYTES_MAX: i32 = 8 * 1024 * 1024;
const PARTITION_FETCH_BYTES_MAX: i32 = 1024 * 1024;

/// krafka's pause between looks at paused partitions.
const IDLE_POLL_BACKOFF: Duration = Duration::from_millis(100);

/// How long a commit is tried while the coordinator is away or between two generations.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

/// The delays between attempts at a commit.
const COMMIT_RETRY_FIRST: Duration = Duration::from_millis(100);
const COMMIT_RETRY_CEILING: Duration = Duration::from_secs(2);

/// The limit for leaving: to end the pump, and to tell the coordinator.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The limit for asking the cluster for its features.
const FEATURES_TIMEOUT: Duration = Duration::from_secs(10);

/// One member of a consumer group on one topic. It joins in the background; [`Event::Assigned`] tells when it is in.
pub struct KafkaConsumer {
    config: KafkaConfig,
    topic: String,
    group: String,
    identity: String,
    /// Asks for watermarks and offsets on connections of its own: a broker answers one connection's requests in order,
    /// so on the member's they would wait behind each fetch that waits for data.
    observer: Kafka,
    member: Arc<Member>,
    handover: Arc<Handover>,
    pump: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConsumer").field("topic", &self.topic).field("group", &self.group).finish_non_exhaustive()
    }
}

impl KafkaConsumer {
    /// Connects and begins to join `group` on a topic that exists.
    ///
    /// `identity` names what the records are for (`userpipe:cassandra/ks.table`). It is committed with every offset,
    /// and a group whose offsets carry another one is refused before anything is read: two sinks in one group would
    /// each get a part of the records.
    ///
    /// Fails within a few connect timeouts: [`Unreachable`](crate::error::Kind::Unreachable),
    /// [`Refused`](crate::error::Kind::Refused), or [`Config`](crate::error::Kind::Config) for a missing topic and
    /// another sink's group.
    pub async fn join(config: &KafkaConfig, topic: &str, group: &str, identity: impl Into<String>) -> Result<Self> {
        let identity = identity.into();
        let kafka = client::open(config).await?;
        if !topic::exists(config, &kafka, topic).await? {
            return Err(unknown_topic(topic));
        }
        group::check_identity(config, &kafka, topic, group, &identity).await?;
        let protocol = protocol(&kafka).await;
        tracing::debug!(topic, group, ?protocol, "joining the group");
        let observer = client::open(config).await?;
        Self::join_with(config, kafka, observer, topic, group, identity, protocol).await
    }

    async fn join_with(
        config: &KafkaConfig,
        kafka: Kafka,
        observer: Kafka,
        topic: &str,
        group: &str,
        identity: String,
        protocol: GroupProtocol,
    ) -> Result<Self> {
        let failed = |e: KrafkaError| from_krafka("cannot join the consumer group", group, &e);
        let handover = Arc::new(Handover::default());
        let member = kafka
            .consumer(group)
            .group_protocol(protocol)
            .partition_assignment_strategies([Assignor::CooperativeSticky, Assignor::Range])
            .auto_offset_reset(AutoOffsetReset::None)
            .isolation_level(IsolationLevel::ReadCommitted)
            .enable_auto_commit(false)
            .session_timeout(SESSION_TIMEOUT)
            .heartbeat_interval(HEARTBEAT_INTERVAL)
            .max_poll_interval(MAX_POLL_INTERVAL)
            .max_poll_records(POLL_RECORDS_MAX)
            .max_buffered_records(BUFFERED_RECORDS_MAX)
            .fetch_max_bytes(FETCH_BYTES_MAX)
            .max_partition_fetch_bytes(PARTITION_FETCH_BYTES_MAX)
            .idle_poll_backoff(IDLE_POLL_BACKOFF)
            .metrics_push(false)
            .rebalance_listener(Listener { handover: Arc::clone(&handover) })
            .build()
            .await
            .map_err(failed)?;
        member.subscribe([topic]).await.map_err(failed)?;
        let member = Arc::new(member);
        let pump = Pump {
            consumer: Arc::clone(&member),
            handover: Arc::clone(&handover),
            topic: topic.to_owned(),
            group: group.to_owned(),
        };
        Ok(Self {
            config: config.clone(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            identity,
            observer,
            member,
            handover,
            pump: AbortOnDropHandle::new(tokio::spawn(pump.run())),
        })
    }

    fn take(&self) -> Option<Result<Event>> {
        let held = self.handover.holds();
        let next = self.handover.take();
        if held && !self.handover.holds() {
            self.wake();
        }
        next
    }

    /// Tells the pump to look again: it may sit in a poll of paused partitions, or rest between two.
    fn wake(&self) {
        self.handover.look_again();
        self.member.wakeup();
    }
}

impl Consumer for KafkaConsumer {
    async fn poll(&mut self, wait: Duration) -> Result<Event> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            // A notification before this await is kept, so nothing is missed between the look and the wait.
            if timeout_at(deadline, self.handover.arrival()).await.is_err() {
                return self.take().unwrap_or_else(|| Ok(Event::Records(Vec::new())));
            }
        }
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, Offset>) -> Result<Commit> {
        let commit: Vec<_> = self
            .handover
            .past_markers(offsets)
            .iter()
            .map(|(partition, offset)| {
                let place = TopicPartition::new(self.topic.as_str(), *partition);
                (place, OffsetAndMetadata::with_metadata(*offset, self.identity.as_str()))
            })
            .collect();
        let deadline = Instant::now() + COMMIT_PATIENCE;
        let mut last = None;
        for delay in retry::request_backoff(COMMIT_RETRY_FIRST, COMMIT_RETRY_CEILING, usize::MAX) {
            // Looked at before each attempt: krafka sends what it is given, and a coordinator
            // takes a commit of any partition from any live member.
            if !self.handover.owns(offsets.keys()) {
                return Ok(Commit::Fenced);
            }
            match timeout_at(deadline, self.member.commit_offsets(commit.iter().map(|(p, o)| (p, o)))).await {
                Ok(Ok(())) => return Ok(Commit::Stored),
                Ok(Err(error)) if krafka_fenced(&error) => return Ok(Commit::Fenced),
                Ok(Err(error)) if between_generations(&error) || krafka_passes(&error) => last = Some(error),
                Ok(Err(error)) => return Err(self.cannot_commit(&error)),
                Err(_) => break,
            }
            if Instant::now() + delay >= deadline {
                break;
            }
            tokio::time::sleep(delay).await;
        }
        let error = last.unwrap_or_else(|| KrafkaError::timeout("commit"));
        Err(self.cannot_commit(&error))
    }

    fn pause(&mut self, paused: bool) {
        // Only for a change: a wake-up cancels krafka's fetch in flight, which costs the broker's fetch session, and
        // cancelled often enough no fetch ever ends.
        if self.handover.pause(paused) {
            self.wake();
        }
    }

    async fn watermarks(&mut self) -> Result<BTreeMap<Partition, Watermarks>> {
        match topic::leaders(&self.config, &self.observer, &self.topic).await? {
            Some(partitions) => topic::watermarks(&self.config, &self.observer, &self.topic, partitions).await,
            None => Err(unknown_topic(&self.topic)),
        }
    }

    async fn committed(&mut self) -> Result<BTreeMap<Partition, Offset>> {
        let committed = group::committed(&self.config, &self.observer, &self.topic, &self.group).await?;
        Ok(committed.into_iter().map(|(partition, committed)| (partition, committed.offset)).collect())
    }

    async fn close(self) -> Result<()> {
        self.handover.closing.cancel();
        self.wake();
        if timeout(CLOSE_TIMEOUT, self.pump).await.is_err() {
            tracing::warn!(group = self.group, "the poll in flight did not end in time, leaving without it");
        }
        let options = CloseOptions::new().timeout(CLOSE_TIMEOUT);
        let left = self.member.close_with(options).await;
        left.map_err(|e| from_krafka("cannot leave the consumer group", &self.group, &e))
    }
}

impl KafkaConsumer {
    fn cannot_commit(&self, error: &KrafkaError) -> Error {
        from_krafka("cannot commit the offsets of the group", &self.group, error)
    }
}

/// The member's epoch moves on with its next heartbeat or join, and then the same commit is good.
fn between_generations(error: &KrafkaError) -> bool {
    matches!(error, KrafkaError::Broker { code: ErrorCode::StaleMemberEpoch | ErrorCode::RebalanceInProgress, .. })
}

/// KIP-848 where the cluster has it (`group.version` 1 and up), else the classic protocol, which every broker has.
async fn protocol(kafka: &Kafka) -> GroupProtocol {
    let options = DescribeFeaturesOptions::default().timeout(FEATURES_TIMEOUT);
    match kafka.admin().describe_features(options).await {
        Ok(features) if features.finalized.iter().any(|f| f.name == "group.version" && f.max_version_level >= 1) => {
            GroupProtocol::Consumer
        }
        Ok(_) => GroupProtocol::Classic,
        Err(error) => {
            tracing::debug!(%error, "cannot read the cluster's features, using the classic group protocol");
            GroupProtocol::Classic
        }
    }
}

#[cfg(test)]
mod tests;
