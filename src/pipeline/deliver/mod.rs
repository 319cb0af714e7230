//! Delivery: bus → sink, as one member of a consumer group.
//!
//! [`Deliver::run`] polls, hands batches to [`batch::Writer`] tasks, and commits the contiguous prefix that they have
//! made durable. Records in flight are bounded; when the bound is reached, or the sink takes no more, the consumer is
//! paused, so lag grows and memory does not.

mod batch;
mod dead_letter;
mod goal;
mod parts;
mod queue;
mod tracker;
mod transforming;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::bus::{Commit, Consumer, Event, Message, Partition, Producer, Release};
use crate::error::{Error, Kind, Result};
use crate::pipeline::health::{Severity, Stage};
use crate::retry::stream_backoff;
use crate::seam::Seam;
use crate::sink::{AnySink, InFlight, Sink};
use batch::{Ended, Writer};
use queue::{Queue, Queued, size};
use tracker::{Ticket, Tracker};

pub use dead_letter::{DeadLetters, headers};
pub use goal::{End, Goal, Limits};
pub use parts::Parts;

/// How long one poll waits for records.
const POLL_WAIT: Duration = Duration::from_millis(250);
/// How often durable offsets are committed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(250);
/// How often lag is measured and a goal is compared with what others have committed, while there is nothing to do.
const SURVEY_INTERVAL: Duration = Duration::from_millis(500);
/// The same while there is: a goal that others reach is not what ends this member then, and a survey is five requests.
const SURVEY_INTERVAL_BUSY: Duration = Duration::from_secs(2);
/// Limit for one survey: it is for show and must not hold up delivery.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(2);
/// Batches of revoked partitions get this long before they are dropped uncommitted; below every rebalance timeout.
const REVOKE_DRAIN_MAX: Duration = Duration::from_secs(20);
/// What the last commit and leaving the group get when the drain has used up its time.
const LEAVE_MIN: Duration = Duration::from_secs(2);
/// The most records one sink write is given.
const BATCH_RECORDS_MAX: usize = 1_000;

/// A batch that is being written.
#[derive(Debug)]
struct Running {
    partition: Partition,
    records: usize,
    bytes: usize,
    abort: AbortHandle,
}

/// One group member at work.
#[derive(Debug)]
pub struct Deliver<C, S = AnySink, D = DeadLetters> {
    consumer: C,
    writer: Arc<Writer<S, D>>,
    limits: Limits,
    in_flight_max: InFlight,
    shutdown_timeout: Duration,
    tracker: Tracker,
    queue: Queue,
    writes: JoinSet<(Vec<Ticket>, Ended)>,
    running: BTreeMap<tokio::task::Id, Running>,
    revoking: Vec<(Vec<Partition>, Release, Instant)>,
    goal: goal::Watch,
    in_flight_records: usize,
    in_flight_bytes: usize,
    /// Records taken so far, for `--count`.
    taken: u64,
}

impl<C: Consumer, S: Sink + 'static, D: Producer + 'static> Deliver<C, S, D> {
    /// A delivery that starts with [`Deliver::run`].
    pub fn new(consumer: C, parts: Parts<S, D>, limits: Limits) -> Self {
        let of_sink = parts.sink.in_flight_max();
        let records = parts.in_flight_records_max.unwrap_or(of_sink.records);
        Self {
            consumer,
            goal: goal::Watch::new(&limits),
            limits,
            in_flight_max: InFlight { records, ..of_sink },
            shutdown_timeout: parts.shutdown_timeout,
            writer: Arc::new(Writer::new(parts)),
            tracker: Tracker::default(),
            queue: Queue::default(),
            writes: JoinSet::new(),
            running: BTreeMap::new(),
            revoking: Vec::new(),
            in_flight_records: 0,
            in_flight_bytes: 0,
            taken: 0,
        }
    }

    /// Delivers until a limit is reached, `shutdown` is cancelled or the sink's reader goes away; then drains,
    /// commits and leaves the group.
    ///
    /// # Errors
    /// What the bus says can never pass; [`Kind::Incomplete`] or the reason in the way when a limit of time runs
    /// out before the goal, or the drain before everything is durable.
    pub async fn run(mut self, shutdown: &CancellationToken) -> Result<End> {
        let shutdown_timeout = self.shutdown_timeout;
        let overdue = async {
            shutdown.cancelled().await;
            tokio::time::sleep(shutdown_timeout).await;
        };
        let (end, leave_within) = tokio::select! {
            biased;
            end = self.deliver_and_drain(shutdown) => (end, shutdown_timeout.max(LEAVE_MIN)),
            // Whatever it waits for: a commit, a place in the group, a sink.
            () = overdue => (Err(self.stopped_in_flight()), LEAVE_MIN),
        };
        self.writes.abort_all();
        let leave_by = Instant::now() + leave_within;
        let committed = within(leave_by, "cannot commit the last offsets", self.commit()).await;
        let closed = within(leave_by, "cannot leave the consumer group", self.consumer.close()).await;
        let end = end?;
        // What was committed decides the exit code; a group that could not be left is only slower to take over.
        committed?;
        if let Err(error) = closed {
            tracing::warn!("{error}");
        }
        Ok(end)
    }

    async fn deliver_and_drain(&mut self, shutdown: &CancellationToken) -> Result<End> {
        let end = self.deliver(shutdown).await?;
        self.drain(end).await
    }

    /// The main loop, until there is a reason to end.
    async fn deliver(&mut self, shutdown: &CancellationToken) -> Result<End> {
        let mut commit_from = Instant::now();
        let mut surveyed = None;
        let mut poll_delays = stream_backoff();
        let mut poll_from = Instant::now();
        loop {
            self.start_batches();
            let has_room = self.has_room();
            self.consumer.pause(!has_room);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(End::Stopped),
                Some(done) = self.writes.join_next_with_id(), if !self.writes.is_empty() => {
                    if self.finished(done)? == Ended::Closed {
                        return Ok(End::Closed);
                    }
                }
                Ok(()) = self.limits.goal.changed() => {}
                event = poll_after(&mut self.consumer, poll_from) => match event {
                    Ok(event) => {
                        poll_delays = stream_backoff();
                        self.writer.health.clear(Stage::Bus);
                        self.handle(event);
                    }
                    Err(error) => {
                        self.poll_failed(error)?;
                        poll_from = Instant::now() + poll_delays.next().unwrap_or_default();
                    }
                }
            }
            self.release_revoked().await?;
            // Between polls, which end by themselves: a timer that cut them short could keep a slow one from ever
            // ending. The next one is due an interval after the end of the last, however long that took.
            if Instant::now() >= commit_from || self.is_one_commit_from_its_end() {
                self.commit_in_stream().await?;
                commit_from = Instant::now() + COMMIT_INTERVAL;
            }
            let survey_interval = if self.is_idle() { SURVEY_INTERVAL } else { SURVEY_INTERVAL_BUSY };
            if surveyed.is_none_or(|at: Instant| at.elapsed() >= survey_interval) {
                self.survey().await;
                surveyed = Some(Instant::now());
            }
            if let Some(end) = self.goal.end(&self.limits, self.taken, self.is_idle(), &self.writer.health)? {
                return Ok(end);
            }
        }
    }

    /// Whether more records may be taken.
    fn has_room(&self) -> bool {
        let max = self.in_flight_max;
        let is_bounded = self.in_flight_records < max.records && self.in_flight_bytes < max.bytes;
        // More than the sink takes at once would only wait here instead of on the bus.
        let being_written: usize = self.running.values().map(|running| running.records).sum();
        let sink = &self.writer.sink;
        let waiting_max = sink.batches_in_flight_max() * sink.batch_in_order_max().unwrap_or(BATCH_RECORDS_MAX);
        let is_wanted = self.in_flight_records - being_written < waiting_max;
        is_bounded && is_wanted && self.limits.count.is_none_or(|count| self.taken < count)
    }

    /// Whether the last commit need not wait for its interval.
    fn is_one_commit_from_its_end(&self) -> bool {
        let due = self.tracker.to_commit();
        let is_counted = self.limits.count.is_some_and(|count| self.taken >= count);
        let is_written = self.queue.is_empty() && self.running.is_empty();
        !due.is_empty() && is_written && (is_counted || self.goal.is_reached_with(&due))
    }

    /// Nothing is queued, being written or waiting to be committed.
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty() && self.tracker.to_commit().is_empty()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Records(messages) => self.take(messages),
            Event::Assigned(partitions) => tracing::debug!(?partitions, "assigned"),
            Event::Revoked(partitions, release) => {
                tracing::debug!(?partitions, "revoked: finishing what is in flight");
                self.drop_queued(&partitions);
                self.revoking.push((partitions, release, Instant::now() + REVOKE_DRAIN_MAX));
            }
            Event::Lost(partitions) => {
                tracing::warn!(?partitions, "partitions lost; what is in flight is not committed");
                // They may come again, and what comes then is not to end with this drain.
                self.revoking.retain_mut(|(revoked, ..)| {
                    revoked.retain(|partition| !partitions.contains(partition));
                    !revoked.is_empty()
                });
                self.abandon(&partitions);
            }
        }
    }

    /// Queues records as batches of one partition each, so that a revoked partition can be let go alone.
    fn take(&mut self, mut messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        if let Some(count) = self.limits.count {
            let left = usize::try_from(count - self.taken).unwrap_or(usize::MAX);
            messages.truncate(left);
        }
        self.goal.moved();
        self.taken += messages.len() as u64;
        self.writer.metrics.consumed.add(messages.len() as u64);
        self.in_flight_records += messages.len();
        self.in_flight_bytes += size(&messages);
        let mut by_partition: BTreeMap<Partition, Vec<Message>> = BTreeMap::new();
        for message in messages {
            by_partition.entry(message.partition).or_default().push(message);
        }
        for (partition, mut rest) in by_partition {
            while !rest.is_empty() {
                let later = rest.split_off(rest.len().min(BATCH_RECORDS_MAX));
                let messages = std::mem::replace(&mut rest, later);
                let next_offset = messages.last().map_or(0, |message| message.offset + 1);
                let ticket = self.tracker.begin(partition, next_offset);
                self.queue.push(Queued { tickets: vec![ticket], partition, messages });
            }
        }
    }

    /// The batch to write next.
    fn next_batch(&mut self) -> Option<Queued> {
        match self.writer.sink.batch_in_order_max() {
            Some(records_max) => {
                let running = &self.running;
                let is_free = |partition| !running.values().any(|batch| batch.partition == partition);
                self.queue.next_in_order(records_max, is_free)
            }
            None => self.queue.next(),
        }
    }

    fn start_batches(&mut self) {
        while self.running.len() < self.writer.sink.batches_in_flight_max() {
            let Some(Queued { tickets, partition, messages }) = self.next_batch() else { return };
            let (records, bytes) = (messages.len(), size(&messages));
            let writer = Arc::clone(&self.writer);
            let place = messages.first().zip(messages.last()).map(|(first, last)| (first.offset, last.offset));
            let (first, last) = place.unwrap_or_default();
            let span = tracing::info_span!("batch", partition, first, last);
            let write = async move { (tickets, writer.write(messages).await) };
            let abort = self.writes.spawn(write.instrument(span));
            self.running.insert(abort.id(), Running { partition, records, bytes, abort });
        }
    }

    fn finished(
        &mut self,
        done: Result<(tokio::task::Id, (Vec<Ticket>, Ended)), tokio::task::JoinError>,
    ) -> Result<Ended> {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        if let Some(running) = self.running.remove(&id) {
            self.in_flight_records -= running.records;
            self.in_flight_bytes -= running.bytes;
        }
        match done {
            Ok((_, (tickets, Ended::Durable))) => {
                for ticket in tickets {
                    self.tracker.done(ticket);
                }
                self.goal.moved();
                Ok(Ended::Durable)
            }
            Ok((_, (_, Ended::Closed))) => Ok(Ended::Closed),
            Err(error) if error.is_cancelled() => Ok(Ended::Durable),
            Err(panic) => Err(Error::new(Kind::Failed, "a write task ended by itself").because(panic)),
        }
    }

    fn drop_queued(&mut self, partitions: &[Partition]) {
        for dropped in self.queue.remove(partitions) {
            // It was begun and will not be done, so nothing behind it is committed either.
            self.in_flight_records -= dropped.messages.len();
            self.in_flight_bytes -= size(&dropped.messages);
        }
    }

    /// Lets partitions go without a commit.
    fn abandon(&mut self, partitions: &[Partition]) {
        self.drop_queued(partitions);
        for running in self.running.values().filter(|running| partitions.contains(&running.partition)) {
            running.abort.abort();
        }
        for partition in partitions {
            self.tracker.forget(*partition);
        }
    }

    /// Commits and releases revoked partitions whose batches are done, or whose time is over.
    async fn release_revoked(&mut self) -> Result<()> {
        let (running, now) = (&self.running, Instant::now());
        let is_over = |(partitions, _, give_up): &(Vec<Partition>, Release, Instant)| {
            now >= *give_up || !running.values().any(|r| partitions.contains(&r.partition))
        };
        let Some(index) = self.revoking.iter().position(is_over) else { return Ok(()) };
        self.commit_in_stream().await?;
        let (partitions, release, _) = self.revoking.remove(index);
        if partitions.iter().any(|partition| self.tracker.is_busy(*partition)) {
            tracing::debug!(?partitions, "released before everything was durable; the next owner reads it again");
        }
        self.abandon(&partitions);
        drop(release);
        Ok(())
    }

    /// A commit that fails is tried again with the next one.
    async fn commit_in_stream(&mut self) -> Result<()> {
        match self.commit().await {
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                self.writer.health.report(Stage::Bus, Severity::Retrying, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn commit(&mut self) -> Result<()> {
        let offsets = self.tracker.to_commit();
        if offsets.is_empty() {
            return Ok(());
        }
        Seam::BeforeCommit.pass();
        match self.consumer.commit(&offsets).await? {
            Commit::Stored => {
                Seam::AfterCommit.pass();
                tracing::debug!(?offsets, "committed");
                self.tracker.committed(&offsets);
                self.goal.committed(&offsets);
            }
            Commit::Fenced => tracing::warn!("the commit came too late: another member owns the partitions now"),
        }
        Ok(())
    }

    fn poll_failed(&mut self, error: Error) -> Result<()> {
        if is_final(&error) {
            return Err(error);
        }
        let severity = if error.kind() == Kind::Refused { Severity::Blocked } else { Severity::Retrying };
        self.writer.health.report(Stage::Bus, severity, &error);
        self.writer.metrics.retries_of(Stage::Bus).add(1);
        Ok(())
    }

    /// Measures lag, and learns what the other members have committed. Best effort: the next survey comes soon.
    async fn survey(&mut self) {
        let looking = async {
            let marks = self.consumer.watermarks().await?;
            let committed = self.consumer.committed().await?;
            Ok::<_, Error>((marks, committed))
        };
        match tokio::time::timeout(SURVEY_TIMEOUT, looking).await {
            Ok(Ok((marks, committed))) => {
                let lag = |(p, marks): (&Partition, &crate::bus::Watermarks)| {
                    let records = marks.high - committed.get(p).copied().unwrap_or(marks.low);
                    (*p, records.max(0).cast_unsigned())
                };
                self.writer.metrics.set_lag(&self.writer.topic, &marks.iter().map(lag).collect());
                self.goal.committed(&committed);
            }
            Ok(Err(error)) => tracing::debug!("no survey: {error}"),
            Err(_) => tracing::debug!("no survey within {SURVEY_TIMEOUT:?}"),
        }
    }

    /// Why a drain that took too long ends.
    fn stopped_in_flight(&self) -> Error {
        let left = self.in_flight_records;
        let error = Error::new(Kind::Incomplete, format!("stopped with {left} records in flight"))
            .hint("they are not committed: the next consumer of the group reads them again");
        match self.writer.health.obstacle() {
            Some(reason) => error.because(reason),
            None => error,
        }
    }

    /// Finishes what is in flight, with no new records but with heartbeats.
    async fn drain(&mut self, end: End) -> Result<End> {
        self.consumer.pause(true);
        let give_up = Instant::now() + self.shutdown_timeout;
        let is_closed = end == End::Closed;
        let is_busy = |this: &Self| !this.queue.is_empty() || !this.running.is_empty();
        while !is_closed && is_busy(self) {
            self.start_batches();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(give_up) => return Err(self.stopped_in_flight()),
                Some(done) = self.writes.join_next_with_id() => {
                    if self.finished(done)? == Ended::Closed {
                        return Ok(End::Closed);
                    }
                }
                event = self.consumer.poll(POLL_WAIT) => match event {
                    Ok(Event::Records(_)) => {}
                    Ok(event) => self.handle(event),
                    Err(error) => tracing::debug!("while draining: {error}"),
                },
            }
            self.release_revoked().await?;
        }
        Ok(end)
    }
}

/// One of the last steps, which must not keep the process.
async fn within(give_up: Instant, what: &str, step: impl Future<Output = Result<()>>) -> Result<()> {
    match tokio::time::timeout_at(give_up, step).await {
        Ok(done) => done,
        Err(_) => Err(Error::new(Kind::Incomplete, what).because("no answer before the end of --shutdown-timeout")),
    }
}

/// A poll that waits out a backoff first, so that writes and commits go on meanwhile.
async fn poll_after<C: Consumer>(consumer: &mut C, from: Instant) -> Result<Event> {
    tokio::time::sleep_until(from).await;
    consumer.poll(POLL_WAIT).await
}

/// Errors that no retry mends: the stream ends with them.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::Failed | Kind::Config)
}

#[cfg(test)]
mod tests;
