//! One run, whoever asked for it: its attempts, its log, and how it ended.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Ingest, PAGES_IN_FLIGHT_MAX, Plan, Report, Sending};
use crate::bus::Producer;
use crate::error::{Error, Kind, Result};
use crate::ledger::{Archive, Ledger, LogLine, NewRun, RunEnd, Runs};
use crate::metrics::Stage;
use crate::run_log;
use crate::source::AnySource;

/// A run that is on record and claimed by this process.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The run.
    pub run_id: Uuid,
    /// Whether the next process of the schedule takes it over when it is interrupted.
    pub is_scheduled: bool,
    /// The seed that an earlier attempt had.
    pub seed: Option<String>,
    /// The attempts that were begun before.
    pub attempts: u32,
}

impl<L: Ledger + Archive + Runs + 'static, P: Producer + 'static> Ingest<L, P> {
    /// One run that a command asked for: until the plan is fulfilled or `shutdown` is cancelled.
    ///
    /// # Errors
    /// As [`Ingest::execute`].
    pub async fn run(
        self: &Arc<Self>,
        source: &mut AnySource,
        plan: Plan,
        shutdown: &CancellationToken,
    ) -> Result<Report> {
        let trigger = if plan.stream_for.is_some() { "for" } else { "once" };
        let run_id = Uuid::now_v7();
        self.ledger.start_run(&NewRun { run_id, trigger, scheduled_for: None, seed: None }).await?;
        self.execute(source, plan, Begun { run_id, is_scheduled: false, seed: None, attempts: 0 }, shutdown).await
    }

    /// A run that is on record and claimed: as many attempts as the plan allows, each with the same users where the
    /// source can, so that a second attempt sends nobody new. What was fetched before a failure is sent all the same.
    ///
    /// # Errors
    /// That of the last attempt: the first failure of source, ledger or bus; also a run that fetched nobody, or
    /// rejected everybody.
    pub async fn execute(
        self: &Arc<Self>,
        source: &mut AnySource,
        plan: Plan,
        run: Begun,
        shutdown: &CancellationToken,
    ) -> Result<Report> {
        let (run_id, is_scheduled) = (run.run_id, run.is_scheduled);
        run_log::open(run_id);
        let mut report = Report::default();
        // On the heap: the futures that wait for it would be as large.
        let attempts = Box::pin(self.attempts(source, plan, run, &mut report, shutdown));
        let outcome = attempts.instrument(tracing::info_span!("run", %run_id)).await;
        let is_interrupted = shutdown.is_cancelled() && plan.count.is_none_or(|count| report.fetched < count);
        if is_interrupted && is_scheduled {
            run_log::close(run_id);
            return Err(outcome.err().unwrap_or_else(interrupted));
        }
        let stopped = is_interrupted.then(interrupted);
        let error = outcome.as_ref().err().or(stopped.as_ref());
        self.finish_run(run_id, &report, error, source.next_page().map(u64::from)).await?;
        outcome.map(|()| report)
    }

    async fn attempts(
        self: &Arc<Self>,
        source: &mut AnySource,
        plan: Plan,
        run: Begun,
        report: &mut Report,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let Begun { run_id, mut seed, mut attempts, .. } = run;
        source.count_retries(self.metrics.retries_of(Stage::Source));
        let attempts_max = (1 + plan.retries).max(attempts + 1);
        loop {
            attempts += 1;
            self.position(source, seed.as_deref()).await?;
            seed = source.seed().map(str::to_owned);
            self.ledger.begin_attempt(run_id, attempts, seed.as_deref()).await?;
            let sent_before = std::mem::take(report);
            let outcome = self.attempt(source, plan, run_id, report, shutdown).await;
            report.ends_at_least(&sent_before.ends);
            let Err(error) = outcome else { return Ok(()) };
            if attempts >= attempts_max || error.kind() == Kind::Config || shutdown.is_cancelled() {
                return Err(error);
            }
            let delay = humantime::format_duration(plan.retry_delay);
            tracing::warn!("attempt {attempts} of {attempts_max} failed: {error}; trying again in {delay}");
            tokio::select! {
                () = shutdown.cancelled() => return Err(error),
                () = tokio::time::sleep(plan.retry_delay) => {}
            }
        }
    }

    /// Where the source goes on: under a given seed where the last run of the pipeline ended, whichever process that
    /// was; else with the users of an earlier attempt, or with new ones.
    async fn position(&self, source: &mut AnySource, seed_before: Option<&str>) -> Result<()> {
        match (source.given_seed().map(str::to_owned), seed_before) {
            (Some(given), _) => {
                let page = self.ledger.next_page(&given).await?.map(|page| u32::try_from(page).unwrap_or(u32::MAX));
                // Where it is there already it also has what is left of the page before; without a ledger it just goes on.
                if let Some(page) = page.filter(|page| source.next_page() != Some(*page)) {
                    source.go_on_from(page);
                }
            }
            (None, Some(drawn)) => source.start_again(drawn),
            (None, None) => source.start_run(),
        }
        Ok(())
    }

    async fn attempt(
        self: &Arc<Self>,
        source: &mut AnySource,
        plan: Plan,
        run_id: Uuid,
        report: &mut Report,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        report.ends_at_least(&self.send_pending().await?.ends);
        let mut sending = Sending::new(PAGES_IN_FLIGHT_MAX);
        let fetched = self.fetch_all(source, plan, run_id, &mut sending, report, shutdown).await;
        let sent = sending.finish(report).await;
        fetched.and(sent).and_then(|()| nobody_came(report, shutdown))
    }

    /// Records how a run ended, and what was said during it.
    pub(super) async fn finish_run(
        &self,
        run_id: Uuid,
        report: &Report,
        error: Option<&Error>,
        next_page: Option<u64>,
    ) -> Result<()> {
        report.tell_what_was_left_out();
        let end = RunEnd {
            fetched: report.fetched,
            produced: report.produced,
            rejected: report.rejected,
            next_page,
            error: error.map(ToString::to_string),
        };
        let line = |line: run_log::Line| LogLine { at: line.at, level: line.level.to_string(), text: line.text };
        let log: Vec<LogLine> = run_log::close(run_id).into_iter().map(line).collect();
        let recording = async {
            self.patiently(|| self.ledger.append_log(run_id, &log)).await?;
            self.patiently(|| self.ledger.finish_run(run_id, &end)).await
        };
        match (recording.await, error) {
            // The run's own failure is the one to tell; this one is in the log.
            (Err(unrecorded), Some(_)) => {
                tracing::warn!("{unrecorded}");
                Ok(())
            }
            (recorded, _) => recorded,
        }
    }
}

fn interrupted() -> Error {
    Error::new(Kind::Incomplete, "stopped by a signal")
}

/// A run without a user is a failed one, whatever the source says.
fn nobody_came(report: &Report, shutdown: &CancellationToken) -> Result<()> {
    if report.rejected > 0 && report.rejected == report.fetched {
        return Err(Error::new(Kind::Failed, format!("every one of the {} users was rejected", report.rejected))
            .hint("the warnings above name the fields; is --api-url the Random User API?"));
    }
    if report.fetched == 0 && !shutdown.is_cancelled() {
        return Err(Error::new(Kind::Failed, "the source gave no users"));
    }
    Ok(())
}
