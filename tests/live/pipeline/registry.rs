//! Avro and JSON Schema under a real registry, from Kafka to PostgreSQL: the rows of plain JSON, other writers' schemas, and
//! a registry that is away.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use userpipe::bus::kafka::KafkaProducer;
use userpipe::bus::{Outgoing, Producer as _};
use userpipe::record::Timestamp;

use super::expected::Expected;
use super::postgres::pipeline;
use super::program::until;
use super::{Pipeline, SOON, readback};
use crate::services::{self, PrivateInstance, psql};

/// Asks the registry as its own tools do. Panics where it refuses.
fn ask(registry: &str, method: Method, path: &str, body: &Value) -> Value {
    try_ask(registry, method, path, body).unwrap_or_else(|reason| panic!("{path}: {reason}"))
}

fn try_ask(registry: &str, method: Method, path: &str, body: &Value) -> Result<Value, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, format!("{registry}/{path}")).header("Content-Type", "application/json");
    on_runtime(async {
        let response = request.body(body.to_string()).send().await.unwrap();
        let (is_success, text) = (response.status().is_success(), response.text().await.unwrap());
        if is_success { Ok(serde_json::from_str(&text).unwrap()) } else { Err(text) }
    })
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The default of this registry is to compare nothing.
fn backward(registry: &str) {
    ask(registry, Method::PUT, "config", &json!({ "compatibility": "BACKWARD" }));
}

/// Registers a schema for the pipeline's topic, as another team would; its id.
fn register(registry: &str, pipeline: &Pipeline, schema: &Value) -> Result<u32, String> {
    let path = format!("subjects/{}-value/versions", pipeline.topic);
    let registered = try_ask(registry, Method::POST, &path, &json!({ "schema": schema.to_string() }))?;
    Ok(u32::try_from(registered["id"].as_u64().unwrap()).unwrap())
}

/// A pipeline into PostgreSQL with this registry.
fn with_registry(what: &str, registry: &str) -> (Pipeline, String) {
    let (pipeline, table) = pipeline(what, &services::postgres());
    (pipeline.with_flag("--schema-registry", registry), table)
}

/// The rows less the time of the fetch.
fn rows(table: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut rows: BTreeMap<_, _> = readback::postgres_table(&services::postgres(), table).into_iter().collect();
    for row in rows.values_mut() {
        row.remove("timestamp").unwrap();
    }
    rows
}

/// An Avro value under the schema of this id, by `apache-avro` alone.
fn avro(id: u32, schema: &Value, record: &Value) -> Vec<u8> {
    let schema = apache_avro::Schema::parse(schema).unwrap();
    let value = apache_avro::types::Value::try_from(record.clone()).unwrap().resolve(&schema).unwrap();
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap();
    [&[0][..], &id.to_be_bytes(), &writer.write_value_to_vec(value).unwrap()].concat()
}

/// Sends values as they are.
fn send(pipeline: &Pipeline, values: &[Vec<u8>]) {
    let outgoing = |value: &Vec<u8>| Outgoing {
        key: None,
        value: Some(value.clone().into()),
        headers: Vec::new(),
        timestamp: Timestamp::now(),
    };
    let outgoing: Vec<Outgoing> = values.iter().map(outgoing).collect();
    on_runtime(async {
        let config = crate::kafka::config(&pipeline.kafka);
        let sent = KafkaProducer::connect(&config, &pipeline.topic).await.unwrap().send(&outgoing).await;
        assert!(sent.failure.is_none(), "{:?}", sent.failure);
    });
}

fn user(number: u32) -> Value {
    json!({
        "id": format!("00000000-0000-5000-8000-{number:012}"), "first_name": "A", "last_name": "B", "gender": "female",
        "email": "a@b.c", "username": "ab", "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378",
        "dob": 631_152_000_000_i64, "registered_date": 1_262_304_000_000_i64, "picture": "p",
        "timestamp": 1_767_225_600_000_i64,
    })
}

#[test]
#[ignore = "needs live services: make test"]
fn avro_and_json_schema_give_the_rows_of_plain_json() {
    let registry = services::registry();
    backward(&registry);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/randomuser");
    let expected = Expected::read(&data);
    let delivered = |encoding: &str| {
        let (pipeline, table) = with_registry("encoded", &registry);
        let pipeline = pipeline.with_flag("--encoding", encoding).initialized();
        let (_api, url) = pipeline.mock_api(&data);
        let count = expected.users.to_string();
        pipeline.run(&["produce", "--once", "--count", &count, "--api-url", &url]).expect_code(0);
        pipeline.run(&["consume", "-e"]).expect_code(0);
        pipeline.run(&["verify"]).expect_code(0);
        let checked = pipeline.run(&["check", "--source", "synthetic"]).expect_code(0).stdout;
        assert!(checked.contains("registry"), "{checked}");
        let subject = format!("subjects/{}-value/versions/latest", pipeline.topic);
        assert_eq!(try_ask(&registry, Method::GET, &subject, &json!({})).is_ok(), encoding != "json");
        rows(&table)
    };
    let plain = delivered("json");
    assert_eq!(plain.len(), expected.rows.len());
    for encoding in ["avro", "json-schema"] {
        let rows = delivered(encoding);
        assert_eq!(rows, plain, "{encoding}");
        for (id, fields) in &expected.rows {
            assert!(fields.iter().all(|(name, value)| rows[id].get(name) == Some(value)), "{encoding}: {:?}", rows[id]);
        }
    }
}

#[test]
#[ignore = "needs live services: make test"]
fn older_and_newer_writers_are_read_and_foreign_ones_are_dead_letters_with_their_id() {
    let registry = services::registry();
    backward(&registry);
    let (pipeline, table) = with_registry("evolution", &registry);
    let pipeline = pipeline.with_flag("--encoding", "avro").initialized();
    pipeline.run(&["produce", "--source", "synthetic", "--count", "10"]).expect_code(0);

    let shown = pipeline.run(&["schema", "show"]).expect_code(0).stdout;
    let ours: Value = serde_json::from_str(&shown).unwrap();
    let mut newer = ours.clone();
    let nickname = json!({ "name": "nickname", "type": ["null", "string"], "default": null });
    newer["fields"].as_array_mut().unwrap().push(nickname);
    let newer_id = register(&registry, &pipeline, &newer).expect("an optional field is compatible");
    let mut needy = newer.clone();
    needy["fields"].as_array_mut().unwrap().push(json!({ "name": "salary", "type": "int" }));
    register(&registry, &pipeline, &needy).expect_err("a required field is not");
    // Other teams have subjects of their own, and send to our topic all the same.
    let elsewhere = Pipeline::new("elsewhere");
    let mut foreign = ours.clone();
    foreign["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "email");
    let foreign_id = register(&registry, &elsewhere, &foreign).unwrap();

    let mut named = user(1);
    named["nickname"] = json!("Ann");
    let values = [
        avro(newer_id, &newer, &named),
        avro(foreign_id, &foreign, &user(2)),
        avro(9_999_999, &ours, &user(3)),
        user(4).to_string().into_bytes(),
    ];
    send(&pipeline, &values);
    // The producer of before goes on beside the newer one: its schema is a version still.
    pipeline.run(&["produce", "--source", "synthetic", "--count", "10"]).expect_code(0);
    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said("written 21 · dead letters 3");
    assert_eq!(rows(&table).len(), 21);
    let letters = pipeline.run(&["dead-letters", "list", "--json"]).expect_code(0).stdout;
    assert_eq!(letters.lines().count(), 3, "{letters}");
    for reason in [
        format!("schema id {foreign_id}: its records have no field email"),
        "schema id 9999999: the schema registry has no such schema".to_owned(),
        "dob: ".to_owned(),
    ] {
        assert!(letters.contains(&reason), "{reason}: {letters}");
    }
}

#[test]
#[ignore = "needs live services: make test"]
fn an_incompatible_schema_is_refused_with_the_registrys_reason() {
    let registry = services::registry();
    backward(&registry);
    let (pipeline, _) = with_registry("incompatible", &registry);
    let pipeline = pipeline.with_flag("--encoding", "avro").initialized();
    let theirs = json!({ "type": "record", "name": "User", "namespace": "userpipe", "fields": [
        { "name": "id", "type": "int" }, { "name": "salary", "type": "int" },
    ]});
    register(&registry, &pipeline, &theirs).unwrap();
    let produce = ["produce", "--source", "synthetic", "--count", "10"];
    let refused = pipeline.run(&produce).expect_failure(78, "id is int there, uuid here", "topic of its own");
    assert!(refused.stderr.contains("not compatible with writer type"), "the registry's words: {}", refused.stderr);
    pipeline.run(&["schema", "check"]).expect_failure(10, "not compatible", "topic of its own");
    let checked = pipeline.run(&["check", "--source", "synthetic"]).expect_code(10).stdout;
    assert!(checked.contains("fail  registry"), "{checked}");
    assert!(readback::topic(&pipeline.kafka, &pipeline.topic, 0).is_empty(), "nothing was sent");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_registry_that_is_away_is_waited_for_by_those_who_need_it() {
    let instance = PrivateInstance::start(&["registry"]);
    let registry = instance.registry();
    let (pipeline, table) = with_registry("away", &registry);
    let pipeline = pipeline.with_flag("--encoding", "avro").with_flag("--connect-timeout", "3s").initialized();
    let delivering = pipeline.start(&["consume"]);
    let producing = pipeline.start(&["produce", "--source", "synthetic", "--for", "8s", "--rate", "40/s"]);
    let count = |table: &str| {
        let printed = psql(&services::postgres(), &format!("SELECT count(*) FROM {table}"));
        printed[0].parse::<u64>().unwrap()
    };
    until("the first rows", SOON, || count(&table) > 0);
    instance.kill("registry", Signal::SIGSTOP);
    producing.wait(SOON).expect_code(0);
    let sent = readback::ledger_of(&services::postgres(), &pipeline.topic).len() as u64;
    until("every row, by the schema that is known", SOON, || count(&table) == sent);

    // Who does not know the schema yet waits for it, and begins with nothing.
    let (other, other_table) = with_registry("waiting", &registry);
    let other = Pipeline { topic: pipeline.topic.clone(), ..other }.with_flag("--connect-timeout", "3s");
    other.run(&["init-schema"]).expect_code(0);
    let mut waiting = other.start(&["consume", "-e"]);
    waiting.until_says("trying again");
    assert_eq!(count(&other_table), 0);
    instance.kill("registry", Signal::SIGCONT);
    waiting.wait(SOON).expect_code(0).expect_said("Registry goes on");
    assert_eq!(count(&other_table), sent);
    delivering.signal(Signal::SIGTERM);
    delivering.wait(SOON).expect_code(0).expect_said(&format!("written {sent}"));
}
