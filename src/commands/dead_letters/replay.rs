//! `dead-letters replay`: sends records to the topic again that became dead letters, after a fix.

use serde_json::{Map, Value, json};

use super::list::insert_bytes;
use super::{Context, KEY_CHARACTERS_MAX, key, origin};
use crate::bus::{Offset, Partition, Reader};
use crate::cli::ReplayArgs;
use crate::error::{Error, Kind, Result};
use crate::pipeline::replay::{DeadLetter, Fate, REPLAYS_MAX, Replay};
use crate::terminal::print;

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
    let replay = Replay::begin(&context.stores, args.dry_run).await?;
    let mut replay = Printed { args, context, replay, counts: Counts::default() };
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

/// One replay on its way.
struct Printed<'a> {
    args: &'a ReplayArgs,
    context: &'a Context,
    replay: Replay<'a>,
    counts: Counts,
}

impl Printed<'_> {
    /// Replays the letters that are there now, a page at a time.
    async fn all(&mut self) -> Result<()> {
        let mut reader = self.context.stores.reader(&self.context.stores.dead_letter_topic()).await?;
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
            let mut fates = self.replay.fates(&letters).await?;
            let sent = if self.args.dry_run { Ok(()) } else { self.replay.send(&mut fates).await };
            for (_, fate) in &fates {
                self.counts.add(*fate);
            }
            let lines: String = fates.iter().map(|(letter, fate)| self.line(letter, *fate)).collect();
            // A reader that has gone has seen what it wanted; the rest is replayed all the same.
            is_read = is_read && tokio::task::block_in_place(|| print(lines.as_bytes()))?;
            sent?;
        }
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

fn is_selected(letter: &DeadLetter, args: &ReplayArgs) -> bool {
    let key = letter.message.key.as_deref().map(String::from_utf8_lossy);
    let has_id = args.id.is_empty() || key.is_some_and(|key| args.id.iter().any(|id| key.eq_ignore_ascii_case(id)));
    let has_reason = |text: &String| letter.reason.as_ref().is_some_and(|reason| reason.contains(text));
    has_id && args.reason.as_ref().is_none_or(has_reason)
}
