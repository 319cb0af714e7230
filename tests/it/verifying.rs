//! `verify`: each kind of hole is found, and whatever is no hole is none, also while records flow.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::database::Database;
use crate::sandbox::Sandbox;

/// As retention does: the records are gone, and offsets go on from where they were.
const EXPIRE: &str = "DELETE FROM bus_records WHERE topic = 'users_created'";
const FIRST_ROW: &str = "SELECT min(id) FROM created_users";
const DELETE_FIRST_ROW: &str = "DELETE FROM created_users WHERE id = (SELECT min(id) FROM created_users)";

/// A sandbox with this many users that were delivered.
fn delivered(count: usize) -> (Sandbox, Database) {
    let sandbox = Sandbox::new();
    sandbox.userpipe(&format!("run --once --source synthetic --count {count}")).ok();
    let database = sandbox.database();
    (sandbox, database)
}

/// The counts of `verify --json`, which must end with this code, and the differences.
fn verify(sandbox: &Sandbox, arguments: &str, code: i32) -> (Value, Vec<Value>) {
    let output = sandbox.userpipe(&format!("verify --json {arguments}")).output().expect_code(code);
    let mut lines = output.json_lines();
    let counts = lines.pop().unwrap();
    (counts, lines)
}

/// Asserts that these counts are as given, and every other one is 0.
fn assert_counts(counts: &Value, expected: &Value) {
    for (name, count) in counts.as_object().unwrap().iter().filter(|(name, _)| *name != "verified") {
        assert_eq!(count, expected.get(name).unwrap_or(&json!(0)), "{name} of {counts}");
    }
}

/// What went missing, as `difference how`.
fn words(differences: &[Value]) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    differences.iter().map(|line| format!("{} {}", word(&line["difference"]), word(&line["how"]))).collect()
}

/// One more user of the table's form, with another id.
fn user(id: &str) -> Vec<u8> {
    json!({
        "id": id, "first_name": "Ann", "last_name": "Other", "gender": "female", "email": "a@b.c", "username": "ann",
        "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378", "dob": "1990-01-01T00:00:00.000Z",
        "registered_date": "2010-01-01T00:00:00.000Z", "picture": "p", "timestamp": "2026-01-01T00:00:00.000Z",
    })
    .to_string()
    .into_bytes()
}

const FOREIGN: &str = "00000000-0000-5000-8000-000000000001";

#[test]
fn everything_that_was_delivered_is_accounted_for() {
    let (sandbox, database) = delivered(60);
    let output = sandbox.userpipe("verify").ok();
    assert_eq!(output.last_line(), "nothing is lost: 60 in the sink");
    let count = |name: &str| output.stdout.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    assert_eq!(["ledger", "bus", "sink", "holes"].map(count), [Some(60), Some(60), Some(60), Some(0)]);

    sandbox.userpipe("run --once --source synthetic --count 5").ok();
    assert_counts(&verify(&sandbox, "--all", 0).0, &json!({ "ledger": 65, "bus": 65, "sink": 65 }));
    let runs = database.texts("SELECT run_id FROM runs ORDER BY run_id");
    let of_five = json!({ "ledger": 5, "bus": 5, "sink": 5, "foreign": null });
    assert_counts(&verify(&sandbox, &format!("--run {}", runs[1]), 0).0, &of_five);
    database.execute("UPDATE outbox SET stored_at = stored_at - 7200000 WHERE run_id = (SELECT min(run_id) FROM runs)");
    assert_counts(&verify(&sandbox, "--since 1h", 0).0, &of_five);
}

#[test]
fn a_row_that_is_missing_or_too_old_is_a_hole() {
    let (sandbox, database) = delivered(30);
    let lost = database.texts(FIRST_ROW);
    database.execute(DELETE_FIRST_ROW);
    let stale = database.texts(FIRST_ROW);
    database.execute(
        "UPDATE created_users SET timestamp = '2020-01-01T00:00:00.000Z' WHERE id =
                      (SELECT min(id) FROM created_users)",
    );
    let (counts, differences) = verify(&sandbox, "", 11);
    assert_counts(&counts, &json!({ "ledger": 30, "bus": 30, "sink": 28, "holes": 2 }));
    assert_eq!(words(&differences), ["hole missing", "hole stale"]);
    assert_eq!([&differences[0]["id"], &differences[1]["id"]], [&lost[0], &stale[0]]);
    assert!(differences[0]["partition"].is_i64() && differences[0]["offset"].is_i64(), "{differences:?}");

    let output = sandbox.userpipe("verify").fails(11);
    assert_eq!(output.error(), "2 unaccounted for");
    assert!(output.hint().starts_with(&format!("userpipe trace {}", lost[0])), "{}", output.hint());
    assert!(output.stdout.contains(&stale[0]), "{}", output.stdout);
    sandbox.userpipe("produce --from-ledger").ok();
    sandbox.userpipe("consume -e").ok();
    let healed = json!({ "ledger": 30, "bus": 30, "copies": 30, "sink": 30 });
    assert_counts(&verify(&sandbox, "", 0).0, &healed);
}

#[test]
fn the_columns_that_are_written_decide_what_is_compared() {
    let sandbox = Sandbox::new();
    let columns = "--columns id,email";
    sandbox.userpipe(&format!("run --once --source synthetic --count 9 {columns}")).ok();
    verify(&sandbox, columns, 0);
    sandbox.database().execute(DELETE_FIRST_ROW);
    let (counts, _) = verify(&sandbox, columns, 11);
    assert_counts(&counts, &json!({ "ledger": 9, "bus": 9, "sink": 8, "holes": 1 }));
}

#[test]
fn twenty_differences_are_shown_and_all_of_them_listed() {
    let (sandbox, database) = delivered(4_000);
    database.execute("DELETE FROM created_users");
    let output = sandbox.userpipe("verify").fails(11);
    let holes = output.stdout.lines().filter(|line| line.starts_with("hole ")).count();
    assert_eq!((holes, output.error()), (20, "4000 unaccounted for"));
    assert!(output.stdout.ends_with("the first 20; --json lists all\n"), "{}", output.stdout);
    let (_, differences) = verify(&sandbox, "", 11);
    let mut ids: Vec<_> = differences.iter().map(|line| line["id"].as_str().unwrap()).collect();
    ids.dedup();
    assert!(ids.len() == 4_000 && ids.is_sorted());
    let head = sandbox.bash("userpipe verify --json --quiet 2>/dev/null | head -1; true").ok();
    assert_eq!(head.stdout.lines().count(), 1, "a reader that leaves is no error");
}

#[test]
fn a_hole_of_another_run_is_another_runs() {
    let (sandbox, database) = delivered(10);
    database.execute(DELETE_FIRST_ROW);
    sandbox.userpipe("run --once --source synthetic --count 5").ok();
    let runs = database.texts("SELECT run_id FROM runs ORDER BY run_id");
    verify(&sandbox, &format!("--run {}", runs[1]), 0);
    let (counts, _) = verify(&sandbox, &format!("--run {}", runs[0]), 11);
    assert_counts(&counts, &json!({ "ledger": 10, "bus": 10, "sink": 9, "holes": 1, "foreign": null }));
}

#[test]
fn poison_is_accounted_for_by_its_own_dead_letter_and_by_no_other() {
    let (sandbox, database) = delivered(10);
    database.append("users_created", 0, None, Some(b"poison"));
    database.append("users_created", 1, Some(FOREIGN.as_bytes()), Some(b"poison"));
    database.append("users_created", 1, Some(b"no id"), None);
    sandbox.userpipe("consume -e").ok();
    let whole = json!({ "ledger": 10, "bus": 10, "sink": 10, "undecodable": 3, "dead_letters": 3 });
    assert_counts(&verify(&sandbox, "--strict", 0).0, &whole);

    database
        .execute("DELETE FROM bus_records WHERE topic = 'users_created.dead-letters' AND key = CAST('no id' AS BLOB)");
    // One for the same place, of a topic that was there before.
    database.execute(
        "UPDATE bus_records SET value = CAST('other' AS BLOB)
                      WHERE topic = 'users_created.dead-letters' AND key IS NULL",
    );
    let (counts, differences) = verify(&sandbox, "", 11);
    let holes = json!({ "ledger": 10, "bus": 10, "sink": 10, "undecodable": 3, "dead_letters": 1, "holes": 2 });
    assert_counts(&counts, &holes);
    assert_eq!(words(&differences), ["hole undecodable", "hole undecodable"]);
    assert!(differences.iter().all(|line| line["offset"].is_i64() && line["id"].is_null()), "{differences:?}");
}

#[test]
fn a_user_of_ours_that_the_sink_refused_is_in_the_dead_letters() {
    let sandbox = Sandbox::new();
    let future = String::from_utf8(user(FOREIGN)).unwrap().replace("2026-01", "2999-01");
    sandbox.userpipe("produce --input -").input(future).ok();
    sandbox.userpipe("consume -e").ok();
    assert_counts(&verify(&sandbox, "", 0).0, &json!({ "ledger": 1, "bus": 1, "dead_letters": 1 }));
    let database = sandbox.database();
    database.execute(EXPIRE);
    assert_counts(&verify(&sandbox, "", 0).0, &json!({ "ledger": 1, "expired": 1, "dead_letters": 1 }));
    database.execute("DELETE FROM bus_records");
    let (counts, differences) = verify(&sandbox, "", 11);
    assert_counts(&counts, &json!({ "ledger": 1, "expired": 1, "holes": 1 }));
    assert_eq!(words(&differences), ["hole expired"]);
}

#[test]
fn records_that_have_expired_are_looked_for_in_the_sink() {
    let (sandbox, database) = delivered(30);
    let half = "DELETE FROM bus_records WHERE topic = 'users_created' AND offset < 5";
    let removed = database.execute(half);
    let expired = json!({ "ledger": 30, "bus": 30 - removed, "expired": removed, "sink": 30 });
    assert_counts(&verify(&sandbox, "", 0).0, &expired);
    database.execute(EXPIRE);
    assert_counts(&verify(&sandbox, "", 0).0, &json!({ "ledger": 30, "expired": 30, "sink": 30 }));
    database.execute(DELETE_FIRST_ROW);
    let (counts, differences) = verify(&sandbox, "", 11);
    assert_counts(&counts, &json!({ "ledger": 30, "expired": 30, "sink": 29, "holes": 1 }));
    assert_eq!(words(&differences), ["hole expired"]);
}

#[test]
fn records_that_expired_before_anybody_read_them_are_holes() {
    let sandbox = Sandbox::new();
    sandbox.prepare();
    sandbox.userpipe("produce --source synthetic --count 6").ok();
    sandbox.database().execute(EXPIRE);
    let (counts, _) = verify(&sandbox, "", 11);
    assert_counts(&counts, &json!({ "ledger": 6, "expired": 6, "holes": 6 }));
}

#[test]
fn a_record_that_is_gone_from_within_the_topic_is_a_hole_and_a_recreated_topic_is_none() {
    let (sandbox, database) = delivered(30);
    database.execute("DELETE FROM bus_records WHERE topic = 'users_created' AND partition = 1 AND offset = 3");
    let (counts, differences) = verify(&sandbox, "", 11);
    assert_counts(&counts, &json!({ "ledger": 30, "bus": 29, "sink": 29, "holes": 1 }));
    let place = [&differences[0]["how"], &differences[0]["partition"], &differences[0]["offset"]];
    assert_eq!(place, [&json!("gone"), &json!(1), &json!(3)]);

    database.execute(EXPIRE);
    database.execute("UPDATE bus_partitions SET next_offset = 0 WHERE topic = 'users_created'");
    let counts = verify(&sandbox, "--settle 0s", 0).0;
    assert_counts(&counts, &json!({ "ledger": 30, "expired": 30, "sink": 30 }));
    database.execute("DELETE FROM bus_offsets");
    // Now other records are in the places of the old ones.
    sandbox.userpipe("run --once --source synthetic --count 200").ok();
    let (counts, _) = verify(&sandbox, "", 0);
    assert_counts(&counts, &json!({ "ledger": 230, "bus": 200, "expired": 30, "sink": 230 }));
}

#[test]
fn foreign_records_are_counted_and_must_arrive_as_well() {
    let (sandbox, database) = delivered(10);
    database.append("users_created", 2, None, Some(&user(FOREIGN)));
    sandbox.userpipe("consume -e").ok();
    let foreign = json!({ "ledger": 10, "bus": 11, "foreign": 1, "sink": 11 });
    assert_counts(&verify(&sandbox, "", 0).0, &foreign);
    let (counts, differences) = verify(&sandbox, "--strict", 11);
    assert_counts(&counts, &foreign);
    assert_eq!((words(&differences), &differences[0]["id"]), (vec!["foreign -".to_owned()], &json!(FOREIGN)));
    database.execute("DELETE FROM created_users WHERE email = 'a@b.c'");
    let (counts, differences) = verify(&sandbox, "", 11);
    assert_counts(&counts, &json!({ "ledger": 10, "bus": 11, "foreign": 1, "sink": 10, "holes": 1 }));
    assert_eq!((words(&differences), &differences[0]["id"]), (vec!["hole missing".to_owned()], &json!(FOREIGN)));
}

#[test]
fn second_copies_and_later_fetches_are_no_fault() {
    let (sandbox, database) = delivered(3);
    let (key, value) = (database.ids()[0].clone().into_bytes(), database.records("users_created")[0].value.clone());
    database.append("users_created", 0, Some(&key), value.as_deref());
    sandbox.userpipe("consume -e").ok();
    assert_counts(&verify(&sandbox, "", 0).0, &json!({ "ledger": 3, "bus": 3, "sink": 3, "copies": 1 }));

    let sandbox = Sandbox::new();
    for at in ["2026-01-01", "2026-02-01"] {
        let user = String::from_utf8(user(FOREIGN)).unwrap().replace("2026-01-01", at);
        sandbox.userpipe("produce --input -").input(user).ok();
    }
    sandbox.userpipe("consume -e").ok();
    assert_counts(&verify(&sandbox, "", 0).0, &json!({ "ledger": 1, "bus": 1, "sink": 1 }));
}

#[test]
fn what_is_in_flight_or_waits_is_no_hole_and_not_complete() {
    let sandbox = Sandbox::new();
    sandbox.prepare();
    sandbox.userpipe("produce --source synthetic --count 8").ok();
    let database = sandbox.database();
    database.append("users_created", 0, None, Some(b"poison"));
    database
        .execute("UPDATE outbox SET published_at = NULL, claimed_until = 1 WHERE id = (SELECT min(id) FROM outbox)");
    let output = sandbox.userpipe("verify --settle 0s").fails(75);
    // The one that waits is on the topic too, and in flight there.
    assert_eq!(output.error(), "nothing is lost, but 9 are in flight and 0 wait to be sent");
    database.execute("DELETE FROM bus_records WHERE CAST(key AS TEXT) = (SELECT min(id) FROM outbox)");
    let (counts, differences) = verify(&sandbox, "--settle 0s", 75);
    let expected = json!({ "ledger": 8, "bus": 7, "undecodable": 1, "in_flight": 8, "waiting": 1 });
    assert_counts(&counts, &expected);
    assert_eq!(words(&differences).iter().filter(|word| *word == "waiting -").count(), 1);
    sandbox.userpipe("consume -e").ok();
    let output = sandbox.userpipe("verify --settle 0s").fails(75);
    assert_eq!(output.error(), "nothing is lost, but 0 are in flight and 1 wait to be sent");
    assert!(output.hint().contains("userpipe produce"), "{}", output.hint());
    sandbox.userpipe("run --once --source synthetic --count 1").ok();
    verify(&sandbox, "", 0);
}

#[test]
fn the_group_is_given_time_to_pass_the_cut() {
    let sandbox = Sandbox::new();
    sandbox.prepare();
    sandbox.userpipe("produce --source synthetic --count 50").ok();
    let database = sandbox.database();
    database
        .execute("UPDATE outbox SET published_at = NULL, claimed_until = 1 WHERE id = (SELECT min(id) FROM outbox)");
    let verifying = sandbox.userpipe("verify --settle 50s").start();
    verifying.wait_for_stderr("waiting for 1 stored users to be sent");
    sandbox.userpipe("produce --source synthetic --count 1").ok();
    verifying.wait_for_stderr("waiting for group userpipe-sqlite-created_users to commit");
    sandbox.userpipe("consume -e").ok();
    let output = verifying.finish().expect_code(0);
    assert!(output.last_line().starts_with("nothing is lost: 5"), "{}", output.stderr);
}

#[test]
fn purged_and_deleted_users_are_accounted_for() {
    let (sandbox, database) = delivered(10);
    let ids = database.ids();
    let keyed = database.records("users_created");
    sandbox.userpipe(&format!("purge --id {}", ids[0])).ok();
    database.append("users_created", 0, Some(ids[1].as_bytes()), None);
    sandbox.userpipe("consume -e").ok();
    let deleted = json!({ "ledger": 9, "bus": 9, "deleted": 1, "sink": 8 });
    assert_counts(&verify(&sandbox, "", 0).0, &deleted);

    // Somebody sends the purged person again.
    let purged = keyed.iter().find(|record| record.key.as_deref() == Some(ids[0].as_bytes())).unwrap();
    database.append("users_created", 1, purged.key.as_deref(), purged.value.as_deref());
    sandbox.userpipe("consume -e").ok();
    let (counts, _) = verify(&sandbox, "--strict", 0);
    assert_counts(&counts, &json!({ "ledger": 9, "bus": 10, "deleted": 1, "purged": 1, "sink": 8 }));
}

#[test]
fn without_a_ledger_it_begins_at_the_topic() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 12 --ledger off").ok();
    let expected = json!({ "ledger": null, "expired": null, "foreign": null, "bus": 12, "sink": 12 });
    assert_counts(&verify(&sandbox, "--ledger off --strict", 0).0, &expected);
    sandbox.database().execute(DELETE_FIRST_ROW);
    verify(&sandbox, "--ledger off", 11);
    let output = sandbox.userpipe("verify --ledger off --since 1h").fails(78);
    assert_eq!(output.error(), "there is no ledger to select users from");
}

#[test]
fn it_is_right_while_records_flow_and_after_a_kill() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let stream = sandbox.userpipe("run --source synthetic --for 60s --rate 300/s --results 30").start();
    database.wait_until("SELECT count(*) FROM created_users", 100);
    let mut last = 0;
    for _ in 0..3 {
        let (counts, differences) = verify(&sandbox, "--strict --settle 50s", 0);
        let ledger = counts["ledger"].as_u64().unwrap();
        assert!(ledger > last && differences.is_empty(), "{counts} {differences:?}");
        last = ledger;
    }
    stream.signal(Signal::SIGKILL);
    assert_eq!(stream.finish().status.code(), None);
    // Whatever was lost midway waits, or is in flight; nothing is a hole.
    let code = sandbox.userpipe("verify --settle 0s").output().status.code();
    assert!(code == Some(0) || code == Some(75), "{code:?}");
    // Its lease and its session are over.
    database.execute("UPDATE outbox SET claimed_until = 1 WHERE published_at IS NULL");
    database.execute("UPDATE bus_members SET expires_at_ms = 1");
    sandbox.userpipe("run --once --source synthetic --count 1").ok();
    let (counts, _) = verify(&sandbox, "--strict", 0);
    assert_eq!(counts["ledger"], counts["sink"]);
}

#[test]
fn what_cannot_be_verified_says_so() {
    let (sandbox, database) = delivered(3);
    let output = sandbox.userpipe("verify --sink stdout").fails(78);
    assert_eq!(output.error(), "standard output cannot be read back");
    let output = sandbox.userpipe("verify --table nowhere").fails(78);
    assert!(output.error().starts_with("there is no such table at "), "{}", output.error());
    assert_eq!(database.number("SELECT count(*) FROM sqlite_master WHERE name = 'nowhere'"), 0);
    let output = sandbox.userpipe("verify --topic nothing").fails(78);
    assert_eq!(output.error(), "there is no topic nothing");
    let output = sandbox.userpipe("verify --cassandra 127.0.0.1:1 --connect-timeout 1s").fails(69);
    assert!(output.error().starts_with("cannot reach Cassandra"), "{}", output.error());
    sandbox.userpipe("verify --run x").output().expect_code(2);
    sandbox.userpipe("verify --all --since 1h").output().expect_code(2);
    let output = sandbox.userpipe("verify").env("SQLITE_TMPDIR", "/nowhere").env("TMPDIR", "/nowhere").ok();
    assert_eq!(output.last_line(), "nothing is lost: 3 in the sink", "there is another place for notes");
}

#[test]
fn looking_leaves_nothing_behind_and_a_signal_ends_it() {
    let (sandbox, database) = delivered(5);
    let state = "SELECT 'offset ' || group_name || topic || partition || offset FROM bus_offsets UNION ALL
                 SELECT 'member ' || member FROM bus_members UNION ALL SELECT topic || partition FROM bus_partitions";
    let before = database.texts(state);
    sandbox.userpipe("verify").ok();
    assert_eq!(database.texts(state), before);
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    let waiting = sandbox.userpipe("verify --settle 1h").start();
    waiting.wait_for_stderr("waiting for group");
    waiting.signal(Signal::SIGINT);
    let output = waiting.finish().expect_code(75);
    assert_eq!(output.error(), "stopped before everything was looked at");
}
