//! Sink and ledger from the harness's side, read by connections of our own.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::SOON;
use crate::reader::Reader;
use crate::services::Postgres;

/// Where rows go.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    /// Contact point, table with its keyspace, and a login.
    Cassandra { address: String, table: String, login: Option<(String, String)> },
    /// Database and table.
    Postgres { database: Postgres, table: String },
    /// File and table.
    Sqlite { file: PathBuf },
}

impl Sink {
    /// The ids in the table, as often as they are there.
    pub(crate) fn ids(&self, runtime: &Handle) -> Vec<String> {
        let reading = async {
            match self {
                Sink::Cassandra { address, table, login } => {
                    let login = login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
                    let ids = Reader::connect_as(address, login).await.ids(table).await;
                    ids.into_iter().map(|id| id.to_string()).collect()
                }
                Sink::Postgres { database, table } => texts(database, &format!("SELECT id::text FROM {table}")).await,
                Sink::Sqlite { file } => {
                    let query = "SELECT id FROM created_users";
                    rows::<(String,)>(file, query).await.into_iter().map(|(id,)| id).collect()
                }
            }
        };
        runtime.block_on(async { timeout(SOON, reading).await }).expect("the sink answers")
    }
}

/// Where users are stored before they are sent.
#[derive(Clone, Debug)]
pub(crate) enum Ledger {
    /// A file.
    Sqlite(PathBuf),
    /// A database.
    Postgres(Postgres),
}

/// A row of the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The user.
    pub(crate) id: String,
    /// Partition and offset, where it is marked as acknowledged.
    pub(crate) place: Option<(i32, i64)>,
}

impl Ledger {
    /// The outbox of the pipeline on this topic; nothing where it was never used.
    pub(crate) fn rows(&self, topic: &str, runtime: &Handle) -> Vec<Stored> {
        let place = "CASE WHEN published_at IS NULL THEN NULL ELSE partition END, \
                     CASE WHEN published_at IS NULL THEN NULL ELSE \"offset\" END";
        let of_topic = format!("WHERE pipeline LIKE '%/{topic}'");
        let reading = async {
            let found: Vec<(String, Option<i32>, Option<i64>)> = match self {
                Ledger::Sqlite(file) if !file.exists() => Vec::new(),
                Ledger::Sqlite(file) => rows(file, &format!("SELECT id, {place} FROM outbox {of_topic}")).await,
                Ledger::Postgres(database) => {
                    let query = format!("SELECT id::text, {place} FROM userpipe.outbox {of_topic}");
                    let mut connection = options(database).connect().await.unwrap();
                    sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap()
                }
            };
            found.into_iter().map(|(id, partition, offset)| Stored { id, place: partition.zip(offset) }).collect()
        };
        runtime.block_on(async { timeout(SOON, reading).await }).expect("the ledger answers")
    }
}

/// Runs statements on a database.
pub(crate) fn execute(database: &Postgres, statement: &str, runtime: &Handle) {
    runtime.block_on(async {
        let mut connection = options(database).connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    });
}

async fn texts(database: &Postgres, query: &str) -> Vec<String> {
    let mut connection = options(database).connect().await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap()
}

fn options(database: &Postgres) -> PgConnectOptions {
    let options = PgConnectOptions::from_str(&database.url).unwrap().password(&database.password);
    options.ssl_mode(PgSslMode::Disable)
}

async fn rows<R>(file: &Path, query: &str) -> Vec<R>
where
    R: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
{
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap()
}
