//! A part of a topic of the embedded bus, read in pages.

use std::collections::BTreeMap;

use futures::TryStreamExt;

use super::consumer::message;
use crate::bus::{Message, Partition, Reader, Watermarks};
use crate::error::Result;
use crate::sql::Sqlite;

/// The most records of one page.
const PAGE_RECORDS_MAX: i64 = 1_000;
/// A page ends with the record that reaches this size of keys and values.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A reader of one topic.
#[derive(Debug)]
pub struct EmbeddedReader {
    database: Sqlite,
    topic: String,
    /// What is still to be read, `low..high` of each partition.
    left: BTreeMap<Partition, Watermarks>,
}

impl EmbeddedReader {
    /// Reads these ranges of the topic.
    pub fn new(database: Sqlite, topic: String, ranges: BTreeMap<Partition, Watermarks>) -> Self {
        Self { database, topic, left: ranges }
    }

    /// Goes on with these ranges. What was left of the ones before is left out.
    pub(in crate::bus) fn go_on(&mut self, ranges: BTreeMap<Partition, Watermarks>) {
        self.left = ranges;
    }

    async fn page(&self, partition: Partition, range: Watermarks) -> Result<Vec<Message>> {
        let failed = || self.database.failed("cannot read from the embedded bus");
        let mut rows = sqlx::query(
            "SELECT offset, timestamp_ms, key, value, headers FROM bus_records
             WHERE topic = ? AND partition = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
        )
        .bind(&self.topic)
        .bind(partition)
        .bind(range.low)
        .bind(range.high)
        .bind(PAGE_RECORDS_MAX)
        .fetch(&self.database.reader);
        let (mut page, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES_MAX
            && let Some(row) = rows.try_next().await.map_err(failed())?
        {
            let message = message(partition, &row).map_err(failed())?;
            bytes += message.size();
            page.push(message);
        }
        Ok(page)
    }
}

impl Reader for EmbeddedReader {
    async fn next(&mut self) -> Result<Vec<Message>> {
        while let Some((&partition, &range)) = self.left.first_key_value() {
            let page = self.page(partition, range).await?;
            if let Some(last) = page.last() {
                self.left.insert(partition, Watermarks { low: last.offset + 1, ..range });
                return Ok(page);
            }
            self.left.remove(&partition);
        }
        Ok(Vec::new())
    }
}
