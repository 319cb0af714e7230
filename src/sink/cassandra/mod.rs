//! The Cassandra sink: unlogged batches of prepared upserts by id, with the record's own time as the write time.
//!
//! - [`CassandraSink`]: the [`Sink`]; bounds what is in flight
//! - `writing`: from changes to outcomes; `batching`: which rows share a batch; `replicas`: which rows have the same replicas
//! - `link`: the session in use, and its replacement when it stays broken
//! - `session`: connecting, with the true error; `wire`: one connection, plain or TLS; `balancing`: which nodes a statement goes to
//! - `lookup`: which ids have a row
//! - `statements`: what is bound and sent, `write_time`: with which time; `failure`: what an error means; `catalog`: what the cluster's schema says
//! - [`DryRun`]: a write up to its first byte of I/O, for benchmarks
//! - [`Checkup`]: a cluster that may be set up wrongly, asked step by step
//! - [`init_schema`]: makes keyspace and table; [`init_statements`] says how
//!
//! The order of writes does not matter: Cassandra keeps the cell with the higher write time, and between equal ones
//! decides the same way on every replica.

mod balancing;
mod batching;
mod catalog;
mod checkup;
mod dry_run;
mod failure;
mod init;
mod link;
mod lookup;
mod replicas;
mod session;
mod statements;
mod wire;
mod write_time;
mod writing;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Semaphore;
use uuid::Uuid;

pub use checkup::{Checkup, Node, takes_any_password};
pub use dry_run::DryRun;
pub use init::{additions, init_schema, init_statements};

use crate::config::CassandraConfig;
use crate::error::Result;
use crate::sink::{Change, Found, Outcome, Sink};
use link::Link;

/// Writes that may be made at once: enough to keep the rows in flight at their limit from write to write.
const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// The most reads in flight; a read has one row, so that there are fewer of them than rows written.
const READS_IN_FLIGHT_MAX: usize = 128;

/// Attempts at one request, all within the request timeout, before the change is handed back.
const ATTEMPTS_MAX: usize = 3;

/// The first delay between attempts; it doubles.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);

/// The longest delay between attempts.
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// Writes to one Cassandra table.
pub struct CassandraSink {
    link: Arc<Link>,
    rows_in_flight: Semaphore,
    reads_in_flight: Semaphore,
    /// The bound on the bytes of a batch: lowered when Cassandra refuses one for its size.
    batch_bytes: AtomicUsize,
}

impl std::fmt::Debug for CassandraSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CassandraSink").finish_non_exhaustive()
    }
}

impl CassandraSink {
    /// Connects, checks that keyspace and table are there and fit, and prepares the statements.
    ///
    /// # Errors
    /// [`Kind::Unreachable`](crate::error::Kind::Unreachable) if no contact point answers within the connect timeout,
    /// [`Kind::Refused`](crate::error::Kind::Refused) for bad credentials, [`Kind::Config`](crate::error::Kind::Config) for
    /// a keyspace, table or data centre that is missing or does not fit.
    pub async fn connect(config: CassandraConfig) -> Result<Self> {
        let rows_max = config.statements_in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            link: Link::open(config).await?,
            rows_in_flight: Semaphore::new(rows_max),
            reads_in_flight: Semaphore::new(rows_max.min(READS_IN_FLIGHT_MAX)),
            batch_bytes: AtomicUsize::new(batching::BYTES_MAX),
        })
    }
}

impl Sink for CassandraSink {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        self.write_all(changes).await
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Found> {
        self.look_up(ids).await
    }

    fn batches_in_flight_max(&self) -> usize {
        BATCHES_IN_FLIGHT_MAX
    }

    async fn close(&self) -> Result<()> {
        self.link.close();
        self.rows_in_flight.close();
        self.reads_in_flight.close();
        Ok(())
    }
}
