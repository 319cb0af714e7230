//! Dead letters: why they are dead, and the way back for chosen ones.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Problem, SEARCH_MAX, Which, within};
use super::{App, Shared, messages};
use crate::error::{Error, Result};
use crate::inspect::letters::{self, Letters};
use crate::pipeline::replay::{DeadLetter, Fate, Replay, place};

/// Letters whose reasons are counted, the newest of them.
const COUNTED_MAX: u64 = 2_000;
/// Letters of one answer, unless it is asked for less.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 500;
/// Letters of one replay.
const CHOSEN_MAX: usize = 200;

/// `GET /api/dead-letters`
pub(super) async fn list(
    State(app): State<Shared>,
    headers: HeaderMap,
    which: Result<Query<Which>, QueryRejection>,
) -> Answer {
    app.asked();
    let Query(which) = which.map_err(|e| Problem::bad(e.body_text()))?;
    let reveals = app.reveals(which.reveal, &headers)?;
    app.stores.has_data()?;
    let found = within(SEARCH_MAX, async {
        let ledger = app.ledger_if_there().await?;
        letters::newest(&app.stores, &ledger, COUNTED_MAX).await
    })
    .await?;
    let Letters { total, reasons, letters, replayed } = found;
    let reasons = reasons.iter().map(|it| json!({ "stage": it.stage, "reason": it.reason, "count": it.count }));
    let limit = which.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let letter = |letter: &DeadLetter| {
        let is_replayed = replayed.as_ref().map(|replayed| replayed.contains(&place(letter)));
        document(letter, is_replayed, reveals)
    };
    Ok(Json(json!({
        "total": total,
        "counted": letters.len(),
        "reasons": reasons.collect::<Vec<_>>(),
        "letters": letters.iter().take(limit).map(letter).collect::<Vec<_>>(),
    })))
}

fn document(letter: &DeadLetter, is_replayed: Option<bool>, reveals: bool) -> Value {
    let source = letter
        .origin
        .as_ref()
        .map(|origin| json!({ "topic": origin.topic, "partition": origin.partition, "offset": origin.offset }));
    json!({
        "partition": letter.message.partition,
        "offset": letter.message.offset,
        "timestamp": letter.message.timestamp.to_string(),
        "time": letter.time,
        "stage": letter.stage,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "source": source,
        "key": messages::key(&letter.message, reveals),
        "value": messages::value(letter.message.value.as_deref(), reveals),
        "replays": letter.replays,
        "is_replayed": is_replayed,
    })
}

/// The letters to replay.
#[derive(Debug, Deserialize)]
struct Chosen {
    letters: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Place {
    partition: i32,
    offset: i64,
}

/// `POST /api/dead-letters/replay`
pub(super) async fn replay(State(app): State<Shared>, body: Bytes) -> Answer {
    let wrong = |e| Problem::bad(format!("the body is none of a replay: {e}"));
    let Chosen { mut letters } = serde_json::from_slice(&body).map_err(wrong)?;
    letters.sort_unstable();
    letters.dedup();
    if letters.len() > CHOSEN_MAX {
        return Err(Problem::bad(format!("at most {CHOSEN_MAX} letters are replayed at once"))
            .hint("'userpipe dead-letters replay' replays all of them"));
    }
    let places: Vec<_> = letters.iter().map(|place| (place.partition, place.offset)).collect();
    // A task of its own: a browser that goes in the middle leaves nothing sent and not noted.
    let task = tokio::spawn(async move { replay_all(&app, &places).await });
    match within(SEARCH_MAX, async { Ok::<_, Problem>(task.await) }).await? {
        Ok(replayed) => Ok(Json(replayed?)),
        Err(_) => Err(Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the replay ended by itself")),
    }
}

async fn replay_all(app: &App, places: &[(i32, i64)]) -> Result<Value, Error> {
    let _alone = app.replaying.lock().await;
    let found = letters::at(&app.stores, places).await?;
    let mut replay = Replay::begin(&app.stores, false).await?;
    let mut fates = replay.fates(&found).await?;
    let sent = replay.send(&mut fates).await;
    let is_sent = |fate: &Fate| matches!(fate, Fate::Sent(_));
    let replayed = fates.iter().filter(|(_, fate)| is_sent(fate)).count();
    tracing::info!("{replayed} dead letters were replayed on the dashboard");
    let why = |(partition, offset): &(i32, i64)| {
        let fate = fates.iter().find(|(letter, _)| place(letter) == (*partition, *offset)).map(|(_, fate)| *fate);
        let is_there = found.iter().any(|letter| place(letter) == (*partition, *offset));
        let why = match fate {
            Some(fate) if is_sent(&fate) => return None,
            Some(fate) => fate.name(false),
            None if is_there => "the bus did not take it",
            None => "it is not in the topic any more",
        };
        Some(json!({ "partition": partition, "offset": offset, "why": why }))
    };
    let skipped: Vec<_> = places.iter().filter_map(why).collect();
    sent?;
    Ok(json!({ "replayed": replayed, "skipped": skipped }))
}
