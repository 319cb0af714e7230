//! Reads and prepares tables with plain CQL, apart from the code under test.

use std::collections::HashMap;
use std::time::Duration;

use cdrs_tokio::cluster::session::{Session, SessionBuilder as _, TcpSessionBuilder};
use cdrs_tokio::cluster::{NodeTcpConfigBuilder, TcpConnectionManager};
use cdrs_tokio::frame::Version;
use cdrs_tokio::load_balancing::RoundRobinLoadBalancingStrategy;
use cdrs_tokio::transport::TransportTcp;
use cdrs_tokio::types::ByName as _;
use cdrs_tokio::types::rows::Row;
use uuid::Uuid;

type Plain =
    Session<TransportTcp, TcpConnectionManager, RoundRobinLoadBalancingStrategy<TransportTcp, TcpConnectionManager>>;

/// A session for looking.
pub(crate) struct Reader(Plain);

impl Reader {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::connect_as(address, None).await
    }

    pub(crate) async fn connect_as(address: &str, login: Option<(&str, &str)>) -> Self {
        let mut node = NodeTcpConfigBuilder::new().with_contact_point(address.into()).with_version(Version::V4);
        if let Some((user, password)) = login {
            let provider = cdrs_tokio::authenticators::StaticPasswordAuthenticatorProvider::new(user, password);
            node = node.with_authenticator_provider(std::sync::Arc::new(provider));
        }
        let node = node.build().await.expect("the address resolves");
        let building = TcpSessionBuilder::new(RoundRobinLoadBalancingStrategy::new(), node).build();
        let session = tokio::time::timeout(Duration::from_secs(20), building).await.expect("Cassandra answers");
        Self(session.expect("a session"))
    }

    /// Executes CQL; the rows it gives.
    pub(crate) async fn cql(&self, cql: &str) -> Vec<Row> {
        let envelope = self.0.query(cql).await.unwrap_or_else(|error| panic!("{cql}: {error}"));
        envelope.response_body().expect("a body").into_rows().unwrap_or_default()
    }

    pub(crate) async fn ids(&self, table: &str) -> Vec<Uuid> {
        let rows = self.cql(&format!("SELECT id FROM {table}")).await;
        let mut ids: Vec<Uuid> = rows.iter().map(|row| row.r_by_name("id").expect("an id")).collect();
        ids.sort_unstable();
        ids
    }

    /// The row with this id as Cassandra itself prints it in JSON.
    pub(crate) async fn row(&self, table: &str, id: Uuid) -> Option<HashMap<String, serde_json::Value>> {
        let rows = self.cql(&format!("SELECT JSON * FROM {table} WHERE id = {id}")).await;
        let text: String = rows.first()?.r_by_name("[json]").expect("a JSON column");
        Some(serde_json::from_str(&text).expect("JSON"))
    }
}
