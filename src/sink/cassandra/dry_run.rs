//! A write up to its first byte of I/O, for measuring what that costs.

use cdrs_tokio::frame::Version;
use cdrs_tokio::query::PreparedQuery;
use cdrs_tokio::types::CBytesShort;

use super::batching::{BYTES_MAX, Bounds};
use super::replicas::Replicas;
use super::statements::Statements;
use super::writing::in_batches;
use crate::config::CassandraConfig;
use crate::sink::Change;

/// Length of the id of a prepared statement: an MD5 digest.
const STATEMENT_ID_BYTES: usize = 16;

/// Makes the requests of a write as [`CassandraSink`](super::CassandraSink) does, for a cluster of one node, and sends
/// them nowhere.
#[derive(Debug)]
pub struct DryRun {
    statements: Statements,
    bounds: Bounds,
}

impl DryRun {
    /// For a table as `init-schema` makes it; nothing is connected.
    pub fn new(config: &CassandraConfig) -> Self {
        let prepared = |id: u8| PreparedQuery {
            id: CBytesShort::new(vec![id; STATEMENT_ID_BYTES]),
            query: String::new(),
            keyspace: None,
            pk_indexes: Vec::new(),
            result_metadata_id: None.into(),
        };
        let statements = Statements::prepared(Version::V5, config, &[], prepared(1), prepared(2));
        Self { statements, bounds: Bounds::new(config.statements_in_flight_max, BYTES_MAX) }
    }

    /// Cuts the changes into batches and writes the requests of all of them; their number and the sum of their bytes.
    pub fn write(&self, changes: &[Change]) -> (usize, usize) {
        let batches = in_batches(&self.statements, &Replicas::default(), changes, self.bounds);
        let requests = batches.iter().map(|rows| self.statements.request(rows.iter().map(|row| &changes[*row])));
        requests.fold((0, 0), |(requests, bytes), request| (requests + 1, bytes + request.body.len()))
    }
}
