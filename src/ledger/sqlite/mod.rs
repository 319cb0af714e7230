//! The ledger in the data directory's SQLite file.

mod archive;
mod audit;
mod outbox;
mod runs;

use sqlx::{QueryBuilder, Sqlite as Dialect};
use uuid::Uuid;

use super::{
    Entry, Ledger, Mark, NewRun, Pending, ROWS_PER_STATEMENT_MAX, Refused, RunEnd, count, lease_end, run_lease_end,
};
use crate::error::Result;
use crate::record::Timestamp;
use crate::sql::Sqlite;
use outbox::{Marking, Storing};

/// The outbox and the runs of one pipeline.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    database: Sqlite,
    pipeline: String,
    /// This process, as the owner of claims.
    owner: String,
}

impl SqliteLedger {
    /// A ledger for `pipeline` in an open database.
    pub fn new(database: Sqlite, pipeline: String) -> Self {
        Self { database, pipeline, owner: Uuid::now_v7().to_string() }
    }

    /// Claims of this process end at these times, in milliseconds since the epoch.
    async fn set_leases(&self, users_until: i64, runs_until: i64) -> Result<()> {
        let failed = || self.database.failed("cannot keep the claims in the ledger");
        for (statement, until) in [
            ("UPDATE outbox_claims SET until = ? WHERE pipeline = ? AND owner = ?", users_until),
            (
                "UPDATE runs SET claimed_until = ? WHERE pipeline = ? AND state = 'running' AND claimed_by = ?",
                runs_until,
            ),
        ] {
            let update = sqlx::query(statement).bind(until).bind(&self.pipeline).bind(&self.owner);
            update.execute(&self.database.writer).await.map_err(failed())?;
        }
        Ok(())
    }
}

impl Ledger for SqliteLedger {
    async fn start_run(&self, run: &NewRun) -> Result<()> {
        sqlx::query(
            "INSERT INTO runs (run_id, pipeline, trigger, scheduled_for, started_at, state, seed, claimed_by,
             claimed_until) VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?)",
        )
        .bind(run.run_id.to_string())
        .bind(&self.pipeline)
        .bind(run.trigger)
        .bind(run.scheduled_for.map(Timestamp::unix_ms))
        .bind(Timestamp::now().unix_ms())
        .bind(&run.seed)
        .bind(&self.owner)
        .bind(run_lease_end())
        .execute(&self.database.writer)
        .await
        .map_err(self.database.failed("cannot record the run in the ledger"))?;
        Ok(())
    }

    async fn finish_run(&self, run_id: Uuid, end: &RunEnd) -> Result<()> {
        sqlx::query(
            "UPDATE runs SET finished_at = ?, state = ?, fetched = ?, produced = ?, rejected = ?, next_page = ?,
             error = ? WHERE run_id = ?",
        )
        .bind(Timestamp::now().unix_ms())
        .bind(end.state())
        .bind(end.fetched.cast_signed())
        .bind(end.produced.cast_signed())
        .bind(end.rejected.cast_signed())
        .bind(end.next_page.map(u64::cast_signed))
        .bind(&end.error)
        .bind(run_id.to_string())
        .execute(&self.database.writer)
        .await
        .map_err(self.database.failed("cannot record the run in the ledger"))?;
        Ok(())
    }

    async fn next_page(&self, seed: &str) -> Result<Option<u64>> {
        let page: Option<i64> = sqlx::query_scalar("SELECT max(next_page) FROM runs WHERE pipeline = ? AND seed = ?")
            .bind(&self.pipeline)
            .bind(seed)
            .fetch_one(&self.database.reader)
            .await
            .map_err(self.database.failed("cannot read the ledger"))?;
        Ok(Some(page.map_or(1, |page| page.max(1).cast_unsigned())))
    }

    async fn store(&self, run_id: Uuid, entries: &[Entry]) -> Result<()> {
        let storing = Storing { ledger: self, run_id, entries };
        self.database
            .write(entries.len(), &storing)
            .await
            .map_err(self.database.failed("cannot store users in the ledger"))
    }

    async fn reject(&self, run_id: Uuid, refused: &[Refused]) -> Result<()> {
        let failed = || self.database.failed("cannot note rejected users in the ledger");
        let (now, run) = (Timestamp::now().unix_ms(), run_id.to_string());
        let mut transaction = self.database.begin().await.map_err(failed())?;
        for rows in refused.chunks(ROWS_PER_STATEMENT_MAX) {
            let mut insert = QueryBuilder::<Dialect>::new(
                "INSERT INTO rejections (run_id, pipeline, id, reason, raw, rejected_at) ",
            );
            insert.push_values(rows, |mut row, one| {
                row.push_bind(&run)
                    .push_bind(&self.pipeline)
                    .push_bind(one.id.map(|id| id.to_string()))
                    .push_bind(&one.reason)
                    .push_bind(one.raw.as_deref().map(serde_json::value::RawValue::get))
                    .push_bind(now);
            });
            insert.build().execute(&mut *transaction).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }

    async fn mark(&self, run_id: Uuid, marks: &[Mark]) -> Result<()> {
        let marking = Marking { run_id, marks };
        self.database
            .write(marks.len(), &marking)
            .await
            .map_err(self.database.failed("cannot mark users in the ledger"))
    }

    async fn claim_pending(&self, limit: usize) -> Result<Vec<Pending>> {
        self.try_to_claim_pending(limit).await.map_err(self.database.failed("cannot read the ledger"))
    }

    async fn renew(&self) -> Result<()> {
        self.set_leases(lease_end(), run_lease_end()).await
    }

    async fn release(&self) -> Result<()> {
        self.set_leases(0, 0).await
    }

    async fn unsent(&self) -> Result<u64> {
        let rows: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM outbox_pending AS pending JOIN outbox_claims AS claims ON claims.claim = pending.claim
             WHERE claims.pipeline = ?",
        )
        .bind(&self.pipeline)
        .fetch_one(&self.database.reader)
        .await
        .map_err(self.database.failed("cannot read the ledger"))?;
        Ok(count(rows))
    }
}

/// Ids are text beside the outbox, so that SQLite's shell shows them.
fn uuid(text: &str) -> Result<Uuid, sqlx::Error> {
    text.parse().map_err(|e: uuid::Error| sqlx::Error::Decode(e.into()))
}

#[cfg(test)]
mod tests;
