//! `verify` and `trace` on Kafka with Cassandra and PostgreSQL: what is whole is said to be, and holes are found.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::program::until;
use super::{Pipeline, SOON, postgres, readback};
use crate::services::{self, psql, tool};

/// More than a page of everything.
const COUNT: usize = 3_000;

/// The counts of `verify --json`, which must end with this code, and the differences.
fn verify(pipeline: &Pipeline, arguments: &[&str], code: i32) -> (Value, Vec<Value>) {
    let verified = pipeline.run(&[&["verify", "--json"][..], arguments].concat()).expect_code(code);
    let mut lines: Vec<Value> = verified.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts = lines.pop().unwrap();
    (counts, lines)
}

/// Asserts that these counts are as given, and every other one is 0.
fn assert_counts(counts: &Value, expected: &Value) {
    for (name, count) in counts.as_object().unwrap().iter().filter(|(name, _)| *name != "verified") {
        assert_eq!(count, expected.get(name).unwrap_or(&json!(0)), "{name} of {counts}");
    }
}

/// What `trace --json` tells, ending with this code.
fn trace(pipeline: &Pipeline, id: &str, code: i32) -> Value {
    serde_json::from_str(&pipeline.run(&["trace", id, "--json"]).expect_code(code).stdout).unwrap()
}

fn groups(pipeline: &Pipeline) -> Vec<String> {
    let listed = tool("consumer-groups", ["--bootstrap-server", pipeline.kafka.as_str(), "--list"]);
    let mut groups: Vec<_> =
        listed.lines().filter(|line| line.contains(&pipeline.keyspace)).map(str::to_owned).collect();
    groups.sort();
    groups
}

#[test]
#[ignore = "needs live services: make test"]
fn a_pipeline_into_cassandra_is_verified_hop_by_hop() {
    let pipeline = Pipeline::new("verify").initialized();
    let ids = pipeline.produce(COUNT);
    let (counts, _) = verify(&pipeline, &["--settle", "0s"], 75);
    assert_counts(&counts, &json!({ "ledger": COUNT, "bus": COUNT, "in_flight": COUNT }));
    assert_eq!(groups(&pipeline), Vec::<String>::new(), "looking makes no group");

    let poison: Vec<String> = (0..50).map(|number| format!("key-{number}\tpoison {number}")).collect();
    readback::send_lines(&pipeline.kafka, &pipeline.topic, true, &poison);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let whole = json!({ "ledger": COUNT, "bus": COUNT, "sink": COUNT, "undecodable": 50, "dead_letters": 50 });
    assert_counts(&verify(&pipeline, &["--strict"], 0).0, &whole);

    let mut ids = ids.into_iter();
    let (lost, old) = (ids.next().unwrap(), ids.next().unwrap());
    readback::cqlsh(
        &pipeline.cassandra,
        &format!(
            "DELETE FROM {table} WHERE id = {lost}; DELETE FROM {table} WHERE id = {old};
             INSERT INTO {table} (id, timestamp) VALUES ({old}, '2020-01-01 00:00:00Z');",
            table = pipeline.table()
        ),
    );
    let (counts, differences) = verify(&pipeline, &[], 11);
    assert_eq!((&counts["holes"], &counts["sink"]), (&json!(2), &json!(COUNT - 2)));
    let told: Vec<_> = differences.iter().map(|line| (&line["how"], &line["id"])).collect();
    let expected = [(&json!("missing"), &json!(lost)), (&json!("stale"), &json!(old))];
    assert!(expected.iter().all(|hole| told.contains(hole)) && told.len() == 2, "{told:?}");
    let traced = trace(&pipeline, &lost, 11);
    assert_eq!((&traced["verdict"], &traced["sink"]), (&json!("lost"), &Value::Null));
    assert_eq!(traced["topic"][0]["offset"], traced["ledger"][0]["offset"]);
    assert_eq!(trace(&pipeline, &ids.next().unwrap(), 0)["verdict"], "delivered");
    assert_eq!(groups(&pipeline), [pipeline.group()], "only the consumer's own");
}

#[test]
#[ignore = "needs live services: make test"]
fn records_that_kafka_has_removed_are_expired_and_not_lost() {
    let pipeline = Pipeline::new("expired").with_flag("--partitions", "1").initialized();
    let ids = pipeline.produce(100);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let file = pipeline.directory.path().join("delete.json");
    let partitions = json!([{ "topic": pipeline.topic, "partition": 0, "offset": 60 }]);
    std::fs::write(&file, json!({ "partitions": partitions, "version": 1 }).to_string()).unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["--bootstrap-server", &pipeline.kafka, "--offset-json-file", file];
    tool("org.apache.kafka.tools.DeleteRecordsCommand", arguments);
    let (counts, _) = verify(&pipeline, &[], 0);
    assert_counts(&counts, &json!({ "ledger": 100, "bus": 40, "expired": 60, "sink": 100 }));
    let expired = ids.iter().find(|id| trace(&pipeline, id, 0)["topic"] == json!([])).expect("most have expired");
    readback::cqlsh(&pipeline.cassandra, &format!("DELETE FROM {} WHERE id = {expired};", pipeline.table()));
    let (_, differences) = verify(&pipeline, &[], 11);
    assert_eq!((&differences[0]["how"], &differences[0]["id"]), (&json!("expired"), &json!(expired)));
    pipeline.run(&["produce", "--from-ledger", "--id", expired]).expect_code(0);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    // Cassandra remembers the delete of a moment ago, which is newer than the record.
    assert_eq!(trace(&pipeline, expired, 11)["verdict"], "lost");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_pipeline_into_postgres_is_verified_run_by_run_while_records_flow() {
    let server = services::postgres();
    let (pipeline, table) = postgres::pipeline("verify", &server);
    let pipeline = pipeline.initialized();
    let stream = pipeline.start(&["run", "--interval", "1s", "--source", "synthetic", "--count", "300"]);
    let rows = || psql(&server, &format!("SELECT count(*) FROM {table}"))[0].parse::<u64>().unwrap();
    until("a first run", SOON, || rows() >= 300);
    for _ in 0..3 {
        let (counts, differences) = verify(&pipeline, &["--strict"], 0);
        assert!(counts["ledger"].as_u64() >= Some(300) && differences.is_empty(), "{counts} {differences:?}");
        assert_eq!(counts["foreign"], 0);
    }
    stream.kill().expect_signal(Signal::SIGKILL);
    pipeline.run(&["run", "--once", "--source", "synthetic", "--count", "1"]).expect_code(0);
    let (counts, _) = verify(&pipeline, &["--strict"], 0);
    assert_eq!(counts["ledger"], counts["sink"]);

    let id = &psql(
        &server,
        &format!("DELETE FROM {table} WHERE id = (SELECT min(id::text) FROM {table})::uuid RETURNING id"),
    )[0];
    let run = psql(&server, &format!("SELECT run_id FROM userpipe.outbox WHERE id = '{id}'"));
    let (of_run, differences) = verify(&pipeline, &["--run", &run[0]], 11);
    assert_eq!((&of_run["holes"], &of_run["foreign"]), (&json!(1), &Value::Null));
    assert_eq!((differences.len(), &differences[0]["id"]), (1, &json!(id)));
    assert_eq!(trace(&pipeline, id, 11)["verdict"], "lost");
    pipeline.run(&["produce", "--from-ledger", "--id", id]).expect_code(0);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    assert_eq!(trace(&pipeline, id, 0)["verdict"], "delivered");
    assert_eq!(verify(&pipeline, &[], 0).0["copies"], json!(1));
}

#[test]
#[ignore = "needs live services: make test"]
fn rows_with_dates_as_text_are_compared_too() {
    let server = services::postgres();
    let (pipeline, table) = postgres::pipeline("textdates", &server);
    let texts = ["first_name", "last_name", "gender", "email", "username", "phone", "address", "post_code", "dob"];
    let texts = [&texts[..], &["registered_date", "picture", "timestamp"]].concat().join(" text, ");
    psql(&server, &format!("CREATE TABLE {table} (id uuid PRIMARY KEY, {texts} text)"));
    pipeline.run(&["run", "--once", "--source", "synthetic", "--count", "20"]).expect_code(0);
    assert_counts(&verify(&pipeline, &[], 0).0, &json!({ "ledger": 20, "bus": 20, "sink": 20 }));
    psql(
        &server,
        &format!(
            "UPDATE {table} SET timestamp = '2020-01-01T00:00:00.000Z' WHERE id = (SELECT id FROM {table} LIMIT 1)"
        ),
    );
    let (_, differences) = verify(&pipeline, &[], 11);
    assert_eq!((differences.len(), &differences[0]["how"]), (1, &json!("stale")));
    // Who may not read is not told that all is well.
    psql(&server, &format!("REVOKE SELECT ON {table} FROM CURRENT_USER"));
    pipeline.run(&["verify"]).expect_failure(77, "cannot read from", "grant the user SELECT");
}
