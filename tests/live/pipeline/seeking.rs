//! Moving a group on Kafka, as Kafka's own tool sees it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Pipeline;
use crate::services::tool;

/// The committed offsets of the group by partition, as `kafka-consumer-groups --describe` shows them.
fn described(pipeline: &Pipeline) -> BTreeMap<i64, i64> {
    let (group, server) = (pipeline.group(), pipeline.kafka.as_str());
    let shown = tool("consumer-groups", ["--bootstrap-server", server, "--describe", "--group", &group]);
    let fields = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_topic = fields.filter(|fields| fields.get(1) == Some(&pipeline.topic.as_str()));
    of_topic.map(|fields| (fields[2].parse().unwrap(), fields[3].parse().unwrap())).collect()
}

#[test]
#[ignore = "needs live services: make test"]
fn a_group_on_kafka_is_moved_to_the_offsets_that_were_printed() {
    let pipeline = Pipeline::new("seeking").initialized();
    pipeline.produce(90);
    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said("written 90");
    let ends = described(&pipeline);
    assert_eq!(ends.values().sum::<i64>(), 90);

    let plan = pipeline.run(&["seek", "--to", "beginning", "--dry-run", "--json"]).expect_code(0);
    let lines: Vec<Value> = plan.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let old = lines.iter().map(|line| (line["partition"].as_i64().unwrap(), line["old"].as_i64().unwrap()));
    assert_eq!(old.collect::<BTreeMap<_, _>>(), ends);
    assert!(lines.iter().all(|line| line["new"] == 0), "{lines:?}");
    assert_eq!(described(&pipeline), ends, "a dry run changes nothing");

    pipeline.run(&["seek", "--to", "beginning"]).expect_code(0).expect_said("was moved");
    assert!(described(&pipeline).values().all(|offset| *offset == 0));
    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said("written 90");
    pipeline.run(&["seek", "--to", "@0"]).expect_code(0);
    assert!(described(&pipeline).values().all(|offset| *offset == 0));
    pipeline.run(&["seek", "--to", "end"]).expect_code(0);
    assert_eq!(described(&pipeline), ends);
}
