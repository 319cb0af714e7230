//! `run`: the whole pipeline in one process, on the embedded default.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::mock::MockApi;
use crate::sandbox::Sandbox;

const SUCCEEDED: &str = "SELECT count(*) FROM runs WHERE state = 'success'";
const IN_THE_TABLE: &str = "SELECT count(*) FROM created_users";

#[test]
fn one_run_leaves_as_many_rows_as_it_was_asked_for_and_a_second_adds() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("run --once --source synthetic --count 120 --results 50").ok();
    assert_eq!(sandbox.database().ids().len(), 120);
    assert!(output.stderr.contains("fetched 120 · produced 120 · written 120 in "), "{}", output.stderr);
    assert!(
        output.stderr.contains("120 rows in ./userpipe-data/userpipe.db, table created_users:"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("next:  userpipe consume"), "{}", output.stderr);
    assert_eq!(output.stdout, "");
    sandbox.userpipe("run --once --source synthetic --count 30").ok();
    assert_eq!(sandbox.database().ids().len(), 150);
}

#[test]
fn over_http_every_user_arrives() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &[]);
    let output = sandbox.userpipe(&format!("run --once --count 35 --results 10 --seed s --api-url {}", mock.url)).ok();
    let address = mock.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let path = format!(
        "api {address} → embedded ./userpipe-data/userpipe.db/users_created → sqlite ./userpipe-data/userpipe.db/created_users"
    );
    assert_eq!(output.stderr.lines().next(), Some(path.as_str()), "the first line draws the path");
    assert_eq!(sandbox.database().ids().len(), 35);
}

#[test]
fn rows_go_to_stdout_where_that_is_the_sink() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("run --once --source synthetic --count 15 --sink stdout").ok();
    let ids: BTreeSet<_> = output.json_lines().iter().map(|user| user["id"].to_string()).collect();
    assert_eq!(ids.len(), 15);
}

#[test]
fn a_run_delivers_what_was_left_on_the_bus_as_well() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 10").ok();
    sandbox.userpipe("run --once --source synthetic --count 5").ok();
    assert_eq!(sandbox.database().ids().len(), 15);
}

/// Regression: with thousands of partitions the embedded bus never got to the end of its first look.
#[test]
fn as_many_partitions_as_are_allowed_are_read() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 300 --partitions 100").ok();
    assert_eq!(sandbox.database().ids().len(), 300);
    let output = sandbox.userpipe("run --once --source synthetic --partitions 101 -t other").fails(78);
    assert_eq!(output.error(), "bad value of --partitions: the embedded bus takes at most 100");
}

#[test]
fn without_delivery_it_only_ingests() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("run --once --no-deliver --source synthetic --count 10").ok();
    assert_eq!(output.stderr.lines().next(), Some("synthetic → embedded ./userpipe-data/userpipe.db/users_created"));
    let database = sandbox.database();
    assert_eq!(database.number("SELECT count(*) FROM bus_records"), 10);
    assert_eq!(database.number("SELECT count(*) FROM sqlite_master WHERE name = 'created_users'"), 0);
}

#[test]
fn several_processes_may_start_at_once_on_nothing() {
    let sandbox = Sandbox::new();
    let runs = [(); 4].map(|()| sandbox.userpipe("run --once --source synthetic --count 50").start());
    for run in runs {
        run.finish().expect_code(0);
    }
    sandbox.userpipe("consume -e").ok();
    assert_eq!(sandbox.database().ids().len(), 200);
}

#[test]
fn an_ingest_and_a_delivery_process_share_only_the_bus() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let consume = sandbox.userpipe("consume").start();
    sandbox.userpipe("run --once --no-deliver --source synthetic --count 40").ok();
    database.wait_until(IN_THE_TABLE, 40);
    consume.signal(Signal::SIGTERM);
    consume.finish().expect_code(0);
}

#[test]
fn a_stream_for_a_time_is_delivered_whole() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --source synthetic --for 1900ms --rate 20/s").ok();
    assert_eq!(sandbox.database().ids().len(), 40, "twenty at once, twenty after a second");
}

#[test]
fn a_schedule_runs_until_a_signal_and_rows_grow() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let run = sandbox.userpipe("run --interval 1s --source synthetic --count 7").start();
    database.wait_until(IN_THE_TABLE, 7);
    database.wait_until(IN_THE_TABLE, 14);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    sandbox.userpipe("consume -e").ok();
    assert_eq!(database.number(IN_THE_TABLE), 7 * database.number(SUCCEEDED));
    let slots =
        "SELECT count(DISTINCT scheduled_for) FROM runs WHERE scheduled_for % 1000 = 0 AND trigger = 'interval'";
    assert_eq!(database.number(slots), database.number("SELECT count(*) FROM runs"), "one run a slot");
}

#[test]
fn a_failed_run_does_not_end_the_schedule() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["500:2"]);
    let database = sandbox.prepare();
    let run = format!("run --interval 200ms --count 5 --api-attempts 1 --retries 0 --api-url {}", mock.url);
    let run = sandbox.userpipe(&run).start();
    database.wait_until(IN_THE_TABLE, 5);
    run.signal(Signal::SIGTERM);
    let output = run.finish().expect_code(0);
    assert!(output.stderr.contains("failed runs 2"), "{}", output.stderr);
    let failed = database.texts("SELECT error FROM runs WHERE state = 'failed'");
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|error| error.contains("status 500")), "{failed:?}");
}

#[test]
fn produce_has_the_same_schedule() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let produce = sandbox.userpipe("produce --interval 100ms --source synthetic --count 2").start();
    database.wait_until(SUCCEEDED, 3);
    produce.signal(Signal::SIGINT);
    produce.finish().expect_code(0);
    assert!(database.number("SELECT count(*) FROM bus_records") >= 6);
}

#[test]
fn a_page_that_fails_loses_nothing_of_the_pages_before_it() {
    let sandbox = Sandbox::new();
    let mock = MockApi::with(&sandbox, "--limit 10");
    let run = format!("run --once --count 20 --results 5 --api-attempts 1 --api-url {}", mock.url);
    let output = sandbox.userpipe(&run).fails(69);
    assert!(output.error().contains("status 429 Too Many Requests, body `{\"error\":\"Whoa, "), "{}", output.error());
    sandbox.userpipe("consume -e").ok();
    assert_eq!(sandbox.database().ids().len(), 10);
}

/// The container's health check: it says no before there is anything, and yes after.
#[test]
fn health_is_10_without_a_topic_and_0_with_one() {
    let sandbox = Sandbox::new();
    let before = sandbox.userpipe("health").fails(10);
    assert!(before.error().ends_with("there is no topic users_created"), "{}", before.stderr);
    sandbox.userpipe("init-schema").ok();
    sandbox.userpipe("health").ok();
}

/// As in the container: no home, and a current directory that nothing can be written to.
#[test]
fn a_data_directory_is_all_that_it_writes_to() {
    let sandbox = Sandbox::new();
    let data = sandbox.path("data");
    for command in ["run --once --source synthetic --count 20", "verify", "status", "check"] {
        sandbox.userpipe(&format!("{command} --data-dir {}", data.display())).in_a_read_only_place().ok();
    }
    let written: Vec<_> =
        std::fs::read_dir(sandbox.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(written, ["data"]);
}
