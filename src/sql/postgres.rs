//! PostgreSQL, for the ledger and for the SQL sink.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgPool};

use super::{Tables, error};
use crate::config::{PostgresConfig, SslMode};
use crate::error::{Error, Kind, Result};
use crate::retry::deadline;
use crate::tls::{Fault, SettingNames};

static MIGRATIONS: Migrator = sqlx::migrate!("src/sql/migrations/postgres");

/// The schema that holds what is ours; the sink's table is in the user's search path.
pub(super) const SCHEMA: &str = "userpipe";
/// Connections of one process.
const CONNECTIONS_MAX: u32 = 8;
/// The server ends a statement of ours that takes longer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// An open database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The connections.
    pub pool: PgPool,
    /// `host:port/database`, for messages.
    pub place: String,
}

impl Postgres {
    /// Connects, with the password of the configuration or of `PGPASSFILE`.
    ///
    /// # Errors
    /// [`Kind::Unreachable`], [`Kind::Refused`] or [`Kind::Config`] (no such database).
    pub async fn connect(config: &PostgresConfig) -> Result<Self> {
        let mut options = PgConnectOptions::from_str(&config.url)
            .map_err(|e| Error::new(Kind::Config, "bad value of --postgres").because(e))?
            .application_name(concat!("userpipe/", env!("CARGO_PKG_VERSION")))
            .ssl_mode(ssl_mode(config.ssl_mode))
            .options([("statement_timeout", format!("{}ms", STATEMENT_TIMEOUT.as_millis()))]);
        // sqlx's words for a file that is missing or no PEM do not name it.
        if config.tls.ca.is_some() || config.tls.identity.is_some() {
            config.tls.client_config()?;
        }
        if let Some(password) = &config.password {
            options = options.password(password.expose());
        }
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let place = format!("{}:{}/{database}", options.get_host(), options.get_port());
        let connecting = async {
            // The pool tries for as long as it may and then says only that; one connection says why.
            let first = options.connect().await.map_err(|e| unreachable(config, &place, e))?;
            let _ = first.close().await;
            PgPoolOptions::new()
                .max_connections(CONNECTIONS_MAX)
                .acquire_timeout(config.connect_timeout)
                .connect_with(options)
                .await
                .map_err(|e| unreachable(config, &place, e))
        };
        let pool =
            deadline(config.connect_timeout, &format!("cannot connect to PostgreSQL at {place}"), connecting).await?;
        Ok(Self { pool, place })
    }

    /// Turns an SQL error of `what`, in this database, into ours.
    pub fn failed(&self, what: &str) -> impl FnOnce(sqlx::Error) -> Error + use<> {
        super::failed(what, &self.place)
    }

    /// Whether our schema is there.
    ///
    /// # Errors
    /// As sorted by [`super::Fault`].
    pub async fn has_ledger(&self) -> Result<bool> {
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("{SCHEMA}.outbox"))
            .fetch_one(&self.pool)
            .await
            .map_err(self.failed("cannot look for the ledger"))
    }

    /// How far our schema is. Changes nothing.
    ///
    /// # Errors
    /// As sorted by [`super::Fault`].
    pub async fn tables(&self) -> Result<Tables> {
        let failed = || self.failed("cannot look for the ledger");
        let is_there = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(format!("{SCHEMA}.migrations"));
        if !is_there.fetch_one(&self.pool).await.map_err(failed())? {
            return Ok(Tables::Missing);
        }
        let newest = AssertSqlSafe(format!("SELECT max(version) FROM {SCHEMA}.migrations"));
        let applied = sqlx::query_scalar(newest).fetch_one(&self.pool).await.map_err(failed())?;
        Ok(Tables::of(applied, &MIGRATIONS))
    }

    /// The server's version, and its clock in milliseconds since the epoch.
    ///
    /// # Errors
    /// As sorted by [`super::Fault`].
    pub async fn server(&self) -> Result<(String, i64)> {
        sqlx::query_as(
            "SELECT current_setting('server_version'), (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(self.failed("cannot ask PostgreSQL"))
    }

    /// Brings our schema to its newest version. Concurrent processes wait for each other (advisory lock).
    ///
    /// # Errors
    /// As sorted by [`super::Fault`]; [`Kind::Config`] when a newer userpipe wrote it.
    pub async fn migrate(&self) -> Result<()> {
        let mut migrator = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
        migrator.create_schema(SCHEMA);
        migrator.dangerous_set_table_name(format!("{SCHEMA}.migrations"));
        migrator.run(&self.pool).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::Execute(cause) | sqlx::migrate::MigrateError::ExecuteMigration(cause, _) => {
                error("cannot prepare the ledger's tables", &self.place, cause)
            }
            other => {
                Error::new(Kind::Config, "cannot prepare the ledger's tables").at(self.place.clone()).because(other)
            }
        })
    }
}

/// What the settings of the connection's TLS are called.
const SETTINGS: SettingNames = SettingNames {
    address: "--postgres",
    ca: "sslrootcert (in --postgres, or PGSSLROOTCERT)",
    identity: "sslcert and sslkey (in --postgres, or PGSSLCERT and PGSSLKEY)",
    without_tls: "set ssl = on in its postgresql.conf; or write sslmode=disable, and with a password for another machine \
                  --allow-plaintext-credentials",
};

fn ssl_mode(mode: SslMode) -> PgSslMode {
    match mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    }
}

fn unreachable(config: &PostgresConfig, place: &str, cause: sqlx::Error) -> Error {
    if let Some(fault) = tls_fault(&cause) {
        return fault.error(CANNOT_CONNECT, SETTINGS, config.tls.identity.is_some()).at(place);
    }
    let is_login = cause.as_database_error().is_some_and(|e| e.code().is_some_and(|code| code == "28000"));
    let error = error(CANNOT_CONNECT, place, cause);
    match error.kind() {
        Kind::Unreachable => {
            error.hint("check --postgres and that it is up (make up), or leave --postgres out to use SQLite")
        }
        // An unknown database is a schema fault to PostgreSQL, and not one that init-schema mends.
        Kind::Config => error.hint("create the database first, or name another one in --postgres"),
        // `invalid_authorization_specification`: pg_hba.conf has no line for this user, host, encryption or certificate.
        Kind::Refused if is_login => error.hint(
            "check the user name, sslmode, and sslcert with sslkey (in --postgres) against the server's pg_hba.conf",
        ),
        _ => error,
    }
}

const CANNOT_CONNECT: &str = "cannot connect to PostgreSQL";

fn tls_fault(cause: &sqlx::Error) -> Option<Fault> {
    match cause {
        // sqlx's own words for a server that answers `N` to the request for TLS.
        sqlx::Error::Tls(reason) if reason.to_string() == "server does not support TLS" => Some(Fault::NotTls),
        cause => Fault::of(cause),
    }
}
