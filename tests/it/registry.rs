//! A Schema Registry that fails on purpose: what waits, what is a dead letter, and what ends a command at once.

use serde_json::json;

use crate::fake_registry::{FakeRegistry, Login};
use crate::sandbox::{Output, Sandbox};

const DEAD_LETTERS: &str = "users_created.dead-letters";
const TOPIC_RECORDS: &str = "SELECT count(*) FROM bus_records WHERE topic = 'users_created'";
const ROWS: &str = "SELECT count(*) FROM created_users";

/// Sends synthetic users in this encoding.
fn produce(sandbox: &Sandbox, registry: &FakeRegistry, encoding: &str, count: u32) -> Output {
    let url = registry.url();
    let line = format!("produce --source synthetic --count {count} --encoding {encoding} --schema-registry {url}");
    sandbox.userpipe(&line).ok()
}

#[test]
fn each_encoding_gives_the_rows_of_plain_json() {
    let rows = |encoding: &str| {
        let (sandbox, registry) = (Sandbox::new(), FakeRegistry::start());
        let command = format!("--schema-registry {} --encoding {encoding}", registry.url());
        sandbox.userpipe(&format!("produce --source synthetic --seed same --count 50 {command}")).ok();
        let values = sandbox.database().records("users_created");
        assert!(values.iter().all(|record| record.value.as_ref().is_some_and(|v| (v[0] == 0) == (encoding != "json"))));
        sandbox.userpipe(&format!("consume -e {command}")).ok();
        let mut users = sandbox.database().users();
        for user in &mut users {
            user.remove("timestamp");
        }
        assert_eq!((users.len(), sandbox.database().records(DEAD_LETTERS).len()), (50, 0));
        users
    };
    let plain = rows("json");
    assert_eq!(rows("avro"), plain);
    assert_eq!(rows("json-schema"), plain);
}

#[test]
fn every_encoding_on_one_topic_is_told_apart() {
    let (sandbox, registry) = (Sandbox::new(), FakeRegistry::start());
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    produce(&sandbox, &registry, "avro", 5);
    registry.forget_subjects();
    produce(&sandbox, &registry, "json-schema", 5);
    let with_registry = format!("--schema-registry {}", registry.url());
    sandbox.userpipe(&format!("consume -e {with_registry}")).ok();
    assert_eq!(sandbox.database().users().len(), 15);
    assert_eq!(registry.lookups(), 2, "each schema is asked for once");

    sandbox.userpipe(&format!("verify {with_registry}")).ok();
    let id = sandbox.database().ids().remove(0);
    let traced = sandbox.userpipe(&format!("trace {id} {with_registry}")).ok();
    assert!(traced.stdout.contains("delivered"), "{}", traced.stdout);
}

#[test]
fn a_registry_that_is_away_ends_produce_and_makes_consume_wait() {
    let (sandbox, mut registry) = (Sandbox::new(), FakeRegistry::start());
    produce(&sandbox, &registry, "avro", 10);
    registry.stop();
    let line = format!("--schema-registry {}", registry.url());
    let refused = sandbox.userpipe(&format!("produce --source synthetic --encoding avro {line}")).fails(69);
    assert!(refused.error().contains("schema of users_created-value"), "{}", refused.error());
    assert_eq!(sandbox.database().number(TOPIC_RECORDS), 10, "nothing was sent");

    let consuming = sandbox.userpipe(&format!("consume -e {line}")).start();
    consuming.wait_for_stderr("trying again");
    assert_eq!(sandbox.database().number(ROWS), 0);
    registry.start_again();
    let output = consuming.finish().expect_code(0);
    assert!(output.stderr.contains("Registry goes on"), "{}", output.stderr);
    assert_eq!((sandbox.database().number(ROWS), sandbox.database().records(DEAD_LETTERS).len()), (10, 0));
}

#[test]
fn a_schema_that_is_known_needs_no_registry() {
    let (sandbox, mut registry) = (Sandbox::new(), FakeRegistry::start());
    produce(&sandbox, &registry, "avro", 10);
    let consuming = sandbox.userpipe(&format!("consume --schema-registry {}", registry.url())).start();
    sandbox.database().wait_until(ROWS, 10);

    // The producer finds the same schemas elsewhere.
    let other = registry.elsewhere();
    registry.stop();
    produce(&sandbox, &other, "avro", 10);
    sandbox.database().wait_until(ROWS, 20);

    // Another schema waits, and what is known goes on beside it in other partitions.
    other.forget_subjects();
    produce(&sandbox, &other, "json-schema", 3);
    consuming.wait_for_stderr("trying again");
    assert_eq!(sandbox.database().number(ROWS), 20);
    registry.start_again();
    sandbox.database().wait_until(ROWS, 23);
    consuming.signal(nix::sys::signal::Signal::SIGTERM);
    consuming.finish().expect_code(0);
    assert!(sandbox.database().records(DEAD_LETTERS).is_empty());
}

#[test]
fn what_a_registry_does_not_have_or_cannot_be_a_user_is_a_dead_letter_with_the_id() {
    let (sandbox, registry) = (Sandbox::new(), FakeRegistry::start());
    produce(&sandbox, &registry, "avro", 3);
    let database = sandbox.database();
    let foreign = json!({ "type": "record", "name": "Thing", "fields": [{ "name": "id", "type": "string" }] });
    let foreign = registry.add("things-value", &foreign.to_string(), None);
    let protobuf = registry.add("things-value", "syntax = \"proto3\";", Some("PROTOBUF"));
    for id in [4711, foreign, protobuf] {
        let value = [&[0][..], &id.to_be_bytes(), b"rest"].concat();
        database.append("users_created", 0, Some(b"k"), Some(&value));
    }
    sandbox.userpipe(&format!("consume -e --schema-registry {}", registry.url())).ok();
    assert_eq!(database.number(ROWS), 3);
    let letters = database.records(DEAD_LETTERS);
    let reasons: Vec<&str> = letters.iter().map(|letter| letter.headers["userpipe.error"].as_str()).collect();
    let expected = [
        "schema id 4711: the schema registry has no such schema".to_owned(),
        format!("schema id {foreign}: its records have no field first_name"),
        format!("schema id {protobuf}: a schema of the kind PROTOBUF, which is not read"),
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn an_answer_that_is_not_the_registrys_buries_nothing() {
    let (sandbox, registry) = (Sandbox::new(), FakeRegistry::start());
    produce(&sandbox, &registry, "avro", 3);
    registry.answer_as_a_proxy(true);
    let line = format!("consume -e --deadline 3s --schema-registry {}", registry.url());
    let ended = sandbox.userpipe(&line).fails(78);
    assert!(ended.hint().contains("base URL"), "{}", ended.hint());
    registry.answer_as_a_proxy(false);
    sandbox.userpipe(&line).ok();
    let database = sandbox.database();
    assert_eq!((database.number(ROWS), database.records(DEAD_LETTERS).len()), (3, 0));
}

#[test]
fn a_login_is_right_wrong_or_missing() {
    let secret = "s3cret-of-the-registry";
    for (login, hint) in [
        (Login::Basic("YW5uOnMzY3JldC1vZi10aGUtcmVnaXN0cnk="), "--schema-registry-user"),
        (Login::Bearer(secret), "--schema-registry-token-file"),
    ] {
        let (sandbox, registry) = (Sandbox::new(), FakeRegistry::wanting(login));
        let line = |command: &str| match login {
            Login::Basic(_) => {
                format!("{command} --schema-registry {} --schema-registry-user ann", registry.url())
            }
            Login::Bearer(_) => format!("{command} --schema-registry {}", registry.url()),
        };
        let variable = match login {
            Login::Basic(_) => "USERPIPE_SCHEMA_REGISTRY_PASSWORD",
            Login::Bearer(_) => "USERPIPE_SCHEMA_REGISTRY_TOKEN",
        };
        let produce = line("produce --source synthetic --count 3 --encoding avro");
        let right = sandbox.userpipe(&produce).env(variable, secret).ok();
        sandbox.userpipe(&line("consume -e")).env(variable, secret).ok();
        let wrong = sandbox.userpipe(&produce).env(variable, "wr0ng").fails(77);
        assert!(wrong.hint().contains(hint), "{}", wrong.hint());
        let wrong = sandbox.userpipe(&line("consume -e")).env(variable, "wr0ng").fails(77);
        assert!(wrong.error().contains("HTTP 401"), "{}", wrong.error());
        let plain = format!("consume -e --schema-registry {}", registry.url());
        let missing = sandbox.userpipe(&plain).fails(77);
        assert!(missing.hint().contains("it wants a login"), "{}", missing.hint());
        let config = sandbox.userpipe(&line("config")).env(variable, secret).ok();
        for output in [&right, &wrong, &missing, &config] {
            assert!(!output.stderr.contains(secret) && !output.stdout.contains(secret), "{output:?}");
        }
    }
}

#[test]
fn an_authority_has_to_be_trusted() {
    let sandbox = Sandbox::new();
    let (registry, authority) = FakeRegistry::encrypted(4000);
    sandbox.write("ca.pem", authority);
    let line = format!("produce --source synthetic --count 3 --encoding avro --schema-registry {}", registry.url());
    let untrusted = sandbox.userpipe(&line).fails(78);
    assert!(untrusted.error().contains("certificate"), "{}", untrusted.error());
    assert!(untrusted.hint().contains("--schema-registry-ca"), "{}", untrusted.hint());
    sandbox.userpipe(&format!("{line} --schema-registry-ca ca.pem")).ok();
    let consume = format!("consume -e --schema-registry {}", registry.url());
    sandbox.userpipe(&consume).fails(78);
    sandbox.userpipe(&format!("{consume} --schema-registry-ca ca.pem")).ok();
    assert_eq!(sandbox.database().number(ROWS), 3);
    // The certificate is for localhost.
    let by_address = line.replace("localhost", "127.0.0.1");
    let elsewhere = sandbox.userpipe(&format!("{by_address} --schema-registry-ca ca.pem")).fails(78);
    assert!(elsewhere.hint().contains("host name"), "{}", elsewhere.hint());
    let (registry, authority) = FakeRegistry::encrypted(2020);
    sandbox.write("old.pem", authority);
    let line = format!("consume -e --schema-registry {} --schema-registry-ca old.pem", registry.url());
    let expired = sandbox.userpipe(&line).fails(78);
    assert!(expired.error().contains("expired"), "{}", expired.error());
}

#[test]
fn an_incompatible_schema_is_refused_before_anything_is_sent() {
    let (sandbox, registry) = (Sandbox::new(), FakeRegistry::start());
    let theirs = json!({ "type": "record", "name": "User", "fields": [
        { "name": "id", "type": "int" }, { "name": "salary", "type": "int" },
    ]});
    registry.add("users_created-value", &theirs.to_string(), None);
    let line = format!("--encoding avro --schema-registry {}", registry.url());
    let refused = sandbox.userpipe(&format!("produce --source synthetic --count 3 {line}")).fails(78);
    for words in ["not as the one before", "id is int there, uuid here", "salary (int) is only there"] {
        assert!(refused.error().contains(words), "{words}: {}", refused.error());
    }
    let checked = sandbox.userpipe(&format!("schema check {line}")).fails(10);
    assert!(checked.stdout.contains("\n  id is int there, uuid here\n"), "{}", checked.stdout);
    let checked = sandbox.userpipe(&format!("schema check --json {line}")).fails(10);
    assert_eq!(checked.json_lines()[0]["standing"], "incompatible");
    assert!(registry.lookups() == 0 && !sandbox.path("userpipe-data/userpipe.db").exists());
}

#[test]
fn a_schema_is_shown_checked_registered_and_looked_up() {
    let (sandbox, registry) = (Sandbox::new(), FakeRegistry::start());
    let shown = sandbox.userpipe("schema show --encoding avro").ok();
    let schema: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(schema["fields"].as_array().map(Vec::len), Some(13));
    sandbox.userpipe("schema show").fails(78);

    let line = format!("--encoding avro --schema-registry {}", registry.url());
    let produce = format!("produce --source synthetic --count 3 --no-register {line}");
    let refused = sandbox.userpipe(&produce).fails(78);
    assert!(refused.hint().contains("schema register"), "{}", refused.hint());
    assert!(sandbox.userpipe(&format!("schema check {line}")).ok().stdout.contains("has no version yet"));
    let registered = sandbox.userpipe(&format!("schema register --json {line}")).ok().json_lines().remove(0);
    assert_eq!(registered, json!({ "subject": "users_created-value", "id": 1, "version": 1 }));
    sandbox.userpipe(&produce).ok();
    let checked = sandbox.userpipe(&format!("schema check {line}")).ok();
    assert!(checked.stdout.contains("is version 1, id 1"), "{}", checked.stdout);
    assert!(sandbox.userpipe("produce --encoding avro").fails(78).hint().contains("--schema-registry"));
}

#[test]
fn tap_shows_the_user_of_a_value_under_a_schema() {
    let (sandbox, registry) = (Sandbox::new(), FakeRegistry::start());
    sandbox.prepare();
    let tap = sandbox.userpipe(&format!("tap --rate 1000/s --count 2 --schema-registry {}", registry.url())).start();
    tap.wait_for_stderr("from now on");
    produce(&sandbox, &registry, "avro", 2);
    for line in tap.finish().expect_code(0).json_lines() {
        assert_eq!((&line["schema_id"], &line["key"]), (&json!(1), &line["value"]["id"]), "{line}");
    }
}

#[test]
fn check_tells_how_the_schema_stands() {
    let (sandbox, mut registry) = (Sandbox::new(), FakeRegistry::start());
    sandbox.prepare();
    let line = format!("check --source synthetic --json --connect-timeout 2s --schema-registry {}", registry.url());
    let row = |line: &str, code| {
        let lines = sandbox.userpipe(line).output().expect_code(code).json_lines();
        lines.into_iter().find(|line| line["check"] == "registry").unwrap()
    };
    assert_eq!(row(&line, 0)["found"], "answers, and the login is accepted");
    let avro = format!("{line} --encoding avro");
    assert_eq!(row(&avro, 0)["found"], "has no version yet; the first produce registers one");
    assert_eq!(row(&format!("{avro} --no-register"), 10)["verdict"], "fail");
    produce(&sandbox, &registry, "avro", 1);
    assert_eq!(row(&avro, 0)["found"], "has our schema, version 1, id 1");
    registry.stop();
    assert!(row(&line, 10)["found"].as_str().unwrap().contains("cannot ask the schema registry"));
}
