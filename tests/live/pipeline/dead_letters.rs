//! Listing dead letters on Kafka.

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
