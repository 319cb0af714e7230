//! Reading as members of a group: sharing, taking over, pausing, going on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep, timeout};
use userpipe::bus::kafka::KafkaConsumer;
use userpipe::bus::{Commit, Consumer, Event, Offset, Partition};
use userpipe::config::KafkaConfig;

use super::{IDENTITY, SOON, assigned, name, next_offsets, produce, read, shared, topic};

/// How often each place of the topic was read, by anyone.
type Seen = Arc<Mutex<BTreeMap<(Partition, Offset), usize>>>;

/// A member that reads and commits each batch until told to stop, and gives partitions away only after its commit.
struct Reader {
    task: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
    owned: Arc<Mutex<BTreeSet<Partition>>>,
}

impl Reader {
    async fn start(config: &KafkaConfig, topic: &str, group: &str, seen: &Seen) -> Self {
        let mut consumer = KafkaConsumer::join(config, topic, group, IDENTITY).await.unwrap();
        let owned = Arc::new(Mutex::new(BTreeSet::new()));
        let (stop, mut stopped) = oneshot::channel();
        let (seen, owns) = (Arc::clone(seen), Arc::clone(&owned));
        let task = tokio::spawn(async move {
            while stopped.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty) {
                match consumer.poll(Duration::from_millis(100)).await.unwrap() {
                    Event::Assigned(partitions) => owns.lock().await.extend(partitions),
                    Event::Revoked(partitions, release) => {
                        // everything read before this event was committed with its batch
                        owns.lock().await.retain(|p| !partitions.contains(p));
                        drop(release);
                    }
                    Event::Lost(partitions) => panic!("lost {partitions:?}"),
                    Event::Records(records) => {
                        let mut seen = seen.lock().await;
                        for record in &records {
                            assert!(owns.lock().await.contains(&record.partition), "{record:?} is not ours");
                            *seen.entry((record.partition, record.offset)).or_default() += 1;
                        }
                        drop(seen);
                        assert_eq!(consumer.commit(&next_offsets(&records)).await.unwrap(), Commit::Stored);
                    }
                }
            }
            consumer.close().await.unwrap();
        });
        Self { task, stop, owned }
    }

    async fn owns(&self, count: usize) {
        let waiting = async {
            while self.owned.lock().await.len() != count {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("never owned {count} partitions"));
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn members_share_and_take_over_and_nothing_committed_is_read_twice() {
    let config = shared();
    let (topic, producer) = topic(&config, "shared").await;
    let (group, seen) = (name("group"), Seen::default());
    let feed = tokio::spawn(async move {
        for n in 0..120 {
            produce(&producer, n * 100..(n + 1) * 100).await;
            sleep(Duration::from_millis(50)).await;
        }
    });
    let first = Reader::start(&config, &topic, &group, &seen).await;
    first.owns(6).await;
    let second = Reader::start(&config, &topic, &group, &seen).await;
    second.owns(3).await;
    first.owns(3).await;
    let begin = Instant::now();
    first.stop().await;
    second.owns(6).await;
    let takeover = begin.elapsed();
    assert!(takeover < Duration::from_secs(5), "the session would have run out after 10 s; this took {takeover:?}");
    feed.await.unwrap();
    let all = async {
        while seen.lock().await.len() < 12_000 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, all).await.expect("every record is read");
    second.stop().await;
    let seen = seen.lock().await;
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{} places were read twice: {twice:?}", twice.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn a_paused_member_stays_longer_than_a_session() {
    let config = shared();
    let (topic, producer) = topic(&config, "paused").await;
    let mut consumer = KafkaConsumer::join(&config, &topic, &name("group"), IDENTITY).await.unwrap();
    assigned(&mut consumer, 6).await;
    produce(&producer, 0..100).await;
    let before = read(&mut consumer, 100).await;
    consumer.pause(true);
    // far more than what may wait
    produce(&producer, 100..20_100).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(13) {
        match consumer.poll(Duration::from_millis(500)).await.unwrap() {
            Event::Records(records) => assert!(records.is_empty(), "paused"),
            other => panic!("the session is 10 s: {other:?}"),
        }
    }
    assert_eq!(consumer.commit(&next_offsets(&before)).await.unwrap(), Commit::Stored);
    consumer.pause(false);
    let after = read(&mut consumer, 20_000).await;
    assert_eq!(consumer.commit(&next_offsets(&after)).await.unwrap(), Commit::Stored);
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn the_next_member_goes_on_where_the_last_one_committed() {
    let config = KafkaConfig { partitions: 1, ..shared() };
    let (topic, producer) = topic(&config, "resume").await;
    let group = name("group");
    produce(&producer, 0..100).await;
    let mut first = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    read(&mut first, 100).await;
    assert_eq!(first.commit(&BTreeMap::from([(0, 40)])).await.unwrap(), Commit::Stored);
    assert_eq!(first.committed().await.unwrap(), BTreeMap::from([(0, 40)]));
    let ends: Vec<_> = first.watermarks().await.unwrap().into_values().map(|w| (w.low, w.high)).collect();
    assert_eq!(ends, [(0, 100)]);
    first.close().await.unwrap();

    let mut second = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    let records = read(&mut second, 60).await;
    assert_eq!(records[0].offset, 40);
    let foreign = BTreeMap::from([(5, 1)]);
    assert_eq!(second.commit(&foreign).await.unwrap(), Commit::Fenced, "partition 5 was never ours");
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn partitions_go_to_the_next_member_only_after_the_release() {
    let config = KafkaConfig { partitions: 2, ..shared() };
    let (topic, producer) = topic(&config, "release").await;
    let group = name("group");
    let mut first = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    assigned(&mut first, 2).await;
    produce(&producer, 0..10).await;
    let records = read(&mut first, 10).await;
    let mut second = KafkaConsumer::join(&config, &topic, &group, IDENTITY).await.unwrap();
    let (revoked, release) = match first.poll(SOON).await.unwrap() {
        Event::Revoked(revoked, release) => (revoked, release),
        other => panic!("expected a revocation, got {other:?}"),
    };
    match second.poll(Duration::from_secs(3)).await.unwrap() {
        Event::Records(records) => assert!(records.is_empty()),
        other => panic!("the first member has not released anything: {other:?}"),
    }
    assert_eq!(first.commit(&next_offsets(&records)).await.unwrap(), Commit::Stored, "drained before it goes");
    drop(release);
    assert_eq!(assigned(&mut second, 1).await, revoked);
    match second.poll(Duration::from_secs(1)).await.unwrap() {
        Event::Records(records) => assert!(records.is_empty(), "{records:?} were committed"),
        other => panic!("{other:?}"),
    }
    assert_eq!(first.commit(&BTreeMap::from([(revoked[0], 1)])).await.unwrap(), Commit::Fenced);
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Kafka: make test"]
async fn questions_about_offsets_do_not_wait_behind_a_fetch_that_waits_for_records() {
    const ROUNDS: u32 = 10;
    let config = shared();
    let (topic, producer) = topic(&config, "survey").await;
    produce(&producer, 0..10).await;
    let mut consumer = KafkaConsumer::join(&config, &topic, &name("group"), IDENTITY).await.unwrap();
    read(&mut consumer, 10).await;
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        consumer.watermarks().await.unwrap();
        consumer.committed().await.unwrap();
    }
    // A fetch of an idle topic lasts half a second, and one round asks four times.
    let round = begin.elapsed() / ROUNDS;
    assert!(round < Duration::from_millis(250), "{round:?}");
    consumer.close().await.unwrap();
}
