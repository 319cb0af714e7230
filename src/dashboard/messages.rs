//! Messages: a scan of a topic from somewhere on, and what comes to it from now on.
//!
//! Each is a task that reads while the browser takes what it sends: it waits where the browser is slow, and ends where it
//! has gone. No more than a few read at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::Event;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use uuid::Uuid;

use super::answer::{CALL_MAX, Problem};
use super::events::{Events, event, of_task};
use super::{App, Shared, mask};
use crate::bus::{Header, Message};
use crate::encoding::{Codec, Prepared};
use crate::error::Result;
use crate::inspect::DeadLetter;
use crate::inspect::scan::{self, Scan};
use crate::inspect::tap::{LOOK_INTERVAL, Tap};
use crate::record::User;

/// Where a scan begins unless it is told.
const FROM: &str = "-200";
/// Messages that a scan shows.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// Limit for one scan.
const SCAN_MAX: Duration = Duration::from_mins(10);
/// Between two events that tell how far a scan is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Messages of a tail a second.
const TAIL_PER_SECOND: f64 = 20.0;
/// Events that wait for the browser.
const EVENTS_MAX: usize = 32;
/// A longer value is told by its length.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Which topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Topic {
    #[default]
    Bus,
    DeadLetters,
}

impl Topic {
    fn name(self, app: &App) -> String {
        match self {
            Self::Bus => app.process.config.topic.clone(),
            Self::DeadLetters => app.stores.dead_letter_topic(),
        }
    }
}

/// What to scan for.
#[derive(Debug, Deserialize)]
pub(super) struct ScanQuery {
    #[serde(default)]
    topic: Topic,
    from: Option<String>,
    partition: Option<String>,
    key: Option<String>,
    text: Option<String>,
    limit: Option<usize>,
    reveal: Option<bool>,
}

/// What to follow.
#[derive(Debug, Deserialize)]
pub(super) struct TailQuery {
    #[serde(default)]
    topic: Topic,
    reveal: Option<bool>,
}

/// How a message is shown.
#[derive(Clone, Debug)]
pub(super) struct Show {
    pub(super) topic: String,
    pub(super) is_letter: bool,
    pub(super) reveals: bool,
}

/// `GET /api/messages/scan`
pub(super) async fn scan(
    State(app): State<Shared>,
    headers: HeaderMap,
    query: Result<Query<ScanQuery>, QueryRejection>,
) -> Result<Events, Problem> {
    let Query(asked) = query.map_err(|e| Problem::bad(e.body_text()))?;
    let reveals = app.reveals(asked.reveal, &headers)?;
    let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let from = given(asked.from).unwrap_or_else(|| FROM.to_owned()).parse::<scan::From>()?;
    let partition = given(asked.partition).map(|text| text.parse::<i32>());
    let partition = partition.transpose().map_err(|_| Problem::bad("a partition is a number"))?;
    let topic = asked.topic.name(&app);
    let show = Show { topic: topic.clone(), is_letter: asked.topic == Topic::DeadLetters, reveals };
    let query = scan::Query { topic, from, partition, key: given(asked.key), text: given(asked.text) };
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    start(&app, async move |app, events| {
        let work = scan_all(&app, query, limit, &show, &events);
        let failure = match tokio::time::timeout(SCAN_MAX, work).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Problem::from(error),
            Err(_) => Problem::bad("the scan took too long").hint("begin later, with -N or @TIME"),
        };
        // Who has gone need not be told.
        let _ = events.send(event("error", &failure.body())).await;
    })
}

/// Begins a task that sends events, in one of the places for readers of topics.
fn start<F>(app: &Shared, work: impl FnOnce(Shared, mpsc::Sender<Event>) -> F) -> Result<Events, Problem>
where
    F: Future<Output = ()> + Send + 'static,
{
    app.asked();
    let busy = |_| Problem::busy("too many scans are going on");
    let place: OwnedSemaphorePermit = Arc::clone(&app.reads).try_acquire_owned().map_err(busy)?;
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    let (stop, gone) = (app.stop.clone(), sender.clone());
    let work = work(Arc::clone(app), sender);
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = stop.cancelled() => {}
            // The browser has closed the stream, which cancels the work wherever it is.
            () = gone.closed() => tracing::debug!("a reader of messages has gone"),
            () = work => {}
        }
    });
    Ok(of_task(receiver, app.stop.clone()))
}

async fn scan_all(
    app: &App,
    query: scan::Query,
    limit: usize,
    show: &Show,
    events: &mpsc::Sender<Event>,
) -> Result<()> {
    let codec = app.stores.codec().await?;
    let mut scan = Scan::begin(&app.stores, query).await?;
    let (mut matched, mut is_cut) = (0, false);
    let progress = |scan: &Scan| event("progress", &json!({ "scanned": scan.scanned, "total": scan.total }));
    let mut told = Instant::now();
    let _ = events.send(progress(&scan)).await;
    'pages: while let Some(messages) = scan.next().await? {
        let codec = prepared(&codec, &messages).await;
        for message in messages {
            if matched == limit {
                is_cut = true;
                break 'pages;
            }
            matched += 1;
            let _ = events.send(event("message", &document(&codec, show, &message))).await;
        }
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            let _ = events.send(progress(&scan)).await;
        }
        // A page is a bounded piece of work; others have their turn between two.
        tokio::task::yield_now().await;
    }
    let done = json!({ "scanned": scan.scanned, "matched": matched, "is_cut": is_cut });
    let _ = events.send(event("done", &done)).await;
    scan.close().await;
    Ok(())
}

/// `GET /api/messages/tail`
pub(super) async fn tail(
    State(app): State<Shared>,
    headers: HeaderMap,
    query: Result<Query<TailQuery>, QueryRejection>,
) -> Result<Events, Problem> {
    let Query(asked) = query.map_err(|e| Problem::bad(e.body_text()))?;
    let reveals = app.reveals(asked.reveal, &headers)?;
    let topic = asked.topic.name(&app);
    let show = Show { topic, is_letter: asked.topic == Topic::DeadLetters, reveals };
    start(&app, async move |app, events| {
        if let Err(error) = follow(&app, &show, &events).await {
            let _ = events.send(event("error", &Problem::from(error).body())).await;
        }
    })
}

/// Sends what comes, until the browser has gone; an outage is told and waited for.
async fn follow(app: &App, show: &Show, events: &mpsc::Sender<Event>) -> Result<()> {
    app.stores.has_data()?;
    let codec = app.stores.codec().await?;
    let mut tap = Tap::open(&app.stores, show.topic.clone(), TAIL_PER_SECOND).await?;
    let (mut shown, mut told) = (0_u64, None);
    let mut due = tokio::time::interval(LOOK_INTERVAL);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        app.asked();
        let messages = match tap.next(u64::MAX).await {
            Ok(messages) => messages,
            Err(error) => {
                let _ = events.send(event("away", &Problem::from(error).body())).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let codec = prepared(&codec, &messages).await;
        for message in &messages {
            let _ = events.send(event("message", &document(&codec, show, message))).await;
        }
        shown += messages.len() as u64;
        // It is sent once at the start too, so that the browser knows that the tail has begun.
        let skipped = tap.passed().saturating_sub(shown);
        if told != Some(skipped) {
            told = Some(skipped);
            let _ = events.send(event("skipped", &json!({ "skipped": skipped }))).await;
        }
    }
}

/// The codec with the schemas of these messages. Where the registry cannot be asked, they are shown all the same: as values
/// whose schema is not known.
async fn prepared<'c>(codec: &'c Codec, messages: &[Message]) -> Prepared<'c> {
    let values = messages.iter().filter_map(|message| message.value.as_deref());
    match tokio::time::timeout(CALL_MAX, codec.prepare(values)).await {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(_)) | Err(_) => codec.unprepared(),
    }
}

/// A message as JSON. What has a schema is shown as the record that it is.
pub(super) fn document(codec: &Prepared<'_>, show: &Show, message: &Message) -> Value {
    let decoded = message.value.as_ref().map(|value| codec.decode(value, message.timestamp));
    let record = match (&decoded, message.value.as_deref()) {
        (Some(Ok(user)), Some([0, ..])) => Some(Codec::default().encode(user)),
        _ => None,
    };
    let by_key = message.key.as_deref().and_then(|key| Uuid::try_parse_ascii(key).ok());
    let id = by_key.or_else(|| decoded.as_ref()?.as_ref().ok().map(User::id));
    let reason = if show.is_letter {
        DeadLetter::of(message.clone()).reason
    } else {
        decoded.and_then(std::result::Result::err)
    };
    json!({
        "topic": show.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp.to_string(),
        "key": key(message, show.reveals),
        "id": id,
        "value": value(record.as_deref().or(message.value.as_deref()), show.reveals),
        "headers": message.headers.iter().map(|header| shown_header(header, show.reveals)).collect::<Vec<_>>(),
        "value_bytes": message.value.as_ref().map(bytes::Bytes::len),
        "reason": reason,
    })
}

/// An id is no personal field; another program's key may be one.
pub(super) fn key(message: &Message, reveals: bool) -> Option<String> {
    let key = message.key.as_deref()?;
    let text = String::from_utf8_lossy(key).into_owned();
    let is_open = reveals || Uuid::try_parse_ascii(key).is_ok();
    Some(if is_open { text } else { mask::text(&text) })
}

/// A value: an object where it is one, else text; masked unless it is to be revealed.
pub(super) fn value(value: Option<&[u8]>, reveals: bool) -> Value {
    let Some(bytes) = value else { return Value::Null };
    if bytes.len() > VALUE_BYTES_MAX {
        return json!(format!("{} bytes, which are too many to show", bytes.len()));
    }
    match (serde_json::from_slice::<Map<String, Value>>(bytes), str::from_utf8(bytes)) {
        (Ok(object), _) if reveals => Value::Object(object),
        (Ok(object), _) => Value::Object(mask::object(&object)),
        (Err(_), Ok(text)) if reveals => json!(text),
        // Half a record may name a person too.
        (Err(_), Ok(text)) => json!(mask::text(text)),
        (Err(_), Err(_)) => json!(format!("{} bytes that are no text", bytes.len())),
    }
}

fn shown_header((name, value): &Header, reveals: bool) -> Value {
    let text = value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned());
    let is_ours = name.starts_with("userpipe.");
    json!([name, text.map(|text| if reveals || is_ours { text } else { mask::text(&text) })])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_masked_unless_it_is_to_be_revealed() {
        let user = br#"{"id": "1", "email": "a@b.c"}"#;
        assert_eq!(value(Some(user), false), json!({ "id": "1", "email": "a•••" }));
        assert_eq!(value(Some(user), true), json!({ "id": "1", "email": "a@b.c" }));
        let half = br#"{"email": "a@b"#;
        assert_eq!(value(Some(half), false), json!("•••"), "half a record");
        assert_eq!(value(Some(half), true), json!(r#"{"email": "a@b"#));
        assert_eq!(value(Some(b"\xff\x00"), true), json!("2 bytes that are no text"));
        assert_eq!(value(None, false), Value::Null);
        let long = vec![b'x'; VALUE_BYTES_MAX + 1];
        assert_eq!(value(Some(&long), true), json!("65537 bytes, which are too many to show"));
    }

    #[test]
    fn headers_of_other_programs_are_masked() {
        let shown = |name: &str, text: &'static str| {
            shown_header(&(name.to_owned(), Some(bytes::Bytes::from_static(text.as_bytes()))), false)
        };
        assert_eq!(shown("userpipe.error", "email: missing"), json!(["userpipe.error", "email: missing"]));
        assert_eq!(shown("who", "ann"), json!(["who", "a•••"]));
        assert_eq!(shown_header(&("null".to_owned(), None), false), json!(["null", null]));
    }
}
