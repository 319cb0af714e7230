//! A table in PostgreSQL.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Table, column_list, date, find, on_conflict, write};
use crate::config::TableConfig;
use crate::error::{Error, Kind, Result};
use crate::record::{self, Column, ColumnType, Timestamp, User, Value};
use crate::sink::schema::{self, Dialect, ExistingColumn, check_table};
use crate::sink::{Change, Found, Outcome, Sink};
use crate::sql::{Postgres, error};

/// Batches written at once, each of another partition and on a connection of its own.
const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// The most records of one batch.
const BATCH_RECORDS_MAX: usize = 4_000;

/// A column that is written, and whether the table keeps it as text: a date as RFC 3339 then, an id with hyphens.
#[derive(Clone, Copy, Debug)]
struct Bound {
    column: &'static Column,
    is_text: bool,
}

/// Writes users to one table.
#[derive(Debug)]
pub struct PostgresSink {
    database: Postgres,
    columns: Vec<Bound>,
    upsert: String,
    delete: String,
    select: String,
    place: String,
}

impl PostgresSink {
    /// Checks that the table is there and fits.
    ///
    /// # Errors
    /// [`Kind::Config`] when it is missing or does not fit.
    pub async fn open(database: Postgres, table: &TableConfig) -> Result<Self> {
        let place = format!("{}/{}", database.place, table.table);
        let existing = existing_columns(&database, &table.table).await?;
        if existing.is_empty() {
            return Err(Error::new(Kind::Config, "there is no such table")
                .at(place)
                .hint("create it with 'userpipe init-schema' and the same options"));
        }
        check_table(Dialect::Postgres, &place, &existing, &table.columns)?;
        let columns: Vec<Bound> = table
            .columns
            .iter()
            .filter_map(|name| record::column(name))
            .map(|column| Bound {
                column,
                is_text: existing.iter().any(|e| e.name == column.name && Dialect::Postgres.is_text(&e.type_name)),
            })
            .collect();
        let name = schema::quoted(&table.table);
        let (upsert, delete, select) = (upsert(&name, &columns), delete(&name, &columns), select(&name, &columns));
        Ok(Self { database, columns, upsert, delete, select, place })
    }

    fn id_is_text(&self) -> bool {
        self.columns.iter().any(|bound| bound.column.name == "id" && bound.is_text)
    }
}

/// One statement whatever the size of the batch: each column comes as an array.
fn upsert(table: &str, columns: &[Bound]) -> String {
    let names: Vec<&str> = columns.iter().map(|c| c.column.name).collect();
    let arrays: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let kind = match column.column.kind {
                ColumnType::Uuid if !column.is_text => "uuid",
                ColumnType::Timestamp if !column.is_text => "timestamptz",
                ColumnType::Uuid | ColumnType::Text | ColumnType::Timestamp => "text",
                ColumnType::Int => "integer",
                ColumnType::Double => "double precision",
            };
            format!("${}::{kind}[]", index + 1)
        })
        .collect();
    let list = column_list(&names);
    format!("INSERT INTO {table} ({list}) SELECT * FROM unnest({}){}", arrays.join(", "), on_conflict(table, &names))
}

fn delete(table: &str, columns: &[Bound]) -> String {
    match columns.iter().find(|c| c.column.name == "timestamp") {
        Some(column) if column.is_text => format!("DELETE FROM {table} WHERE id = $1 AND timestamp <= $2::text"),
        Some(_) => format!("DELETE FROM {table} WHERE id = $1 AND timestamp <= $2::timestamptz"),
        None => format!("DELETE FROM {table} WHERE id = $1 AND $2::text IS NOT NULL"),
    }
}

/// The rows with the given ids; without a timestamp column, their time is null.
fn select(table: &str, columns: &[Bound]) -> String {
    let time = columns.iter().find(|c| c.column.name == "timestamp").map_or("NULL::text", |_| "timestamp");
    format!("SELECT id, {time} FROM {table} WHERE id = ANY($1)")
}

type PgQuery<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// Binds one column of all users as an array.
fn bind_column<'q>(query: PgQuery<'q>, column: Bound, users: &[&'q User]) -> PgQuery<'q> {
    let values = users.iter().map(|user| user.value(column.column));
    match column.column.kind {
        ColumnType::Uuid => {
            let ids = values.map(|v| if let Some(Value::Uuid(id)) = v { Some(id) } else { None });
            if column.is_text {
                query.bind(ids.map(|id| id.map(|id| id.to_string())).collect::<Vec<Option<String>>>())
            } else {
                query.bind(ids.collect::<Vec<Option<Uuid>>>())
            }
        }
        ColumnType::Text => query.bind(
            values
                .map(|v| if let Some(Value::Text(text)) = v { Some(text) } else { None })
                .collect::<Vec<Option<&'q str>>>(),
        ),
        ColumnType::Timestamp => {
            let times = values.map(|v| if let Some(Value::Timestamp(at)) = v { Some(at) } else { None });
            if column.is_text {
                query.bind(times.map(|at| at.map(|at| at.to_string())).collect::<Vec<Option<String>>>())
            } else {
                let dates = times.map(|at| at.map(crate::record::Timestamp::to_datetime));
                query.bind(dates.collect::<Vec<Option<OffsetDateTime>>>())
            }
        }
        ColumnType::Int => query.bind(
            values.map(|v| if let Some(Value::Int(n)) = v { Some(n) } else { None }).collect::<Vec<Option<i32>>>(),
        ),
        ColumnType::Double => query.bind(
            values.map(|v| if let Some(Value::Double(n)) = v { Some(n) } else { None }).collect::<Vec<Option<f64>>>(),
        ),
    }
}

impl Table for PostgresSink {
    async fn apply(&self, changes: &[&Change]) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.pool.begin().await?;
        let users: Vec<&User> =
            changes.iter().filter_map(|c| if let Change::Upsert(user) = c { Some(user) } else { None }).collect();
        if !users.is_empty() {
            let query = sqlx::query(AssertSqlSafe(self.upsert.clone()));
            let query = self.columns.iter().fold(query, |query, column| bind_column(query, *column, &users));
            query.execute(&mut *transaction).await?;
        }
        for change in changes {
            if let Change::Delete { id, at } = change {
                let query = sqlx::query(AssertSqlSafe(self.delete.clone()));
                let query = if self.id_is_text() { query.bind(id.to_string()) } else { query.bind(*id) };
                query.bind(at.to_string()).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await
    }

    async fn look_up(&self, ids: &[Uuid]) -> Result<Found, sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(self.select.clone()));
        let id_is_text = self.id_is_text();
        let query = if id_is_text {
            query.bind(ids.iter().map(Uuid::to_string).collect::<Vec<String>>())
        } else {
            query.bind(ids)
        };
        let rows = query.fetch_all(&self.database.pool).await?;
        let id = |row: &PgRow| {
            if !id_is_text {
                return row.try_get(0);
            }
            row.try_get::<String, _>(0)?.parse::<Uuid>().map_err(|e| sqlx::Error::Decode(e.into()))
        };
        let is_date = self.columns.iter().any(|c| c.column.name == "timestamp" && !c.is_text);
        rows.iter()
            .map(|row| {
                let time = if is_date {
                    row.try_get::<Option<OffsetDateTime>, _>(1)?.map(Timestamp::from_datetime)
                } else {
                    date(row.try_get(1)?)
                };
                Ok((id(row)?, time))
            })
            .collect()
    }

    fn place(&self) -> &str {
        &self.place
    }
}

impl Sink for PostgresSink {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        write(self, changes).await
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Found> {
        find(self, ids).await
    }

    fn batches_in_flight_max(&self) -> usize {
        BATCHES_IN_FLIGHT_MAX
    }

    /// A delete leaves no trace in the table: an older record that is written beside it would bring the row back.
    fn batch_in_order_max(&self) -> Option<usize> {
        Some(BATCH_RECORDS_MAX)
    }

    async fn close(&self) -> Result<()> {
        self.database.pool.close().await;
        Ok(())
    }
}

/// The permissions on the table that the role lacks of those that writing to it needs.
///
/// # Errors
/// As sorted by [`Fault`](crate::sql::Fault).
pub async fn lacking_permissions(database: &Postgres, table: &TableConfig) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT permission FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS permission
         WHERE NOT has_table_privilege(to_regclass(quote_ident($1)), permission)",
    )
    .bind(&table.table)
    .fetch_all(&database.pool)
    .await
    .map_err(|e| error("cannot read the permissions on the table", &database.place, e))
}

/// Creates the table if it is missing; if it is not, checks it, and adds the optional columns that it lacks. Says what was
/// done, a line each.
///
/// # Errors
/// [`Kind::Config`] when a table of that name does not fit.
pub async fn init_postgres(database: &Postgres, table: &TableConfig) -> Result<Vec<String>> {
    let place = format!("{}/{}", database.place, table.table);
    let mut existing = existing_columns(database, &table.table).await?;
    let mut done = Vec::new();
    if existing.is_empty() {
        let create = AssertSqlSafe(schema::create_table_postgres(table));
        let created = sqlx::query(create).execute(&database.pool).await;
        existing = existing_columns(database, &table.table).await?;
        match created {
            Ok(_) => done.push(format!("created table {place}")),
            // IF NOT EXISTS does not help two that create it at the same moment: one is told that its type is there.
            Err(_) if !existing.is_empty() => {}
            Err(e) => return Err(error("cannot create the table", &place, e)),
        }
    }
    let added = schema::additions(Dialect::Postgres, &place, &existing, &table.columns)?;
    for column in &added {
        let alter = AssertSqlSafe(schema::add_column(Dialect::Postgres, &schema::quoted(&table.table), column));
        sqlx::query(alter).execute(&database.pool).await.map_err(|e| error("cannot add a column to", &place, e))?;
    }
    if !added.is_empty() {
        done.push(format!("{} to table {place}", schema::added_words(&added)));
    }
    if done.is_empty() {
        done.push(format!("table {place} is there and fits"));
    }
    Ok(done)
}

/// The optional columns that [`init_postgres`] would add to a table that is there. Changes nothing.
///
/// # Errors
/// As [`init_postgres`].
pub async fn additions_in_postgres(database: &Postgres, table: &TableConfig) -> Result<Vec<&'static Column>> {
    let existing = existing_columns(database, &table.table).await?;
    if existing.is_empty() {
        return Ok(Vec::new());
    }
    schema::additions(Dialect::Postgres, &format!("{}/{}", database.place, table.table), &existing, &table.columns)
}

/// The columns of the table that an unqualified name means.
async fn existing_columns(database: &Postgres, table: &str) -> Result<Vec<ExistingColumn>> {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = ANY (i.indkey), false)
         FROM pg_attribute a
         LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
         WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .bind(table)
    .fetch_all(&database.pool)
    .await
    .map_err(|e| error("cannot read the table's columns", &database.place, e))?;
    Ok(rows
        .into_iter()
        .map(|(name, type_name, in_primary_key)| ExistingColumn { name, type_name, in_primary_key })
        .collect())
}
