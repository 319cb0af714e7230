//! The reading half of the bus on Kafka: one member of a consumer group on one topic, through krafka.
//!
//! The member is a task (`pump`) that never stops polling; this handle takes from what the task has put down
//! (`handover`), so its `poll` can be cancelled anywhere, and commits by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use krafka::consumer::{Consumer as Member, GroupProtocol as Protocol};
use krafka::{CloseOptions, Kafka, KrafkaError};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::begin::Begin;
use super::errors::{from_krafka, krafka_fenced, krafka_passes};
use super::handover::Handover;
use super::member::{self, Blueprint};
use super::pump::Pump;
use super::{client, group, topic};
use crate::bus::{Commit, Consumer, Event, Offset, Partition, Watermarks, unknown_topic};
use crate::config::{KafkaConfig, MemberConfig};
use crate::error::{Error, Kind, Result};
use crate::retry;

/// How long a commit is tried while the coordinator is away or between two generations.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

/// The delays between attempts at a commit.
const COMMIT_RETRY_FIRST: Duration = Duration::from_millis(100);
const COMMIT_RETRY_CEILING: Duration = Duration::from_secs(2);

/// The limit for leaving: to end the pump, and to tell the coordinator.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// One member of a consumer group on one topic. It joins in the background; [`Event::Assigned`] tells when it is in.
pub struct KafkaConsumer {
    /// Its observer asks for watermarks and offsets on connections of its own: a broker answers one connection's requests
    /// in order, so on the member's they would wait behind each fetch that waits for data.
    begin: Arc<Begin>,
    member: Arc<Member>,
    handover: Arc<Handover>,
    pump: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConsumer")
            .field("topic", &self.begin.topic)
            .field("group", &self.begin.group)
            .finish_non_exhaustive()
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
    /// [`Refused`](crate::error::Kind::Refused), or [`Config`](crate::error::Kind::Config) for a missing topic, another
    /// sink's group, and the name of a static member that another process has for longer than a session.
    pub async fn join(
        config: &KafkaConfig,
        settings: &MemberConfig,
        topic: &str,
        group: &str,
        identity: &str,
    ) -> Result<Self> {
        let kafka = client::open(config).await?;
        group::check_identity(config, &kafka, topic, group, identity).await?;
        let protocol = member::protocol(&kafka, settings.protocol).await?;
        tracing::debug!(topic, group, ?protocol, "joining the group");
        let observer = client::open(config).await?;
        let begin = Begin::new((config.clone(), observer), (topic, group), identity, settings.on_out_of_range);
        Self::join_with(kafka, begin, settings, protocol).await
    }

    async fn join_with(kafka: Kafka, begin: Begin, settings: &MemberConfig, protocol: Protocol) -> Result<Self> {
        let found = topic::find(&begin.config, &begin.observer, &begin.topic).await?;
        let partitions = found.ok_or_else(|| unknown_topic(&begin.topic))?.partitions;
        let (begin, handover) = (Arc::new(begin), Arc::new(Handover::default()));
        let blueprint = Blueprint { kafka: &kafka, protocol, settings, begin: &begin, handover: &handover };
        let (member, first) = blueprint.build().await?;
        let pump = Pump {
            consumer: Arc::clone(&member),
            handover: Arc::clone(&handover),
            begin: Arc::clone(&begin),
            static_id: settings.static_id.clone(),
            is_classic: protocol == Protocol::Classic,
            partitions,
        };
        Ok(Self { begin, member, handover, pump: AbortOnDropHandle::new(tokio::spawn(pump.run(first))) })
    }

    fn take(&self) -> Option<Result<Event>> {
        let next = self.handover.take();
        // Only a pump that rests: a wake-up cancels krafka's fetch in flight. The broker has sent the answer by then, sends
        // it again, and refuses the session that the next request names; cancelled often enough no fetch ever ends.
        if self.handover.has_room_again() {
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
        let stored = self.handover.past_markers(offsets);
        let commit = self.begin.commits(&stored);
        let deadline = Instant::now() + COMMIT_PATIENCE;
        let mut last = None;
        for delay in retry::request_backoff(COMMIT_RETRY_FIRST, COMMIT_RETRY_CEILING, usize::MAX) {
            // Looked at before each attempt: krafka sends what it is given, and a coordinator
            // takes a commit of any partition from any live member.
            if !self.handover.owns(offsets.keys()) {
                return Ok(Commit::Fenced);
            }
            match timeout_at(deadline, self.member.commit_offsets(commit.iter().map(|(p, o)| (p, o)))).await {
                Ok(Ok(())) => {
                    self.handover.stored(&stored);
                    return Ok(Commit::Stored);
                }
                Ok(Err(error)) if member::is_between_generations(&error) || krafka_passes(&error) => last = Some(error),
                Ok(Err(error)) if krafka_fenced(&error) => return Ok(Commit::Fenced),
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
        self.handover.pause(paused);
    }

    async fn watermarks(&mut self) -> Result<BTreeMap<Partition, Watermarks>> {
        let Begin { config, observer, topic, .. } = &*self.begin;
        match topic::leaders(config, observer, topic).await? {
            Some(partitions) => topic::watermarks(config, observer, topic, partitions).await,
            None => Err(unknown_topic(topic)),
        }
    }

    async fn committed(&mut self) -> Result<BTreeMap<Partition, Offset>> {
        let Begin { config, observer, topic, group, .. } = &*self.begin;
        let committed = group::committed(config, observer, topic, group).await?;
        Ok(committed.into_iter().map(|(partition, committed)| (partition, committed.offset)).collect())
    }

    async fn close(self) -> Result<()> {
        self.handover.closing.cancel();
        self.wake();
        if timeout(CLOSE_TIMEOUT, self.pump).await.is_err() {
            tracing::warn!(group = self.begin.group, "the poll in flight did not end in time, leaving without it");
        }
        let options = CloseOptions::new().timeout(CLOSE_TIMEOUT);
        let left = self.member.close_with(options).await;
        left.map_err(|e| from_krafka("cannot leave the consumer group", &self.begin.group, &e))
    }
}

impl KafkaConsumer {
    fn cannot_commit(&self, error: &KrafkaError) -> Error {
        let ours = from_krafka("cannot commit the offsets of the group", &self.begin.group, error);
        // A rebalance that takes long, because another member does.
        if member::is_between_generations(error) { ours.with_kind(Kind::Unreachable) } else { ours }
    }
}

#[cfg(test)]
mod tests;
