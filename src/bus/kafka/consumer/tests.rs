//! The member against krafka's in-memory broker under paused time: what a real broker does not do on request.

#![allow(clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not every rule can be tried on a broker in memory")]
#[macro_use]
#[path = "../../../../tests/contracts/consumer.rs"]
mod contract;

#[cfg(test)]
mod keeps;

use std::collections::BTreeMap;

use krafka::Record;
use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker};

use super::*;
use crate::bus::Message;
use crate::bus::kafka::pump::RELEASE_WAIT_MAX;
use crate::config::Compression;

const SOON: Duration = Duration::from_secs(20);

fn config() -> KafkaConfig {
    KafkaConfig {
        brokers: vec!["broker-0:9092".to_owned()],
        security: crate::config::KafkaSecurity::default(),
        partitions: 2,
        replication_factor: None,
        compression: Compression::None,
        batch_bytes_max: 1_000_000,
        batch_records_max: 1_000,
        delivery_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
    }
}

/// A broker with topic `t` of two partitions and `count` records in each.
async fn broker(count: usize) -> FakeBroker {
    let broker = FakeBroker::start_in_memory(1);
    assert!(broker.create_topic("t", 2));
    send(&broker, "t", 2, 2 * count).await;
    broker
}

/// Sends records to each of the topic's partitions in turn.
async fn send(broker: &FakeBroker, topic: &str, partitions: usize, count: usize) {
    let producer = broker.kafka().connect().await.expect("connects").producer().build().await.expect("builds");
    let mut sent = Vec::with_capacity(count);
    for n in 0..count {
        let partition = Partition::try_from(n % partitions).expect("few partitions");
        let record = Record::new(topic, format!("{n}")).partition(partition);
        sent.push(producer.enqueue(record).await.expect("queues"));
    }
    for stored in sent {
        let _stored_at = stored.await.expect("stores");
    }
    producer.close().await.expect("closes");
}

async fn join(broker: &FakeBroker, protocol: Protocol) -> KafkaConsumer {
    join_as(broker, protocol, ("t", "g"), "userpipe:test", &MemberConfig::default()).await.expect("joins")
}

/// As [`KafkaConsumer::join`], in memory.
async fn join_as(
    broker: &FakeBroker,
    protocol: Protocol,
    (topic, group): (&str, &str),
    identity: &str,
    settings: &MemberConfig,
) -> Result<KafkaConsumer> {
    let kafka = broker.kafka().connect().await.expect("connects");
    group::check_identity(&config(), &kafka, topic, group, identity).await?;
    let observer = broker.kafka().connect().await.expect("connects");
    let begin = Begin::new((config(), observer), (topic, group), identity, settings.on_out_of_range);
    KafkaConsumer::join_with(kafka, begin, settings, protocol).await
}

/// The next event that is not an empty poll.
async fn event(consumer: &mut KafkaConsumer) -> Result<Event> {
    let deadline = Instant::now() + RELEASE_WAIT_MAX + SOON;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_secs(1)).await {
            Ok(Event::Records(records)) if records.is_empty() => {}
            other => return other,
        }
    }
    Err(Error::new(Kind::Failed, "no event came"))
}

async fn assigned(consumer: &mut KafkaConsumer) -> Vec<Partition> {
    match event(consumer).await {
        Ok(Event::Assigned(mut partitions)) => {
            partitions.sort_unstable();
            partitions
        }
        other => panic!("expected partitions, got {other:?}"),
    }
}

async fn records(consumer: &mut KafkaConsumer, count: usize) -> Vec<Message> {
    let mut all = Vec::new();
    while all.len() < count {
        match event(consumer).await {
            Ok(Event::Records(records)) => all.extend(records),
            other => panic!("expected records, got {other:?}"),
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn either_protocol_reads_from_the_beginning_commits_and_leaves() {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let broker = broker(10).await;
        let mut consumer = join(&broker, protocol).await;
        assert_eq!(assigned(&mut consumer).await, [0, 1], "{protocol:?}");
        let records = records(&mut consumer, 20).await;
        assert!(records.iter().any(|r| r.offset == 0));
        assert_eq!(consumer.commit(&BTreeMap::from([(0, 10), (1, 4)])).await.expect("commits"), Commit::Stored);
        assert_eq!(broker.committed_offset("g", "t", 1), Some(4));
        let begin = Instant::now();
        consumer.close().await.expect("leaves");
        assert!(begin.elapsed() < Duration::from_secs(2), "{protocol:?} took {:?}", begin.elapsed());
        match protocol {
            Protocol::Classic => assert_eq!(broker.leave_group_members().len(), 1),
            _ => assert_eq!(broker.consumer_group_heartbeats().last().map(|h| h.member_epoch), Some(-1)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_member_loses_its_partitions_and_comes_back() {
    let broker = broker(5).await;
    let mut consumer = join(&broker, Protocol::Consumer).await;
    assigned(&mut consumer).await;
    records(&mut consumer, 10).await;
    broker.on_once(ApiKey::ConsumerGroupHeartbeat, |_| Control::Error(ErrorCode::FencedMemberEpoch));
    match event(&mut consumer).await {
        Ok(Event::Lost(lost)) => assert_eq!(lost.len(), 2),
        other => panic!("expected a loss, got {other:?}"),
    }
    assert_eq!(assigned(&mut consumer).await, [0, 1]);
    assert_eq!(records(&mut consumer, 10).await.len(), 10, "nothing was committed, so all of it comes again");
    consumer.close().await.expect("leaves");
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_its_coordinator_and_for_its_epoch() {
    let broker = broker(5).await;
    let mut consumer = join(&broker, Protocol::Consumer).await;
    assigned(&mut consumer).await;
    records(&mut consumer, 10).await;
    let commit = BTreeMap::from([(0, 5), (1, 5)]);
    for code in [ErrorCode::CoordinatorLoadInProgress, ErrorCode::StaleMemberEpoch, ErrorCode::NotCoordinator] {
        broker.on_times(ApiKey::OffsetCommit, 4, move |_| Control::Error(code));
        assert_eq!(consumer.commit(&commit).await.expect("commits"), Commit::Stored, "{code:?}");
        broker.clear_hooks();
    }
    let begin = Instant::now();
    broker.on(ApiKey::OffsetCommit, |_| Control::Error(ErrorCode::CoordinatorLoadInProgress));
    let error = consumer.commit(&commit).await.expect_err("the coordinator never comes");
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(begin.elapsed() <= COMMIT_PATIENCE, "{:?}", begin.elapsed());
    broker.clear_hooks();
    broker.on(ApiKey::OffsetCommit, |_| Control::Error(ErrorCode::UnknownMemberId));
    assert_eq!(consumer.commit(&commit).await.expect("answers"), Commit::Fenced);
    broker.clear_hooks();
    broker.on(ApiKey::OffsetCommit, |_| Control::Error(ErrorCode::GroupAuthorizationFailed));
    assert_eq!(consumer.commit(&commit).await.expect_err("is refused").kind(), Kind::Refused);
    broker.clear_hooks();
    consumer.close().await.expect("leaves");
}

/// A generation ends with each rebalance, and a member that keeps its partitions through it may commit them afterwards.
#[tokio::test(start_paused = true)]
async fn a_classic_commit_between_two_generations_waits_and_that_of_a_lost_member_is_fenced() {
    let broker = broker(5).await;
    let mut consumer = join(&broker, Protocol::Classic).await;
    assigned(&mut consumer).await;
    records(&mut consumer, 10).await;
    let commit = BTreeMap::from([(0, 5), (1, 5)]);
    for code in [ErrorCode::RebalanceInProgress, ErrorCode::IllegalGeneration] {
        broker.on_times(ApiKey::OffsetCommit, 3, move |_| Control::Error(code));
        assert_eq!(consumer.commit(&commit).await.expect("commits"), Commit::Stored, "{code:?}");
    }
    broker.on(ApiKey::OffsetCommit, |_| Control::Error(ErrorCode::IllegalGeneration));
    broker.on_once(ApiKey::Heartbeat, |_| Control::Error(ErrorCode::UnknownMemberId));
    let begin = Instant::now();
    assert_eq!(consumer.commit(&commit).await.expect("answers"), Commit::Fenced);
    assert!(begin.elapsed() < Duration::from_secs(10), "the next heartbeat tells: {:?}", begin.elapsed());
    assert!(matches!(event(&mut consumer).await, Ok(Event::Lost(lost)) if lost.len() == 2));
    assert_eq!(assigned(&mut consumer).await, [0, 1]);
    let error = consumer.commit(&commit).await.expect_err("the rebalance does not end");
    assert_eq!(error.kind(), Kind::Unreachable, "it passes: {error}");
    consumer.close().await.expect("leaves");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_may_not_be_joined_is_said_at_once() {
    let broker = broker(1).await;
    broker.on(ApiKey::ConsumerGroupHeartbeat, |_| Control::Error(ErrorCode::GroupAuthorizationFailed));
    let mut consumer = join(&broker, Protocol::Consumer).await;
    let begin = Instant::now();
    let error = event(&mut consumer).await.expect_err("is refused");
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_for_long_is_said_and_its_return_is_used() {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let broker = broker(5).await;
        let mut consumer = join(&broker, protocol).await;
        assigned(&mut consumer).await;
        records(&mut consumer, 10).await;
        broker.crash(0);
        let begin = Instant::now();
        let error = loop {
            match consumer.poll(Duration::from_secs(1)).await {
                Ok(_) if begin.elapsed() < Duration::from_mins(5) => {}
                Ok(event) => panic!("{protocol:?}: five minutes without a broker and no word of it: {event:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
        assert!(begin.elapsed() >= Duration::from_secs(20), "{:?}", begin.elapsed());
        broker.restart(0);
        let mut back = false;
        for _ in 0..120 {
            let commit = BTreeMap::from([(0, 5)]);
            back = matches!(consumer.commit(&commit).await, Ok(Commit::Stored));
            if back {
                break;
            }
            if let Ok(Event::Revoked(_, release)) = consumer.poll(Duration::from_secs(1)).await {
                drop(release);
            }
        }
        assert!(back, "{protocol:?}");
        consumer.close().await.expect("leaves");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_reaches_the_end_of_a_topic_that_ends_with_a_transaction() {
    let broker = broker(0).await;
    let kafka = broker.kafka().connect().await.expect("connects");
    let producer = kafka.producer().build_transactional("tx").await.expect("builds");
    for (commits, count) in [(true, 3), (false, 2)] {
        producer.begin().expect("begins");
        for n in 0..count {
            let stored = producer.send(Record::new("t", format!("{n}")).partition(0)).await;
            assert!(stored.is_ok_and(|stored| stored.partition == 0));
        }
        let ended = if commits { producer.commit().await } else { producer.abort().await };
        ended.expect("ends");
    }
    let mut consumer = join(&broker, Protocol::Consumer).await;
    assigned(&mut consumer).await;
    let records = records(&mut consumer, 3).await;
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [0, 1, 2], "the aborted ones are not read");
    // the aborted transaction may come with the next fetch
    assert!(matches!(consumer.poll(SOON).await, Ok(Event::Records(r)) if r.is_empty()));
    assert_eq!(consumer.commit(&BTreeMap::from([(0, 3)])).await.expect("commits"), Commit::Stored);
    let end = broker.next_offset("t", 0);
    assert_eq!((broker.committed_offset("g", "t", 0), end), (end, Some(7)));
    consumer.close().await.expect("leaves");
}

/// krafka's poll answers at once while its buffer is full of paused records, so the pump has to rest by itself; it once
/// did not, and the member was fenced because its own heartbeats never got their turn.
#[test]
fn a_pump_that_holds_leaves_the_runtime_to_others() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let broker = broker(6_000).await;
            let mut consumer = join(&broker, Protocol::Consumer).await;
            assigned(&mut consumer).await;
            consumer.pause(true);
            // Long enough for the handover and krafka's buffer behind it to fill up.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = done.send(());
            consumer.pause(false);
            assert_eq!(records(&mut consumer, 12_000).await.len(), 12_000);
        });
    });
    assert!(is_done.recv_timeout(Duration::from_secs(30)).is_ok(), "nothing else on the runtime got its turn");
}

/// The newcomer has the name; a member that joined again would take it back, and so on.
#[tokio::test(start_paused = true)]
async fn a_static_member_that_was_replaced_ends_and_joins_no_more() {
    let settings = MemberConfig { static_id: Some("one".to_owned()), ..MemberConfig::default() };
    for (protocol, beat, join, code) in [
        (Protocol::Classic, ApiKey::Heartbeat, ApiKey::JoinGroup, ErrorCode::FencedInstanceId),
        (Protocol::Consumer, ApiKey::ConsumerGroupHeartbeat, ApiKey::FindCoordinator, ErrorCode::UnreleasedInstanceId),
    ] {
        let broker = broker(5).await;
        let mut consumer = join_as(&broker, protocol, ("t", "g"), "userpipe:test", &settings).await.expect("joins");
        assigned(&mut consumer).await;
        records(&mut consumer, 10).await;
        let joins = broker.request_count(join);
        broker.on(beat, move |_| Control::Error(code));
        match event(&mut consumer).await {
            Ok(Event::Lost(lost)) => assert_eq!(lost.len(), 2, "{protocol:?}"),
            other => panic!("expected a loss, got {other:?}"),
        }
        let error = event(&mut consumer).await.expect_err("it ends");
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert_eq!(error.to_string(), "another live process is member one of group g");
        assert_eq!(consumer.commit(&BTreeMap::from([(0, 5)])).await.expect("answers"), Commit::Fenced);
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert_eq!(broker.request_count(join), joins, "{protocol:?} joined again");
        consumer.close().await.expect("closes");
        assert!(broker.leave_group_members().is_empty(), "it would make the other one leave");
    }
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_process_that_died_is_waited_for_and_that_of_a_live_one_is_refused() {
    let settings = MemberConfig { static_id: Some("one".to_owned()), ..MemberConfig::default() };
    let broker = broker(5).await;
    let join = || join_as(&broker, Protocol::Consumer, ("t", "g"), "userpipe:test", &settings);
    let held = |_: &krafka::testing::RequestInfo| Control::Error(ErrorCode::UnreleasedInstanceId);
    broker.on_times(ApiKey::ConsumerGroupHeartbeat, 40, held);
    let begin = Instant::now();
    let mut consumer = join().await.expect("its session ends");
    assert!(begin.elapsed() >= Duration::from_secs(39), "{:?}", begin.elapsed());
    assigned(&mut consumer).await;
    assert_eq!(records(&mut consumer, 10).await.len(), 10, "what came with the first poll is not lost");
    consumer.close().await.expect("leaves");

    broker.on(ApiKey::ConsumerGroupHeartbeat, held);
    let begin = Instant::now();
    let error = join().await.expect_err("it lives");
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(begin.elapsed() > Duration::from_secs(45) && begin.elapsed() < Duration::from_mins(1), "{error}");
}
