//! Storing, marking and claiming users in SQLite.
//!
//! A user's row is written once. It waits in `outbox_pending` under a claim, until its acknowledgement is in
//! `outbox_places` instead. All that a process stores between two releases is under one claim.

use std::sync::{Arc, LazyLock};

use serde_json::json;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Row as _, SqliteConnection};
use uuid::Uuid;

use super::{SqliteLedger, uuid};
use crate::ledger::{Entry, Mark, Pending, lease_end};
use crate::record::Timestamp;
use crate::sql::{RowStatements, Work};

/// What all rows have in common comes first.
static STORE: LazyLock<RowStatements> = LazyLock::new(|| {
    RowStatements::new(
        "INSERT INTO outbox_users (run, stored_at, id, record, raw)
         SELECT ?, ?, column1, column2, column3 FROM (VALUES ",
        "(?, ?, ?)",
        ") WHERE true ON CONFLICT (run, id) DO UPDATE SET record = excluded.record, raw = excluded.raw,
         stored_at = excluded.stored_at",
    )
});
/// For users that their run had stored before.
static WAIT_AGAIN: LazyLock<RowStatements> = LazyLock::new(|| {
    RowStatements::new(
        "INSERT OR REPLACE INTO outbox_pending (user, claim) SELECT users.user, ? FROM (VALUES ",
        "(?)",
        ") AS ids CROSS JOIN outbox_users AS users ON users.run = ? AND users.id = ids.column1",
    )
});
static MARK: LazyLock<RowStatements> = LazyLock::new(|| {
    RowStatements::new(
        "INSERT OR REPLACE INTO outbox_places (user, published_at, partition, offset)
         SELECT users.user, ?, marks.column2, marks.column3 FROM (VALUES ",
        "(?, ?, ?)",
        ") AS marks CROSS JOIN outbox_users AS users ON users.run = ? AND users.id = marks.column1",
    )
});
/// What waits under a claim has no place.
pub(super) const FORGET_PLACES: &str =
    "DELETE FROM outbox_places WHERE user IN (SELECT user FROM outbox_pending WHERE claim = ?)";

/// Users of a run, to be stored and claimed.
pub(super) struct Storing<'a> {
    pub(super) ledger: &'a SqliteLedger,
    pub(super) run_id: Uuid,
    pub(super) entries: &'a [Entry],
}

impl Work for Storing<'_> {
    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let run = self.run_number(connection).await?;
        let claim = self.ledger.claim(connection).await?;
        let before = last_user(connection).await?;
        let now = Timestamp::now().unix_ms();
        let arguments = |entries: &[Entry]| {
            let mut all = SqliteArguments::default();
            all.reserve(2 + entries.len() * 3, 0);
            all.add(run)?;
            all.add(now)?;
            for entry in entries {
                all.add(entry.id)?;
                all.add(Arc::<str>::from(&*entry.record))?;
                all.add(entry.raw.as_deref().map(|raw| Arc::<str>::from(raw.get())))?;
            }
            Ok(all)
        };
        STORE.execute(connection, self.entries, |entries| arguments(entries).map_err(sqlx::Error::Encode)).await?;
        // Those that are new have the highest numbers.
        sqlx::query("INSERT INTO outbox_pending (user, claim) SELECT user, ? FROM outbox_users WHERE user > ?")
            .bind(claim)
            .bind(before)
            .execute(&mut *connection)
            .await?;
        let added = last_user(connection).await? - before;
        if usize::try_from(added).is_ok_and(|added| added == self.entries.len()) {
            return Ok(());
        }
        self.wait_again(connection, run, claim).await
    }
}

impl Storing<'_> {
    /// The number of the run, which gets one with its first users.
    async fn run_number(&self, connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let run_id = self.run_id.to_string();
        sqlx::query("INSERT INTO outbox_runs (run_id, pipeline) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(&run_id)
            .bind(&self.ledger.pipeline)
            .execute(&mut *connection)
            .await?;
        let number = sqlx::query_scalar("SELECT run FROM outbox_runs WHERE run_id = ?").bind(run_id);
        number.fetch_one(connection).await
    }

    /// Users that the run had stored before are to be sent again, wherever they were sent.
    async fn wait_again(&self, connection: &mut SqliteConnection, run: i64, claim: i64) -> Result<(), sqlx::Error> {
        let arguments = |entries: &[Entry]| {
            let mut all = SqliteArguments::default();
            all.add(claim)?;
            for entry in entries {
                all.add(entry.id)?;
            }
            all.add(run)?;
            Ok(all)
        };
        let arguments = |entries: &[Entry]| arguments(entries).map_err(sqlx::Error::Encode);
        WAIT_AGAIN.execute(connection, self.entries, arguments).await?;
        sqlx::query(FORGET_PLACES).bind(claim).execute(connection).await.map(|_| ())
    }
}

/// Acknowledgements of users of a run.
pub(super) struct Marking<'a> {
    pub(super) run_id: Uuid,
    pub(super) marks: &'a [Mark],
}

impl Work for Marking<'_> {
    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let run = sqlx::query_scalar("SELECT run FROM outbox_runs WHERE run_id = ?").bind(self.run_id.to_string());
        let Some(run) = run.fetch_optional(&mut *connection).await? else { return Ok(()) };
        let run: i64 = run;
        let now = Timestamp::now().unix_ms();
        let arguments = |marks: &[Mark]| {
            let mut all = SqliteArguments::default();
            all.reserve(marks.len() * 3 + 2, 0);
            all.add(now)?;
            for mark in marks {
                all.add(mark.id)?;
                all.add(mark.partition)?;
                all.add(mark.offset)?;
            }
            all.add(run)?;
            Ok(all)
        };
        let arguments = |marks: &[Mark]| arguments(marks).map_err(sqlx::Error::Encode);
        MARK.execute(connection, self.marks, arguments).await?;
        self.wait_no_more(connection, run).await
    }
}

impl Marking<'_> {
    /// What has a place does not wait.
    async fn wait_no_more(&self, connection: &mut SqliteConnection, run: i64) -> Result<(), sqlx::Error> {
        let (Some(first), Some(last)) = (self.marks.first(), self.marks.last()) else { return Ok(()) };
        // Stored together, in the order of their ids, they have numbers without a gap.
        let (first, last): (Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT min(user), max(user) FROM outbox_users WHERE run = ? AND id IN (?, ?)")
                .bind(run)
                .bind(first.id)
                .bind(last.id)
                .fetch_one(&mut *connection)
                .await?;
        let done = sqlx::query(
            "DELETE FROM outbox_pending WHERE user BETWEEN ? AND ?
             AND EXISTS (SELECT 1 FROM outbox_places AS places WHERE places.user = outbox_pending.user)",
        )
        .bind(first)
        .bind(last)
        .execute(&mut *connection)
        .await?;
        if usize::try_from(done.rows_affected()).is_ok_and(|done| done == self.marks.len()) {
            return Ok(());
        }
        sqlx::query(
            "DELETE FROM outbox_pending
             WHERE EXISTS (SELECT 1 FROM outbox_places AS places WHERE places.user = outbox_pending.user)",
        )
        .execute(connection)
        .await
        .map(|_| ())
    }
}

impl SqliteLedger {
    /// The claim of this process to what it stores, renewed; a new one where the last was given up or has run out.
    async fn claim(&self, connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let now = Timestamp::now().unix_ms();
        let renewed = sqlx::query_scalar(
            "UPDATE outbox_claims SET until = ?1 WHERE claim =
             (SELECT max(claim) FROM outbox_claims WHERE pipeline = ?2 AND owner = ?3 AND until > ?4) RETURNING claim",
        )
        .bind(lease_end())
        .bind(&self.pipeline)
        .bind(&self.owner)
        .bind(now)
        .fetch_optional(&mut *connection)
        .await?;
        match renewed {
            Some(claim) => Ok(claim),
            None => self.new_claim(connection, &self.owner, lease_end()).await,
        }
    }

    /// A claim that nothing is under yet. Those that are over and have nothing under them any more go.
    pub(super) async fn new_claim(
        &self,
        connection: &mut SqliteConnection,
        owner: &str,
        until: i64,
    ) -> Result<i64, sqlx::Error> {
        sqlx::query("DELETE FROM outbox_claims WHERE until <= ? AND claim NOT IN (SELECT claim FROM outbox_pending)")
            .bind(Timestamp::now().unix_ms())
            .execute(&mut *connection)
            .await?;
        sqlx::query_scalar("INSERT INTO outbox_claims (pipeline, owner, until) VALUES (?, ?, ?) RETURNING claim")
            .bind(&self.pipeline)
            .bind(owner)
            .bind(until)
            .fetch_one(connection)
            .await
    }

    pub(super) async fn try_to_claim_pending(&self, limit: usize) -> Result<Vec<Pending>, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let rows = sqlx::query(
            "SELECT users.user, runs.run_id, users.id, users.record
             FROM outbox_pending AS pending
             CROSS JOIN outbox_claims AS claims ON claims.claim = pending.claim
             CROSS JOIN outbox_users AS users ON users.user = pending.user
             CROSS JOIN outbox_runs AS runs ON runs.run = users.run
             WHERE claims.pipeline = ? AND claims.until <= ? ORDER BY pending.user LIMIT ?",
        )
        .bind(&self.pipeline)
        .bind(Timestamp::now().unix_ms())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let users = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        let claim = self.claim(&mut transaction).await?;
        sqlx::query("UPDATE outbox_pending SET claim = ? WHERE user IN (SELECT value FROM json_each(?))")
            .bind(claim)
            .bind(json!(users).to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        rows.iter().map(pending).collect()
    }
}

/// The highest number that a user has.
async fn last_user(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(max(user), 0) FROM outbox_users").fetch_one(connection).await
}

fn pending(row: &SqliteRow) -> Result<Pending, sqlx::Error> {
    Ok(Pending { run_id: uuid(row.try_get(1)?)?, id: row.try_get(2)?, record: row.try_get(3)? })
}
