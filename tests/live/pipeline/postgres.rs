//! PostgreSQL as sink and as ledger.

use std::path::Path;

use serde_json::json;
use uuid::Uuid;

use super::expected::Expected;
use super::{Pipeline, readback};
use crate::services::{self, Postgres, psql};

/// A pipeline into a table of its own.
pub(super) fn pipeline(what: &str, postgres: &Postgres) -> (Pipeline, String) {
    let pipeline = Pipeline::new(what).with_cassandra(String::new());
    let table = pipeline.keyspace.clone();
    let pipeline = pipeline
        .with_flag("--postgres", &postgres.url)
        .with_flag("--table", &table)
        .with_variable("PGPASSWORD", &postgres.password);
    (pipeline, table)
}

fn lag(pipeline: &Pipeline, table: &str) -> u64 {
    readback::lag(&pipeline.kafka, &pipeline.topic, &format!("userpipe-postgres-{table}"))
}

#[test]
#[ignore = "needs live services: make test"]
fn users_arrive_in_postgres_field_by_field_and_its_ledger_has_them_all() {
    let postgres = services::postgres();
    let (pipeline, table) = pipeline("postgres", &postgres);
    let made = pipeline.run(&["init-schema"]).expect_code(0).stdout;
    assert!(made.contains("created table") && made.contains("schema userpipe"), "{made}");
    let again = pipeline.run(&["init-schema"]).expect_code(0).stdout;
    assert!(!again.contains("created"), "{again}");

    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/randomuser");
    let expected = Expected::read(&data);
    let (_api, url) = pipeline.mock_api(&data);
    let count = expected.users.to_string();
    pipeline.run(&["run", "--once", "--count", &count, "--api-url", &url]).expect_code(0);

    let records = readback::topic(&pipeline.kafka, &pipeline.topic, expected.rows.len());
    let rows = readback::postgres_table(&postgres, &table);
    assert_eq!(rows.len(), expected.rows.len());
    for record in records {
        let row = &rows[&record.key];
        assert_eq!(row, &record.row(), "topic and table");
        assert!(expected.rows[&record.key].iter().all(|(name, value)| &row[name] == value), "{row:?}");
    }
    let ledger = readback::ledger_of(&postgres, &pipeline.topic);
    assert_eq!(ledger.len(), rows.len());
    assert!(ledger.iter().all(|stored| rows.contains_key(&stored.id) && stored.place.is_some()), "{ledger:?}");
    let secrets = format!(
        "SELECT count(*) FROM userpipe.outbox WHERE pipeline LIKE '%/{}' AND (raw IS NULL OR raw LIKE '%password%')",
        pipeline.topic
    );
    assert_eq!(psql(&postgres, &secrets), ["0"], "the raw users are kept, less their secrets");
    assert!(!pipeline.database().exists(), "nothing is embedded here");

    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_code(0);
    assert_eq!(readback::postgres_table(&postgres, &table), rows, "a replay changes nothing");
    assert_eq!(lag(&pipeline, &table), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn what_postgres_can_never_store_is_a_dead_letter_and_its_neighbours_are_rows() {
    const POISON: usize = 7;
    let postgres = services::postgres();
    let (pipeline, table) = pipeline("poison", &postgres);
    let pipeline = pipeline.with_flag("--partitions", "1").initialized();
    let user = |number: usize| {
        let name = if number == POISON { "A\0B" } else { "AB" };
        let id = Uuid::from_u128(number as u128);
        json!({
            "id": id, "first_name": name, "last_name": "N", "gender": "female", "email": "a@example.com",
            "username": "a", "phone": "1", "address": "1 A, B, C, D", "post_code": "0378", "dob": "1990-01-01",
            "registered_date": "2010-01-01", "picture": "https://p", "timestamp": "2026-01-01T00:00:00Z",
        })
    };
    let lines: Vec<String> = (0..20).map(|number| user(number).to_string()).collect();
    assert!(lines[POISON].contains(r"A\u0000B"), "on the wire it is JSON like any other");
    readback::send_lines(&pipeline.kafka, &pipeline.topic, false, &lines);

    pipeline.run(&["consume", "-e"]).expect_code(0).expect_said("written 19 · dead letters 1");
    assert_eq!(
        psql(&postgres, &format!("SELECT count(*), min(first_name), max(first_name) FROM {table}")),
        ["19|AB|AB"]
    );
    let [letter] = &readback::topic(&pipeline.kafka, &format!("{}.dead-letters", pipeline.topic), 1)[..] else {
        panic!("one letter")
    };
    assert_eq!(letter.value, lines[POISON], "untouched");
    for header in ["userpipe.stage:sink", "userpipe.error:invalid byte sequence for encoding \"UTF8\": 0x00"] {
        assert!(letter.headers.contains(header), "{}", letter.headers);
    }
    assert_eq!(lag(&pipeline, &table), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_wrong_password_is_refused_at_once() {
    let right = services::postgres();
    let wrong = Postgres { password: "wrong".to_owned(), ..right };
    let (pipeline, table) = pipeline("password", &wrong);
    let commands = [&["init-schema"][..], &["produce", "--once", "--source", "synthetic"], &["consume", "-e"]];
    // A topic, so that nothing else is in the way.
    let elsewhere = ["produce", "--ledger", "off", "--once", "--count", "1", "--source", "synthetic"];
    pipeline.run(&elsewhere).expect_code(0);
    for command in commands {
        let refused = pipeline.run(command).expect_failure(77, "password authentication failed", "PGPASSWORD");
        assert!(refused.took.as_secs() < 10, "{:?}", refused.took);
        assert!(!refused.stderr.contains("wrong"), "{}", refused.stderr);
    }
    let made = psql(&services::postgres(), &format!("SELECT coalesce(to_regclass('{table}')::text, 'none')"));
    assert_eq!(made, ["none"]);
}
