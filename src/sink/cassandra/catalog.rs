//! What the cluster says about keyspaces, tables and their versions (`system_schema`, since Cassandra 3.0).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::query::QueryValues;
use cdrs_tokio::statement::{StatementParams, StatementParamsBuilder};
use cdrs_tokio::types::map::Map;
use cdrs_tokio::types::rows::Row;
use cdrs_tokio::types::value::Value;
use cdrs_tokio::types::{AsRustType, ByName};
use tokio::time::Instant;
use uuid::Uuid;

use super::failure;
use super::session::CqlSession;
use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};
use crate::sink::schema::ExistingColumn;

/// Pause between looks at the schema versions.
const AGREEMENT_POLL: Duration = Duration::from_millis(200);

/// Asks one session about the schema, each statement under the configured limit.
pub(super) struct Catalog<'a> {
    session: &'a CqlSession,
    config: &'a CassandraConfig,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(session: &'a CqlSession, config: &'a CassandraConfig) -> Self {
        Self { session, config }
    }

    /// The replication of the configured keyspace; `None` if it is not there.
    pub(super) async fn keyspace(&self) -> Result<Option<BTreeMap<String, String>>> {
        let cql = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let rows = self.rows(cql, vec![self.config.keyspace.as_str().into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let map: Map = row.r_by_name("replication").map_err(|error| self.unreadable(error))?;
        let replication: Option<HashMap<String, String>> =
            map.as_rust_type().map_err(|error| self.unreadable(error))?;
        Ok(Some(replication.unwrap_or_default().into_iter().collect()))
    }

    /// The columns of the configured table; none if it is not there.
    pub(super) async fn columns(&self) -> Result<Vec<ExistingColumn>> {
        let cql =
            "SELECT column_name, type, kind FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
        let names = vec![self.config.keyspace.as_str().into(), self.config.table.table.as_str().into()];
        let text = |row: &Row, name: &str| row.r_by_name::<String>(name).map_err(|error| self.unreadable(error));
        let mut columns = Vec::new();
        for row in self.rows(cql, names).await? {
            columns.push(ExistingColumn {
                name: text(&row, "column_name")?,
                type_name: text(&row, "type")?,
                in_primary_key: matches!(text(&row, "kind")?.as_str(), "partition_key" | "clustering"),
            });
        }
        Ok(columns)
    }

    /// Waits until every node that the coordinator can see has the same schema; `false` if they differ at the end.
    pub(super) async fn agreement(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let mut versions = self.versions("SELECT schema_version FROM system.local").await?;
            versions.extend(self.versions("SELECT schema_version FROM system.peers").await?);
            versions.sort_unstable();
            versions.dedup();
            if versions.len() <= 1 {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(AGREEMENT_POLL).await;
        }
    }

    async fn versions(&self, cql: &str) -> Result<Vec<Uuid>> {
        let mut versions = Vec::new();
        for row in self.rows(cql, Vec::new()).await? {
            // A peer that has not said yet has null.
            versions.extend(row.by_name::<Uuid>("schema_version").map_err(|error| self.unreadable(error))?);
        }
        Ok(versions)
    }

    /// Executes a statement that gives no rows.
    pub(super) async fn execute(&self, cql: &str) -> Result<()> {
        self.rows(cql, Vec::new()).await.map(drop)
    }

    async fn rows(&self, cql: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        let what = "cannot ask Cassandra";
        let limit = self.config.request_timeout;
        let asking = self.session.query_with_params(cql, params(values));
        let Ok(answer) = tokio::time::timeout(limit, asking).await else {
            let why = format!("no answer within {}", humantime::format_duration(limit));
            return Err(Error::new(Kind::Unreachable, what).at(self.place()).because(why));
        };
        let envelope = answer.map_err(|error| failure::explain(what, error).at(self.place()))?;
        let body = envelope.response_body().map_err(|error| self.unreadable(error))?;
        Ok(body.into_rows().unwrap_or_default())
    }

    fn unreadable(&self, error: CqlError) -> Error {
        Error::new(Kind::Failed, "cannot read Cassandra's schema").at(self.place()).because(error)
    }

    fn place(&self) -> String {
        self.config.contact_points.join(",")
    }
}

fn params(values: Vec<Value>) -> StatementParams {
    let builder = StatementParamsBuilder::new().idempotent(true);
    if values.is_empty() { builder.build() } else { builder.with_values(QueryValues::SimpleValues(values)).build() }
}
