//! Moving a group: what is printed is what is done, and only to a group without members.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::sandbox::Sandbox;

const OFFSETS: &str = "SELECT partition || ':' || offset FROM bus_offsets ORDER BY partition";
const HIGH: &str = "SELECT partition || ':' || next_offset FROM bus_partitions ORDER BY partition";

#[test]
fn a_group_is_moved_to_the_offsets_that_were_printed() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 60").ok();
    let database = sandbox.database();
    let ends = database.texts(HIGH);
    assert_eq!(database.texts(OFFSETS), ends);

    let planned = sandbox.userpipe("seek --to beginning --dry-run --json").ok();
    assert_eq!(database.texts(OFFSETS), ends, "a dry run changes nothing");
    for (partition, line) in planned.json_lines().iter().enumerate() {
        let end: i64 = ends[partition].split_once(':').unwrap().1.parse().unwrap();
        assert_eq!(*line, json!({ "partition": partition, "old": end, "new": 0 }));
    }
    let moved = sandbox.userpipe("seek --to beginning").ok();
    assert_eq!(moved.stdout.lines().count(), 4, "a heading and three partitions: {}", moved.stdout);
    assert_eq!(moved.last_line(), "group userpipe-sqlite-created_users was moved");
    assert_eq!(database.texts(OFFSETS), ["0:0", "1:0", "2:0"]);
    assert!(sandbox.userpipe("consume -e").ok().last_line().starts_with("written 60 in "));

    sandbox.userpipe("seek --to @0").ok();
    assert_eq!(database.texts(OFFSETS), ["0:0", "1:0", "2:0"], "all records are younger than 1970");
    sandbox.userpipe("seek --to end").ok();
    assert_eq!(database.texts(OFFSETS), ends);
}

#[test]
fn a_group_that_never_committed_has_no_old_offsets() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    let lines = sandbox.userpipe("seek --to end --group new --json").ok().json_lines();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["old"].is_null()), "{lines:?}");
    let database = sandbox.database();
    assert_eq!(database.texts(OFFSETS), database.texts(HIGH));
}

#[test]
fn a_group_with_live_members_is_not_moved() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let stream = sandbox.userpipe("consume").start();
    database.wait_until("SELECT count(*) FROM bus_leases", 3);
    sandbox.userpipe("seek --to end --dry-run").ok();
    let output = sandbox.userpipe("seek --to end").fails(1);
    assert_eq!(output.error(), "cannot reset group userpipe-sqlite-created_users while it has live members");
    stream.signal(Signal::SIGTERM);
    stream.finish().expect_code(0);
    sandbox.userpipe("seek --to end").ok();
}

#[test]
fn what_cannot_be_sought_is_refused() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("seek --to end").fails(78);
    assert_eq!(output.error(), "there is no topic users_created");
    sandbox.userpipe("seek --to stored").output().expect_code(2);
    sandbox.userpipe("seek").output().expect_code(2);
    sandbox.userpipe("run --once --source synthetic --count 3 -G mine").ok();
    let output = sandbox.userpipe("seek --to end -G mine --sink stdout").fails(78);
    assert_eq!(output.error().split(": ").next(), Some("group mine belongs to another sink"));
}
