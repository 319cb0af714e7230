//! The task that owns krafka's poll loop: it keeps the member in the group and the records coming, whatever the
//! handle does.
//!
//! krafka applies rebalances and runs its listener inside `poll`, so `poll` is called without a pause. Where the handle
//! is paused, or enough records wait, the assigned partitions are paused in krafka and the polling goes on: heartbeats
//! and rebalances continue and memory does not grow.

use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use krafka::KrafkaError;
use krafka::consumer::{Consumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition};
use tokio::time::{Instant, timeout};

use super::errors::{from_krafka, krafka_fenced, krafka_passes};
use super::handover::Handover;
use crate::bus::{Message, Partition};
use crate::error::{Error, Kind};
use crate::record::Timestamp;
use crate::retry;

/// How long one poll waits for records; also how soon a pause is noticed without a wake-up.
const POLL_WAIT: Duration = Duration::from_millis(500);

/// How long the pump rests between polls of paused partitions; rebalances wait for it.
const REST: Duration = Duration::from_millis(100);

/// How long the broker may be away, or polls fail with something that passes, before the handle hears of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long polls may be empty before the broker is asked whether it is there. krafka answers "no records" for as long
/// as it likes while every broker is away.
const QUIET: Duration = Duration::from_secs(10);

/// The limit for that question; polls wait for it.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The delays between polls that fail. Short, so that a broker's return is noticed soon.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_CEILING: Duration = Duration::from_secs(2);

/// How long revoked partitions may be drained before they are given up. Well below the rebalance timeout (krafka's
/// `max_poll_interval`), after which the coordinator would throw this member out of the group altogether.
pub(super) const RELEASE_WAIT_MAX: Duration = Duration::from_mins(1);

/// The pump of one member.
pub(super) struct Pump {
    pub(super) consumer: Arc<Consumer>,
    pub(super) handover: Arc<Handover>,
    pub(super) topic: String,
    pub(super) group: String,
}

/// How the broker does: when it last showed that it is there, and the delays since it does not.
struct Health {
    seen: Instant,
    delays: ExponentialBackoff,
}

impl Health {
    fn good() -> Self {
        Self { seen: Instant::now(), delays: retry::request_backoff(RETRY_FIRST, RETRY_CEILING, usize::MAX) }
    }
}

impl Pump {
    /// Polls until the handle closes.
    pub(super) async fn run(self) {
        let mut health = Health::good();
        while !self.handover.closing.is_cancelled() {
            let is_holding = self.hold_or_go_on().await;
            match self.consumer.poll(POLL_WAIT).await {
                Ok(records) => {
                    let empty = records.is_empty();
                    self.offer(records).await;
                    if empty && is_holding {
                        self.rest().await;
                    }
                    if !empty {
                        health = Health::good();
                    } else if health.seen.elapsed() >= QUIET {
                        match self.ask().await {
                            Ok(()) => health = Health::good(),
                            Err(error) => self.suffer(&mut health, &error).await,
                        }
                    }
                }
                Err(KrafkaError::Wakeup) => {}
                Err(KrafkaError::NoOffset { partitions }) if self.begin(&partitions).await => {}
                Err(error) => self.suffer(&mut health, &error).await,
            }
        }
    }

    /// Puts the records down together with the positions after them; only this task moves those.
    async fn offer(&self, records: Vec<ConsumerRecord>) {
        let lag = self.consumer.lag().await;
        let positions = lag.into_iter().filter_map(|(place, lag)| Some((place.partition, lag.position?))).collect();
        self.handover.offer(records.into_iter().map(to_message).collect(), positions);
    }

    /// Asks for something that only a living broker knows: the end of a partition.
    async fn ask(&self) -> krafka::Result<()> {
        let assigned = self.consumer.assignment().await.remove(&self.topic).unwrap_or_default();
        let partition = assigned.first().copied().unwrap_or_default();
        match timeout(ASK_TIMEOUT, self.consumer.fetch_watermarks(&self.topic, partition)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(KrafkaError::timeout("the end offset of a partition")),
        }
    }

    /// Pauses or resumes what is assigned; true if it holds. Partitions that come within a poll are caught by the next.
    async fn hold_or_go_on(&self) -> bool {
        let assigned = self.consumer.assignment().await.remove(&self.topic).unwrap_or_default();
        let holds = self.handover.holds();
        if holds {
            self.consumer.pause(&self.topic, &assigned).await;
        } else {
            self.consumer.resume(&self.topic, &assigned).await;
        }
        holds
    }

    /// Waits between two polls of paused partitions. krafka's poll answers at once while its buffer is full of their
    /// records: without a rest this loop would never yield, and heartbeats, timers and writes would stand still.
    async fn rest(&self) {
        tokio::select! {
            () = self.handover.woken() => {}
            () = self.handover.closing.cancelled() => {}
            () = tokio::time::sleep(REST) => {}
        }
    }

    /// Starts partitions without a committed offset at their beginning; false where one of them had a position, which
    /// means that its offset is out of range.
    ///
    /// krafka is told to reset nothing by itself (`AutoOffsetReset::None`): its "earliest" would also serve an offset
    /// that retention has removed, and skip records in silence. It reports both cases as `NoOffset`; only a partition
    /// that never had an offset has no position.
    async fn begin(&self, partitions: &[(String, Partition)]) -> bool {
        let lag = self.consumer.lag().await;
        let mut all_begin = true;
        for (topic, partition) in partitions {
            let place = TopicPartition::new(topic.as_str(), *partition);
            if lag.get(&place).is_some_and(|lag| lag.position.is_some()) {
                all_begin = false;
                continue;
            }
            match self.consumer.seek_to_beginning(topic, *partition).await {
                Ok(()) => tracing::debug!(topic, partition, "no committed offset, starting at the beginning"),
                // It was taken away in the meantime.
                Err(error) => tracing::debug!(topic, partition, %error, "cannot start at the beginning"),
            }
        }
        all_begin
    }

    async fn suffer(&self, health: &mut Health, error: &KrafkaError) {
        let ours = match error {
            KrafkaError::NoOffset { .. } => self.out_of_range(error),
            _ => from_krafka("cannot read from the topic", &self.topic, error),
        };
        let passes = krafka_passes(error) || krafka_fenced(error);
        tracing::debug!(error = %ours, passes, "a poll failed");
        if !passes || health.seen.elapsed() >= PATIENCE {
            self.handover.fail(ours);
        }
        let delay = health.delays.next().unwrap_or(POLL_WAIT);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.handover.closing.cancelled() => {}
        }
    }

    fn out_of_range(&self, error: &KrafkaError) -> Error {
        Error::new(Kind::Failed, format!("an offset committed by group {} is no longer in the topic", self.group))
            .at(&self.topic)
            .because(error.to_string())
            .hint("retention has removed records that were not consumed; go on with --from-beginning or -o end")
    }
}

/// Turns krafka's callbacks into the contract's events.
pub(super) struct Listener {
    pub(super) handover: Arc<Handover>,
}

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        self.handover.assign(numbers(partitions));
    }

    /// krafka gives the partitions away when this returns.
    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        let partitions = numbers(partitions);
        let Some(released) = self.handover.revoke(&partitions) else { return };
        tokio::select! {
            // an error is the signal: the release was dropped
            _ = released => self.handover.released(&partitions),
            // close() drains before it is called
            () = self.handover.closing.cancelled() => self.handover.released(&partitions),
            () = tokio::time::sleep(RELEASE_WAIT_MAX) => {
                tracing::warn!(?partitions, "not drained within {RELEASE_WAIT_MAX:?}, giving the partitions up");
                self.handover.lose(&partitions);
            }
        }
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        let partitions = numbers(partitions);
        tracing::warn!(?partitions, "lost partitions: this member was out of the group");
        self.handover.lose(&partitions);
    }
}

/// A member has one topic, so the number says it all.
fn numbers(partitions: &[TopicPartition]) -> Vec<Partition> {
    partitions.iter().map(|p| p.partition).collect()
}

pub(super) fn to_message(record: ConsumerRecord) -> Message {
    Message {
        partition: record.partition,
        offset: record.offset,
        timestamp: Timestamp::saturating_from_unix_ms(record.timestamp),
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}
