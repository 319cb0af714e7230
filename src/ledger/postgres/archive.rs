//! The stored users in PostgreSQL as a backup.

use std::collections::HashSet;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Postgres as Dialect, QueryBuilder, Row as _};
use uuid::Uuid;

use super::PostgresLedger;
use crate::error::Result;
use crate::ledger::{Archive, Published, ROWS_PER_STATEMENT_MAX, Rejection, Row, Run, Selection, count, time};
use crate::record::Timestamp;

const READING: &str = "cannot read the ledger";

impl PostgresLedger {
    /// Narrows a statement on `outbox` to the selection; its `WHERE` has begun already.
    fn select(&self, query: &mut QueryBuilder<Dialect>, selection: Selection) {
        query.push("pipeline = ").push_bind(self.pipeline.clone());
        match selection {
            Selection::All => query,
            Selection::Run(run_id) => query.push(" AND run_id = ").push_bind(run_id),
            Selection::Since(since) => query.push(" AND stored_at >= ").push_bind(since.unix_ms()),
            Selection::Id(id) => query.push(" AND id = ").push_bind(id),
        };
    }
}

impl Archive for PostgresLedger {
    async fn rows(&self, selection: Selection, after: Option<(Uuid, Uuid)>, limit: usize) -> Result<Vec<Row>> {
        let mut query = QueryBuilder::<Dialect>::new(
            r#"SELECT run_id, id, stored_at, published_at, partition, "offset" FROM userpipe.outbox WHERE "#,
        );
        self.select(&mut query, selection);
        if let Some((run_id, id)) = after {
            query.push(" AND (run_id, id) > (").push_bind(run_id);
            query.push(", ").push_bind(id).push(")");
        }
        query.push(" ORDER BY run_id, id LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.build().fetch_all(&self.database.pool).await;
        rows.and_then(|rows| rows.iter().map(row).collect()).map_err(self.database.failed(READING))
    }

    async fn waiting(&self, selection: Selection, until: Timestamp) -> Result<u64> {
        let mut query = QueryBuilder::<Dialect>::new("SELECT count(*) FROM userpipe.outbox WHERE ");
        self.select(&mut query, selection);
        query.push(" AND published_at IS NULL AND stored_at <= ").push_bind(until.unix_ms());
        let rows = query.build_query_scalar().fetch_one(&self.database.pool).await;
        rows.map(count).map_err(self.database.failed(READING))
    }

    async fn run(&self, run_id: Uuid) -> Result<Option<Run>> {
        let found = sqlx::query(
            "SELECT run_id, trigger, scheduled_for, started_at, finished_at, state, seed, attempts, fetched, produced,
             rejected, error FROM userpipe.runs WHERE pipeline = $1 AND run_id = $2",
        )
        .bind(&self.pipeline)
        .bind(run_id)
        .fetch_optional(&self.database.pool)
        .await;
        found.and_then(|row| row.as_ref().map(run).transpose()).map_err(self.database.failed(READING))
    }

    async fn runs(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Run>> {
        let rows = sqlx::query(
            "SELECT run_id, trigger, scheduled_for, started_at, finished_at, state, seed, attempts, fetched, produced,
             rejected, error FROM userpipe.runs WHERE pipeline = $1 AND ($2::uuid IS NULL OR run_id < $2)
             ORDER BY run_id DESC LIMIT $3",
        )
        .bind(&self.pipeline)
        .bind(before)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.database.pool)
        .await;
        rows.and_then(|rows| rows.iter().map(run).collect()).map_err(self.database.failed(READING))
    }

    async fn records(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>> {
        let found = sqlx::query_as("SELECT id, record FROM userpipe.outbox WHERE pipeline = $1 AND id = ANY($2)")
            .bind(&self.pipeline)
            .bind(ids)
            .fetch_all(&self.database.pool)
            .await;
        found.map_err(self.database.failed(READING))
    }

    async fn rejections(&self, id: Uuid) -> Result<Vec<Rejection>> {
        let rows = sqlx::query(
            "SELECT run_id, id, reason, rejected_at FROM userpipe.rejections WHERE pipeline = $1 AND id = $2
             ORDER BY rejected_at",
        )
        .bind(&self.pipeline)
        .bind(id)
        .fetch_all(&self.database.pool)
        .await;
        rows.and_then(|rows| rows.iter().map(rejection).collect()).map_err(self.database.failed(READING))
    }

    async fn requeue(&self, selection: Selection) -> Result<u64> {
        let mut update =
            QueryBuilder::<Dialect>::new("UPDATE userpipe.outbox SET published_at = NULL, claimed_until = 0 WHERE ");
        self.select(&mut update, selection);
        update.push(" AND published_at IS NOT NULL");
        let updated = update.build().execute(&self.database.pool).await;
        updated.map(|done| done.rows_affected()).map_err(self.database.failed("cannot select users in the ledger"))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        let failed = || self.database.failed("cannot remove old users from the ledger");
        let mut transaction = self.database.pool.begin().await.map_err(failed())?;
        let mut removed = 0;
        for (at, statement) in [
            "DELETE FROM userpipe.outbox WHERE pipeline = $1 AND stored_at < $2 AND published_at < $2",
            "DELETE FROM userpipe.rejections WHERE pipeline = $1 AND rejected_at < $2",
            "DELETE FROM userpipe.replayed WHERE pipeline = $1 AND replayed_at < $2",
            "DELETE FROM userpipe.run_logs WHERE at < $2 AND run_id IN
             (SELECT run_id FROM userpipe.runs WHERE pipeline = $1 AND finished_at < $2)",
            "DELETE FROM userpipe.runs WHERE pipeline = $1 AND finished_at < $2
             AND NOT EXISTS (SELECT 1 FROM userpipe.outbox WHERE outbox.run_id = runs.run_id)
             AND (next_page IS NULL OR EXISTS (SELECT 1 FROM userpipe.runs AS later WHERE later.pipeline = runs.pipeline
                  AND later.seed = runs.seed AND later.next_page >= runs.next_page AND later.run_id > runs.run_id))",
        ]
        .into_iter()
        .enumerate()
        {
            let delete = sqlx::query(statement).bind(&self.pipeline).bind(before.unix_ms());
            let done = delete.execute(&mut *transaction).await.map_err(failed())?;
            if at == 0 {
                removed = done.rows_affected();
            }
        }
        transaction.commit().await.map_err(failed())?;
        Ok(removed)
    }

    async fn purge(&self, id: Uuid) -> Result<u64> {
        let failed = || self.database.failed("cannot purge a person from the ledger");
        let mut transaction = self.database.pool.begin().await.map_err(failed())?;
        sqlx::query(
            "INSERT INTO userpipe.suppressed (pipeline, id, purged_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(&self.pipeline)
        .bind(id)
        .bind(Timestamp::now().unix_ms())
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
        let mut removed = 0;
        for table in ["rejections", "outbox"] {
            let delete = format!("DELETE FROM userpipe.{table} WHERE pipeline = $1 AND id = $2");
            let delete = sqlx::query(AssertSqlSafe(delete)).bind(&self.pipeline).bind(id);
            removed = delete.execute(&mut *transaction).await.map_err(failed())?.rows_affected();
        }
        transaction.commit().await.map_err(failed())?;
        Ok(removed)
    }

    async fn suppressed(&self) -> Result<HashSet<Uuid>> {
        let ids = sqlx::query_scalar("SELECT id FROM userpipe.suppressed WHERE pipeline = $1")
            .bind(&self.pipeline)
            .fetch_all(&self.database.pool)
            .await;
        ids.map(|ids| ids.into_iter().collect()).map_err(self.database.failed(READING))
    }

    async fn suppressed_among(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>> {
        let found = sqlx::query_scalar("SELECT id FROM userpipe.suppressed WHERE pipeline = $1 AND id = ANY($2)")
            .bind(&self.pipeline)
            .bind(ids)
            .fetch_all(&self.database.pool)
            .await;
        found.map(|ids| ids.into_iter().collect()).map_err(self.database.failed(READING))
    }

    async fn replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<HashSet<(i32, i64)>> {
        let rows = sqlx::query(
            r#"SELECT partition, "offset" FROM userpipe.replayed WHERE pipeline = $1 AND topic = $2
               AND (partition, "offset") IN (SELECT * FROM unnest($3::int[], $4::bigint[]))"#,
        )
        .bind(&self.pipeline)
        .bind(topic)
        .bind(partitions(places))
        .bind(offsets(places))
        .fetch_all(&self.database.pool)
        .await;
        rows.and_then(|rows| rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect())
            .map_err(self.database.failed(READING))
    }

    async fn mark_replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<()> {
        let failed = || self.database.failed("cannot note replays in the ledger");
        let now = Timestamp::now().unix_ms();
        let mut transaction = self.database.pool.begin().await.map_err(failed())?;
        for rows in places.chunks(ROWS_PER_STATEMENT_MAX) {
            sqlx::query(
                r#"INSERT INTO userpipe.replayed (pipeline, topic, partition, "offset", replayed_at)
                   SELECT $1, $2, partition, at, $3 FROM unnest($4::int[], $5::bigint[]) AS places (partition, at)
                   ON CONFLICT DO NOTHING"#,
            )
            .bind(&self.pipeline)
            .bind(topic)
            .bind(now)
            .bind(partitions(rows))
            .bind(offsets(rows))
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }
}

fn partitions(places: &[(i32, i64)]) -> Vec<i32> {
    places.iter().map(|place| place.0).collect()
}

fn offsets(places: &[(i32, i64)]) -> Vec<i64> {
    places.iter().map(|place| place.1).collect()
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let published = match row.try_get("published_at")? {
        None => None,
        Some(at) => {
            Some(Published { at: time(at), partition: row.try_get("partition")?, offset: row.try_get("offset")? })
        }
    };
    Ok(Row {
        run_id: row.try_get("run_id")?,
        id: row.try_get("id")?,
        stored_at: time(row.try_get("stored_at")?),
        published,
    })
}

fn rejection(row: &PgRow) -> Result<Rejection, sqlx::Error> {
    Ok(Rejection {
        run_id: row.try_get("run_id")?,
        id: row.try_get("id")?,
        reason: row.try_get("reason")?,
        at: time(row.try_get("rejected_at")?),
    })
}

fn run(row: &PgRow) -> Result<Run, sqlx::Error> {
    Ok(Run {
        run_id: row.try_get("run_id")?,
        trigger: row.try_get("trigger")?,
        scheduled_for: row.try_get::<Option<i64>, _>("scheduled_for")?.map(time),
        started_at: time(row.try_get("started_at")?),
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(time),
        state: row.try_get("state")?,
        seed: row.try_get("seed")?,
        attempts: row.try_get::<i32, _>("attempts")?.max(0).cast_unsigned(),
        fetched: count(row.try_get("fetched")?),
        produced: count(row.try_get("produced")?),
        rejected: count(row.try_get("rejected")?),
        error: row.try_get("error")?,
    })
}
