//! Several members of one group on the embedded bus, and members that die.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::sandbox::Sandbox;

const MEMBERS_WITH_PARTITIONS: &str = "SELECT count(DISTINCT member) FROM bus_leases";
const COMMITTED: &str = "SELECT coalesce(sum(offset), 0) FROM bus_offsets";
const ON_THE_BUS: &str = "SELECT count(*) FROM bus_records WHERE topic = 'users_created'";
/// As the session of a dead member runs out, without the wait.
const SESSIONS_END: &str = "UPDATE bus_members SET expires_at_ms = 1";

#[test]
fn two_members_share_the_partitions_and_each_record_is_written_once() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let members = [(); 2].map(|()| sandbox.userpipe("consume --sink stdout -G shared").start());
    database.wait_until(MEMBERS_WITH_PARTITIONS, 2);
    sandbox.userpipe("produce --source synthetic --count 300").ok();
    database.wait_until(COMMITTED, 300);
    let mut seen = Vec::new();
    for member in members {
        member.signal(Signal::SIGTERM);
        let lines = member.finish().expect_code(0).json_lines();
        assert!(!lines.is_empty(), "each has its share");
        seen.extend(lines.into_iter().map(|user| user["id"].as_str().unwrap().to_owned()));
    }
    let distinct: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!((seen.len(), distinct.len()), (300, 300));
}

#[test]
fn the_end_is_reached_whoever_commits_it() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let stream = sandbox.userpipe("consume").start();
    database.wait_until(MEMBERS_WITH_PARTITIONS, 1);
    sandbox.userpipe("produce --source synthetic --count 50").ok();
    sandbox.userpipe("consume -e").ok();
    assert_eq!(database.ids().len(), 50);
    stream.signal(Signal::SIGINT);
    stream.finish().expect_code(0);
}

#[test]
fn a_killed_consumer_that_is_started_again_ends_with_every_id_once() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let produce = sandbox.userpipe("produce --source synthetic --for 60s --rate 500/s").start();
    let consume = sandbox.userpipe("consume").start();
    database.wait_until("SELECT count(*) FROM created_users", 100);
    consume.signal(Signal::SIGKILL);
    consume.finish();
    database.wait_until(ON_THE_BUS, 1500);
    produce.signal(Signal::SIGTERM);
    produce.finish().expect_code(0);

    database.execute(SESSIONS_END);
    sandbox.userpipe("consume -e").ok();
    let sent: BTreeSet<_> = database.texts("SELECT CAST(key AS TEXT) FROM bus_records").into_iter().collect();
    assert!(sent.len() >= 1500);
    assert_eq!(database.ids(), sent.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_killed_member_is_replaced_when_its_session_is_over() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let first = sandbox.userpipe("consume").start();
    database.wait_until(MEMBERS_WITH_PARTITIONS, 1);
    first.signal(Signal::SIGKILL);
    first.finish();
    sandbox.userpipe("produce --source synthetic --count 20").ok();
    // It waits for partitions that nobody serves; nothing of its own expires them.
    let second = sandbox.userpipe("consume -e").start();
    database.wait_until("SELECT count(*) FROM bus_members", 2);
    database.execute("UPDATE bus_members SET expires_at_ms = 1 WHERE member IN (SELECT member FROM bus_leases)");
    second.finish().expect_code(0);
    assert_eq!(database.ids().len(), 20);
}

#[test]
fn a_group_with_live_members_is_not_reset() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let stream = sandbox.userpipe("consume").start();
    database.wait_until(MEMBERS_WITH_PARTITIONS, 1);
    let output = sandbox.userpipe("consume --from-beginning -e").fails(1);
    assert_eq!(output.error(), "cannot reset group userpipe-sqlite-created_users while it has live members");
    assert!(output.hint().contains("another --group"), "{}", output.hint());
    stream.signal(Signal::SIGTERM);
    stream.finish().expect_code(0);
    sandbox.userpipe("consume --from-beginning -e").ok();
}

#[test]
fn a_dead_member_is_waited_for_by_a_reset() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 8").ok();
    let database = sandbox.database();
    database.execute(
        "INSERT INTO bus_members SELECT 'userpipe-sqlite-created_users', 'users_created', 'dead',
         CAST(unixepoch('subsec') * 1000 AS INTEGER) + 700",
    );
    sandbox.userpipe("consume --from-beginning -e").ok();
    assert_eq!(database.ids().len(), 8);
}

#[test]
fn a_static_member_keeps_its_partitions_over_a_restart_and_over_a_kill() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let start = |id: &str| sandbox.userpipe(&format!("consume --static-member {id}")).start();
    let other = start("a");
    database.wait_until(MEMBERS_WITH_PARTITIONS, 1);
    let first = start("b");
    database.wait_until(MEMBERS_WITH_PARTITIONS, 2);
    let share = || database.texts("SELECT CAST(partition AS TEXT) FROM bus_leases WHERE member LIKE 'static:b#%'");
    let own = share();
    first.signal(Signal::SIGTERM);
    first.finish().expect_code(0);
    assert_eq!(share(), own, "nobody takes them for a session");
    let again = start("b");
    database.wait_until("SELECT count(DISTINCT member) FROM bus_members", 2);
    again.signal(Signal::SIGKILL);
    again.finish();
    let last = start("b");
    sandbox.userpipe("produce --source synthetic --count 100").ok();
    database.wait_until(COMMITTED, 100);
    assert_eq!(share(), own);
    for member in [other, last] {
        member.signal(Signal::SIGTERM);
        member.finish().expect_code(0);
    }
}

#[test]
fn a_second_process_of_one_name_ends_the_first() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let first = sandbox.userpipe("consume").env("USERPIPE_STATIC_MEMBER", "pod-0").start();
    database.wait_until(MEMBERS_WITH_PARTITIONS, 1);
    let second = sandbox.userpipe("consume").env("USERPIPE_STATIC_MEMBER", "pod-0").start();
    let ended = first.finish().expect_code(78);
    assert_eq!(ended.error(), "another live process is member pod-0 of group userpipe-sqlite-created_users");
    assert!(ended.hint().contains("--static-member"), "{}", ended.hint());
    sandbox.userpipe("produce --source synthetic --count 10").ok();
    database.wait_until(COMMITTED, 10);
    second.signal(Signal::SIGTERM);
    second.finish().expect_code(0);
}

#[test]
fn an_offset_that_is_gone_is_an_error_or_a_choice() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    sandbox.userpipe("produce --source synthetic --count 40 --partitions 1").ok();
    sandbox.userpipe("consume -c 10").ok();
    database.execute("DELETE FROM bus_records WHERE offset < 9 AND topic = 'users_created'");
    database.execute("UPDATE bus_offsets SET offset = 2");
    let gone = sandbox.userpipe("consume -e").fails(1);
    assert!(gone.error().starts_with("offset 2 is not in the topic at users_created partition "), "{}", gone.error());
    assert!(gone.hint().contains("--on-out-of-range"), "{}", gone.hint());
    let moved = sandbox.userpipe("consume -e --on-out-of-range beginning").ok();
    assert!(
        moved.stderr.contains("going on at the beginning") && moved.stderr.contains("old=\"2\""),
        "{}",
        moved.stderr
    );
}
