//! What `produce`, `consume` and `run` share: building the two halves of the pipeline, and the lines around them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Context;
use crate::bus::{AnyConsumer, StartAt};
use crate::cli::{Connections, IngestArgs, SourceArgs};
use crate::config::{Config, SourceConfig};
use crate::error::{Error, Kind, Result};
use crate::ledger::Ledger;
use crate::pipeline::deliver::{DeadLetters, Deliver, Limits, Parts};
use crate::pipeline::ingest::{Ingest, Plan, Report, keep_claims};
use crate::pipeline::schedule::{Schedule, Timetable};
use crate::pipeline::suppression::Suppression;
use crate::sink::AnySink;
use crate::source::AnySource;
use crate::terminal::counts;
use crate::transform::Transform;

/// Without progress for so long, `-e` and `--once` give up, unless `--deadline` says otherwise.
const DEADLINE: Duration = Duration::from_mins(2);
/// What `run` does when neither a schedule nor `--once` is given.
const INTERVAL: Duration = Duration::from_mins(1);
/// Attempts after the first: somebody waits for a command, and nobody for a schedule.
const RETRIES_ON_SCHEDULE: u32 = 3;

/// The limit of a command that has an end.
pub(super) fn deadline_of(args: crate::cli::DeliverArgs) -> Duration {
    args.deadline.unwrap_or(DEADLINE)
}

/// Progress that is being shown, until [`Context::summarize`].
pub(super) struct Watching {
    stop: CancellationToken,
    drawing: JoinHandle<()>,
    started: Instant,
}

impl Context {
    pub(super) fn config(&self) -> &Config {
        &self.stores.config
    }

    /// The first line: the path that was chosen.
    pub(super) fn draw_path(&self, stages: &[String]) {
        self.terminal.say(&stages.join(" → "));
    }

    /// The bus as the path shows it.
    pub(super) fn bus_and_topic(&self) -> String {
        format!("{}/{}", self.config().bus, self.config().topic)
    }

    /// Everything is connected: shows progress, towards `total` records where that is known.
    pub(super) fn watch(&self, total: Option<u64>) -> Watching {
        self.health.started();
        let stop = CancellationToken::new();
        let drawing = self.terminal.clone().show_progress(Arc::clone(&self.metrics), total, stop.clone());
        Watching { stop, drawing: tokio::spawn(drawing), started: Instant::now() }
    }

    /// The last line: what was done.
    pub(super) async fn summarize(&self, watching: Watching) {
        let took = humantime::format_duration(Duration::from_millis(
            u64::try_from(watching.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ));
        watching.stop.cancel();
        // The bar is gone before the summary is printed; a bar that could not be drawn is no reason to fail.
        let _ = watching.drawing.await;
        self.terminal.say(&format!("{} in {took}", counts(&self.metrics)));
    }

    /// The ingest half. Its claims are kept alive until the guard is dropped.
    pub(super) async fn ingest(
        &self,
        args: &IngestArgs,
        connections: &Connections,
        transform: Option<Arc<Transform>>,
    ) -> Result<(Arc<Ingest>, DropGuard)> {
        // Before anything is made: a schema that is refused leaves nothing behind.
        let codec = self.stores.codec_to_write().await?;
        let producer = self.stores.producer(&self.config().topic).await?;
        let ingest = Arc::new(Ingest {
            ledger: self.stores.ledger().await?,
            producer,
            codec,
            transform,
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
            linger: connections.linger,
            batch_records_max: connections.batch_records as usize,
            keep: args.keep,
        });
        let stop = CancellationToken::new();
        tokio::spawn(keep_claims(Arc::clone(&ingest), stop.clone()));
        Ok((ingest, stop.drop_guard()))
    }

    /// The sink, connected and checked.
    pub(super) async fn sink(&self) -> Result<Arc<AnySink>> {
        self.stores.sink().await.map(Arc::new)
    }

    /// The delivery half, as a member of the group.
    pub(super) async fn deliver(
        &self,
        sink: Arc<AnySink>,
        consumer: AnyConsumer,
        transform: Option<Arc<Transform>>,
        limits: Limits,
    ) -> Result<Deliver<AnyConsumer>> {
        let parts = Parts {
            sink,
            dead_letters: DeadLetters::new(Arc::clone(&self.stores)),
            topic: self.config().topic.clone(),
            codec: self.stores.codec_to_read().await?,
            transform,
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
            suppression: Suppression::of(self.stores.ledger_if_there().await?).await?,
            in_flight_records_max: self.config().in_flight_records_max,
            shutdown_timeout: self.config().shutdown_timeout,
        };
        Ok(Deliver::new(consumer, parts, limits))
    }

    /// A group member that goes on where the group is. That may have to wait: for members that died before a reset, for
    /// the name of a static member. A signal ends the wait: `None`, since nothing was taken that had to be finished.
    ///
    /// # Errors
    /// Those of the bus, and [`Kind::Incomplete`] where a signal ends the wait for a reset, which was asked for.
    pub(super) async fn consumer(&self, start: StartAt) -> Result<Option<AnyConsumer>> {
        tokio::select! {
            joined = self.stores.consumer(start) => joined.map(Some),
            () = self.shutdown.cancelled() => match start {
                StartAt::Stored => Ok(None),
                _ => Err(Error::new(Kind::Incomplete, "stopped before the group was reset")),
            }
        }
    }
}

/// The source as configured; what would be refused is refused before anything is connected to.
pub(super) fn source_config(args: &SourceArgs, connections: &Connections, config: &Config) -> Result<SourceConfig> {
    let source = SourceConfig::resolve(args, connections)?;
    source.refuse_auto_with_real_stores(config)?;
    Ok(source)
}

/// The source of an ingest. With a seed of the user's own, pages go on from run to run.
pub(super) async fn source(config: &SourceConfig, ingest: &Ingest) -> Result<AnySource> {
    let page = match &config.seed {
        Some(seed) => ingest.ledger.next_page(seed).await?.unwrap_or(1),
        None => 1,
    };
    AnySource::new(config, u32::try_from(page).unwrap_or(1))
}

/// How much a run ingests.
pub(super) fn plan(args: &IngestArgs, source: &SourceArgs, is_scheduled: bool) -> Plan {
    Plan {
        count: if args.stream_for.is_some() { None } else { Some(args.count) },
        stream_for: args.stream_for,
        rate: args.rate,
        page_size: source.results as usize,
        retries: args.retries.unwrap_or(if is_scheduled { RETRIES_ON_SCHEDULE } else { 0 }),
        retry_delay: args.retry_delay,
    }
}

/// Whether there is one run, and not a schedule.
pub(super) fn has_end(args: &IngestArgs) -> bool {
    args.once || args.stream_for.is_some()
}

/// The schedule of the arguments; for `run`, which has one unless it is told otherwise.
pub(super) fn schedule(args: &IngestArgs) -> Schedule {
    let timetable = match &args.cron {
        Some(cron) => Timetable::Cron(Box::new(cron.0.clone()), args.timezone.0.clone()),
        None => Timetable::every(args.interval.unwrap_or(INTERVAL)),
    };
    Schedule { timetable, jitter: args.jitter }
}

/// The schedule in words.
pub(super) fn schedule_words(args: &IngestArgs) -> String {
    match &args.cron {
        Some(cron) => format!("{} ({})", cron.0.pattern, args.timezone),
        None => format!("every {}", humantime::format_duration(args.interval.unwrap_or(INTERVAL))),
    }
}

/// One run from a source that ends the command.
pub(super) async fn ingest_once(
    ingest: &Arc<Ingest>,
    source: &mut AnySource,
    plan: Plan,
    shutdown: &CancellationToken,
) -> Result<Report> {
    complete(ingest, ingest.run(source, plan, shutdown), shutdown).await
}

/// Work that ends the command: first what an earlier process left, then the work, then what a dead one left.
pub(super) async fn complete(
    ingest: &Arc<Ingest>,
    work: impl Future<Output = Result<Report>>,
    shutdown: &CancellationToken,
) -> Result<Report> {
    let all = async {
        let mut report = ingest.send_pending().await?;
        report.add(&work.await?);
        report.add(&ingest.send_orphans(shutdown).await?);
        ingest.prune().await?;
        Ok(report)
    };
    let report: Result<Report> = all.await;
    let released = ingest.ledger.release().await;
    let report = report?;
    released.map(|()| report)
}

/// The result of a task of ours; a panic in it is passed on to the hook that prints its backtrace.
pub(super) async fn joined<T>(task: JoinHandle<Result<T>>) -> Result<T> {
    match task.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => {
            Err(crate::error::Error::new(crate::error::Kind::Failed, "a task ended by itself").because(error))
        }
    }
}
