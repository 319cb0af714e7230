//! Kafka from the harness's side: what is on a topic, what a group has committed, and records of our own.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use krafka::Kafka;
use krafka::admin::ListConsumerGroupOffsetsOptions;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::SOON;
use crate::people::{Letter, now};

/// A record and its place.
#[derive(Clone)]
pub(crate) struct Placed {
    /// The partition.
    pub(crate) partition: i32,
    /// The offset there.
    pub(crate) offset: i64,
    /// The key, where it is text.
    pub(crate) key: Option<String>,
    /// The value; `None` is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    /// The headers.
    pub(crate) headers: BTreeMap<String, Vec<u8>>,
}

/// For failures: a whole value helps nobody.
impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.value.as_ref().map(Vec::len);
        write!(f, "{:?} at {}:{} of {bytes:?} bytes", self.key, self.partition, self.offset)
    }
}

impl Placed {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// A cluster, reached without any proxy.
#[derive(Clone, Debug)]
pub(crate) struct Bus {
    address: String,
    runtime: Handle,
}

impl Bus {
    pub(crate) fn new(address: String, runtime: Handle) -> Self {
        Self { address, runtime }
    }

    /// Everything that is on a topic now, in order within each partition; nothing where there is no such topic.
    pub(crate) fn read(&self, topic: &str) -> Vec<Placed> {
        self.within("reading a topic", async {
            let client = self.client().await;
            let mut records = Vec::new();
            for partition in partitions(&client, topic).await {
                let reader = reader(&client, topic, partition).await;
                let end = reader.get_offset(OffsetAt::Latest).await.unwrap();
                let mut next = reader.get_offset(OffsetAt::Earliest).await.unwrap();
                while next < end {
                    let (page, _) = reader.fetch_records(next, 1..8_000_000, 1_000).await.unwrap();
                    for found in page {
                        next = found.offset + 1;
                        records.push(Placed {
                            partition,
                            offset: found.offset,
                            key: found.record.key.and_then(|key| String::from_utf8(key).ok()),
                            value: found.record.value,
                            headers: found.record.headers,
                        });
                    }
                }
            }
            records
        })
    }

    /// Sends records to a topic, spread over its partitions.
    pub(crate) fn send(&self, topic: &str, letters: Vec<Letter>) {
        self.within("sending records", async {
            let client = self.client().await;
            let count = partitions(&client, topic).await.len();
            let mut shares: Vec<Vec<Record>> = (0..count).map(|_| Vec::new()).collect();
            for (number, Letter { key, value }) in letters.into_iter().enumerate() {
                let key = key.map(String::into_bytes);
                let timestamp = now();
                shares[number % count].push(Record { key, value, headers: BTreeMap::new(), timestamp });
            }
            for (partition, share) in (0..).zip(shares) {
                let writer = reader(&client, topic, partition).await;
                for page in share.chunks(1_000) {
                    writer.produce(page.to_vec(), Compression::Lz4).await.unwrap();
                }
            }
        });
    }

    /// The offset after the last record of each partition.
    pub(crate) fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        self.within("reading the ends", async {
            let client = self.client().await;
            let mut ends = BTreeMap::new();
            for partition in partitions(&client, topic).await {
                let end = reader(&client, topic, partition).await.get_offset(OffsetAt::Latest).await.unwrap();
                ends.insert(partition, end);
            }
            ends
        })
    }

    /// What a group has committed for the topic.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        self.within("reading what is committed", async {
            let kafka = Kafka::builder(&self.address).connect().await.unwrap();
            let options = ListConsumerGroupOffsetsOptions::default().timeout(Duration::from_secs(10));
            // A group that has never committed is not known.
            let Ok(listed) = kafka.admin().list_consumer_group_offsets(group, options).await else {
                return BTreeMap::new();
            };
            let of_topic = listed.into_iter().filter(|(place, _)| place.topic == topic);
            of_topic.filter_map(|(place, found)| Some((place.partition, found.unwrap().offset?))).collect()
        })
    }

    /// Records that the group has not committed.
    pub(crate) fn lag(&self, group: &str, topic: &str) -> i64 {
        let committed = self.committed(group, topic);
        self.ends(topic).iter().map(|(partition, end)| end - committed.get(partition).unwrap_or(&0)).sum()
    }

    /// Deletes a topic.
    pub(crate) fn delete(&self, topic: &str) {
        self.within("deleting a topic", async {
            let controller = self.client().await.controller_client().unwrap();
            controller.delete_topic(topic, 10_000).await.unwrap();
        });
    }

    /// Creates a topic, as soon as one of its name is gone for good.
    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        self.within("creating a topic", async {
            let client = self.client().await;
            while client.controller_client().unwrap().create_topic(topic, partitions, 1, 10_000).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    async fn client(&self) -> Client {
        ClientBuilder::new(vec![self.address.clone()]).build().await.unwrap()
    }

    fn within<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let limited = async { timeout(SOON, work).await };
        self.runtime.block_on(limited).unwrap_or_else(|_| panic!("{what} takes too long"))
    }
}

async fn partitions(client: &Client, topic: &str) -> Vec<i32> {
    let topics = client.list_topics().await.unwrap();
    let found = topics.into_iter().find(|found| found.name == topic);
    found.map(|found| found.partitions.into_iter().collect()).unwrap_or_default()
}

async fn reader(client: &Client, topic: &str, partition: i32) -> PartitionClient {
    client.partition_client(topic, partition, UnknownTopicHandling::Retry).await.unwrap()
}
