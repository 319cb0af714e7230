//! The Cassandra sink on a real Cassandra.
//!
//! `USERPIPE_TEST_CASSANDRA` is the `host:port` of an instance that stays up. The outage and login tests start one of their
//! own, since they stop it. Each test has a keyspace of its own.

#![allow(clippy::panic, clippy::print_stdout, reason = "tests fail by panic, and say how long a recovery took")]

mod batches;
mod columns;
mod outage;
pub(crate) mod reader;
mod rows;
mod schema;

use std::time::Duration;

use userpipe::config::{CassandraConfig, Consistency, Replication, TableConfig};
use userpipe::record::{COLUMNS, Fields, Timestamp, User};
use userpipe::sink::cassandra::{CassandraSink, init_schema};
use userpipe::sink::{Change, Outcome, Sink as _};
use uuid::Uuid;

/// The instance that all tests share.
fn shared_address() -> String {
    std::env::var("USERPIPE_TEST_CASSANDRA").expect("USERPIPE_TEST_CASSANDRA is host:port of a live Cassandra")
}

fn config(address: &str, keyspace: &str) -> CassandraConfig {
    CassandraConfig {
        contact_points: vec![address.to_owned()],
        login: None,
        tls: None,
        plaintext_login_is_allowed: false,
        keyspace: keyspace.to_owned(),
        table: TableConfig { table: "created_users".to_owned(), columns: COLUMNS.iter().map(|c| c.name).collect() },
        local_dc: None,
        consistency: Consistency::LocalQuorum,
        replication: Replication::Simple(1),
        request_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(20),
        statements_in_flight_max: 64,
        rewrite_at: None,
    }
}

/// A keyspace that no run before has used: tests leave theirs behind.
fn fresh_keyspace(name: &str) -> String {
    format!("live_{name}_{}", &Uuid::now_v7().simple().to_string()[20..])
}

/// Keyspace and table made, and a sink on them.
async fn ready(config: &CassandraConfig) -> CassandraSink {
    init_schema(config).await.expect("the schema can be made");
    CassandraSink::connect(config.clone()).await.expect("the sink connects")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a date")
}

fn user(number: u128) -> User {
    User::new(
        Fields {
            id: Uuid::from_u128(number),
            first_name: "پارسا",
            last_name: "O'Neil \"Søren\"",
            gender: "male",
            email: &format!("user{number}@example.com"),
            username: &format!("user{number}"),
            phone: "07-1234",
            address: "8542 Rua Sete, Oslo, Østfold, Norway",
            post_code: "0378",
            dob: at("1948-04-30T01:13:18.467Z"),
            registered_date: at("2010-01-01T00:00:00.001Z"),
            picture: "https://randomuser.me/api/portraits/med/men/75.jpg",
            timestamp: at("2026-11-21T14:00:00.123Z"),
        },
        None,
    )
}

fn users(numbers: std::ops::Range<u128>) -> Vec<Change> {
    numbers.map(|n| Change::Upsert(user(n))).collect()
}

async fn write_all(sink: &CassandraSink, changes: &[Change]) {
    for (change, outcome) in changes.iter().zip(sink.write(changes).await) {
        assert!(matches!(outcome, Outcome::Written), "{outcome:?} for {change:?}");
    }
}

/// The error of a call that must fail (sinks have no `Debug`).
fn refused<T>(result: userpipe::error::Result<T>) -> userpipe::error::Error {
    result.err().expect("it must be refused")
}
