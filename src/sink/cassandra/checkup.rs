//! A cluster that may be set up wrongly, asked step by step. Changes nothing.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::catalog::Catalog;
use super::link;
use super::session::{self, Connected};
use crate::config::CassandraConfig;
use crate::error::{Kind, Result};
use crate::secret::Secret;
use crate::sink::schema::{self, Dialect};

/// What the node that was asked says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The release.
    pub version: String,
    /// The name of its cluster.
    pub cluster: String,
    /// Its clock in milliseconds since the epoch.
    pub now_ms: i64,
}

/// A session whose login was accepted.
pub struct Checkup {
    connected: Connected,
    config: CassandraConfig,
}

impl std::fmt::Debug for Checkup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkup").field("contact_points", &self.config.contact_points).finish_non_exhaustive()
    }
}

impl Checkup {
    /// Connects and logs in, whatever the data centre, the keyspace and the table.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] if no contact point answers within the connect timeout, [`Kind::Refused`] for bad credentials.
    pub async fn open(config: &CassandraConfig) -> Result<Self> {
        // With a data centre that is not there, no node could be asked.
        let anywhere = CassandraConfig { local_dc: None, ..config.clone() };
        Ok(Self { connected: session::connect(&anywhere).await?, config: config.clone() })
    }

    /// What one node says of itself.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] where it does not answer in time.
    pub async fn node(&self) -> Result<Node> {
        self.catalog().node().await
    }

    /// The nodes of each data centre that are known to the driver.
    #[must_use]
    pub fn data_centres(&self) -> BTreeMap<String, usize> {
        let mut centres = BTreeMap::new();
        for node in self.connected.session.cluster_metadata().nodes().values() {
            *centres.entry(node.datacenter().to_owned()).or_default() += 1;
        }
        centres
    }

    /// Whether there are nodes in the configured data centre, where one is.
    ///
    /// # Errors
    /// [`Kind::Config`] with those that there are.
    pub fn check_local_dc(&self) -> Result<()> {
        session::check_local_dc(&self.config, &self.connected.session)
    }

    /// The replication of the configured keyspace; `None` if it is not there.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] where there is no answer in time.
    pub async fn keyspace(&self) -> Result<Option<BTreeMap<String, String>>> {
        self.catalog().keyspace().await
    }

    /// The error for a keyspace that is not there.
    #[must_use]
    pub fn missing_keyspace(&self) -> crate::error::Error {
        link::missing(&self.config, false)
    }

    /// Whether the table is there and fits.
    ///
    /// # Errors
    /// [`Kind::Config`] for a table that is missing or does not fit.
    pub async fn check_table(&self) -> Result<()> {
        let columns = self.catalog().columns().await?;
        if columns.is_empty() {
            return Err(link::missing(&self.config, true));
        }
        schema::check_table(Dialect::Cassandra, &link::table(&self.config), &columns, &self.config.table.columns)
    }

    fn catalog(&self) -> Catalog<'_> {
        Catalog::new(&self.connected, &self.config)
    }
}

/// Whether the cluster accepts the configured user with a password that nobody has chosen, and so looks at none
/// (`AllowAllAuthenticator`, which is its default).
///
/// # Errors
/// [`Kind::Unreachable`] if it cannot be asked.
pub async fn takes_any_password(config: &CassandraConfig) -> Result<bool> {
    let Some((user, _)) = &config.login else { return Ok(false) };
    let nobodys = Secret::new(Uuid::now_v7().to_string());
    match session::log_in(&CassandraConfig { login: Some((user.clone(), nobodys)), ..config.clone() }).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Kind::Refused => Ok(false),
        Err(error) => Err(error),
    }
}
