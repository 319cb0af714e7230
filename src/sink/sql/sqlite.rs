//! The embedded sink: a table in the data directory's SQLite file.

use serde_json::json;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _, Sqlite as Dialect};
use uuid::Uuid;

use super::{Table, column_list, date, find, on_conflict, write};
use crate::config::TableConfig;
use crate::error::{Error, Kind, Result};
use crate::record::{User, Value};
use crate::sink::schema::{self, ExistingColumn, check_table};
use crate::sink::{Change, Found, Outcome, Sink};
use crate::sql::{Sqlite, error};

/// The most rows one statement writes: 13 columns each, below SQLite's limit of 32,766 parameters.
const ROWS_PER_STATEMENT_MAX: usize = 250;

/// Writes users to one table.
#[derive(Debug)]
pub struct SqliteSink {
    database: Sqlite,
    table: TableConfig,
    place: String,
}

impl SqliteSink {
    /// Creates the table if it is missing, and checks it if it is not.
    ///
    /// # Errors
    /// [`Kind::Config`] when a table of that name does not fit.
    pub async fn open(database: Sqlite, table: TableConfig) -> Result<Self> {
        let place = format!("{}/{}", database.place, table.table);
        sqlx::query(AssertSqlSafe(schema::create_table_sqlite(&table.table)))
            .execute(&database.writer)
            .await
            .map_err(|e| error("cannot prepare the table", &place, e))?;
        Self::open_existing(database, table).await
    }

    /// Checks that the table is there and fits, and changes nothing.
    ///
    /// # Errors
    /// [`Kind::Config`] when it is missing or does not fit.
    pub async fn open_existing(database: Sqlite, table: TableConfig) -> Result<Self> {
        let place = format!("{}/{}", database.place, table.table);
        let columns: Vec<(String, String, i64)> = sqlx::query_as("SELECT name, type, pk FROM pragma_table_info(?)")
            .bind(&table.table)
            .fetch_all(&database.reader)
            .await
            .map_err(|e| error("cannot read the table's columns", &place, e))?;
        if columns.is_empty() {
            return Err(Error::new(Kind::Config, "there is no such table")
                .at(place)
                .hint("check --table and --data-dir, or create it with 'userpipe init-schema'"));
        }
        let existing: Vec<ExistingColumn> = columns
            .into_iter()
            .map(|(name, type_name, pk)| ExistingColumn { name, type_name, in_primary_key: pk > 0 })
            .collect();
        check_table(schema::Dialect::Sqlite, &place, &existing, &table.columns)?;
        Ok(Self { database, table, place })
    }

    fn upsert<'u>(&self, users: &[&'u User]) -> QueryBuilder<Dialect> {
        let (table, columns) = (schema::quoted(&self.table.table), &self.table.columns);
        let mut insert = QueryBuilder::new(format!("INSERT INTO {table} ({}) ", column_list(columns)));
        insert.push_values(users, |mut row, user: &&'u User| {
            for value in columns.iter().filter_map(|column| user.value(column)) {
                match value {
                    Value::Uuid(id) => row.push_bind(id.to_string()),
                    Value::Text(text) => row.push_bind(text.to_owned()),
                    Value::Timestamp(at) => row.push_bind(at.to_string()),
                    Value::Int(number) => row.push_bind(number),
                    Value::Double(number) => row.push_bind(number),
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
