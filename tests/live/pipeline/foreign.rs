//! Topics that other producers have filled, and records of ours as other producers would place them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::expected::Row;
use super::{Pipeline, assert_same, readback};
use crate::services::tool;

/// Keys whose places are compared.
const COUNT: usize = 500;

/// A user as the demos' producers send one, with some fields replaced (or removed, by null).
fn user(number: u128, replaced: &Value) -> Value {
    let mut user = json!({
        "id": id(number), "first_name": "Zoë", "last_name": "O'Neil", "gender": "female", "email": "zoe@example.com",
        "username": "zoe", "phone": "07-1234", "address": "1 Rua Sete, Oslo, Østfold, Norway", "post_code": "0378",
        "dob": "1990-01-01T10:00:00.000Z", "registered_date": "2010-05-05T05:05:05.500Z", "picture": "https://p",
        "timestamp": "2026-01-02T03:04:05.678Z",
    });
    let fields = user.as_object_mut().unwrap();
    for (name, value) in replaced.as_object().unwrap() {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    user
}

fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

#[test]
#[ignore = "needs live services: make test"]
fn a_topic_of_another_producer_is_consumed_and_what_is_no_user_is_a_dead_letter() {
    let pipeline = Pipeline::new("foreign").initialized();
    let keyed = [
        user(1, &json!({"post_code": 12345, "dob": "1990-01-01T10:00:00", "registered_date": "2010-05-05 05:05:05.5"})),
        user(2, &json!({"post_code": null, "postcode": 987, "registered_date": "2010-05-05T07:05:05.500+02:00"})),
    ];
    let lines: Vec<String> = keyed.iter().map(|user| format!("{}\t{user}", user["id"].as_str().unwrap())).collect();
    readback::send_lines(&pipeline.kafka, &pipeline.topic, true, &lines);
    let bad = [
        ("not JSON".to_owned(), "not a JSON object of a user"),
        (user(5, &json!({"id": null})).to_string(), "id: missing or null"),
        (user(6, &json!({"dob": "soon"})).to_string(), "dob: `soon` is no RFC 3339 date"),
    ];
    let mut unkeyed =
        vec![user(3, &json!({"timestamp": null})).to_string(), user(4, &json!({"more": {"x": 1}})).to_string()];
    unkeyed.extend(bad.iter().map(|(line, _)| line.clone()));
    readback::send_lines(&pipeline.kafka, &pipeline.topic, false, &unkeyed);

    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said("written 4").expect_said("dead letters 3");

    let table = readback::table(&pipeline.cassandra, &pipeline.table());
    let column = |number: u128, name: &str| table[&id(number)][name].clone();
    assert_eq!(table.keys().cloned().collect::<Vec<_>>(), [1, 2, 3, 4].map(id));
    assert_eq!([1, 2, 3].map(|number| column(number, "post_code")), ["12345", "987", "0378"]);
    assert_eq!(column(1, "dob"), "1990-01-01T10:00:00.000Z", "no zone is UTC");
    assert_eq!([1, 2].map(|number| column(number, "registered_date")), ["2010-05-05T05:05:05.500Z"; 2]);
    let sent = readback::topic(&pipeline.kafka, &pipeline.topic, 7);
    let sent_at = sent.iter().find(|record| record.value == unkeyed[0]).unwrap().timestamp;
    assert_eq!(column(3, "written"), (sent_at * 1000).to_string(), "without a timestamp it is the record's");
    let whole: Row =
        table[&id(4)].iter().filter(|(name, _)| *name != "written").map(|(n, v)| (n.clone(), v.clone())).collect();
    let fields = user(4, &json!({}));
    let expected: Row =
        fields.as_object().unwrap().iter().map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned())).collect();
    assert_eq!(whole, expected);

    let letters = readback::topic(&pipeline.kafka, &format!("{}.dead-letters", pipeline.topic), 3);
    for (line, reason) in bad {
        let letter = letters.iter().find(|letter| letter.value == line).expect("the untouched value");
        let from = sent.iter().find(|record| record.value == line).unwrap();
        let origin = [
            format!("userpipe.topic:{}", pipeline.topic),
            format!("userpipe.partition:{}", from.partition),
            format!("userpipe.offset:{}", from.offset),
            format!("userpipe.error:{reason}"),
            "userpipe.stage:decode".to_owned(),
        ];
        assert!(origin.iter().all(|header| letter.headers.contains(header)), "{}: {origin:?}", letter.headers);
        assert_eq!(letter.key, "null");
    }
    assert_eq!(pipeline.lag(), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_key_is_in_the_partition_that_the_java_producer_chooses() {
    let pipeline = Pipeline::new("murmur2").with_flag("--partitions", "7").initialized();
    let ids = pipeline.produce(COUNT);
    let ours = places(&pipeline, &pipeline.topic);
    assert_same(&ours.keys().cloned().collect(), &ids, "the keys are the ids");
    assert_eq!(ours.values().collect::<BTreeSet<_>>().len(), 7, "every partition is used");

    let javas_topic = format!("{}-java", pipeline.topic);
    let create = ["--create", "--topic", &javas_topic, "--partitions", "7", "--bootstrap-server", &pipeline.kafka];
    tool("topics", create);
    let lines: Vec<String> = ids.iter().map(|id| format!("{id}\tx")).collect();
    readback::send_lines(&pipeline.kafka, &javas_topic, true, &lines);
    assert_eq!(ours, places(&pipeline, &javas_topic));
}

/// The partition of every key.
fn places(pipeline: &Pipeline, topic: &str) -> BTreeMap<String, i32> {
    let records = readback::topic(&pipeline.kafka, topic, COUNT);
    records.into_iter().map(|record| (record.key, record.partition)).collect()
}
