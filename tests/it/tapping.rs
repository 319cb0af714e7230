//! `tap` on the embedded bus: a sample of what passes from now on, and no trace of the look.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::sandbox::{Running, Sandbox};

/// A tap that has found its place.
fn tap(sandbox: &Sandbox, arguments: &str) -> Running {
    let tap = sandbox.userpipe(&format!("tap {arguments}")).start();
    tap.wait_for_stderr("from now on");
    tap
}

#[test]
fn what_passes_from_now_on_is_shown_with_its_place() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 30").ok();
    let before = sandbox.database().number("SELECT count(*) FROM bus_records");
    let tap = tap(&sandbox, "--rate 1000/s --count 8");
    sandbox.userpipe("produce --source synthetic --count 8").ok();
    let output = tap.finish().expect_code(0);
    assert_eq!(output.last_line(), "shown 8 of 8 records that passed");
    let database = sandbox.database();
    for line in output.json_lines() {
        assert_eq!(line["key"], line["value"]["id"], "{line}");
        assert!(line["value"]["email"].as_str().unwrap().contains('@') && line["timestamp"].is_string(), "{line}");
        assert!(line["partition"].is_i64() && line["offset"].is_i64(), "{line}");
    }
    let mut shown: Vec<_> = output.json_lines().iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
    let all = database.texts("SELECT CAST(key AS TEXT) FROM bus_records ORDER BY timestamp_ms");
    let mut new = all[usize::try_from(before).unwrap()..].to_vec();
    shown.sort();
    new.sort();
    assert_eq!(shown, new, "those that came before it are not shown");
    assert_eq!(database.number("SELECT count(*) FROM bus_offsets"), 0, "it is no group");
    assert_eq!(database.number("SELECT count(*) FROM bus_members"), 0);
}

#[test]
fn a_stream_is_sampled_at_the_rate() {
    let sandbox = Sandbox::new();
    sandbox.prepare();
    let tap = tap(&sandbox, "--rate 4/s");
    sandbox.userpipe("produce --source synthetic --for 3s --rate 500/s").ok();
    tap.signal(Signal::SIGINT);
    let output = tap.finish().expect_code(0);
    let shown = output.json_lines().len();
    assert!((4..=24).contains(&shown), "{shown} of 1500 in some seconds");
    let words: Vec<_> = output.last_line().split(' ').collect();
    let passed: usize = words[3].parse().unwrap();
    assert_eq!(words[1], shown.to_string());
    assert!(passed > 500, "{}", output.last_line());
}

#[test]
fn dead_letters_are_shown_with_their_reasons_even_where_there_was_no_topic_for_them() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 3").ok();
    let tap = tap(&sandbox, "--hop dead-letters --count 2 --rate 100/s");
    let database = sandbox.database();
    database.append("users_created", 0, Some(b"who"), Some(b"{broken"));
    database.append("users_created", 0, None, Some(b"\xff"));
    sandbox.userpipe("consume -e").ok();
    let mut letters = tap.finish().expect_code(0).json_lines();
    letters.sort_by_key(|letter| letter["key"].is_null());
    assert_eq!((&letters[0]["key"], &letters[0]["value"]), (&json!("who"), &json!("{broken")));
    assert_eq!(letters[1]["value_hex"], "ff");
    assert!(letters.iter().all(|letter| letter["stage"] == "decode" && letter["error"].is_string()), "{letters:?}");
}

#[test]
fn a_missing_topic_is_named_and_a_reader_that_leaves_is_no_error() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("tap").fails(78);
    assert_eq!(output.error(), "there is no topic users_created");
    sandbox.userpipe("tap --rate 0/s").output().expect_code(2);
    sandbox.userpipe("tap --hop ledger").output().expect_code(2);
    sandbox.userpipe("init-schema").ok();
    let produce = sandbox.userpipe("produce --source synthetic --for 60s --rate 100/s").start();
    let head = sandbox.bash("userpipe tap --rate 100/s | head -3").ok();
    assert_eq!(head.stdout.lines().count(), 3);
    produce.signal(Signal::SIGTERM);
    produce.finish().expect_code(0);
}
