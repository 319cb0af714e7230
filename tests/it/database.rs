//! The embedded file, seen from outside: what is in its tables, and what a test puts there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

/// How long a statement waits for a writing process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A condition that does not come true within this time never will.
const WAIT_MAX: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// The 13 columns, as the issue lists them and not as the program does.
pub(crate) const FIELDS: [&str; 13] = [
    "id",
    "first_name",
    "last_name",
    "gender",
    "email",
    "username",
    "phone",
    "address",
    "post_code",
    "dob",
    "registered_date",
    "picture",
    "timestamp",
];

/// What the outbox shows is a view, which takes the changes of a test on this connection alone.
const CHANGE_THE_OUTBOX: &str = "
    CREATE TEMP TRIGGER IF NOT EXISTS change_the_outbox INSTEAD OF UPDATE ON main.outbox BEGIN
        UPDATE outbox_users SET stored_at = NEW.stored_at, record = NEW.record
            WHERE run = (SELECT run FROM outbox_runs WHERE run_id = OLD.run_id) AND id = unhex(OLD.id, '-');
        DELETE FROM outbox_pending WHERE user = (SELECT user FROM outbox_users AS u JOIN outbox_runs AS r
            ON r.run = u.run WHERE r.run_id = OLD.run_id AND u.id = unhex(OLD.id, '-'));
        DELETE FROM outbox_places WHERE user = (SELECT user FROM outbox_users AS u JOIN outbox_runs AS r
            ON r.run = u.run WHERE r.run_id = OLD.run_id AND u.id = unhex(OLD.id, '-'));
        INSERT INTO outbox_claims (pipeline, owner, until)
            SELECT NEW.pipeline, coalesce(NEW.claimed_by, 'dead'), coalesce(NEW.claimed_until, 0)
            WHERE NEW.published_at IS NULL;
        INSERT INTO outbox_pending (user, claim)
            SELECT u.user, (SELECT max(claim) FROM outbox_claims) FROM outbox_users AS u JOIN outbox_runs AS r
            ON r.run = u.run WHERE r.run_id = OLD.run_id AND u.id = unhex(OLD.id, '-') AND NEW.published_at IS NULL;
        INSERT INTO outbox_places (user, published_at, partition, offset)
            SELECT u.user, NEW.published_at, NEW.partition, NEW.offset FROM outbox_users AS u JOIN outbox_runs AS r
            ON r.run = u.run WHERE r.run_id = OLD.run_id AND u.id = unhex(OLD.id, '-')
            AND NEW.published_at IS NOT NULL;
    END";

/// A row of `created_users`: its fields by name.
pub(crate) type UserRow = BTreeMap<String, String>;

/// A record on the embedded bus.
#[derive(Debug)]
pub(crate) struct BusRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, String>,
}

/// A database file.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    path: PathBuf,
}

impl Database {
    pub(crate) fn open(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// One number.
    pub(crate) fn number(&self, query: &'static str) -> i64 {
        self.with(async |connection| sqlx::query_scalar(query).fetch_one(connection).await)
    }

    /// One number, if the table is there and not busy.
    fn try_number(&self, query: &'static str) -> Option<i64> {
        self.with(async |connection| Ok(sqlx::query_scalar(query).fetch_one(connection).await.ok().flatten()))
    }

    /// One column of text, nulls left out.
    pub(crate) fn texts(&self, query: &'static str) -> Vec<String> {
        self.with(async |connection| {
            let texts: Vec<Option<String>> = sqlx::query_scalar(query).fetch_all(connection).await?;
            Ok(texts.into_iter().flatten().collect())
        })
    }

    /// Waits until a number is at least `least`, and gives it. The file tells nobody when it changes, so it is asked.
    pub(crate) fn wait_until(&self, query: &'static str, least: i64) -> i64 {
        let give_up = Instant::now() + WAIT_MAX;
        loop {
            let number = self.path.exists().then(|| self.try_number(query)).flatten().unwrap_or(0);
            if number >= least {
                return number;
            }
            assert!(Instant::now() < give_up, "waited in vain for {query} to be {least}; it is {number}");
            std::thread::sleep(ASK_AGAIN);
        }
    }

    /// Changes something; the number of rows, which is 0 for the outbox.
    pub(crate) fn execute(&self, statement: &'static str) -> u64 {
        self.with(async |connection| {
            if statement.starts_with("UPDATE outbox ") {
                sqlx::raw_sql(CHANGE_THE_OUTBOX).execute(&mut *connection).await?;
            }
            Ok(sqlx::query(statement).execute(connection).await?.rows_affected())
        })
    }

    /// The rows of `created_users` in the order of their ids.
    pub(crate) fn users(&self) -> Vec<UserRow> {
        let user = |row: &SqliteRow| {
            FIELDS.iter().map(|field| Ok(((*field).to_owned(), row.try_get(field)?))).collect::<Result<_, _>>()
        };
        self.with(async |connection| {
            sqlx::query("SELECT * FROM created_users ORDER BY id")
                .fetch_all(connection)
                .await?
                .iter()
                .map(user)
                .collect()
        })
    }

    /// The ids in `created_users`, sorted.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.texts("SELECT id FROM created_users ORDER BY id")
    }

    /// Appends a record to a topic that exists, as another producer would; its offset.
    pub(crate) fn append(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> i64 {
        self.with(async |connection| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let offset: i64 = sqlx::query_scalar(
                "UPDATE bus_partitions SET next_offset = next_offset + 1 WHERE topic = ? AND partition = ?
                 RETURNING next_offset - 1",
            )
            .bind(topic)
            .bind(partition)
            .fetch_one(&mut *transaction)
            .await?;
            sqlx::query(
                "INSERT INTO bus_records (topic, partition, offset, timestamp_ms, key, value)
                 VALUES (?, ?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?, ?)",
            )
            .bind(topic)
            .bind(partition)
            .bind(offset)
            .bind(key)
            .bind(value)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(offset)
        })
    }

    /// The records of a topic, by partition and offset.
    pub(crate) fn records(&self, topic: &str) -> Vec<BusRecord> {
        self.with(async |connection| {
            sqlx::query("SELECT * FROM bus_records WHERE topic = ? ORDER BY partition, offset")
                .bind(topic)
                .fetch_all(connection)
                .await?
                .iter()
                .map(record)
                .collect()
        })
    }

    /// Takes the write lock, which every writing process then waits for.
    pub(crate) fn lock(&self) -> WriteLock {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(&self.path).busy_timeout(BUSY_TIMEOUT);
        let connection = runtime.block_on(async {
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            connection
        });
        WriteLock { _connection: connection, _runtime: runtime }
    }

    fn with<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(&self.path).busy_timeout(BUSY_TIMEOUT);
        runtime.block_on(async {
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let done = work(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            done
        })
    }
}

/// The write lock, until its drop.
#[derive(Debug)]
pub(crate) struct WriteLock {
    _connection: SqliteConnection,
    _runtime: tokio::runtime::Runtime,
}

fn record(row: &SqliteRow) -> Result<BusRecord, sqlx::Error> {
    let headers: Option<String> = row.try_get("headers")?;
    let headers: Vec<(String, Vec<u8>)> = headers.map(|json| serde_json::from_str(&json).unwrap()).unwrap_or_default();
    Ok(BusRecord {
        key: row.try_get("key")?,
        value: row.try_get("value")?,
        headers: headers.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect(),
    })
}
