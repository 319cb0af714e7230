//! The embedded bus: topics, offsets and groups in the data directory's SQLite file.
//!
//! It keeps the same contract as Kafka, so that `produce` and `consume` in two terminals work with nothing
//! installed, and so that the hermetic tests run the real pipeline.

mod consumer;
mod group;
mod observer;
mod producer;
mod reader;

use std::collections::BTreeMap;

use sqlx::Row;

use super::{Offset, Partition, Watermarks};
use crate::error::Result;
use crate::sql::Sqlite;

pub use consumer::EmbeddedConsumer;
pub use group::{apply_reset, plan_reset, reset_group};
pub use observer::EmbeddedObserver;
pub use producer::EmbeddedProducer;
pub use reader::EmbeddedReader;

/// Creates the topic if it is missing; true if it was.
///
/// # Errors
/// As sorted by [`sql::Fault`].
pub async fn ensure_topic(database: &Sqlite, topic: &str, partitions: Partition) -> Result<bool> {
    let failed = || database.failed("cannot create the topic");
    let mut transaction = database.begin().await.map_err(failed())?;
    let existing: i64 = sqlx::query_scalar("SELECT count(*) FROM bus_partitions WHERE topic = ?")
        .bind(topic)
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed())?;
    if existing == 0 {
        for partition in 0..partitions {
            sqlx::query("INSERT INTO bus_partitions (topic, partition) VALUES (?, ?)")
                .bind(topic)
                .bind(partition)
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
    }
    transaction.commit().await.map_err(failed())?;
    Ok(existing == 0)
}

/// The low and high watermarks of every partition of the topic; empty if there is no such topic.
///
/// # Errors
/// As sorted by [`sql::Fault`].
pub async fn watermarks(database: &Sqlite, topic: &str) -> Result<BTreeMap<Partition, Watermarks>> {
    let failed = || database.failed("cannot read the topic");
    let rows = sqlx::query(
        "SELECT p.partition, p.next_offset,
                coalesce((SELECT min(r.offset) FROM bus_records r
                          WHERE r.topic = p.topic AND r.partition = p.partition), p.next_offset)
         FROM bus_partitions p WHERE p.topic = ?",
    )
    .bind(topic)
    .fetch_all(&database.reader)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, Watermarks { low: row.try_get(2)?, high: row.try_get(1)? })))
        .collect::<Result<_, sqlx::Error>>()
        .map_err(failed())
}

/// Erases what the records of this key hold: each becomes a tombstone in its place. How many held something.
///
/// # Errors
/// As sorted by [`sql::Fault`].
pub async fn erase(database: &Sqlite, topic: &str, key: &[u8]) -> Result<u64> {
    let erased = sqlx::query(
        "UPDATE bus_records SET value = NULL, headers = NULL WHERE topic = ? AND key = ? AND value IS NOT NULL",
    );
    let done = erased.bind(topic).bind(key).execute(&database.writer).await;
    done.map(|done| done.rows_affected()).map_err(database.failed("cannot erase records of the embedded bus"))
}

/// The offsets a group has committed.
async fn committed(database: &Sqlite, topic: &str, group: &str) -> Result<BTreeMap<Partition, Offset>> {
    let failed = || database.failed("cannot read the group's offsets");
    let rows = sqlx::query("SELECT partition, offset FROM bus_offsets WHERE group_name = ? AND topic = ?")
        .bind(group)
        .bind(topic)
        .fetch_all(&database.reader)
        .await
        .map_err(failed())?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>().map_err(failed())
}

#[cfg(test)]
mod tests;
