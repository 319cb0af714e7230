//! Ten thousand records with a hundred poisoned ones, on Kafka and Cassandra.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use userpipe::bus::kafka::KafkaProducer;
use userpipe::bus::{Outgoing, Producer as _};
use userpipe::config::KafkaConfig;
use userpipe::record::Timestamp;
use uuid::Uuid;

use super::{Pipeline, readback};
use crate::services::tool;

/// Good records, besides the poisoned ones.
const GOOD: u128 = 9_900;
const POISONED: u128 = 100;
/// Kafka takes one large record and Cassandra does not: its `max_mutation_size` is 16 MiB.
const OVERSIZED_BYTES: usize = 17 << 20;
/// Larger than any record here.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;
/// An index of Cassandra takes no value over 64 KiB.
const UNINDEXABLE_BYTES: usize = 70_000;

fn user(number: u128) -> Value {
    json!({
        "id": id(number), "first_name": "Zoë", "last_name": "O'Neil", "gender": "female",
        "email": format!("zoe-{number}@example.com"), "username": "zoe", "phone": "07-1234",
        "address": "1 Rua Sete, Oslo, Østfold, Norway", "post_code": "0378", "dob": "1990-01-01T10:00:00.000Z",
        "registered_date": "2010-05-05T05:05:05.500Z", "picture": "https://p", "timestamp": "2026-01-02T03:04:05.678Z",
    })
}

fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

fn record(key: &str, value: Option<Vec<u8>>) -> Outgoing {
    let headers = vec![("from".to_owned(), Some("elsewhere".into()))];
    Outgoing { key: Some(key.to_owned().into()), value: value.map(Into::into), headers, timestamp: Timestamp::now() }
}

/// A record of one of the kinds of poison, and why it is one.
fn poison(number: u128) -> (Outgoing, &'static str) {
    let key = id(number);
    let with = |field: &str, value: Value| {
        let mut user = user(number);
        user[field] = value;
        if user[field] == "gone" {
            user.as_object_mut().unwrap().remove(field);
        }
        Some(user.to_string().into_bytes())
    };
    let (value, reason) = match number % 10 {
        0 => (Some(b"\xff\xfe no JSON".to_vec()), "not a JSON object of a user"),
        1 => (Some(b"\x00\x00\x00\x00\x07framed".to_vec()), "schema id 7: no schema registry"),
        2 => (with("dob", json!("gone")), "dob: missing or null"),
        3 => (with("email", Value::Null), "email: missing or null"),
        4 => (with("first_name", json!(7)), "first_name: "),
        5 => (with("registered_date", json!("soon")), "registered_date: `soon` is no RFC 3339 date"),
        6 => (with("address", json!("x".repeat(UNINDEXABLE_BYTES))), "Cannot index value"),
        7 if number < GOOD + 10 => (with("address", json!(incompressible())), "exceeds allowed maximum"),
        7 | 8 => return (record("nobody", None), "a tombstone whose key is no id"),
        _ => (with("id", json!("gone")), "id: missing or null"),
    };
    (record(&key, value), reason)
}

/// Letters that LZ4 cannot shorten, the same each time.
fn incompressible() -> String {
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'A' + u8::try_from((state >> 33) % 26).unwrap())
    };
    (0..OVERSIZED_BYTES).map(|_| letter()).collect()
}

/// The records in their order, the poisoned ones spread among the good: the reasons, by value (or by key, without one).
fn records() -> (Vec<Outgoing>, BTreeMap<&'static str, u64>) {
    let mut records = Vec::new();
    let mut reasons = BTreeMap::new();
    for number in 0..GOOD {
        records.push(record(&id(number), Some(user(number).to_string().into_bytes())));
        if number % (GOOD / POISONED) == 0 {
            let (poisoned, reason) = poison(GOOD + number / (GOOD / POISONED));
            records.push(poisoned);
            *reasons.entry(reason).or_default() += 1;
        }
    }
    // Good tombstones, of somebody who was never there.
    records.extend((0..20).map(|_| record(&id(1_000_000), None)));
    (records, reasons)
}

/// Sends the records as another program would: they are in nobody's ledger.
fn send(pipeline: &Pipeline, records: &[Outgoing]) {
    let config = KafkaConfig {
        batch_bytes_max: 900_000,
        delivery_timeout: Duration::from_mins(1),
        ..crate::kafka::config(&pipeline.kafka)
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let producer = KafkaProducer::connect(&config, &pipeline.topic).await.unwrap();
        let sent = producer.send(records).await;
        assert!(sent.failure.is_none(), "{:?}", sent.failure);
    });
}

/// Dead letters that were not there before `offset`, by the beginning of their reason.
fn reasons(pipeline: &Pipeline, known: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    let listed = pipeline.run(&["dead-letters", "list", "--json"]).expect_code(0);
    let mut counted = BTreeMap::new();
    for line in listed.stdout.lines() {
        let letter: Value = serde_json::from_str(line).unwrap();
        let reason = letter["error"].as_str().unwrap();
        let kind = known.keys().find(|kind| reason.contains(**kind));
        *counted.entry(*kind.unwrap_or_else(|| panic!("unexpected: {reason}"))).or_default() += 1;
    }
    counted
}

#[test]
#[ignore = "needs live services: make test"]
fn a_hundred_poisoned_records_among_ten_thousand_are_dead_letters_and_the_repairable_ones_come_in_later() {
    let pipeline = Pipeline::new("poison");
    let limit = format!("max.message.bytes={MESSAGE_BYTES_MAX}");
    for topic in [&pipeline.topic, &format!("{}.dead-letters", pipeline.topic)] {
        let create = ["--bootstrap-server", &pipeline.kafka, "--create", "--topic", topic, "--partitions", "3"];
        tool("topics", create.into_iter().chain(["--config", &limit]));
    }
    let pipeline = pipeline.initialized();
    readback::cqlsh(&pipeline.cassandra, &format!("CREATE INDEX by_address ON {} (address);", pipeline.table()));
    let (records, expected) = records();
    assert_eq!(records.len() as u128, GOOD + POISONED + 20);
    send(&pipeline, &records);

    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said("written 9920 · dead letters 100");
    assert_eq!((pipeline.ids().len() as u128, pipeline.lag()), (GOOD, 0));
    assert_eq!(reasons(&pipeline, &expected), expected);

    // The fixes: an index that nobody needs, and ids for records that have none.
    readback::cqlsh(&pipeline.cassandra, &format!("DROP INDEX {}.by_address;", pipeline.keyspace));
    for reason in ["Cannot index value", "id: missing or null"] {
        let replayed = pipeline.run(&["dead-letters", "replay", "--reason", reason]).expect_code(0);
        replayed.expect_said(&format!("sent {} to", expected[reason]));
    }
    let repaired = expected["Cannot index value"] + expected["id: missing or null"];
    let said = format!("written {repaired} in");
    pipeline.run(&["consume", "-e", "--derive-id"]).expect_code(0).expect_said(&said);
    assert_eq!((pipeline.ids().len() as u128, pipeline.lag()), (GOOD + u128::from(repaired), 0));
    assert_eq!(reasons(&pipeline, &expected), expected, "none of them came back");
    let again = pipeline.run(&["dead-letters", "replay", "--reason", "id: missing"]).expect_code(0);
    again.expect_said("sent 0 · replayed before 10 to");
}
