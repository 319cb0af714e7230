//! Tables that are there already, and the one we make.

use std::collections::HashMap;

use userpipe::config::CassandraConfig;
use userpipe::error::Kind;
use userpipe::sink::cassandra::{CassandraSink, init_schema, init_statements};
use userpipe::sink::schema::schema_cql;
use userpipe::sink::{Change, Outcome, Sink as _};
use uuid::Uuid;

use super::reader::Reader;
use super::{config, fresh_keyspace, ready, refused, shared_address, user, write_all};

/// A keyspace with a table of these columns.
pub(super) async fn with_table(name: &str, columns: &str) -> (CassandraConfig, Reader) {
    let config = config(&shared_address(), &fresh_keyspace(name));
    let reader = Reader::connect(&shared_address()).await;
    reader.cql(&init_statements(&config)[0]).await;
    reader.cql(&format!("CREATE TABLE {}.created_users ({columns})", config.keyspace)).await;
    (config, reader)
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn the_statements_of_schema_cql_make_a_table_that_fits() {
    let mut config = config(&shared_address(), &fresh_keyspace("file"));
    config.consistency = userpipe::config::Consistency::One;
    let reader = Reader::connect(&shared_address()).await;
    let text = schema_cql().replace("spark_streams", &config.keyspace);
    let without_comments: Vec<_> = text.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in without_comments.join("\n").split(';').filter(|s| !s.trim().is_empty()) {
        reader.cql(statement).await;
    }
    let sink = CassandraSink::connect(config).await.expect("the table fits");
    write_all(&sink, &[Change::Upsert(user(1))]).await;
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn init_schema_says_what_it_did_and_does_it_once() {
    let config = config(&shared_address(), &fresh_keyspace("init"));
    let (keyspace, table) = (&config.keyspace, format!("{}.created_users", config.keyspace));
    assert_eq!(
        init_schema(&config).await.expect("it is made"),
        [format!("created keyspace {keyspace} (SimpleStrategy, factor 1)"), format!("created table {table}")]
    );
    assert_eq!(
        init_schema(&config).await.expect("it is there"),
        [
            format!("keyspace {keyspace} is there (SimpleStrategy, factor 1)"),
            format!("table {table} is there and matches")
        ]
    );
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn dates_as_text_are_accepted() {
    let columns = "id uuid PRIMARY KEY, first_name text, last_name text, gender text, address text, post_code text, \
                   email text, username text, dob text, registered_date text, phone text, picture text, \
                   timestamp text, more int";
    let (config, reader) = with_table("dates", columns).await;
    init_schema(&config).await.expect("it matches");
    let sink = CassandraSink::connect(config.clone()).await.expect("it fits");
    write_all(&sink, &[Change::Upsert(user(1))]).await;
    let table = format!("{}.created_users", config.keyspace);
    let row = reader.row(&table, Uuid::from_u128(1)).await.expect("the row");
    assert_eq!(row["dob"], "1948-04-30T01:13:18.467Z");
    assert_eq!(row["timestamp"], "2026-11-21T14:00:00.123Z");
    assert!(row["more"].is_null());
    let found = sink.find(&[1, 2].map(Uuid::from_u128)).await.expect("it can be read");
    assert_eq!(found, HashMap::from([(Uuid::from_u128(1), Some(user(1).timestamp()))]));
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn missing_columns_need_the_columns_option() {
    let (mut config, reader) = with_table("fewer", "id uuid PRIMARY KEY, email text, dob timestamp").await;
    let error = refused(CassandraSink::connect(config.clone()).await);
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("it has no column first_name; "), "{error}");
    assert!(error.hint_text().unwrap_or_default().contains("--columns id,email,dob;"), "{:?}", error.hint_text());
    assert_eq!(refused(init_schema(&config).await).to_string(), error.to_string());

    config.table.columns = vec!["id", "email", "dob"];
    let sink = CassandraSink::connect(config.clone()).await.expect("it fits now");
    write_all(&sink, &[Change::Upsert(user(1))]).await;
    let table = format!("{}.created_users", config.keyspace);
    assert_eq!(reader.row(&table, Uuid::from_u128(1)).await.expect("the row")["email"], "user1@example.com");
    let found = sink.find(&[1, 2].map(Uuid::from_u128)).await.expect("it can be read");
    assert_eq!(found, HashMap::from([(Uuid::from_u128(1), None)]), "no time is kept");
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn an_id_that_can_hold_no_uuid_or_is_not_the_key_is_refused() {
    let all = "first_name text, last_name text, gender text, email text, username text, phone text, address text, \
               post_code text, dob timestamp, registered_date timestamp, picture text, timestamp timestamp";
    let (config, _) = with_table("intid", &format!("id int PRIMARY KEY, {all}")).await;
    let error = refused(CassandraSink::connect(config.clone()).await);
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().ends_with("does not fit: column id is int, not uuid or text"), "{error}");
    assert_eq!(refused(init_schema(&config).await).kind(), Kind::Config);

    let (config, _) = with_table("twokeys", &format!("id uuid, {all}, PRIMARY KEY (id, email)")).await;
    let error = refused(CassandraSink::connect(config).await);
    assert!(error.to_string().ends_with("its primary key is (email, id), not (id)"), "{error}");
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn a_missing_keyspace_or_table_is_named_with_the_next_command() {
    let mut config = config(&shared_address(), &fresh_keyspace("absent"));
    let error = refused(CassandraSink::connect(config.clone()).await);
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().starts_with(&format!("there is no keyspace {}", config.keyspace)), "{error}");

    init_schema(&config).await.expect("it is made");
    config.table.table = "others".to_owned();
    let error = refused(CassandraSink::connect(config.clone()).await);
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().starts_with(&format!("there is no table {}.others", config.keyspace)), "{error}");
    let hint = error.hint_text().unwrap_or_default();
    assert!(hint.contains("userpipe init-schema") && hint.contains("--table others"), "{hint}");
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn a_table_that_is_dropped_blocks_and_one_made_again_goes_on() {
    let config = config(&shared_address(), &fresh_keyspace("dropped"));
    let sink = ready(&config).await;
    write_all(&sink, &[Change::Upsert(user(1))]).await;
    let reader = Reader::connect(&shared_address()).await;
    reader.cql(&format!("DROP TABLE {}.created_users", config.keyspace)).await;
    match &sink.write(&[Change::Upsert(user(2))]).await[..] {
        [Outcome::Blocked(error)] => {
            assert_eq!(error.kind(), Kind::Config, "{error}");
            assert!(error.to_string().contains("created_users"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    init_schema(&config).await.expect("it is made again");
    write_all(&sink, &[Change::Upsert(user(2))]).await;
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn a_data_centre_that_is_not_there_is_refused_with_those_that_are() {
    let mut config = config(&shared_address(), &fresh_keyspace("dc"));
    init_schema(&config).await.expect("it is made");
    config.local_dc = Some("nowhere".to_owned());
    let error = refused(CassandraSink::connect(config.clone()).await);
    assert_eq!(error.kind(), Kind::Config);
    let dc = error.hint_text().and_then(|hint| hint.rsplit(": ").next()).expect("the known ones").to_owned();
    config.local_dc = Some(dc);
    let sink = CassandraSink::connect(config).await.expect("it is there");
    write_all(&sink, &[Change::Upsert(user(1))]).await;
}
