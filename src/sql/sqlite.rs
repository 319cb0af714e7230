//! The embedded file: one SQLite database in the data directory, safe for several processes at once.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, SqlitePool, Transaction};

use super::shared::Group;
use super::{Tables, error};
use crate::error::{Error, Kind, Result};

static MIGRATIONS: Migrator = sqlx::migrate!("src/sql/migrations/sqlite");

/// How long a statement waits for another process's write transaction; those are short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a page of a file that is created; one that is there keeps its own. Each page that a transaction has changed costs
/// two writes to the log, and a row of a table fills a tenth of one of SQLite's usual 4 KiB.
const PAGE_BYTES: u32 = 8192;
/// The write-ahead log is folded into the file when it has this many pages: 64 MiB, and half of it where an earlier version made
/// the file. Ids come in no order, and a page of their index that changes several times until then is written to the file once.
const CHECKPOINT_PAGES: &str = "8192";
/// What is left of the log's file, in bytes, when a long reader has let it grow further and is gone.
const LOG_BYTES_KEPT: &str = "134217728";
/// Memory for pages of the connection that writes, in KiB, taken as they are used: the upper part of the indexes, and what a
/// transaction changes, stay in it instead of being read again from the log.
const WRITER_CACHE_KIB: u32 = 32 * 1024;
/// How long a mere look waits.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read while one writes: WAL lets them.
const READERS_MAX: u32 = 3;
/// Limit for getting a connection of this process's own pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_mins(1);

/// Rows of a [`Sample`].
const SAMPLE_ROWS: usize = 3;
/// Columns of a [`Sample`]: enough to recognise a person, short enough for a terminal.
const SAMPLE_COLUMNS: [&str; 4] = ["id", "first_name", "last_name", "address"];

/// A look at a table.
#[derive(Debug)]
pub struct Sample {
    /// All its rows.
    pub count: u64,
    /// Some of them, a line each.
    pub lines: Vec<String>,
}

/// An open, migrated database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Sqlite {
    /// The one connection that writes: in-process writers queue fairly here instead of in SQLite's busy handler.
    pub writer: SqlitePool,
    /// Connections for reading.
    pub reader: SqlitePool,
    /// The transaction that its writers share.
    pub(super) group: Group,
    /// The path, for messages.
    pub place: String,
}

impl Sqlite {
    /// Opens the file, creating it and its directory, and brings it to the newest schema.
    ///
    /// # Errors
    /// [`Kind::LocalIo`] when the file cannot be created or is no database; [`Kind::Config`] when a newer
    /// userpipe wrote it.
    pub async fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let failed = |e: std::io::Error| {
            Error::new(Kind::LocalIo, "cannot create the data directory")
                .at(place.clone())
                .because(e)
                .hint("choose a place you may write to with --data-dir")
        };
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a committed offset survives a power cut; measured at 0.89 of NORMAL's speed in batches of 500
            .synchronous(SqliteSynchronous::Full)
            .page_size(PAGE_BYTES)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("journal_size_limit", LOG_BYTES_KEPT)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        // The first switch to WAL and the migrations are not safe against each other in several processes.
        let lock = lock(&path.with_extension("lock")).await?;
        let opened = |e| error("cannot open the data file", &place, e);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
        };
        // A disk that is full makes SQLite roll back by itself, which sqlx does not notice: it would take the connection
        // for one in a transaction, and refuse to begin another, for ever.
        let writer = pool(1).after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
        let writing = options.clone().pragma("cache_size", format!("-{WRITER_CACHE_KIB}"));
        let writer = writer.connect_with(writing).await.map_err(opened)?;
        MIGRATIONS.run(&writer).await.map_err(|e| migration_failed(&place, e))?;
        let reader = pool(READERS_MAX).connect_lazy_with(options);
        drop(lock);
        Ok(Self { writer, reader, group: Group::default(), place })
    }

    /// How far the tables in the file are; one that is not there has none. Opens it for reading alone and changes nothing.
    ///
    /// # Errors
    /// [`Kind::LocalIo`] when it cannot be read or is no database.
    pub async fn tables(path: &Path) -> Result<Tables> {
        let place = path.display().to_string();
        let failed = |e| error("cannot read the data file", &place, e);
        let Some(mut connection) = Self::look(path).await? else { return Ok(Tables::Missing) };
        let is_there = sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'");
        let is_there: bool = is_there.fetch_one(&mut connection).await.map_err(failed)?;
        if !is_there {
            return Ok(Tables::Missing);
        }
        let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
        let applied = newest.fetch_one(&mut connection).await.map_err(failed)?;
        Ok(Tables::of(applied, &MIGRATIONS))
    }

    /// A connection to the file that can only read; `None` where there is no file.
    ///
    /// # Errors
    /// [`Kind::LocalIo`] when it cannot be read or is no database.
    pub async fn look(path: &Path) -> Result<Option<SqliteConnection>> {
        if !path.exists() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(LOOK_TIMEOUT);
        let connected = options.connect().await;
        connected.map(Some).map_err(|e| error("cannot read the data file", &path.display().to_string(), e))
    }

    /// A transaction that writes. It takes the lock at once, so that two writers never deadlock on an upgrade.
    ///
    /// # Errors
    /// Of SQLite, unsorted: the caller knows what it was for.
    pub async fn begin(&self) -> Result<Transaction<'static, sqlx::Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Turns an SQL error of `what`, in this file, into ours.
    pub fn failed(&self, what: &str) -> impl FnOnce(sqlx::Error) -> Error + use<> {
        super::failed(what, &self.place)
    }

    /// A look at a table of users, which must exist.
    ///
    /// # Errors
    /// As sorted by [`super::Fault`].
    pub async fn sample_rows(&self, table: &str) -> Result<Sample> {
        let failed = |e| error("cannot read the table", &format!("{}/{table}", self.place), e);
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM \"{table}\"")))
            .fetch_one(&self.reader)
            .await
            .map_err(failed)?;
        let select = format!("SELECT * FROM \"{table}\" ORDER BY rowid DESC LIMIT {SAMPLE_ROWS}");
        let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(&self.reader).await.map_err(failed)?;
        let text = |row: &SqliteRow, column: &str| row.try_get::<String, _>(column).unwrap_or_default();
        let line = |row: &SqliteRow| SAMPLE_COLUMNS.map(|column| text(row, column)).join(" | ");
        Ok(Sample { count: count.max(0).cast_unsigned(), lines: rows.iter().map(line).collect() })
    }

    /// Closes the connections; the last one folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

async fn lock(path: &Path) -> Result<File> {
    let failed = {
        let place = path.display().to_string();
        move |e: std::io::Error| {
            Error::new(Kind::LocalIo, "cannot lock the data directory")
                .at(place)
                .because(e)
                .hint("choose a place you may write to with --data-dir")
        }
    };
    let path = path.to_owned();
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    });
    match locked.await {
        Ok(result) => result.map_err(failed),
        Err(panic) => Err(failed(std::io::Error::other(panic))),
    }
}

fn migration_failed(place: &str, cause: sqlx::migrate::MigrateError) -> Error {
    use sqlx::migrate::MigrateError;
    match cause {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => {
            Error::new(Kind::Config, "the data file was written by another version of userpipe")
                .at(place)
                .because(cause)
                .hint("use that version, or another --data-dir")
        }
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            error("cannot prepare the data file", place, cause)
        }
        other => Error::new(Kind::Failed, "cannot prepare the data file").at(place).because(other),
    }
}

/// A file as the first version wrote it, with what these statements put there.
#[cfg(test)]
pub(crate) async fn write_version_1(path: &Path, statements: &'static str) {
    let first = MIGRATIONS.iter().filter(|migration| migration.version == 1).cloned().collect::<Vec<_>>();
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("a file");
    let migrator = Migrator { migrations: first.into(), ..Migrator::DEFAULT };
    migrator.run(&pool).await.expect("its tables");
    sqlx::raw_sql(statements).execute(&pool).await.expect("its rows");
    pool.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writing_goes_on_after_a_commit_that_sqlite_rolled_back_by_itself() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
        let insert = "INSERT INTO bus_partitions (topic, partition) VALUES ('t', 0)";
        {
            // As a full disk does: the commit fails, and nothing of the transaction is left.
            let mut connection = database.writer.acquire().await.expect("the writer");
            connection.lock_handle().await.expect("its handle").set_commit_hook(|| false);
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.expect("begins");
            sqlx::query(insert).execute(&mut *transaction).await.expect("inserts");
            transaction.commit().await.expect_err("the hook refuses");
        }
        let mut transaction = database.writer.begin_with("BEGIN IMMEDIATE").await.expect("a connection that works");
        sqlx::query(insert).execute(&mut *transaction).await.expect("nothing was left of the first");
        transaction.commit().await.expect("commits");
        Ok(())
    }

    /// Writes so many MiB, in transactions of four.
    async fn write_mib(database: &Sqlite, mib: usize) {
        for _ in 0..mib / 4 {
            let mut transaction = database.begin().await.expect("begins");
            let insert = "INSERT INTO bus_records (topic, partition, offset, timestamp_ms, value)
                          SELECT 't', 0, 1 + (SELECT count(*) FROM bus_records), 0, zeroblob(4 << 20)";
            sqlx::query(insert).execute(&mut *transaction).await.expect("inserts");
            transaction.commit().await.expect("commits");
        }
    }

    #[tokio::test]
    async fn the_log_is_folded_in_before_it_is_long_and_shrinks_after_a_long_reader() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("userpipe.db");
        let database = Sqlite::open(&path).await?;
        let log = path.with_extension("db-wal");
        let log_mib = || fs::metadata(&log).map(|log| log.len() >> 20);
        write_mib(&database, 160).await;
        let limit_mib = CHECKPOINT_PAGES.parse::<u64>().expect("a number") * u64::from(PAGE_BYTES) / (1 << 20);
        assert!(log_mib()? <= limit_mib + 8, "{} MiB", log_mib()?);

        let mut reading = database.reader.begin().await.expect("a reader");
        let _: i64 =
            sqlx::query_scalar("SELECT count(*) FROM bus_records").fetch_one(&mut *reading).await.expect("reads");
        write_mib(&database, 160).await;
        assert!(log_mib()? >= 150, "it holds what the reader may look at: {} MiB", log_mib()?);
        reading.rollback().await.expect("ends");
        write_mib(&database, 8).await;
        let kept_mib = LOG_BYTES_KEPT.parse::<u64>().expect("a number") >> 20;
        assert!(log_mib()? <= kept_mib, "{} MiB", log_mib()?);
        database.close().await;
        assert!(!log.exists(), "the last one that closes folds it in");
        Ok(())
    }
}
