//! Consumers that are killed, stopped or replaced midway: every id ends in the table, whatever happened.

use nix::sys::signal::Signal;

use super::program::{Running, until};
use super::readback::ledger;
use super::{Pipeline, SOON, assert_same};

/// Few statements at once, so that midway lasts.
const SLOWLY: [&str; 4] = ["--cassandra-in-flight", "2", "--in-flight", "1000"];

/// A consumer that delivers slowly, once `rows` are in the table.
fn midway(pipeline: &Pipeline, rows: usize) -> Running {
    let consumer = pipeline.start(&[&["consume", "-e"], &SLOWLY[..]].concat());
    let table = pipeline.rows();
    until("rows arrive", SOON, || table.count() >= rows);
    consumer
}

#[test]
#[ignore = "needs live services: make test"]
fn a_consumer_killed_midway_and_started_again_ends_with_every_id() {
    let pipeline = Pipeline::new("sigkill").initialized();
    let ids = pipeline.produce(12_000);
    midway(&pipeline, 2_000).kill().expect_signal(Signal::SIGKILL);
    let (rows, lag) = (pipeline.rows().count(), pipeline.lag());
    assert!((2_000..12_000).contains(&rows), "{rows} rows are not midway");
    assert!(lag >= 12_000 - rows as u64, "{lag} to go with {rows} rows: more was committed than written");

    pipeline.run(&["consume", "-e"]).expect_code(0);
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    assert_eq!(pipeline.lag(), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_consumer_stopped_midway_commits_all_it_wrote_and_loses_nothing() {
    let pipeline = Pipeline::new("sigterm").initialized();
    let ids = pipeline.produce(6_000);
    let consumer = midway(&pipeline, 1_000);
    consumer.signal(Signal::SIGTERM);
    let stopped = consumer.wait(SOON).expect_code(0);
    let (rows, lag) = (pipeline.rows().count(), pipeline.lag());
    assert_eq!(rows as u64 + lag, 6_000, "what was written is committed: {}", stopped.stderr);
    assert!(lag > 0, "it was not midway");

    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said(&format!("written {lag}"));
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    assert_eq!(pipeline.lag(), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_member_takes_over_from_one_that_was_killed() {
    let pipeline = Pipeline::new("takeover").initialized();
    let [mut killed, mut survivor] = [(); 2].map(|()| pipeline.start(&["consume", "-v"]));
    let producer = pipeline.start(&["produce", "--for", "8s", "--rate", "500/s", "--source", "synthetic"]);
    for member in [&mut killed, &mut survivor] {
        member.until_says(" assigned partitions=[");
    }
    let table = pipeline.rows();
    let before = table.count();
    until("both deliver", SOON, || table.count() >= before + 500);
    killed.kill().expect_signal(Signal::SIGKILL);
    producer.wait(SOON).expect_code(0);

    // Ends when the group has committed everything, whichever member did.
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let ids = ledger(&pipeline.database(), &pipeline.topic).into_iter().map(|stored| stored.id).collect();
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    survivor.signal(Signal::SIGTERM);
    survivor.wait(SOON).expect_code(0);
    assert_eq!(pipeline.lag(), 0);
}
