//! Server-sent events: a tick a second, and every run that changes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::answer::Problem;
use super::{Shared, locked};

/// The stream of an answer.
pub(super) type Events = Sse<BoxStream<'static, Result<Event, Infallible>>>;

/// An event with a JSON document.
pub(super) fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// What a task sends, until the task ends or the server does.
pub(super) fn of_task(events: mpsc::Receiver<Event>, stop: CancellationToken) -> Events {
    let next = |mut events: mpsc::Receiver<Event>| async move { events.recv().await.map(|event| (Ok(event), events)) };
    Sse::new(stream::unfold(events, next).take_until(stop.cancelled_owned()).boxed())
}

/// One reader of the events.
struct Reader {
    app: Shared,
    ticks: watch::Receiver<u64>,
    runs: broadcast::Receiver<Arc<Value>>,
    /// As this reader has seen it last.
    runs_version: u64,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                biased;
                ticked = self.ticks.changed() => {
                    ticked.ok()?;
                    self.ticks.mark_unchanged();
                    return Some(self.tick());
                }
                run = self.runs.recv() => match run {
                    Ok(run) => return Some(event("run", &run)),
                    // Too slow for all of them: the next tick says that runs have changed.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }

    fn tick(&mut self) -> Event {
        self.app.asked();
        let (version, letters) = {
            let seen = locked(&self.app.seen);
            (seen.runs_version, seen.group().map(|group| group.dead_letters))
        };
        let runs_changed = std::mem::replace(&mut self.runs_version, version) != version;
        event(
            "tick",
            &json!({
                "overview": self.app.overview(),
                "flow": self.app.flow(),
                "partitions": self.app.partitions().and_then(Result::ok),
                "runs_changed": runs_changed,
                "dead_letters": letters,
            }),
        )
    }
}

/// `GET /api/events`
pub(super) async fn events(State(app): State<Shared>) -> Result<Events, Problem> {
    app.asked();
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| Problem::busy("too many pages are open"))?;
    let mut ticks = app.ticks.subscribe();
    // The first one comes at once.
    ticks.mark_changed();
    let runs_version = locked(&app.seen).runs_version;
    let stop = app.stop.clone();
    let reader = Reader { runs: app.run_events.subscribe(), app, ticks, runs_version, _place: place };
    let next = |mut reader: Reader| async move { reader.next().await.map(|event| (Ok(event), reader)) };
    Ok(Sse::new(stream::unfold(reader, next).take_until(stop.cancelled_owned()).boxed()))
}
