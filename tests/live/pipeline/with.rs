//! `--with` on tables that had 13 columns, in Cassandra and in PostgreSQL.

use std::collections::BTreeSet;

use super::expected::Row;
use super::postgres::pipeline as on_postgres;
use super::{Pipeline, SOON, readback};
use crate::services::{self, psql};

const RUN: [&str; 6] = ["run", "--once", "--source", "synthetic", "--count", "30"];

/// Runs six `init-schema --with` at once; what each printed.
fn at_once(pipeline: &Pipeline, with: &str) -> Vec<String> {
    let running: Vec<_> = (0..6).map(|_| pipeline.start(&["init-schema", "--with", with])).collect();
    running.into_iter().map(|one| one.wait(SOON).expect_code(0).stdout).collect()
}

#[test]
#[ignore = "needs live services: make test"]
fn a_cassandra_table_of_13_columns_gets_more_and_its_readers_and_old_rows_are_left_alone() {
    let pipeline = Pipeline::new("with").initialized();
    pipeline.run(&RUN).expect_code(0);
    let before = readback::table(&pipeline.cassandra, &pipeline.table());
    assert_eq!(before.len(), 30);

    let with = [&RUN[..], &["--with", "country,age"]].concat();
    let fix = "userpipe init-schema --with age,country ";
    pipeline.run(&with).expect_failure(78, "it has no column age; it has no column country", fix);
    pipeline.run(&["consume", "-e", "--with", "country,age"]).expect_failure(78, "it has no column age", fix);
    let printed = pipeline.run(&["init-schema", "--dry-run", "--with", "country,age"]).expect_code(0).stdout;
    let quoted = format!("\"{}\"", pipeline.table().replace('.', "\".\""));
    let additions = format!("ALTER TABLE {quoted} ADD age int;\n\nALTER TABLE {quoted} ADD country text;\n");
    assert!(printed.ends_with(&additions), "{printed}");
    // What is shown is accepted as it is, and leaves nothing to do.
    readback::cqlsh(&pipeline.cassandra, &printed);
    let said = pipeline.run(&["init-schema", "--with", "country,age"]).expect_code(0).stdout;
    assert!(said.ends_with(&format!("table {} is there and matches\n", pipeline.table())), "{said}");
    at_once(&pipeline, "age,country,city,timezone,latitude");

    pipeline.run(&with).expect_code(0);
    let after = readback::table(&pipeline.cassandra, &pipeline.table());
    assert_eq!(after.len(), 60);
    assert!(before.iter().all(|(id, row)| &after[id] == row), "old rows, write times included, are as they were");
    let select = format!("PAGING OFF; SELECT JSON id, age, country, address FROM {};", pipeline.table());
    let printed = readback::cqlsh(&pipeline.cassandra, &select);
    let rows = printed.lines().map(str::trim).filter(|line| line.starts_with('{'));
    for row in rows.map(|line| serde_json::from_str::<serde_json::Value>(&line.replace(r"\\", r"\")).unwrap()) {
        let is_old = before.contains_key(row["id"].as_str().unwrap());
        let country = row["country"].as_str().map(|country| row["address"].as_str().unwrap().ends_with(country));
        assert_eq!((row["age"].is_i64(), country), if is_old { (false, None) } else { (true, Some(true)) }, "{row}");
    }
    pipeline.run(&["verify", "--with", "country,age"]).expect_code(0);

    // A replay by one who knows the 13 changes nothing of the others.
    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_code(0);
    assert_eq!(readback::cqlsh(&pipeline.cassandra, &select), printed);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_postgres_table_of_13_columns_gets_more_and_keeps_what_a_later_record_lacks() {
    let postgres = services::postgres();
    let (pipeline, table) = on_postgres("with", &postgres);
    let pipeline = pipeline.initialized();
    pipeline.run(&RUN).expect_code(0);
    let before = readback::postgres_table(&postgres, &table);

    let with = [&RUN[..], &["--with", "country,age,latitude"]].concat();
    let fix = "userpipe init-schema --with age,country,latitude ";
    pipeline.run(&with).expect_failure(78, "does not fit: it has no column age; ", fix);
    let dry_run = ["init-schema", "--dry-run", "--with", "country,age,latitude"];
    let printed = pipeline.run(&dry_run).expect_code(0).stdout;
    let add = format!("ALTER TABLE \"{table}\" ADD COLUMN IF NOT EXISTS latitude double precision;\n");
    assert!(printed.ends_with(&add), "{printed}");
    let said = at_once(&pipeline, "country,age,latitude");
    assert!(said.iter().any(|said| said.contains("added columns age, country, latitude to table ")), "{said:?}");
    assert!(!pipeline.run(&dry_run).expect_code(0).stdout.contains("ALTER"), "nothing is left to add");

    pipeline.run(&with).expect_code(0);
    let count = |condition: &str| psql(&postgres, &format!("SELECT count(*) FROM {table} WHERE {condition}")).remove(0);
    let filled = "country <> '' AND age > 0 AND latitude BETWEEN -90 AND 90 AND address LIKE '%, ' || country";
    assert_eq!(count(filled), "30");
    assert_eq!(count("country IS NULL AND age IS NULL AND latitude IS NULL"), "30");
    let after: BTreeSet<String> =
        psql(&postgres, &format!("SELECT row_to_json(t) FROM (SELECT id, email, dob FROM {table}) t"))
            .into_iter()
            .collect();
    assert_eq!(after.len(), 60);
    let emails = |row: &Row| after.iter().any(|line| line.contains(&row["email"]) && line.contains(&row["id"]));
    assert!(before.values().all(emails));

    // The same people without the columns: a replay of the topic by one who knows the 13, later than the rows.
    psql(&postgres, &format!("UPDATE {table} SET timestamp = timestamp - interval '1 day'"));
    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_code(0);
    assert_eq!(count(filled), "30");
    pipeline.run(&["consume", "--from-beginning", "-e", "--with", "country,age,latitude"]).expect_code(0);
    assert_eq!(count(filled), "30", "records without a value leave what is there");
}

#[test]
#[ignore = "needs live services: make test"]
fn many_at_once_make_a_postgres_table() {
    let postgres = services::postgres();
    let (pipeline, table) = on_postgres("atonce", &postgres);
    let said = at_once(&pipeline, "city,state");
    let is_told = |said: &String| said.contains("created table") || said.contains("is there and fits");
    assert!(said.iter().all(is_told), "{said:?}");
    pipeline.run(&[&RUN[..], &["--with", "city,state"]].concat()).expect_code(0);
    assert_eq!(psql(&postgres, &format!("SELECT count(*) FROM {table} WHERE city || state <> ''")), ["30"]);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_postgres_table_with_fewer_columns_and_an_id_of_text_takes_what_it_has() {
    let postgres = services::postgres();
    let (pipeline, table) = on_postgres("fewer", &postgres);
    psql(
        &postgres,
        &format!(
            "CREATE TABLE {table} (id varchar PRIMARY KEY, first_name text, registered_date text, country text, n int)"
        ),
    );
    pipeline.run(&RUN).expect_failure(78, "it has no column last_name; ", "--columns id,first_name,registered_date;");
    let hint = "--columns id,first_name,registered_date,country;";
    let pipeline = pipeline.with_flag("--with", "country");
    pipeline.run(&RUN).expect_failure(78, "it has no column last_name; ", hint);
    let pipeline = pipeline.with_flag("--columns", "id,first_name,registered_date,country");
    pipeline.run(&RUN).expect_code(0);
    pipeline.run(&["verify"]).expect_code(0);
    let whole =
        format!("SELECT id FROM {table} WHERE registered_date LIKE '____-__-__T%Z' AND country <> '' AND n IS NULL");
    let ids = psql(&postgres, &whole);
    assert_eq!(ids.len(), 30);
    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_code(0);
    pipeline.run(&["purge", "--id", &ids[0]]).expect_code(0);
    assert_eq!(psql(&postgres, &whole).len(), 29);
}
