//! Tables made by others, and `init-schema` beside cqlsh.

use super::readback::cqlsh;
use super::{Pipeline, readback};

/// The project's schema.cql under the keyspace of a test.
fn schema_cql(pipeline: &Pipeline) -> String {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.cql")).unwrap();
    file.replace("spark_streams", &pipeline.keyspace)
}

/// The keyspace, and a table with these columns.
fn table_of(pipeline: &Pipeline, columns: &str) {
    let ours = schema_cql(pipeline);
    let (keyspace, _) = ours.split_once("CREATE TABLE").unwrap();
    cqlsh(&pipeline.cassandra, &format!("{keyspace} CREATE TABLE {} ({columns});", pipeline.table()));
}

/// What `init-schema` said means that it made neither keyspace nor table.
fn assert_kept(said: &str) {
    assert!(!said.contains("created keyspace") && !said.contains("created table"), "nothing was missing: {said}");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_made_by_cqlsh_from_schema_cql_is_accepted() {
    let pipeline = Pipeline::new("cqlsh");
    cqlsh(&pipeline.cassandra, &schema_cql(&pipeline));
    pipeline.run(&["run", "--once", "--count", "20", "--source", "synthetic"]).expect_code(0);
    assert_eq!(pipeline.ids().len(), 20);
    let again = pipeline.run(&["init-schema"]).expect_code(0);
    assert_kept(&again.stdout);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_that_lacks_columns_needs_columns() {
    let pipeline = Pipeline::new("columns");
    table_of(&pipeline, "id uuid PRIMARY KEY, email text, dob text, more int");
    let run = ["run", "--once", "--count", "20", "--source", "synthetic"];
    let refused = pipeline.run(&run).expect_failure(78, "does not fit", "--columns id,email,dob");
    for missing in ["first_name", "last_name", "post_code", "timestamp"] {
        assert!(refused.stderr.contains(missing), "{missing} is missing: {}", refused.stderr);
    }
    pipeline.run(&["init-schema"]).expect_failure(78, "does not fit", "--columns id,email,dob");

    let pipeline = pipeline.with_flag("--columns", "id,email,dob");
    pipeline.run(&["init-schema"]).expect_code(0);
    pipeline.run(&run).expect_code(0);
    let printed = cqlsh(&pipeline.cassandra, &format!("SELECT JSON id, email, dob, more FROM {};", pipeline.table()));
    let rows: Vec<&str> = printed.lines().filter(|line| line.contains("\"email\": \"")).collect();
    assert_eq!(rows.len(), 20, "{printed}");
    let whole = |row: &&str| row.contains(".000Z\"") || row.contains("Z\", \"more\": null");
    assert!(rows.iter().all(whole), "dates as text are RFC 3339, and what is not ours stays null: {printed}");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_with_a_column_of_another_type_is_refused_with_the_difference() {
    let pipeline = Pipeline::new("types");
    let ours = schema_cql(&pipeline);
    cqlsh(&pipeline.cassandra, &ours.replace("post_code text", "post_code int").replace("dob timestamp", "dob date"));
    for command in [&["init-schema"][..], &["consume", "-e"], &["run", "--once", "--source", "synthetic"]] {
        // A topic, so that consume has none to miss.
        pipeline.run(&["produce", "--once", "--count", "1", "--source", "synthetic"]).expect_code(0);
        let refused = pipeline.run(command).expect_failure(78, &format!("table {}", pipeline.table()), "");
        for difference in ["post_code is int", "dob is date"] {
            assert!(refused.stderr.contains(difference), "`{difference}` is not said: {}", refused.stderr);
        }
    }
    assert_eq!(pipeline.ids().len(), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_with_another_primary_key_is_refused() {
    let pipeline = Pipeline::new("key");
    let ours = schema_cql(&pipeline).replace("id uuid PRIMARY KEY", "id uuid");
    cqlsh(
        &pipeline.cassandra,
        &ours.replace("    timestamp timestamp\n", "    timestamp timestamp, PRIMARY KEY (email)\n"),
    );
    let refused = pipeline.run(&["init-schema"]).expect_failure(78, "does not fit", "");
    assert!(refused.stderr.contains("primary key"), "{}", refused.stderr);
}

#[test]
#[ignore = "needs live services: make test"]
fn init_schema_says_what_it_made_and_makes_it_once() {
    let pipeline = Pipeline::new("init");
    let first = pipeline.run(&["init-schema"]).expect_code(0);
    let made = [
        format!("created topic kafka {}/{}\n", pipeline.kafka, pipeline.topic),
        format!("created topic kafka {}/{}.dead-letters\n", pipeline.kafka, pipeline.topic),
        format!("created keyspace {}", pipeline.keyspace),
        format!("created table {}", pipeline.table()),
    ];
    for line in made {
        assert!(first.stdout.contains(&line), "`{line}` is not said: {}", first.stdout);
    }
    let described = || cqlsh(&pipeline.cassandra, &format!("DESCRIBE KEYSPACE {};", pipeline.keyspace));
    let before = described();
    let second = pipeline.run(&["init-schema"]).expect_code(0);
    assert_kept(&second.stdout);
    assert!(!second.stdout.contains("created topic"), "{}", second.stdout);
    assert_eq!(described(), before);
}

#[test]
#[ignore = "needs live services: make test"]
fn what_dry_run_prints_is_accepted_by_cqlsh_and_then_by_us() {
    let pipeline = Pipeline::new("dry").with_flag("--table", "people");
    let printed = pipeline.run(&["init-schema", "--dry-run"]).expect_code(0).stdout;
    let keyspaces = cqlsh(&pipeline.cassandra, "DESCRIBE KEYSPACES;");
    assert!(!keyspaces.contains(&pipeline.keyspace), "a dry run changes nothing: {keyspaces}");
    assert!(!pipeline.database().exists());

    cqlsh(&pipeline.cassandra, &printed);
    let again = pipeline.run(&["init-schema"]).expect_code(0).stdout;
    assert_kept(&again);
    pipeline.run(&["run", "--once", "--count", "5", "--source", "synthetic"]).expect_code(0);
    assert_eq!(readback::table_ids(&pipeline.cassandra, &format!("{}.people", pipeline.keyspace)).len(), 5);
}
