//! Sending to the embedded bus: one transaction a batch, offsets given out inside it.

use std::collections::BTreeMap;

use sqlx::{QueryBuilder, Row, Sqlite as Dialect, Transaction};

use crate::bus::partitioner::Partitioner;
use crate::bus::{Ack, Header, Offset, Outgoing, Partition, Producer, Sent};
use crate::error::{Error, Kind, Result};
use crate::sql::Sqlite;

/// The most rows one statement writes.
const ROWS_PER_STATEMENT_MAX: usize = 500;

/// Sends records to one topic of the embedded bus.
#[derive(Clone, Debug)]
pub struct EmbeddedProducer {
    database: Sqlite,
    topic: String,
}

impl EmbeddedProducer {
    /// A producer for a topic that [`super::ensure_topic`] has made sure of.
    pub fn new(database: Sqlite, topic: String) -> Self {
        Self { database, topic }
    }

    async fn append(&self, records: &[Outgoing]) -> Result<Vec<Ack>> {
        let failed = || self.database.failed("cannot write to the embedded bus");
        let mut transaction = self.database.begin().await.map_err(failed())?;
        let mut next = self.next_offsets(&mut transaction).await.map_err(failed())?;
        if next.is_empty() {
            return Err(Error::new(Kind::Config, "the embedded bus has no such topic").at(self.topic.clone()));
        }
        let partitioner = Partitioner::new(u32::try_from(next.len()).unwrap_or(u32::MAX));
        let acks: Vec<Ack> = records
            .iter()
            .map(|record| {
                let partition = record.key.as_deref().map_or_else(|| partitioner.next(), |key| partitioner.of_key(key));
                let offset = next.entry(partition).or_default();
                *offset += 1;
                Ack { partition, offset: *offset - 1 }
            })
            .collect();
        let rows: Vec<_> = records.iter().zip(&acks).collect();
        for rows in rows.chunks(ROWS_PER_STATEMENT_MAX) {
            self.insert(&mut transaction, rows).await.map_err(failed())?;
        }
        for (partition, offset) in next {
            sqlx::query("UPDATE bus_partitions SET next_offset = ? WHERE topic = ? AND partition = ?")
                .bind(offset)
                .bind(&self.topic)
                .bind(partition)
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(acks)
    }

    async fn next_offsets(
        &self,
        transaction: &mut Transaction<'_, Dialect>,
    ) -> Result<BTreeMap<Partition, Offset>, sqlx::Error> {
        sqlx::query("SELECT partition, next_offset FROM bus_partitions WHERE topic = ?")
            .bind(&self.topic)
            .fetch_all(&mut **transaction)
            .await?
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }

    async fn insert(
        &self,
        transaction: &mut Transaction<'_, Dialect>,
        rows: &[(&Outgoing, &Ack)],
    ) -> Result<(), sqlx::Error> {
        let mut insert = QueryBuilder::<Dialect>::new(
            "INSERT INTO bus_records (topic, partition, offset, timestamp_ms, key, value, headers) ",
        );
        insert.push_values(rows, |mut row, (record, ack)| {
            row.push_bind(&self.topic)
                .push_bind(ack.partition)
                .push_bind(ack.offset)
                .push_bind(record.timestamp.unix_ms())
                .push_bind(record.key.as_deref())
                .push_bind(record.value.as_deref())
                .push_bind(headers_to_json(&record.headers));
        });
        insert.build().execute(&mut **transaction).await.map(|_| ())
    }
}

impl Producer for EmbeddedProducer {
    async fn send(&self, records: &[Outgoing]) -> Sent {
        match self.append(records).await {
            Ok(acks) => Sent { acks: acks.into_iter().map(Some).collect(), failure: None },
            Err(failure) => Sent { acks: vec![None; records.len()], failure: Some(failure) },
        }
    }
}

/// Headers as a JSON list of name and bytes; most records have none.
fn headers_to_json(headers: &[Header]) -> Option<String> {
    if headers.is_empty() {
        return None;
    }
    let plain: Vec<(&str, Option<&[u8]>)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    serde_json::to_string(&plain).ok()
}
