//! SQLite and PostgreSQL, opened and migrated in one place for ledger, embedded bus and SQL sinks.
//!
//! Also the one place that sorts their errors: what may pass, what needs a person, what is the record's own fault.

mod postgres;
mod rows;
mod scratch;
mod shared;
mod sqlite;

pub use postgres::Postgres;
pub use rows::RowStatements;
pub use scratch::{scratch, scratch_failed};
pub use shared::{Fate, Work};
pub use sqlite::Sqlite;
#[cfg(test)]
pub(crate) use sqlite::write_version_1;

use crate::error::{Error, Kind};

/// How far the tables of ours are that are found in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// None are there yet.
    Missing,
    /// Those of an older userpipe, which the next command brings up to date.
    Older,
    /// Those of this userpipe.
    Current,
    /// Those of a newer userpipe, which this one does not know.
    Newer,
}

impl Tables {
    /// Compares the newest migration that was applied with the newest that is known.
    fn of(applied: Option<i64>, migrations: &sqlx::migrate::Migrator) -> Self {
        let known = migrations.iter().map(|migration| migration.version).max().unwrap_or_default();
        match applied {
            None => Tables::Missing,
            Some(version) if version < known => Tables::Older,
            Some(version) if version == known => Tables::Current,
            Some(_) => Tables::Newer,
        }
    }
}

/// How an SQL error is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The data of this statement can never be stored.
    Data,
    /// It may succeed later.
    Passing,
    /// Credentials or a permission.
    Refused,
    /// A missing table, column or database.
    Schema,
    /// The local disk: full, read-only or broken.
    Disk,
}

impl Fault {
    /// Sorts an error by its SQLSTATE (PostgreSQL, appendix A of its manual) or result code (SQLite).
    pub fn of(error: &sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::ColumnNotFound(_) => Fault::Schema,
                sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => Fault::Data,
                _ => Fault::Passing,
            };
        };
        let code = database.code().unwrap_or_default();
        if database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return code.parse().map_or(Fault::Passing, Self::of_sqlite);
        }
        Self::of_sqlstate(&code)
    }

    fn of_sqlite(extended: i32) -> Self {
        match extended & 0xff {
            // READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB
            8 | 10 | 11 | 13 | 14 | 26 => Fault::Disk,
            // TOOBIG, CONSTRAINT, MISMATCH
            18..=20 => Fault::Data,
            // PERM, AUTH
            3 | 23 => Fault::Refused,
            // ERROR: "no such table", "no such column"
            1 => Fault::Schema,
            // BUSY, LOCKED and the rest
            _ => Fault::Passing,
        }
    }

    fn of_sqlstate(code: &str) -> Self {
        match code {
            "42501" => Fault::Refused,
            // program_limit_exceeded: a value too large for the row or its index
            "54000" => Fault::Data,
            _ => match code.get(..2).unwrap_or_default() {
                "22" | "23" => Fault::Data,
                "28" => Fault::Refused,
                "3D" | "3F" | "42" => Fault::Schema,
                _ => Fault::Passing,
            },
        }
    }

    /// The exit code of a command that ends with it.
    pub fn kind(self) -> Kind {
        match self {
            Fault::Data => Kind::Failed,
            Fault::Passing => Kind::Unreachable,
            Fault::Refused => Kind::Refused,
            Fault::Schema => Kind::Config,
            Fault::Disk => Kind::LocalIo,
        }
    }
}

/// An error of `what` at `place`, sorted, with a hint where one helps.
pub fn error(what: &str, place: &str, cause: sqlx::Error) -> Error {
    sorted(what, place, &cause).because(tidy(cause))
}

/// As [`error`], for a cause that many errors share: its words are the caller's to add.
pub fn sorted(what: &str, place: &str, cause: &sqlx::Error) -> Error {
    let fault = Fault::of(cause);
    let error = Error::new(fault.kind(), what).at(place);
    match fault {
        Fault::Refused => error.hint("check the user name and PGPASSWORD, --postgres-password-file or PGPASSFILE"),
        Fault::Schema => error.hint("create what is missing with 'userpipe init-schema' and the same options"),
        Fault::Disk if is_no_database(cause) => {
            error.hint("it is damaged, or another program's: choose another place with --data-dir")
        }
        Fault::Disk => error.hint("free some disk space, or choose another place with --data-dir"),
        Fault::Data | Fault::Passing => error,
    }
}

/// SQLite's CORRUPT and NOTADB: more disk space would not help.
fn is_no_database(cause: &sqlx::Error) -> bool {
    let code =
        cause.as_database_error().and_then(sqlx::error::DatabaseError::code).and_then(|code| code.parse::<i32>().ok());
    matches!(code.map(|code| code & 0xff), Some(11 | 26))
}

/// As [`error`], for `map_err`: it keeps what was being done, and where.
fn failed(what: &str, place: &str) -> impl FnOnce(sqlx::Error) -> Error + use<> {
    let (what, place) = (what.to_owned(), place.to_owned());
    move |cause| error(&what, &place, cause)
}

/// The database's own words where it sent some, without sqlx's wrapping.
fn tidy(cause: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match cause {
        sqlx::Error::Database(error) => error.message().to_owned().into(),
        sqlx::Error::Io(error) => error.into(),
        sqlx::Error::PoolTimedOut => "no connection became free in time".into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_sorted() {
        for (code, fault) in [
            ("22021", Fault::Data),
            ("23502", Fault::Data),
            ("28P01", Fault::Refused),
            ("42501", Fault::Refused),
            ("42P01", Fault::Schema),
            ("3D000", Fault::Schema),
            ("57P03", Fault::Passing),
            ("53300", Fault::Passing),
            ("40P01", Fault::Passing),
        ] {
            assert_eq!(Fault::of_sqlstate(code), fault, "{code}");
        }
    }

    #[test]
    fn sqlite_codes_are_sorted_by_their_primary_part() {
        assert_eq!(Fault::of_sqlite(13), Fault::Disk);
        assert_eq!(Fault::of_sqlite(778), Fault::Disk, "SQLITE_IOERR_WRITE");
        assert_eq!(Fault::of_sqlite(517), Fault::Passing, "SQLITE_BUSY_SNAPSHOT");
        assert_eq!(Fault::of_sqlite(1299), Fault::Data, "SQLITE_CONSTRAINT_NOTNULL");
    }
}
