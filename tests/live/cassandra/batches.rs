//! Many rows in one request, and still an outcome for each.

use userpipe::config::CassandraConfig;
use userpipe::record::{Fields, Timestamp, User};
use userpipe::sink::cassandra::init_statements;
use userpipe::sink::{Change, Outcome, Sink as _};
use uuid::Uuid;

use super::reader::Reader;
use super::{at, config, fresh_keyspace, ready, shared_address, user, users, write_all};
use crate::services::PrivateInstance;

/// So many rows in flight that batches are as large as they become.
const LARGE: usize = 1_600;

fn with_large_batches(address: &str, keyspace: &str) -> (CassandraConfig, String) {
    let config = CassandraConfig { statements_in_flight_max: LARGE, ..config(address, &fresh_keyspace(keyspace)) };
    let table = format!("{}.created_users", config.keyspace);
    (config, table)
}

fn user_at(number: u128, ms: i64, email: &str) -> Change {
    let timestamp = Timestamp::from_unix_ms(user(number).timestamp().unix_ms() + ms).expect("in range");
    Change::Upsert(User::new(Fields { timestamp, email, ..user(number).fields() }, None))
}

fn delete_at(number: u128, ms: i64) -> Change {
    let at = Timestamp::from_unix_ms(user(number).timestamp().unix_ms() + ms).expect("in range");
    Change::Delete { id: Uuid::from_u128(number), at }
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn a_row_that_is_refused_is_poison_alone_and_the_others_of_its_batch_are_written() {
    let (config, table) = with_large_batches(&shared_address(), "poison");
    let sink = ready(&config).await;
    let reader = Reader::connect(&shared_address()).await;
    // Behind the back of the sink, which goes on to bind dates as eight bytes: some of those are text, and some are not.
    reader.cql(&format!("DROP TABLE {table}")).await;
    reader.cql(&init_statements(&config)[1].replace("dob timestamp", "dob text")).await;
    let poison = [7, 8, 120, 199];
    let changes = (0..200).map(|number| match number {
        60 => delete_at(number, 1),
        number if poison.contains(&number) => Change::Upsert(user(number)),
        number => {
            Change::Upsert(User::new(Fields { dob: at("1970-01-01T00:00:00.001Z"), ..user(number).fields() }, None))
        }
    });
    for (number, outcome) in (0..).zip(sink.write(&changes.collect::<Vec<_>>()).await) {
        match outcome {
            Outcome::Poison(reason) if poison.contains(&number) => assert!(reason.contains("String"), "{reason}"),
            Outcome::Written if !poison.contains(&number) => {}
            other => panic!("row {number}: {other:?}"),
        }
    }
    let written = (0..200).filter(|number| !poison.contains(number) && *number != 60);
    assert_eq!(reader.ids(&table).await, written.map(Uuid::from_u128).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn changes_of_one_id_in_one_batch_end_with_the_newest_whatever_their_order() {
    let (config, table) = with_large_batches(&shared_address(), "oneid");
    let sink = ready(&config).await;
    let reader = Reader::connect(&shared_address()).await;
    let together = [
        (user_at(1, 1, "new"), user_at(1, 0, "old"), Some("new")),
        (user_at(2, 0, "old"), user_at(2, 1, "new"), Some("new")),
        // Cassandra keeps the greater of two values of one time.
        (user_at(3, 0, "a"), user_at(3, 0, "b"), Some("b")),
        (user_at(4, 0, "b"), user_at(4, 0, "a"), Some("b")),
        (delete_at(5, 0), user_at(5, 1, "new"), Some("new")),
        (user_at(6, 1, "new"), delete_at(6, 0), Some("new")),
        (delete_at(7, 1), user_at(7, 0, "old"), None),
        (user_at(8, 0, "old"), delete_at(8, 1), None),
        // At one time a delete wins.
        (user_at(9, 0, "same"), delete_at(9, 0), None),
        (delete_at(10, 0), user_at(10, 0, "same"), None),
    ];
    let changes: Vec<_> = together.iter().flat_map(|(first, second, _)| [first.clone(), second.clone()]).collect();
    write_all(&sink, &changes).await;
    for (id, (.., expected)) in (1..).zip(&together) {
        let row = reader.row(&table, Uuid::from_u128(id)).await;
        assert_eq!(row.as_ref().map(|row| row["email"].as_str().expect("text")), *expected, "id {id}");
    }
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn statements_that_a_node_has_forgotten_are_prepared_again() {
    let (config, table) = with_large_batches(&shared_address(), "forgotten");
    let sink = ready(&config).await;
    let reader = Reader::connect(&shared_address()).await;
    write_all(&sink, &users(1..101)).await;
    reader.cql(&format!("ALTER TABLE {table} ADD more int")).await;
    let mut changes = users(101..201);
    changes.extend([delete_at(1, 1), delete_at(2, 1)]);
    write_all(&sink, &changes).await;
    assert_eq!(reader.ids(&table).await, (3..201).map(Uuid::from_u128).collect::<Vec<_>>());
    reader.cql(&format!("ALTER TABLE {table} ADD still_more int")).await;
    write_all(&sink, &[delete_at(3, 1)]).await;
    assert_eq!(reader.ids(&table).await.len(), 197);

    reader.cql(&format!("DROP TABLE {table}")).await;
    for outcome in sink.write(&users(1..101)).await {
        assert!(matches!(outcome, Outcome::Blocked(_)), "{outcome:?}");
    }
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn rows_of_any_size_share_batches_up_to_a_bound() {
    let (config, table) = with_large_batches(&shared_address(), "sizes");
    let sink = ready(&config).await;
    let sizes = [10, 1_000, 12_000, 39_000, 60_000].into_iter().cycle();
    let upsert = |(number, bytes)| {
        Change::Upsert(User::new(Fields { address: &"x".repeat(bytes), ..user(number).fields() }, None))
    };
    write_all(&sink, &(1..301).zip(sizes).map(upsert).collect::<Vec<_>>()).await;
    assert_eq!(Reader::connect(&shared_address()).await.ids(&table).await.len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Cassandra: make test"]
async fn where_cassandra_takes_only_small_batches_every_row_is_written() {
    let instance = PrivateInstance::start_refusing_batches();
    let (config, table) = with_large_batches(&instance.cassandra(), "small");
    let sink = ready(&config).await;
    for hundred in 0..5 {
        write_all(&sink, &users(hundred * 100..(hundred + 1) * 100)).await;
    }
    assert_eq!(Reader::connect(&instance.cassandra()).await.ids(&table).await.len(), 500);
    let log = std::fs::read_to_string(instance.log("cassandra")).expect("its log");
    let refused = log.lines().filter(|line| line.contains("see batch_size_fail_threshold")).count();
    // The two of the first write, their halves and quarters; later batches are small from the start.
    assert!((1..=20).contains(&refused), "{refused} batches were refused");
}
