//! Listing and replaying dead letters on Kafka.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pipeline, readback};
use crate::services::tool;

/// Enough for several pages of a partition.
const COUNT: usize = 5_000;

#[test]
#[ignore = "needs live services: make test"]
fn dead_letters_on_kafka_are_listed_without_a_group() {
    let pipeline = Pipeline::new("letters");
    let missing = pipeline.run(&["dead-letters", "list"]);
    assert_eq!(missing.expect_code(0).expect_said("dead letters 0 in kafka").stdout, "");
    let pipeline = pipeline.initialized();
    assert_eq!(pipeline.run(&["dead-letters", "list"]).expect_code(0).stdout, "");

    let poison: Vec<String> = (0..COUNT).map(|number| format!("key-{number}\tpoison {number}")).collect();
    readback::send_lines(&pipeline.kafka, &pipeline.topic, true, &poison);
    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said(&format!("dead letters {COUNT}"));
    let groups = || tool("consumer-groups", ["--bootstrap-server", pipeline.kafka.as_str(), "--list"]);
    let before: BTreeSet<String> = groups().lines().map(str::to_owned).collect();

    let listed = pipeline.run(&["dead-letters", "list", "--json"]).expect_code(0);
    let letters: Vec<Value> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let values: BTreeSet<&str> = letters.iter().map(|letter| letter["value"].as_str().unwrap()).collect();
    assert_eq!((letters.len(), values.len()), (COUNT, COUNT));
    let sources: BTreeSet<_> = letters.iter().map(|letter| letter["source"].to_string()).collect();
    assert_eq!(sources.len(), COUNT);
    for letter in &letters {
        let number = letter["value"].as_str().unwrap().strip_prefix("poison ").unwrap();
        assert_eq!(letter["key"], format!("key-{number}"));
        assert_eq!(letter["source"]["topic"], pipeline.topic.as_str());
        assert_eq!((&letter["stage"], &letter["error"]), (&"decode".into(), &"not a JSON object of a user".into()));
    }
    let mine = |group: &&String| group.contains(&pipeline.keyspace);
    let after: BTreeSet<String> = groups().lines().map(str::to_owned).collect();
    assert_eq!(after.iter().filter(mine).collect::<Vec<_>>(), before.iter().filter(mine).collect::<Vec<_>>());
    assert_eq!(pipeline.run(&["dead-letters", "list"]).expect_code(0).stdout.lines().count(), COUNT);
}

/// A user without an id, which `--derive-id` repairs.
fn without_id(number: usize) -> String {
    let user = serde_json::json!({
        "first_name": "Zoë", "last_name": "O'Neil", "gender": "female", "email": format!("zoe-{number}@example.com"),
        "username": "zoe", "phone": "07-1234", "address": "1 Rua Sete, Oslo, Østfold, Norway", "post_code": "0378",
        "dob": "1990-01-01T10:00:00.000Z", "registered_date": "2010-05-05T05:05:05.500Z", "picture": "https://p",
        "timestamp": "2026-01-02T03:04:05.678Z",
    });
    format!("key-{number}\t{user}")
}

#[test]
#[ignore = "needs live services: make test"]
fn dead_letters_on_kafka_are_replayed_once_each_and_what_comes_back_three_times_is_refused() {
    let pipeline = Pipeline::new("replay").initialized();
    let lines: Vec<String> = (0..200).map(without_id).chain(["bad\t{broken".to_owned()]).collect();
    readback::send_lines(&pipeline.kafka, &pipeline.topic, true, &lines);
    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said("dead letters 201");

    let replay = |arguments: &[&str]| pipeline.run(&[&["dead-letters", "replay"], arguments].concat()).expect_code(0);
    let dry = replay(&["--dry-run"]).expect_said("would be sent 201 to");
    assert_eq!(dry.stdout.lines().count(), 201);
    let sent = replay(&["--json"]).expect_said("sent 201 to");
    let places: BTreeSet<String> = sent.stdout.lines().map(|line| object(line)["sent_to"].to_string()).collect();
    assert_eq!(places.len(), 201, "the dry run sent nothing, and each is somewhere");
    pipeline.run(&["consume", "-e", "--derive-id"]).expect_code(0).expect_said("written 200 · dead letters 1 in");
    assert_eq!((pipeline.ids().len(), pipeline.lag()), (200, 0));

    for sent in [1, 1, 0] {
        replay(&[]).expect_said(&format!("sent {sent} · replayed before "));
        pipeline.run(&["consume", "-e"]).expect_code(0);
    }
    replay(&[])
        .expect_said("sent 0 · replayed before 203 · refused 1 to")
        .expect_said("replayed 3 times and came back");
    let listed = pipeline.run(&["dead-letters", "list", "--json"]).expect_code(0);
    let broken = listed.stdout.lines().map(object).filter(|letter| letter["key"] == "bad");
    let replays: BTreeSet<(i64, bool)> =
        broken.map(|letter| (letter["replays"].as_i64().unwrap(), letter["replayed"].as_bool().unwrap())).collect();
    assert_eq!(replays, BTreeSet::from([(0, true), (1, true), (2, true), (3, false)]));
}

fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}
