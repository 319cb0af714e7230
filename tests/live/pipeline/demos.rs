//! The tables of the demo projects as sinks: with a text id, without a column, under other names.

use std::collections::BTreeSet;

use super::readback::{self, cqlsh};
use super::{Pipeline, assert_same};

const RUN: [&str; 5] = ["run", "--once", "--count", "20", "--source"];

/// A demo's table: its name, how it is declared, and the `--columns` that fit it.
struct Demo {
    table: &'static str,
    declared: &'static str,
    columns: &'static str,
}

/// Neither `dob` nor `timestamp`, and the date as text: `spark_streams.created_users`.
const CREATED_USERS: Demo = Demo {
    table: "created_users",
    declared: "id UUID PRIMARY KEY, first_name TEXT, last_name TEXT, gender TEXT, address TEXT, post_code TEXT, \
               email TEXT, username TEXT, registered_date TEXT, phone TEXT, picture TEXT",
    columns: "id,first_name,last_name,gender,email,username,phone,address,post_code,registered_date,picture",
};

/// The id as text, and no post code: `spark_streams.users_profile`.
const USERS_PROFILE: Demo = Demo {
    table: "users_profile",
    declared: "id TEXT PRIMARY KEY, first_name TEXT, last_name TEXT, gender TEXT, address TEXT, email TEXT, \
               username TEXT, dob TEXT, registered_date TEXT, phone TEXT, picture TEXT",
    columns: "id,first_name,last_name,gender,email,username,phone,address,dob,registered_date,picture",
};

/// Names of its own for half of the columns: `spark_stream.created_users`.
const OTHER_NAMES: Demo = Demo {
    table: "created_users",
    declared: "id UUID PRIMARY KEY, full_name TEXT, gender TEXT, address TEXT, postcode TEXT, email TEXT, \
               user_name TEXT, dob TEXT, registered_date TEXT, phone TEXT, image TEXT",
    columns: "id,gender,email,phone,address,dob,registered_date",
};

/// Keyspace and table as the demo makes them.
fn made_by(demo: &Demo, what: &str) -> Pipeline {
    let pipeline = Pipeline::new(what).with_flag("--table", demo.table);
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': '1'}";
    let keyspace = format!("CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {replication};", pipeline.keyspace);
    let table = format!("CREATE TABLE IF NOT EXISTS {}.{} ({});", pipeline.keyspace, demo.table, demo.declared);
    cqlsh(&pipeline.cassandra, &format!("{keyspace} {table}"));
    pipeline
}

/// Fills the table, and gives its rows as JSON, one a line.
fn fill(demo: &Demo, what: &str) -> (Pipeline, Vec<serde_json::Value>) {
    let pipeline = made_by(demo, what);
    let run = [&RUN[..], &["synthetic"]].concat();
    let hint = format!("--columns {};", demo.columns);
    for command in [&["init-schema"][..], &run] {
        pipeline.run(command).expect_failure(78, "does not fit: it has no column ", &hint);
    }
    let pipeline = pipeline.with_flag("--columns", demo.columns);
    pipeline.run(&["init-schema"]).expect_code(0);
    pipeline.run(&run).expect_code(0);
    pipeline.run(&["verify"]).expect_code(0);
    let rows = rows(&pipeline, demo);
    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_code(0);
    assert_eq!(self::rows(&pipeline, demo), rows, "a replay changes nothing");

    let ids = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    let sent = readback::ledger(&pipeline.database(), &pipeline.topic).into_iter().map(|entry| entry.id).collect();
    assert_same(&ids, &sent, "the table and the ledger");
    let written: BTreeSet<&str> = demo.columns.split(',').collect();
    for row in &rows {
        for (name, value) in row.as_object().unwrap() {
            assert_eq!(value.is_null(), !written.contains(name.as_str()), "{name} of {row}");
        }
    }
    (pipeline, rows)
}

fn rows(pipeline: &Pipeline, demo: &Demo) -> Vec<serde_json::Value> {
    let select = format!("PAGING OFF; SELECT JSON * FROM {}.{};", pipeline.keyspace, demo.table);
    let printed = cqlsh(&pipeline.cassandra, &select);
    let lines = printed.lines().map(str::trim).filter(|line| line.starts_with('{'));
    let mut rows: Vec<serde_json::Value> =
        lines.map(|line| serde_json::from_str(&line.replace(r"\\", r"\")).unwrap()).collect();
    rows.sort_by_key(|row| row["id"].to_string());
    rows
}

/// Whether every date is RFC 3339 text.
fn has_dates(rows: &[serde_json::Value], column: &str) -> bool {
    rows.iter().all(|row| row[column].as_str().is_some_and(|date| date.contains('T') && date.ends_with('Z')))
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_without_two_columns_and_with_a_date_as_text_is_filled() {
    let (_, rows) = fill(&CREATED_USERS, "demo_created");
    assert!(rows.len() == 20 && has_dates(&rows, "registered_date"), "{rows:?}");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_with_an_id_of_text_is_filled() {
    let (pipeline, rows) = fill(&USERS_PROFILE, "demo_profile");
    assert!(rows.len() == 20 && has_dates(&rows, "dob") && has_dates(&rows, "registered_date"), "{rows:?}");
    let id = rows[0]["id"].as_str().unwrap();
    pipeline.run(&["trace", id]).expect_code(0);
    pipeline.run(&["purge", "--id", id]).expect_code(0);
    assert_eq!(self::rows(&pipeline, &USERS_PROFILE)[..], rows[1..]);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_with_names_of_its_own_takes_what_it_has_and_more_where_that_is_asked_for() {
    let (pipeline, before) = fill(&OTHER_NAMES, "demo_names");
    let mut pipeline = pipeline;
    let columns = format!("{},country", OTHER_NAMES.columns);
    // The last one counts.
    pipeline.flags.retain(|flag| flag != "--columns" && flag != OTHER_NAMES.columns);
    let pipeline = pipeline.with_flag("--columns", &columns).with_flag("--with", "country");
    let run = [&RUN[..], &["synthetic"]].concat();
    pipeline.run(&run).expect_failure(78, "does not fit: it has no column country", "init-schema --with country ");
    let said = pipeline.run(&["init-schema"]).expect_code(0).stdout;
    assert!(said.contains("added column country to table "), "{said}");
    pipeline.run(&run).expect_code(0);
    let after = rows(&pipeline, &OTHER_NAMES);
    let (new, old): (Vec<_>, Vec<_>) = after.into_iter().partition(|row| !row["country"].is_null());
    assert_eq!((new.len(), old.len()), (20, 20));
    let without = |mut row: serde_json::Value| {
        row.as_object_mut().unwrap().remove("country").unwrap();
        row
    };
    assert_eq!(old.into_iter().map(without).collect::<Vec<_>>(), before, "old rows are untouched");
}
