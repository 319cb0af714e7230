//! Sending dead letters to the topic again on the embedded bus.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::database::Database;
use crate::sandbox::Sandbox;

const ID: &str = "00000000-0000-5000-8000-000000000001";
/// Refuses those whose name is `refused`, as a column that is too narrow would.
const REFUSE: &str = "CREATE TRIGGER refuse BEFORE INSERT ON created_users WHEN NEW.last_name = 'refused'
    BEGIN SELECT RAISE(ABORT, 'the column is too narrow'); END";
const MEND: &str = "DROP TRIGGER refuse";
const ON_THE_TOPIC: &str = "SELECT count(*) FROM bus_records WHERE topic = 'users_created'";

/// Users of these numbers, a line each; every second one has a name that the table refuses.
fn users(numbers: std::ops::Range<u32>) -> String {
    let user = |number: u32| {
        let user = json!({
            "id": format!("00000000-0000-5000-8000-{number:012}"), "first_name": "Ann",
            "last_name": if number % 2 == 1 { "refused" } else { "Other" }, "gender": "female", "email": "a@b.c",
            "username": "ann", "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378",
            "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z", "picture": "p",
            "timestamp": "2026-01-01T00:00:00.000Z",
        });
        format!("{user}\n")
    };
    numbers.map(user).collect()
}

/// A sandbox with these users sent, and those of them refused that the table refuses.
fn with_refused(numbers: std::ops::Range<u32>) -> (Sandbox, Database) {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    database.execute(REFUSE);
    sandbox.userpipe("produce --input -").input(users(numbers)).ok();
    sandbox.userpipe("consume -e").ok();
    (sandbox, database)
}

fn fates(report: &[Value]) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    report.iter().map(|line| (text(&line["key"]), text(&line["fate"]))).collect()
}

#[test]
fn what_was_refused_comes_in_after_the_fix_and_is_not_sent_twice() {
    let (sandbox, database) = with_refused(1..41);
    assert_eq!(database.ids().len(), 20);
    database.execute(MEND);

    let replayed = sandbox.userpipe("dead-letters replay --json").ok();
    let report = replayed.json_lines();
    assert_eq!(report.len(), 20);
    let places: BTreeSet<String> = report.iter().map(|line| line["sent_to"].to_string()).collect();
    assert_eq!(places.len(), 20, "each says where it is now");
    assert!(report.iter().all(|line| line["fate"] == "sent" && line["error"] == "the column is too narrow"));
    assert!(replayed.last_line().starts_with("sent 20 to embedded "), "{}", replayed.last_line());
    sandbox.userpipe("consume -e").ok();
    assert_eq!(database.ids().len(), 40);

    let again = sandbox.userpipe("dead-letters replay").ok();
    assert_eq!(again.stdout.lines().filter(|line| line.ends_with("  replayed before")).count(), 20);
    assert!(again.last_line().starts_with("sent 0 · replayed before 20 to embedded "), "{}", again.last_line());
    assert_eq!(database.number(ON_THE_TOPIC), 60, "40 users, and 20 of them once more");
    let letters = sandbox.userpipe("dead-letters list --json").ok().json_lines();
    assert!(letters.iter().all(|letter| letter["replayed"] == true && letter["replays"] == 0), "{letters:?}");
    assert!(sandbox.userpipe("dead-letters list").ok().stdout.lines().all(|line| line.contains("  0+  ")));
}

#[test]
fn what_comes_back_three_times_is_refused_and_the_others_are_sent() {
    let (sandbox, database) = with_refused(1..2);
    for replay in 1..=3 {
        let sent = sandbox.userpipe("dead-letters replay").ok();
        assert!(sent.last_line().starts_with("sent 1 "), "replay {replay}: {}", sent.stderr);
        sandbox.userpipe("consume -e").ok();
        let letters = sandbox.userpipe("dead-letters list --json").ok().json_lines();
        let replays: Vec<_> = letters.iter().map(|letter| letter["replays"].as_i64().unwrap()).collect();
        assert_eq!(replays, (0..=replay).collect::<Vec<_>>(), "it came back");
    }
    sandbox.userpipe("produce --input -").input(users(3..4)).ok();
    sandbox.userpipe("consume -e").ok();
    let last = sandbox.userpipe("dead-letters replay").ok();
    assert!(last.stderr.contains("sent 1 · replayed before 3 · refused 1 to "), "{}", last.stderr);
    assert!(last.stderr.contains("refused 1 records that were replayed 3 times"), "{}", last.stderr);
    let lines: Vec<_> = last.stdout.lines().filter(|line| line.ends_with("  refused")).collect();
    assert!(matches!(lines[..], [line] if line.starts_with(ID)), "{}", last.stdout);
    assert_eq!(database.number(ON_THE_TOPIC), 1 + 3 + 1 + 1);
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let (sandbox, database) = with_refused(1..5);
    let replayed = "SELECT count(*) FROM replayed";
    let before = (database.number(ON_THE_TOPIC), database.number(replayed));
    let dry = sandbox.userpipe("dead-letters replay --dry-run").ok();
    assert_eq!(dry.stdout.lines().filter(|line| line.ends_with("  would be sent")).count(), 2);
    assert!(dry.last_line().starts_with("would be sent 2 to "), "{}", dry.last_line());
    assert_eq!((database.number(ON_THE_TOPIC), database.number(replayed)), before);
    let sent = sandbox.userpipe("dead-letters replay").ok();
    assert!(sent.last_line().starts_with("sent 2 "), "{}", sent.last_line());
}

#[test]
fn without_a_ledger_it_is_refused() {
    let sandbox = Sandbox::new();
    for command in ["dead-letters replay --ledger off", "dead-letters replay --ledger off --dry-run"] {
        let refused = sandbox.userpipe(command).fails(78);
        assert!(refused.error().starts_with("a replay needs the ledger"), "{}", refused.error());
        assert_eq!(refused.hint(), "leave --ledger out");
    }
}

#[test]
fn only_those_that_are_named_are_sent() {
    let (sandbox, database) = with_refused(1..9);
    database.append("users_created", 0, Some(b"ann"), Some(b"{broken"));
    sandbox.userpipe("consume -e").ok();
    let by_id = sandbox.userpipe(&format!("dead-letters replay --json --id {ID} --id ann")).ok();
    let expected = [(ID, "sent"), ("ann", "sent")].map(|(key, fate)| (key.to_owned(), fate.to_owned()));
    assert_eq!(fates(&by_id.json_lines()), BTreeSet::from(expected));
    let by_both = sandbox.userpipe(&format!("dead-letters replay --id {ID} --reason JSON")).ok();
    assert_eq!(by_both.stdout, "", "one says this, another one that");
    let by_reason = sandbox.userpipe("dead-letters replay").arg("--reason").arg("too narrow").ok();
    assert!(by_reason.last_line().starts_with("sent 3 · replayed before 1 to "), "{}", by_reason.last_line());
}

#[test]
fn letters_of_other_topics_and_of_purged_persons_stay_where_they_are() {
    let (sandbox, database) = with_refused(1..7);
    let headers = "UPDATE bus_records SET headers = NULL
        WHERE topic LIKE '%.dead-letters' AND key = CAST('00000000-0000-5000-8000-000000000003' AS BLOB)";
    assert_eq!(database.execute(headers), 1);
    let suppress = "INSERT INTO suppressed (pipeline, id, purged_at)
        SELECT DISTINCT pipeline, '00000000-0000-5000-8000-000000000005', 0 FROM outbox";
    assert_eq!(database.execute(suppress), 1);
    let replayed = sandbox.userpipe("dead-letters replay").ok();
    assert!(replayed.last_line().starts_with("sent 1 · of another topic 1 · purged 1 to "), "{}", replayed.last_line());
    assert_eq!(database.number(ON_THE_TOPIC), 7);
}

#[test]
fn the_record_is_as_it_was_but_for_the_count() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    database.append("users_created", 1, Some(b"who\xff"), Some(b"\x00poison"));
    // A header of its own with a name of ours, one twice, and one that is null.
    let own = r#"UPDATE bus_records SET headers = '[["userpipe.topic",[97]],["b",[1]],["b",null]]', timestamp_ms = 5"#;
    database.execute(own);
    sandbox.userpipe("consume -e").ok();
    let twice = || {
        sandbox.userpipe("dead-letters replay").ok();
        sandbox.userpipe("consume -e").ok();
    };
    twice();
    twice();
    let found = database.texts(
        "SELECT hex(key) || ' ' || hex(value) || ' ' || timestamp_ms || ' ' || headers FROM bus_records
         WHERE topic = 'users_created' ORDER BY length(headers), headers",
    );
    let expected = |replays: &str| {
        let count = if replays.is_empty() { String::new() } else { format!(r#",["userpipe.replays",[{replays}]]"#) };
        format!(r#"77686FFF 00706F69736F6E 5 [["userpipe.topic",[97]],["b",[1]],["b",null]{count}]"#)
    };
    assert_eq!(found, ["", "49", "50"].map(expected));
}
