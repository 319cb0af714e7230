//! Verifying on request: one at a time, and the result is in the header.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::Problem;
use super::{App, Shared, locked};
use crate::error::{Error, Kind, Result};
use crate::inspect::verify::{self, Options};
use crate::ledger::{Selection, Verification};
use crate::record::Timestamp;

/// How long the group may take to pass the cut.
const SETTLE: Duration = Duration::from_secs(10);
/// Limit for a whole verification.
const VERIFY_MAX: Duration = Duration::from_mins(15);

/// What became of the last one that was asked for here.
#[derive(Debug, Default)]
pub(super) struct Verifying {
    is_running: bool,
    last: Option<Result<Verification, (Timestamp, String)>>,
}

/// `POST /api/verify`
pub(super) async fn verify(State(app): State<Shared>) -> Result<(StatusCode, Json<Value>), Problem> {
    app.stores.has_data()?;
    let was_running = std::mem::replace(&mut locked(&app.verifying).is_running, true);
    if !was_running {
        tokio::spawn(run(Arc::clone(&app)));
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "is_running": true }))))
}

async fn run(app: Shared) {
    let at = Timestamp::now();
    let verified = tokio::select! {
        () = app.stop.cancelled() => return,
        verified = tokio::time::timeout(VERIFY_MAX, verify_all(&app)) => verified,
    };
    let too_long = || Error::new(Kind::Incomplete, "verifying took too long").hint("'userpipe verify' has no limit");
    let done = verified.unwrap_or_else(|_| Err(too_long()));
    {
        let mut verifying = locked(&app.verifying);
        verifying.is_running = false;
        verifying.last = Some(done.map_err(|error| (at, error.to_string())));
    }
    app.wake.notify_one();
}

async fn verify_all(app: &App) -> Result<Verification> {
    let options = Options { selection: Selection::All, settle: SETTLE, lists_foreign: false };
    let verified = verify::verify(&app.stores, app.rules().await?, options).await?;
    // Without a ledger this process alone knows it.
    verify::remember(&app.stores, &verified, options.selection).await?;
    Ok(verified.verification())
}

/// The newest verification that is known: of the ledger, or of this process.
pub(super) fn document(app: &App, remembered: Option<&Verification>) -> Value {
    let verifying = locked(&app.verifying);
    let is_running = verifying.is_running;
    let since = |at: &Timestamp| remembered.is_none_or(|remembered| *at >= remembered.at);
    match &verifying.last {
        Some(Err((at, error))) if since(at) => json!({
            "at": at.to_string(), "ok": false, "foreign": null, "holes": null, "in_flight": null,
            "summary": error, "is_running": is_running,
        }),
        Some(Ok(own)) if since(&own.at) => found(own, is_running),
        _ => match remembered {
            Some(remembered) => found(remembered, is_running),
            None if is_running => json!({
                "at": null, "ok": null, "foreign": null, "holes": null, "in_flight": null,
                "summary": "verifying", "is_running": true,
            }),
            None => Value::Null,
        },
    }
}

fn found(verification: &Verification, is_running: bool) -> Value {
    json!({
        "at": verification.at.to_string(),
        "ok": verification.holes == 0,
        "foreign": verification.foreign,
        "holes": verification.holes,
        "in_flight": verification.in_flight,
        "summary": verification.summary,
        "is_running": is_running,
    })
}
