//! The ledger in the data directory's SQLite file.

mod archive;
mod audit;
mod runs;

use std::sync::{Arc, LazyLock};

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, QueryBuilder, Row, Sqlite as Dialect, SqliteConnection};
use uuid::Uuid;

use super::{Entry, Ledger, Mark, NewRun, Pending, ROWS_PER_STATEMENT_MAX, Refused, RunEnd, lease_end, run_lease_end};
use crate::error::Result;
use crate::record::Timestamp;
use crate::sql::{Fate, RowStatements, Sqlite};

/// What all rows have in common comes first.
static STORE: LazyLock<RowStatements> = LazyLock::new(|| {
    RowStatements::new(
        "INSERT INTO outbox (run_id, id, pipeline, record, raw, stored_at, claimed_by, claimed_until)
         SELECT ?, column1, ?, column2, column3, ?, ?, ? FROM (VALUES ",
        "(?, ?, ?)",
        ") WHERE true ON CONFLICT (run_id, id) DO UPDATE SET record = excluded.record, raw = excluded.raw,
         stored_at = excluded.stored_at, claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until,
         published_at = NULL",
    )
});
static MARK: LazyLock<RowStatements> = LazyLock::new(|| {
    RowStatements::new(
        "WITH marks (id, partition, offset) AS (VALUES ",
        "(?, ?, ?)",
        ") UPDATE outbox SET partition = marks.partition, offset = marks.offset, published_at = ?
         FROM marks WHERE outbox.id = marks.id AND outbox.run_id = ?",
    )
});

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

    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        run_id: Uuid,
        entries: &[Entry],
    ) -> Result<(), sqlx::Error> {
        let (now, lease, run) = (Timestamp::now().unix_ms(), lease_end(), text(&run_id));
        let (pipeline, owner) = (Arc::<str>::from(&*self.pipeline), Arc::<str>::from(&*self.owner));
        let arguments = |entries: &[Entry]| {
            let mut all = SqliteArguments::default();
            all.reserve(5 + entries.len() * 3, 0);
            all.add(Arc::clone(&run))?;
            all.add(Arc::clone(&pipeline))?;
            all.add(now)?;
            all.add(Arc::clone(&owner))?;
            all.add(lease)?;
            for entry in entries {
                all.add(text(&entry.id))?;
                all.add(Arc::<str>::from(&*entry.record))?;
                all.add(entry.raw.as_deref().map(|raw| Arc::<str>::from(raw.get())))?;
            }
            Ok(all)
        };
        STORE.execute(connection, entries, |entries| arguments(entries).map_err(sqlx::Error::Encode)).await
    }

    /// Claims of this process end at these times, in milliseconds since the epoch.
    async fn set_leases(&self, users_until: i64, runs_until: i64) -> Result<()> {
        let failed = || self.database.failed("cannot keep the claims in the ledger");
        for (statement, until) in [
            (
                "UPDATE outbox SET claimed_until = ? WHERE pipeline = ? AND published_at IS NULL AND claimed_by = ?",
                users_until,
            ),
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
        let failed = || self.database.failed("cannot store users in the ledger");
        let mut turn = self.database.begin_shared().await.map_err(failed())?;
        self.insert(turn.connection(), run_id, entries).await.map_err(failed())?;
        if turn.commit(entries.len()).await == Fate::Durable {
            return Ok(());
        }
        let mut transaction = self.database.begin().await.map_err(failed())?;
        self.insert(&mut transaction, run_id, entries).await.map_err(failed())?;
        transaction.commit().await.map_err(failed())
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
        let failed = || self.database.failed("cannot mark users in the ledger");
        let mut turn = self.database.begin_shared().await.map_err(failed())?;
        update(turn.connection(), run_id, marks).await.map_err(failed())?;
        if turn.commit(marks.len()).await == Fate::Durable {
            return Ok(());
        }
        let mut transaction = self.database.begin().await.map_err(failed())?;
        update(&mut transaction, run_id, marks).await.map_err(failed())?;
        transaction.commit().await.map_err(failed())
    }

    async fn claim_pending(&self, limit: usize) -> Result<Vec<Pending>> {
        let failed = || self.database.failed("cannot read the ledger");
        let rows = sqlx::query(
            "UPDATE outbox SET claimed_by = ?, claimed_until = ? WHERE (run_id, id) IN (
                 SELECT run_id, id FROM outbox
                 WHERE pipeline = ? AND published_at IS NULL AND claimed_until <= ? ORDER BY stored_at LIMIT ?)
             RETURNING run_id, id, record",
        )
        .bind(&self.owner)
        .bind(lease_end())
        .bind(&self.pipeline)
        .bind(Timestamp::now().unix_ms())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.database.writer)
        .await
        .map_err(failed())?;
        rows.iter()
            .map(|row| {
                Ok(Pending { run_id: uuid(row.try_get(0)?)?, id: uuid(row.try_get(1)?)?, record: row.try_get(2)? })
            })
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
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE pipeline = ? AND published_at IS NULL")
            .bind(&self.pipeline)
            .fetch_one(&self.database.reader)
            .await
            .map_err(self.database.failed("cannot read the ledger"))?;
        Ok(rows.max(0).cast_unsigned())
    }
}

async fn update(connection: &mut SqliteConnection, run_id: Uuid, marks: &[Mark]) -> Result<(), sqlx::Error> {
    let (now, run) = (Timestamp::now().unix_ms(), text(&run_id));
    let arguments = |marks: &[Mark]| {
        let mut all = SqliteArguments::default();
        all.reserve(marks.len() * 3 + 2, 0);
        for mark in marks {
            all.add(text(&mark.id))?;
            all.add(mark.partition)?;
            all.add(mark.offset)?;
        }
        all.add(now)?;
        all.add(Arc::clone(&run))?;
        Ok(all)
    };
    MARK.execute(connection, marks, |marks| arguments(marks).map_err(sqlx::Error::Encode)).await
}

/// An id as SQLite has it.
fn text(id: &Uuid) -> Arc<str> {
    Arc::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

/// Ids are text in SQLite, so that its shell shows them.
fn uuid(text: &str) -> Result<Uuid, sqlx::Error> {
    text.parse().map_err(|e: uuid::Error| sqlx::Error::Decode(e.into()))
}
