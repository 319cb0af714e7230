//! The embedded sink: a table in the data directory's SQLite file.

use std::path::Path;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, QueryBuilder, Row as _, SqliteExecutor};
use uuid::Uuid;

use super::{Table, column_list, date, find, on_conflict, write};
use crate::config::TableConfig;
use crate::error::{Error, Kind, Result};
use crate::record::{COLUMNS, Column, OPTIONAL_COLUMNS, User, Value};
use crate::sink::schema::{self, Dialect, ExistingColumn, check_table};
use crate::sink::{Change, Found, Outcome, Sink};
use crate::sql::{Sqlite, error};

/// The most rows one statement writes.
const ROWS_PER_STATEMENT_MAX: usize = 250;
/// SQLite's limit (`SQLITE_MAX_VARIABLE_NUMBER` since 3.32).
const PARAMETERS_MAX: usize = 32_766;
const _: () = assert!(ROWS_PER_STATEMENT_MAX * (COLUMNS.len() + OPTIONAL_COLUMNS.len()) <= PARAMETERS_MAX);

/// Writes users to one table.
#[derive(Debug)]
pub struct SqliteSink {
    database: Sqlite,
    table: TableConfig,
    place: String,
}

impl SqliteSink {
    /// Creates the table if it is missing; if it is not, checks it, and adds the optional columns that it lacks.
    ///
    /// # Errors
    /// [`Kind::Config`] when a table of that name does not fit.
    pub async fn open(database: Sqlite, table: TableConfig) -> Result<Self> {
        let added = init_sqlite(&database, &table).await?;
        if !added.is_empty() {
            tracing::info!("{} to table {}", schema::added_words(&added), table.table);
        }
        Self::open_existing(database, table).await
    }

    /// Checks that the table is there and fits, and changes nothing.
    ///
    /// # Errors
    /// [`Kind::Config`] when it is missing or does not fit.
    pub async fn open_existing(database: Sqlite, table: TableConfig) -> Result<Self> {
        let place = format!("{}/{}", database.place, table.table);
        let existing = existing_columns(&database.reader, &table.table, &place).await?;
        if existing.is_empty() {
            return Err(Error::new(Kind::Config, "there is no such table")
                .at(place)
                .hint("check --table and --data-dir, or create it with 'userpipe init-schema'"));
        }
        check_table(Dialect::Sqlite, &place, &existing, &table.columns)?;
        Ok(Self { database, table, place })
    }

    fn upsert<'u>(&self, users: &[&'u User]) -> QueryBuilder<sqlx::Sqlite> {
        let (table, columns) = (schema::quoted(&self.table.table), &self.table.columns);
        let mut insert = QueryBuilder::new(format!("INSERT INTO {table} ({}) ", column_list(columns)));
        insert.push_values(users, |mut row, user: &&'u User| {
            for column in columns {
                match user.value(column) {
                    Some(Value::Uuid(id)) => row.push_bind(id.to_string()),
                    Some(Value::Text(text)) => row.push_bind(text.to_owned()),
                    Some(Value::Timestamp(at)) => row.push_bind(at.to_string()),
                    Some(Value::Int(number)) => row.push_bind(number),
                    Some(Value::Double(number)) => row.push_bind(number),
                    // An optional column this record does not have.
                    None => row.push_bind(None::<String>),
                };
            }
        });
        insert.push(on_conflict(&table, columns));
        insert
    }

    /// Text dates compare as dates, since they all have the same shape.
    fn delete(&self) -> AssertSqlSafe<String> {
        let table = schema::quoted(&self.table.table);
        AssertSqlSafe(if self.table.columns.contains(&"timestamp") {
            format!("DELETE FROM {table} WHERE id = ? AND timestamp <= ?")
        } else {
            format!("DELETE FROM {table} WHERE id = ? AND ? IS NOT NULL")
        })
    }
}

impl Table for SqliteSink {
    async fn apply(&self, changes: &[&Change]) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let users: Vec<&User> =
            changes.iter().filter_map(|c| if let Change::Upsert(user) = c { Some(user) } else { None }).collect();
        for rows in users.chunks(ROWS_PER_STATEMENT_MAX) {
            self.upsert(rows).build().execute(&mut *transaction).await?;
        }
        for change in changes {
            if let Change::Delete { id, at } = change {
                sqlx::query(self.delete()).bind(id.to_string()).bind(at.to_string()).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await
    }

    async fn look_up(&self, ids: &[Uuid]) -> Result<Found, sqlx::Error> {
        let (table, columns) = (schema::quoted(&self.table.table), &self.table.columns);
        let time = if columns.contains(&"timestamp") { "timestamp" } else { "NULL" };
        let select = format!("SELECT id, {time} FROM {table} WHERE id IN (SELECT value FROM json_each(?))");
        let rows = sqlx::query(AssertSqlSafe(select)).bind(json!(ids).to_string()).fetch_all(&self.database.reader);
        let id = |text: String| text.parse::<Uuid>().map_err(|e| sqlx::Error::Decode(e.into()));
        rows.await?.iter().map(|row| Ok((id(row.try_get(0)?)?, date(row.try_get(1)?)))).collect()
    }

    fn place(&self) -> &str {
        &self.place
    }
}

impl Sink for SqliteSink {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        write(self, changes).await
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Found> {
        find(self, ids).await
    }

    fn batches_in_flight_max(&self) -> usize {
        // SQLite has one writer.
        1
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Creates the table if it is missing, and adds the optional columns that it lacks; returns those.
///
/// # Errors
/// [`Kind::Config`] when a table of that name does not fit.
pub async fn init_sqlite(database: &Sqlite, table: &TableConfig) -> Result<Vec<&'static Column>> {
    let place = format!("{}/{}", database.place, table.table);
    let failed = |e| error("cannot prepare the table", &place, e);
    let create = AssertSqlSafe(schema::create_table_sqlite(table));
    sqlx::query(create).execute(&database.writer).await.map_err(failed)?;
    if table.with().is_none() {
        return Ok(Vec::new());
    }
    // In one transaction that writes from its start: no other process adds a column between the look and the addition.
    let mut transaction = database.begin().await.map_err(failed)?;
    let existing = existing_columns(&mut *transaction, &table.table, &place).await?;
    let added = schema::additions(Dialect::Sqlite, &place, &existing, &table.columns)?;
    for column in &added {
        let alter = AssertSqlSafe(schema::add_column(Dialect::Sqlite, &schema::quoted(&table.table), column));
        sqlx::query(alter).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(added)
}

/// The optional columns that [`init_sqlite`] would add to a table that is there. Changes nothing.
///
/// # Errors
/// As [`init_sqlite`].
pub async fn additions_in_sqlite(path: &Path, table: &TableConfig) -> Result<Vec<&'static Column>> {
    let place = format!("{}/{}", path.display(), table.table);
    let Some(mut connection) = Sqlite::look(path).await? else { return Ok(Vec::new()) };
    let existing = existing_columns(&mut connection, &table.table, &place).await?;
    connection.close().await.map_err(|e| error("cannot read the data file", &place, e))?;
    if existing.is_empty() {
        return Ok(Vec::new());
    }
    schema::additions(Dialect::Sqlite, &place, &existing, &table.columns)
}

/// The columns of a table; none where there is no such table.
async fn existing_columns(database: impl SqliteExecutor<'_>, table: &str, place: &str) -> Result<Vec<ExistingColumn>> {
    let columns: Vec<(String, String, i64)> = sqlx::query_as("SELECT name, type, pk FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(database)
        .await
        .map_err(|e| error("cannot read the table's columns", place, e))?;
    let column = |(name, type_name, pk)| ExistingColumn { name, type_name, in_primary_key: pk > 0 };
    Ok(columns.into_iter().map(column).collect())
}
