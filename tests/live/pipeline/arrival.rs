//! Users of recorded API answers arrive exactly: every field of every one, in the topic and in the table.

use std::path::{Path, PathBuf};

use userpipe::record::Timestamp;

use super::expected::{COLUMNS, Expected, Row};
use super::{Pipeline, readback};

#[test]
#[ignore = "needs live services: make test"]
fn the_fixtures_arrive_field_by_field() {
    let expected = arrive("fixtures", &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/randomuser"));
    assert_eq!((expected.users, expected.rows.len()), (6, 5), "one of them has no country");
}

#[test]
#[ignore = "needs live services, and USERPIPE_SAMPLES: make test"]
fn the_recorded_samples_arrive_field_by_field() {
    let samples = std::env::var("USERPIPE_SAMPLES").expect("USERPIPE_SAMPLES names recorded API answers");
    let expected = arrive("samples", &PathBuf::from(samples));
    assert_eq!((expected.users, expected.rows.len()), (420, 420));
}

fn arrive(what: &str, data: &Path) -> Expected {
    let pipeline = Pipeline::new(what).initialized();
    let expected = Expected::read(data);
    let (_api, url) = pipeline.mock_api(data);
    let began = Timestamp::now();
    let count = expected.users.to_string();
    let run = pipeline.run(&["run", "--once", "--count", &count, "--results", "100", "--api-url", &url]).expect_code(0);
    let ended = Timestamp::now();
    run.expect_said(&format!("written {}", expected.rows.len()));

    let table = readback::table(&pipeline.cassandra, &pipeline.table());
    assert_eq!(table.len(), expected.rows.len(), "rows");
    for (id, row) in &table {
        for (name, value) in &expected.rows[id] {
            assert_eq!(&row[name], value, "{name} of {id}");
        }
        let fetched: Timestamp = row["timestamp"].parse().unwrap();
        assert!((began..=ended).contains(&fetched), "{fetched} is not between {began} and {ended}");
        assert_eq!(row["written"], fetched.unix_us().to_string(), "the record's own time is the write time");
    }

    for record in readback::topic(&pipeline.kafka, &pipeline.topic, expected.rows.len()) {
        let mut row: Row = record.row();
        assert_eq!(row.keys().map(String::as_str).collect::<Vec<_>>(), sorted_columns(), "the 13 fields and no others");
        row.insert("written".to_owned(), table[&record.key]["written"].clone());
        assert_eq!(row, table[&record.key], "topic and table");
        assert_eq!(record.timestamp.to_string() + "000", row["written"], "Kafka's timestamp is the record's");
    }

    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_code(0);
    assert_eq!(readback::table(&pipeline.cassandra, &pipeline.table()), table, "a replay changes nothing");
    assert_eq!(pipeline.lag(), 0);
    expected
}

fn sorted_columns() -> Vec<&'static str> {
    let mut columns = COLUMNS.to_vec();
    columns.sort_unstable();
    columns
}
