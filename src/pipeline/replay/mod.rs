//! Dead letters on their way back: which of them may be sent to the topic again, and the sending.
//!
//! What the bus has acknowledged is noted in the ledger, so that a second replay leaves it out. The note is made after
//! the acknowledgement, since the other order could lose a record: who dies in between sends it once more with the next
//! replay, which has no effect in the sink, where the same record is the same upsert.

mod letter;

use std::collections::HashSet;

use uuid::Uuid;

use crate::bus::{Ack, AnyProducer, Message, Offset, Outgoing, Partition, Producer, Sent};
use crate::encoding::{Codec, Prepared};
use crate::error::Result;
use crate::ledger::{AnyLedger, Archive};
use crate::pipeline::Stores;
use crate::record::Timestamp;

pub use letter::{DeadLetter, Origin};

/// Replays of one record, at the most: what came back so often has not been repaired.
pub const REPLAYS_MAX: u32 = 3;

/// What becomes of a letter that was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to the topic; where it is there, once that is known.
    Sent(Option<Ack>),
    /// An earlier replay has sent it.
    ReplayedBefore,
    /// It was read from another topic, or does not say where.
    OfAnotherTopic,
    /// The person was purged.
    Purged,
    /// It came back too often.
    Refused,
}

impl Fate {
    /// In a word or two; `is_dry` where nothing is sent.
    pub fn name(self, is_dry: bool) -> &'static str {
        match self {
            Fate::Sent(_) if is_dry => "would be sent",
            Fate::Sent(_) => "sent",
            Fate::ReplayedBefore => "replayed before",
            Fate::OfAnotherTopic => "of another topic",
            Fate::Purged => "purged",
            Fate::Refused => "refused",
        }
    }
}

/// Sends dead letters to the topic again.
#[derive(Debug)]
pub struct Replay<'a> {
    stores: &'a Stores,
    codec: Codec,
    ledger: AnyLedger,
    /// Of the dead letters.
    topic: String,
    /// To the records' own topic, connected when there is something to send.
    producer: Option<AnyProducer>,
}

impl<'a> Replay<'a> {
    /// Begins a replay. The ledger is made where it is missing, unless nothing is to be changed.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) without a ledger, and those of the ledger.
    pub async fn begin(stores: &'a Stores, is_dry: bool) -> Result<Self> {
        stores.config.ledger.required("a replay needs the ledger, which remembers what was replayed")?;
        let ledger = if is_dry { stores.ledger_if_there().await? } else { stores.ledger().await? };
        let codec = stores.codec().await?;
        Ok(Self { stores, codec, ledger, topic: stores.dead_letter_topic(), producer: None })
    }

    /// What is to become of each letter.
    ///
    /// # Errors
    /// Those of the ledger, and of the schema registry.
    pub async fn fates<'l>(&self, letters: &'l [DeadLetter]) -> Result<Vec<(&'l DeadLetter, Fate)>> {
        let places: Vec<(Partition, Offset)> = letters.iter().map(place).collect();
        let replayed = self.ledger.replayed(&self.topic, &places).await?;
        let codec = self.codec.prepare(letters.iter().filter_map(|letter| letter.message.value.as_deref())).await?;
        let ids: Vec<Vec<Uuid>> = letters.iter().map(|letter| ids(&codec, &letter.message)).collect();
        let purged: HashSet<Uuid> = self.ledger.suppressed_among(&ids.concat()).await?;
        let topic = &self.stores.config.topic;
        let fate = |(letter, ids): (&'l DeadLetter, Vec<Uuid>)| {
            let fate = if letter.origin.as_ref().is_none_or(|origin| origin.topic != *topic) {
                Fate::OfAnotherTopic
            } else if replayed.contains(&place(letter)) {
                Fate::ReplayedBefore
            } else if ids.iter().any(|id| purged.contains(id)) {
                Fate::Purged
            } else if letter.replays >= REPLAYS_MAX {
                Fate::Refused
            } else {
                Fate::Sent(None)
            };
            (letter, fate)
        };
        Ok(letters.iter().zip(ids).map(fate).collect())
    }

    /// Sends what is to be sent, and notes what the bus has acknowledged. What it has not is left out of `fates`.
    /// A letter whose sending failed is left out too.
    ///
    /// # Errors
    /// The first failure of the bus, else that of the ledger.
    pub async fn send(&mut self, fates: &mut Vec<(&DeadLetter, Fate)>) -> Result<()> {
        let codec = self.codec.clone();
        let chosen: Vec<&DeadLetter> =
            fates.iter().filter(|(_, fate)| matches!(fate, Fate::Sent(_))).map(|(letter, _)| *letter).collect();
        if chosen.is_empty() {
            return Ok(());
        }
        let codec = codec.prepare(chosen.iter().filter_map(|letter| letter.message.value.as_deref())).await?;
        let outgoing: Vec<Outgoing> = chosen.iter().map(|letter| letter.again(time(&codec, &letter.message))).collect();
        let Sent { acks, failure } = self.producer().await?.send(&outgoing).await;
        let mut answers = acks.iter();
        fates.retain_mut(|(_, fate)| match fate {
            Fate::Sent(ack) => {
                *ack = answers.next().copied().flatten();
                ack.is_some()
            }
            _ => true,
        });
        let sent: Vec<(Partition, Offset)> =
            chosen.iter().zip(&acks).filter(|(_, ack)| ack.is_some()).map(|(letter, _)| place(letter)).collect();
        let noted = self.ledger.mark_replayed(&self.topic, &sent).await.map_err(|error| {
            error.hint(format!("the last {} records were sent; the next replay sends them once more", sent.len()))
        });
        match failure {
            Some(failure) => Err(failure),
            None => noted,
        }
    }

    async fn producer(&mut self) -> Result<&AnyProducer> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.stores.producer(&self.stores.config.topic).await?,
        };
        Ok(self.producer.insert(producer))
    }
}

/// A letter's own place in the dead-letter topic.
pub fn place(letter: &DeadLetter) -> (Partition, Offset) {
    (letter.message.partition, letter.message.offset)
}

/// The persons that a record may be about: by its key, and by its value where that can be read.
fn ids(codec: &Prepared<'_>, message: &Message) -> Vec<Uuid> {
    let by_key = message.key.as_deref().and_then(|key| Uuid::try_parse_ascii(key).ok());
    let by_value = message.value.as_ref().and_then(|value| codec.decode(value, message.timestamp).ok());
    by_key.into_iter().chain(by_value.map(|user| user.id())).collect()
}

/// The time of a record that is sent again. Where the value says itself when it was written it is the present, since a
/// topic's retention counts from a record's time: an old one could be removed before it is read. Otherwise the record's
/// time is the time of the write, and stays.
fn time(codec: &Prepared<'_>, message: &Message) -> Timestamp {
    let now = Timestamp::now();
    let written = |sent_at| codec.decode(message.value.as_ref()?, sent_at).ok().map(|user| user.timestamp());
    match (written(now), written(message.timestamp)) {
        (Some(one), Some(other)) if one == other => now,
        _ => message.timestamp,
    }
}
