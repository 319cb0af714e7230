//! The runs of a schedule in SQLite.

use sqlx::{QueryBuilder, Row as _, Sqlite as Dialect, Transaction};
use uuid::Uuid;

use super::{SqliteLedger, uuid};
use crate::error::Result;
use crate::ledger::runs::{Claim, DIED, LogLine, Orphan, PAUSED, Runs, STILL_GOING, SentRange, Unrun};
use crate::ledger::{NewRun, ROWS_PER_STATEMENT_MAX, count, run_lease_end, time};
use crate::record::Timestamp;

const RECORDING: &str = "cannot record the run in the ledger";
const READING: &str = "cannot read the runs in the ledger";

impl SqliteLedger {
    /// Whether a run of the schedule is going that is not abandoned.
    async fn is_running(&self, transaction: &mut Transaction<'_, Dialect>) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE pipeline = ?1 AND state = 'running'
             AND claimed_until > ?2 AND trigger IN ('interval', 'cron', 'manual'))",
        )
        .bind(&self.pipeline)
        .bind(Timestamp::now().unix_ms())
        .fetch_one(&mut **transaction)
        .await
    }

    async fn try_to_claim(&self, run: &NewRun) -> Result<Claim, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let is_taken: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM runs WHERE pipeline = ?1 AND scheduled_for = ?2)")
                .bind(&self.pipeline)
                .bind(run.scheduled_for.map(Timestamp::unix_ms))
                .fetch_one(&mut *transaction)
                .await?;
        if is_taken {
            return Ok(Claim::Taken);
        }
        let is_paused: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM paused_schedules WHERE pipeline = ?1)")
            .bind(&self.pipeline)
            .fetch_one(&mut *transaction)
            .await?;
        let skipped = match (is_paused, self.is_running(&mut transaction).await?) {
            (true, _) => Some(PAUSED),
            (false, true) => Some(STILL_GOING),
            (false, false) => None,
        };
        let now = Timestamp::now().unix_ms();
        sqlx::query(
            "INSERT INTO runs (run_id, pipeline, trigger, scheduled_for, started_at, finished_at, state, seed,
             attempts, claimed_by, claimed_until, error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )
        .bind(run.run_id.to_string())
        .bind(&self.pipeline)
        .bind(run.trigger)
        .bind(run.scheduled_for.map(Timestamp::unix_ms))
        .bind(now)
        .bind(skipped.map(|_| now))
        .bind(skipped.map_or("running", |_| "skipped"))
        .bind(&run.seed)
        .bind(i32::from(skipped.is_none()))
        .bind(&self.owner)
        .bind(skipped.map_or_else(run_lease_end, |_| 0))
        .bind(skipped)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(skipped.map_or(Claim::Ours, Claim::Skipped))
    }

    async fn try_to_take_over(&self) -> Result<Option<Orphan>, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let now = Timestamp::now().unix_ms();
        sqlx::query(
            "UPDATE runs SET state = 'failed', finished_at = ?1, error = ?2
             WHERE pipeline = ?3 AND state = 'running' AND claimed_until <= ?1
             AND trigger NOT IN ('interval', 'cron', 'manual')",
        )
        .bind(now)
        .bind(DIED)
        .bind(&self.pipeline)
        .execute(&mut *transaction)
        .await?;
        let mut orphan = None;
        if !self.is_running(&mut transaction).await? {
            let row = sqlx::query(
                "UPDATE runs SET state = 'running', claimed_by = ?1, claimed_until = ?2,
                 started_at = CASE state WHEN 'requested' THEN ?3 ELSE started_at END
                 WHERE run_id = (SELECT run_id FROM runs WHERE pipeline = ?4
                     AND (state = 'requested' OR (state = 'running' AND claimed_until <= ?3))
                     ORDER BY started_at LIMIT 1)
                 RETURNING run_id, trigger, scheduled_for, seed, attempts",
            )
            .bind(&self.owner)
            .bind(run_lease_end())
            .bind(now)
            .bind(&self.pipeline)
            .fetch_optional(&mut *transaction)
            .await?;
            orphan = row.map(|row| {
                Ok::<_, sqlx::Error>(Orphan {
                    run_id: uuid(row.try_get(0)?)?,
                    trigger: row.try_get(1)?,
                    scheduled_for: row.try_get::<Option<i64>, _>(2)?.map(time),
                    seed: row.try_get(3)?,
                    attempts: row.try_get(4)?,
                })
            });
        }
        transaction.commit().await?;
        orphan.transpose()
    }
}

impl Runs for SqliteLedger {
    async fn claim_slot(&self, run: &NewRun) -> Result<Claim> {
        self.try_to_claim(run).await.map_err(self.database.failed(RECORDING))
    }

    async fn take_over(&self) -> Result<Option<Orphan>> {
        self.try_to_take_over().await.map_err(self.database.failed(RECORDING))
    }

    async fn note_unrun(&self, trigger: &str, slots: &[Timestamp], why: Unrun) -> Result<()> {
        let now = Timestamp::now().unix_ms();
        for slots in slots.chunks(ROWS_PER_STATEMENT_MAX) {
            let mut insert = QueryBuilder::<Dialect>::new(
                "INSERT INTO runs (run_id, pipeline, trigger, scheduled_for, started_at, finished_at, state, attempts,
                 error) ",
            );
            insert.push_values(slots, |mut row, slot| {
                row.push_bind(Uuid::now_v7().to_string())
                    .push_bind(&self.pipeline)
                    .push_bind(trigger)
                    .push_bind(slot.unix_ms())
                    .push_bind(now)
                    .push_bind(now)
                    .push_bind(why.state())
                    .push_bind(0)
                    .push_bind(why.reason());
            });
            insert.push(" ON CONFLICT DO NOTHING");
            let done = insert.build().execute(&self.database.writer).await;
            done.map_err(self.database.failed(RECORDING))?;
        }
        Ok(())
    }

    async fn last_slot(&self) -> Result<Option<Timestamp>> {
        let slot: Option<i64> = sqlx::query_scalar("SELECT max(scheduled_for) FROM runs WHERE pipeline = ?1")
            .bind(&self.pipeline)
            .fetch_one(&self.database.reader)
            .await
            .map_err(self.database.failed(READING))?;
        Ok(slot.map(time))
    }

    async fn begin_attempt(&self, run_id: Uuid, attempt: u32, seed: Option<&str>) -> Result<()> {
        sqlx::query("UPDATE runs SET attempts = ?1, seed = ?2 WHERE run_id = ?3")
            .bind(attempt.cast_signed())
            .bind(seed)
            .bind(run_id.to_string())
            .execute(&self.database.writer)
            .await
            .map_err(self.database.failed(RECORDING))?;
        Ok(())
    }

    async fn request_run(&self) -> Result<Uuid> {
        let run_id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO runs (run_id, pipeline, trigger, started_at, state, attempts)
             VALUES (?1, ?2, 'manual', ?3, 'requested', 0)",
        )
        .bind(run_id.to_string())
        .bind(&self.pipeline)
        .bind(Timestamp::now().unix_ms())
        .execute(&self.database.writer)
        .await
        .map_err(self.database.failed(RECORDING))?;
        Ok(run_id)
    }

    async fn set_paused(&self, paused: bool) -> Result<bool> {
        let statement = if paused {
            "INSERT INTO paused_schedules (pipeline, paused_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM paused_schedules WHERE pipeline = ?1 AND paused_at <= ?2"
        };
        let changed = sqlx::query(statement)
            .bind(&self.pipeline)
            .bind(if paused { Timestamp::now().unix_ms() } else { i64::MAX })
            .execute(&self.database.writer)
            .await
            .map_err(self.database.failed("cannot change the schedule in the ledger"))?;
        Ok(changed.rows_affected() > 0)
    }

    async fn paused_since(&self) -> Result<Option<Timestamp>> {
        let since: Option<i64> = sqlx::query_scalar("SELECT paused_at FROM paused_schedules WHERE pipeline = ?1")
            .bind(&self.pipeline)
            .fetch_optional(&self.database.reader)
            .await
            .map_err(self.database.failed(READING))?;
        Ok(since.map(time))
    }

    async fn sent(&self, run_id: Uuid) -> Result<Vec<SentRange>> {
        let rows = sqlx::query(
            "SELECT places.partition, min(places.offset), max(places.offset), count(*)
             FROM outbox_runs AS runs
             CROSS JOIN outbox_users AS users ON users.run = runs.run
             CROSS JOIN outbox_places AS places ON places.user = users.user
             WHERE runs.pipeline = ?1 AND runs.run_id = ?2 GROUP BY places.partition ORDER BY places.partition",
        )
        .bind(&self.pipeline)
        .bind(run_id.to_string())
        .fetch_all(&self.database.reader)
        .await;
        rows.and_then(|rows| {
            let range = |row: &sqlx::sqlite::SqliteRow| {
                let (partition, first, last) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                Ok(SentRange { partition, first, last, records: count(row.try_get(3)?) })
            };
            rows.iter().map(range).collect()
        })
        .map_err(self.database.failed(READING))
    }

    async fn append_log(&self, run_id: Uuid, lines: &[LogLine]) -> Result<()> {
        let run_id = run_id.to_string();
        for lines in lines.chunks(ROWS_PER_STATEMENT_MAX) {
            let mut insert = QueryBuilder::<Dialect>::new("INSERT INTO run_logs (run_id, at, level, text) ");
            insert.push_values(lines, |mut row, line| {
                row.push_bind(&run_id).push_bind(line.at.unix_ms()).push_bind(&line.level).push_bind(&line.text);
            });
            let done = insert.build().execute(&self.database.writer).await;
            done.map_err(self.database.failed(RECORDING))?;
        }
        Ok(())
    }

    async fn log(&self, run_id: Uuid) -> Result<Vec<LogLine>> {
        let rows = sqlx::query("SELECT at, level, text FROM run_logs WHERE run_id = ?1 ORDER BY line")
            .bind(run_id.to_string())
            .fetch_all(&self.database.reader)
            .await;
        rows.and_then(|rows| {
            let line = |row: &sqlx::sqlite::SqliteRow| {
                Ok(LogLine { at: time(row.try_get(0)?), level: row.try_get(1)?, text: row.try_get(2)? })
            };
            rows.iter().map(line).collect()
        })
        .map_err(self.database.failed(READING))
    }
}
