//! Services that go away while the pipeline runs, and come back.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::program::until;
use super::{Pipeline, SOON, assert_same, readback};
use crate::services::PrivateInstance;

/// What a process may grow by while its sink is away: far less than the 15,000 records it could read meanwhile.
const GROWTH_BYTES_MAX: u64 = 8 << 20;

#[test]
#[ignore = "needs live services: make test"]
fn a_broker_that_is_killed_and_started_again_interrupts_a_stream_and_loses_nothing() {
    let instance = PrivateInstance::start(&["kafka"]);
    let pipeline = Pipeline::new("broker").with_kafka(instance.kafka()).initialized();
    let run = pipeline.start(&["run", "--for", "15s", "--rate", "200/s", "--source", "synthetic"]);
    let table = pipeline.rows();
    until("rows arrive", SOON, || table.count() >= 300);
    instance.kill("kafka", Signal::SIGKILL);
    instance.start_again("kafka");
    let before = table.count();
    run.wait(SOON).expect_code(0);

    let ledger = readback::ledger(&pipeline.database(), &pipeline.topic);
    assert!(ledger.iter().all(|stored| stored.place.is_some()), "users that were never marked");
    assert!(ledger.len() > before, "it went on after the restart");
    assert_same(&pipeline.ids(), &ledger.into_iter().map(|stored| stored.id).collect(), "table and ledger");
    assert_eq!(pipeline.lag(), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn cassandra_is_waited_for_at_the_start_and_while_it_is_away_memory_does_not_grow() {
    let instance = PrivateInstance::not_started(&["cassandra"]);
    let pipeline = Pipeline::new("cassandra").with_cassandra(instance.cassandra());
    thread::scope(|scope| {
        let mut waiting = pipeline.start(&["init-schema", "--wait", "2m"]);
        waiting.until_says("waiting: cannot reach Cassandra");
        scope.spawn(|| instance.up());
        let made = waiting.wait(Duration::from_mins(2)).expect_code(0);
        assert!(made.stdout.contains(&format!("created table {}", pipeline.table())), "{}", made.stdout);
    });

    let ids = pipeline.produce(15_000);
    let mut consumer = pipeline.start(&["consume", "-e", "--in-flight", "2000", "--cassandra-in-flight", "48"]);
    let table = pipeline.rows();
    until("rows arrive", SOON, || table.count() >= 2_000);
    instance.kill("cassandra", Signal::SIGKILL);
    consumer.until_says("; trying again");
    let before = consumer.resident_bytes();
    let mut most = before;
    thread::scope(|scope| {
        let restart = scope.spawn(|| instance.start_again("cassandra"));
        until("Cassandra is back", SOON, || {
            assert!(consumer.lives(), "it gave up: {}", consumer.stderr());
            most = most.max(consumer.resident_bytes());
            restart.is_finished()
        });
    });
    let growth = most.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{} KiB more than {} KiB", growth >> 10, before >> 10);

    consumer.wait(SOON).expect_code(0);
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    assert_eq!(pipeline.lag(), 0);
}
