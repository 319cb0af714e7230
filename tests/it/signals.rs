//! SIGINT and SIGTERM drain and end with 0; a second one, and a drain that takes too long, end with 75.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::mock::MockApi;
use crate::sandbox::Sandbox;

const WITH_PARTITIONS: &str = "SELECT count(DISTINCT member) FROM bus_leases";
const IN_THE_TABLE: &str = "SELECT count(*) FROM created_users";

#[test]
fn a_signal_drains_a_consumer_which_leaves_its_group() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let sandbox = Sandbox::new();
        sandbox.userpipe("produce --source synthetic --count 500").ok();
        let consume = sandbox.userpipe("consume").start();
        let database = sandbox.database();
        database.wait_until(IN_THE_TABLE, 1);
        consume.signal(signal);
        let output = consume.finish().expect_code(0);
        assert!(output.stderr.contains("stopping: finishing what is in flight"), "{}", output.stderr);
        assert!(output.last_line().starts_with("written "), "{}", output.last_line());
        let committed = database.number("SELECT coalesce(sum(offset), 0) FROM bus_offsets");
        assert_eq!(committed, database.number(IN_THE_TABLE), "what is written is committed");
        assert_eq!(database.number("SELECT (SELECT count(*) FROM bus_members) + (SELECT count(*) FROM bus_leases)"), 0);
    }
}

#[test]
fn a_signal_ends_what_waits_for_the_api() {
    for command in ["fetch", "produce", "run --once", "run --interval 1h"] {
        let sandbox = Sandbox::new();
        let mock = MockApi::start(&sandbox, &["hang"]);
        let waiting = sandbox.userpipe(&format!("{command} --api-url {}", mock.url)).start();
        mock.wait_for_request();
        waiting.signal(Signal::SIGTERM);
        waiting.finish().expect_code(0);
    }
}

#[test]
fn a_signal_ends_the_mock() {
    let sandbox = Sandbox::new();
    let mock = sandbox.userpipe("mock-api --fault hang").start();
    let url = mock.wait_for_lines(1);
    let fetch = sandbox.userpipe(&format!("fetch --api-attempts 1 --api-url {url}")).start();
    mock.wait_for_stderr(" asks ");
    mock.signal(Signal::SIGINT);
    mock.finish().expect_code(0);
    fetch.finish().expect_code(69);
}

#[test]
fn what_was_fetched_before_a_signal_is_delivered() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let run = sandbox.userpipe("run --source synthetic --for 60s --rate 200/s").start();
    database.wait_until(IN_THE_TABLE, 100);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    let unsent = database.number("SELECT count(*) FROM outbox WHERE published_at IS NULL");
    let running = database.number("SELECT count(*) FROM runs WHERE state = 'running'");
    assert_eq!((unsent, running), (0, 0));
    sandbox.userpipe("consume -e").ok();
    assert_eq!(database.number(IN_THE_TABLE), database.number("SELECT count(*) FROM outbox"));
}

#[test]
fn a_drain_that_takes_too_long_is_75_and_nothing_is_lost() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let consume = sandbox.userpipe("consume --shutdown-timeout 300ms").start();
    database.wait_until(WITH_PARTITIONS, 1);
    sandbox.userpipe("produce --source synthetic --count 20").ok();
    database.wait_until(IN_THE_TABLE, 20);
    // It has records in flight for as long as somebody else holds the file.
    let user = sandbox.userpipe("fetch --source synthetic --count 1").ok().stdout;
    database.append("users_created", 0, None, Some(user.trim().as_bytes()));
    let lock = database.lock();
    let started = Instant::now();
    consume.signal(Signal::SIGTERM);
    let output = consume.finish();
    assert!(started.elapsed() < Duration::from_secs(15), "not as long as the lock is held");
    drop(lock);
    // 0 where the record had been written before the lock was taken.
    assert!(matches!(output.status.code(), Some(0 | 75)), "{}", output.stderr);
    database.execute("UPDATE bus_members SET expires_at_ms = 1");
    sandbox.userpipe("consume -e").ok();
    assert_eq!(database.number(IN_THE_TABLE), 21);
}

#[test]
fn a_second_signal_quits_at_once() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let consume = sandbox.userpipe("consume").start();
    database.wait_until(WITH_PARTITIONS, 1);
    let lock = database.lock();
    consume.signal(Signal::SIGINT);
    consume.wait_for_stderr("stopping");
    consume.signal(Signal::SIGINT);
    let output = consume.finish().expect_code(75);
    drop(lock);
    assert!(output.stderr.contains("second signal"), "{}", output.stderr);
}
