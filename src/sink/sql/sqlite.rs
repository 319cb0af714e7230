//! The embedded sink: a table in the data directory's SQLite file.

use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite as Dialect};

use super::{Table, column_list, on_conflict, write};
use crate::config::TableConfig;
use crate::error::{Error, Kind, Result};
use crate::record::{User, Value};
use crate::sink::schema::{self, ExistingColumn, check_table};
use crate::sink::{Change, Outcome, Sink};
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
    /// Checks that the table is there and fits. Changes nothing.
    ///
    /// # Errors
    /// [`Kind::Config`] when it is missing or does not fit.
    pub async fn check(database: &Sqlite, table: &TableConfig) -> Result<()> {
        let place = format!("{}/{}", database.place, table.table);
        let existing = existing_columns(database, &table.table).await?;
        if existing.is_empty() {
            return Err(Error::new(Kind::Config, "there is no such table")
                .at(place)
                .hint("create it with 'userpipe init-schema' and the same options"));
        }
        check_table(schema::Dialect::Sqlite, &place, &existing, &table.columns)
    }

    /// Creates the table if it is missing, and checks it if it is not.
    ///
    /// # Errors
    /// [`Kind::Config`] when a table of that name does not fit.
    pub async fn open(database: Sqlite, table: TableConfig) -> Result<Self> {
        let place = format!("{}/{}", database.place, table.table);
        let failed = |e| error("cannot prepare the table", &place, e);
        sqlx::query(AssertSqlSafe(schema::create_table_sqlite(&table.table)))
            .execute(&database.writer)
            .await
            .map_err(failed)?;
        let existing = existing_columns(&database, &table.table).await?;
        check_table(schema::Dialect::Sqlite, &place, &existing, &table.columns)?;
        Ok(Self { database, table, place })
    }

    fn upsert<'u>(&self, users: &[&'u User]) -> QueryBuilder<Dialect> {
        let TableConfig { table, columns } = &self.table;
        let mut insert = QueryBuilder::new(format!("INSERT INTO {table} ({}) ", column_list(columns)));
        insert.push_values(users, |mut row, user: &&'u User| {
            for value in columns.iter().filter_map(|column| user.value(column)) {
                match value {
                    Value::Uuid(id) => row.push_bind(id.to_string()),
                    Value::Text(text) => row.push_bind(text.to_owned()),
                    Value::Timestamp(at) => row.push_bind(at.to_string()),
                };
            }
        });
        insert.push(on_conflict(table, columns));
        insert
    }

    /// Text dates compare as dates, since they all have the same shape.
    fn delete(&self) -> AssertSqlSafe<String> {
        let table = &self.table.table;
        AssertSqlSafe(if self.table.columns.contains(&"timestamp") {
            format!("DELETE FROM {table} WHERE id = ? AND timestamp <= ?")
        } else {
            format!("DELETE FROM {table} WHERE id = ? AND ? IS NOT NULL")
        })
    }
}

async fn existing_columns(database: &Sqlite, table: &str) -> Result<Vec<ExistingColumn>> {
    let columns: Vec<(String, String, i64)> = sqlx::query_as("SELECT name, type, pk FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(&database.reader)
        .await
        .map_err(database.failed("cannot read the table's columns"))?;
    let column = |(name, type_name, pk)| ExistingColumn { name, type_name, in_primary_key: pk > 0 };
    Ok(columns.into_iter().map(column).collect())
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

    fn place(&self) -> &str {
        &self.place
    }
}

impl Sink for SqliteSink {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        write(self, changes).await
    }

    fn batches_in_flight_max(&self) -> usize {
        // SQLite has one writer.
        1
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
