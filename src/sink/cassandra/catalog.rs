//! What the cluster says about keyspaces, tables and their versions (`system_schema`, since Cassandra 3.0).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::frame::message_query::BodyReqQuery;
use cdrs_tokio::frame::{Envelope, Flags};
use cdrs_tokio::query::{QueryParams, QueryValues};
use cdrs_tokio::statement::{StatementParams, StatementParamsBuilder};
use cdrs_tokio::transport::CdrsTransport as _;
use cdrs_tokio::types::map::Map;
use cdrs_tokio::types::rows::Row;
use cdrs_tokio::types::value::Value;
use cdrs_tokio::types::{AsRustType, ByName};
use futures::future::join_all;
use tokio::time::Instant;
use uuid::Uuid;

use super::balancing::CqlNode;
use super::checkup::Node;
use super::failure;
use super::session::Connected;
use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};
use crate::sink::schema::ExistingColumn;

/// Pause between looks at the schema versions.
const AGREEMENT_POLL: Duration = Duration::from_millis(200);

/// How long a node may take to say its schema version before it counts as away.
const NODE_ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Asks one session about the schema, each statement under the configured limit.
pub(super) struct Catalog<'a> {
    connected: &'a Connected,
    config: &'a CassandraConfig,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(connected: &'a Connected, config: &'a CassandraConfig) -> Self {
        Self { connected, config }
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

    /// What the node that is asked says of itself.
    pub(super) async fn node(&self) -> Result<Node> {
        let cql = "SELECT release_version, cluster_name, toTimestamp(now()) AS clock FROM system.local";
        let rows = self.rows(cql, Vec::new()).await?;
        let failed = || Error::new(Kind::Failed, "cannot read Cassandra's version").at(self.place());
        let row = rows.first().ok_or_else(failed)?;
        let text = |name: &str| row.r_by_name::<String>(name).map_err(|error| self.unreadable(error));
        let now_ms = row.r_by_name("clock").map_err(|error| self.unreadable(error))?;
        Ok(Node { version: text("release_version")?, cluster: text("cluster_name")?, now_ms })
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

    /// Waits until all nodes that answer have the same schema; `false` if they still differ at the end.
    pub(super) async fn agreement(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let metadata = self.connected.session.cluster_metadata();
            let asking = metadata.nodes().values().map(|node| self.schema_version(node));
            let answers = join_all(asking).await.into_iter().collect::<Result<Vec<_>>>()?;
            let versions: BTreeSet<_> = answers.into_iter().flatten().collect();
            if versions.len() <= 1 {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(AGREEMENT_POLL).await;
        }
    }

    /// The schema version of one node, asked there: what a coordinator says of its peers lags behind, and each
    /// statement of a session may have another coordinator. `None` for a node that does not answer, as one that is
    /// down must not hold up the others; it catches up when it is back.
    async fn schema_version(&self, node: &CqlNode) -> Result<Option<Uuid>> {
        let query = BodyReqQuery {
            query: "SELECT schema_version FROM system.local".to_owned(),
            query_params: QueryParams::default(),
        };
        let envelope = Envelope::new_query(query, Flags::empty(), self.connected.version);
        let asking = async {
            let connection = node.persistent_connection().await?;
            connection.write_envelope(&envelope, false).await
        };
        let Ok(Ok(answer)) = tokio::time::timeout(NODE_ANSWER_WAIT, asking).await else {
            tracing::debug!("no schema version from the Cassandra node {}", node.broadcast_rpc_address());
            return Ok(None);
        };
        let body = answer.response_body().map_err(|error| self.unreadable(error))?;
        let rows = body.into_rows().unwrap_or_default();
        let Some(row) = rows.first() else { return Ok(None) };
        row.by_name("schema_version").map_err(|error| self.unreadable(error))
    }

    /// Executes a statement that gives no rows.
    pub(super) async fn execute(&self, cql: &str) -> Result<()> {
        self.rows(cql, Vec::new()).await.map(drop)
    }

    async fn rows(&self, cql: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        let what = "cannot ask Cassandra";
        let limit = self.config.request_timeout;
        let asking = self.connected.session.query_with_params(cql, params(values));
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
