//! What arrived, read by cqlsh, psql and Kafka's own tools; SQLite by a connection of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::runtime::Runtime;

use super::expected::{COLUMNS, Row};
use crate::cassandra::reader::Reader;
use crate::services::{Postgres, psql, tool, tool_reading};

/// Runs CQL with cqlsh and gives what it prints.
pub(super) fn cqlsh(cassandra: &str, cql: &str) -> String {
    let (host, port) = cassandra.rsplit_once(':').unwrap();
    tool_reading("cqlsh", [host, port], cql)
}

/// A table's rows by id, each column as text; dates as the topic writes them. `written` is the write time of the
/// e-mail cell in microseconds.
pub(super) fn table(cassandra: &str, table: &str) -> BTreeMap<String, Row> {
    let columns = COLUMNS.join(", ");
    let cql = format!("PAGING OFF; SELECT JSON {columns}, writetime(email) AS written FROM {table};");
    let printed = cqlsh(cassandra, &cql);
    let mut rows = BTreeMap::new();
    for line in printed.lines().map(str::trim).filter(|line| line.starts_with('{')) {
        // cqlsh doubles the backslashes of a text
        let mut row = flat(&line.replace(r"\\", r"\"));
        for date in ["dob", "registered_date", "timestamp"] {
            let text = row.get_mut(date).unwrap();
            *text = text.replacen(' ', "T", 1);
        }
        rows.insert(row["id"].clone(), row);
    }
    assert!(printed.contains(&format!("({} rows)", rows.len())), "{printed}");
    rows
}

/// The ids of a table.
pub(super) fn table_ids(cassandra: &str, table: &str) -> BTreeSet<String> {
    let printed = cqlsh(cassandra, &format!("PAGING OFF; SELECT id FROM {table};"));
    printed.lines().map(str::trim).filter(|line| uuid::Uuid::try_parse(line).is_ok()).map(str::to_owned).collect()
}

/// A JSON object of texts and numbers.
fn flat(json: &str) -> Row {
    let object: serde_json::Map<String, Value> = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    object
        .into_iter()
        .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

/// A connection that counts a table's rows again and again, for tests that wait for some.
pub(super) struct Rows {
    runtime: Runtime,
    reader: Reader,
    table: String,
}

impl Rows {
    pub(super) fn watch(cassandra: &str, table: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let reader = runtime.block_on(Reader::connect(cassandra));
        Self { runtime, reader, table: table.to_owned() }
    }

    pub(super) fn count(&self) -> usize {
        self.runtime.block_on(self.reader.ids(&self.table)).len()
    }
}

/// A record as Kafka's console consumer prints it.
#[derive(Clone, Debug)]
pub(super) struct Printed {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Milliseconds since the epoch.
    pub(super) timestamp: i64,
    /// `name:value`, comma-separated.
    pub(super) headers: String,
    /// `null` where there is none.
    pub(super) key: String,
    pub(super) value: String,
}

impl Printed {
    /// The value's fields.
    pub(super) fn row(&self) -> Row {
        flat(&self.value)
    }
}

/// All records of a topic.
///
/// # Panics
/// If it holds another number of records.
pub(super) fn topic(kafka: &str, topic: &str, count: usize) -> Vec<Printed> {
    let records = everything(kafka, topic);
    assert_eq!(records.len(), count, "records in {topic}");
    records
}

/// All records of a topic, however many: as many as its offsets say.
pub(super) fn everything(kafka: &str, topic: &str) -> Vec<Printed> {
    let count = held(kafka, topic);
    let limit = count.to_string();
    let shown = ["key", "partition", "offset", "headers", "timestamp"].map(|what| format!("print.{what}=true"));
    let mut arguments = vec!["--bootstrap-server", kafka, "--topic", topic, "--from-beginning"];
    arguments.extend(["--max-messages", &limit, "--timeout-ms", "30000"]);
    for property in &shown {
        arguments.extend(["--formatter-property", property]);
    }
    let records: Vec<Printed> = tool("console-consumer", arguments).lines().map(printed).collect();
    assert_eq!(records.len() as u64, count, "the console consumer read less than {topic} holds");
    records
}

/// `CreateTime:…<tab>Partition:…<tab>Offset:…<tab>headers<tab>key<tab>value`
fn printed(line: &str) -> Printed {
    let parts: Vec<&str> = line.splitn(6, '\t').collect();
    let [timestamp, partition, offset, headers, key, value] = parts[..] else { panic!("{line}") };
    let number = |text: &str| text.rsplit(':').next().unwrap().parse::<i64>().unwrap();
    Printed {
        partition: i32::try_from(number(partition)).unwrap(),
        offset: number(offset),
        timestamp: number(timestamp),
        headers: headers.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// Sends lines with Kafka's console producer; with `keyed`, a line is key, tab, value.
pub(super) fn send_lines(kafka: &str, topic: &str, keyed: bool, lines: &[String]) {
    let input = lines.join("\n") + "\n";
    let parse = format!("parse.key={keyed}");
    tool_reading(
        "console-producer",
        ["--bootstrap-server", kafka, "--topic", topic, "--reader-property", &parse],
        &input,
    );
}

/// Records of the topic that the group has not committed, by `kafka-consumer-groups --describe`.
pub(super) fn lag(kafka: &str, topic: &str, group: &str) -> u64 {
    let printed = tool("consumer-groups", ["--bootstrap-server", kafka, "--describe", "--group", group]);
    let lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_topic: Vec<_> = lines.filter(|columns| columns.get(1) == Some(&topic)).collect();
    assert!(!of_topic.is_empty(), "{printed}");
    // A partition without a committed offset shows a dash, or nothing at all where the group has no members.
    let committed: u64 = of_topic.iter().map(|columns| columns[3].parse::<u64>().unwrap_or(0)).sum();
    held(kafka, topic) - committed
}

/// How many records a topic holds that nothing was removed from.
fn held(kafka: &str, topic: &str) -> u64 {
    let ends = tool("get-offsets", ["--bootstrap-server", kafka, "--topic", topic]);
    ends.lines().map(|line| line.rsplit(':').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// A row of the outbox.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    /// Partition and offset, where the bus has acknowledged it.
    pub(super) place: Option<(i32, i64)>,
}

/// The outbox of one pipeline in the data directory.
pub(super) fn ledger(database: &Path, topic: &str) -> Vec<Stored> {
    let place = "iif(published_at IS NULL, NULL, partition), iif(published_at IS NULL, NULL, offset)";
    let query = format!("SELECT id, {place} FROM outbox WHERE pipeline LIKE '%/{topic}'");
    let stored =
        |(id, partition, offset): (String, Option<i32>, Option<i64>)| Stored { id, place: partition.zip(offset) };
    sqlite(database, &query).into_iter().map(stored).collect()
}

/// The rows of one query on an SQLite file that the program may have open.
pub(super) fn sqlite<R>(database: &Path, query: &str) -> Vec<R>
where
    R: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
{
    Runtime::new().unwrap().block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
        sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap()
    })
}

/// The ids in the table of an SQLite file, once there is one.
pub(super) fn sqlite_ids(database: &Path) -> BTreeSet<String> {
    let tables: Vec<(String,)> = sqlite(database, "SELECT name FROM sqlite_master WHERE name = 'created_users'");
    if tables.is_empty() {
        return BTreeSet::new();
    }
    sqlite::<(String,)>(database, "SELECT id FROM created_users").into_iter().map(|(id,)| id).collect()
}

/// The outbox of one pipeline in PostgreSQL.
pub(super) fn ledger_of(postgres: &Postgres, topic: &str) -> Vec<Stored> {
    let place = "CASE WHEN published_at IS NULL THEN '' ELSE partition || ':' || \"offset\" END";
    let query = format!("SELECT id, {place} FROM userpipe.outbox WHERE pipeline LIKE '%/{topic}'");
    let stored = |line: String| {
        let (id, place) = line.split_once('|').unwrap();
        let place = place.split_once(':').map(|(p, o)| (p.parse().unwrap(), o.parse().unwrap()));
        Stored { id: id.to_owned(), place }
    };
    psql(postgres, &query).into_iter().map(stored).collect()
}

/// A table's rows by id, as psql prints them in JSON; dates as the topic writes them.
pub(super) fn postgres_table(postgres: &Postgres, table: &str) -> BTreeMap<String, Row> {
    let lines = psql(postgres, &format!("SET TIME ZONE 'UTC'; SELECT row_to_json(t) FROM {table} t"));
    let row = |line: String| {
        let mut row = flat(&line);
        for date in ["dob", "registered_date", "timestamp"] {
            let text = row.get_mut(date).unwrap();
            *text = with_milliseconds(text);
        }
        (row["id"].clone(), row)
    };
    lines.into_iter().map(row).collect()
}

/// PostgreSQL leaves out trailing zeros of the seconds, and writes the zone as an offset.
fn with_milliseconds(date: &str) -> String {
    let date = date.strip_suffix("+00:00").unwrap();
    let (seconds, fraction) = date.split_once('.').unwrap_or((date, ""));
    format!("{seconds}.{fraction:0<3}Z")
}
