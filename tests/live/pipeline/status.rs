//! `status` and `tap` on Kafka, beside Kafka's own tools.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Pipeline, SOON, program, readback};
use crate::services::{PrivateInstance, postgres, tool};

fn look(pipeline: &Pipeline) -> Value {
    serde_json::from_str(&pipeline.run(&["status", "--json"]).expect_code(0).stdout).unwrap()
}

/// Committed offset, end and lag of each partition, as `kafka-consumer-groups --describe` shows them.
fn described(pipeline: &Pipeline) -> BTreeMap<i64, [i64; 3]> {
    let (group, server) = (pipeline.group(), pipeline.kafka.as_str());
    let shown = tool("consumer-groups", ["--bootstrap-server", server, "--describe", "--group", &group]);
    let fields = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_topic = fields.filter(|fields| fields.get(1) == Some(&pipeline.topic.as_str()));
    let numbers = |fields: Vec<&str>| [2, 3, 4, 5].map(|at| fields[at].parse::<i64>().unwrap());
    of_topic.map(numbers).map(|[partition, committed, end, lag]| (partition, [committed, end, lag])).collect()
}

#[test]
#[ignore = "needs live services: make test"]
fn the_gate_is_shut_while_lag_is_over_and_opens_after() {
    let server = postgres();
    let pipeline = Pipeline::new("gate").with_flag("--postgres", &server.url);
    let pipeline = pipeline.with_variable("PGPASSWORD", &server.password).initialized();
    pipeline.run(&["produce", "--once", "--count", "500", "--source", "synthetic"]).expect_code(0);
    let gate = ["status", "--max-lag", "100", "--max-age", "5m"];
    let shut = pipeline.run(&gate).expect_code(10);
    assert!(shut.stderr.contains("error: lag 500 is over 100\n"), "{}", shut.stderr);

    let mut consume = pipeline.start(&["consume", "-v"]);
    consume.until_says(" assigned partitions=[");
    program::until("the gate opens", SOON, || pipeline.run(&gate).status.success());
    program::until("all is committed", SOON, || look(&pipeline)["lag"] == 0);
    let status = look(&pipeline);
    let members = status["members"].as_array().unwrap();
    assert_eq!((members.len(), &members[0]["partitions"]), (1, &json!([0, 1, 2])));
    assert!(members[0]["name"].as_str().unwrap().starts_with("userpipe/"), "{members:?}");
    let number = |of: &Value, name: &str| of[name].as_i64().unwrap();
    let shown = status["partitions"].as_array().unwrap().iter().map(|of| {
        assert_eq!(of["owner"], members[0]["name"]);
        (number(of, "partition"), ["committed", "high", "lag"].map(|name| number(of, name)))
    });
    assert_eq!(shown.collect::<BTreeMap<_, _>>(), described(&pipeline));
    assert_eq!((&status["dead_letters"], &status["outbox_waiting"]), (&json!(0), &json!(0)));
    assert_eq!((&status["runs"][0]["produced"], &status["runs"][0]["state"]), (&json!(500), &json!("success")));
    assert!(status["age_seconds"].as_f64().unwrap() < 300.0, "{status}");
    assert_eq!(status["another_sink"], Value::Null, "the group has committed, and for this sink");
    consume.signal(Signal::SIGTERM);
    consume.wait(SOON).expect_code(0);
    assert_eq!(look(&pipeline)["members"], json!([]));
}

#[test]
#[ignore = "needs live services: make test"]
fn watching_goes_on_through_an_outage() {
    let instance = PrivateInstance::start(&["kafka"]);
    let pipeline = Pipeline::new("watch").with_kafka(instance.kafka()).with_cassandra(String::new());
    let pipeline = pipeline.with_flag("--sink", "stdout").with_flag("--connect-timeout", "2s").initialized();
    pipeline.produce(20);
    let watch = pipeline.start(&["status", "--watch", "--json"]);
    let last = |wanted: &dyn Fn(&Value) -> bool| {
        program::until("the next look", SOON, || {
            let so_far = watch.stdout();
            let line = so_far.lines().last().and_then(|line| serde_json::from_str(line).ok());
            line.is_some_and(|line| wanted(&line))
        });
    };
    last(&|line| line["lag"] == 20);
    instance.kill("kafka", Signal::SIGKILL);
    last(&|line| line["error"].as_str().is_some_and(|error| error.contains("Kafka")));
    let gone = pipeline.run(&["status"]).expect_code(10);
    assert!(gone.stderr.contains("error: cannot reach Kafka"), "{}", gone.stderr);
    instance.start_again("kafka");
    last(&|line| line["lag"] == 20);
    watch.signal(Signal::SIGINT);
    watch.wait(SOON).expect_code(0);
}

#[test]
#[ignore = "needs live services: make test"]
fn tap_shows_what_passes_and_joins_no_group() {
    let pipeline = Pipeline::new("tap").initialized();
    pipeline.produce(50);
    let mut tap = pipeline.start(&["tap", "--rate", "1000/s", "--count", "30"]);
    tap.until_says("from now on");
    let groups = || tool("consumer-groups", ["--bootstrap-server", &pipeline.kafka, "--list"]);
    let before = groups();
    let ids = pipeline.produce(30);
    let shown = tap.wait(SOON).expect_code(0).expect_said("shown 30 of 30 records that passed");
    let lines: Vec<Value> = shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let printed = readback::topic(&pipeline.kafka, &pipeline.topic, 80);
    for line in &lines {
        let place =
            |record: &&readback::Printed| line["partition"] == record.partition && line["offset"] == record.offset;
        let record = printed.iter().find(place).expect("it is on the topic");
        assert!(line["key"] == record.key.as_str() && ids.contains(&record.key), "{line}");
        assert_eq!(line["value"], serde_json::from_str::<Value>(&record.value).unwrap());
    }
    assert_eq!(lines.len(), 30);
    let after = groups();
    let ours = |list: &str| list.lines().filter(|group| group.contains(&pipeline.keyspace)).count();
    assert_eq!((ours(&before), ours(&after)), (0, 0), "{after}");

    let mut tap = pipeline.start(&["tap", "--rate", "5/s"]);
    tap.until_says("from now on");
    pipeline.produce(5_000);
    tap.first_line();
    tap.signal(Signal::SIGTERM);
    let sampled = tap.wait(SOON).expect_code(0);
    assert!((1..200).contains(&sampled.stdout.lines().count()), "{}", sampled.stderr);
}
