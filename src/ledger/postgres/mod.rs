//! The ledger in PostgreSQL, schema `userpipe`.

mod archive;
mod audit;
mod runs;

use sqlx::Row;
use uuid::Uuid;

use super::{Entry, Ledger, Mark, NewRun, Pending, ROWS_PER_STATEMENT_MAX, Refused, RunEnd, lease_end, run_lease_end};
use crate::error::Result;
use crate::record::Timestamp;
use crate::sql::Postgres;

/// The outbox and the runs of one pipeline.
#[derive(Clone, Debug)]
pub struct PostgresLedger {
    database: Postgres,
    pipeline: String,
    /// This process, as the owner of claims.
    owner: Uuid,
}

impl PostgresLedger {
    /// A ledger for `pipeline` in a database that is already migrated.
    pub fn new(database: Postgres, pipeline: String) -> Self {
        Self { database, pipeline, owner: Uuid::now_v7() }
    }

    /// Claims of this process end at these times, in milliseconds since the epoch.
    async fn set_leases(&self, users_until: i64, runs_until: i64) -> Result<()> {
        let failed = || self.database.failed("cannot keep the claims in the ledger");
        for (statement, until) in [
            (
                "UPDATE userpipe.outbox SET claimed_until = $1
                 WHERE pipeline = $2 AND published_at IS NULL AND claimed_by = $3",
                users_until,
            ),
            (
                "UPDATE userpipe.runs SET claimed_until = $1 WHERE pipeline = $2 AND state = 'running' AND claimed_by = $3",
                runs_until,
            ),
        ] {
            let update = sqlx::query(statement).bind(until).bind(&self.pipeline).bind(self.owner);
            update.execute(&self.database.pool).await.map_err(failed())?;
        }
        Ok(())
    }
}

impl Ledger for PostgresLedger {
    async fn start_run(&self, run: &NewRun) -> Result<()> {
        sqlx::query(
            "INSERT INTO userpipe.runs (run_id, pipeline, trigger, scheduled_for, started_at, state, seed, claimed_by,
             claimed_until) VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8)",
        )
        .bind(run.run_id)
        .bind(&self.pipeline)
        .bind(run.trigger)
        .bind(run.scheduled_for.map(Timestamp::unix_ms))
        .bind(Timestamp::now().unix_ms())
        .bind(&run.seed)
        .bind(self.owner)
        .bind(run_lease_end())
        .execute(&self.database.pool)
        .await
        .map_err(self.database.failed("cannot record the run in the ledger"))?;
        Ok(())
    }

    async fn finish_run(&self, run_id: Uuid, end: &RunEnd) -> Result<()> {
        sqlx::query(
            "UPDATE userpipe.runs SET finished_at = $1, state = $2, fetched = $3, produced = $4, rejected = $5,
             next_page = $6, error = $7 WHERE run_id = $8",
        )
        .bind(Timestamp::now().unix_ms())
        .bind(end.state())
        .bind(end.fetched.cast_signed())
        .bind(end.produced.cast_signed())
        .bind(end.rejected.cast_signed())
        .bind(end.next_page.map(u64::cast_signed))
        .bind(&end.error)
        .bind(run_id)
        .execute(&self.database.pool)
        .await
        .map_err(self.database.failed("cannot record the run in the ledger"))?;
        Ok(())
    }

    async fn next_page(&self, seed: &str) -> Result<Option<u64>> {
        let page: Option<i64> =
            sqlx::query_scalar("SELECT max(next_page) FROM userpipe.runs WHERE pipeline = $1 AND seed = $2")
                .bind(&self.pipeline)
                .bind(seed)
                .fetch_one(&self.database.pool)
                .await
                .map_err(self.database.failed("cannot read the ledger"))?;
        Ok(Some(page.map_or(1, |page| page.max(1).cast_unsigned())))
    }

    async fn store(&self, run_id: Uuid, entries: &[Entry]) -> Result<()> {
        let failed = || self.database.failed("cannot store users in the ledger");
        let mut transaction = self.database.pool.begin().await.map_err(failed())?;
        for rows in entries.chunks(ROWS_PER_STATEMENT_MAX) {
            let ids: Vec<Uuid> = rows.iter().map(|e| e.id).collect();
            let records: Vec<&str> = rows.iter().map(|e| &*e.record).collect();
            let raws: Vec<Option<&str>> =
                rows.iter().map(|e| e.raw.as_deref().map(serde_json::value::RawValue::get)).collect();
            sqlx::query(
                r"INSERT INTO userpipe.outbox (run_id, id, pipeline, record, raw, stored_at, claimed_by, claimed_until)
                   SELECT $1, id, $2, record, raw, $3, $4, $5
                   FROM unnest($6::uuid[], $7::text[], $8::text[]) AS rows (id, record, raw)
                   ON CONFLICT (run_id, id) DO UPDATE SET record = excluded.record, raw = excluded.raw,
                   stored_at = excluded.stored_at, claimed_by = excluded.claimed_by,
                   claimed_until = excluded.claimed_until, published_at = NULL",
            )
            .bind(run_id)
            .bind(&self.pipeline)
            .bind(Timestamp::now().unix_ms())
            .bind(self.owner)
            .bind(lease_end())
            .bind(ids)
            .bind(records)
            .bind(raws)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }

    async fn reject(&self, run_id: Uuid, refused: &[Refused]) -> Result<()> {
        let failed = || self.database.failed("cannot note rejected users in the ledger");
        let mut transaction = self.database.pool.begin().await.map_err(failed())?;
        for rows in refused.chunks(ROWS_PER_STATEMENT_MAX) {
            let ids: Vec<Option<Uuid>> = rows.iter().map(|one| one.id).collect();
            let reasons: Vec<&str> = rows.iter().map(|one| one.reason.as_str()).collect();
            let raws: Vec<Option<&str>> =
                rows.iter().map(|one| one.raw.as_deref().map(serde_json::value::RawValue::get)).collect();
            sqlx::query(
                "INSERT INTO userpipe.rejections (run_id, pipeline, id, reason, raw, rejected_at)
                 SELECT $1, $2, id, reason, raw, $3
                 FROM unnest($4::uuid[], $5::text[], $6::text[]) AS rows (id, reason, raw)",
            )
            .bind(run_id)
            .bind(&self.pipeline)
            .bind(Timestamp::now().unix_ms())
            .bind(ids)
            .bind(reasons)
            .bind(raws)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }

    async fn mark(&self, run_id: Uuid, marks: &[Mark]) -> Result<()> {
        let failed = || self.database.failed("cannot mark users in the ledger");
        let mut transaction = self.database.pool.begin().await.map_err(failed())?;
        for rows in marks.chunks(ROWS_PER_STATEMENT_MAX) {
            let ids: Vec<Uuid> = rows.iter().map(|mark| mark.id).collect();
            let partitions: Vec<i32> = rows.iter().map(|mark| mark.partition).collect();
            let offsets: Vec<i64> = rows.iter().map(|mark| mark.offset).collect();
            sqlx::query(
                r#"UPDATE userpipe.outbox AS o SET partition = marks.partition, "offset" = marks.at, published_at = $1
                   FROM unnest($2::uuid[], $3::int[], $4::bigint[]) AS marks (id, partition, at)
                   WHERE o.run_id = $5 AND o.id = marks.id"#,
            )
            .bind(Timestamp::now().unix_ms())
            .bind(ids)
            .bind(partitions)
            .bind(offsets)
            .bind(run_id)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }

    async fn claim_pending(&self, limit: usize) -> Result<Vec<Pending>> {
        let failed = || self.database.failed("cannot read the ledger");
        let rows = sqlx::query(
            "UPDATE userpipe.outbox AS o SET claimed_by = $1, claimed_until = $2
             FROM (SELECT run_id, id FROM userpipe.outbox
                   WHERE pipeline = $3 AND published_at IS NULL AND claimed_until <= $4
                   ORDER BY stored_at LIMIT $5 FOR UPDATE SKIP LOCKED) AS due
             WHERE o.run_id = due.run_id AND o.id = due.id
             RETURNING o.run_id, o.id, o.record",
        )
        .bind(self.owner)
        .bind(lease_end())
        .bind(&self.pipeline)
        .bind(Timestamp::now().unix_ms())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.database.pool)
        .await
        .map_err(failed())?;
        rows.iter()
            .map(|row| Ok(Pending { run_id: row.try_get(0)?, id: row.try_get(1)?, record: row.try_get(2)? }))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(failed())
    }

    async fn renew(&self) -> Result<()> {
        self.set_leases(lease_end(), run_lease_end()).await
    }

    async fn release(&self) -> Result<()> {
        self.set_leases(0, 0).await
    }

    async fn unsent(&self) -> Result<u64> {
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM userpipe.outbox WHERE pipeline = $1 AND published_at IS NULL")
                .bind(&self.pipeline)
                .fetch_one(&self.database.pool)
                .await
                .map_err(self.database.failed("cannot read the ledger"))?;
        Ok(rows.max(0).cast_unsigned())
    }
}
