//! One batch from the bus to durable: decode, write, dead letters; retried until nothing of it is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Parts, dead_letter};
use crate::bus::{Message, Producer};
use crate::encoding::{Codec, Prepared};
use crate::error::Kind;
use crate::metrics::Metrics;
use crate::pipeline::health::{Health, Severity, Stage};
use crate::pipeline::suppression::Suppression;
use crate::record::Timestamp;
use crate::retry::stream_backoff;
use crate::seam::Seam;
use crate::sink::{Change, Outcome, Sink};
use crate::transform::Transform;

/// A record whose timestamp is further ahead than this would hide every later write of its row.
const FUTURE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// What every batch needs. Shared by the batches in flight.
#[derive(Debug)]
pub(super) struct Writer<S, D> {
    pub(super) sink: Arc<S>,
    pub(super) dead_letters: D,
    pub(super) topic: String,
    pub(super) codec: Codec,
    pub(super) transform: Option<Arc<Transform>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) suppression: Suppression,
    /// How many batches wait for the Schema Registry.
    pub(super) waiting_for_schemas: AtomicUsize,
}

/// One more batch that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every record is in the sink or in the dead letters, or was left out.
    Durable,
    /// The sink's reader went away; what is left was not written.
    Closed,
}

/// A record that can never be written.
pub(super) struct Poison {
    pub(super) message: Message,
    pub(super) stage: &'static str,
    pub(super) reason: String,
    pub(super) attempts: u32,
}

impl<S: Sink, D: Producer> Writer<S, D> {
    /// What of the parts every batch needs.
    pub(super) fn new(parts: Parts<S, D>) -> Self {
        Self {
            sink: parts.sink,
            dead_letters: parts.dead_letters,
            topic: parts.topic,
            codec: parts.codec,
            transform: parts.transform,
            metrics: parts.metrics,
            health: parts.health,
            suppression: parts.suppression,
            waiting_for_schemas: AtomicUsize::new(0),
        }
    }

    /// Makes a batch durable, however long that takes. Cancelling it is safe: nothing of it was committed.
    pub(super) async fn write(&self, messages: Vec<Message>) -> Ended {
        let codec = self.prepare(&messages).await;
        let newest_ms = Timestamp::now().unix_ms() + FUTURE_MS_MAX;
        let mut poison = Vec::new();
        let mut pending = Vec::with_capacity(messages.len());
        let mut changes = Vec::with_capacity(messages.len());
        for message in messages {
            match decode(&codec, &message, newest_ms) {
                Ok(Change::Upsert(user)) if self.suppression.holds(&user.id()) => self.metrics.suppressed.add(1),
                Ok(change) => {
                    changes.push(change);
                    pending.push(message);
                }
                Err(reason) => poison.push(Poison { message, stage: "decode", reason, attempts: 1 }),
            }
        }
        if let Some(transform) = &self.transform {
            (pending, changes) = self.transform(transform, pending, changes, &mut poison).await;
        }
        let ended = self.write_changes(pending, changes, &mut poison).await;
        self.bury(poison).await;
        ended
    }

    /// The codec with the schemas of these records, however long the registry is away.
    async fn prepare(&self, messages: &[Message]) -> Prepared<'_> {
        let mut delays = stream_backoff();
        let mut waiting = None;
        loop {
            let values = messages.iter().filter_map(|message| message.value.as_deref());
            let error = match self.codec.prepare(values).await {
                Ok(prepared) => {
                    drop(waiting);
                    // Another batch may still wait for a schema that this one did not need.
                    if self.waiting_for_schemas.load(Ordering::Relaxed) == 0 {
                        self.health.clear(Stage::Registry);
                    }
                    return prepared;
                }
                Err(error) => error,
            };
            waiting.get_or_insert_with(|| Waiting::new(&self.waiting_for_schemas));
            let severity = match error.kind() {
                Kind::Unreachable => Severity::Retrying,
                _ => Severity::Blocked,
            };
            self.health.report(Stage::Registry, severity, &error);
            self.metrics.retries_of(Stage::Registry).add(1);
            tokio::time::sleep(delays.next().unwrap_or_default()).await;
        }
    }

    async fn write_changes(
        &self,
        mut messages: Vec<Message>,
        mut changes: Vec<Change>,
        poison: &mut Vec<Poison>,
    ) -> Ended {
        let mut delays = stream_backoff();
        let mut attempts = 0;
        while !changes.is_empty() {
            attempts += 1;
            let began = Instant::now();
            let outcomes = self.sink.write(&changes).await;
            Seam::AfterWrite.pass();
            self.metrics.writing.observe(began.elapsed());
            self.count_written(&messages, &outcomes);
            let mut left = (Vec::new(), Vec::new());
            let mut obstacle = None;
            for ((message, change), outcome) in messages.into_iter().zip(changes).zip(outcomes) {
                match outcome {
                    Outcome::Written => {}
                    Outcome::Poison(reason) => poison.push(Poison { message, stage: "sink", reason, attempts }),
                    Outcome::Closed => return Ended::Closed,
                    Outcome::Retry(error) => {
                        obstacle.get_or_insert((Severity::Retrying, error));
                        left.0.push(message);
                        left.1.push(change);
                    }
                    Outcome::Blocked(error) => {
                        obstacle = Some((Severity::Blocked, error));
                        left.0.push(message);
                        left.1.push(change);
                    }
                }
            }
            (messages, changes) = left;
            let Some((severity, error)) = obstacle else { break };
            self.health.report(Stage::Sink, severity, &error);
            self.metrics.retries_of(Stage::Sink).add(1);
            tokio::time::sleep(delays.next().unwrap_or_default()).await;
        }
        self.health.clear(Stage::Sink);
        Ended::Durable
    }

    /// Counts what a write made durable, and how long ago each record was made. A record that is ahead of the clock
    /// took no time.
    fn count_written(&self, messages: &[Message], outcomes: &[Outcome]) {
        let now_ms = Timestamp::now().unix_ms();
        let written = messages.iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, Outcome::Written));
        let age =
            |message: &Message| Duration::from_millis((now_ms - message.timestamp.unix_ms()).max(0).cast_unsigned());
        self.metrics.written.add(self.metrics.latency.observe_all(written.map(|(message, _)| age(message))));
    }

    /// Sends what can never be written to the dead-letter topic, and goes on only when all of it is there.
    async fn bury(&self, poison: Vec<Poison>) {
        if poison.is_empty() {
            return;
        }
        for one in &poison {
            tracing::warn!(
                partition = one.message.partition,
                offset = one.message.offset,
                "dead letter ({}): {}",
                one.stage,
                one.reason
            );
        }
        let mut left: Vec<_> = poison.iter().map(|one| dead_letter::of(&self.topic, one)).collect();
        let mut delays = stream_backoff();
        Seam::BeforeDeadLetter.pass();
        loop {
            let sent = self.dead_letters.send(&left).await;
            let mut acks = sent.acks.iter();
            left.retain(|_| acks.next().is_none_or(Option::is_none));
            let Some(error) = sent.failure.filter(|_| !left.is_empty()) else { break };
            self.health.report(Stage::DeadLetters, Severity::Retrying, &error);
            self.metrics.retries_of(Stage::DeadLetters).add(1);
            tokio::time::sleep(delays.next().unwrap_or_default()).await;
        }
        Seam::AfterDeadLetter.pass();
        self.health.clear(Stage::DeadLetters);
        self.metrics.dead_lettered.add(poison.len() as u64);
    }
}

/// The change that a record asks for. A user whose timestamp is after `newest_ms` (milliseconds since the epoch) is poison.
fn decode(codec: &Prepared<'_>, message: &Message, newest_ms: i64) -> Result<Change, String> {
    let Some(value) = &message.value else {
        let id = message.key.as_deref().and_then(|key| Uuid::try_parse_ascii(key).ok());
        let id = id.ok_or("a tombstone whose key is no id")?;
        return Ok(Change::Delete { id, at: message.timestamp });
    };
    let user = codec.decode(value, message.timestamp)?;
    if user.timestamp().unix_ms() > newest_ms {
        return Err(format!("timestamp: {} is more than a day ahead", user.timestamp()));
    }
    Ok(Change::Upsert(user))
}
