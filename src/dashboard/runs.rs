//! The runs and the schedule: what happened, and what is to happen.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Answer, CALL_MAX, Problem, within};
use super::{App, Shared};
use crate::error::Result;
use crate::ledger::{Archive, LogLine, Run, Runs};
use crate::record::Timestamp;
use crate::run_log::{self, Line};

/// Runs of one answer, unless it is asked for less.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 500;

/// Which runs.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    limit: Option<usize>,
    before: Option<Uuid>,
}

/// `GET /api/runs`
pub(super) async fn list(State(app): State<Shared>, which: Result<Query<Which>, QueryRejection>) -> Answer {
    app.asked();
    let Query(which) = which.map_err(|e| Problem::bad(e.body_text()))?;
    let limit = which.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let (runs, paused) = within(CALL_MAX, async {
        let ledger = app.ledger_if_there().await?;
        Ok::<_, crate::error::Error>((ledger.runs(which.before, limit).await?, ledger.paused_since().await?))
    })
    .await?;
    let schedule = app.process.schedule.as_ref();
    let next = schedule.filter(|_| paused.is_none()).and_then(|(_, timetable)| timetable.next(Timestamp::now()));
    Ok(Json(json!({
        "schedule": schedule.map(|(words, _)| words),
        "is_paused": paused.is_some(),
        "paused_since": paused.map(|at| at.to_string()),
        "next_at": next.map(|at| at.to_string()),
        "runs": runs.iter().map(Run::document).collect::<Vec<_>>(),
    })))
}

/// `GET /api/runs/ID`
pub(super) async fn show(State(app): State<Shared>, Path(id): Path<String>) -> Answer {
    app.asked();
    let id = uuid(&id)?;
    let found = within(CALL_MAX, async {
        let ledger = app.ledger_if_there().await?;
        Ok::<_, crate::error::Error>(match ledger.run(id).await? {
            Some(run) => Some((run, ledger.log(id).await?)),
            None => None,
        })
    })
    .await?;
    let (run, log) = found.ok_or_else(|| Problem::absent(format!("there is no run {id}")))?;
    let line = |line: &LogLine| json!({ "at": line.at.to_string(), "level": line.level, "message": line.text });
    let mut document = run.document();
    // The ledger has the log when the run ends; until then the process that runs it has.
    let going = |line: &Line| json!({ "at": line.at.to_string(), "level": line.level.as_str(), "message": line.text });
    document["log"] = match run.finished_at {
        None => run_log::so_far(id).iter().map(going).collect(),
        Some(_) => log.iter().map(line).collect(),
    };
    Ok(Json(document))
}

/// An id of a run or a user.
pub(super) fn uuid(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text.trim()).map_err(|_| Problem::bad("that is no id").hint("an id is a UUID"))
}

/// `POST /api/runs/trigger`
pub(super) async fn trigger(State(app): State<Shared>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    // Nothing can be chosen: a run is as the schedule has it. A body is taken all the same, if it is JSON.
    if !body.is_empty() && serde_json::from_slice::<Value>(&body).is_err() {
        return Err(Problem::bad("the body is no JSON"));
    }
    let run_id = within(CALL_MAX, async { app.ledger().await?.request_run().await }).await?;
    app.wake.notify_one();
    tracing::info!(%run_id, "a run was asked for on the dashboard");
    Ok((StatusCode::ACCEPTED, Json(json!({ "run_id": run_id }))))
}

/// `POST /api/schedule/pause`
pub(super) async fn pause(State(app): State<Shared>) -> Answer {
    set_paused(&app, true).await
}

/// `POST /api/schedule/resume`
pub(super) async fn resume(State(app): State<Shared>) -> Answer {
    set_paused(&app, false).await
}

async fn set_paused(app: &App, is_paused: bool) -> Answer {
    within(CALL_MAX, async { app.ledger().await?.set_paused(is_paused).await }).await?;
    app.wake.notify_one();
    tracing::info!("the schedule was {} on the dashboard", if is_paused { "paused" } else { "resumed" });
    Ok(Json(json!({ "is_paused": is_paused })))
}
