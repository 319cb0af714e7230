//! Group commit: writers of this process that wait for each other share one transaction, and one sync of the disk.

use std::sync::Arc;

use sqlx::{SqliteConnection, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::Sqlite;

/// A shared transaction with this many rows takes no more: it keeps every other writer of the file waiting.
const ROWS_MAX: usize = 40_000;

/// The transaction that is open between two of its writers. The lock is fair: first come, first in.
pub(super) type Group = Arc<Mutex<Option<Open>>>;

/// A transaction that holds the rows of several writers.
#[derive(Debug)]
pub(super) struct Open {
    transaction: Transaction<'static, sqlx::Sqlite>,
    /// Who waits for its commit. Dropped with the transaction where there is none.
    waiting: Vec<oneshot::Sender<()>>,
    rows: usize,
}

impl Open {
    async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await?;
        for writer in self.waiting {
            // One that was cancelled does not listen any more.
            let _ = writer.send(());
        }
        Ok(())
    }
}

/// One writer's turn in the shared transaction. Dropped without [`Shared::commit`] it takes the transaction back for all
/// who are in it, since statements that failed or were cut short leave nobody knows what.
#[derive(Debug)]
#[must_use]
struct Shared {
    group: Group,
    turn: OwnedMutexGuard<Option<Open>>,
    open: Open,
}

/// What became of rows in a shared transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    /// They survive a power cut.
    Durable,
    /// Nothing of it is there, most likely since another writer's statement failed. To be written again, alone.
    TakenBack,
}

impl Shared {
    /// The connection, in its transaction.
    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.open.transaction
    }

    /// Waits until these `rows` are durable, with those of the writers who wait for their turn already: it is they who
    /// would wait for a commit of one's own.
    async fn commit(self, rows: usize) -> Fate {
        let Self { group, mut turn, mut open } = self;
        let (writer, committed) = oneshot::channel();
        let is_first = open.waiting.is_empty();
        open.waiting.push(writer);
        open.rows += rows;
        *turn = Some(open);
        drop(turn);
        if is_first {
            // A task of its own: a writer that is cancelled must not leave the transaction open.
            tokio::spawn(async move {
                let mut turn = group.lock_owned().await;
                let Some(open) = turn.take() else { return };
                if let Err(cause) = open.commit().await {
                    tracing::debug!("a shared transaction was not committed: {cause}");
                }
            });
        }
        committed.await.map_or(Fate::TakenBack, |()| Fate::Durable)
    }
}

/// Statements of one writer. They may be run again from the start, in another transaction.
pub trait Work: Sync {
    /// Runs them in the transaction of this connection.
    fn run(&self, connection: &mut SqliteConnection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Sqlite {
    /// Writes these `rows` in the shared transaction and, where that comes to nothing, in one of their own. They are durable
    /// when this returns.
    ///
    /// # Errors
    /// Of SQLite, unsorted: the caller knows what it was for.
    pub async fn write(&self, rows: usize, work: &impl Work) -> Result<(), sqlx::Error> {
        match self.write_together(rows, work).await {
            Ok(Fate::Durable) => Ok(()),
            Ok(Fate::TakenBack) | Err(_) => self.write_alone(work).await,
        }
    }

    /// Writes these `rows` in the shared transaction.
    ///
    /// # Errors
    /// As [`Sqlite::write`]; the transaction was taken back for all who are in it.
    pub async fn write_together(&self, rows: usize, work: &impl Work) -> Result<Fate, sqlx::Error> {
        let mut turn = self.begin_shared().await?;
        work.run(turn.connection()).await?;
        Ok(turn.commit(rows).await)
    }

    /// Writes in a transaction that nobody else is in.
    ///
    /// # Errors
    /// As [`Sqlite::write`].
    pub async fn write_alone(&self, work: &impl Work) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        work.run(&mut transaction).await?;
        transaction.commit().await
    }

    /// A turn in the transaction that the writers of this process share. As [`Sqlite::begin`] otherwise.
    ///
    /// # Errors
    /// Of SQLite, unsorted: the caller knows what it was for.
    async fn begin_shared(&self) -> Result<Shared, sqlx::Error> {
        let group = Arc::clone(&self.group);
        let mut turn = Arc::clone(&group).lock_owned().await;
        let open = match turn.take() {
            Some(open) if open.rows < ROWS_MAX => open,
            full => {
                if let Some(full) = full {
                    full.commit().await?;
                }
                Open { transaction: self.begin().await?, waiting: Vec::new(), rows: 0 }
            }
        };
        Ok(Shared { group, turn, open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    async fn open() -> Result<(tempfile::TempDir, Sqlite)> {
        let directory = tempfile::tempdir()?;
        let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
        Ok((directory, database))
    }

    async fn insert(turn: &mut Shared, topic: &str) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("INSERT INTO bus_partitions (topic, partition) VALUES (?, 0)").bind(topic.to_owned());
        insert.execute(turn.connection()).await.map(|_| ())
    }

    async fn topics(database: &Sqlite) -> Vec<String> {
        let topics = sqlx::query_scalar("SELECT topic FROM bus_partitions ORDER BY topic");
        topics.fetch_all(&database.reader).await.expect("readable")
    }

    /// Begins to write, and is in the shared transaction once the writer before is.
    async fn write(database: Sqlite, topic: &'static str) -> Fate {
        let mut turn = database.begin_shared().await.expect("a turn");
        insert(&mut turn, topic).await.expect("a row");
        turn.commit(1).await
    }

    #[tokio::test]
    async fn who_waits_is_in_the_commit_of_the_first() -> Result<()> {
        let (_directory, database) = open().await?;
        let commits = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        {
            let count = Arc::clone(&commits);
            let mut writer = database.writer.acquire().await.expect("the writer");
            writer.lock_handle().await.expect("its handle").set_commit_hook(move || {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                true
            });
        }
        let mut first = database.begin_shared().await.expect("a turn");
        let second = tokio::spawn(write(database.clone(), "b"));
        // The runtime has one thread: the second one waits for its turn from here on.
        tokio::task::yield_now().await;
        insert(&mut first, "a").await.expect("a row");
        assert_eq!(first.commit(1).await, Fate::Durable);
        assert_eq!(second.await.expect("ends"), Fate::Durable);
        assert_eq!(topics(&database).await, ["a", "b"]);
        assert_eq!(commits.load(std::sync::atomic::Ordering::SeqCst), 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_failure_takes_back_what_others_have_written_and_tells_them() -> Result<()> {
        let (_directory, database) = open().await?;
        let mut first = database.begin_shared().await.expect("a turn");
        let failing = database.clone();
        let second = tokio::spawn(async move {
            let mut turn = failing.begin_shared().await.expect("a turn");
            insert(&mut turn, "a").await.expect_err("it is there already");
        });
        tokio::task::yield_now().await;
        insert(&mut first, "a").await.expect("a row");
        assert_eq!(first.commit(1).await, Fate::TakenBack);
        second.await.expect("ends");
        assert_eq!(topics(&database).await, [] as [&str; 0]);
        assert_eq!(write(database.clone(), "a").await, Fate::Durable, "the next one begins anew");
        Ok(())
    }

    #[tokio::test]
    async fn a_writer_that_is_cancelled_leaves_no_transaction_open() -> Result<()> {
        let (_directory, database) = open().await?;
        let mut turn = database.begin_shared().await.expect("a turn");
        insert(&mut turn, "a").await.expect("a row");
        {
            let commit = std::pin::pin!(turn.commit(1));
            assert!(futures::poll!(commit).is_pending());
        }
        let mut other = database.begin().await.expect("the writer comes free");
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM bus_partitions").fetch_one(&mut *other).await;
        assert_eq!(count.expect("readable"), 1, "what nobody waits for is written all the same");
        Ok(())
    }

    #[tokio::test]
    async fn a_full_transaction_is_committed_before_the_next_writer() -> Result<()> {
        let (_directory, database) = open().await?;
        let mut first = database.begin_shared().await.expect("a turn");
        let second = tokio::spawn({
            let database = database.clone();
            async move {
                let mut turn = database.begin_shared().await.expect("a turn");
                let seen = topics(&database).await;
                insert(&mut turn, "b").await.expect("a row");
                (seen, turn.commit(1).await)
            }
        });
        tokio::task::yield_now().await;
        insert(&mut first, "a").await.expect("a row");
        assert_eq!(first.commit(ROWS_MAX).await, Fate::Durable);
        assert_eq!(second.await.expect("ends"), (vec!["a".to_owned()], Fate::Durable));
        Ok(())
    }
}
