//! The embedded sink: a table in the data directory's SQLite file.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Connection as _, Row as _, SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use super::{Table, column_list, date, find, on_conflict, rounds, write};
use crate::config::TableConfig;
use crate::error::{Error, Kind, Result};
use crate::record::{self, Column, User, Value};
use crate::sink::schema::{self, Dialect, ExistingColumn, check_table};
use crate::sink::{Change, Found, InFlight, Outcome, Sink};
use crate::sql::{Fate, RowStatements, Sqlite, Work, error};

/// Batches that are decoded while others are being written; those that are ready share a transaction.
const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// The most records of one batch. Ids come in no order, so that each transaction changes most pages of the table's index,
/// however many rows it has: few large ones write far less than many small ones.
const BATCH_RECORDS_MAX: usize = 16_000;
/// Half of it is being written while the other half is read.
const IN_FLIGHT_MAX: InFlight = InFlight { records: 60_000, bytes: 48 * 1024 * 1024 };

/// Writes users to one table.
#[derive(Debug)]
pub struct SqliteSink {
    database: Sqlite,
    table: TableConfig,
    /// Those of the table that are written, in the order of the statement.
    columns: Vec<&'static Column>,
    upsert: RowStatements,
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
        let (name, columns) = (schema::quoted(&table.table), &table.columns);
        let upsert = RowStatements::new(
            &format!("INSERT INTO {name} ({}) VALUES ", column_list(columns)),
            &format!("({})", vec!["?"; columns.len()].join(", ")),
            &on_conflict(&name, columns),
        );
        let columns = columns.iter().filter_map(|name| record::column(name)).collect();
        Ok(Self { database, table, columns, upsert, place })
    }

    /// Runs the statements of changes with distinct ids.
    async fn execute(&self, connection: &mut SqliteConnection, changes: &[&Change]) -> Result<(), sqlx::Error> {
        let mut users: Vec<&User> =
            changes.iter().filter_map(|c| if let Change::Upsert(user) = c { Some(user) } else { None }).collect();
        // In the order of the primary key's index, which each row is looked up in and added to.
        users.sort_by_key(|user| user.id());
        self.upsert.execute(connection, &users, |users| self.arguments(users)).await?;
        for change in changes {
            if let Change::Delete { id, at } = change {
                sqlx::query(self.delete()).bind(id.to_string()).bind(at.to_string()).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }

    /// The values of an upsert. Text is copied once, behind a counter as sqlx keeps it.
    fn arguments(&self, users: &[&User]) -> Result<SqliteArguments, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(users.len() * self.columns.len(), 0);
        let mut text = String::new();
        for user in users {
            for column in &self.columns {
                text.clear();
                match user.value(column) {
                    Some(Value::Uuid(id)) => {
                        arguments.add(Arc::<str>::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer())))
                    }
                    Some(Value::Text(text)) => arguments.add(Arc::<str>::from(text)),
                    Some(Value::Timestamp(at)) => {
                        write!(text, "{at}").map_err(|e| sqlx::Error::Encode(e.into()))?;
                        arguments.add(Arc::<str>::from(text.as_str()))
                    }
                    Some(Value::Int(number)) => arguments.add(number),
                    Some(Value::Double(number)) => arguments.add(number),
                    // An optional column this record does not have.
                    None => arguments.add(None::<i32>),
                }
                .map_err(sqlx::Error::Encode)?;
            }
        }
        Ok(arguments)
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

/// Changes with distinct ids.
struct Alone<'a> {
    sink: &'a SqliteSink,
    changes: &'a [&'a Change],
}

impl Work for Alone<'_> {
    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.sink.execute(connection, self.changes).await
    }
}

/// Any changes, in their order.
struct Together<'a> {
    sink: &'a SqliteSink,
    changes: &'a [Change],
}

impl Work for Together<'_> {
    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for round in rounds(self.changes) {
            let part: Vec<&Change> = round.iter().map(|index| &self.changes[*index]).collect();
            self.sink.execute(connection, &part).await?;
        }
        Ok(())
    }
}

impl Table for SqliteSink {
    async fn apply(&self, changes: &[&Change]) -> Result<(), sqlx::Error> {
        self.database.write_alone(&Alone { sink: self, changes }).await
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
        // Together with others first; what fails there is written alone, where each record gets an answer of its own.
        match self.database.write_together(changes.len(), &Together { sink: self, changes }).await {
            Ok(Fate::Durable) => changes.iter().map(|_| Outcome::Written).collect(),
            Ok(Fate::TakenBack) | Err(_) => write(self, changes).await,
        }
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Found> {
        find(self, ids).await
    }

    fn batches_in_flight_max(&self) -> usize {
        BATCHES_IN_FLIGHT_MAX
    }

    /// A delete leaves nothing behind that an older record could be compared with, and a table without `timestamp` keeps
    /// what came last.
    fn batch_in_order_max(&self) -> Option<usize> {
        Some(BATCH_RECORDS_MAX)
    }

    fn in_flight_max(&self) -> InFlight {
        IN_FLIGHT_MAX
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
