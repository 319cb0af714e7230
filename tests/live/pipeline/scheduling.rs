//! One schedule in two processes that share nothing but Kafka and a PostgreSQL.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::program::until;
use super::{Pipeline, readback};
use crate::services::{self, psql};

/// Slots that are waited for on each side of the kill.
const SLOTS: usize = 6;

#[test]
#[ignore = "needs live services: make test"]
fn two_processes_on_one_postgres_run_each_slot_once_and_a_killed_one_is_followed() {
    let postgres = services::postgres();
    let pipeline = Pipeline::new("schedule")
        .with_flag("--postgres", &postgres.url)
        .with_variable("PGPASSWORD", &postgres.password)
        .initialized();
    let count = |condition: &str| -> usize {
        let query =
            format!("SELECT count(*) FROM userpipe.runs WHERE pipeline LIKE '%/{}' AND {condition}", pipeline.topic);
        psql(&postgres, &query)[0].parse().unwrap()
    };
    let arguments = ["run", "--no-deliver", "--interval", "1s", "--count", "5", "--source", "synthetic"];
    let first = pipeline.start(&arguments);
    let second = pipeline.start(&arguments);
    until("the first slots", Duration::from_mins(1), || count("state = 'success'") >= SLOTS);
    first.kill();
    let (killed, before) = (Instant::now(), count("state = 'success'"));
    until("the slots after the kill", Duration::from_mins(1), || count("state = 'success'") >= before + SLOTS);
    let took = killed.elapsed();
    second.signal(Signal::SIGTERM);
    second.wait(Duration::from_secs(30)).expect_code(0);

    let slots = "SELECT count(*), count(DISTINCT scheduled_for), (max(scheduled_for) - min(scheduled_for)) / 1000 + 1";
    let query = format!("{slots} FROM userpipe.runs WHERE pipeline LIKE '%/{}'", pipeline.topic);
    let numbers = psql(&postgres, &query).remove(0);
    let numbers: Vec<usize> = numbers.split('|').map(|number| number.parse().unwrap()).collect();
    assert!(numbers.iter().all(|number| *number == numbers[0]), "rows, slots, seconds: {numbers:?}");
    assert_eq!(count("state NOT IN ('success', 'skipped')"), 0);
    // A run that was going when its process was killed holds up the next ones until its lease is over.
    assert!(count("state = 'skipped'") <= 8 && took < Duration::from_secs(30), "{took:?}");
    let ledger = readback::ledger_of(&postgres, &pipeline.topic);
    assert_eq!(ledger.len(), 5 * count("state = 'success'"), "five users a run, each run once");
}
