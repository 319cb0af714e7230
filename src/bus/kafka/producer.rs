//! The sending half of the bus on Kafka: batches by partition through rskafka, with limits and retries of our own.
//!
//! rskafka has no request timeout, nests its retries and gives up on nothing; so its retries are off, each attempt has
//! a limit here, and what may pass is tried again until the delivery timeout. A lost acknowledgement can put a record
//! on the topic twice: the consumer's upserts make that one row.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use krafka::Kafka;
use rskafka::client::Client;
use rskafka::client::error::{Error as RskafkaError, ProtocolError};
use rskafka::client::partition::{Compression as Codec, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;
use tokio::sync::{Mutex, OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::batch::{Batch, Limits, plan, size};
use super::client::{self, METADATA_AGE, addresses, within};
use super::errors::{from_rskafka, rskafka_code, rskafka_passes, rskafka_stale};
use super::full_headers::{self, FullHeaders};
use super::topic;
use crate::bus::partitioner::Partitioner;
use crate::bus::{Ack, Offset, Outgoing, Producer, Sent, unknown_topic};
use crate::config::{Compression, KafkaConfig};
use crate::error::{Error, Kind, Result};
use crate::retry;

/// Batches in flight to one partition. rskafka leaves Nagle's algorithm on, which costs 44 ms for each small request
/// that waits for an answer; 16 requests on one connection hide it.
const BATCHES_IN_FLIGHT_PER_PARTITION: usize = 16;

/// Batches in flight in all: the bound on memory beside the records given.
const BATCHES_IN_FLIGHT_MAX: usize = 64;

/// Records with headers that rskafka cannot carry, in flight of one send.
const FULL_HEADERS_IN_FLIGHT: usize = 64;

/// The limit for one attempt: a little over the 30 s that rskafka gives the broker to replicate.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(35);

/// The limit for connecting anew.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The delays between attempts at one batch. Short: a broker is back, or another leads, within seconds.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_CEILING: Duration = Duration::from_secs(2);

/// The limit for a look at the number of partitions; sends wait for it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a topic may be unknown before it counts as deleted; elections and fresh brokers deny it for a moment.
const UNKNOWN_TOPIC_PATIENCE: Duration = Duration::from_secs(10);

/// Sends records to one topic. Cheap to clone; clones share connections and limits.
#[derive(Clone)]
pub struct KafkaProducer(Arc<Inner>);

struct Inner {
    config: KafkaConfig,
    topic: String,
    partitioner: Partitioner,
    /// Tells the number of partitions.
    observer: Kafka,
    looked: Mutex<Instant>,
    link: Mutex<Arc<Link>>,
    in_flight: Semaphore,
    full_headers: FullHeaders,
}

/// One generation of connections, replaced as a whole when they have gone stale.
struct Link {
    generation: u64,
    client: Arc<Client>,
    partitions: Vec<OnceCell<PartitionClient>>,
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaProducer").field("topic", &self.0.topic).finish_non_exhaustive()
    }
}

impl KafkaProducer {
    /// Connects to a topic that exists ([`super::ensure_topic`]).
    ///
    /// Partitions that are added later get records within a minute or so.
    /// Fails within the connect timeout: [`Kind::Unreachable`], [`Kind::Refused`], or [`Kind::Config`] where there is
    /// no such topic.
    pub async fn connect(config: &KafkaConfig, topic: &str) -> Result<Self> {
        let kafka: Kafka = client::open(config).await?;
        let partitions = topic::leaders(config, &kafka, topic).await?.ok_or_else(|| unknown_topic(topic))?;
        let place = addresses(config);
        let client =
            within(config.connect_timeout, "cannot reach Kafka", &place, || client::open_to_produce(config)).await?;
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            topic: topic.to_owned(),
            partitioner: Partitioner::new(u32::try_from(partitions).unwrap_or(u32::MAX)),
            observer: kafka.clone(),
            looked: Mutex::new(Instant::now()),
            link: Mutex::new(Arc::new(Link::new(0, Arc::new(client), partitions))),
            in_flight: Semaphore::new(BATCHES_IN_FLIGHT_MAX),
            full_headers: FullHeaders::new(kafka),
        })))
    }
}

impl Producer for KafkaProducer {
    async fn send(&self, records: &[Outgoing]) -> Sent {
        let inner = &self.0;
        let deadline = Instant::now() + inner.config.delivery_timeout;
        inner.follow().await;
        let limits =
            Limits { bytes_max: inner.config.batch_bytes_max, records_max: inner.config.batch_records_max.max(1) };
        let (odd, plain): (Vec<_>, Vec<_>) =
            records.iter().enumerate().partition(|(_, record)| full_headers::needed(record));

        // One task a partition, so that compression uses all cores; dropping the set (a cancelled send) ends them.
        let mut lanes = JoinSet::new();
        for batches in plan(plain.into_iter(), limits, &inner.partitioner).into_values() {
            lanes.spawn(lane(Arc::clone(inner), batches, deadline));
        }
        let mut sent = Sent { acks: vec![None; records.len()], failure: None };
        inner.send_odd(odd, deadline).await.settle(&mut sent);
        while let Some(lane) = lanes.join_next().await {
            match lane {
                Ok(outcome) => outcome.settle(&mut sent),
                Err(error) => {
                    let error = Error::new(Kind::Failed, "a sending task failed").at(&inner.topic).because(error);
                    sent.failure = sent.failure.or(Some(error));
                }
            }
        }
        sent
    }
}

/// What became of some records of a send, by their place in it.
#[derive(Default)]
struct Outcome {
    acks: Vec<(usize, Ack)>,
    failure: Option<Error>,
}

impl Outcome {
    fn settle(self, sent: &mut Sent) {
        for (place, ack) in self.acks {
            if let Some(slot) = sent.acks.get_mut(place) {
                *slot = Some(ack);
            }
        }
        if let Some(error) = self.failure {
            sent.failure.get_or_insert(error);
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.acks.extend(other.acks);
        self.failure = self.failure.or(other.failure);
        self
    }
}

/// Sends the batches of one partition. They start in order on one connection, so records with one key stay in order
/// unless a batch has to be sent again.
async fn lane(inner: Arc<Inner>, batches: Vec<Batch>, deadline: Instant) -> Outcome {
    stream::iter(batches)
        .map(|batch| inner.deliver(batch, deadline))
        .buffered(BATCHES_IN_FLIGHT_PER_PARTITION)
        .fold(Outcome::default(), async |all, one| all.merge(one))
        .await
}

/// Why a batch was not stored.
enum Refusal {
    /// The broker takes no batch of this size.
    TooLarge(Error),
    /// It stays so, or the time is over.
    Failed(Error),
}

/// What to do after a failed attempt.
enum Next {
    Again { reconnect: bool, error: Error },
    Stop(Refusal),
}

impl Inner {
    /// Takes notice of partitions that were added, once a minute. A key may go to another partition from then on, as
    /// with every producer.
    async fn follow(&self) {
        // Who finds it locked need not look as well.
        let Ok(mut looked) = self.looked.try_lock() else { return };
        if looked.elapsed() < METADATA_AGE {
            return;
        }
        *looked = Instant::now();
        let look = async {
            let found = topic::leaders(&self.config, &self.observer, &self.topic).await?;
            match found.and_then(|partitions| u32::try_from(partitions).ok()) {
                Some(partitions) if partitions > self.partitioner.partitions() => self.widen(partitions).await,
                _ => Ok(()),
            }
        };
        match timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot look for new partitions"),
            Err(_) => tracing::debug!("no answer to the look for new partitions"),
        }
    }

    /// With a new client: the old one knows the old partitions.
    async fn widen(&self, partitions: u32) -> Result<()> {
        let client = client::open_to_produce(&self.config).await.map_err(|failure| failure.error)?;
        let mut link = self.link.lock().await;
        *link = Arc::new(Link::new(link.generation + 1, Arc::new(client), partitions as usize));
        self.partitioner.widen(partitions);
        tracing::info!(topic = self.topic, partitions, "the topic has more partitions now");
        Ok(())
    }

    /// Sends one batch, in halves where the broker finds it too large, until the record too large stands alone.
    async fn deliver(&self, batch: Batch, deadline: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut left = vec![batch];
        while let Some(batch) = left.pop() {
            match self.produce(&batch, deadline).await {
                Ok(offsets) => {
                    let ack = |((place, _), offset): (&(usize, Outgoing), Offset)| {
                        (*place, Ack { partition: batch.partition, offset })
                    };
                    outcome.acks.extend(batch.records.iter().zip(offsets).map(ack));
                }
                Err(Refusal::TooLarge(_)) if batch.records.len() > 1 => {
                    let (first, second) = batch.split();
                    left.extend([second, first]);
                }
                Err(Refusal::TooLarge(error)) => {
                    let bytes = batch.records.first().map_or(0, |(_, record)| size(record));
                    let error = error.because(format!("a record of {bytes} bytes is larger than the broker takes"));
                    outcome.failure.get_or_insert(error);
                }
                Err(Refusal::Failed(error)) => {
                    outcome.failure.get_or_insert(error);
                }
            }
        }
        outcome
    }

    /// Sends one batch as it is, again and again until the deadline where the failure may pass.
    async fn produce(&self, batch: &Batch, deadline: Instant) -> Result<Vec<Offset>, Refusal> {
        let began = Instant::now();
        let Ok(Ok(_permit)) = timeout_at(deadline, self.in_flight.acquire()).await else {
            return Err(Refusal::Failed(self.overdue(None)));
        };
        let mut last = None;
        for delay in retry::request_backoff(RETRY_FIRST, RETRY_CEILING, usize::MAX) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // The lock is only held for longer while someone reconnects.
            let Ok(link) = timeout_at(deadline, self.link.lock()).await.map(|link| Arc::clone(&link)) else { break };
            let attempt = link.produce(&self.topic, batch, codec(self.config.compression));
            let next = match timeout(left.min(ATTEMPT_TIMEOUT), attempt).await {
                Ok(Ok(offsets)) => return Ok(offsets),
                Ok(Err(error)) => self.next_step(&error, began),
                Err(_) => Next::Again { reconnect: true, error: self.failed_with("the broker does not answer") },
            };
            match next {
                Next::Stop(refusal) => return Err(refusal),
                Next::Again { reconnect, error } => {
                    tracing::debug!(%error, partition = batch.partition, "sending a batch again");
                    last = Some(error);
                    tokio::time::sleep(delay.min(deadline.saturating_duration_since(Instant::now()))).await;
                    if reconnect {
                        self.reconnect(link.generation, deadline).await;
                    }
                }
            }
        }
        Err(Refusal::Failed(self.overdue(last)))
    }

    fn next_step(&self, error: &RskafkaError, began: Instant) -> Next {
        let code = rskafka_code(error);
        let (passes, reconnect) = (rskafka_passes(error), rskafka_stale(error));
        let ours = from_rskafka("cannot send to the topic", &self.topic, error);
        match code {
            Some(ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge) => {
                Next::Stop(Refusal::TooLarge(ours.hint("raise the topic's max.message.bytes, or send smaller records")))
            }
            Some(ProtocolError::UnknownTopicOrPartition) if began.elapsed() > UNKNOWN_TOPIC_PATIENCE => {
                Next::Stop(Refusal::Failed(unknown_topic(&self.topic)))
            }
            _ if passes => Next::Again { reconnect, error: ours },
            _ => Next::Stop(Refusal::Failed(ours)),
        }
    }

    /// Replaces the connections of generation `stale`. Many batches fail at once; the first rebuilds, the others wait.
    ///
    /// rskafka reconnects by itself too, but only to the addresses of its last metadata, and never leaves a connection
    /// that is open and silent.
    async fn reconnect(&self, stale: u64, deadline: Instant) {
        let Ok(mut link) = timeout_at(deadline, self.link.lock()).await else { return };
        if link.generation != stale {
            return;
        }
        let limit = RECONNECT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let client = match timeout(limit, client::open_to_produce(&self.config)).await {
            Ok(Ok(client)) => {
                tracing::info!(topic = self.topic, "connected to Kafka anew");
                Arc::new(client)
            }
            Ok(Err(failure)) => {
                tracing::warn!(error = %failure.error, "Kafka is away, records wait");
                Arc::clone(&link.client)
            }
            Err(_) => {
                tracing::warn!(brokers = addresses(&self.config), "Kafka does not answer, records wait");
                Arc::clone(&link.client)
            }
        };
        // A new generation even where nothing came of it, so that one batch a round tries and not each of them.
        *link = Arc::new(Link::new(stale + 1, client, link.partitions.len()));
    }

    /// Sends the records whose headers need krafka's producer.
    async fn send_odd(&self, records: Vec<(usize, &Outgoing)>, deadline: Instant) -> Outcome {
        let send = async |(place, record): (usize, &Outgoing)| {
            let partition = match &record.key {
                Some(key) => self.partitioner.of_key(key),
                None => self.partitioner.next(),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            (place, self.full_headers.send(&self.config, &self.topic, partition, record, left).await)
        };
        stream::iter(records)
            .map(send)
            .buffered(FULL_HEADERS_IN_FLIGHT)
            .fold(Outcome::default(), async |mut all, (place, result)| {
                match result {
                    Ok(ack) => all.acks.push((place, ack)),
                    Err(error) => {
                        all.failure.get_or_insert(error);
                    }
                }
                all
            })
            .await
    }

    fn failed_with(&self, because: &'static str) -> Error {
        Error::new(Kind::Unreachable, "cannot send to the topic").at(&self.topic).because(because)
    }

    /// The delivery timeout has passed; `last` is what was in the way.
    fn overdue(&self, last: Option<Error>) -> Error {
        let limit = humantime::format_duration(self.config.delivery_timeout);
        let error = Error::new(Kind::Unreachable, format!("not acknowledged within {limit}")).at(&self.topic);
        match last {
            Some(last) => error.because(last),
            None => error,
        }
    }
}

impl Link {
    fn new(generation: u64, client: Arc<Client>, partitions: usize) -> Self {
        Self { generation, client, partitions: std::iter::repeat_with(OnceCell::new).take(partitions).collect() }
    }

    async fn produce(&self, topic: &str, batch: &Batch, codec: Codec) -> Result<Vec<Offset>, RskafkaError> {
        let number = batch.partition;
        let Some(cell) = usize::try_from(number).ok().and_then(|n| self.partitions.get(n)) else {
            return Err(RskafkaError::InvalidResponse(format!("{topic} has no partition {number}")));
        };
        let open = || self.client.partition_client(topic, number, UnknownTopicHandling::Error);
        let partition = cell.get_or_try_init(open).await?;
        partition.produce(batch.records.iter().map(|(_, record)| to_rskafka(record)).collect(), codec).await
    }
}

fn to_rskafka(record: &Outgoing) -> Record {
    let headers = record.headers.iter();
    Record {
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().map(|value| value.to_vec()),
        // null values went to krafka
        headers: headers.filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.to_vec()))).collect(),
        timestamp: chrono::DateTime::from_timestamp_millis(record.timestamp.unix_ms()).unwrap_or_default(),
    }
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::NoCompression,
        Compression::Gzip => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd,
    }
}
