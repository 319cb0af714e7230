//! Members of a group on a real broker, under both group protocols.

#[allow(dead_code, reason = "a drain that takes a minute is left to the broker in memory")]
#[macro_use]
#[path = "../../contracts/consumer.rs"]
pub(super) mod contract;

use std::time::Duration;

use contract::{Bus, SOON, Seat};
use krafka::Kafka;
use krafka::admin::{DeleteRecordsOptions, DeleteTopicsOptions, DescribeTopicsOptions, TopicPartition};
use tokio::time::Instant;
use userpipe::bus::kafka::{Group, KafkaConsumer, KafkaProducer, ensure_topic, reset_group};
use userpipe::bus::{Offset, Partition, Reset, StartAt};
use userpipe::config::{GroupProtocol, KafkaConfig, MemberConfig};
use userpipe::error::Result;

use super::{name, produce, shared};

/// What classic members ask for.
const CLASSIC_SESSION: Duration = Duration::from_secs(6);
/// What the broker gives the members of the consumer protocol (`tests/services/kafka/kafka.sh`).
const CONSUMER_SESSION: Duration = Duration::from_secs(10);

pub(super) struct Live {
    config: KafkaConfig,
    protocol: GroupProtocol,
}

pub(super) fn live(protocol: GroupProtocol) -> Live {
    Live { config: shared(), protocol }
}

impl Live {
    pub(super) async fn kafka(&self) -> Kafka {
        Kafka::builder(self.config.brokers.join(",")).connect().await.unwrap()
    }

    async fn is_there(&self, topic: &str) -> bool {
        let described = self.kafka().await.admin().describe_topics([topic], DescribeTopicsOptions::default()).await;
        described.unwrap().remove(topic).is_some_and(|topic| topic.is_ok())
    }
}

impl Bus for Live {
    type Member = KafkaConsumer;

    fn settings(&self) -> MemberConfig {
        MemberConfig { protocol: self.protocol, session_timeout: Some(self.session()), ..MemberConfig::default() }
    }

    fn session(&self) -> Duration {
        if self.protocol == GroupProtocol::Classic { CLASSIC_SESSION } else { CONSUMER_SESSION }
    }

    fn name(&self, what: &str) -> String {
        name(what)
    }

    async fn create(&self, topic: &str, partitions: Partition) {
        ensure_topic(&KafkaConfig { partitions, ..self.config.clone() }, topic).await.unwrap();
    }

    async fn delete(&self, topic: &str) {
        let deleted = self.kafka().await.admin().delete_topics([topic], DeleteTopicsOptions::default()).await;
        deleted.unwrap().remove(topic).unwrap().unwrap();
        let begin = Instant::now();
        while self.is_there(topic).await {
            assert!(begin.elapsed() < SOON, "{topic} is still there");
        }
    }

    async fn send(&self, topic: &str, count: usize) {
        let producer = KafkaProducer::connect(&self.config, topic).await.unwrap();
        produce(&producer, 0..count).await;
    }

    async fn remove(&self, topic: &str, partition: Partition, before: Offset) {
        let places = [(TopicPartition::new(topic, partition), before)];
        let removed = self.kafka().await.admin().delete_records(places, DeleteRecordsOptions::default()).await;
        assert!(removed.unwrap().into_values().all(|low| low.unwrap() == before));
    }

    async fn join(&self, seat: &Seat) -> Result<KafkaConsumer> {
        KafkaConsumer::join(&self.config, &seat.settings, &seat.topic, &seat.group, seat.identity).await
    }

    async fn reset(&self, seat: &Seat, to: StartAt, wait: Duration) -> Result<Reset> {
        let Seat { topic, group: name, identity, settings } = seat;
        reset_group(&Group { config: &self.config, settings, topic, name, identity }, to, wait).await
    }
}

macro_rules! keeps_all {
    ($protocol:expr) => {
        keeps! {
            { #[tokio::test(flavor = "multi_thread")] #[ignore = "needs a live Kafka: make test"] } live($protocol);
            sharing {
                the_next_member_goes_on_where_the_last_one_committed,
                a_cancelled_poll_loses_nothing,
                a_share_goes_to_another_member_only_after_its_release,
                closing_hands_over_at_once,
                a_member_that_dies_is_taken_over_after_its_session,
                a_paused_member_stays_longer_than_a_session,
            }
            naming {
                a_static_member_that_returns_gets_its_own_back,
                two_live_processes_of_one_name_end_in_an_error,
                a_group_is_reset_only_without_live_members,
                a_group_belongs_to_one_sink_from_the_first_on,
            }
            range {
                an_offset_that_retention_removed_is_never_skipped_in_silence,
                what_retention_removes_under_a_member_is_never_skipped_in_silence,
                a_topic_created_anew_is_never_read_from_the_middle,
                a_topic_created_anew_under_a_member_is_noticed,
            }
        }
    };
}

mod classic_protocol {
    use super::*;

    keeps_all!(GroupProtocol::Classic);
}

mod consumer_protocol {
    use super::*;

    keeps_all!(GroupProtocol::Consumer);
}
