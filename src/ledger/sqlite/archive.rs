//! The stored users in SQLite as a backup.

use std::collections::HashSet;

use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite as Dialect};
use uuid::Uuid;

use super::outbox::FORGET_PLACES;
use super::{SqliteLedger, uuid};
use crate::error::Result;
use crate::ledger::{Archive, Published, ROWS_PER_STATEMENT_MAX, Rejection, Row, Run, Selection, count, time};
use crate::record::Timestamp;

const READING: &str = "cannot read the ledger";
/// The owner of a claim that is everybody's to take over.
const NOBODY: &str = "";

impl SqliteLedger {
    /// Narrows a statement on `outbox_users AS users` and `outbox_runs AS runs` to the selection; its `WHERE` has begun.
    fn select(&self, query: &mut QueryBuilder<Dialect>, selection: Selection) {
        query.push("runs.pipeline = ").push_bind(self.pipeline.clone());
        match selection {
            Selection::All => query,
            Selection::Run(run_id) => query.push(" AND runs.run_id = ").push_bind(run_id.to_string()),
            Selection::Since(since) => query.push(" AND users.stored_at >= ").push_bind(since.unix_ms()),
            Selection::Id(id) => query.push(" AND users.id = ").push_bind(id),
        };
    }

    /// Rows of the selection in the order of their keys, where `narrow` says so too.
    async fn rows_where(
        &self,
        selection: Selection,
        narrow: impl FnOnce(&mut QueryBuilder<Dialect>),
        limit: usize,
    ) -> Result<Vec<Row>, sqlx::Error> {
        // Run after run, each in the order of its index: nothing is sorted. Where few are selected, they are found first.
        let join = match selection {
            Selection::All | Selection::Run(_) => "outbox_runs AS runs CROSS JOIN outbox_users AS users",
            Selection::Since(_) | Selection::Id(_) => "outbox_users AS users CROSS JOIN outbox_runs AS runs",
        };
        let mut query = QueryBuilder::<Dialect>::new(
            "SELECT runs.run_id, users.id, users.stored_at, places.published_at, places.partition, places.offset FROM ",
        );
        query.push(join);
        query.push(" ON users.run = runs.run LEFT JOIN outbox_places AS places ON places.user = users.user WHERE ");
        self.select(&mut query, selection);
        narrow(&mut query);
        query.push(" ORDER BY runs.run_id, users.id LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        query.build().fetch_all(&self.database.reader).await?.iter().map(row).collect()
    }

    /// The next page: the rest of the run that the last one ended in, then the runs after it.
    async fn next_rows(
        &self,
        selection: Selection,
        after: Option<(Uuid, Uuid)>,
        limit: usize,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let Some((run_id, id)) = after else { return self.rows_where(selection, |_| {}, limit).await };
        let rest = |query: &mut QueryBuilder<Dialect>| {
            query.push(" AND runs.run_id = ").push_bind(run_id.to_string()).push(" AND users.id > ").push_bind(id);
        };
        let mut rows = self.rows_where(selection, rest, limit).await?;
        if rows.len() < limit {
            let later = |query: &mut QueryBuilder<Dialect>| {
                query.push(" AND runs.run_id > ").push_bind(run_id.to_string());
            };
            rows.extend(self.rows_where(selection, later, limit - rows.len()).await?);
        }
        Ok(rows)
    }

    async fn try_to_requeue(&self, selection: Selection) -> Result<u64, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let claim = self.new_claim(&mut transaction, NOBODY, 0).await?;
        let mut insert = QueryBuilder::<Dialect>::new("INSERT INTO outbox_pending (user, claim) SELECT users.user, ");
        insert.push_bind(claim);
        insert.push(
            " FROM outbox_users AS users JOIN outbox_runs AS runs ON runs.run = users.run
             JOIN outbox_places AS places ON places.user = users.user WHERE ",
        );
        self.select(&mut insert, selection);
        let requeued = insert.build().execute(&mut *transaction).await?.rows_affected();
        sqlx::query(FORGET_PLACES).bind(claim).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(requeued)
    }
}

impl Archive for SqliteLedger {
    async fn rows(&self, selection: Selection, after: Option<(Uuid, Uuid)>, limit: usize) -> Result<Vec<Row>> {
        self.next_rows(selection, after, limit).await.map_err(self.database.failed(READING))
    }

    async fn waiting(&self, selection: Selection, until: Timestamp) -> Result<u64> {
        let mut query = QueryBuilder::<Dialect>::new(
            "SELECT count(*) FROM outbox_pending AS pending
             CROSS JOIN outbox_users AS users ON users.user = pending.user
             CROSS JOIN outbox_runs AS runs ON runs.run = users.run WHERE ",
        );
        self.select(&mut query, selection);
        query.push(" AND users.stored_at <= ").push_bind(until.unix_ms());
        let rows = query.build_query_scalar().fetch_one(&self.database.reader).await;
        rows.map(count).map_err(self.database.failed(READING))
    }

    async fn run(&self, run_id: Uuid) -> Result<Option<Run>> {
        let found = sqlx::query(
            "SELECT run_id, trigger, scheduled_for, started_at, finished_at, state, seed, attempts, fetched, produced,
             rejected, error FROM runs WHERE pipeline = ? AND run_id = ?",
        )
        .bind(&self.pipeline)
        .bind(run_id.to_string())
        .fetch_optional(&self.database.reader)
        .await;
        found.and_then(|row| row.as_ref().map(run).transpose()).map_err(self.database.failed(READING))
    }

    async fn runs(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Run>> {
        let rows = sqlx::query(
            "SELECT run_id, trigger, scheduled_for, started_at, finished_at, state, seed, attempts, fetched, produced,
             rejected, error FROM runs WHERE pipeline = ?1 AND (?2 IS NULL OR run_id < ?2) ORDER BY run_id DESC
             LIMIT ?3",
        )
        .bind(&self.pipeline)
        .bind(before.map(|before| before.to_string()))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.database.reader)
        .await;
        rows.and_then(|rows| rows.iter().map(run).collect()).map_err(self.database.failed(READING))
    }

    async fn records(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>> {
        let found = sqlx::query_as(
            "SELECT users.id, users.record FROM outbox_users AS users JOIN outbox_runs AS runs ON runs.run = users.run
             WHERE runs.pipeline = ? AND users.id IN (SELECT unhex(value, '-') FROM json_each(?))",
        )
        .bind(&self.pipeline)
        .bind(json!(ids).to_string())
        .fetch_all(&self.database.reader)
        .await;
        found.map_err(self.database.failed(READING))
    }

    async fn rejections(&self, id: Uuid) -> Result<Vec<Rejection>> {
        let rows = sqlx::query(
            "SELECT run_id, id, reason, rejected_at FROM rejections WHERE pipeline = ? AND id = ? ORDER BY rejected_at",
        )
        .bind(&self.pipeline)
        .bind(id.to_string())
        .fetch_all(&self.database.reader)
        .await;
        rows.and_then(|rows| rows.iter().map(rejection).collect()).map_err(self.database.failed(READING))
    }

    async fn requeue(&self, selection: Selection) -> Result<u64> {
        self.try_to_requeue(selection).await.map_err(self.database.failed("cannot select users in the ledger"))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        let failed = || self.database.failed("cannot remove old users from the ledger");
        let mut transaction = self.database.begin().await.map_err(failed())?;
        let mut removed = 0;
        // The plus keeps SQLite from an index by run, which leads to all that the pipeline has stored.
        for (at, statement) in [
            "DELETE FROM outbox_users WHERE stored_at < ?2
             AND +run IN (SELECT run FROM outbox_runs WHERE pipeline = ?1)
             AND EXISTS (SELECT 1 FROM outbox_places AS places
                         WHERE places.user = outbox_users.user AND places.published_at < ?2)",
            "DELETE FROM outbox_runs WHERE pipeline = ?1
             AND NOT EXISTS (SELECT 1 FROM outbox_users AS users WHERE users.run = outbox_runs.run)",
            "DELETE FROM rejections WHERE pipeline = ?1 AND rejected_at < ?2",
            "DELETE FROM replayed WHERE pipeline = ?1 AND replayed_at < ?2",
            "DELETE FROM run_logs WHERE at < ?2 AND run_id IN
             (SELECT run_id FROM runs WHERE pipeline = ?1 AND finished_at < ?2)",
            "DELETE FROM runs WHERE pipeline = ?1 AND finished_at < ?2
             AND NOT EXISTS (SELECT 1 FROM outbox_runs WHERE outbox_runs.run_id = runs.run_id)
             AND (next_page IS NULL OR EXISTS (SELECT 1 FROM runs AS later WHERE later.pipeline = runs.pipeline
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
        let mut transaction = self.database.begin().await.map_err(failed())?;
        sqlx::query("INSERT INTO suppressed (pipeline, id, purged_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(&self.pipeline)
            .bind(id.to_string())
            .bind(Timestamp::now().unix_ms())
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        sqlx::query("DELETE FROM rejections WHERE pipeline = ? AND id = ?")
            .bind(&self.pipeline)
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        let delete =
            "DELETE FROM outbox_users WHERE id = ? AND +run IN (SELECT run FROM outbox_runs WHERE pipeline = ?)";
        let delete = sqlx::query(delete).bind(id).bind(&self.pipeline);
        let removed = delete.execute(&mut *transaction).await.map_err(failed())?.rows_affected();
        transaction.commit().await.map_err(failed())?;
        Ok(removed)
    }

    async fn suppressed(&self) -> Result<HashSet<Uuid>> {
        let ids = sqlx::query_scalar("SELECT id FROM suppressed WHERE pipeline = ?")
            .bind(&self.pipeline)
            .fetch_all(&self.database.reader)
            .await;
        ids.and_then(|ids: Vec<String>| ids.iter().map(|id| uuid(id)).collect()).map_err(self.database.failed(READING))
    }

    async fn suppressed_among(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>> {
        let failed = || self.database.failed(READING);
        // Most pipelines never purge anybody, and a page of ids is long.
        let is_any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM suppressed WHERE pipeline = ?)")
            .bind(&self.pipeline)
            .fetch_one(&self.database.reader)
            .await
            .map_err(failed())?;
        if !is_any {
            return Ok(HashSet::new());
        }
        let found = sqlx::query_scalar(
            "SELECT id FROM suppressed WHERE pipeline = ? AND id IN (SELECT value FROM json_each(?))",
        )
        .bind(&self.pipeline)
        .bind(json!(ids).to_string())
        .fetch_all(&self.database.reader)
        .await;
        found.and_then(|ids: Vec<String>| ids.iter().map(|id| uuid(id)).collect()).map_err(failed())
    }

    async fn replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<HashSet<(i32, i64)>> {
        let rows = sqlx::query(
            "SELECT partition, offset FROM replayed WHERE pipeline = ? AND topic = ? AND (partition, offset) IN
             (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
        )
        .bind(&self.pipeline)
        .bind(topic)
        .bind(json!(places).to_string())
        .fetch_all(&self.database.reader)
        .await;
        rows.and_then(|rows| rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect())
            .map_err(self.database.failed(READING))
    }

    async fn mark_replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<()> {
        let failed = || self.database.failed("cannot note replays in the ledger");
        let now = Timestamp::now().unix_ms();
        let mut transaction = self.database.begin().await.map_err(failed())?;
        for rows in places.chunks(ROWS_PER_STATEMENT_MAX) {
            let mut insert =
                QueryBuilder::<Dialect>::new("INSERT INTO replayed (pipeline, topic, partition, offset, replayed_at) ");
            insert.push_values(rows, |mut row, (partition, offset)| {
                row.push_bind(&self.pipeline).push_bind(topic).push_bind(partition).push_bind(offset).push_bind(now);
            });
            insert.push(" ON CONFLICT DO NOTHING");
            insert.build().execute(&mut *transaction).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let published = match row.try_get("published_at")? {
        None => None,
        Some(at) => {
            Some(Published { at: time(at), partition: row.try_get("partition")?, offset: row.try_get("offset")? })
        }
    };
    Ok(Row {
        run_id: uuid(row.try_get("run_id")?)?,
        id: row.try_get("id")?,
        stored_at: time(row.try_get("stored_at")?),
        published,
    })
}

fn rejection(row: &SqliteRow) -> Result<Rejection, sqlx::Error> {
    Ok(Rejection {
        run_id: uuid(row.try_get("run_id")?)?,
        id: row.try_get::<Option<&str>, _>("id")?.map(uuid).transpose()?,
        reason: row.try_get("reason")?,
        at: time(row.try_get("rejected_at")?),
    })
}

fn run(row: &SqliteRow) -> Result<Run, sqlx::Error> {
    Ok(Run {
        run_id: uuid(row.try_get("run_id")?)?,
        trigger: row.try_get("trigger")?,
        scheduled_for: row.try_get::<Option<i64>, _>("scheduled_for")?.map(time),
        started_at: time(row.try_get("started_at")?),
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(time),
        state: row.try_get("state")?,
        seed: row.try_get("seed")?,
        attempts: row.try_get::<u32, _>("attempts")?,
        fetched: count(row.try_get("fetched")?),
        produced: count(row.try_get("produced")?),
        rejected: count(row.try_get("rejected")?),
        error: row.try_get("error")?,
    })
}
