//! What is written is what is read.

use cdrs_tokio::cluster::Murmur3Token;
use cdrs_tokio::types::ByName as _;
use serde_json::json;
use userpipe::record::{Fields, User};
use userpipe::sink::cassandra::CassandraSink;
use userpipe::sink::{Change, Outcome, Sink as _};
use uuid::Uuid;

use super::reader::Reader;
use super::{at, config, fresh_keyspace, ready, shared_address, user, users, write_all};

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn rows_arrive_field_by_field() {
    let config = config(&shared_address(), &fresh_keyspace("fields"));
    let table = format!("{}.created_users", config.keyspace);
    let sink = ready(&config).await;
    write_all(&sink, &users(1..501)).await;

    let found = sink.find(&(400..600).map(Uuid::from_u128).collect::<Vec<_>>()).await.expect("it can be read");
    assert_eq!(found, (400..501).map(|n| (Uuid::from_u128(n), Some(user(n).timestamp()))).collect());

    let reader = Reader::connect(&shared_address()).await;
    assert_eq!(reader.ids(&table).await, (1..501).map(Uuid::from_u128).collect::<Vec<_>>());
    let row = reader.row(&table, Uuid::from_u128(42)).await.expect("the row");
    let expected = json!({
        "id": Uuid::from_u128(42),
        "first_name": "پارسا",
        "last_name": "O'Neil \"Søren\"",
        "gender": "male",
        "email": "user42@example.com",
        "username": "user42",
        "phone": "07-1234",
        "address": "8542 Rua Sete, Oslo, Østfold, Norway",
        "post_code": "0378",
        "dob": "1948-04-30 01:13:18.467Z",
        "registered_date": "2010-01-01 00:00:00.001Z",
        "picture": "https://randomuser.me/api/portraits/med/men/75.jpg",
        "timestamp": "2026-11-21 14:00:00.123Z",
    });
    assert_eq!(serde_json::to_value(row).expect("JSON"), expected);

    let asked = format!("SELECT writetime(email) AS at FROM {table} WHERE id = {}", Uuid::from_u128(42));
    let written_at: i64 = reader.cql(&asked).await[0].r_by_name("at").expect("a write time");
    assert_eq!(written_at, user(42).timestamp().unix_us());
    sink.close().await.expect("it closes");
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn an_older_record_does_not_overwrite_a_newer_one_whatever_the_order() {
    let config = config(&shared_address(), &fresh_keyspace("order"));
    let table = format!("{}.created_users", config.keyspace);
    let sink = ready(&config).await;
    let older = user(1);
    let newer = Fields { timestamp: at("2026-11-21T14:00:00.124Z"), email: "new@example.com", ..older.fields() };
    let newer = User::new(newer, None);

    // Both ways round, and once more: a second delivery.
    for order in [[&newer, &older], [&older, &newer], [&newer, &older]] {
        for user in order {
            write_all(&sink, &[Change::Upsert(user.clone())]).await;
        }
    }
    write_all(&sink, &[Change::Upsert(newer), Change::Upsert(older)]).await;
    let row = Reader::connect(&shared_address()).await.row(&table, Uuid::from_u128(1)).await.expect("the row");
    assert_eq!(row["email"], "new@example.com");
    assert_eq!(row["timestamp"], "2026-11-21 14:00:00.124Z");
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn a_delete_has_a_write_time_too() {
    let config = config(&shared_address(), &fresh_keyspace("delete"));
    let table = format!("{}.created_users", config.keyspace);
    let sink = ready(&config).await;
    let id = Uuid::from_u128(1);
    let reader = Reader::connect(&shared_address()).await;

    let before = at("2026-11-21T13:59:59Z");
    write_all(&sink, &[Change::Upsert(user(1)), Change::Delete { id, at: before }]).await;
    assert!(reader.row(&table, id).await.is_some(), "an older delete leaves the row");

    let after = at("2026-11-21T14:00:01Z");
    write_all(&sink, &[Change::Delete { id, at: after }, Change::Delete { id: Uuid::from_u128(99), at: after }]).await;
    assert!(reader.row(&table, id).await.is_none(), "a newer delete removes it");
    write_all(&sink, &[Change::Upsert(user(1))]).await;
    assert!(reader.row(&table, id).await.is_none(), "a late second delivery does not bring it back");
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn an_oversized_record_is_poison_and_its_neighbours_are_written() {
    let config = config(&shared_address(), &fresh_keyspace("large"));
    let table = format!("{}.created_users", config.keyspace);
    let sink = ready(&config).await;
    // The limit for one message is 16 MiB unless configured otherwise.
    for bytes in [17 << 20, 20 << 20, 40 << 20] {
        let large = User::new(Fields { address: &incompressible(bytes), ..user(1000).fields() }, None);
        let mut changes = users(1..21);
        changes.insert(10, Change::Upsert(large));
        let outcomes = sink.write(&changes).await;
        for (n, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Outcome::Poison(reason) if n == 10 => assert!(reason.contains("exceeds allowed maximum"), "{reason}"),
                Outcome::Written if n != 10 => {}
                other => panic!("{bytes} bytes, record {n}: {other:?}"),
            }
        }
    }
    let ids = Reader::connect(&shared_address()).await.ids(&table).await;
    assert_eq!(ids, (1..21).map(Uuid::from_u128).collect::<Vec<_>>());
}

/// ASCII letters that LZ4 cannot shorten, the same each time.
fn incompressible(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'A' + u8::try_from((state >> 33) % 58).expect("a letter"))
    };
    (0..bytes).map(|_| letter()).collect()
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn the_token_that_routes_a_write_is_cassandras_own() {
    let config = config(&shared_address(), &fresh_keyspace("token"));
    let table = format!("{}.created_users", config.keyspace);
    write_all(&ready(&config).await, &users(1..101)).await;
    let rows = Reader::connect(&shared_address()).await.cql(&format!("SELECT id, token(id) AS t FROM {table}")).await;
    assert_eq!(rows.len(), 100);
    for row in rows {
        let (id, token): (Uuid, i64) = (row.r_by_name("id").expect("an id"), row.r_by_name("t").expect("a token"));
        assert_eq!(Murmur3Token::generate(id.as_bytes()), Murmur3Token::new(token), "{id}");
    }
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn dates_of_the_first_and_the_last_year_are_kept() {
    let config = config(&shared_address(), &fresh_keyspace("years"));
    let table = format!("{}.created_users", config.keyspace);
    let sink = ready(&config).await;
    let plain = user(1);
    let odd = Fields {
        dob: at("0000-01-01T00:00:00Z"),
        registered_date: at("9999-12-31T23:59:59.999Z"),
        timestamp: at("1969-12-31T23:59:59.999Z"),
        phone: "",
        ..plain.fields()
    };
    let odd = User::new(odd, None);
    write_all(&sink, &[Change::Upsert(odd.clone())]).await;
    let reader = Reader::connect(&shared_address()).await;
    let rows = reader.cql(&format!("SELECT dob, registered_date, phone FROM {table}")).await;
    let ms = |name: &str| -> i64 { rows[0].r_by_name(name).expect("a date") };
    assert_eq!((ms("dob"), ms("registered_date")), (odd.dob().unix_ms(), odd.registered_date().unix_ms()));
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn batches_written_at_once_share_the_limit_and_all_arrive() {
    let mut config = config(&shared_address(), &fresh_keyspace("many"));
    config.statements_in_flight_max = 16;
    let table = format!("{}.created_users", config.keyspace);
    let sink: CassandraSink = ready(&config).await;
    let batches: Vec<_> = (0..4).map(|b| users(b * 1000..b * 1000 + 1000)).collect();
    assert_eq!(sink.batches_in_flight_max(), batches.len());
    futures::future::join_all(batches.iter().map(|batch| write_all(&sink, batch))).await;
    assert_eq!(Reader::connect(&shared_address()).await.ids(&table).await.len(), 4000);
}
