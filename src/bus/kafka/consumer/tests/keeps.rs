//! The contract of a member, against krafka's broker in memory: as it is, and while requests fail.
//!
//! What that broker does not do is left to the live tests: under the classic protocol a group has one member, nobody is
//! fenced for a static member's name, and a fetch below the first record gets what there is.

use krafka::testing::RequestInfo;

use super::contract::{Bus, Seat};
use super::*;
use crate::bus::kafka::group::Group;
use crate::bus::{Reset, StartAt};

struct Fake {
    broker: FakeBroker,
    protocol: Protocol,
}

fn fake(protocol: Protocol) -> Fake {
    Fake { broker: FakeBroker::start_in_memory(1), protocol }
}

/// Connections break, answers are lost after the request was carried out, and coordinators are not ready.
fn faulty(protocol: Protocol) -> Fake {
    let fake = fake(protocol);
    let every = |period: u64, fault: fn() -> Control| {
        move |info: &RequestInfo| if info.api_call_index % period == period - 1 { fault() } else { Control::Pass }
    };
    let lost = || Control::ApplyThen(Box::new(Control::Disconnect));
    let not_ready = || Control::Error(ErrorCode::CoordinatorLoadInProgress);
    fake.broker.on(ApiKey::OffsetCommit, every(2, lost));
    fake.broker.on(ApiKey::OffsetFetch, every(2, not_ready));
    fake.broker.on(ApiKey::Fetch, every(3, || Control::Disconnect));
    fake.broker.on(ApiKey::ListOffsets, every(3, || Control::Error(ErrorCode::NotLeaderForPartition)));
    fake.broker.on(ApiKey::ConsumerGroupHeartbeat, every(3, || Control::Disconnect));
    fake.broker.on(ApiKey::JoinGroup, every(2, not_ready));
    fake.broker.on(ApiKey::Heartbeat, every(3, || Control::Disconnect));
    fake.broker.on(ApiKey::FindCoordinator, every(4, || Control::Delay(Duration::from_secs(1))));
    fake
}

impl Bus for Fake {
    type Member = KafkaConsumer;

    fn settings(&self) -> MemberConfig {
        MemberConfig::default()
    }

    fn session(&self) -> Duration {
        Duration::from_secs(45)
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", uuid::Uuid::now_v7().simple())
    }

    async fn create(&self, topic: &str, partitions: Partition) {
        assert!(self.broker.create_topic(topic, partitions));
    }

    async fn delete(&self, topic: &str) {
        assert!(self.broker.delete_topic(topic));
    }

    async fn send(&self, topic: &str, count: usize) {
        let partitions = self.broker.with_state(|state| state.topics[topic].partitions.len());
        send(&self.broker, topic, partitions, count).await;
    }

    async fn remove(&self, topic: &str, partition: Partition, before: Offset) {
        let index = usize::try_from(partition).expect("a partition's number");
        self.broker.with_state(|state| {
            let topic = state.topics.get_mut(topic).expect("it is there");
            topic.partitions[index].log_start_offset = before;
        });
    }

    async fn join(&self, seat: &Seat) -> Result<KafkaConsumer> {
        join_as(&self.broker, self.protocol, (&seat.topic, &seat.group), seat.identity, &seat.settings).await
    }

    async fn reset(&self, seat: &Seat, to: StartAt, wait: Duration) -> Result<Reset> {
        let kafka = self.broker.kafka().connect().await.expect("connects");
        let (topic, name, identity) = (&seat.topic, &seat.group, seat.identity);
        Group { config: &config(), settings: &seat.settings, topic, name, identity }.reset(&kafka, to, wait).await
    }
}

mod consumer_protocol {
    use super::*;

    keeps! {
        { #[tokio::test(start_paused = true)] } fake(Protocol::Consumer);
        sharing {
            the_next_member_goes_on_where_the_last_one_committed,
            a_cancelled_poll_loses_nothing,
            a_share_goes_to_another_member_only_after_its_release,
            what_is_not_released_in_time_is_lost,
            closing_hands_over_at_once,
            a_member_that_dies_is_taken_over_after_its_session,
            a_paused_member_stays_longer_than_a_session,
        }
        naming {
            a_group_belongs_to_one_sink_from_the_first_on,
        }
        range {
            an_offset_that_retention_removed_is_never_skipped_in_silence,
            a_topic_created_anew_is_never_read_from_the_middle,
            a_topic_created_anew_under_a_member_is_noticed,
        }
    }
}

mod classic_protocol {
    use super::*;

    keeps! {
        { #[tokio::test(start_paused = true)] } fake(Protocol::Classic);
        sharing {
            the_next_member_goes_on_where_the_last_one_committed,
            a_cancelled_poll_loses_nothing,
            a_paused_member_stays_longer_than_a_session,
        }
        naming {
            a_group_belongs_to_one_sink_from_the_first_on,
        }
        range {
            an_offset_that_retention_removed_is_never_skipped_in_silence,
            a_topic_created_anew_is_never_read_from_the_middle,
            a_topic_created_anew_under_a_member_is_noticed,
        }
    }
}

mod consumer_protocol_with_faults {
    use super::*;

    keeps! {
        { #[tokio::test(start_paused = true)] } faulty(Protocol::Consumer);
        sharing {
            the_next_member_goes_on_where_the_last_one_committed,
            a_cancelled_poll_loses_nothing,
            a_share_goes_to_another_member_only_after_its_release,
            a_member_that_dies_is_taken_over_after_its_session,
            a_paused_member_stays_longer_than_a_session,
        }
        range {
            an_offset_that_retention_removed_is_never_skipped_in_silence,
            a_topic_created_anew_under_a_member_is_noticed,
        }
    }
}

mod classic_protocol_with_faults {
    use super::*;

    keeps! {
        { #[tokio::test(start_paused = true)] } faulty(Protocol::Classic);
        sharing {
            the_next_member_goes_on_where_the_last_one_committed,
            a_cancelled_poll_loses_nothing,
            a_paused_member_stays_longer_than_a_session,
        }
        range {
            an_offset_that_retention_removed_is_never_skipped_in_silence,
            a_topic_created_anew_under_a_member_is_noticed,
        }
    }
}
