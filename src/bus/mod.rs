//! The bus: a topic of records keyed by user id, and consumer groups that share its partitions.
//!
//! The contracts are [`Producer`] and [`Consumer`]. A consumer never skips and never commits by itself: what it
//! hands out is committed by `pipeline/deliver` once the sink has made it durable. The rules of ownership:
//!
//! 1. Records come only from partitions announced by [`Event::Assigned`].
//! 2. [`Event::Revoked`] asks to finish and commit what is in flight of these partitions; the bus waits until the
//!    [`Release`] is dropped before another member gets them. It does not wait for ever: partitions that are not
//!    released in time are reported by [`Event::Lost`].
//! 3. After [`Event::Lost`] the partitions belong to someone else already: nothing of them is committed.
//! 4. [`Consumer::pause`] stops records but neither heartbeats nor the other events, so a sink that is away causes no
//!    rebalance and the consumer still has to be polled.
//! 5. After [`Event::Revoked`] or [`Event::Lost`] no record of the partitions comes, until they are assigned again.
//! 6. A member goes on at the group's committed offset, else at the beginning. An offset that is not in the topic ends it
//!    with an error, or moves it as [`OutOfRange`](crate::config::OutOfRange) says, with a warning: where that happens in
//!    the middle, the partition is lost and assigned again.
//! 7. Offsets carry the identity of the sink they are for, from before the first record on; a member for another sink is
//!    refused.
//! 8. A static member that closes keeps its place for a session, and gets its own partitions back when it returns. A
//!    second live process under its name ends one of the two with [`Kind::Config`](crate::error::Kind::Config).

pub mod embedded;
pub mod kafka;
pub mod observer;
mod partitioner;
mod range;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::Result;
use crate::record::Timestamp;

/// The number of a partition, from 0.
pub type Partition = i32;

/// A place in a partition; as a committed offset it is the first record not yet processed.
pub type Offset = i64;

/// A header of a record; Kafka allows a null value.
pub type Header = (String, Option<Bytes>);

/// A record on its way to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The key, which chooses the partition by Java's murmur2.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The record's time (`CreateTime`).
    pub timestamp: Timestamp,
}

/// Where an acknowledged record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The partition it went to.
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
}

/// What became of a batch that was sent.
#[derive(Debug)]
pub struct Sent {
    /// One entry a record, in the order given; `None` where no acknowledgement came. Such a record may be on the
    /// bus all the same (a lost acknowledgement).
    pub acks: Vec<Option<Ack>>,
    /// The first failure, if any entry is `None`.
    pub failure: Option<crate::error::Error>,
}

/// Sends records to one topic, durably (acks=all).
pub trait Producer: Send + Sync {
    /// Sends the records and waits for every acknowledgement. Retries what may pass within the delivery timeout
    /// and gives up then, so it returns within that time and a little. May be called concurrently.
    fn send(&self, records: &[Outgoing]) -> impl Future<Output = Sent> + Send;
}

/// A record as the bus holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// The record's time.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<Header>,
}

impl Message {
    /// What it holds, in bytes: key, value and headers.
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

/// Held while revoked partitions are drained; dropping it lets the bus give them away.
#[derive(Debug)]
pub struct Release(#[expect(dead_code, reason = "its drop is the signal")] Option<oneshot::Sender<()>>);

impl Release {
    /// A release, and the receiver that resolves (with an error, which is the signal) when it is dropped.
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), receiver)
    }
}

/// What [`Consumer::poll`] brings.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours now, in addition to those we have.
    Assigned(Vec<Partition>),
    /// These partitions go to another member once the release is dropped.
    Revoked(Vec<Partition>, Release),
    /// These partitions are gone already.
    Lost(Vec<Partition>),
    /// Records, in offset order within each partition; empty when nothing came within the wait.
    Records(Vec<Message>),
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The offsets are stored.
    Stored,
    /// This member no longer owns the partitions (fenced, or its session ran out): nothing was stored, and the
    /// new owner reads the records again.
    Fenced,
}

/// A range of offsets of one partition, `low..high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset still there.
    pub low: Offset,
    /// The offset the next record gets.
    pub high: Offset,
}

/// How far a group is in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What the partition holds, up to the first open transaction.
    pub marks: Watermarks,
    /// What the group has committed, if anything; it may lie outside the marks where the topic was cut or recreated.
    pub committed: Option<Offset>,
}

/// How far a group is in each partition of a topic.
pub type Survey = BTreeMap<Partition, Progress>;

/// How long a topic keeps what was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// From a record's time on, at the least; `None` is for ever.
    pub time: Option<Duration>,
    /// Whether only the newest record of a key stays (`cleanup.policy=compact`), some time after it came.
    pub is_compacted: bool,
}

/// Where a group starts to read when it does not go on from its committed offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The committed offsets, else the beginning.
    Stored,
    /// The first record there is.
    Beginning,
    /// Only what comes from now on.
    End,
    /// The first record at or after this time.
    Time(Timestamp),
}

/// Reads a part of a topic that has an end, without a group and without a trace: nothing is joined or committed.
pub trait Reader: Send {
    /// The next records, in offset order within each partition; none when all of the range has been handed out. Holds a
    /// page at the most.
    ///
    /// # Errors
    /// When the bus is away for longer than the connect timeout, or refuses, or when retention removes records that are
    /// still to be read.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Message>>> + Send;
}

/// The committed offset of one partition, before and after a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What was committed, if anything was.
    pub before: Option<Offset>,
    /// What is to be committed, or is.
    pub after: Offset,
}

/// What a reset of a group does, or did, to each partition of the topic.
pub type Reset = BTreeMap<Partition, Moved>;

/// One member of a consumer group on one topic.
pub trait Consumer: Send {
    /// Waits at most `wait` for the next event. Safe to cancel: nothing is lost. Errors here are transient ones
    /// that outlast the bus's own retries (call again) unless their kind says otherwise
    /// ([`Kind::Refused`](crate::error::Kind::Refused), [`Kind::Config`](crate::error::Kind::Config)).
    fn poll(&mut self, wait: Duration) -> impl Future<Output = Result<Event>> + Send;

    /// Stores offsets (the next one to read, per partition) for the group. Synchronous: when it returns
    /// [`Commit::Stored`], the group has them. All or nothing: where one partition is not ours any more, nothing is
    /// stored; [`Consumer::poll`] has brought or brings the event that says which, and the others are committed again.
    /// May store more than asked where nothing but transaction markers follows.
    fn commit(&mut self, offsets: &BTreeMap<Partition, Offset>) -> impl Future<Output = Result<Commit>> + Send;

    /// Stops (`true`) or goes on (`false`) to hand out records; membership is kept meanwhile.
    fn pause(&mut self, paused: bool);

    /// The low and high watermarks of every partition of the topic.
    fn watermarks(&mut self) -> impl Future<Output = Result<BTreeMap<Partition, Watermarks>>> + Send;

    /// The offsets the group has committed, whoever committed them; partitions without one are left out.
    fn committed(&mut self) -> impl Future<Output = Result<BTreeMap<Partition, Offset>>> + Send;

    /// Leaves the group at once, so that others take over without waiting for the session to run out.
    fn close(self) -> impl Future<Output = Result<()>> + Send;
}

/// A group whose offsets were committed for another sink: reading on would leave a hole in one of the two.
fn another_sinks_group(group: &str, theirs: &str, ours: &str) -> crate::error::Error {
    crate::error::Error::new(crate::error::Kind::Config, format!("group {group} belongs to another sink"))
        .because(format!("its offsets were committed for {theirs}, not for {ours}"))
        .hint("leave --group out to get one named after the sink, or choose another name")
}

/// Two live processes call themselves by one name, and only one of them can be that member.
fn static_member_taken(group: &str, id: &str) -> crate::error::Error {
    crate::error::Error::new(
        crate::error::Kind::Config,
        format!("another live process is member {id} of group {group}"),
    )
    .hint("give each process a --static-member of its own, or leave it out")
}

/// There is no such topic where one is needed.
fn unknown_topic(topic: &str) -> crate::error::Error {
    crate::error::Error::new(crate::error::Kind::Config, format!("there is no topic {topic}"))
        .hint("create it with 'userpipe init-schema', or check --topic")
}

/// The partition of a topic with `partitions` of them that producers like Kafka's own choose for this key.
pub fn partition_of(key: &[u8], partitions: usize) -> Partition {
    partitioner::Partitioner::new(u32::try_from(partitions).unwrap_or(u32::MAX)).of_key(key)
}

/// The topic for records of `topic` that can never be delivered.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dead-letters")
}

/// The producer that was chosen.
#[derive(Debug)]
pub enum AnyProducer {
    /// To the embedded bus.
    Embedded(embedded::EmbeddedProducer),
    /// To Kafka.
    Kafka(kafka::KafkaProducer),
}

impl Producer for AnyProducer {
    async fn send(&self, records: &[Outgoing]) -> Sent {
        match self {
            AnyProducer::Embedded(producer) => producer.send(records).await,
            AnyProducer::Kafka(producer) => producer.send(records).await,
        }
    }
}

/// The reader that was chosen.
#[derive(Debug)]
pub enum AnyReader {
    /// Of the embedded bus.
    Embedded(embedded::EmbeddedReader),
    /// Of Kafka.
    Kafka(Box<kafka::KafkaReader>),
}

impl AnyReader {
    /// Goes on with these ranges, over the same connection. What was left of the ones before is left out.
    pub fn go_on(&mut self, ranges: BTreeMap<Partition, Watermarks>) {
        match self {
            AnyReader::Embedded(reader) => reader.go_on(ranges),
            AnyReader::Kafka(reader) => reader.go_on(ranges),
        }
    }

    /// Closes the connection of a reader that might have gone on.
    pub async fn close(self) {
        match self {
            AnyReader::Embedded(_) => {}
            AnyReader::Kafka(reader) => reader.close().await,
        }
    }
}

impl Reader for AnyReader {
    async fn next(&mut self) -> Result<Vec<Message>> {
        match self {
            AnyReader::Embedded(reader) => reader.next().await,
            AnyReader::Kafka(reader) => reader.next().await,
        }
    }
}

/// The consumer that was chosen.
#[derive(Debug)]
pub enum AnyConsumer {
    /// Of the embedded bus.
    Embedded(Box<embedded::EmbeddedConsumer>),
    /// Of Kafka.
    Kafka(kafka::KafkaConsumer),
}

/// Calls the consumer that was chosen.
macro_rules! delegate {
    ($self:ident, $consumer:ident => $call:expr) => {
        match $self {
            AnyConsumer::Embedded($consumer) => $call,
            AnyConsumer::Kafka($consumer) => $call,
        }
    };
}

impl Consumer for AnyConsumer {
    async fn poll(&mut self, wait: Duration) -> Result<Event> {
        delegate!(self, consumer => consumer.poll(wait).await)
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, Offset>) -> Result<Commit> {
        delegate!(self, consumer => consumer.commit(offsets).await)
    }

    fn pause(&mut self, paused: bool) {
        delegate!(self, consumer => consumer.pause(paused));
    }

    async fn watermarks(&mut self) -> Result<BTreeMap<Partition, Watermarks>> {
        delegate!(self, consumer => consumer.watermarks().await)
    }

    async fn committed(&mut self) -> Result<BTreeMap<Partition, Offset>> {
        delegate!(self, consumer => consumer.committed().await)
    }

    async fn close(self) -> Result<()> {
        delegate!(self, consumer => consumer.close().await)
    }
}
