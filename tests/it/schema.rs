//! `init-schema` on the embedded default, and tables that somebody else has made.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::database::FIELDS;
use crate::sandbox::Sandbox;

/// Makes a table before the program first sees the file.
pub(crate) fn with_table(sql: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("userpipe-data")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options =
            SqliteConnectOptions::new().filename(sandbox.path("userpipe-data/userpipe.db")).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    sandbox
}

#[test]
fn it_says_what_it_did_and_a_second_time_does_nothing() {
    let sandbox = Sandbox::new();
    let first = sandbox.userpipe("init-schema").ok();
    assert_eq!(
        first.stdout,
        "created topic embedded ./userpipe-data/userpipe.db/users_created\n\
         created topic embedded ./userpipe-data/userpipe.db/users_created.dead-letters\n\
         the ledger's tables are ready in the data file\n\
         table ./userpipe-data/userpipe.db/created_users is ready\n"
    );
    let tables = "SELECT group_concat(sql) FROM sqlite_master";
    let before = sandbox.database().texts(tables);
    let second = sandbox.userpipe("init-schema").ok();
    assert!(
        second.stdout.starts_with("topic embedded ./userpipe-data/userpipe.db/users_created is there\n"),
        "{}",
        second.stdout
    );
    assert_eq!(sandbox.database().texts(tables), before);
    let columns = "SELECT name FROM pragma_table_info('created_users') ORDER BY cid";
    assert_eq!(sandbox.database().texts(columns), FIELDS);
}

#[test]
fn a_dry_run_prints_the_statements_and_touches_nothing() {
    let sandbox = Sandbox::new();
    let embedded = sandbox.userpipe("init-schema --dry-run").ok();
    assert!(embedded.stdout.contains("CREATE TABLE IF NOT EXISTS \"created_users\" ("), "{}", embedded.stdout);
    let real = "init-schema --dry-run --brokers k:9092 --cassandra c:9042 --keyspace mine --table people \
                --replication dc1:3,dc2:2 --postgres postgres://me@p/db --partitions 6";
    let real = sandbox.userpipe(real).ok();
    for text in [
        "-- kafka k:9092: topic users_created with 6 partitions",
        "CREATE KEYSPACE IF NOT EXISTS \"mine\"",
        "'NetworkTopologyStrategy'",
        "'dc1': 3",
        "'dc2': 2",
        "CREATE TABLE IF NOT EXISTS \"mine\".\"people\" (",
        "id uuid PRIMARY KEY",
        "dob timestamp",
        "schema userpipe",
    ] {
        assert!(real.stdout.contains(text), "{text} in {}", real.stdout);
    }
    assert!(!sandbox.path("userpipe-data").exists());
}

#[test]
fn it_waits_for_a_service_and_no_longer_than_it_was_told() {
    let sandbox = Sandbox::new();
    let started = Instant::now();
    let command = "init-schema --wait 1s --cassandra 127.0.0.1:1 --connect-timeout 1s";
    let output = sandbox.userpipe(command).fails(69);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(output.stderr.contains("waiting: cannot reach Cassandra at 127.0.0.1:1: "), "{}", output.stderr);
}

#[test]
fn the_dry_run_of_the_defaults_is_schema_cql() {
    let printed = Sandbox::new().userpipe("init-schema --dry-run --cassandra localhost").ok().stdout;
    let plain = |text: &str| {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    };
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.cql")).unwrap();
    assert_eq!(plain(&printed), plain(&file));
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_the_difference() {
    for (table, difference) in [
        ("CREATE TABLE created_users (name TEXT)", "id"),
        ("CREATE TABLE created_users (id TEXT, email TEXT)", "primary key"),
        ("CREATE TABLE created_users (id TEXT PRIMARY KEY, email TEXT)", "first_name"),
    ] {
        let sandbox = with_table(table);
        for command in ["init-schema", "consume -e", "run --once --source synthetic"] {
            let output = sandbox.userpipe(command).fails(78);
            assert!(output.error().contains("created_users"), "{}", output.error());
            assert!(output.error().contains(difference), "{difference} in {}", output.error());
        }
    }
}

#[test]
fn a_table_with_fewer_columns_takes_those_that_are_named() {
    let sandbox = with_table("CREATE TABLE created_users (id TEXT PRIMARY KEY, email TEXT, note TEXT)");
    sandbox.userpipe("run --once --source synthetic --count 5 --columns id,email").ok();
    let database = sandbox.database();
    let filled = "SELECT count(*) FROM created_users WHERE email LIKE '%@example.com' AND note IS NULL";
    assert_eq!(database.number(filled), 5, "columns that are not ours stay null");
}

/// Names are quoted wherever they are, so that a keyword is one too.
#[test]
fn a_table_may_be_named_by_a_keyword() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("init-schema --table order").ok();
    sandbox.userpipe("run --once --source synthetic --seed abc --count 20 --table order").ok();
    assert_eq!(sandbox.database().texts("SELECT count(*) || '' FROM \"order\""), ["20"]);
    sandbox.userpipe("verify --table order").ok();
    let id = sandbox.database().texts("SELECT min(id) FROM \"order\"").remove(0);
    sandbox.userpipe(&format!("purge --id {id} --table order")).ok();
    assert_eq!(sandbox.database().texts("SELECT count(*) || '' FROM \"order\""), ["19"]);
}
