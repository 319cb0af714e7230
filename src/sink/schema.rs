//! The table of users in every store: its DDL, and whether a table that is already there will do.
//!
//! Everything follows from [`COLUMNS`]. Pure functions: the sinks ask their store which columns there are, and this
//! module judges.

use std::fmt::Write as _;

use crate::config::Replication;
use crate::error::{Error, Kind, Result};
use crate::record::{COLUMNS, ColumnType};

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

    /// Whether a column of type `found` takes values of this kind. Dates may be text too.
    fn accepts(self, kind: ColumnType, found: &str) -> bool {
        let found = found.trim().to_ascii_lowercase();
        found == self.type_name(kind).to_ascii_lowercase()
            || match kind {
                ColumnType::Uuid | ColumnType::Int | ColumnType::Double => false,
                ColumnType::Text => self.is_text(&found),
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
/// [`Kind::Config`] with every difference spelled out; where columns are only missing or wrongly typed, the hint is
/// the `--columns` that would do.
pub fn check_table(dialect: Dialect, place: &str, existing: &[ExistingColumn], wanted: &[&str]) -> Result<()> {
    let mut differences = Vec::new();
    let key: Vec<_> = existing.iter().filter(|c| c.in_primary_key).map(|c| c.name.as_str()).collect();
    if key != ["id"] {
        differences.push(format!("its primary key is ({}), not (id)", key.join(", ")));
    }
    let mut usable = Vec::new();
    for column in COLUMNS.iter().filter(|c| wanted.contains(&c.name)) {
        match existing.iter().find(|e| e.name == column.name) {
            Some(found) if dialect.accepts(column.kind, &found.type_name) => usable.push(column.name),
            Some(found) => differences.push(format!(
                "column {} is {}, not {}{}",
                column.name,
                found.type_name,
                dialect.type_name(column.kind),
                if column.kind == ColumnType::Timestamp && dialect != Dialect::Sqlite { " or text" } else { "" },
            )),
            None => differences.push(format!("it has no column {}", column.name)),
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    let hint = if key == ["id"] && usable.contains(&"id") {
        format!("write only what it has: --columns {}; or name another table with --table", usable.join(","))
    } else {
        "name another table with --table, then make it: userpipe init-schema".to_owned()
    };
    Err(Error::new(Kind::Config, format!("table {place} does not fit")).because(differences.join("; ")).hint(hint))
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

/// CQL that creates the table of users where it is missing, without a semicolon.
pub fn create_table(keyspace: &str, table: &str) -> String {
    create(Dialect::Cassandra, &format!("{}.{}", quoted(keyspace), quoted(table)))
}

/// SQL for PostgreSQL that creates the table of users where it is missing, without a semicolon.
pub fn create_table_postgres(table: &str) -> String {
    create(Dialect::Postgres, &quoted(table))
}

/// SQL for SQLite that creates the table of users where it is missing, without a semicolon.
pub fn create_table_sqlite(table: &str) -> String {
    create(Dialect::Sqlite, &quoted(table))
}

fn create(dialect: Dialect, table: &str) -> String {
    let mut columns = Vec::with_capacity(COLUMNS.len());
    for column in COLUMNS {
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
        create_table(KEYSPACE, TABLE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting(dialect: Dialect) -> Vec<ExistingColumn> {
        let column = |c: &crate::record::Column| ExistingColumn {
            name: c.name.to_owned(),
            type_name: dialect.type_name(c.kind).to_owned(),
            in_primary_key: c.name == "id",
        };
        COLUMNS.iter().map(column).collect()
    }

    fn all() -> Vec<&'static str> {
        COLUMNS.iter().map(|c| c.name).collect()
    }

    fn set_type(columns: &mut [ExistingColumn], name: &str, type_name: &str) {
        for column in columns.iter_mut().filter(|c| c.name == name) {
            type_name.clone_into(&mut column.type_name);
        }
    }

    fn refusal(existing: &[ExistingColumn], wanted: &[&str]) -> (String, String) {
        let error = check_table(Dialect::Cassandra, "ks.t", existing, wanted).expect_err("it does not fit");
        assert_eq!(error.kind(), Kind::Config);
        (error.to_string(), error.hint_text().unwrap_or_default().to_owned())
    }

    #[test]
    fn schema_cql_is_what_the_record_says() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.cql");
        if std::env::var_os("USERPIPE_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, schema_cql()).expect("schema.cql can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == schema_cql(),
            "schema.cql differs from src/record.rs; write it again with\n    \
             USERPIPE_WRITE_SCHEMA=1 cargo test --lib schema_cql_is_what_the_record_says\nwanted:\n{}",
            schema_cql()
        );
    }

    #[test]
    fn what_we_create_fits_in_every_store() {
        for dialect in [Dialect::Cassandra, Dialect::Postgres, Dialect::Sqlite] {
            check_table(dialect, "t", &fitting(dialect), &all()).expect("our own table fits");
        }
    }

    #[test]
    fn sql_tables_have_the_types_of_their_store() {
        let postgres = create_table_postgres("created_users");
        assert!(postgres.starts_with("CREATE TABLE IF NOT EXISTS \"created_users\" (\n    id uuid PRIMARY KEY,\n"));
        assert!(postgres.contains("\n    dob timestamptz,\n"), "{postgres}");
        let sqlite = create_table_sqlite("created_users");
        assert!(sqlite.contains("    id TEXT PRIMARY KEY NOT NULL,\n"), "{sqlite}");
        assert!(sqlite.ends_with("    timestamp TEXT\n)"), "{sqlite}");
    }

    #[test]
    fn a_name_is_only_ever_a_name() {
        assert_eq!(quoted("order"), "\"order\"");
        assert_eq!(quoted("a\" (id int); --"), "\"a\"\" (id int); --\"");
        assert!(create_table("table", "order").starts_with("CREATE TABLE IF NOT EXISTS \"table\".\"order\" ("));
    }

    #[test]
    fn replication_is_written_for_each_data_centre() {
        let two = Replication::NetworkTopology(vec![("dc1".to_owned(), 3), ("o'hare".to_owned(), 2)]);
        assert!(create_keyspace("ks", &two).ends_with("{'class': 'NetworkTopologyStrategy', 'dc1': 3, 'o''hare': 2}"));
    }

    #[test]
    fn text_will_do_for_dates_and_extra_columns_are_fine() {
        for (dialect, text) in
            [(Dialect::Cassandra, "text"), (Dialect::Postgres, "character varying"), (Dialect::Sqlite, "text")]
        {
            let mut existing = fitting(dialect);
            set_type(&mut existing, "dob", text);
            existing.push(ExistingColumn { name: "x".to_owned(), type_name: "blob".to_owned(), in_primary_key: false });
            check_table(dialect, "t", &existing, &all()).expect("text takes a date");
        }
        let mut existing = fitting(Dialect::Postgres);
        set_type(&mut existing, "dob", "timestamp with time zone");
        check_table(Dialect::Postgres, "t", &existing, &all()).expect("as information_schema says it");
    }

    #[test]
    fn every_difference_is_spelled_out() {
        let mut existing = fitting(Dialect::Cassandra);
        set_type(&mut existing, "dob", "int");
        set_type(&mut existing, "phone", "bigint");
        existing.retain(|c| c.name != "picture" && c.name != "timestamp");
        let (text, hint) = refusal(&existing, &all());
        assert_eq!(
            text,
            "table ks.t does not fit: column phone is bigint, not text; column dob is int, not timestamp or text; \
             it has no column picture; it has no column timestamp"
        );
        let columns = "id,first_name,last_name,gender,email,username,address,post_code,registered_date";
        assert_eq!(hint, format!("write only what it has: --columns {columns}; or name another table with --table"));
        let fewer: Vec<&str> = columns.split(',').collect();
        check_table(Dialect::Cassandra, "ks.t", &existing, &fewer).expect("the hint helps");
    }

    #[test]
    fn the_id_alone_is_the_primary_key() {
        let mut existing = fitting(Dialect::Cassandra);
        set_type(&mut existing, "id", "text");
        let (text, hint) = refusal(&existing, &all());
        assert_eq!(text, "table ks.t does not fit: column id is text, not uuid");
        assert!(hint.contains("userpipe init-schema"), "{hint}");

        let mut existing = fitting(Dialect::Cassandra);
        for column in existing.iter_mut().filter(|c| c.name == "email") {
            column.in_primary_key = true;
        }
        let (text, _) = refusal(&existing, &all());
        assert_eq!(text, "table ks.t does not fit: its primary key is (id, email), not (id)");
    }
}
