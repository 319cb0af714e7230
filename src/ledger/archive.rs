//! What is kept after the sending: the stored users as a backup that can be looked at, sent again, cut back and purged.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{AnyLedger, delegate};
use crate::error::Result;
use crate::record::Timestamp;

/// Which stored users of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those of one run.
    Run(Uuid),
    /// Those stored at or after this time.
    Since(Timestamp),
    /// One person, in every run.
    Id(Uuid),
}

/// A stored user, as far as its way to the bus is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The run that stored it.
    pub run_id: Uuid,
    /// The id.
    pub id: Uuid,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Its acknowledgement by the bus; `None` while it waits in the outbox.
    pub published: Option<Published>,
}

/// An acknowledgement by the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// When it was marked.
    pub at: Timestamp,
    /// The partition, from 0.
    pub partition: i32,
    /// The offset in that partition.
    pub offset: i64,
}

/// A user that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The run that fetched it.
    pub run_id: Uuid,
    /// Its id, where it has what an id is made of.
    pub id: Option<Uuid>,
    /// The field and what is wrong with it.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A run as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its id, a `UUIDv7`.
    pub run_id: Uuid,
    /// What started it: `interval`, `cron`, `manual`, `once`, `for`, `input`.
    pub trigger: String,
    /// The slot it was due at.
    pub scheduled_for: Option<Timestamp>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended; `None` while it is running, or where its process died.
    pub finished_at: Option<Timestamp>,
    /// `requested`, `running`, `success`, `failed`, `missed` or `skipped`.
    pub state: String,
    /// The source's seed.
    pub seed: Option<String>,
    /// How often it was tried; 0 where it never was.
    pub attempts: u32,
    /// Users the source returned.
    pub fetched: u64,
    /// Records the bus acknowledged.
    pub produced: u64,
    /// Users that were rejected.
    pub rejected: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Run {
    /// As one JSON object: what `runs --json` prints, and the dashboard's page reads.
    pub fn document(&self) -> Value {
        json!({
            "run_id": self.run_id,
            "state": self.state,
            "trigger": self.trigger,
            "scheduled_for": self.scheduled_for.map(|at| at.to_string()),
            "started_at": self.started_at.to_string(),
            "finished_at": self.finished_at.map(|at| at.to_string()),
            "duration_ms": self.took().map(|took| took.as_millis()),
            "attempts": self.attempts,
            "seed": self.seed,
            "fetched": self.fetched,
            "rejected": self.rejected,
            "produced": self.produced,
            "error": self.error,
        })
    }

    /// How long it took, all attempts included; `None` while it goes on, and where it never began.
    pub fn took(&self) -> Option<Duration> {
        let ms = self.finished_at?.unix_ms() - self.started_at.unix_ms();
        (self.attempts > 0).then(|| Duration::from_millis(ms.max(0).cast_unsigned()))
    }
}

/// Looks at what one pipeline has stored, and changes it on request. Ids of persons who were purged stay suppressed.
pub trait Archive: Send + Sync {
    /// The next page of the selection in the order of `(run_id, id)`, after this key.
    fn rows(
        &self,
        selection: Selection,
        after: Option<(Uuid, Uuid)>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Row>>> + Send;

    /// How many users of the selection, stored at or before `until`, were never marked as sent.
    fn waiting(&self, selection: Selection, until: Timestamp) -> impl Future<Output = Result<u64>> + Send;

    /// A run of this pipeline.
    fn run(&self, run_id: Uuid) -> impl Future<Output = Result<Option<Run>>> + Send;

    /// The last runs of this pipeline, newest first; where a run is named, those before it.
    fn runs(&self, before: Option<Uuid>, limit: usize) -> impl Future<Output = Result<Vec<Run>>> + Send;

    /// The records of these persons as they were stored, those of every run; in no order.
    fn records(&self, ids: &[Uuid]) -> impl Future<Output = Result<Vec<(Uuid, String)>>> + Send;

    /// Every rejection of this person.
    fn rejections(&self, id: Uuid) -> impl Future<Output = Result<Vec<Rejection>>> + Send;

    /// Makes the selected users wait in the outbox again, free for every process to claim: how many. Those that are
    /// waiting already stay with whoever claims them.
    fn requeue(&self, selection: Selection) -> impl Future<Output = Result<u64>> + Send;

    /// Removes users that were sent, rejections, finished runs without users and notes of replays, all older than
    /// `before`: how many users. What was never sent stays, and so does where a given seed goes on.
    fn prune(&self, before: Timestamp) -> impl Future<Output = Result<u64>> + Send;

    /// Removes a person and suppresses the id for ever, in one transaction: how many stored users it removed.
    fn purge(&self, id: Uuid) -> impl Future<Output = Result<u64>> + Send;

    /// The ids that were purged.
    fn suppressed(&self) -> impl Future<Output = Result<HashSet<Uuid>>> + Send;

    /// Which of these ids were purged.
    fn suppressed_among(&self, ids: &[Uuid]) -> impl Future<Output = Result<HashSet<Uuid>>> + Send;

    /// Which of these records of a dead-letter topic, as (partition, offset), were replayed before.
    fn replayed(&self, topic: &str, places: &[(i32, i64)]) -> impl Future<Output = Result<HashSet<(i32, i64)>>> + Send;

    /// Notes that these records of a dead-letter topic were replayed.
    fn mark_replayed(&self, topic: &str, places: &[(i32, i64)]) -> impl Future<Output = Result<()>> + Send;
}

impl Archive for AnyLedger {
    async fn rows(&self, selection: Selection, after: Option<(Uuid, Uuid)>, limit: usize) -> Result<Vec<Row>> {
        delegate!(self, Vec::new(), ledger => ledger.rows(selection, after, limit))
    }

    async fn waiting(&self, selection: Selection, until: Timestamp) -> Result<u64> {
        delegate!(self, 0, ledger => ledger.waiting(selection, until))
    }

    async fn run(&self, run_id: Uuid) -> Result<Option<Run>> {
        delegate!(self, None, ledger => ledger.run(run_id))
    }

    async fn runs(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Run>> {
        delegate!(self, Vec::new(), ledger => ledger.runs(before, limit))
    }

    async fn records(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>> {
        delegate!(self, Vec::new(), ledger => ledger.records(ids))
    }

    async fn rejections(&self, id: Uuid) -> Result<Vec<Rejection>> {
        delegate!(self, Vec::new(), ledger => ledger.rejections(id))
    }

    async fn requeue(&self, selection: Selection) -> Result<u64> {
        delegate!(self, 0, ledger => ledger.requeue(selection))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        delegate!(self, 0, ledger => ledger.prune(before))
    }

    async fn purge(&self, id: Uuid) -> Result<u64> {
        delegate!(self, 0, ledger => ledger.purge(id))
    }

    async fn suppressed(&self) -> Result<HashSet<Uuid>> {
        delegate!(self, HashSet::new(), ledger => ledger.suppressed())
    }

    async fn suppressed_among(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>> {
        delegate!(self, HashSet::new(), ledger => ledger.suppressed_among(ids))
    }

    async fn replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<HashSet<(i32, i64)>> {
        delegate!(self, HashSet::new(), ledger => ledger.replayed(topic, places))
    }

    async fn mark_replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<()> {
        delegate!(self, (), ledger => ledger.mark_replayed(topic, places))
    }
}
