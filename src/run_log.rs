//! The log lines of runs, kept beside standard error, so that a run's record can show what was said during it.
//!
//! A run is a span named [`RUN`] with the field `run_id`; what is logged within it, in whichever task, is its log.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

use crate::record::Timestamp;

/// The name of a run's span.
pub const RUN: &str = "run";
/// The most lines that are kept of a run; the last one says how many are left out.
const LINES_MAX: usize = 200;
/// The most bytes of a line.
const LINE_BYTES_MAX: usize = 2_000;

/// What was said once, at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// How bad it is.
    pub level: Level,
    /// The words, and the fields after them.
    pub text: String,
}

#[derive(Debug, Default)]
struct Log {
    lines: Vec<Line>,
    left_out: usize,
}

/// The runs that are going. A process has few.
static LOGS: Mutex<BTreeMap<Uuid, Log>> = Mutex::new(BTreeMap::new());

fn logs() -> MutexGuard<'static, BTreeMap<Uuid, Log>> {
    LOGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to keep what is said in this run.
pub fn open(run_id: Uuid) {
    logs().entry(run_id).or_default();
}

/// The lines of a run of this process that goes on; none for others.
pub fn so_far(run_id: Uuid) -> Vec<Line> {
    logs().get(&run_id).map(|log| log.lines.clone()).unwrap_or_default()
}

/// Ends it: the lines.
pub fn close(run_id: Uuid) -> Vec<Line> {
    let Some(Log { mut lines, left_out }) = logs().remove(&run_id) else { return Vec::new() };
    if left_out > 0 {
        lines.push(Line { at: Timestamp::now(), level: Level::INFO, text: format!("{left_out} lines were left out") });
    }
    lines
}

/// Keeps the lines of open runs.
#[derive(Clone, Copy, Debug)]
pub struct RunLogLayer;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RunLogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| span.name() == RUN) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(run_id) = fields.run_id {
            span.extensions_mut().insert(run_id);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let of_span = context
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(|span| span.extensions().get::<Uuid>().copied()));
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Some(run_id) = of_span.or(fields.run_id) else { return };
        let mut logs = logs();
        let Some(log) = logs.get_mut(&run_id) else { return };
        if log.lines.len() < LINES_MAX {
            log.lines.push(Line { at: Timestamp::now(), level: *event.metadata().level(), text: fields.text() });
        } else {
            log.left_out += 1;
        }
    }
}

/// What an event or a span says.
#[derive(Default)]
struct Fields {
    run_id: Option<Uuid>,
    message: String,
    rest: String,
}

impl Fields {
    fn text(self) -> String {
        let mut text = self.message + &self.rest;
        let mut end = text.len().min(LINE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        match field.name() {
            "message" => drop(write!(self.message, "{value:?}")),
            "run_id" => self.run_id = format!("{value:?}").parse().ok(),
            name => drop(write!(self.rest, " {name}={value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::instrument::WithSubscriber;
    use tracing::{Instrument, info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn texts(run_id: Uuid) -> Vec<(Level, String)> {
        close(run_id).into_iter().map(|line| (line.level, line.text)).collect()
    }

    #[tokio::test]
    async fn what_is_said_in_a_run_is_its_log_in_whichever_task() {
        let (run_id, other) = (Uuid::now_v7(), Uuid::now_v7());
        open(run_id);
        let work = async {
            info!("before");
            let inner = async {
                warn!(partition = 3, "rejected");
                tokio::spawn(async { info!("elsewhere") }.in_current_span().with_current_subscriber()).await
            };
            inner.instrument(info_span!("run", %run_id)).await.expect("no panic");
            async { info!("not kept") }.instrument(info_span!("run", run_id = %other)).await;
            info!(%run_id, "after");
        };
        work.with_subscriber(tracing_subscriber::registry().with(RunLogLayer)).await;
        let expected = [(Level::WARN, "rejected partition=3"), (Level::INFO, "elsewhere"), (Level::INFO, "after")];
        assert_eq!(texts(run_id), expected.map(|(level, text)| (level, text.to_owned())));
        assert_eq!((texts(run_id).len(), texts(other).len()), (0, 0));
    }

    #[test]
    fn a_run_that_talks_without_end_is_cut() {
        let run_id = Uuid::now_v7();
        open(run_id);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(RunLogLayer), || {
            info_span!("run", %run_id).in_scope(|| (0..LINES_MAX + 7).for_each(|n| info!("{n} {}", "ö".repeat(3000))));
        });
        let lines = texts(run_id);
        assert_eq!((lines.len(), lines[LINES_MAX].1.as_str()), (LINES_MAX + 1, "7 lines were left out"));
        assert!(lines.iter().all(|(_, text)| text.len() <= LINE_BYTES_MAX));
    }
}
