//! Ingest: source → ledger → bus.
//!
//! A page is stored before anything of it is sent, and marked after the bus has acknowledged it. Several pages are on
//! their way at once; a run ends when all of them are.

mod input;
mod outbox;
mod pace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bus::{Ack, AnyProducer, Offset, Partition};
use crate::cli::Rate;
use crate::encoding::Codec;
use crate::error::{Error, Kind, Result};
use crate::ledger::{AnyLedger, Ledger, NewRun, RunEnd};
use crate::metrics::{Metrics, Stage};
use crate::pipeline::health::Health;
use crate::record::{Timestamp, User, format, without_secrets};
use crate::seam::Seam;
use crate::source::{AnySource, Page, Source};
use pace::Pace;

pub use input::read_input;
pub use outbox::keep_claims;

/// Pages that are being stored and sent while the next one is fetched.
const PAGES_IN_FLIGHT_MAX: usize = 4;
/// Rejected users that are named in the log of one run; the rest is counted.
const REJECTIONS_LOGGED_MAX: u64 = 10;

/// What ingest works with. Shared by the pages in flight.
#[derive(Debug)]
pub struct Ingest {
    /// The outbox.
    pub ledger: AnyLedger,
    /// The bus.
    pub producer: AnyProducer,
    /// How records are written.
    pub codec: Codec,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is in the way.
    pub health: Arc<Health>,
    /// How long a batch of `--input` waits to fill up.
    pub linger: Duration,
    /// The most records of `--input` in one batch.
    pub batch_records_max: usize,
}

/// How much one run ingests.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Users at the most; `None` with `--for`.
    pub count: Option<u64>,
    /// For this long.
    pub stream_for: Option<Duration>,
    /// At most this fast.
    pub rate: Option<Rate>,
    /// Users a page at the most.
    pub page_size: usize,
}

/// What started a run.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    /// `interval`, `once`, `for` or `input`.
    pub name: &'static str,
    /// The slot it was due at.
    pub scheduled_for: Option<Timestamp>,
}

/// A user that was accepted: its record, and its API object less its secrets.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The record.
    pub user: User,
    /// The API's object, where it came from the API.
    pub raw: Option<Box<serde_json::value::RawValue>>,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Users the source returned.
    pub fetched: u64,
    /// Records the bus acknowledged.
    pub produced: u64,
    /// Users that were rejected.
    pub rejected: u64,
    /// The offset after the last record sent, per partition.
    pub ends: BTreeMap<Partition, Offset>,
}

impl Report {
    fn acknowledged(&mut self, acks: &[Ack]) {
        self.produced += acks.len() as u64;
        for ack in acks {
            let end = self.ends.entry(ack.partition).or_default();
            *end = (*end).max(ack.offset + 1);
        }
    }

    /// Adds what an earlier part of the same command did.
    pub fn add(&mut self, other: &Report) {
        self.fetched += other.fetched;
        self.produced += other.produced;
        self.rejected += other.rejected;
        for (partition, end) in &other.ends {
            let mine = self.ends.entry(*partition).or_default();
            *mine = (*mine).max(*end);
        }
    }
}

impl Ingest {
    /// One run from a source: fetches, stores, sends and marks, until the plan is fulfilled or `shutdown` is
    /// cancelled. What was fetched before a failure is sent all the same.
    ///
    /// # Errors
    /// The first failure of source, ledger or bus; also a run that fetched users and rejected all of them.
    pub async fn run(
        self: &Arc<Self>,
        source: &mut AnySource,
        plan: Plan,
        trigger: Trigger,
        shutdown: &CancellationToken,
    ) -> Result<Report> {
        let run_id = Uuid::now_v7();
        source.start_run();
        source.count_retries(self.metrics.retries_of(Stage::Source));
        let seed = source.seed().map(str::to_owned);
        let run = NewRun { run_id, trigger: trigger.name, scheduled_for: trigger.scheduled_for, seed };
        self.ledger.start_run(&run).await?;
        let mut report = Report::default();
        let mut sending = Sending::default();
        let fetched = self.fetch_all(source, plan, run_id, &mut sending, &mut report, shutdown).await;
        let sent = sending.finish(&mut report).await;
        let outcome = fetched.and(sent).and_then(|()| all_rejected(&report));
        self.finish_run(run_id, &report, outcome.as_ref().err(), Some(source.next_page().into())).await?;
        outcome.map(|()| report)
    }

    async fn fetch_all(
        self: &Arc<Self>,
        source: &mut AnySource,
        plan: Plan,
        run_id: Uuid,
        sending: &mut Sending,
        report: &mut Report,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let mut pacing = Pace::new(plan);
        loop {
            let count = tokio::select! {
                biased;
                () = shutdown.cancelled() => None,
                count = pacing.next() => count,
            };
            let Some(count) = count else { return Ok(()) };
            let asked = Instant::now();
            let page = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                page = source.page(count) => page?,
            };
            Seam::AfterFetch.pass();
            self.metrics.fetching.observe(asked.elapsed());
            pacing.fetched(page.users.len());
            report.fetched += page.users.len() as u64;
            self.metrics.fetched.add(page.users.len() as u64);
            let accepted = self.format_page(page, report);
            sending.push(self, run_id, accepted, report).await?;
        }
    }

    /// Formats a page; a user that lacks something is rejected alone.
    fn format_page(&self, page: Page, report: &mut Report) -> Vec<Accepted> {
        let mut accepted = Vec::with_capacity(page.users.len());
        for raw in page.users {
            match format(&raw, page.fetched_at) {
                Ok(user) => accepted.push(Accepted { user, raw: Some(without_secrets(&raw)) }),
                Err(rejection) => self.reject(&rejection.to_string(), report),
            }
        }
        accepted
    }

    fn reject(&self, reason: &str, report: &mut Report) {
        report.rejected += 1;
        self.metrics.rejected.add(1);
        if report.rejected <= REJECTIONS_LOGGED_MAX {
            tracing::warn!("rejected a user: {reason}");
        }
    }

    async fn finish_run(
        &self,
        run_id: Uuid,
        report: &Report,
        error: Option<&Error>,
        next_page: Option<u64>,
    ) -> Result<()> {
        if report.rejected > REJECTIONS_LOGGED_MAX {
            tracing::warn!("rejected {} users in all", report.rejected);
        }
        let end = RunEnd {
            fetched: report.fetched,
            produced: report.produced,
            rejected: report.rejected,
            next_page,
            error: error.map(ToString::to_string),
        };
        let recorded = self.ledger.finish_run(run_id, &end).await;
        match (recorded, error) {
            // The run's own failure is the one to tell; this one is in the log.
            (Err(unrecorded), Some(_)) => {
                tracing::warn!("{unrecorded}");
                Ok(())
            }
            (recorded, _) => recorded,
        }
    }
}

fn all_rejected(report: &Report) -> Result<()> {
    if report.rejected > 0 && report.rejected == report.fetched {
        return Err(Error::new(Kind::Failed, format!("every one of the {} users was rejected", report.rejected))
            .hint("the warnings above name the fields; is --api-url the Random User API?"));
    }
    Ok(())
}

/// The batches of one run that are on their way.
#[derive(Debug, Default)]
struct Sending {
    batches: JoinSet<Result<Vec<Ack>>>,
}

impl Sending {
    /// Begins a batch, when one of the places is free.
    async fn push(
        &mut self,
        ingest: &Arc<Ingest>,
        run_id: Uuid,
        accepted: Vec<Accepted>,
        report: &mut Report,
    ) -> Result<()> {
        if accepted.is_empty() {
            return Ok(());
        }
        while self.batches.len() >= PAGES_IN_FLIGHT_MAX {
            self.join_one(report).await?;
        }
        let ingest = Arc::clone(ingest);
        self.batches.spawn(async move { ingest.publish(run_id, &accepted).await });
        Ok(())
    }

    /// Waits for all of them, whatever the first failure is.
    async fn finish(mut self, report: &mut Report) -> Result<()> {
        let mut outcome = Ok(());
        while !self.batches.is_empty() {
            outcome = outcome.and(self.join_one(report).await);
        }
        outcome
    }

    async fn join_one(&mut self, report: &mut Report) -> Result<()> {
        match self.batches.join_next().await {
            None => Ok(()),
            Some(Ok(acks)) => {
                report.acknowledged(&acks?);
                Ok(())
            }
            Some(Err(panic)) => Err(Error::new(Kind::Failed, "a send task ended by itself").because(panic)),
        }
    }
}
