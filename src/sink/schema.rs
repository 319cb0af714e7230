//! The table of users in every store: its DDL, and whether a table that is already there will do.
//!
//! Everything follows from [`COLUMNS`] and [`OPTIONAL_COLUMNS`]. Pure functions: the sinks ask their store which columns there are, and this
//! module judges.

use std::fmt::Write as _;

use crate::config::{Replication, TableConfig};
use crate::error::{Error, Kind, Result};
use crate::record::{COLUMNS, Column, ColumnType, OPTIONAL_COLUMNS};

/// The keyspace of the demos, in `schema.cql`.
const KEYSPACE: &str = "spark_streams";

/// The table of the demos, in `schema.cql`.
const TABLE: &str = "created_users";

/// How a store calls its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// CQL, types as `system_schema.columns` has them.
    Cassandra,
    /// PostgreSQL, types as `information_schema.columns` has them.
    Postgres,
    /// SQLite, types as `pragma_table_info` has them: what the table was declared with.
    Sqlite,
}

impl Dialect {
    /// The type this crate creates a column of this kind with.
    pub fn type_name(self, kind: ColumnType) -> &'static str {
        match (self, kind) {
            (Dialect::Sqlite, ColumnType::Int) => "INTEGER",
            (Dialect::Sqlite, ColumnType::Double) => "REAL",
            (Dialect::Sqlite, ColumnType::Uuid | ColumnType::Text | ColumnType::Timestamp) => "TEXT",
            (Dialect::Cassandra | Dialect::Postgres, ColumnType::Uuid) => "uuid",
            (Dialect::Cassandra | Dialect::Postgres, ColumnType::Text) => "text",
            (Dialect::Cassandra, ColumnType::Timestamp) => "timestamp",
            (Dialect::Postgres, ColumnType::Timestamp) => "timestamptz",
            (Dialect::Cassandra, ColumnType::Int) => "int",
            (Dialect::Postgres, ColumnType::Int) => "integer",
            (Dialect::Cassandra, ColumnType::Double) => "double",
            (Dialect::Postgres, ColumnType::Double) => "double precision",
        }
    }

    /// Whether a column of type `found` takes values of this kind. Dates and the id may be text too.
    fn accepts(self, kind: ColumnType, found: &str) -> bool {
        let found = found.trim().to_ascii_lowercase();
        found == self.type_name(kind).to_ascii_lowercase()
            || match kind {
                ColumnType::Int | ColumnType::Double => false,
                ColumnType::Uuid | ColumnType::Text => self.is_text(&found),
                ColumnType::Timestamp => {
                    self.is_text(&found) || (self == Dialect::Postgres && found == "timestamp with time zone")
                }
            }
    }

    /// Whether a column of type `found` is text of any length.
    pub fn is_text(self, found: &str) -> bool {
        match self {
            Dialect::Cassandra => matches!(found, "text" | "varchar"),
            Dialect::Postgres => matches!(found, "text" | "character varying" | "varchar"),
            Dialect::Sqlite => found.eq_ignore_ascii_case("text"),
        }
    }
}

/// A column that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingColumn {
    /// Its name.
    pub name: String,
    /// Its type, in the words of the store (see [`Dialect`]).
    pub type_name: String,
    /// Whether it is part of the primary key.
    pub in_primary_key: bool,
}

/// Whether rows with the columns `wanted` can be upserted into a table that has the columns `existing`: `id` alone is
/// the primary key, and each wanted column is there with a type that takes it. Extra columns are fine.
///
/// # Errors
/// [`Kind::Config`] with every difference spelled out. Where only optional columns are missing, the hint is to add them;
/// where columns are missing or wrongly typed, the `--columns` that would do.
pub fn check_table(dialect: Dialect, place: &str, existing: &[ExistingColumn], wanted: &[&str]) -> Result<()> {
    let mut differences = Vec::new();
    let key: Vec<_> = existing.iter().filter(|c| c.in_primary_key).map(|c| c.name.as_str()).collect();
    if key != ["id"] {
        differences.push(format!("its primary key is ({}), not (id)", key.join(", ")));
    }
    let mut usable = Vec::new();
    let mut lacking = Vec::new();
    for column in COLUMNS.iter().chain(OPTIONAL_COLUMNS).filter(|c| wanted.contains(&c.name)) {
        match existing.iter().find(|e| e.name == column.name) {
            Some(found) if dialect.accepts(column.kind, &found.type_name) => usable.push(column.name),
            Some(found) => differences.push(format!(
                "column {} is {}, not {}{}",
                column.name,
                found.type_name,
                dialect.type_name(column.kind),
                if matches!(column.kind, ColumnType::Timestamp | ColumnType::Uuid) && dialect != Dialect::Sqlite {
                    " or text"
                } else {
                    ""
                },
            )),
            None => {
                differences.push(format!("it has no column {}", column.name));
                lacking.push(column);
            }
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    let can_be_added = lacking.len() == differences.len() && lacking.iter().all(|column| column.is_optional());
    let hint = if can_be_added {
        let optional: Vec<_> = OPTIONAL_COLUMNS.iter().map(|c| c.name).filter(|name| wanted.contains(name)).collect();
        format!("add what it lacks: userpipe init-schema --with {} and the same options", optional.join(","))
    } else if key == ["id"] && usable.contains(&"id") {
        format!("write only what it has: --columns {}; or name another table with --table", usable.join(","))
    } else {
        "name another table with --table, then make it: userpipe init-schema".to_owned()
    };
    Err(Error::new(Kind::Config, format!("table {place} does not fit")).because(differences.join("; ")).hint(hint))
}

/// The optional columns of `wanted` that have to be added to a table that has the columns `existing`, so that it fits.
///
/// # Errors
/// As [`check_table`], where it would not fit with them either: columns that every record has are not added, since the table
/// that lacks them is somebody else's.
pub fn additions(
    dialect: Dialect,
    place: &str,
    existing: &[ExistingColumn],
    wanted: &[&str],
) -> Result<Vec<&'static Column>> {
    let lacking: Vec<&'static Column> =
        OPTIONAL_COLUMNS.iter().filter(|column| wanted.contains(&column.name) && !has(existing, column)).collect();
    let added = lacking.iter().map(|column| ExistingColumn {
        name: column.name.to_owned(),
        type_name: dialect.type_name(column.kind).to_owned(),
        in_primary_key: false,
    });
    let altered: Vec<ExistingColumn> = existing.iter().cloned().chain(added).collect();
    check_table(dialect, place, &altered, wanted)?;
    Ok(lacking)
}

/// Whether the column is among those that there are.
pub fn has(existing: &[ExistingColumn], column: &Column) -> bool {
    existing.iter().any(|found| found.name == column.name)
}

/// CQL or SQL that adds a column to a table, without a semicolon. `table` is [`quoted`], and has its keyspace in CQL.
pub fn add_column(dialect: Dialect, table: &str, column: &Column) -> String {
    let add = match dialect {
        Dialect::Cassandra => "ADD",
        Dialect::Postgres => "ADD COLUMN IF NOT EXISTS",
        Dialect::Sqlite => "ADD COLUMN",
    };
    format!("ALTER TABLE {table} {add} {} {}", column.name, dialect.type_name(column.kind))
}

/// What was done to a table, for a person.
pub fn added_words(added: &[&Column]) -> String {
    let names: Vec<_> = added.iter().map(|column| column.name).collect();
    format!("added column{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

/// An identifier as CQL and SQL quote it, so that it may be a keyword (`order`). A quote within is doubled, though the
/// configuration lets none pass.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// CQL that creates a keyspace where it is missing, without a semicolon.
pub fn create_keyspace(keyspace: &str, replication: &Replication) -> String {
    let options = match replication {
        Replication::Simple(factor) => format!("'class': 'SimpleStrategy', 'replication_factor': {factor}"),
        Replication::NetworkTopology(factors) => {
            let mut options = "'class': 'NetworkTopologyStrategy'".to_owned();
            for (dc, factor) in factors {
                // A quote inside a CQL string is doubled.
                let _ = write!(options, ", '{}': {factor}", dc.replace('\'', "''"));
            }
            options
        }
    };
    format!("CREATE KEYSPACE IF NOT EXISTS {}\n    WITH replication = {{{options}}}", quoted(keyspace))
}

/// CQL that creates the table of users where it is missing, without a semicolon. It has the 13 columns, whichever are
/// written, and the optional ones that are written.
pub fn create_table(keyspace: &str, table: &TableConfig) -> String {
    create(Dialect::Cassandra, &format!("{}.{}", quoted(keyspace), quoted(&table.table)), &table.columns)
}

/// SQL for PostgreSQL, as [`create_table`].
pub fn create_table_postgres(table: &TableConfig) -> String {
    create(Dialect::Postgres, &quoted(&table.table), &table.columns)
}

/// SQL for SQLite, as [`create_table`].
pub fn create_table_sqlite(table: &TableConfig) -> String {
    create(Dialect::Sqlite, &quoted(&table.table), &table.columns)
}

fn create(dialect: Dialect, table: &str, written: &[&str]) -> String {
    let mut columns = Vec::with_capacity(COLUMNS.len());
    let optional = OPTIONAL_COLUMNS.iter().filter(|column| written.contains(&column.name));
    for column in COLUMNS.iter().chain(optional) {
        // SQLite lets a primary key be null unless told otherwise.
        let constraint = match (column.name, dialect) {
            ("id", Dialect::Sqlite) => " PRIMARY KEY NOT NULL",
            ("id", _) => " PRIMARY KEY",
            _ => "",
        };
        columns.push(format!("    {} {}{constraint}", column.name, dialect.type_name(column.kind)));
    }
    format!("CREATE TABLE IF NOT EXISTS {table} (\n{}\n)", columns.join(",\n"))
}

/// The whole of `schema.cql`: the demos' keyspace and table, for `cqlsh -f` as it is.
pub fn schema_cql() -> String {
    format!(
        "-- The table of users in Cassandra. Generated from src/record.rs: a test compares them.\n\
         -- `cqlsh -f schema.cql` applies it as it is; `userpipe init-schema` does the same and takes other names\n\
         -- (--keyspace, --table) and another replication (--replication).\n\
         \n{};\n\n{};\n",
        create_keyspace(KEYSPACE, &Replication::Simple(1)),
        create(Dialect::Cassandra, &format!("{}.{}", quoted(KEYSPACE), quoted(TABLE)), &[]),
    )
}

#[cfg(test)]
mod tests;
