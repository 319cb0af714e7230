//! The session in use, and its replacement when it stays broken.
//!
//! The driver reconnects by itself, but it has stayed dead after outages. So when every statement of a session has
//! failed for [`BROKEN_MAX`], a new session is made beside it, with preflight, table check and prepared statements,
//! and takes its place; statements in progress end on the old one. One replacement is made at a time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cdrs_tokio::query::PreparedQuery;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::balancing::CqlCluster;
use super::catalog::Catalog;
use super::failure;
use super::lookup::TimeColumn;
use super::replicas::Replicas;
use super::session::{self, Connected};
use super::statements::Statements;
use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};
use crate::sink::schema::{self, Dialect};

/// How long every statement of a session may fail before a new session is made; also the pause between attempts.
const BROKEN_MAX: Duration = Duration::from_secs(10);

/// A session with its prepared statements.
pub(super) struct Live {
    pub(super) connected: Connected,
    pub(super) statements: Statements,
    /// How the table keeps the time of a record.
    pub(super) time_column: TimeColumn,
    /// The read, prepared when it is first needed.
    pub(super) select: OnceCell<PreparedQuery>,
    /// The replicas, as of a state of the cluster.
    replicas: Mutex<Option<(Arc<CqlCluster>, Arc<Replicas>)>>,
    health: Mutex<Health>,
}

impl Live {
    /// Connects, checks the table and prepares the statements.
    async fn open(config: &CassandraConfig) -> Result<Self> {
        let connected = session::connect(config).await?;
        let catalog = Catalog::new(&connected, config);
        let columns = catalog.columns().await?;
        if columns.is_empty() {
            let keyspace = catalog.keyspace().await?;
            return Err(missing(config, keyspace.is_some()));
        }
        schema::check_table(Dialect::Cassandra, &table(config), &columns, &config.table.columns)?;
        let preparing = Statements::prepare(&connected, config, &columns);
        let statements = match tokio::time::timeout(config.request_timeout, preparing).await {
            Ok(prepared) => prepared
                .map_err(|error| failure::explain(format!("cannot prepare writes to {}", table(config)), error))?,
            Err(_) => {
                return Err(Error::new(Kind::Unreachable, format!("cannot prepare writes to {}", table(config)))
                    .because(format!("no answer within {}", humantime::format_duration(config.request_timeout))));
            }
        };
        let time_column = TimeColumn::of(&config.table.columns, &columns);
        let (select, replicas, health) = (OnceCell::new(), Mutex::default(), Mutex::default());
        Ok(Self { connected, statements, time_column, select, replicas, health })
    }

    /// Which rows have the same replicas, as far as the driver knows the cluster now.
    pub(super) fn replicas(&self, config: &CassandraConfig) -> Arc<Replicas> {
        let cluster = self.connected.session.cluster_metadata();
        let mut known = lock(&self.replicas);
        match &*known {
            Some((of, replicas)) if Arc::ptr_eq(of, &cluster) => Arc::clone(replicas),
            _ => {
                let replicas = Arc::new(Replicas::of(&cluster, &config.keyspace, config.local_dc.as_deref()));
                *known = Some((cluster, Arc::clone(&replicas)));
                replicas
            }
        }
    }

    /// A statement sent to `node` was answered, whatever the answer.
    pub(super) fn answered(&self, node: Option<SocketAddr>) {
        lock(&self.health).answered();
        if let Some(node) = node {
            self.connected.suspects.answered(node);
        }
    }

    /// Whether the nodes have different schemas now: what one of them says of a table is not the last word then.
    pub(super) async fn schema_is_in_flux(&self, config: &CassandraConfig) -> bool {
        matches!(Catalog::new(&self.connected, config).agreement(Duration::ZERO).await, Ok(false))
    }

    /// A statement sent to `node` ran out of time.
    pub(super) fn silent(&self, node: Option<SocketAddr>) {
        let now = Instant::now();
        lock(&self.health).last_silence = Some(now);
        if let Some(node) = node {
            self.connected.suspects.silent(node, now);
        }
    }

    /// Whether a statement has run out of time since then, and none was answered after it.
    pub(super) fn silent_since(&self, since: Instant) -> bool {
        lock(&self.health).last_silence.is_some_and(|at| at >= since)
    }

    /// Why this silent session cannot be replaced, if that needs a person.
    pub(super) fn blocked(&self) -> Option<Error> {
        lock(&self.health).blocked.as_ref().map(Blocked::error)
    }
}

/// Since when a session has answered nothing. Pure, apart from the clock that is handed in.
#[derive(Debug, Default)]
struct Health {
    first_failure: Option<Instant>,
    last_silence: Option<Instant>,
    /// Why its replacement failed, if a person is needed: delivery must hear of it.
    blocked: Option<Blocked>,
}

impl Health {
    fn answered(&mut self) {
        *self = Self::default();
    }

    /// Notes a failure; `true` once they have lasted so long that the session should be replaced.
    fn failed(&mut self, now: Instant) -> bool {
        let first = *self.first_failure.get_or_insert(now);
        now.saturating_duration_since(first) >= BROKEN_MAX
    }
}

/// Where the replacement stands.
#[derive(Debug, Default)]
struct Repair {
    running: Option<AbortHandle>,
    not_before: Option<Instant>,
    closed: bool,
}

/// An error that can be handed out more than once.
#[derive(Clone, Debug)]
struct Blocked {
    kind: Kind,
    text: String,
    hint: Option<String>,
}

impl Blocked {
    /// `None` for what may pass by itself.
    fn from_error(error: &Error) -> Option<Self> {
        matches!(error.kind(), Kind::Refused | Kind::Config).then(|| Self {
            kind: error.kind(),
            text: error.to_string(),
            hint: error.hint_text().map(str::to_owned),
        })
    }

    fn error(&self) -> Error {
        let error = Error::new(self.kind, self.text.clone());
        match &self.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

/// The session in use. Each statement takes a handle on it, and keeps it if it is replaced meanwhile.
pub(super) struct Link {
    config: CassandraConfig,
    live: RwLock<Arc<Live>>,
    repair: Mutex<Repair>,
}

impl Link {
    /// Opens the first session.
    pub(super) async fn open(config: CassandraConfig) -> Result<Arc<Self>> {
        let live = Live::open(&config).await?;
        Ok(Arc::new(Self { config, live: RwLock::new(Arc::new(live)), repair: Mutex::default() }))
    }

    pub(super) fn config(&self) -> &CassandraConfig {
        &self.config
    }

    /// The session to use for the next statement.
    pub(super) fn current(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A statement of `live` got no usable answer. Starts the replacement once that has lasted.
    pub(super) fn failed(self: &Arc<Self>, live: &Arc<Live>) {
        let now = Instant::now();
        if !lock(&live.health).failed(now) || !Arc::ptr_eq(live, &self.current()) {
            return;
        }
        let mut repair = lock(&self.repair);
        let running = repair.running.as_ref().is_some_and(|task| !task.is_finished());
        if repair.closed || running || repair.not_before.is_some_and(|at| now < at) {
            return;
        }
        tracing::warn!(
            "Cassandra has taken no statement for {}: connecting anew",
            humantime::format_duration(BROKEN_MAX)
        );
        let (link, live) = (Arc::clone(self), Arc::clone(live));
        repair.running = Some(tokio::spawn(async move { link.replace(&live).await }).abort_handle());
    }

    /// Makes a new session and puts it in place of `old`.
    async fn replace(&self, old: &Live) {
        let opened = Live::open(&self.config).await;
        let mut repair = lock(&self.repair);
        repair.running = None;
        match opened {
            Ok(live) => {
                repair.not_before = None;
                *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
                tracing::info!("connected to Cassandra anew");
            }
            Err(error) => {
                tracing::warn!("{error}");
                repair.not_before = Some(Instant::now() + BROKEN_MAX);
                lock(&old.health).blocked = Blocked::from_error(&error);
            }
        }
    }

    /// Ends a replacement that is being made, and starts no other.
    pub(super) fn close(&self) {
        let mut repair = lock(&self.repair);
        repair.closed = true;
        if let Some(running) = repair.running.take() {
            running.abort();
        }
    }
}

pub(super) fn missing(config: &CassandraConfig, keyspace_is_there: bool) -> Error {
    let what = if keyspace_is_there {
        format!("there is no table {} in Cassandra", table(config))
    } else {
        format!("there is no keyspace {} in Cassandra", config.keyspace)
    };
    let with = config.table.with().map(|names| format!(" --with {names}")).unwrap_or_default();
    Error::new(Kind::Config, what).at(config.contact_points.join(",")).hint(format!(
        "make it: userpipe init-schema --cassandra {} --keyspace {} --table {}{with}",
        config.contact_points.join(","),
        config.keyspace,
        config.table.table
    ))
}

/// The table as statements name it.
pub(super) fn quoted_table(config: &CassandraConfig) -> String {
    format!("{}.{}", schema::quoted(&config.keyspace), schema::quoted(&config.table.table))
}

/// `keyspace.table`, for messages.
pub(super) fn table(config: &CassandraConfig) -> String {
    format!("{}.{}", config.keyspace, config.table.table)
}

/// The guarded values stay consistent whatever panics, so a poisoned lock is as good as a clean one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_replaced_only_when_everything_has_failed_for_the_whole_time() {
        let start = Instant::now();
        let mut health = Health::default();
        assert!(!health.failed(start));
        assert!(!health.failed(start + BROKEN_MAX / 2));
        assert!(health.failed(start + BROKEN_MAX));

        health.answered();
        assert!(!health.failed(start + BROKEN_MAX), "one answer starts the count again");
        assert!(!health.failed(start + BROKEN_MAX + BROKEN_MAX / 2));
        assert!(health.failed(start + BROKEN_MAX * 2));
    }
}
