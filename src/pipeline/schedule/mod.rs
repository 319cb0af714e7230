//! Runs on a schedule: each slot by one process of the pipeline, without overlap, and all of it on record.
//!
//! The ledger is where processes agree: a slot is claimed there, and so is a run that was asked for or whose process
//! died. Between slots the ledger is asked for such runs.

mod timetable;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Result;
use crate::ledger::{Claim, Ledger, NewRun, Orphan, Runs, Unrun};
use crate::pipeline::health::{Severity, Stage};
use crate::pipeline::ingest::{Begun, Ingest, Plan};
use crate::record::Timestamp;
use crate::source::AnySource;

pub use timetable::Timetable;

/// The clock and the ledger are looked at again at least this often while waiting.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The most slots that are noted as missed or skipped at once; those before them are only counted in the log.
const NOTED_MAX: usize = 100;
/// How often the ledger is cut back.
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);

/// A schedule as configured.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// When.
    pub timetable: Timetable,
    /// Each slot is begun up to so much later, so that many pipelines do not ask the API at once.
    pub jitter: Duration,
}

/// A schedule that is being kept by this process.
struct Keeper<'a> {
    ingest: &'a Arc<Ingest>,
    source: &'a mut AnySource,
    plan: Plan,
    schedule: &'a Schedule,
    shutdown: &'a CancellationToken,
    /// The last slot that was looked at.
    last: Option<Timestamp>,
    /// Until when a run of ours was going.
    busy_until: Option<Timestamp>,
    prune_from: Instant,
}

/// Runs at every slot until `shutdown`. A run that fails is told and on record, and the next slot comes all the same;
/// so it is with a ledger that is away.
///
/// # Errors
/// Of the ledger, at the start and the end only.
pub async fn keep(
    ingest: &Arc<Ingest>,
    source: &mut AnySource,
    plan: Plan,
    schedule: &Schedule,
    shutdown: &CancellationToken,
) -> Result<()> {
    let last = ingest.ledger.last_slot().await?.filter(|last| *last <= Timestamp::now());
    let prune_from = Instant::now();
    let mut keeper = Keeper { ingest, source, plan, schedule, shutdown, last, busy_until: None, prune_from };
    while !shutdown.is_cancelled() {
        match keeper.step().await {
            Ok(wait) => {
                ingest.health.clear(Stage::Ledger);
                keeper.wait(wait).await;
            }
            Err(error) => {
                ingest.health.report(Stage::Ledger, Severity::Retrying, &error);
                ingest.metrics.retries_of(Stage::Ledger).add(1);
                keeper.wait(LOOK_AGAIN).await;
            }
        }
    }
    ingest.ledger.release().await
}

impl Keeper<'_> {
    /// Runs what is due, if anything is; how long until something may be.
    ///
    /// # Errors
    /// Of the ledger: nothing was run then, and the slot is due still.
    async fn step(&mut self) -> Result<Duration> {
        self.prune().await?;
        if let Some(orphan) = self.ingest.ledger.take_over().await? {
            self.adopt(orphan).await;
            return Ok(Duration::ZERO);
        }
        let now = Timestamp::now();
        match due(&self.schedule.timetable, self.last, now) {
            Ok(slot) => {
                self.begin(slot).await?;
                Ok(Duration::ZERO)
            }
            Err(wait) => Ok(wait.min(LOOK_AGAIN)),
        }
    }

    /// Claims a slot and runs it.
    async fn begin(&mut self, slot: Timestamp) -> Result<()> {
        self.note_passed(slot).await?;
        self.wait(self.schedule.jitter.mul_f64(rand::random::<f64>())).await;
        if self.shutdown.is_cancelled() {
            return Ok(());
        }
        let run_id = Uuid::now_v7();
        let trigger = self.schedule.timetable.trigger();
        let run = NewRun { run_id, trigger, scheduled_for: Some(slot), seed: None };
        let claim = self.ingest.ledger.claim_slot(&run).await?;
        self.last = Some(slot);
        match claim {
            Claim::Ours => self.execute(run_id, &format!("the run of {slot}"), None, 0).await,
            Claim::Taken => {}
            Claim::Skipped(reason) => {
                self.ingest.metrics.skipped_slots.add(1);
                tracing::info!("skipped the run of {slot}: {reason}");
            }
        }
        Ok(())
    }

    /// Runs what was asked for, or what a dead process has left.
    async fn adopt(&mut self, orphan: Orphan) {
        let name = match orphan.scheduled_for {
            Some(slot) => format!("the run of {slot}, which another process has left,"),
            None => "the run that was asked for".to_owned(),
        };
        self.execute(orphan.run_id, &name, orphan.seed, orphan.attempts).await;
    }

    async fn execute(&mut self, run_id: Uuid, name: &str, seed: Option<String>, attempts: u32) {
        let run = Begun { run_id, is_scheduled: true, seed, attempts };
        match self.ingest.execute(self.source, self.plan, run, self.shutdown).await {
            Ok(report) => tracing::info!(%run_id, "{name} fetched {}, produced {}", report.fetched, report.produced),
            // It stays claimed until the end of this process, and is the next one's then.
            Err(error) if self.shutdown.is_cancelled() => tracing::warn!(%run_id, "{name} is left to others: {error}"),
            Err(error) => {
                self.ingest.metrics.failed_runs.add(1);
                let hint = error.hint_text().map_or(String::new(), |hint| format!(" (hint: {hint})"));
                tracing::error!(%run_id, "{name} failed: {error}{hint}");
            }
        }
        self.busy_until = Some(Timestamp::now());
    }

    /// Notes the slots between the last one and this: skipped while a run of ours was going, else missed.
    async fn note_passed(&mut self, slot: Timestamp) -> Result<()> {
        let Some(last) = self.last.filter(|last| *last < slot) else { return Ok(()) };
        let passed = self.schedule.timetable.between(last, slot, NOTED_MAX);
        if passed.is_empty() {
            return Ok(());
        }
        let trigger = self.schedule.timetable.trigger();
        let (skipped, missed): (Vec<_>, Vec<_>) =
            passed.into_iter().partition(|passed| self.busy_until.is_some_and(|until| *passed <= until));
        let metrics = &self.ingest.metrics;
        for (slots, why, counted) in
            [(skipped, Unrun::Skipped, &metrics.skipped_slots), (missed, Unrun::Missed, &metrics.missed_slots)]
        {
            if !slots.is_empty() {
                counted.add(slots.len() as u64);
                self.ingest.ledger.note_unrun(trigger, &slots, why).await?;
                tracing::warn!("{} slots were {}", slots.len(), why.state());
            }
        }
        Ok(())
    }

    async fn prune(&mut self) -> Result<()> {
        if Instant::now() >= self.prune_from {
            self.ingest.prune().await?;
            self.prune_from = Instant::now() + PRUNE_INTERVAL;
        }
        Ok(())
    }

    async fn wait(&self, time: Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}

/// The slot that is due now, or how long until the next one. The current one is taken first, then one at a time, never
/// one twice; those that passed meanwhile are not made up for.
fn due(timetable: &Timetable, last: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Duration> {
    let until = |slot: Option<Timestamp>| {
        let ms = slot.map_or(i64::MAX, |slot| (slot.unix_ms() - now.unix_ms()).max(0));
        Duration::from_millis(ms.cast_unsigned())
    };
    let Some(current) = timetable.current(now) else { return Err(until(timetable.next(now))) };
    match last {
        // A clock that was set back by more than a slot would otherwise stop the schedule for as long.
        Some(last) if current <= last && timetable.next(current).is_none_or(|next| last <= next) => {
            Err(until(timetable.next(last)))
        }
        _ => Ok(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms).expect("in range")
    }

    fn due_ms(last: Option<i64>, now: i64) -> Result<i64, u128> {
        let minutes = Timetable::every(Duration::from_mins(1));
        due(&minutes, last.map(time), time(now)).map(Timestamp::unix_ms).map_err(|wait| wait.as_millis())
    }

    #[test]
    fn the_current_slot_is_taken_first_and_then_one_at_a_time() {
        assert_eq!(due_ms(None, 1_234_567), Ok(1_200_000));
        assert_eq!(due_ms(Some(1_200_000), 1_234_567), Err(25_433));
        assert_eq!(due_ms(Some(1_200_000), 1_260_000), Ok(1_260_000));
        assert_eq!(due_ms(Some(1_200_000), 1_500_001), Ok(1_500_000), "those that passed are not made up for");
    }

    #[test]
    fn a_stepped_clock_neither_stops_it_nor_fires_a_slot_twice() {
        assert_eq!(due_ms(Some(7_200_000), 3_600_500), Ok(3_600_000), "an hour back: the schedule follows the clock");
        assert_eq!(due_ms(Some(1_260_000), 1_259_999), Err(60_001), "a millisecond back is no new slot");
        assert_eq!(due_ms(Some(1_200_000), 4_800_000), Ok(4_800_000), "an hour ahead");
    }
}
