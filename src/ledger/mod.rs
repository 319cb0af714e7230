//! The ledger: every user is stored here before it is sent (the transactional outbox), and every run is recorded.
//!
//! The contract is [`Ledger`]. A row is claimed by the process that stored it, with a lease that this process renews
//! while it lives; after the bus has acknowledged, the row is marked with partition and offset. What was never marked
//! is claimed once its lease has run out, by whichever process of the same pipeline comes first, and sent again.
//!
//! Afterwards the rows are the backup: [`Archive`] looks at them, sends them again, cuts them back and purges persons.
//! [`Audit`] remembers how the pipeline as a whole was found.

mod archive;
mod audit;
mod postgres;
pub mod runs;
mod sqlite;

use std::time::Duration;

use bytestring::ByteString;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::Result;
use crate::record::Timestamp;

pub use archive::{Archive, Published, Rejection, Row, Run, Selection};
pub use audit::{Audit, Totals, Verification};
pub use postgres::PostgresLedger;
pub use runs::{Claim, LogLine, Orphan, Runs, SentRange, Unrun};
pub use sqlite::SqliteLedger;

/// How long rows stay claimed by a process that is not heard of any more; a live one renews.
pub const CLAIM_LEASE: Duration = Duration::from_secs(15);
/// How long a run stays claimed by a process that is not heard of any more. Shorter, since slots wait for it.
const RUN_LEASE: Duration = Duration::from_secs(6);
/// How often a process renews its claims: several times within each lease.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// The most rows one statement writes.
const ROWS_PER_STATEMENT_MAX: usize = 500;

/// A run as it starts.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// `UUIDv7`, so that runs sort by their start.
    pub run_id: Uuid,
    /// What started it: `interval`, `cron`, `manual`, `once`, `for`, `input`.
    pub trigger: &'static str,
    /// The slot it was due at.
    pub scheduled_for: Option<Timestamp>,
    /// The source's seed.
    pub seed: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct RunEnd {
    /// Users the source returned.
    pub fetched: u64,
    /// Records the bus acknowledged.
    pub produced: u64,
    /// Users that were rejected.
    pub rejected: u64,
    /// The page to go on from, under a seed that was given.
    pub next_page: Option<u64>,
    /// Why it failed; `None` is success.
    pub error: Option<String>,
}

impl RunEnd {
    fn state(&self) -> &'static str {
        if self.error.is_none() { "success" } else { "failed" }
    }
}

/// A user to store.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The id.
    pub id: Uuid,
    /// The record as JSON with the 13 fields.
    pub record: ByteString,
    /// The API's object less its secrets, where the user came from the API.
    pub raw: Option<Box<RawValue>>,
}

/// A user that was rejected, to note.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its id, where it has what an id is made of.
    pub id: Option<Uuid>,
    /// The field and what is wrong with it.
    pub reason: String,
    /// The API's object less its secrets, where the user came from the API.
    pub raw: Option<Box<RawValue>>,
}

/// A stored user that was never marked as sent.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The run that stored it.
    pub run_id: Uuid,
    /// The id.
    pub id: Uuid,
    /// The record as JSON with the 13 fields.
    pub record: String,
}

/// A stored user that the bus has acknowledged, and where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The id.
    pub id: Uuid,
    /// The partition, from 0.
    pub partition: i32,
    /// The offset in that partition.
    pub offset: i64,
}

/// Stores runs and users of one pipeline.
pub trait Ledger: Send + Sync {
    /// Whether users are stored at all: if not, nobody need make entries and marks.
    fn stores_users(&self) -> bool {
        true
    }

    /// Records that a run has started.
    fn start_run(&self, run: &NewRun) -> impl Future<Output = Result<()>> + Send;

    /// Records how it ended.
    fn finish_run(&self, run_id: Uuid, end: &RunEnd) -> impl Future<Output = Result<()>> + Send;

    /// The page after the last one that a run of this pipeline took under `seed`; 1 if there was none, and `None` where
    /// nobody knows.
    fn next_page(&self, seed: &str) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Stores users of a run and claims them for this process. All or none. The ids must be distinct; an id the run
    /// has already stored is replaced and is to be sent again.
    fn store(&self, run_id: Uuid, entries: &[Entry]) -> impl Future<Output = Result<()>> + Send;

    /// Notes users that were rejected.
    fn reject(&self, run_id: Uuid, refused: &[Refused]) -> impl Future<Output = Result<()>> + Send;

    /// Marks users as acknowledged by the bus.
    fn mark(&self, run_id: Uuid, marks: &[Mark]) -> impl Future<Output = Result<()>> + Send;

    /// Claims at most `limit` rows of this pipeline that were never marked and whose lease has run out.
    fn claim_pending(&self, limit: usize) -> impl Future<Output = Result<Vec<Pending>>> + Send;

    /// Extends the lease on everything this process has claimed and not yet marked.
    fn renew(&self) -> impl Future<Output = Result<()>> + Send;

    /// Gives up this process's claims, so that the next process need not wait.
    fn release(&self) -> impl Future<Output = Result<()>> + Send;

    /// How many rows of this pipeline were never marked, whoever claims them.
    fn unsent(&self) -> impl Future<Output = Result<u64>> + Send;
}

/// The ledger that was chosen, or none.
#[derive(Clone, Debug)]
pub enum AnyLedger {
    /// `--ledger off`
    Off,
    /// In the data directory.
    Sqlite(SqliteLedger),
    /// In PostgreSQL.
    Postgres(PostgresLedger),
}

/// Calls the ledger that was chosen; without one, nothing is stored and nothing is pending.
macro_rules! delegate {
    ($self:ident, $off:expr, $ledger:ident => $call:expr) => {
        match $self {
            AnyLedger::Off => Ok($off),
            AnyLedger::Sqlite($ledger) => $call.await,
            AnyLedger::Postgres($ledger) => $call.await,
        }
    };
}
use delegate;

impl Ledger for AnyLedger {
    fn stores_users(&self) -> bool {
        !matches!(self, AnyLedger::Off)
    }

    async fn start_run(&self, run: &NewRun) -> Result<()> {
        delegate!(self, (), ledger => ledger.start_run(run))
    }

    async fn finish_run(&self, run_id: Uuid, end: &RunEnd) -> Result<()> {
        delegate!(self, (), ledger => ledger.finish_run(run_id, end))
    }

    async fn next_page(&self, seed: &str) -> Result<Option<u64>> {
        delegate!(self, None, ledger => ledger.next_page(seed))
    }

    async fn store(&self, run_id: Uuid, entries: &[Entry]) -> Result<()> {
        delegate!(self, (), ledger => ledger.store(run_id, entries))
    }

    async fn reject(&self, run_id: Uuid, refused: &[Refused]) -> Result<()> {
        delegate!(self, (), ledger => ledger.reject(run_id, refused))
    }

    async fn mark(&self, run_id: Uuid, marks: &[Mark]) -> Result<()> {
        delegate!(self, (), ledger => ledger.mark(run_id, marks))
    }

    async fn claim_pending(&self, limit: usize) -> Result<Vec<Pending>> {
        delegate!(self, Vec::new(), ledger => ledger.claim_pending(limit))
    }

    async fn renew(&self) -> Result<()> {
        delegate!(self, (), ledger => ledger.renew())
    }

    async fn release(&self) -> Result<()> {
        delegate!(self, (), ledger => ledger.release())
    }

    async fn unsent(&self) -> Result<u64> {
        delegate!(self, 0, ledger => ledger.unsent())
    }
}

/// The end of a claim to users made now, in milliseconds since the epoch.
fn lease_end() -> i64 {
    Timestamp::now().after(CLAIM_LEASE).unix_ms()
}

/// The end of a claim to a run made now, in milliseconds since the epoch.
fn run_lease_end() -> i64 {
    Timestamp::now().after(RUN_LEASE).unix_ms()
}

/// A time of the ledger's tables.
fn time(unix_ms: i64) -> Timestamp {
    Timestamp::saturating_from_unix_ms(unix_ms)
}

/// A count of the ledger's tables, which know no unsigned numbers.
fn count(rows: i64) -> u64 {
    rows.max(0).cast_unsigned()
}
