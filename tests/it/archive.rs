//! The ledger as a backup: sending again, retention, and purging a person.

use serde_json::Value;

use crate::sandbox::Sandbox;

const ON_THE_BUS: &str = "SELECT count(*) FROM bus_records WHERE topic = 'users_created'";
const IN_THE_LEDGER: &str = "SELECT count(*) FROM outbox";
const ROWS: &str = "SELECT count(*) FROM created_users";

/// As retention does: the records are gone, and offsets go on from where they were.
const EXPIRE: &str = "DELETE FROM bus_records";

#[test]
fn records_that_have_expired_come_back_from_the_ledger() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 20").ok();
    let database = sandbox.database();
    database.execute(EXPIRE);
    // The group begins where the topic does now, as a new sink would.
    sandbox.userpipe("produce --from-ledger").ok();
    assert_eq!(database.number(ON_THE_BUS), 20);
    sandbox.userpipe("consume -e").ok();
    assert_eq!(database.number(ROWS), 20);
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE published_at IS NULL"), 0);
    assert_eq!(database.number("SELECT count(*) FROM runs"), 1, "sending again fetches nothing, so it is no run");
}

#[test]
fn one_person_one_run_or_the_last_days_are_sent_again() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 3").ok();
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    let database = sandbox.database();
    let count = |selection: &str, expected: i64| {
        database.execute(EXPIRE);
        sandbox.userpipe(&format!("produce --from-ledger {selection}")).ok();
        assert_eq!(database.number(ON_THE_BUS), expected, "{selection}");
    };
    let run = &database.texts("SELECT run_id FROM runs ORDER BY run_id")[1];
    let id = &database.texts("SELECT id FROM outbox ORDER BY id")[0];
    count(&format!("--run {run}"), 5);
    count(&format!("--id {id}"), 1);
    count("--since 1h", 8);
    database.execute("UPDATE outbox SET stored_at = stored_at - 7200000 WHERE run_id = (SELECT min(run_id) FROM runs)");
    count("--since 1h", 5);
}

#[test]
fn an_old_record_is_sent_again_at_the_present_and_keeps_its_write_time() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 1").ok();
    let database = sandbox.database();
    database.execute("UPDATE outbox SET record = replace(record, '\"timestamp\":\"20', '\"timestamp\":\"19')");
    database.execute(EXPIRE);
    sandbox.userpipe("produce --from-ledger").ok();
    let is_fresh = "SELECT count(*) FROM bus_records WHERE timestamp_ms > (unixepoch() - 600) * 1000
                    AND value LIKE '%\"timestamp\":\"19%'";
    assert_eq!(database.number(is_fresh), 1, "retention counts from the record's time");
}

#[test]
fn what_the_ledger_does_not_hold_cannot_be_sent() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 1").ok();
    let unknown = "00000000-0000-5000-8000-000000000000";
    let output = sandbox.userpipe(&format!("produce --from-ledger --id {unknown}")).fails(1);
    assert_eq!(output.error(), format!("the ledger holds no user {unknown}"));
    let output = sandbox.userpipe(&format!("produce --from-ledger --run {unknown}")).fails(1);
    assert_eq!(output.error(), format!("the ledger holds no users of run {unknown}"));
    let output = sandbox.userpipe("produce --from-ledger --ledger off").fails(78);
    assert_eq!(
        (output.error(), output.hint()),
        ("there is no ledger to send from: --ledger is off", "leave --ledger out")
    );
    sandbox.userpipe("produce --run 00000000-0000-5000-8000-000000000000").fails(2);
    sandbox.userpipe("produce --from-ledger --count 5").fails(2);
}

#[test]
fn what_was_sent_is_kept_for_as_long_as_asked() {
    let sandbox = Sandbox::new();
    let seeded = "produce --source synthetic --seed s --count 5";
    sandbox.userpipe(seeded).ok();
    let database = sandbox.database();
    let ids = database.texts("SELECT id FROM outbox ORDER BY id");
    database
        .execute("UPDATE outbox SET published_at = NULL, claimed_until = 0 WHERE id = (SELECT min(id) FROM outbox)");
    database.execute("UPDATE outbox SET stored_at = 1, published_at = published_at - 90000000");
    sandbox.userpipe(&format!("{seeded} --keep 1d")).ok();
    let left = database.texts("SELECT id FROM outbox ORDER BY id");
    assert!(left.contains(&ids[0]), "it was sent a moment ago only");
    assert!(!left.contains(&ids[1]) && left.len() == 6, "{left:?}");
    database.execute("UPDATE outbox SET stored_at = 1, published_at = 1");
    database.execute("UPDATE runs SET finished_at = 1");
    sandbox.userpipe("produce --source synthetic --count 1 --keep 1d").ok();
    assert_eq!(database.number(IN_THE_LEDGER), 1);
    sandbox.userpipe(seeded).ok();
    let again = database.texts("SELECT id FROM outbox");
    assert!(again.len() == 6 && !again.iter().any(|id| ids.contains(id)), "the seed goes on where it was");
}

#[test]
fn a_rejected_user_is_noted_with_the_id_it_would_have() {
    let sandbox = Sandbox::new();
    let fetched = sandbox.userpipe("fetch --source synthetic --seed s --count 2 --raw").ok();
    let whole = sandbox.userpipe("fetch --source synthetic --seed s --count 2").ok().json_lines();
    let mut users = fetched.json_lines();
    users[1]["location"]["city"] = Value::Null;
    sandbox.write("users.jsonl", users.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    sandbox.userpipe("produce --input users.jsonl").fails(65);
    let noted = sandbox.database().texts("SELECT id || ' ' || reason FROM rejections");
    assert_eq!(noted, [format!("{} users.jsonl line 2: location.city: missing", whole[1]["id"].as_str().unwrap())]);
    assert_eq!(sandbox.database().number("SELECT count(*) FROM rejections WHERE raw LIKE '%password%'"), 0);
}

#[test]
fn a_purged_person_is_gone_and_does_not_come_back() {
    let sandbox = Sandbox::new();
    let sent = sandbox.userpipe("fetch --source synthetic --count 5").ok();
    sandbox.write("users.jsonl", &sent.stdout);
    sandbox.userpipe("produce --input users.jsonl").ok();
    sandbox.userpipe("consume -e").ok();
    let database = sandbox.database();
    let person = &sent.json_lines()[2];
    let id = person["id"].as_str().unwrap();
    let looked = sandbox.userpipe(&format!("purge --id {id} --dry-run --json")).ok().json_lines();
    assert_eq!((&looked[0]["ledger_rows"], &looked[0]["topics"][0]["records"]), (&Value::from(1), &Value::from(1)));
    assert_eq!((database.number(IN_THE_LEDGER), database.number(ROWS)), (5, 5), "a dry run changes nothing");

    let output = sandbox.userpipe(&format!("purge --id {id}")).ok();
    assert!(
        output.stdout.contains("ledger  1 stored") && output.stdout.contains("1 records, erased"),
        "{}",
        output.stdout
    );
    let is_gone = || {
        let rows = database.ids();
        assert!(rows.len() == 4 && !rows.iter().any(|row| row == id), "{rows:?}");
        let email = person["email"].as_str().unwrap();
        let everything = database.texts(
            "SELECT coalesce(value, '') || coalesce(headers, '') FROM bus_records UNION ALL
             SELECT record || coalesce(raw, '') FROM outbox UNION ALL SELECT email FROM created_users",
        );
        assert!(!everything.iter().any(|text| text.contains(email)), "{email} is still there");
    };
    is_gone();
    let again = sandbox.userpipe("produce --input users.jsonl -v").ok();
    assert!(again.stderr.contains("left out 1 users who were purged"), "{}", again.stderr);
    sandbox.userpipe("consume -e --from-beginning").ok();
    is_gone();
    sandbox.userpipe(&format!("purge --id {id}")).ok();
    is_gone();
}

#[test]
fn a_purged_person_in_a_foreign_record_is_not_delivered() {
    let sandbox = Sandbox::new();
    let sent = sandbox.userpipe("fetch --source synthetic --count 2").ok();
    let users = sent.json_lines();
    let id = users[0]["id"].as_str().unwrap();
    sandbox.prepare();
    sandbox.userpipe(&format!("purge --id {id}")).ok();
    // Another program sends both, and knows nothing of the purge. SQL remembers no delete that would be newer.
    for user in &users {
        let key = user["id"].as_str().unwrap().as_bytes();
        sandbox.database().append("users_created", 0, Some(key), Some(user.to_string().as_bytes()));
    }
    sandbox.userpipe("consume -e").ok();
    assert_eq!(sandbox.database().ids(), [users[1]["id"].as_str().unwrap()]);
}

#[test]
fn a_purge_needs_the_ledger() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("purge --id 00000000-0000-5000-8000-000000000000 --ledger off").fails(78);
    assert!(output.error().starts_with("a purge needs the ledger"), "{}", output.error());
    sandbox.userpipe("purge").fails(2);
}
