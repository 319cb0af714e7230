//! Optional columns in a table, and ids that a table keeps as text.

use std::collections::HashMap;

use cdrs_tokio::types::ByName as _;
use futures::future::join_all;
use userpipe::config::CassandraConfig;
use userpipe::record::{Extras, Fields, User};
use userpipe::sink::cassandra::{CassandraSink, additions, init_schema};
use userpipe::sink::{Change, Sink as _};
use uuid::Uuid;

use super::reader::Reader;
use super::schema::with_table;
use super::{config, fresh_keyspace, ready, refused, shared_address, user, write_all};

/// The same table, and these columns of it too.
fn with(config: &CassandraConfig, optional: &[&'static str]) -> CassandraConfig {
    let mut config = config.clone();
    config.table.columns.extend(optional);
    config
}

fn with_extras(user: User, extras: Extras) -> Change {
    Change::Upsert(user.with_extras(Some(Box::new(extras))))
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn columns_are_added_and_a_record_that_lacks_a_value_leaves_its_cell() {
    let plain = config(&shared_address(), &fresh_keyspace("with"));
    let (keyspace, table) = (&plain.keyspace, format!("{}.created_users", plain.keyspace));
    let thirteen = ready(&plain).await;
    write_all(&thirteen, &[Change::Upsert(user(1))]).await;

    let more = with(&plain, &["age", "country", "latitude"]);
    let error = refused(CassandraSink::connect(more.clone()).await);
    assert!(error.to_string().ends_with("it has no column age; it has no column country; it has no column latitude"));
    let hint = error.hint_text().unwrap_or_default();
    assert!(hint.contains("userpipe init-schema --with age,country,latitude "), "{hint}");
    let lacking = additions(&more).await.expect("they can be added");
    assert_eq!(lacking.iter().map(|column| column.name).collect::<Vec<_>>(), ["age", "country", "latitude"]);
    let is_there = format!("keyspace {keyspace} is there (SimpleStrategy, factor 1)");
    let added = format!("added columns age, country, latitude to table {table}");
    assert_eq!(init_schema(&more).await.expect("they are added"), [is_there.clone(), added]);
    let matches = format!("table {table} is there and matches");
    assert_eq!(init_schema(&more).await.expect("they are there"), [is_there, matches]);
    assert!(additions(&more).await.expect("none is lacking").is_empty());

    let sink = CassandraSink::connect(more).await.expect("it fits");
    let at = |seconds: i64| {
        let user = user(2);
        let timestamp = userpipe::record::Timestamp::from_unix_ms(user.timestamp().unix_ms() + seconds * 1000);
        User::new(Fields { timestamp: timestamp.expect("in range"), ..user.fields() }, None)
    };
    let country = |name: &str| Some(name.to_owned());
    let first = Extras { age: Some(36), country: country("Norway"), latitude: Some(-69.8246), ..Extras::default() };
    write_all(&sink, &[with_extras(at(0), first)]).await;
    write_all(&sink, &[with_extras(at(1), Extras { age: Some(37), ..Extras::default() })]).await;
    write_all(&sink, &[Change::Upsert(at(2))]).await;
    write_all(&thirteen, &[Change::Upsert(at(3))]).await;
    let reader = Reader::connect(&shared_address()).await;
    let row = reader.row(&table, Uuid::from_u128(2)).await.expect("the row");
    assert_eq!((&row["age"], &row["country"], &row["latitude"]), (&37.into(), &"Norway".into(), &(-69.8246).into()));
    assert_eq!(sink.find(&[Uuid::from_u128(2)]).await.expect("readable").len(), 1);
    let old = reader.row(&table, Uuid::from_u128(1)).await.expect("the old row");
    assert!(["age", "country", "latitude"].iter().all(|name| old[*name].is_null()), "{old:?}");
    assert_eq!(old["email"], "user1@example.com");
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn many_at_once_make_the_table_and_add_its_columns() {
    let plain = config(&shared_address(), &fresh_keyspace("many"));
    let more = with(&plain, &["title", "age", "city", "country", "longitude", "cell"]);
    for config in [&plain, &more, &more] {
        for done in join_all((0..4).map(|_| init_schema(config))).await {
            done.expect("somebody else's work is as good");
        }
    }
    ready(&more).await;
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn a_column_of_another_type_is_refused_and_nothing_is_added() {
    let all = "id uuid PRIMARY KEY, first_name text, last_name text, gender text, email text, username text, phone text, \
               address text, post_code text, dob timestamp, registered_date timestamp, picture text, timestamp timestamp";
    let (plain, reader) = with_table("othertype", &format!("{all}, age text")).await;
    let more = with(&plain, &["age", "country"]);
    for error in [refused(init_schema(&more).await), refused(additions(&more).await)] {
        assert!(error.to_string().ends_with("does not fit: column age is text, not int"), "{error}");
    }
    let columns =
        "SELECT column_name FROM system_schema.columns WHERE keyspace_name = ? AND table_name = 'created_users'";
    let rows = reader.cql(&columns.replace('?', &format!("'{}'", plain.keyspace))).await;
    assert_eq!(rows.len(), 14);
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn an_id_of_text_is_written_found_and_deleted() {
    let (mut config, reader) = with_table("textkey", "id text PRIMARY KEY, email text, timestamp text").await;
    config.table.columns = vec!["id", "email", "timestamp"];
    init_schema(&config).await.expect("it matches");
    let sink = CassandraSink::connect(config.clone()).await.expect("it fits");
    let changes: Vec<_> = (1..=100).map(|number| Change::Upsert(user(number))).collect();
    write_all(&sink, &changes).await;
    let table = format!("{}.created_users", config.keyspace);
    let rows = reader.cql(&format!("SELECT id FROM {table}")).await;
    let mut ids: Vec<String> = rows.iter().map(|row| row.r_by_name("id").expect("a text")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=100).map(|number| Uuid::from_u128(number).to_string()).collect::<Vec<_>>());

    let [first, second, unknown] = [1, 2, 1000].map(Uuid::from_u128);
    let later = userpipe::record::Timestamp::from_unix_ms(user(1).timestamp().unix_ms() + 1).expect("in range");
    write_all(&sink, &[Change::Delete { id: first, at: later }]).await;
    let found = sink.find(&[first, second, unknown]).await.expect("it can be read");
    assert_eq!(found, HashMap::from([(second, Some(user(2).timestamp()))]));
}
