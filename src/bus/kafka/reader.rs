//! A part of a topic on Kafka, read without a group: one partition after the other, so that little is held and the order
//! is always the same.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::KrafkaError;
use krafka::consumer::{AutoOffsetReset, Consumer, IsolationLevel};
use tokio::time::{Instant, timeout};

use super::client;
use super::errors::{from_krafka, krafka_passes, unreachable};
use super::pump::to_message;
use crate::bus::{Message, Offset, Partition, Reader, Watermarks};
use crate::config::KafkaConfig;
use crate::error::{Error, Kind, Result};

/// How long one poll waits for records.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// The pause after a poll that failed with something that passes.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Records of one poll, which is a page.
const POLL_RECORDS_MAX: i32 = 1_000;
/// Bytes of one answer, before decompression. A larger batch still comes, alone (KIP-74).
const FETCH_BYTES_MAX: i32 = 4 * 1024 * 1024;

const WHAT: &str = "cannot read from the topic";

/// A reader of one topic.
pub struct KafkaReader {
    consumer: Consumer,
    topic: String,
    /// How long nothing may come before it is an error.
    patience: Duration,
    /// What is still to be read, `low..high` of each partition.
    left: BTreeMap<Partition, Watermarks>,
    /// The partition that krafka reads at present.
    current: Option<Partition>,
    /// Whether more ranges may follow, so that the connection stays open.
    goes_on: bool,
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader").field("topic", &self.topic).field("left", &self.left).finish_non_exhaustive()
    }
}

impl KafkaReader {
    /// Connects, to read these ranges of the topic. Records of aborted transactions are not seen.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] or [`Kind::Refused`], within the connect timeout.
    pub async fn connect(config: &KafkaConfig, topic: &str, ranges: BTreeMap<Partition, Watermarks>) -> Result<Self> {
        let kafka = client::open(config).await?;
        let consumer = kafka
            .consumer_without_group()
            .auto_offset_reset(AutoOffsetReset::None)
            .isolation_level(IsolationLevel::ReadCommitted)
            .max_poll_records(POLL_RECORDS_MAX)
            .max_buffered_records(POLL_RECORDS_MAX)
            .fetch_max_bytes(FETCH_BYTES_MAX)
            .max_partition_fetch_bytes(FETCH_BYTES_MAX)
            .metrics_push(false)
            .build()
            .await
            .map_err(|e| from_krafka(WHAT, topic, &e))?;
        let left = ranges.into_iter().filter(|(_, range)| range.low < range.high).collect();
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            patience: config.connect_timeout,
            left,
            current: None,
            goes_on: false,
        })
    }

    /// Goes on with these ranges over the same connection. What was left of the ones before is left out.
    pub(in crate::bus) fn go_on(&mut self, ranges: BTreeMap<Partition, Watermarks>) {
        self.goes_on = true;
        self.left = ranges;
        self.left.retain(|_, range| range.low < range.high);
        self.current = None;
    }

    /// Closes the connection, where nothing is left to be read or wanted.
    pub(in crate::bus) async fn close(self) {
        client::close(&self.consumer).await;
    }

    /// One poll of a partition, and the position after it.
    async fn poll(&mut self, partition: Partition, low: Offset) -> Result<(Vec<Message>, Offset), KrafkaError> {
        if self.current != Some(partition) {
            self.consumer.assign(&self.topic, vec![partition]).await?;
            self.consumer.seek(&self.topic, partition, low).await?;
            self.current = Some(partition);
        }
        let records = self.consumer.poll(POLL_WAIT).await?;
        // Beyond the last record where transaction markers follow.
        let position = self.consumer.position(&self.topic, partition).await.unwrap_or(low);
        Ok((records.into_iter().map(to_message).collect(), position))
    }

    /// The next page of one partition; empty when the range is done.
    async fn page(&mut self, partition: Partition, range: Watermarks) -> Result<Vec<Message>> {
        let mut give_up = Instant::now() + self.patience;
        let mut low = range.low;
        let mut last = None;
        while low < range.high {
            let left = give_up.saturating_duration_since(Instant::now());
            match timeout(left, self.poll(partition, low)).await {
                Ok(Ok((mut page, position))) => {
                    page.retain(|message| message.offset < range.high);
                    if position > low {
                        low = position;
                        give_up = Instant::now() + self.patience;
                    }
                    if !page.is_empty() {
                        self.left.insert(partition, Watermarks { low, ..range });
                        return Ok(page);
                    }
                    continue;
                }
                Ok(Err(KrafkaError::NoOffset { .. })) => return Err(self.removed()),
                Ok(Err(error)) if krafka_passes(&error) => last = Some(error),
                Ok(Err(error)) => return Err(from_krafka(WHAT, &self.topic, &error)),
                Err(_) => return Err(self.silent(last.as_ref())),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        Ok(Vec::new())
    }

    fn silent(&self, last: Option<&KrafkaError>) -> Error {
        let silence = || format!("nothing came within {}", humantime::format_duration(self.patience));
        last.map_or_else(|| unreachable(WHAT, &self.topic, silence()), |error| from_krafka(WHAT, &self.topic, error))
    }

    fn removed(&self) -> Error {
        Error::new(Kind::Failed, "records were removed from the topic while it was read")
            .at(&self.topic)
            .hint("try again: it begins with what is there")
    }
}

impl Reader for KafkaReader {
    async fn next(&mut self) -> Result<Vec<Message>> {
        while let Some((&partition, &range)) = self.left.first_key_value() {
            let page = self.page(partition, range).await?;
            if !page.is_empty() {
                return Ok(page);
            }
            self.left.remove(&partition);
        }
        if !self.goes_on {
            client::close(&self.consumer).await;
        }
        Ok(Vec::new())
    }
}
