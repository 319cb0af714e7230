//! `trace`: where one user is, or where it was lost.

use serde_json::{Value, json};

use crate::database::Database;
use crate::sandbox::Sandbox;

const UNKNOWN: &str = "00000000-0000-5000-8000-00000000dead";
const EXPIRE: &str = "DELETE FROM bus_records WHERE topic = 'users_created'";

/// A sandbox with nine users that were delivered, and the id of one.
fn delivered() -> (Sandbox, Database, String) {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 9").ok();
    let database = sandbox.database();
    let id = database.ids()[4].clone();
    (sandbox, database, id)
}

/// What `trace --json` tells, ending with this code.
fn trace(sandbox: &Sandbox, id: &str, code: i32) -> Value {
    let output = sandbox.userpipe(&format!("trace {id} --json")).output().expect_code(code);
    output.json_lines().pop().unwrap()
}

#[test]
fn every_hop_of_a_delivered_user_is_told() {
    let (sandbox, database, id) = delivered();
    let traced = trace(&sandbox, &id, 0);
    let ([stored], [record]) = (&traced["ledger"].as_array().unwrap()[..], &traced["topic"].as_array().unwrap()[..])
    else {
        panic!("{traced}")
    };
    assert_eq!((&traced["verdict"], &traced["id"]), (&json!("delivered"), &json!(id)));
    assert_eq!((&stored["trigger"], &stored["run_state"]), (&json!("once"), &json!("success")));
    assert_eq!((&stored["partition"], &stored["offset"]), (&record["partition"], &record["offset"]));
    assert_eq!((&record["kind"], &record["committed"]), (&json!("user"), &json!(true)));
    assert_eq!(traced["sink"]["timestamp"], record["timestamp"]);
    assert_eq!(database.texts("SELECT run_id FROM runs"), [stored["run"].as_str().unwrap()]);

    let text = sandbox.userpipe(&format!("trace {id}")).ok().stdout;
    let hops: Vec<_> = text.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(hops, ["ledger", "topic", "sink", "verdict"], "{text}");
    assert!(text.ends_with("verdict       delivered\n"), "{text}");
}

#[test]
fn a_user_that_was_fetched_twice_has_two_rows_and_two_records() {
    let sandbox = Sandbox::new();
    let fetched = sandbox.userpipe("fetch --source synthetic --count 1").ok();
    for _ in 0..2 {
        sandbox.userpipe("produce --input -").input(fetched.stdout.clone()).ok();
    }
    sandbox.prepare();
    let id = fetched.json_lines()[0]["id"].as_str().unwrap().to_owned();
    let traced = trace(&sandbox, &id, 0);
    assert_eq!(traced["verdict"], "in flight");
    let records = traced["topic"].as_array().unwrap();
    assert_eq!((traced["ledger"].as_array().unwrap().len(), records.len()), (2, 2));
    assert!(records.iter().all(|record| record["committed"] == false), "{records:?}");
}

#[test]
fn a_user_that_is_lost_is_told_where() {
    let (sandbox, database, id) = delivered();
    database.execute("UPDATE created_users SET timestamp = '2020-01-01T00:00:00.000Z'");
    assert!(trace(&sandbox, &id, 11)["reason"].as_str().unwrap().starts_with("the sink has an older record"));
    database.execute("DELETE FROM created_users");
    let output = sandbox.userpipe(&format!("trace {id}")).fails(11);
    let why = "its record is committed, and neither in the sink nor in the dead letters";
    assert_eq!(output.error(), format!("user {id} is lost: {why}"));
    assert_eq!(output.hint(), format!("send it again: userpipe produce --from-ledger --id {id}"));
    assert!(output.stdout.ends_with(&format!("verdict       lost: {why}\n")), "{}", output.stdout);
    database.execute(EXPIRE);
    assert!(trace(&sandbox, &id, 11)["reason"].as_str().unwrap().starts_with("its record has expired"));
    sandbox.userpipe(&format!("produce --from-ledger --id {id}")).ok();
    sandbox.userpipe("consume -e").ok();
    assert_eq!(trace(&sandbox, &id, 0)["verdict"], "delivered");
}

#[test]
fn a_record_that_is_gone_from_within_the_topic_is_told() {
    let (sandbox, database, _) = delivered();
    database.execute("UPDATE bus_records SET offset = offset + 1000 WHERE offset > 1");
    database.execute("UPDATE bus_partitions SET next_offset = next_offset + 1000");
    database.execute("DELETE FROM bus_records WHERE offset = 1");
    let gone = "SELECT id FROM outbox WHERE offset = 1 LIMIT 1";
    let traced = trace(&sandbox, &database.texts(gone)[0], 11);
    assert!(traced["reason"].as_str().unwrap().starts_with("its record is not on the topic"), "{traced}");
}

#[test]
fn a_user_that_waits_is_told_so() {
    let (sandbox, database, _) = delivered();
    database.execute("UPDATE outbox SET published_at = NULL WHERE id = (SELECT min(id) FROM outbox)");
    let traced = trace(&sandbox, &database.ids()[0], 0);
    assert_eq!((&traced["verdict"], &traced["ledger"][0]["sent_at"]), (&json!("waiting"), &Value::Null));
}

#[test]
fn a_dead_letter_is_told_with_its_reason() {
    let (sandbox, database, _) = delivered();
    let mut user = sandbox.userpipe("fetch --source synthetic --count 1").ok().json_lines().pop().unwrap();
    let id = user["id"].as_str().unwrap().to_owned();
    user["timestamp"] = json!("2999-01-01T00:00:00Z");
    sandbox.userpipe("produce --input -").input(user.to_string()).ok();
    sandbox.userpipe("consume -e").ok();
    let traced = trace(&sandbox, &id, 0);
    let reason = "timestamp: 2999-01-01T00:00:00.000Z is more than a day ahead";
    assert_eq!((&traced["verdict"], &traced["reason"]), (&json!("dead letter"), &json!(reason)));
    let letter = &traced["dead_letters"][0];
    assert_eq!((&letter["stage"], &letter["attempts"]), (&json!("decode"), &json!(1)));
    assert_eq!(traced["topic"][0]["dead_letter"], true);

    // A record that cannot be decoded belongs to its key.
    database.append("users_created", 0, Some(UNKNOWN.as_bytes()), Some(b"poison"));
    sandbox.userpipe("consume -e").ok();
    assert_eq!(trace(&sandbox, UNKNOWN, 0)["reason"], "not a JSON object of a user");
    database.execute("DELETE FROM bus_records WHERE topic LIKE '%.dead-letters'");
    assert!(trace(&sandbox, &id, 11)["reason"].as_str().unwrap().starts_with("its record is committed"));
}

#[test]
fn a_rejected_user_is_told_with_the_reason() {
    let (sandbox, _, _) = delivered();
    let mut users = sandbox.userpipe("fetch --source synthetic --seed s --count 2 --raw").ok().json_lines();
    let whole = sandbox.userpipe("fetch --source synthetic --seed s --count 2").ok().json_lines();
    users[1]["location"]["city"] = Value::Null;
    sandbox.userpipe("produce --input -").input(users[1].to_string()).output().expect_code(65);
    let traced = trace(&sandbox, whole[1]["id"].as_str().unwrap(), 0);
    assert_eq!(traced["verdict"], "rejected");
    assert!(traced["reason"].as_str().unwrap().ends_with("location.city: missing"), "{traced}");
}

#[test]
fn purged_and_deleted_users_are_told() {
    let (sandbox, database, id) = delivered();
    let partition = trace(&sandbox, &id, 0)["topic"][0]["partition"].as_i64().unwrap();
    database.append("users_created", i32::try_from(partition).unwrap(), Some(id.as_bytes()), None);
    sandbox.userpipe("consume -e").ok();
    let traced = trace(&sandbox, &id, 0);
    assert_eq!((&traced["verdict"], &traced["topic"][1]["kind"]), (&json!("deleted"), &json!("tombstone")));
    let other = &database.ids()[0];
    sandbox.userpipe(&format!("purge --id {other}")).ok();
    let traced = trace(&sandbox, other, 0);
    assert_eq!((&traced["verdict"], &traced["purged"]), (&json!("purged"), &json!(true)));
}

#[test]
fn an_id_that_nothing_knows_is_an_error_that_says_so() {
    let (sandbox, _, id) = delivered();
    let output = sandbox.userpipe(&format!("trace {UNKNOWN}")).fails(11);
    assert_eq!(
        output.error(),
        format!("nothing knows user {UNKNOWN}: it was never fetched, or has expired everywhere")
    );
    assert!(output.stdout.ends_with("verdict       unknown\n"), "{}", output.stdout);
    assert_eq!(trace(&sandbox, UNKNOWN, 11)["verdict"], "unknown");
    assert_eq!(
        sandbox.userpipe(&format!("trace {id} --ledger off --json")).ok().json_lines()[0]["ledger"],
        Value::Null
    );
    sandbox.userpipe("trace nobody").output().expect_code(2);
    sandbox.userpipe(&format!("trace {id} --sink stdout")).fails(78);
}
