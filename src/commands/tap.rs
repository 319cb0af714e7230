//! `tap`: a sample of the records that pass, until Ctrl-C. Fields of persons are shown as they are.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Context;
use super::dead_letters::insert_bytes;
use crate::bus::Message;
use crate::cli::{Hop, TapArgs};
use crate::encoding::Prepared;
use crate::error::{Error, Kind, Result};
use crate::inspect::DeadLetter;
use crate::inspect::tap::{LOOK_INTERVAL, Tap};
use crate::terminal::print;

pub(super) async fn run(args: TapArgs, context: &Context) -> Result<()> {
    let topic = match args.hop {
        Hop::Bus => context.config().topic.clone(),
        Hop::DeadLetters => context.stores.dead_letter_topic(),
    };
    let codec = context.stores.codec().await?;
    let mut tap = Tap::open(&context.stores, topic.clone(), args.rate.per_second()).await?;
    // The dead-letter topic comes with the first letter.
    if args.hop == Hop::Bus && !tap.has_topic() {
        return Err(Error::new(Kind::Config, format!("there is no topic {topic}"))
            .hint("create it with 'userpipe init-schema', or check --topic"));
    }
    context.terminal.say(&format!("records that pass on {}/{topic} from now on; Ctrl-C ends", context.config().bus));
    let mut shown = 0;
    let mut is_away = false;
    let mut due = tokio::time::interval(LOOK_INTERVAL);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while args.count.is_none_or(|count| shown < count) {
        let looked = async {
            due.tick().await;
            tap.next(args.count.map_or(u64::MAX, |count| count - shown)).await
        };
        let looked = tokio::select! {
            () = context.shutdown.cancelled() => break,
            looked = looked => looked,
        };
        let messages = match looked {
            Ok(messages) => messages,
            // The bus is away, or retention was quicker than the reader: there will be other records.
            Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Failed) => {
                if !is_away {
                    tracing::warn!("{error}; looking again");
                }
                is_away = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        is_away = false;
        let mut lines = String::new();
        let prepared = codec.prepare(messages.iter().filter_map(|message| message.value.as_deref())).await;
        let prepared = prepared.unwrap_or_else(|error| {
            tracing::warn!("{error}; values under schemas are shown as they are");
            codec.unprepared()
        });
        for message in &messages {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{}", object(args.hop, message, &prepared));
        }
        shown += messages.len() as u64;
        if !lines.is_empty() && !tokio::task::block_in_place(|| print(lines.as_bytes()))? {
            return Ok(());
        }
    }
    context.terminal.say(&format!("shown {shown} of {} records that passed", tap.passed()));
    tap.close().await;
    Ok(())
}

/// A record on one line; its value as an object where it is one, or a user under a schema.
fn object(hop: Hop, message: &Message, codec: &Prepared<'_>) -> Value {
    let mut object = Map::new();
    object.extend([
        ("partition".to_owned(), json!(message.partition)),
        ("offset".to_owned(), json!(message.offset)),
        ("timestamp".to_owned(), json!(message.timestamp.to_string())),
    ]);
    insert_bytes(&mut object, "key", message.key.as_deref());
    let value = message.value.as_ref();
    if let Some((id, user)) = value.and_then(|value| codec.under_schema(value, message.timestamp)) {
        object.extend([("schema_id".to_owned(), json!(id)), ("value".to_owned(), json!(user))]);
    } else if let Some(Ok(document)) = value.map(|value| serde_json::from_slice(value)) {
        object.insert("value".to_owned(), Value::Object(document));
    } else {
        insert_bytes(&mut object, "value", message.value.as_deref());
    }
    if hop == Hop::DeadLetters {
        let letter = DeadLetter::of(message.clone());
        object.insert("stage".to_owned(), json!(letter.stage));
        object.insert("error".to_owned(), json!(letter.reason));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::encoding::Codec;
    use crate::record::Timestamp;

    #[test]
    fn a_value_is_an_object_where_it_is_one_and_loses_nothing_where_not() {
        let timestamp = Timestamp::from_unix_ms(0).expect("in range");
        let shown = |value: Option<&'static [u8]>| {
            let value = value.map(Bytes::from_static);
            let message = Message { partition: 1, offset: 2, timestamp, key: None, value, headers: Vec::new() };
            object(Hop::Bus, &message, &Codec::default().unprepared())
        };
        let rest = json!({ "partition": 1, "offset": 2, "timestamp": "1970-01-01T00:00:00.000Z", "key": null });
        for (value, name, expected) in [
            (Some(&b"{\"a\": 1}"[..]), "value", json!({ "a": 1 })),
            (Some(b"12"), "value", json!("12")),
            (Some(b"\xff"), "value_hex", json!("ff")),
            (None, "value", Value::Null),
        ] {
            let mut whole = rest.clone();
            whole[name] = expected;
            assert_eq!(shown(value), whole);
        }
    }
}
