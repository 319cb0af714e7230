//! Looks at bus, ledger and sink from outside, every few seconds: often while somebody watches, seldom otherwise.
//!
//! Each is looked at by itself and within a limit; what cannot be seen is told by its light, and the rest stays fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::answer::Problem;
use super::history::Rate;
use super::{App, Shared, locked};
use crate::bus::Partition;
use crate::bus::observer::AnyObserver;
use crate::config::{LedgerConfig, SinkConfig};
use crate::error::{Error, Kind, Result};
use crate::inspect::status::{self, GroupStatus};
use crate::ledger::{AnyLedger, Archive, Audit, Ledger, Run, Runs, Totals, Verification};
use crate::record::Timestamp;

/// Between two looks while somebody watches.
const WATCHED_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks while nobody does.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at the sink, which is asked for a row, and at the registry.
const SINK_INTERVAL: Duration = Duration::from_secs(10);
/// The limit for one look.
const LOOK_MAX: Duration = Duration::from_secs(8);
/// Rates of what is seen from outside are those of so many milliseconds.
const WINDOW_MS: i64 = 10_000;
/// Runs whose changes are told.
const RUNS_MAX: usize = 50;

/// What could not be seen, and why.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// Whether it may pass by itself.
    pub(super) may_pass: bool,
    /// The words.
    pub(super) text: String,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let may_pass = matches!(error.kind(), Kind::Unreachable | Kind::Failed | Kind::LocalIo | Kind::Incomplete);
        Self { may_pass, text: error.to_string() }
    }
}

/// What a look found; `None` before the first one.
type Look<T> = Option<Result<T, Trouble>>;

/// The ledger, as far as the page tells of it.
#[derive(Clone, Debug)]
pub(super) struct LedgerView {
    pub(super) has_ledger: bool,
    pub(super) unsent: u64,
    pub(super) paused_since: Option<Timestamp>,
    pub(super) totals: Totals,
    pub(super) verification: Option<Verification>,
}

/// Increases a second, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) fetched: Option<f64>,
    pub(super) produced: Option<f64>,
    pub(super) committed: Option<f64>,
    pub(super) dead_lettered: Option<f64>,
}

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) bus: Look<Arc<GroupStatus>>,
    pub(super) ledger: Look<LedgerView>,
    pub(super) sink: Look<()>,
    /// Where one is configured.
    pub(super) registry: Look<()>,
    /// Changes whenever a run does.
    pub(super) runs_version: u64,
    /// How far the group gets in each partition.
    pub(super) of_partition: BTreeMap<Partition, Rate>,
    fetched: Rate,
    produced: Rate,
    committed: Rate,
    dead_lettered: Rate,
}

impl Seen {
    /// The rates, and the lag.
    pub(super) fn rates(&self) -> (Rates, Option<i64>) {
        let rates = Rates {
            fetched: self.fetched.per_second(),
            produced: self.produced.per_second(),
            committed: self.committed.per_second(),
            dead_lettered: self.dead_lettered.per_second(),
        };
        (rates, self.lag())
    }

    /// The records before the group.
    pub(super) fn lag(&self) -> Option<i64> {
        Some(self.group()?.partitions.iter().map(|partition| partition.lag).sum())
    }

    /// The group, where it could be seen.
    pub(super) fn group(&self) -> Option<&Arc<GroupStatus>> {
        self.bus.as_ref()?.as_ref().ok()
    }

    fn note_bus(&mut self, at: i64, found: Result<GroupStatus, Trouble>) {
        if let Ok(status) = &found {
            let (mut high, mut committed) = (0, 0);
            for partition in &status.partitions {
                let own = partition.committed.unwrap_or(partition.marks.low).max(0).unsigned_abs();
                self.of_partition.entry(partition.partition).or_default().note(at, own, WINDOW_MS);
                high += partition.marks.high.max(0).unsigned_abs();
                committed += own;
            }
            self.produced.note(at, high, WINDOW_MS);
            self.committed.note(at, committed, WINDOW_MS);
            self.dead_lettered.note(at, status.dead_letters.max(0).unsigned_abs(), WINDOW_MS);
        }
        self.bus = Some(found.map(Arc::new));
    }
}

/// Looks until the dashboard ends.
pub(super) async fn keep(app: Shared) {
    let mut looker = Looker { app: &app, observer: None, runs: BTreeMap::new(), sink_due: Instant::now() };
    loop {
        let is_whole = Box::pin(looker.look()).await;
        // What is not there yet may come with the first record.
        let pause = if app.is_watched() || !is_whole { WATCHED_INTERVAL } else { IDLE_INTERVAL };
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Looker<'a> {
    app: &'a App,
    observer: Option<AnyObserver>,
    /// The runs as they were seen last.
    runs: BTreeMap<Uuid, Run>,
    sink_due: Instant,
}

impl Looker<'_> {
    /// Looks once; whether bus and ledger could be seen.
    async fn look(&mut self) -> bool {
        let app = self.app;
        let is_due = Instant::now() >= self.sink_due;
        let is_sink_due = is_due && !app.process.delivers;
        let is_registry_due = is_due && app.process.config.registry.is_some();
        if is_due {
            self.sink_due = Instant::now() + SINK_INTERVAL;
        }
        let sink = async { if is_sink_due { Some(within(sink(app)).await) } else { None } };
        let registry = async { if is_registry_due { Some(within(registry(app)).await) } else { None } };
        let (bus, ledger, sink, registry) =
            tokio::join!(within(bus(app, &mut self.observer)), within(ledger(app)), sink, registry);
        let at = Timestamp::now().unix_ms();
        let mut seen = locked(&app.seen);
        seen.note_bus(at, bus);
        if let Some(sink) = sink {
            seen.sink = Some(sink);
        }
        if let Some(registry) = registry {
            seen.registry = Some(registry);
        }
        let ledger = ledger.map(|(view, runs)| {
            seen.fetched.note(at, view.totals.fetched, WINDOW_MS);
            let changed = self.changed(runs);
            if !changed.is_empty() {
                seen.runs_version += 1;
            }
            // Nobody may be listening.
            for run in &changed {
                drop(app.run_events.send(Arc::new(run.document())));
            }
            view
        });
        let is_whole = seen.group().is_some() && ledger.as_ref().is_ok_and(|view| view.has_ledger);
        seen.ledger = Some(ledger);
        is_whole || matches!(app.process.config.ledger, LedgerConfig::Off)
    }

    /// The runs that are not as they were, oldest first; they are known from now on.
    fn changed(&mut self, runs: Vec<Run>) -> Vec<Run> {
        let now: BTreeMap<_, _> = runs.into_iter().map(|run| (run.run_id, run)).collect();
        let changed = now.values().filter(|run| self.runs.get(&run.run_id) != Some(run)).cloned().collect();
        self.runs = now;
        changed
    }
}

async fn within<T>(look: impl Future<Output = Result<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(LOOK_MAX, look).await {
        Ok(looked) => looked.map_err(Trouble::from),
        Err(_) => Err(Trouble { may_pass: true, text: format!("no answer within {} s", LOOK_MAX.as_secs()) }),
    }
}

async fn bus(app: &App, kept: &mut Option<AnyObserver>) -> Result<GroupStatus> {
    app.stores.has_data()?;
    let observer = match kept.take() {
        Some(observer) => observer,
        None => app.stores.observer().await?,
    };
    let group = status::group(&observer, &app.process.config).await?;
    // Kept only after it has answered; otherwise the next look connects anew.
    *kept = Some(observer);
    Ok(group)
}

async fn ledger(app: &App) -> Result<(LedgerView, Vec<Run>)> {
    let ledger = app.ledger_if_there().await?;
    let runs = ledger.runs(None, RUNS_MAX).await?;
    let totals = if app.process.ingests() { Totals::default() } else { ledger.totals().await? };
    let view = LedgerView {
        has_ledger: !matches!(ledger, AnyLedger::Off),
        unsent: ledger.unsent().await?,
        paused_since: ledger.paused_since().await?,
        totals,
        verification: ledger.last_verification().await?,
    };
    Ok((view, runs))
}

/// Asks the Schema Registry for nothing in particular.
async fn registry(app: &App) -> Result<()> {
    match app.stores.registry().await? {
        Some(registry) => registry.ping().await,
        None => Ok(()),
    }
}

/// Asks for the row of nobody.
async fn sink(app: &App) -> Result<()> {
    match &app.process.config.sink {
        SinkConfig::Stdout => Ok(()),
        SinkConfig::Sqlite(path, _) if !path.exists() => {
            Err(Error::new(Kind::Config, "there is nothing yet").at(path.display().to_string()))
        }
        _ => app.rows.find(&app.stores, &[Uuid::nil()]).await.map(|_| ()),
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        let status = if trouble.may_pass {
            axum::http::StatusCode::SERVICE_UNAVAILABLE
        } else {
            axum::http::StatusCode::CONFLICT
        };
        Self::new(status, trouble.text)
    }
}
