//! `dead-letters list`: reads only, and joins no group.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Context, KEY_CHARACTERS_MAX, key, origin, printable, unknown};
use crate::bus::{Offset, Partition, Reader};
use crate::cli::ListArgs;
use crate::error::Result;
use crate::inspect::DeadLetter;
use crate::ledger::{AnyLedger, Archive};
use crate::terminal::print;

pub(super) async fn run(args: ListArgs, context: &Context) -> Result<()> {
    let topic = context.stores.dead_letter_topic();
    let ledger = ledger(context).await;
    let mut reader = context.stores.reader(&topic).await?;
    let mut count = 0;
    loop {
        let page = reader.next().await?;
        if page.is_empty() {
            break;
        }
        count += page.len();
        let places: Vec<(Partition, Offset)> = page.iter().map(|letter| (letter.partition, letter.offset)).collect();
        let replayed = match &ledger {
            Some(ledger) => Some(ledger.replayed(&topic, &places).await?),
            None => None,
        };
        let mut lines = String::new();
        for (letter, place) in page.into_iter().map(DeadLetter::of).zip(places) {
            let replayed = replayed.as_ref().map(|replayed| replayed.contains(&place));
            let line = if args.json { object(&letter, replayed).to_string() } else { line(&letter, replayed) };
            lines.push_str(&line);
            lines.push('\n');
        }
        if !tokio::task::block_in_place(|| print(lines.as_bytes()))? {
            return Ok(());
        }
    }
    context.terminal.say(&format!("dead letters {count} in {}/{topic}", context.config().bus));
    Ok(())
}

/// The ledger, which knows what was replayed, where there is one. The list does not depend on it.
async fn ledger(context: &Context) -> Option<AnyLedger> {
    match context.stores.ledger_if_there().await {
        Ok(AnyLedger::Off) => None,
        Ok(ledger) => Some(ledger),
        Err(error) => {
            tracing::warn!("{error}; the list does not tell what was replayed");
            None
        }
    }
}

/// A letter on one line, for a person.
fn line(letter: &DeadLetter, replayed: Option<bool>) -> String {
    let (key, place) = (key(letter), origin(letter));
    let replays = format!("{}{}", letter.replays, if replayed == Some(true) { "+" } else { "" });
    let shown = |text: &Option<String>| text.as_deref().map_or_else(unknown, printable);
    let (stage, time, reason) = (shown(&letter.stage), shown(&letter.time), shown(&letter.reason));
    format!("{key:<KEY_CHARACTERS_MAX$}  {place:>10}  {stage:<6}  {time:<24}  {replays:<2}  {reason}")
}

/// A letter with everything that it holds, for a program.
fn object(letter: &DeadLetter, replayed: Option<bool>) -> Value {
    let message = &letter.message;
    let place = |partition: Partition, offset: Offset| json!({ "partition": partition, "offset": offset });
    let mut object = Map::new();
    insert_bytes(&mut object, "key", message.key.as_deref());
    insert_bytes(&mut object, "value", message.value.as_deref());
    let header = |(name, value): &(String, Option<bytes::Bytes>)| {
        let mut header = Map::from_iter([("name".to_owned(), json!(name))]);
        insert_bytes(&mut header, "value", value.as_deref());
        Value::Object(header)
    };
    let source = letter.origin.as_ref().map(|origin| {
        let mut source = place(origin.partition, origin.offset);
        source["topic"] = json!(origin.topic);
        source
    });
    object.extend([
        ("headers".to_owned(), message.headers.iter().map(header).collect()),
        ("timestamp".to_owned(), json!(message.timestamp.to_string())),
        ("dead_letter".to_owned(), place(message.partition, message.offset)),
        ("source".to_owned(), json!(source)),
        ("stage".to_owned(), json!(letter.stage)),
        ("error".to_owned(), json!(letter.reason)),
        ("attempts".to_owned(), json!(letter.attempts)),
        ("time".to_owned(), json!(letter.time)),
        ("replays".to_owned(), json!(letter.replays)),
        ("replayed".to_owned(), json!(replayed)),
    ]);
    Value::Object(object)
}

/// Bytes as text where they are UTF-8, else as `NAME_hex`, so that nothing is lost; null where there are none.
pub(in crate::commands) fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| str::from_utf8(bytes).map_err(|_| bytes)) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(bytes)) => object.insert(format!("{name}_hex"), json!(hex(bytes))),
    };
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_kept_in_another_field() {
        let mut object = Map::new();
        insert_bytes(&mut object, "key", Some(b"caf\xc3\xa9"));
        insert_bytes(&mut object, "value", Some(b"\xff\x00a"));
        insert_bytes(&mut object, "other", None);
        assert_eq!(Value::Object(object), json!({ "key": "café", "value_hex": "ff0061", "other": null }));
    }
}
