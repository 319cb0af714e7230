//! `dead-letters replay`: sends records to the topic again that became dead letters, after a fix.
//!
//! What the bus has acknowledged is noted in the ledger, so that a second replay leaves it out. The note is made after
//! the acknowledgement, since the other order could lose a record: who dies in between sends it once more with the next
//! replay, which has no effect in the sink, where the same record is the same upsert.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::list::insert_bytes;
use super::{Context, KEY_CHARACTERS_MAX, key, origin};
use crate::bus::{Ack, AnyProducer, Message, Offset, Outgoing, Partition, Producer, Reader, Sent};
use crate::cli::ReplayArgs;
use crate::encoding::Prepared;
use crate::error::{Error, Kind, Result};
use crate::inspect::DeadLetter;
use crate::ledger::{AnyLedger, Archive};
use crate::record::Timestamp;
use crate::terminal::print;

/// Replays of one record, at the most: what came back so often has not been repaired.
const REPLAYS_MAX: u32 = 3;

/// What becomes of a letter that was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
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
    fn name(self, is_dry: bool) -> &'static str {
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

/// How many letters met which fate.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    replayed_before: u64,
    of_another_topic: u64,
    purged: u64,
    refused: u64,
}

impl Counts {
    fn add(&mut self, fate: Fate) {
        *match fate {
            Fate::Sent(_) => &mut self.sent,
            Fate::ReplayedBefore => &mut self.replayed_before,
            Fate::OfAnotherTopic => &mut self.of_another_topic,
            Fate::Purged => &mut self.purged,
            Fate::Refused => &mut self.refused,
        } += 1;
    }

    /// `sent 90 · refused 1`, what did not happen left out.
    fn words(&self, is_dry: bool) -> String {
        let sent = (Fate::Sent(None).name(is_dry), self.sent);
        let others = [
            (Fate::ReplayedBefore, self.replayed_before),
            (Fate::OfAnotherTopic, self.of_another_topic),
            (Fate::Purged, self.purged),
            (Fate::Refused, self.refused),
        ];
        let others = others.into_iter().filter(|(_, count)| *count > 0);
        let all = std::iter::once(sent).chain(others.map(|(fate, count)| (fate.name(is_dry), count)));
        all.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(" · ")
    }
}

pub(super) async fn run(args: &ReplayArgs, context: &Context) -> Result<()> {
    let ledger = ledger(args, context).await?;
    let topic = context.stores.dead_letter_topic();
    let mut replay = Replay { args, context, ledger, topic, producer: None, counts: Counts::default() };
    let done = replay.all().await;
    let place = context.bus_and_topic();
    context.terminal.say(&format!("{} to {place}", replay.counts.words(args.dry_run)));
    if replay.counts.refused > 0 {
        tracing::warn!(
            "refused {} records that were replayed {REPLAYS_MAX} times and came back each time: they are not repaired",
            replay.counts.refused
        );
    }
    done
}

/// The ledger, made where it is missing unless nothing is to be changed.
async fn ledger(args: &ReplayArgs, context: &Context) -> Result<AnyLedger> {
    context.config().ledger.required("a replay needs the ledger, which remembers what was replayed")?;
    if args.dry_run { context.stores.ledger_if_there().await } else { context.stores.ledger().await }
}

/// One replay on its way.
struct Replay<'a> {
    args: &'a ReplayArgs,
    context: &'a Context,
    ledger: AnyLedger,
    /// Of the dead letters.
    topic: String,
    /// To the records' own topic, connected when there is something to send.
    producer: Option<AnyProducer>,
    counts: Counts,
}

impl Replay<'_> {
    /// Replays the letters that are there now, a page at a time.
    async fn all(&mut self) -> Result<()> {
        let mut reader = self.context.stores.reader(&self.topic).await?;
        let mut is_read = true;
        loop {
            if self.context.shutdown.is_cancelled() {
                return Err(Error::new(Kind::Incomplete, "stopped before the last dead letter")
                    .hint("start it again: what was replayed is remembered"));
            }
            let page = reader.next().await?;
            if page.is_empty() {
                return Ok(());
            }
            let letters: Vec<DeadLetter> = page.into_iter().map(DeadLetter::of).collect();
            let letters: Vec<DeadLetter> =
                letters.into_iter().filter(|letter| is_selected(letter, self.args)).collect();
            let mut fates = self.fates(&letters).await?;
            let sent = if self.args.dry_run { Ok(()) } else { self.send(&mut fates).await };
            for (_, fate) in &fates {
                self.counts.add(*fate);
            }
            let lines: String = fates.iter().map(|(letter, fate)| self.line(letter, *fate)).collect();
            // A reader that has gone has seen what it wanted; the rest is replayed all the same.
            is_read = is_read && tokio::task::block_in_place(|| print(lines.as_bytes()))?;
            sent?;
        }
    }

    /// What is to become of each letter.
    async fn fates<'l>(&self, letters: &'l [DeadLetter]) -> Result<Vec<(&'l DeadLetter, Fate)>> {
        let places: Vec<(Partition, Offset)> = letters.iter().map(place).collect();
        let replayed = self.ledger.replayed(&self.topic, &places).await?;
        let codec = self.context.stores.codec().await?;
        let codec = codec.prepare(letters.iter().filter_map(|letter| letter.message.value.as_deref())).await?;
        let ids: Vec<Vec<Uuid>> = letters.iter().map(|letter| ids(&codec, &letter.message)).collect();
        let purged: HashSet<Uuid> = self.ledger.suppressed_among(&ids.concat()).await?;
        let topic = &self.context.config().topic;
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
    async fn send(&mut self, fates: &mut Vec<(&DeadLetter, Fate)>) -> Result<()> {
        let codec = self.context.stores.codec().await?;
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
            None => self.context.stores.producer(&self.context.config().topic).await?,
        };
        Ok(self.producer.insert(producer))
    }

    fn line(&self, letter: &DeadLetter, fate: Fate) -> String {
        let name = fate.name(self.args.dry_run);
        if self.args.json {
            return format!("{}\n", object(letter, fate, name));
        }
        let (key, from) = (key(letter), origin(letter));
        let to = match fate {
            Fate::Sent(Some(ack)) => format!(" to {}:{}", ack.partition, ack.offset),
            _ => String::new(),
        };
        format!("{key:<KEY_CHARACTERS_MAX$}  {from:>10}  {name}{to}\n")
    }
}

fn object(letter: &DeadLetter, fate: Fate, name: &str) -> Value {
    let place = |partition: Partition, offset: Offset| json!({ "partition": partition, "offset": offset });
    let mut object = Map::new();
    insert_bytes(&mut object, "key", letter.message.key.as_deref());
    let sent_to = match fate {
        Fate::Sent(Some(ack)) => place(ack.partition, ack.offset),
        _ => Value::Null,
    };
    object.extend([
        ("dead_letter".to_owned(), place(letter.message.partition, letter.message.offset)),
        ("fate".to_owned(), json!(name)),
        ("sent_to".to_owned(), sent_to),
        ("replays".to_owned(), json!(letter.replays)),
        ("error".to_owned(), json!(letter.reason)),
    ]);
    Value::Object(object)
}

/// A letter's own place in the dead-letter topic.
fn place(letter: &DeadLetter) -> (Partition, Offset) {
    (letter.message.partition, letter.message.offset)
}

fn is_selected(letter: &DeadLetter, args: &ReplayArgs) -> bool {
    let key = letter.message.key.as_deref().map(String::from_utf8_lossy);
    let has_id = args.id.is_empty() || key.is_some_and(|key| args.id.iter().any(|id| key.eq_ignore_ascii_case(id)));
    let has_reason = |text: &String| letter.reason.as_ref().is_some_and(|reason| reason.contains(text));
    has_id && args.reason.as_ref().is_none_or(has_reason)
}

/// The persons that a record may be about: by its key, and by its value where that can be read.
fn ids(codec: &Prepared<'_>, message: &Message) -> Vec<Uuid> {
    let by_key = message.key.as_deref().and_then(|key| Uuid::try_parse_ascii(key).ok());
    let by_value = message.value.as_deref().and_then(|value| codec.decode(value, message.timestamp).ok());
    by_key.into_iter().chain(by_value.map(|user| user.id)).collect()
}

/// The time of a record that is sent again. Where the value says itself when it was written it is the present, since a
/// topic's retention counts from a record's time: an old one could be removed before it is read. Otherwise the record's
/// time is the time of the write, and stays.
fn time(codec: &Prepared<'_>, message: &Message) -> Timestamp {
    let now = Timestamp::now();
    let written = |sent_at| codec.decode(message.value.as_deref()?, sent_at).ok().map(|user| user.timestamp);
    match (written(now), written(message.timestamp)) {
        (Some(one), Some(other)) if one == other => now,
        _ => message.timestamp,
    }
}
