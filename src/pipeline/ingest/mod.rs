//! Ingest: source → ledger → bus.
//!
//! A page is stored before anything of it is sent, and marked after the bus has acknowledged it. Several pages are on
//! their way at once; a run ends when all of them are.

mod archive;
mod input;
mod outbox;
mod pace;
mod run;
mod transforming;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::bus::{Ack, AnyProducer, Offset, Partition, Producer};
use crate::cli::Rate;
use crate::encoding::Codec;
use crate::error::{Error, Kind, Result};
use crate::ledger::{AnyLedger, Archive, Ledger, Refused, Runs};
use crate::metrics::Metrics;
use crate::pipeline::health::{Health, Severity, Stage};
use crate::record::{User, format, identity_of, without_secrets};
use crate::seam::Seam;
use crate::source::{AnySource, Page, Source};
use crate::transform::Transform;
use pace::Pace;

pub use input::read_input;
pub use outbox::keep_claims;
pub use run::Begun;

/// Pages that are being stored and sent while the next one is fetched.
const PAGES_IN_FLIGHT_MAX: usize = 4;
/// The same of `--input`, whose batches are read faster than they are stored: those that wait share a transaction.
const INPUT_BATCHES_IN_FLIGHT_MAX: usize = 8;
/// Rejected users that are named in the log of one run; the rest is counted.
const REJECTIONS_LOGGED_MAX: u64 = 10;

/// What ingest works with. Shared by the pages in flight.
#[derive(Debug)]
pub struct Ingest<L = AnyLedger, P = AnyProducer> {
    /// The outbox.
    pub ledger: L,
    /// The bus.
    pub producer: P,
    /// How records are written.
    pub codec: Codec,
    /// Which of them are stored, and what becomes of them before.
    pub transform: Option<Arc<Transform>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is in the way.
    pub health: Arc<Health>,
    /// How long a batch of `--input` waits to fill up.
    pub linger: Duration,
    /// The most records of `--input` in one batch.
    pub batch_records_max: usize,
    /// How long the ledger keeps what was sent; `None` is for ever.
    pub keep: Option<Duration>,
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
    /// Attempts after the first.
    pub retries: u32,
    /// The pause before each of them.
    pub retry_delay: Duration,
}

/// A user that was accepted: its record, and its API object less its secrets.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The record.
    pub user: User,
    /// The API's object, where it came from the API.
    pub raw: Option<Box<RawValue>>,
}

/// What became of a page: its users, apart.
#[derive(Debug, Default)]
pub(super) struct Batch {
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
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
    /// Users that `--where` dropped.
    pub filtered: u64,
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

    /// Also what an earlier attempt sent is to be delivered.
    fn ends_at_least(&mut self, ends: &BTreeMap<Partition, Offset>) {
        for (partition, end) in ends {
            let mine = self.ends.entry(*partition).or_default();
            *mine = (*mine).max(*end);
        }
    }

    /// Says how many went no further, where not each of them was named.
    fn tell_what_was_left_out(&self) {
        if self.filtered > 0 {
            tracing::info!("--where dropped {} of {} users", self.filtered, self.fetched);
        }
        if self.rejected > REJECTIONS_LOGGED_MAX {
            tracing::warn!("rejected {} users in all", self.rejected);
        }
    }

    /// Adds what an earlier part of the same command did.
    pub fn add(&mut self, other: &Report) {
        self.fetched += other.fetched;
        self.produced += other.produced;
        self.rejected += other.rejected;
        self.filtered += other.filtered;
        self.ends_at_least(&other.ends);
    }
}

impl<L: Ledger + Archive + Runs + 'static, P: Producer + 'static> Ingest<L, P> {
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
                page = source.page(count) => page,
            };
            let page = page.inspect_err(|error| self.health.note(Stage::Source, Severity::Retrying, error))?;
            self.health.clear(Stage::Source);
            Seam::AfterFetch.pass();
            self.metrics.fetching.observe(asked.elapsed());
            pacing.fetched(page.users.len());
            report.fetched += page.users.len() as u64;
            self.metrics.fetched.add(page.users.len() as u64);
            let batch = self.format_page(page, report);
            let batch = self.transform(batch, report).await;
            sending.push(self, run_id, batch, report).await?;
        }
    }

    /// Formats a page; a user that lacks something is rejected alone.
    fn format_page(&self, page: Page, report: &mut Report) -> Batch {
        let mut batch = Batch { accepted: Vec::with_capacity(page.users.len()), refused: Vec::new() };
        for raw in page.users {
            match format(&raw, page.fetched_at, &self.codec.with) {
                Ok(user) => batch.accepted.push(Accepted { user, raw: Some(without_secrets(&raw)) }),
                Err(rejection) => batch.refused.push(self.refuse(rejection.to_string(), Some(&raw), report)),
            }
        }
        batch
    }

    /// Counts and tells a user that is rejected; the ledger notes what this returns.
    fn refuse(&self, reason: String, raw: Option<&RawValue>, report: &mut Report) -> Refused {
        self.tell_rejection(&reason, report);
        Refused { id: raw.and_then(identity_of), reason, raw: raw.map(without_secrets) }
    }

    fn tell_rejection(&self, reason: &str, report: &mut Report) {
        report.rejected += 1;
        self.metrics.rejected.add(1);
        if report.rejected <= REJECTIONS_LOGGED_MAX {
            tracing::warn!("rejected a user: {reason}");
        }
    }
}

/// The batches of one run that are on their way.
#[derive(Debug)]
struct Sending {
    batches: JoinSet<Result<Vec<Ack>>>,
    batches_max: usize,
}

impl Sending {
    /// For so many at once.
    fn new(batches_max: usize) -> Self {
        Self { batches: JoinSet::new(), batches_max }
    }

    /// Begins a batch, when one of the places is free.
    async fn push<L: Ledger + Archive + Runs + 'static, P: Producer + 'static>(
        &mut self,
        ingest: &Arc<Ingest<L, P>>,
        run_id: Uuid,
        batch: Batch,
        report: &mut Report,
    ) -> Result<()> {
        if batch.accepted.is_empty() && batch.refused.is_empty() {
            return Ok(());
        }
        while self.batches.len() >= self.batches_max {
            self.join_one(report).await?;
        }
        let ingest = Arc::clone(ingest);
        self.batches.spawn(async move { ingest.publish(run_id, batch).await }.in_current_span());
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

#[cfg(test)]
mod tests;
