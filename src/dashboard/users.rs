//! Users: those that came last, each read back from the sink, and all that is known of one.

use std::collections::HashMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::answer::{Answer, CALL_MAX, Problem, SEARCH_MAX, Which, within};
use super::{Shared, mask, runs};
use crate::error::Result;
use crate::inspect::trace;
use crate::inspect::users::{self, Sent};
use crate::record::Timestamp;

/// Users of one answer, unless it is asked for another number.
const LIMIT: usize = 25;
const LIMIT_MAX: usize = 200;

/// `GET /api/users`
pub(super) async fn newest(
    State(app): State<Shared>,
    headers: HeaderMap,
    which: Result<Query<Which>, QueryRejection>,
) -> Answer {
    app.asked();
    let Query(which) = which.map_err(|e| Problem::bad(e.body_text()))?;
    let reveals = app.reveals(which.reveal, &headers)?;
    app.stores.has_data()?;
    let limit = which.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let sent = within(CALL_MAX, users::newest(&app.stores, limit)).await?;
    let ids: Vec<_> = sent.iter().map(|sent| sent.user.id()).collect();
    // Without the sink the users are shown all the same.
    let rows = within(CALL_MAX, app.rows.find(&app.stores, &ids)).await;
    let document = |sent: &Sent| {
        let row = rows.as_ref().ok().map(|rows| rows.get(&sent.user.id()));
        let written = row.flatten().copied().flatten();
        json!({
            "id": sent.user.id(),
            "record": record(sent, reveals),
            "sent_at": sent.at.to_string(),
            "in_sink": row.map(|row| row.is_some()),
            "row_timestamp": written.map(|at| at.to_string()),
            "lag_ms": written.map(|at| lag_ms(sent, at)),
        })
    };
    Ok(Json(json!({
        "users": sent.iter().map(document).collect::<Vec<_>>(),
        "sink_error": rows.as_ref().err().map(Problem::body),
    })))
}

/// How much older the record in the row is than the newest one on the topic.
fn lag_ms(sent: &Sent, row: Timestamp) -> i64 {
    (sent.user.timestamp().unix_ms() - row.unix_ms()).max(0)
}

fn record(sent: &Sent, reveals: bool) -> Value {
    match serde_json::to_value(&sent.user) {
        Ok(Value::Object(record)) if reveals => Value::Object(record),
        Ok(Value::Object(record)) => Value::Object(mask::object(&record)),
        _ => Value::Null,
    }
}

/// `GET /api/users/ID`
pub(super) async fn one(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    which: Result<Query<Which>, QueryRejection>,
) -> Answer {
    app.asked();
    let Query(which) = which.map_err(|e| Problem::bad(e.body_text()))?;
    let (id, reveals) = (runs::uuid(&id)?, app.reveals(which.reveal, &headers)?);
    app.stores.has_data()?;
    let stored = async {
        let ledger = app.ledger_if_there().await?;
        users::is_stored(&ledger, id).await
    };
    let ids = [id];
    let (sent, rows, stored) = tokio::join!(
        within(SEARCH_MAX, users::find(&app.stores, id)),
        within(CALL_MAX, app.rows.find(&app.stores, &ids)),
        within(CALL_MAX, stored),
    );
    // What a store that is away would have told is unknown; the others tell all the same.
    let rows: Option<HashMap<_, _>> = rows.ok();
    let written = rows.as_ref().and_then(|rows| rows.get(&id).copied().flatten());
    Ok(Json(json!({
        "id": id,
        "record": sent.ok().flatten().map(|sent| record(&sent, reveals)),
        "in_sink": rows.map(|rows| rows.contains_key(&id)),
        "row_timestamp": written.map(|at| at.to_string()),
        "ledger": stored.ok().flatten(),
    })))
}

/// `GET /api/trace/ID`
pub(super) async fn trace(State(app): State<Shared>, Path(id): Path<String>) -> Answer {
    app.asked();
    let id = runs::uuid(&id)?;
    app.stores.has_data()?;
    let place = app.reads.try_acquire().map_err(|_| Problem::busy("too many scans are going on"))?;
    let rules = app.rules().await?;
    let traced = within(SEARCH_MAX, Box::pin(trace::trace(&app.stores, rules, id))).await?;
    drop(place);
    Ok(Json(traced.document()))
}
