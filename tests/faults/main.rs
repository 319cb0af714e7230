//! Faults: the built program against a real Kafka, Cassandra and PostgreSQL that are killed, stopped, cut off and refused,
//! and the program itself killed at every seam.
//!
//! - [`cases`]: the faults, one function each; a case is named after what must hold
//! - [`world`]: what a case has: topic, table and data directory of its own, and the program
//! - [`check`]: the invariants by id set, read from topic, sink and ledger by other clients than ours
//! - [`proxy`]: stands between the program and Kafka or Cassandra, and misbehaves on request
//! - [`report`]: the table at the end; for what failed the seed, and the command that repeats it
//!
//! `make test-faults` runs all of them, `make test` those that are marked as representative. Without services, and for
//! cases that need what is not here, they show as ignored.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table of results is printed")]

mod bus;
mod cases;
#[path = "../certificates/mod.rs"]
mod certificates;
mod check;
mod people;
#[path = "../live/pipeline/program.rs"]
#[allow(dead_code, reason = "shared with the live tests")]
mod program;
mod proxy;
#[path = "../live/cassandra/reader.rs"]
#[allow(dead_code, reason = "shared with the live tests")]
mod reader;
mod report;
#[path = "../live/services.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the live tests, whose own tests are in it")]
mod services;
#[path = "../live/pipeline/small_disk.rs"]
mod small_disk;
mod stores;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Arguments;

/// How long anything may take that is expected to end soon, on a busy machine.
const SOON: Duration = Duration::from_mins(2);

/// Cases at once: they wait more than they work.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let table = Arc::new(report::Table::default());
    // The others are not even listed: they belong to `make test-faults`.
    let is_short = std::env::var_os("USERPIPE_TEST_FAULTS").is_some_and(|which| which == "representative");
    let cases = cases::all().into_iter().filter(|case| case.is_representative || !is_short);
    let trials = cases.map(|case| case.into_trial(&table)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    table.print();
    conclusion.exit_code()
}
