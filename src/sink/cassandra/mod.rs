//! The Cassandra sink: concurrent prepared upserts by id, with the record's own time as the write time.
//!
//! - [`CassandraSink`]: the [`Sink`]; bounds what is in flight and turns failures into outcomes
//! - `link`: the session in use, and its replacement when it stays broken
//! - `session`: connecting, with the true error; `wire`: one connection, plain or TLS; `balancing`: which nodes a statement goes to
//! - `lookup`: which ids have a row
//! - `statements`: what is bound, `write_time`: with which time; `failure`: what an error means; `catalog`: what the cluster's schema says
//! - [`Checkup`]: a cluster that may be set up wrongly, asked step by step
//! - [`init_schema`]: makes keyspace and table; [`init_statements`] says how
//!
//! The order of writes does not matter: Cassandra keeps the cell with the higher write time, and between equal ones
//! decides the same way on every replica.

mod balancing;
mod catalog;
mod checkup;
mod failure;
mod init;
mod link;
mod lookup;
mod session;
mod statements;
mod wire;
mod write_time;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

pub use checkup::{Checkup, Node, takes_any_password};
pub use init::{additions, init_schema, init_statements};

use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};
use crate::retry;
use crate::sink::{Change, Found, Outcome, Sink};
use failure::Class;
use link::{Link, Live};

/// Batches that may be written at once: enough to keep the statements in flight at their limit from batch to batch.
const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// Attempts at one statement, all within the request timeout, before the change is handed back.
const ATTEMPTS_MAX: usize = 3;

/// The first delay between attempts; it doubles.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);

/// The longest delay between attempts.
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// Writes to one Cassandra table.
pub struct CassandraSink {
    link: Arc<Link>,
    in_flight: Semaphore,
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
    /// [`Kind::Unreachable`] if no contact point answers within the connect timeout, [`Kind::Refused`] for bad
    /// credentials, [`Kind::Config`] for a keyspace, table or data centre that is missing or does not fit.
    pub async fn connect(config: CassandraConfig) -> Result<Self> {
        let in_flight = Semaphore::new(config.statements_in_flight_max.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self { link: Link::open(config).await?, in_flight })
    }

    async fn write_one(&self, change: &Change) -> Outcome {
        let queued_at = Instant::now();
        let Ok(_permit) = self.in_flight.acquire().await else {
            return Outcome::Retry(Error::new(Kind::Incomplete, "the Cassandra sink is closed"));
        };
        // While Cassandra is silent, each statement before this one has taken its whole time limit. Waiting as long
        // again would make a batch's time the sum of those.
        let live = self.link.current();
        if live.silent_since(queued_at) {
            return self.no_answer(&live, "it has not answered the statements before this one");
        }
        self.attempts(change, Instant::now() + self.link.config().request_timeout).await
    }

    /// Tries a change until it is written or refused, or attempts or time are used up.
    async fn attempts(&self, change: &Change, deadline: Instant) -> Outcome {
        let mut delays = retry::request_backoff(RETRY_DELAY_MIN, RETRY_DELAY_MAX, ATTEMPTS_MAX);
        loop {
            let live = self.link.current();
            let trying = tokio::time::timeout_at(deadline, execute(&live, change));
            let (answer, node) = balancing::noting_first_node(trying).await;
            let Ok(answer) = answer else {
                self.link.failed(&live);
                live.silent(node);
                let limit = humantime::format_duration(self.link.config().request_timeout);
                return self.no_answer(&live, &format!("no answer within {limit}"));
            };
            let Err(error) = answer else {
                live.answered(node);
                return Outcome::Written;
            };
            let class = failure::classify(&error);
            match class {
                Class::Broken | Class::Unprepared => self.link.failed(&live),
                Class::Busy | Class::Refused | Class::Config | Class::Value => live.answered(node),
            }
            let error = failure::explain(self.doing(), error);
            match class {
                Class::Value => return Outcome::Poison(error.to_string()),
                Class::Refused => return Outcome::Blocked(error),
                Class::Config if !live.schema_is_in_flux(self.link.config()).await => return Outcome::Blocked(error),
                Class::Config | Class::Busy | Class::Broken | Class::Unprepared => {}
            }
            match delays.next() {
                Some(delay) if Instant::now() + delay < deadline => tokio::time::sleep(delay).await,
                _ => return later(&live, error),
            }
        }
    }

    fn no_answer(&self, live: &Live, why: &str) -> Outcome {
        later(live, Error::new(Kind::Unreachable, self.doing()).because(why.to_owned()))
    }

    fn doing(&self) -> String {
        format!("cannot write to {}", link::table(self.link.config()))
    }
}

/// Try again later, unless it is known by now that a person is needed first.
fn later(live: &Live, error: Error) -> Outcome {
    live.blocked().map_or(Outcome::Retry(error), Outcome::Blocked)
}

/// Executes a change once. Where a node has forgotten the statement and the driver could not prepare it again, the
/// error is that of preparing it (the table is gone, for example).
async fn execute(live: &Live, change: &Change) -> Result<(), cdrs_tokio::error::Error> {
    let (prepared, params) = live.statements.bind(change);
    match live.connected.session.exec_with_params(prepared, &params).await {
        Ok(_) => Ok(()),
        Err(error) if failure::classify(&error) == Class::Unprepared => {
            live.statements.prepare_again(&live.connected.session, change).await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

impl Sink for CassandraSink {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        join_all(changes.iter().map(|change| self.write_one(change))).await
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Found> {
        self.look_up(ids).await
    }

    fn batches_in_flight_max(&self) -> usize {
        BATCHES_IN_FLIGHT_MAX
    }

    async fn close(&self) -> Result<()> {
        self.link.close();
        self.in_flight.close();
        Ok(())
    }
}
