//! The few records whose headers rskafka cannot carry: it keeps them in a sorted map without nulls, while Kafka has a
//! list, in which a name may come twice and a value may be null. They go through krafka's producer instead, so that a
//! dead letter keeps the headers it came with.

use std::time::Duration;

use krafka::Kafka;
use krafka::producer::{Acks, DeliveryHandle, Producer, Record};
use tokio::sync::OnceCell;

use super::errors::from_krafka;
use crate::bus::{Ack, Outgoing, Partition};
use crate::config::{Compression, KafkaConfig};
use crate::error::{Error, Kind, Result};

/// Whether a sorted map without nulls would change the record's headers.
pub(super) fn needed(record: &Outgoing) -> bool {
    let has_null = record.headers.iter().any(|(_, value)| value.is_none());
    let is_sorted_set = record.headers.windows(2).all(|pair| pair[0].0 < pair[1].0);
    has_null || !is_sorted_set
}

/// krafka's producer, opened by the first record that needs it.
pub(super) struct FullHeaders {
    kafka: Kafka,
    producer: OnceCell<Producer>,
}

impl FullHeaders {
    /// Opens nothing yet.
    pub(super) fn new(kafka: Kafka) -> Self {
        Self { kafka, producer: OnceCell::new() }
    }

    /// Sends one record to `partition`, retrying for at most `limit`.
    pub(super) async fn send(
        &self,
        config: &KafkaConfig,
        topic: &str,
        partition: Partition,
        record: &Outgoing,
        limit: Duration,
    ) -> Result<Ack> {
        let failed = |e: krafka::KrafkaError| from_krafka("cannot send to the topic", topic, &e);
        let producer = self.producer.get_or_try_init(|| self.open(config)).await.map_err(failed)?;
        let sent = async {
            let handle: DeliveryHandle = producer.enqueue(to_krafka(topic, partition, record)).await?;
            handle.await
        };
        match tokio::time::timeout(limit, sent).await {
            Ok(Ok(stored)) if stored.offset >= 0 => Ok(Ack { partition: stored.partition, offset: stored.offset }),
            Ok(Ok(_)) => Err(Error::new(Kind::Failed, "the broker stored the record but not say where").at(topic)),
            Ok(Err(e)) => Err(failed(e)),
            Err(_) => Err(Error::new(Kind::Unreachable, "cannot send to the topic")
                .at(topic)
                .because(format!("not acknowledged within {}", humantime::format_duration(limit)))),
        }
    }

    async fn open(&self, config: &KafkaConfig) -> krafka::Result<Producer> {
        self.kafka
            .producer()
            .acks(Acks::All)
            .compression(to_krafka_compression(config.compression))
            .delivery_timeout(config.delivery_timeout)
            .build()
            .await
    }
}

fn to_krafka(topic: &str, partition: Partition, record: &Outgoing) -> Record {
    let mut out = match &record.value {
        Some(value) => Record::new(topic, value.clone()),
        None => Record::new(topic, bytes::Bytes::new()).without_value(),
    };
    if let Some(key) = &record.key {
        out = out.key(key.clone());
    }
    for (name, value) in &record.headers {
        out = match value {
            Some(value) => out.header(name.clone(), value.clone()),
            None => out.null_header(name.clone()),
        };
    }
    out.partition(partition).timestamp(record.timestamp.unix_ms())
}

fn to_krafka_compression(compression: Compression) -> krafka::Compression {
    match compression {
        Compression::None => krafka::Compression::None,
        Compression::Gzip => krafka::Compression::Gzip,
        Compression::Snappy => krafka::Compression::Snappy,
        Compression::Lz4 => krafka::Compression::Lz4,
        Compression::Zstd => krafka::Compression::Zstd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    fn with_headers(headers: &[(&str, Option<&str>)]) -> Outgoing {
        let header = |(name, value): &(&str, Option<&str>)| {
            ((*name).to_owned(), value.map(|v| bytes::Bytes::copy_from_slice(v.as_bytes())))
        };
        let timestamp = Timestamp::from_unix_ms(0).expect("the epoch is a time");
        Outgoing { key: None, value: None, headers: headers.iter().map(header).collect(), timestamp }
    }

    #[test]
    fn only_nulls_repeats_and_other_orders_need_it() {
        assert!(!needed(&with_headers(&[])));
        assert!(!needed(&with_headers(&[("a", Some("1")), ("b", Some("2"))])));
        assert!(needed(&with_headers(&[("b", Some("1")), ("a", Some("2"))])));
        assert!(needed(&with_headers(&[("a", Some("1")), ("a", Some("2"))])));
        assert!(needed(&with_headers(&[("a", None)])));
    }
}
