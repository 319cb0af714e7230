//! A throwaway database, for work that is larger than memory should be.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Error as SqlError};

use crate::error::{Error, Kind, Result};

/// Memory for pages and for sorting, in KiB; what is more goes to disk.
const CACHE_KIB: u32 = 4 * 1024;

/// Opens an empty database that nobody else sees: a nameless file of SQLite, in `SQLITE_TMPDIR` or `TMPDIR`, else in
/// `/var/tmp` or `/tmp`. It is gone with its connection, however the process ends, and cannot roll back.
///
/// # Errors
/// [`Kind::LocalIo`] when no directory takes it.
pub async fn scratch() -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename("")
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .pragma("temp_store", "file")
        .pragma("cache_size", format!("-{CACHE_KIB}"));
    options.connect().await.map_err(scratch_failed)
}

/// Sorts a failure of a throwaway database: its disk is the only thing that can be wrong with it.
pub fn scratch_failed(cause: SqlError) -> Error {
    Error::new(Kind::LocalIo, "cannot keep notes in a temporary file")
        .because(cause)
        .hint("free some disk space, or name another directory in TMPDIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_on_disk_without_a_name_and_two_are_apart() -> Result<()> {
        let (mut one, mut other) = (scratch().await?, scratch().await?);
        for connection in [&mut one, &mut other] {
            sqlx::query("CREATE TABLE t (n INTEGER)").execute(&mut *connection).await.map_err(scratch_failed)?;
            let store = "SELECT count(*) FROM pragma_database_list WHERE name = 'main' AND file = ''";
            let nameless: i64 = sqlx::query_scalar(store).fetch_one(&mut *connection).await.map_err(scratch_failed)?;
            let cache: i64 =
                sqlx::query_scalar("PRAGMA cache_size").fetch_one(connection).await.map_err(scratch_failed)?;
            assert_eq!((nameless, cache), (1, -i64::from(CACHE_KIB)));
        }
        Ok(())
    }
}
