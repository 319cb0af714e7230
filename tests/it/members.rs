//! Members of a group on the embedded bus.

#[macro_use]
#[path = "../contracts/consumer.rs"]
mod contract;

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{Bus, Seat};
use userpipe::bus::embedded::{self, EmbeddedConsumer, EmbeddedProducer};
use userpipe::bus::{Commit, Consumer, Event, Offset, Outgoing, Partition, Producer, Reset, StartAt};
use userpipe::config::MemberConfig;
use userpipe::error::Result;
use userpipe::record::Timestamp;
use userpipe::sql::Sqlite;
use uuid::Uuid;

const SESSION: Duration = Duration::from_secs(2);

struct Embedded {
    database: Sqlite,
    _directory: tempfile::TempDir,
}

async fn embedded_bus() -> Embedded {
    let directory = tempfile::tempdir().unwrap();
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await.unwrap();
    Embedded { database, _directory: directory }
}

impl Embedded {
    async fn execute(&self, statement: &'static str, topic: &str, before: Offset) {
        sqlx::query(statement).bind(topic).bind(before).execute(&self.database.writer).await.unwrap();
    }
}

impl Bus for Embedded {
    type Member = EmbeddedConsumer;
    // Nothing deletes its topics; a file that was replaced is noticed by offsets past the end.
    const KNOWS_TOPICS: bool = false;

    fn settings(&self) -> MemberConfig {
        MemberConfig { session_timeout: Some(SESSION), ..MemberConfig::default() }
    }

    fn session(&self) -> Duration {
        SESSION
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", Uuid::now_v7().simple())
    }

    async fn create(&self, topic: &str, partitions: Partition) {
        assert!(embedded::ensure_topic(&self.database, topic, partitions).await.unwrap());
    }

    async fn delete(&self, topic: &str) {
        self.execute("DELETE FROM bus_records WHERE topic = ? AND offset >= ?", topic, 0).await;
        self.execute("DELETE FROM bus_partitions WHERE topic = ? AND next_offset >= ?", topic, 0).await;
    }

    async fn send(&self, topic: &str, count: usize) {
        let record = |n: usize| Outgoing {
            key: Some(n.to_string().into()),
            value: Some("value".into()),
            headers: Vec::new(),
            timestamp: Timestamp::now(),
        };
        let producer = EmbeddedProducer::new(self.database.clone(), topic.to_owned());
        let sent = producer.send(&(0..count).map(record).collect::<Vec<_>>()).await;
        assert!(sent.failure.is_none(), "{:?}", sent.failure);
    }

    async fn remove(&self, topic: &str, _partition: Partition, before: Offset) {
        self.execute("DELETE FROM bus_records WHERE topic = ? AND offset < ?", topic, before).await;
    }

    async fn join(&self, seat: &Seat) -> Result<EmbeddedConsumer> {
        let Seat { topic, group, identity, settings } = seat.clone();
        EmbeddedConsumer::join(self.database.clone(), &settings, topic, group, identity.to_owned()).await
    }

    async fn reset(&self, seat: &Seat, to: StartAt, wait: Duration) -> Result<Reset> {
        embedded::reset_group(&self.database, &seat.topic, &seat.group, seat.identity, to, wait).await
    }
}

/// A process that was stopped, or a machine that slept: Kafka's members beat by themselves.
#[tokio::test]
async fn a_member_that_was_not_heard_of_for_a_session_commits_nothing() {
    let bus = embedded_bus().await;
    let seat = bus.seat("silent", 1).await;
    bus.send(&seat.topic, 10).await;
    let mut first = bus.join(&seat).await.unwrap();
    contract::read(&mut first, 10).await;
    let mut second = bus.join(&seat).await.unwrap();
    contract::assigned(&mut second, 1, SESSION + contract::SOON).await;
    assert_eq!(contract::read(&mut second, 10).await.len(), 10, "nothing was committed");
    contract::store(&mut second, &BTreeMap::from([(0, 8)])).await;
    assert_eq!(first.commit(&BTreeMap::from([(0, 5)])).await.unwrap(), Commit::Fenced);
    assert!(matches!(contract::event(&mut first, contract::SOON).await, Ok(Event::Lost(lost)) if lost == [0]));
    assert_eq!(second.committed().await.unwrap(), BTreeMap::from([(0, 8)]));
    contract::close(first).await;
    contract::close(second).await;
}

keeps! {
    { #[tokio::test] } embedded_bus().await;
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
