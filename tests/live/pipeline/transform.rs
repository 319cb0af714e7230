//! `--where`, `--map` and `--rewrite` on Kafka, Cassandra and PostgreSQL.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Pipeline, assert_same, postgres, readback};
use crate::services;

const WOMEN: &str = r#".gender == "female""#;
const UPPER_CASE: &str = ".first_name |= ascii_upcase | .email |= ascii_upcase";

/// The records on the topic, and the ids of the women among them.
fn sent(pipeline: &Pipeline, count: usize) -> (Vec<readback::Printed>, BTreeSet<String>) {
    let records = readback::topic(&pipeline.kafka, &pipeline.topic, count);
    let women = records.iter().filter(|record| record.row()["gender"] == "female");
    let women = women.map(|record| record.key.clone()).collect();
    (records, women)
}

#[test]
#[ignore = "needs live services: make test"]
fn what_the_filter_lets_through_is_in_cassandra_and_on_stdout_and_verify_balances() {
    let pipeline = Pipeline::new("where").initialized();
    let all = pipeline.produce(300);
    let (_, women) = sent(&pipeline, all.len());
    assert!(!women.is_empty() && women.len() < all.len());

    let printed = pipeline.run(&["consume", "--where", WOMEN, "--sink", "stdout", "-e"]).expect_code(0).stdout;
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(printed.iter().all(|user| user["gender"] == "female"));
    let ids = printed.iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect();
    assert_same(&women, &ids, "the topic and what was printed");

    let dropped = all.len() - women.len();
    let said = format!("written {} · filtered {dropped}", women.len());
    pipeline.run(&["consume", "--where", WOMEN, "-e"]).expect_code(0).expect_said(&said);
    assert_same(&women, &pipeline.ids(), "the topic and the table");
    assert_eq!(pipeline.lag(), 0, "what is dropped is done");

    let balanced = pipeline.run(&["verify", "--json", "--where", WOMEN]).expect_code(0).stdout;
    let counts: Value = serde_json::from_str(balanced.lines().last().unwrap()).unwrap();
    let found = (&counts["sink"], &counts["filtered"], &counts["holes"]);
    assert_eq!(found, (&json!(women.len()), &json!(dropped), &json!(0)));
    let without = pipeline.run(&["verify", "--json"]).expect_code(11).stdout;
    let counts: Value = serde_json::from_str(without.lines().last().unwrap()).unwrap();
    assert_eq!(counts["holes"], json!(dropped), "nothing explains them without the filter");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_rewrite_changes_the_cells_in_cassandra_and_a_replay_does_not() {
    let pipeline = Pipeline::new("rewrite").initialized();
    let all = pipeline.produce(100);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let (records, _) = sent(&pipeline, all.len());
    let emails = || -> BTreeSet<String> {
        readback::table(&pipeline.cassandra, &pipeline.table()).into_values().map(|row| row["email"].clone()).collect()
    };
    let written: BTreeSet<String> = records.iter().map(|record| record.row()["email"].clone()).collect();
    assert_eq!(emails(), written);

    pipeline.run(&["consume", "--from-beginning", "-e", "--rewrite", "--map", UPPER_CASE]).expect_code(0);
    let rewritten: BTreeSet<String> = written.iter().map(|email| email.to_ascii_uppercase()).collect();
    assert_eq!(emails(), rewritten);
    let rows = readback::table(&pipeline.cassandra, &pipeline.table());
    for record in &records {
        let (row, sent) = (&rows[&record.key], record.row());
        assert_eq!(row["timestamp"], sent["timestamp"], "the record's own time stays in its column");
        assert_eq!(row["last_name"], sent["last_name"]);
    }
    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_code(0);
    assert_eq!(emails(), rewritten, "the writes of a replay are older than those of a rewrite");
    pipeline.run(&["consume", "--from-beginning", "-e", "--rewrite"]).expect_code(0);
    assert_eq!(emails(), written, "another rewrite, without an expression");
    pipeline.run(&["verify"]).expect_code(0);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_rewrite_changes_the_rows_in_postgres_and_keeps_their_times() {
    let server = services::postgres();
    let (pipeline, table) = postgres::pipeline("rewritepg", &server);
    pipeline.run(&["init-schema"]).expect_code(0);
    let ids: BTreeSet<String> = {
        let source = ["produce", "--once", "--source", "synthetic", "--count", "100"];
        pipeline.run(&source).expect_code(0);
        readback::ledger_of(&server, &pipeline.topic).into_iter().map(|stored| stored.id).collect()
    };
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let before = readback::postgres_table(&server, &table);
    assert_eq!(before.len(), ids.len());

    pipeline.run(&["consume", "--from-beginning", "-e", "--rewrite", "--map", UPPER_CASE]).expect_code(0);
    let after = readback::postgres_table(&server, &table);
    for (id, row) in &before {
        let mut expected = row.clone();
        for name in ["first_name", "email"] {
            let upper = expected[name].to_ascii_uppercase();
            expected.insert(name.to_owned(), upper);
        }
        assert_eq!(after[id], expected);
    }
    pipeline.run(&["verify"]).expect_code(0);
}
