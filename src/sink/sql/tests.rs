//! The contract of an SQL table, for SQLite here and for PostgreSQL among the live tests.

use std::path::Path;

use sqlx::AssertSqlSafe;

use super::*;
use crate::config::TableConfig;
use crate::error::{Kind, Result};
use crate::record::{COLUMNS, Extras, Fields, Timestamp, User};
use crate::sink::Sink;
use crate::sql::Sqlite;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms).expect("in range")
}

fn user(n: u128, name: &str, ms: i64) -> User {
    User::new(
        Fields {
            id: Uuid::from_u128(n),
            first_name: name,
            last_name: "x",
            gender: "x",
            email: "x",
            username: "x",
            phone: "x",
            address: "x",
            post_code: "0378",
            dob: at(0),
            registered_date: at(0),
            picture: "x",
            timestamp: at(ms),
        },
        None,
    )
}

fn upsert(n: u128, name: &str, ms: i64) -> Change {
    Change::Upsert(user(n, name, ms))
}

fn all_written(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|o| matches!(o, Outcome::Written))
}

fn table(columns: &[&str]) -> TableConfig {
    TableConfig {
        table: "created_users".to_owned(),
        columns: COLUMNS.iter().map(|c| c.name).filter(|c| columns.is_empty() || columns.contains(c)).collect(),
    }
}

async fn open(directory: &Path) -> Result<Sqlite> {
    Sqlite::open(&directory.join("userpipe.db")).await
}

async fn rows(database: &Sqlite) -> Vec<(String, String)> {
    sqlx::query_as("SELECT id, first_name FROM created_users ORDER BY id")
        .fetch_all(&database.reader)
        .await
        .expect("readable")
}

#[tokio::test]
async fn the_newest_timestamp_wins_in_whatever_order() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = open(directory.path()).await?;
    let sink = SqliteSink::open(database.clone(), table(&[])).await?;
    let batch: Vec<Change> = (0..700).map(|n| upsert(n, "first", 10)).collect();
    assert!(all_written(&sink.write(&batch).await));
    // newer, older, and twice in one batch
    let batch =
        [upsert(0, "newer", 20), upsert(1, "older", 5), upsert(2, "a", 30), upsert(2, "b", 40), upsert(2, "c", 35)];
    assert!(all_written(&sink.write(&batch).await));
    let deletes =
        [Change::Delete { id: Uuid::from_u128(3), at: at(9) }, Change::Delete { id: Uuid::from_u128(4), at: at(11) }];
    assert!(all_written(&sink.write(&deletes).await));
    let rows = rows(&database).await;
    let names: Vec<&str> = rows.iter().take(4).map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["newer", "first", "b", "first"]);
    assert_eq!(rows.len(), 699, "only the delete newer than its row took effect");
    Ok(())
}

#[tokio::test]
async fn a_table_with_fewer_columns_takes_those() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = open(directory.path()).await?;
    sqlx::query("CREATE TABLE created_users (id TEXT PRIMARY KEY, first_name TEXT, more TEXT)")
        .execute(&database.writer)
        .await
        .expect("creates");
    let refused = SqliteSink::open(database.clone(), table(&[])).await.map(|_| ()).expect_err("columns are missing");
    assert_eq!(refused.kind(), Kind::Config);
    assert!(refused.hint_text().is_some_and(|h| h.contains("--columns id,first_name")), "{refused:?}");
    let sink = SqliteSink::open(database.clone(), table(&["id", "first_name"])).await?;
    assert!(all_written(&sink.write(&[upsert(1, "a", 10), upsert(1, "b", 5)]).await));
    assert_eq!(rows(&database).await.len(), 1);
    Ok(())
}

#[tokio::test]
async fn rows_are_found_with_the_time_of_their_record() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = open(directory.path()).await?;
    let missing = SqliteSink::open_existing(database.clone(), table(&[])).await.map(|_| ()).expect_err("no table");
    assert_eq!(missing.kind(), Kind::Config);
    let sink = SqliteSink::open(database.clone(), table(&[])).await?;
    assert!(all_written(&sink.write(&[upsert(1, "a", 10), upsert(2, "b", 20)]).await));
    let ids = [1, 2, 3].map(Uuid::from_u128);
    assert_eq!(sink.find(&ids).await?, HashMap::from([(ids[0], Some(at(10))), (ids[1], Some(at(20)))]));
    assert_eq!(sink.find(&[]).await?, HashMap::new());
    let untimed = SqliteSink::open_existing(database.clone(), table(&["id", "first_name"])).await?;
    assert_eq!(untimed.find(&ids[1..]).await?, HashMap::from([(ids[1], None)]));
    sqlx::query("UPDATE created_users SET timestamp = 'some day'").execute(&database.writer).await.expect("updates");
    assert_eq!(sink.find(&ids[..1]).await?, HashMap::from([(ids[0], None)]), "a date that is none of ours");
    sqlx::query("DROP TABLE created_users").execute(&database.writer).await.expect("drops");
    assert_eq!(sink.find(&ids).await.expect_err("no table").kind(), Kind::Config);
    Ok(())
}

#[tokio::test]
async fn what_the_store_refuses_stands_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = open(directory.path()).await?;
    sqlx::query(
        "CREATE TABLE created_users (id TEXT PRIMARY KEY NOT NULL, first_name TEXT CHECK (first_name <> 'bad'))",
    )
    .execute(&database.writer)
    .await
    .expect("creates");
    let sink = SqliteSink::open(database.clone(), table(&["id", "first_name"])).await?;
    let batch: Vec<Change> = (0..100).map(|n| upsert(n, if n == 17 || n == 60 { "bad" } else { "good" }, 10)).collect();
    let outcomes = sink.write(&batch).await;
    let poison: Vec<usize> =
        outcomes.iter().enumerate().filter(|(_, o)| matches!(o, Outcome::Poison(_))).map(|(i, _)| i).collect();
    assert_eq!(poison, [17, 60]);
    assert_eq!(rows(&database).await.len(), 98);
    Ok(())
}

#[tokio::test]
async fn a_missing_table_needs_a_person() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = open(directory.path()).await?;
    let sink = SqliteSink::open(database.clone(), table(&[])).await?;
    sqlx::query("DROP TABLE created_users").execute(&database.writer).await.expect("drops");
    let outcomes = sink.write(&[upsert(1, "a", 10)]).await;
    assert!(matches!(&outcomes[..], [Outcome::Blocked(e)] if e.kind() == Kind::Config), "{outcomes:?}");
    Ok(())
}

#[tokio::test]
async fn optional_columns_are_added_and_keep_what_a_later_record_lacks() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = open(directory.path()).await?;
    let plain = SqliteSink::open(database.clone(), table(&[])).await?;
    assert!(all_written(&plain.write(&[upsert(1, "old", 10)]).await));
    let mut more = table(&[]);
    more.columns.extend(["age", "country", "latitude"]);
    let lacking =
        SqliteSink::open_existing(database.clone(), more.clone()).await.map(|_| ()).expect_err("it lacks some");
    assert!(lacking.hint_text().is_some_and(|h| h.contains("init-schema --with age,country,latitude ")), "{lacking:?}");
    let added = additions_in_sqlite(&directory.path().join("userpipe.db"), &more).await?;
    assert_eq!(added.iter().map(|column| column.name).collect::<Vec<_>>(), ["age", "country", "latitude"]);

    let sink = SqliteSink::open(database.clone(), more.clone()).await?;
    assert_eq!(init_sqlite(&database, &more).await?, Vec::<&Column>::new(), "they are there by now");
    let with = |n: u128, ms: i64, age: Option<i32>, country: Option<&str>| {
        let extras = Extras { age, country: country.map(str::to_owned), latitude: Some(1.5), ..Extras::default() };
        Change::Upsert(user(n, "new", ms).with_extras(Some(Box::new(extras))))
    };
    let batch = [with(2, 10, Some(36), None), with(3, 10, Some(1), Some("Norway")), upsert(4, "none", 10)];
    assert!(all_written(&sink.write(&batch).await));
    let batch = [with(2, 20, None, Some("Chile")), upsert(3, "later", 20), with(3, 5, Some(99), None)];
    assert!(all_written(&sink.write(&batch).await));
    let values =
        "first_name || ' ' || coalesce(age, '-') || ' ' || coalesce(country, '-') || ' ' || coalesce(latitude, '-')";
    let rows: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT {values} FROM created_users ORDER BY id")))
            .fetch_all(&database.reader)
            .await
            .expect("readable");
    assert_eq!(rows, ["old - - -", "new 36 Chile 1.5", "later 1 Norway 1.5", "none - - -"]);
    let full: Vec<Change> = (0..600).map(|n| with(n, 30, Some(1), None)).collect();
    assert!(all_written(&sink.write(&full).await), "statements stay below the limit of parameters");
    Ok(())
}

#[tokio::test]
async fn batches_that_come_together_are_all_written_and_poison_stands_alone_in_its_own() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = open(directory.path()).await?;
    let refusing =
        "CREATE TABLE created_users (id TEXT PRIMARY KEY NOT NULL, first_name TEXT CHECK (first_name <> 'bad'))";
    sqlx::query(refusing).execute(&database.writer).await.expect("a table");
    let sink = SqliteSink::open_existing(database.clone(), table(&["id", "first_name"])).await?;
    let batch = |from: u128| -> Vec<Change> {
        let name = |n| if n == 1_234 { "bad" } else { "good" };
        (from..from + 300).map(|n| upsert(n, name(n), 1)).collect()
    };
    let batches: Vec<Vec<Change>> = (0..6).map(|n| batch(n * 300)).collect();
    let outcomes = futures::future::join_all(batches.iter().map(|batch| sink.write(batch))).await;
    for (number, outcomes) in outcomes.iter().enumerate() {
        let poison = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Poison(_))).count();
        let written = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Written)).count();
        assert_eq!((written, poison), if number == 4 { (299, 1) } else { (300, 0) }, "batch {number}");
    }
    assert_eq!(rows(&database).await.len(), 6 * 300 - 1);
    Ok(())
}
