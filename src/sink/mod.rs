//! The sink: a table of users, one row an id.
//!
//! The contract is [`Sink`]. A write is an upsert by id with the record's own timestamp as the write time, so a
//! second delivery, a replay or another order of the topic ends in the same table. A sink answers for every record
//! apart; only `pipeline/deliver` turns outcomes into retries, dead letters and commits.

pub mod cassandra;
pub mod schema;
pub mod sql;
mod stdout;

use std::collections::HashMap;

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::record::{Timestamp, User};

pub use stdout::StdoutSink;

/// The most records polled and not yet durable, where neither the sink nor `--in-flight` says otherwise.
const IN_FLIGHT_RECORDS_MAX: usize = 10_000;
/// The most bytes of records polled and not yet durable, where the sink says nothing else.
const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What one record does to the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Insert or update the row with this id, unless a newer one is there.
    Upsert(User),
    /// Delete the row (a tombstone), unless a newer one is there.
    Delete {
        /// The id of the row.
        id: Uuid,
        /// The write time of the delete.
        at: Timestamp,
    },
}

/// What became of one record.
#[derive(Debug)]
pub enum Outcome {
    /// Durable in the sink.
    Written,
    /// The store will never take this record, whatever is tried: the reason.
    Poison(String),
    /// It may succeed later (unavailable, timeout, overload, connection lost).
    Retry(Error),
    /// It needs a person first (refused password, missing table, revoked permission).
    Blocked(Error),
    /// The reader went away (a closed pipe): nothing more can be written, and that is no error.
    Closed,
}

/// The ids that have a row, with the time of the record in it where the table says so.
pub type Found = HashMap<Uuid, Option<Timestamp>>;

/// Writes records to one table. Shared between concurrent writes.
pub trait Sink: Send + Sync {
    /// Writes a batch; one outcome a change, in order. A batch that the store refuses is split until what it
    /// refuses stands alone. Bounded in time: no answer in time is [`Outcome::Retry`].
    fn write(&self, changes: &[Change]) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Which of these ids have a row, and the row's `timestamp` where that column is written and not null. Bounded in
    /// time, statements that may pass are tried again within it.
    ///
    /// # Errors
    /// [`Kind::Unreachable`], [`Kind::Refused`] or [`Kind::Config`]; the latter also for a sink that keeps no rows.
    fn find(&self, ids: &[Uuid]) -> impl Future<Output = Result<Found>> + Send;

    /// How many batches [`Sink::write`] may be given at once; 1 where order or a single writer matters.
    fn batches_in_flight_max(&self) -> usize;

    /// Where the order of a partition's records matters, the most records of one batch. It is then given one batch of each
    /// partition at a time, of as many as are there.
    fn batch_in_order_max(&self) -> Option<usize> {
        None
    }

    /// What may be polled and not yet durable, so that the sink is never without work.
    fn in_flight_max(&self) -> InFlight {
        InFlight { records: IN_FLIGHT_RECORDS_MAX, bytes: IN_FLIGHT_BYTES_MAX }
    }

    /// Flushes and disconnects.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// A bound of what is polled and not yet durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The most records.
    pub records: usize,
    /// The most bytes of them; one poll may go over it.
    pub bytes: usize,
}

/// The sink that was chosen.
#[derive(Debug)]
pub enum AnySink {
    /// A Cassandra table.
    Cassandra(Box<cassandra::CassandraSink>),
    /// A PostgreSQL table.
    Postgres(sql::PostgresSink),
    /// A table in the data directory.
    Sqlite(sql::SqliteSink),
    /// Standard output.
    Stdout(StdoutSink),
}

/// Calls the sink that was chosen.
macro_rules! delegate {
    ($self:ident, $sink:ident => $call:expr) => {
        match $self {
            AnySink::Cassandra($sink) => $call,
            AnySink::Postgres($sink) => $call,
            AnySink::Sqlite($sink) => $call,
            AnySink::Stdout($sink) => $call,
        }
    };
}

impl Sink for AnySink {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        delegate!(self, sink => sink.write(changes).await)
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Found> {
        delegate!(self, sink => sink.find(ids).await)
    }

    fn batches_in_flight_max(&self) -> usize {
        delegate!(self, sink => sink.batches_in_flight_max())
    }

    fn batch_in_order_max(&self) -> Option<usize> {
        delegate!(self, sink => sink.batch_in_order_max())
    }

    fn in_flight_max(&self) -> InFlight {
        delegate!(self, sink => sink.in_flight_max())
    }

    async fn close(&self) -> Result<()> {
        delegate!(self, sink => sink.close().await)
    }
}
