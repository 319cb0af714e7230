//! `produce`: from source or `--input` through the ledger to the bus.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const ON_THE_BUS: &str = "SELECT count(*) FROM bus_records WHERE topic = 'users_created'";
const UNSENT: &str = "SELECT count(*) FROM outbox WHERE published_at IS NULL";

/// A record with a time of its own.
fn record(number: u8, timestamp: &str) -> Value {
    json!({
        "id": format!("00000000-0000-5000-8000-0000000000{number:02}"),
        "first_name": "Ann", "last_name": "Other", "gender": "female", "email": format!("ann{number}@example.com"),
        "username": "ann", "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378",
        "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z",
        "picture": "https://example.com/p.jpg", "timestamp": timestamp,
    })
}

#[test]
fn fetch_pipes_into_produce_and_consume_prints_it() {
    let sandbox = Sandbox::new();
    let line = "userpipe fetch --source synthetic --count 5 | tee sent | userpipe produce --input - \
                && userpipe consume -e --sink stdout";
    let output = sandbox.bash(line).ok();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let sent = std::fs::read_to_string(sandbox.path("sent")).unwrap();
    assert_eq!(sent.lines().count(), 5);
    assert_eq!(lines(&output.stdout), lines(&sent), "id and timestamp are kept");
}

#[test]
fn raw_users_become_the_same_records() {
    let sandbox = Sandbox::new();
    sandbox.bash("userpipe fetch --source synthetic --seed s --raw | userpipe produce --input -").ok();
    let sent = sandbox.userpipe("consume -e --sink stdout").ok().json_lines();
    let fetched = sandbox.userpipe("fetch --source synthetic --seed s").ok().json_lines();
    let ids = |users: &[Value]| users.iter().map(|user| user["id"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&sent), ids(&fetched));
}

#[test]
fn bad_lines_are_named_and_the_good_ones_are_sent() {
    let sandbox = Sandbox::new();
    let (first, second) = (record(1, "2026-01-01T00:00:00.000Z"), record(2, "2026-01-02T00:00:00.000Z"));
    let long = "x".repeat(3 * 1024 * 1024);
    let mut lacking = record(3, "2026-01-01T00:00:00.000Z");
    lacking.as_object_mut().unwrap().remove("dob");
    // Windows line ends, empty lines and a last line without an end are no mistakes.
    sandbox.write("users.jsonl", format!("{first}\r\n{{broken\n\n{lacking}\n{long}\n[]\n{second}"));
    let output = sandbox.userpipe("produce --input users.jsonl").fails(65);
    assert_eq!(output.error(), "4 of 6 lines are no users at users.jsonl");
    assert_eq!(output.hint(), "the good ones were sent; the warnings above name the others");
    for (line, reason) in
        [(2, "not a JSON object"), (4, "dob: missing or null"), (5, "longer than"), (6, "not a JSON object")]
    {
        let named = format!("rejected a user: users.jsonl line {line}: {reason}");
        assert!(output.stderr.contains(&named), "{named} in {}", output.stderr);
    }
    let mut sent = sandbox.userpipe("consume -e --sink stdout").ok().json_lines();
    sent.sort_by_key(|user| user["id"].to_string());
    assert_eq!(sent, [first, second]);
}

#[test]
fn an_empty_input_is_no_mistake() {
    let output = Sandbox::new().userpipe("produce --input -").ok();
    assert_eq!(output.last_line().split(" in ").next(), Some("nothing yet"));
}

#[test]
fn the_same_person_twice_in_one_input_ends_as_the_newest() {
    let sandbox = Sandbox::new();
    let mut newest = record(1, "2026-01-02T00:00:00.000Z");
    newest["email"] = "new@example.com".into();
    let older = record(1, "2026-01-01T00:00:00.000Z");
    sandbox.userpipe("produce --input -").input(format!("{newest}\n{older}\n")).ok();
    sandbox.userpipe("consume -e").ok();
    let users = sandbox.database().users();
    assert_eq!((users.len(), users[0]["email"].as_str()), (1, "new@example.com"));
    assert_eq!(sandbox.database().number(UNSENT), 0);
}

#[test]
fn a_silent_input_ends_with_a_signal() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let produce = sandbox.userpipe("produce --input -").silent_input().start();
    database.wait_until("SELECT count(*) FROM runs", 1);
    produce.signal(Signal::SIGTERM);
    produce.finish().expect_code(0);
}

#[test]
fn records_of_an_input_are_sent_while_it_is_still_open() {
    let sandbox = Sandbox::new();
    let user = record(1, "2026-01-01T00:00:00.000Z");
    sandbox.write("user", format!("{user}\n"));
    let database = sandbox.prepare();
    // The reader of the pipe waits for more, as with `tail -f`.
    let open = sandbox.bash("(cat user; exec cat) | userpipe produce --input -").silent_input().start();
    database.wait_until(ON_THE_BUS, 1);
    drop(open);
}

#[test]
fn a_stream_ends_after_its_time_at_its_rate() {
    let sandbox = Sandbox::new();
    let started = Instant::now();
    let output = sandbox.userpipe("produce --source synthetic --for 1900ms --rate 10/s").ok();
    assert!(started.elapsed() >= Duration::from_secs(1), "the second ten are due after a second");
    assert!(output.last_line().starts_with("fetched 20 · produced 20 in "), "{}", output.last_line());
    assert_eq!(sandbox.database().number(ON_THE_BUS), 20);
}

#[test]
fn every_user_is_in_the_ledger_with_its_place_on_the_bus() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 250 --results 100 --seed s").ok();
    let database = sandbox.database();
    let same_place =
        "SELECT count(*) FROM outbox o JOIN bus_records r ON r.partition = o.partition AND r.offset = o.offset
                      AND CAST(r.key AS TEXT) = o.id AND CAST(r.value AS TEXT) = o.record AND r.topic = 'users_created'
                      WHERE o.published_at IS NOT NULL AND o.pipeline = 'embedded/users_created'";
    assert_eq!((database.number(ON_THE_BUS), database.number(same_place)), (250, 250));
    let run = "SELECT trigger || ' ' || state || ' ' || seed || ' ' || next_page || ' ' || fetched || ' ' || produced
               FROM runs WHERE finished_at >= started_at AND error IS NULL";
    assert_eq!(database.texts(run), ["once success s 4 250 250"]);
    for raw in database.texts("SELECT raw FROM outbox") {
        assert!(
            !["password", "salt", "md5", "sha1", "sha256", "\"value\""].iter().any(|secret| raw.contains(secret)),
            "{raw}"
        );
    }
}

#[test]
fn with_a_seed_pages_go_on_from_run_to_run() {
    let sandbox = Sandbox::new();
    for _ in 0..3 {
        sandbox.userpipe("produce --source synthetic --count 5 --seed s").ok();
    }
    let database = sandbox.database();
    assert_eq!(database.texts("SELECT DISTINCT id FROM outbox").len(), 15);
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    assert_eq!(
        database.number("SELECT count(DISTINCT seed) FROM runs"),
        3,
        "without one each run draws and records its own"
    );
}

#[test]
fn without_a_ledger_nothing_is_stored() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --ledger off --source synthetic --count 12").ok();
    let database = sandbox.database();
    assert_eq!(database.number(ON_THE_BUS), 12);
    assert_eq!(database.number("SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM runs)"), 0);
}

#[test]
fn a_user_that_was_stored_and_never_acknowledged_is_sent_by_the_next_run() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 3").ok();
    let database = sandbox.database();
    // As a process leaves it that died between its outbox and the acknowledgement, once its lease is over.
    let forgotten = "UPDATE outbox SET published_at = NULL, partition = NULL, offset = NULL, claimed_by = 'dead',
                     claimed_until = 1 WHERE id = (SELECT min(id) FROM outbox)";
    database.execute(forgotten);
    assert_eq!(database.number(UNSENT), 1);
    let output = sandbox.userpipe("produce --source synthetic --count 1").ok();
    assert!(output.stderr.contains("sending 1 stored users"), "{}", output.stderr);
    assert!(output.last_line().starts_with("fetched 1 · produced 2 in "), "{}", output.last_line());
    assert_eq!((database.number(ON_THE_BUS), database.number(UNSENT)), (5, 0));
}

#[test]
fn a_killed_producer_loses_nothing_of_what_it_had_stored() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let produce = sandbox.userpipe("produce --source synthetic --for 60s --rate 1000/s --results 50").start();
    database.wait_until(ON_THE_BUS, 100);
    produce.signal(Signal::SIGKILL);
    assert_eq!(produce.finish().status.code(), None);
    database.execute("UPDATE outbox SET claimed_until = 1 WHERE published_at IS NULL");
    sandbox.userpipe("produce --source synthetic --count 1").ok();
    assert_eq!(database.number(UNSENT), 0);
    let lost = "SELECT count(*) FROM outbox WHERE id NOT IN (SELECT CAST(key AS TEXT) FROM bus_records)";
    assert_eq!(database.number(lost), 0);
}
