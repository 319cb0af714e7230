//! Reading as members of a group: sharing, taking over, pausing, going on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep, timeout};
use userpipe::bus::{Commit, Consumer, Event, Offset, Partition};
use userpipe::config::KafkaConfig;

use super::{SOON, join, name, next_offsets, produce, read, shared, topic};

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
        let mut consumer = join(config, topic, group).await;
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
async fn questions_about_offsets_do_not_wait_behind_a_fetch_that_waits_for_records() {
    const ROUNDS: u32 = 10;
    let config = shared();
    let (topic, producer) = topic(&config, "survey").await;
    produce(&producer, 0..10).await;
    let mut consumer = join(&config, &topic, &name("group")).await;
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
