//! What is remembered of the pipeline as a whole: how the last verification ended, and what all runs did together.

use super::{AnyLedger, delegate};
use crate::error::Result;
use crate::record::Timestamp;

/// How a verification of everything ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// When its cut was taken.
    pub at: Timestamp,
    /// Ids and records that were nowhere.
    pub holes: u64,
    /// Ids on the topic that the ledger did not know.
    pub foreign: u64,
    /// Ids that were on their way still: in flight, or waiting to be sent.
    pub in_flight: u64,
    /// What was found, on one line for a person.
    pub summary: String,
}

/// What all recorded runs of a pipeline did together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Users that the source returned.
    pub fetched: u64,
    /// Users that were rejected.
    pub rejected: u64,
    /// Records that the bus acknowledged.
    pub produced: u64,
    /// Runs that failed.
    pub failed: u64,
}

/// Remembers verifications of one pipeline, and adds up its runs.
pub trait Audit: Send + Sync {
    /// Remembers a verification in place of an older one.
    fn remember(&self, verification: &Verification) -> impl Future<Output = Result<()>> + Send;

    /// The last verification that was remembered.
    fn last_verification(&self) -> impl Future<Output = Result<Option<Verification>>> + Send;

    /// What the runs that have ended did, as far as they are still recorded.
    fn totals(&self) -> impl Future<Output = Result<Totals>> + Send;
}

impl Audit for AnyLedger {
    async fn remember(&self, verification: &Verification) -> Result<()> {
        delegate!(self, (), ledger => ledger.remember(verification))
    }

    async fn last_verification(&self) -> Result<Option<Verification>> {
        delegate!(self, None, ledger => ledger.last_verification())
    }

    async fn totals(&self) -> Result<Totals> {
        delegate!(self, Totals::default(), ledger => ledger.totals())
    }
}
