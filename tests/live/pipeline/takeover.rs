//! Consumers under load, of which one is stopped, killed or frozen, and the others take over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use krafka::Kafka;
use krafka::admin::ListConsumerGroupOffsetsOptions;
use nix::sys::signal::Signal;

use super::program::{Running, until};
use super::readback::ledger;
use super::{Pipeline, SOON, assert_same};
use crate::services;

/// A session of the consumer protocol on these brokers, and of a classic member, with some time for the rebalance.
const SESSION_MAX: Duration = Duration::from_mins(1);
/// Members of the consumer protocol hear of one that left with their next heartbeat, half a second later at the most.
const BEATS_MAX: Duration = Duration::from_secs(8);

/// Looks at the committed offsets again and again; what went backwards, when it is stopped.
struct Offsets {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<Vec<String>>,
}

impl Offsets {
    fn watch(pipeline: &Pipeline) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, kafka, group) = (Arc::clone(&stop), pipeline.kafka.clone(), pipeline.group());
        let looking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let kafka = Kafka::builder(&kafka).connect().await.unwrap();
                let (mut last, mut backwards) = (BTreeMap::new(), Vec::new());
                while !stopped.load(Ordering::Relaxed) {
                    let options = ListConsumerGroupOffsetsOptions::default();
                    let now = kafka.admin().list_consumer_group_offsets(group.as_str(), options).await.unwrap();
                    for (place, offset) in now {
                        let offset = offset.unwrap().offset.unwrap_or(-1);
                        let before = last.insert(place.partition, offset).unwrap_or(-1);
                        if offset < before {
                            backwards.push(format!("partition {}: {before} to {offset}", place.partition));
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                backwards
            })
        });
        Self { stop, looking }
    }

    fn went_backwards(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// How many partitions a consumer says it was assigned, in all.
fn assignments(consumer: &Running) -> usize {
    let said = consumer.stderr();
    let lists = said.lines().filter_map(|line| line.split(" assigned partitions=[").nth(1)?.split(']').next());
    lists.map(|list| list.split(',').count()).sum()
}

/// How many partitions each member has, as Kafka's own tool describes the group.
fn members(pipeline: &Pipeline) -> Vec<usize> {
    let arguments = ["--bootstrap-server", &pipeline.kafka, "--describe", "--group", &pipeline.group()];
    let described = services::tool("consumer-groups", arguments);
    let mut members: BTreeMap<String, usize> = BTreeMap::new();
    for line in described.lines().filter(|line| line.starts_with(&pipeline.group())) {
        let member = line.split_whitespace().nth(6).unwrap_or("-");
        if member != "-" {
            *members.entry(member.to_owned()).or_default() += 1;
        }
    }
    members.into_values().collect()
}

fn the_others_take_over(protocol: &str) {
    let pipeline = Pipeline::new(&format!("over_{protocol}"))
        .with_flag("--partitions", "6")
        .with_flag("--group-protocol", protocol)
        .initialized();
    let mut consumers: Vec<_> = (0..3).map(|_| pipeline.start(&["consume", "-v"])).collect();
    until("three members share six partitions", SOON, || members(&pipeline) == [2, 2, 2]);
    let offsets = Offsets::watch(&pipeline);
    let producer = pipeline.start(&["produce", "--for", "30s", "--rate", "400/s", "--source", "synthetic"]);
    let table = pipeline.rows();
    until("they deliver", SOON, || table.count() >= 1_000);

    let stopped = consumers.remove(0);
    let had = |consumers: &[Running]| consumers.iter().map(assignments).sum::<usize>();
    let (before, began) = (had(&consumers), Instant::now());
    stopped.signal(Signal::SIGTERM);
    // A classic group may wait for a session first (docs/decisions.md 54).
    let left_max = if protocol == "classic" { SESSION_MAX } else { BEATS_MAX };
    until("the partitions of the stopped one are taken over", left_max, || had(&consumers) >= before + 2);
    eprintln!("{protocol}: taken over {:?} after SIGTERM", began.elapsed());
    stopped.wait(SOON).expect_code(0);
    until("two members share them", SOON, || members(&pipeline) == [3, 3]);

    let killed = consumers.remove(0);
    let (before, began) = (had(&consumers), Instant::now());
    killed.kill().expect_signal(Signal::SIGKILL);
    until("the partitions of the killed one are taken over", SESSION_MAX, || had(&consumers) >= before + 3);
    eprintln!("{protocol}: taken over {:?} after SIGKILL", began.elapsed());
    assert_eq!(members(&pipeline), [6]);

    producer.wait(SOON).expect_code(0);
    // Ends when the group has committed everything, whichever member did.
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let ids = ledger(&pipeline.database(), &pipeline.topic).into_iter().map(|stored| stored.id).collect();
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    let last = consumers.remove(0);
    last.signal(Signal::SIGTERM);
    last.wait(SOON).expect_code(0);
    assert_eq!(pipeline.lag(), 0);
    assert_eq!(offsets.went_backwards(), Vec::<String>::new());
}

#[test]
#[ignore = "needs live services: make test"]
fn of_three_consumers_one_is_stopped_and_one_killed_and_the_group_goes_on() {
    the_others_take_over("consumer");
}

#[test]
#[ignore = "needs live services: make test"]
fn of_three_classic_consumers_one_is_stopped_and_one_killed_and_the_group_goes_on() {
    the_others_take_over("classic");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_consumer_that_was_frozen_for_a_session_commits_nothing_and_comes_back() {
    let pipeline =
        Pipeline::new("frozen").with_flag("--partitions", "4").with_flag("--group-protocol", "consumer").initialized();
    let [frozen, awake] = [(); 2].map(|()| pipeline.start(&["consume", "-v"]));
    until("two members share four partitions", SOON, || members(&pipeline) == [2, 2]);
    let offsets = Offsets::watch(&pipeline);
    let producer = pipeline.start(&["produce", "--for", "30s", "--rate", "400/s", "--source", "synthetic"]);
    let table = pipeline.rows();
    until("they deliver", SOON, || table.count() >= 1_000);
    let (before, had) = (assignments(&awake), assignments(&frozen));
    frozen.signal(Signal::SIGSTOP);
    until("its partitions are taken over", SESSION_MAX, || assignments(&awake) >= before + 2);
    frozen.signal(Signal::SIGCONT);
    until("it comes back", SESSION_MAX, || assignments(&frozen) > had);
    assert!(frozen.stderr().contains("what is in flight is not committed"), "{}", frozen.stderr());

    producer.wait(SOON).expect_code(0);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let ids = ledger(&pipeline.database(), &pipeline.topic).into_iter().map(|stored| stored.id).collect();
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    for member in [frozen, awake] {
        member.signal(Signal::SIGTERM);
        member.wait(SOON).expect_code(0);
    }
    assert_eq!(pipeline.lag(), 0);
    assert_eq!(offsets.went_backwards(), Vec::<String>::new());
}
