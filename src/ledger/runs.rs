//! The runs of a schedule: each slot is claimed by one process, and what happened to it is kept.
//!
//! A claim is a lease, as in the outbox: whoever runs a slot renews it, and a slot whose process died is taken over.
//! Processes of one pipeline agree through this table alone, whichever machines they are on.

use uuid::Uuid;

use super::{AnyLedger, NewRun, delegate};
use crate::error::Result;
use crate::record::Timestamp;

/// What became of a claim to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The slot is ours to run.
    Ours,
    /// Somebody had it before.
    Taken,
    /// The slot is recorded as skipped: the reason.
    Skipped(&'static str),
}

/// A run that waits for somebody: it was asked for, or its process died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The run.
    pub run_id: Uuid,
    /// What started it.
    pub trigger: String,
    /// The slot it was due at.
    pub scheduled_for: Option<Timestamp>,
    /// The seed its users came from, so that the same ones are fetched again.
    pub seed: Option<String>,
    /// Attempts that were begun before.
    pub attempts: u32,
}

/// Why a slot was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrun {
    /// Nobody was there, or awake.
    Missed,
    /// The run before was still going.
    Skipped,
}

impl Unrun {
    /// As the ledger has it.
    pub fn state(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Skipped => "skipped",
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Missed => "no process was awake",
            Self::Skipped => STILL_GOING,
        }
    }
}

/// What a run sent to one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRange {
    /// The partition, from 0.
    pub partition: i32,
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// Records between them that are of this run.
    pub records: u64,
}

/// A line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// `INFO`, `WARN` or `ERROR`.
    pub level: String,
    /// The words.
    pub text: String,
}

/// Why a paused schedule skips a slot.
pub(super) const PAUSED: &str = "the schedule is paused";
/// Why runs do not overlap.
pub(super) const STILL_GOING: &str = "the run before was still going";
/// What is said of a run that is nobody's any more and that nobody takes over.
pub(super) const DIED: &str = "its process died";

/// Runs of one pipeline, shared by all of its processes.
pub trait Runs: Send + Sync {
    /// Claims a run's slot, in one transaction: at most one process gets it, and only while no other run is going and
    /// the schedule is not paused.
    fn claim_slot(&self, run: &NewRun) -> impl Future<Output = Result<Claim>> + Send;

    /// Claims a run that was asked for, or one of a slot whose process died, unless another run is going. Runs of dead
    /// commands (`once`, `for`, `input`) are recorded as failed, since nobody runs them again.
    fn take_over(&self) -> impl Future<Output = Result<Option<Orphan>>> + Send;

    /// Notes slots that nobody ran; those that somebody has noted or run stay as they are.
    fn note_unrun(&self, trigger: &str, slots: &[Timestamp], why: Unrun) -> impl Future<Output = Result<()>> + Send;

    /// The last slot that was run or noted.
    fn last_slot(&self) -> impl Future<Output = Result<Option<Timestamp>>> + Send;

    /// Notes that a run begins its attempt `attempt` (from 1), and from which seed.
    fn begin_attempt(&self, run_id: Uuid, attempt: u32, seed: Option<&str>) -> impl Future<Output = Result<()>> + Send;

    /// Asks for a run now: its id. A schedule that is running takes it within a second or two, paused or not.
    fn request_run(&self) -> impl Future<Output = Result<Uuid>> + Send;

    /// Pauses (`true`) or resumes the schedule, whoever runs it; whether that changed anything.
    fn set_paused(&self, paused: bool) -> impl Future<Output = Result<bool>> + Send;

    /// Since when the schedule is paused.
    fn paused_since(&self) -> impl Future<Output = Result<Option<Timestamp>>> + Send;

    /// What a run sent, by partition; nothing of it after the ledger was cut back.
    fn sent(&self, run_id: Uuid) -> impl Future<Output = Result<Vec<SentRange>>> + Send;

    /// Adds lines to a run's log.
    fn append_log(&self, run_id: Uuid, lines: &[LogLine]) -> impl Future<Output = Result<()>> + Send;

    /// A run's log, oldest line first.
    fn log(&self, run_id: Uuid) -> impl Future<Output = Result<Vec<LogLine>>> + Send;
}

impl Runs for AnyLedger {
    async fn claim_slot(&self, run: &NewRun) -> Result<Claim> {
        delegate!(self, Claim::Ours, ledger => ledger.claim_slot(run))
    }

    async fn take_over(&self) -> Result<Option<Orphan>> {
        delegate!(self, None, ledger => ledger.take_over())
    }

    async fn note_unrun(&self, trigger: &str, slots: &[Timestamp], why: Unrun) -> Result<()> {
        delegate!(self, (), ledger => ledger.note_unrun(trigger, slots, why))
    }

    async fn last_slot(&self) -> Result<Option<Timestamp>> {
        delegate!(self, None, ledger => ledger.last_slot())
    }

    async fn begin_attempt(&self, run_id: Uuid, attempt: u32, seed: Option<&str>) -> Result<()> {
        delegate!(self, (), ledger => ledger.begin_attempt(run_id, attempt, seed))
    }

    async fn request_run(&self) -> Result<Uuid> {
        delegate!(self, Uuid::nil(), ledger => ledger.request_run())
    }

    async fn set_paused(&self, paused: bool) -> Result<bool> {
        delegate!(self, false, ledger => ledger.set_paused(paused))
    }

    async fn paused_since(&self) -> Result<Option<Timestamp>> {
        delegate!(self, None, ledger => ledger.paused_since())
    }

    async fn sent(&self, run_id: Uuid) -> Result<Vec<SentRange>> {
        delegate!(self, Vec::new(), ledger => ledger.sent(run_id))
    }

    async fn append_log(&self, run_id: Uuid, lines: &[LogLine]) -> Result<()> {
        delegate!(self, (), ledger => ledger.append_log(run_id, lines))
    }

    async fn log(&self, run_id: Uuid) -> Result<Vec<LogLine>> {
        delegate!(self, Vec::new(), ledger => ledger.log(run_id))
    }
}
