//! The ledger as a backup of what was on Kafka: sent again after retention, and purged.

use serde_json::Value;

use super::Pipeline;
use crate::services::{tool, tool_reading};

fn report(pipeline: &Pipeline, arguments: &[&str]) -> Value {
    serde_json::from_str(&pipeline.run(arguments).expect_code(0).stdout).unwrap()
}

#[test]
#[ignore = "needs live services: make test"]
fn a_person_purged_from_kafka_and_cassandra_does_not_come_back() {
    let pipeline = Pipeline::new("purge").initialized();
    let entity =
        ["--entity-type", "topics", "--entity-name", &pipeline.topic, "--add-config", "retention.ms=604800000"];
    tool("configs", [&["--bootstrap-server", &pipeline.kafka, "--alter"], &entity[..]].concat());
    let ids = pipeline.produce(50);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let id = ids.first().unwrap();

    let looked = report(&pipeline, &["purge", "--dry-run", "--json", "--id", id]);
    assert_eq!((&looked["ledger_rows"], &looked["tombstone"]), (&Value::from(1), &Value::Null), "{looked}");
    assert_eq!(pipeline.ids(), ids, "a dry run changes nothing");

    let done = report(&pipeline, &["purge", "--json", "--id", id]);
    let topic = &done["topics"][0];
    assert_eq!((&topic["records"], &topic["fate"]), (&Value::from(1), &"retention".into()), "{done}");
    assert!(topic["until"].is_string() && done["tombstone"]["offset"].is_i64(), "{done}");
    let mut others = ids.clone();
    others.remove(id);
    assert_eq!(pipeline.ids(), others);
    pipeline.run(&["consume", "-e", "--from-beginning"]).expect_code(0);
    assert_eq!(pipeline.ids(), others);
    pipeline.run(&["produce", "--from-ledger"]).expect_code(0).expect_said("produced 49");
    pipeline.run(&["consume", "-e"]).expect_code(0);
    assert_eq!((pipeline.ids(), pipeline.lag()), (others, 0));
}

#[test]
#[ignore = "needs live services: make test"]
fn records_that_kafka_has_deleted_come_back_from_the_ledger() {
    let pipeline = Pipeline::new("restore").initialized();
    let ids = pipeline.produce(100);
    let partitions = [0, 1, 2]
        .map(|partition| format!("{{\"topic\":\"{}\",\"partition\":{partition},\"offset\":-1}}", pipeline.topic));
    let offsets = format!("{{\"version\":1,\"partitions\":[{}]}}", partitions.join(","));
    let arguments = ["--bootstrap-server", pipeline.kafka.as_str(), "--offset-json-file", "/dev/stdin"];
    tool_reading("delete-records", arguments, &offsets);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    assert_eq!(pipeline.ids().len(), 0, "the topic is empty");

    pipeline.run(&["produce", "--from-ledger"]).expect_code(0).expect_said("produced 100");
    pipeline.run(&["consume", "-e"]).expect_code(0);
    assert_eq!((pipeline.ids(), pipeline.lag()), (ids, 0));
    let described =
        tool("topics", ["--bootstrap-server", pipeline.kafka.as_str(), "--describe", "--topic", &pipeline.topic]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
}
