//! The task that owns krafka's poll loop: it keeps the member in the group and the records coming, whatever the
//! handle does.
//!
//! krafka applies rebalances and runs its listener inside `poll`, so `poll` is called without a pause. Where enough
//! records wait, the assigned partitions are paused in krafka and the polling goes on: heartbeats and rebalances
//! continue and memory does not grow.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use backon::ExponentialBackoff;
use krafka::consumer::{Consumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition};
use krafka::{KrafkaError, TopicInfo};
use tokio::time::{Instant, timeout};

use super::begin::{self, Begin, Place};
use super::client::METADATA_AGE;
use super::errors::{from_krafka, krafka_fenced, krafka_passes};
use super::handover::Handover;
use super::member::is_name_taken;
use crate::bus::{Message, Offset, Partition, static_member_taken};
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

/// The limit for a commit of our own; polls wait for it, and it is tried again later.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

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
    pub(super) begin: Arc<Begin>,
    pub(super) static_id: Option<String>,
    pub(super) is_classic: bool,
    /// Of the topic when the member was made.
    pub(super) partitions: usize,
}

/// How wide the topic was when the member last looked.
struct Width {
    looked: Instant,
    partitions: usize,
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
    /// Polls until the handle closes; `first` came while the member waited for its name.
    pub(super) async fn run(self, first: Vec<ConsumerRecord>) {
        let mut health = Health::good();
        let mut width = Width { looked: Instant::now(), partitions: self.partitions };
        self.offer(first).await;
        while !self.is_over() {
            let is_holding = self.hold_or_go_on().await;
            match self.consumer.poll(POLL_WAIT).await {
                Ok(records) => self.arrived(records, is_holding, &mut health).await,
                Err(KrafkaError::Wakeup) => {}
                Err(KrafkaError::NoOffset { .. }) => {
                    self.go_on(&mut health).await;
                }
                Err(error) => self.suffer(&mut health, &error).await,
            }
            if self.is_classic && width.looked.elapsed() >= METADATA_AGE {
                self.follow(&mut width).await;
            }
        }
        // What ended it is told; the handle closes.
        self.handover.closing.cancelled().await;
    }

    fn is_over(&self) -> bool {
        self.handover.closing.is_cancelled() || self.handover.is_halted()
    }

    async fn arrived(&self, mut records: Vec<ConsumerRecord>, is_holding: bool, health: &mut Health) {
        // Of a new topic that was read at the offsets of the old one nothing is handed out.
        while self.is_another_topic().await && !self.is_over() {
            let moved = self.go_on(health).await;
            records.retain(|record| !moved.contains(&record.partition));
        }
        if self.is_over() {
            return;
        }
        let empty = records.is_empty();
        self.offer(records).await;
        if empty && is_holding {
            self.rest().await;
        }
        if !empty {
            *health = Health::good();
            return;
        }
        self.store_unstored().await;
        if health.seen.elapsed() >= QUIET {
            match self.ask().await {
                Ok(()) => *health = Health::good(),
                Err(error) => self.suffer(health, &error).await,
            }
        }
    }

    /// Joins anew where partitions were added. Under the classic protocol the group's leader has to notice, and krafka's
    /// does not; leaving is what makes one that has fresh metadata share them out. (The place of a static member is kept
    /// when it leaves, so a group of nothing else stays as it is until a session ends.)
    async fn follow(&self, width: &mut Width) {
        width.looked = Instant::now();
        let topic = self.begin.topic.as_str();
        let partitions = match self.consumer.fetch_metadata(Some(topic)).await {
            Ok(found) => found.topics.first().map_or(width.partitions, TopicInfo::partition_count),
            Err(error) => return tracing::debug!(%error, "cannot look for new partitions"),
        };
        let before = std::mem::replace(&mut width.partitions, partitions);
        if partitions <= before {
            return;
        }
        tracing::info!(topic, partitions, "the topic has more partitions now, joining the group anew");
        if let Err(error) = self.consumer.unsubscribe().await {
            tracing::debug!(%error, "cannot leave the group");
        }
        if let Err(error) = self.consumer.subscribe([topic]).await {
            self.handover.fail(from_krafka("cannot join the consumer group", &self.begin.group, &error));
        }
    }

    /// Puts the records down together with the positions after them; only this task moves those.
    async fn offer(&self, records: Vec<ConsumerRecord>) {
        let positions = self.positions().await;
        self.handover.offer(records.into_iter().map(to_message).collect(), positions);
    }

    async fn positions(&self) -> BTreeMap<Partition, Offset> {
        let lag = self.consumer.lag().await;
        lag.into_iter().filter_map(|(place, lag)| Some((place.partition, lag.position?))).collect()
    }

    /// Commits past what is no record, once nothing else is left of a partition.
    async fn store_unstored(&self) {
        let offsets = self.handover.unstored();
        store(&self.consumer, &self.begin, &self.handover, &offsets).await;
    }

    /// Whether the topic was deleted and created anew. krafka notices when it fetches by the old topic's id (Kafka 3.1 and
    /// later) and reads the new one's from the metadata that this looks at; nothing is asked of the brokers here.
    async fn is_another_topic(&self) -> bool {
        let Ok(known) = self.consumer.fetch_metadata(None).await else { return false };
        known.topics.iter().any(|topic| topic.name == self.begin.topic && self.begin.is_another(topic.topic_id))
    }

    /// Moves the partitions whose positions are not in the topic to where the policy says, or ends the member. The
    /// partitions that were moved.
    async fn go_on(&self, health: &mut Health) -> Vec<Partition> {
        let looking = self.positions().await;
        let places = tokio::select! {
            places = self.begin.go_on(&looking) => places,
            () = self.handover.closing.cancelled() => return Vec::new(),
        };
        match places {
            Ok(places) if places.is_empty() => self.wait(health).await,
            Ok(places) => {
                let partitions: Vec<_> = places.iter().map(|place| place.partition).collect();
                self.handover.lose(&partitions);
                take_up(&self.consumer, &self.begin, &self.handover, places).await;
                return partitions;
            }
            Err(error) if is_final(&error) => self.handover.halt(error),
            Err(error) => {
                self.handover.fail(error);
                self.wait(health).await;
            }
        }
        Vec::new()
    }

    /// Asks for something that only a living broker knows: the end of a partition.
    async fn ask(&self) -> krafka::Result<()> {
        let assigned = self.consumer.assignment().await.remove(&self.begin.topic).unwrap_or_default();
        let partition = assigned.first().copied().unwrap_or_default();
        match timeout(ASK_TIMEOUT, self.consumer.fetch_watermarks(&self.begin.topic, partition)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(KrafkaError::timeout("the end offset of a partition")),
        }
    }

    /// Pauses or resumes what is assigned; true if it holds. Partitions that come within a poll are caught by the next.
    async fn hold_or_go_on(&self) -> bool {
        let assigned = self.consumer.assignment().await.remove(&self.begin.topic).unwrap_or_default();
        let holds = self.handover.hold();
        if holds {
            self.consumer.pause(&self.begin.topic, &assigned).await;
        } else {
            self.consumer.resume(&self.begin.topic, &assigned).await;
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

    async fn suffer(&self, health: &mut Health, error: &KrafkaError) {
        if let Some(id) = self.static_id.as_deref().filter(|_| is_name_taken(error)) {
            // Another join would only take the name back, and so on.
            return self.handover.halt(static_member_taken(&self.begin.group, id));
        }
        let ours = from_krafka("cannot read from the topic", &self.begin.topic, error);
        let passes = krafka_passes(error) || krafka_fenced(error);
        tracing::debug!(error = %ours, passes, "a poll failed");
        if !passes || health.seen.elapsed() >= PATIENCE {
            self.handover.fail(ours);
        }
        self.wait(health).await;
    }

    async fn wait(&self, health: &mut Health) {
        let delay = health.delays.next().unwrap_or(POLL_WAIT);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.handover.closing.cancelled() => {}
        }
    }
}

/// Errors that no retry mends.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::Failed | Kind::Config)
}

/// Sets the positions, sees that the group has them, and hands the partitions over.
async fn take_up(consumer: &Consumer, begin: &Begin, handover: &Handover, places: Vec<Place>) {
    let places = begin::seek(consumer, &begin.topic, places).await;
    let offsets =
        |stored| places.iter().filter(move |p| p.is_stored == stored).map(|p| (p.partition, p.offset)).collect();
    handover.assign(places.iter().map(|place| place.partition).collect());
    handover.stored(&offsets(true));
    store(consumer, begin, handover, &offsets(false)).await;
}

/// Commits offsets that nobody else is about to commit. What fails is tried again when the partitions are idle.
async fn store(consumer: &Consumer, begin: &Begin, handover: &Handover, offsets: &BTreeMap<Partition, Offset>) {
    if offsets.is_empty() {
        return;
    }
    match timeout(STORE_TIMEOUT, consumer.commit_offsets(begin.commits(offsets))).await {
        Ok(Ok(())) => handover.stored(offsets),
        Ok(Err(error)) => tracing::debug!(%error, ?offsets, "cannot commit where reading begins"),
        Err(_) => tracing::debug!(?offsets, "no answer to the commit of where reading begins"),
    }
}

/// Turns krafka's callbacks into the contract's events.
pub(super) struct Listener {
    pub(super) handover: Arc<Handover>,
    pub(super) begin: Arc<Begin>,
    /// Set once the member that this listens to is made.
    pub(super) member: Arc<OnceLock<Weak<Consumer>>>,
}

impl Listener {
    /// Finds where to begin, for as long as that takes: nothing is fetched before krafka has its positions.
    async fn begin(&self, member: &Consumer, partitions: &[Partition]) {
        for delay in retry::stream_backoff() {
            match self.begin.places(partitions).await {
                Ok(places) => return take_up(member, &self.begin, &self.handover, places).await,
                Err(error) if is_final(&error) => return self.handover.halt(error),
                Err(error) => self.handover.fail(error),
            }
            tokio::time::sleep(delay).await;
        }
    }
}

impl ConsumerRebalanceListener for Listener {
    /// krafka fetches when this returns.
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        let member = self.member.get().and_then(Weak::upgrade);
        let (Some(member), false) = (member, partitions.is_empty()) else { return };
        let partitions = numbers(partitions);
        tokio::select! {
            () = self.begin(&member, &partitions) => {}
            () = self.handover.closing.cancelled() => {}
        }
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
