//! A cluster that may be set up wrongly, asked step by step: each step needs less than what the pipeline needs of it.

use std::time::Duration;

use krafka::Kafka;
use krafka::admin::{DescribeClusterOptions, DescribeFeaturesOptions, DescribeTopicsOptions};
use krafka::error::{ErrorCode, KrafkaError};

use super::client::{self, addresses, within};
use super::errors::Failure;
use super::observer::KafkaObserver;
use crate::config::KafkaConfig;
use crate::error::Result;

/// The limit for one administrative call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker, where it says that clients find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: i32,
    /// The `host:port` that it advertises on the listener of the bootstrap addresses.
    pub address: String,
}

/// What a cluster says of itself. No answer of Kafka's protocol names the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its id, which outlives addresses.
    pub id: String,
    /// The level of `metadata.version`, which grows with the releases; `None` before `KRaft`.
    pub metadata_version: Option<i16>,
    /// The level of `group.version`: 1 or more has the consumer groups of KIP-848.
    pub group_version: Option<i16>,
}

/// The state of a topic's replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Its partitions.
    pub partitions: usize,
    /// Replicas of each partition, where they differ the fewest.
    pub factor: usize,
    /// Partitions without a leader, which can be neither read nor written.
    pub leaderless: usize,
    /// Partitions with replicas that have fallen behind.
    pub under_replicated: usize,
}

/// A connection to one of the bootstrap addresses, whatever the brokers advertise.
pub struct Checkup {
    config: KafkaConfig,
    kafka: Kafka,
}

impl std::fmt::Debug for Checkup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkup").field("brokers", &self.config.brokers).finish_non_exhaustive()
    }
}

impl Checkup {
    /// Connects and reads the metadata.
    ///
    /// # Errors
    /// [`Kind::Unreachable`](crate::error::Kind::Unreachable) or [`Kind::Refused`](crate::error::Kind::Refused), within
    /// the connect timeout.
    pub async fn open(config: &KafkaConfig) -> Result<Self> {
        let place = addresses(config);
        let what = "cannot talk to Kafka";
        let kafka = within(config.connect_timeout, what, &place, || async {
            client::connect(config, what, (config.connect_timeout, config.connect_timeout)).await
        });
        Ok(Self { config: config.clone(), kafka: kafka.await? })
    }

    /// The brokers that live.
    ///
    /// # Errors
    /// As [`Checkup::open`].
    pub async fn brokers(&self) -> Result<Vec<Broker>> {
        let (what, place) = ("cannot read Kafka's metadata", addresses(&self.config));
        within(self.config.connect_timeout, what, &place, || async {
            let reader = self.kafka.consumer_without_group().build().await;
            let reader = reader.map_err(|e| Failure::krafka(what, &place, &e))?;
            let metadata = reader.fetch_metadata(None).await;
            client::close(&reader).await;
            let brokers = metadata.map_err(|e| Failure::krafka(what, &place, &e))?.brokers;
            let named = brokers.iter().map(|b| Broker { id: b.id(), address: b.address().to_owned() });
            let mut brokers: Vec<_> = named.collect();
            brokers.sort_unstable_by_key(|broker| broker.id);
            Ok(brokers)
        })
        .await
    }

    /// What the cluster says of itself. The brokers must be reachable where they say they are, from here on.
    ///
    /// # Errors
    /// As [`Checkup::open`].
    pub async fn cluster(&self) -> Result<Cluster> {
        let (what, place) = ("cannot describe the Kafka cluster", addresses(&self.config));
        within(self.config.connect_timeout, what, &place, || async {
            let failed = |e: KrafkaError| Failure::krafka(what, &place, &e);
            let admin = self.kafka.admin();
            let options = DescribeClusterOptions::default().timeout(CALL_TIMEOUT);
            let id = admin.describe_cluster(options).await.map_err(failed)?.cluster_id;
            let options = DescribeFeaturesOptions::default().timeout(CALL_TIMEOUT);
            let features = admin.describe_features(options).await.map_err(failed)?.finalized;
            let level = |name| features.iter().find(|f| f.name == name).map(|f| f.max_version_level);
            Ok(Cluster { id, metadata_version: level("metadata.version"), group_version: level("group.version") })
        })
        .await
    }

    /// The replicas of a topic; `None` where there is no such topic.
    ///
    /// # Errors
    /// As [`Checkup::open`].
    pub async fn replicas(&self, topic: &str) -> Result<Option<Replicas>> {
        let what = "cannot describe the topic";
        within(self.config.connect_timeout, what, topic, || async {
            let options = DescribeTopicsOptions::default().timeout(CALL_TIMEOUT);
            let described = self.kafka.admin().describe_topics([topic], options).await;
            match described.map_err(|e| Failure::krafka(what, topic, &e))?.remove(topic) {
                None | Some(Err(KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. })) => Ok(None),
                Some(Err(e)) => Err(Failure::krafka(what, topic, &e)),
                Some(Ok(found)) => {
                    let count = |is: fn(&&krafka::admin::PartitionDescription) -> bool| {
                        found.partitions.iter().filter(is).count()
                    };
                    Ok(Some(Replicas {
                        partitions: found.partitions.len(),
                        factor: found.partitions.iter().map(|p| p.replicas.len()).min().unwrap_or(0),
                        leaderless: count(|p| p.leader.is_none()),
                        under_replicated: count(|p| p.isr.len() < p.replicas.len()),
                    }))
                }
            }
        })
        .await
    }

    /// An observer over the same connection.
    #[must_use]
    pub fn observer(&self) -> KafkaObserver {
        KafkaObserver::over(self.config.clone(), self.kafka.clone())
    }
}
