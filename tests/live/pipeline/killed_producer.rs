//! Producers that are killed at random moments: what the ledger has seen arrives.
//!
//! The moments follow from a seed that is printed; `USERPIPE_TEST_SEED` sets it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::readback::{Stored, ledger, ledger_of};
use super::{Pipeline, SOON, assert_same, readback};
use crate::services;

/// Kills that must have left users behind that were stored and not acknowledged.
const KILLS: usize = 3;
/// Attempts to hit such a moment.
const ATTEMPTS_MAX: usize = 15;

#[test]
#[ignore = "needs live services: make test"]
fn run_killed_at_random_loses_nothing_that_its_sqlite_ledger_holds() {
    let pipeline = Pipeline::new("killrun").initialized();
    killed_at_random(&pipeline, "run", || ledger(&pipeline.database(), &pipeline.topic));
}

#[test]
#[ignore = "needs live services: make test"]
fn produce_killed_at_random_loses_nothing_that_its_postgres_ledger_holds() {
    let postgres = services::postgres();
    let pipeline = Pipeline::new("killproduce")
        .with_flag("--postgres", &postgres.url)
        .with_variable("PGPASSWORD", &postgres.password)
        .initialized();
    killed_at_random(&pipeline, "produce", || ledger_of(&postgres, &pipeline.topic));
}

fn killed_at_random(pipeline: &Pipeline, command: &str, ledger: impl Fn() -> Vec<Stored>) {
    let mut random = random();
    let source = ["--once", "--source", "synthetic", "--results", "200", "--count"];
    let unsent = |ledger: &[Stored]| ledger.iter().filter(|stored| stored.place.is_none()).count();
    let (mut hits, mut seen) = (0, 0);
    for _ in 0..ATTEMPTS_MAX {
        let mut producer = pipeline.start(&[&[command], &source[..], &["100000"]].concat());
        producer.until_says(" → ");
        let moment = Duration::from_millis(random.random_range(100..2_000));
        // Not a wait for something: the moment is what the test is about.
        std::thread::sleep(moment);
        producer.kill().expect_signal(Signal::SIGKILL);
        let stored = unsent(&ledger());
        hits += usize::from(stored > seen);
        seen = stored;
        if hits == KILLS {
            break;
        }
    }
    assert_eq!(hits, KILLS, "kills that left stored users unsent, of {ATTEMPTS_MAX}");

    pipeline.run(&[&[command], &source[..], &["100"]].concat()).expect_code(0);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let ledger = ledger();
    assert_eq!(unsent(&ledger), 0, "users that were never marked");
    let ids: BTreeSet<String> = ledger.iter().map(|stored| stored.id.clone()).collect();
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    in_the_topic(pipeline, &ledger, &ids);
}

/// Every id is in the topic, at the place that the ledger names.
fn in_the_topic(pipeline: &Pipeline, ledger: &[Stored], ids: &BTreeSet<String>) {
    let records = readback::everything(&pipeline.kafka, &pipeline.topic);
    let places: BTreeMap<(i32, i64), &str> =
        records.iter().map(|record| ((record.partition, record.offset), record.key.as_str())).collect();
    assert_same(&records.iter().map(|record| record.key.clone()).collect(), ids, "topic and ledger");
    for stored in ledger {
        assert_eq!(places.get(&stored.place.unwrap()), Some(&stored.id.as_str()), "{stored:?}");
    }
}

fn random() -> ChaCha8Rng {
    let given = std::env::var("USERPIPE_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let drawn = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed: u64 = given.unwrap_or_else(drawn);
    eprintln!("USERPIPE_TEST_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// Longer than a lease, which the last run has to wait for.
const _: () = assert!(SOON.as_secs() > userpipe::ledger::CLAIM_LEASE.as_secs());
