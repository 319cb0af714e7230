//! The two statements of the sink, prepared: an insert of the configured columns and a delete, both with a write time;
//! and the requests that execute them.
//!
//! The body of a request is written here, straight from the users into one buffer. The driver would take a vector of
//! bytes for each value, copy all of them for a batch, and send a batch without its token.

use std::net::SocketAddr;

use cdrs_tokio::cluster::Murmur3Token;
use cdrs_tokio::consistency::Consistency as CqlConsistency;
use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::frame::message_batch::BatchType;
use cdrs_tokio::frame::{Direction, Envelope, Flags, Opcode, Version};
use cdrs_tokio::load_balancing::QueryPlan;
use cdrs_tokio::query::{PreparedQuery, QueryFlags};
use cdrs_tokio::types::CBytesShort;
use cdrs_tokio::types::value::Value as CqlValue;
use uuid::Uuid;

use super::link::quoted_table;
use super::session::{Connected, CqlSession};
use super::write_time::WriteTimes;
use crate::config::{CassandraConfig, Consistency};
use crate::record::{self, Column, Value};
use crate::sink::Change;
use crate::sink::schema::{Dialect, ExistingColumn};

/// What Cassandra counts for a cell in the size of a batch beside its value: write time, time to live, deletion time.
const CELL_BYTES: usize = 20;

/// A length that says that there is no value: the cell is left as it is.
const NOT_SET: i32 = -2;

/// Says in a batch that a statement is a prepared one.
const KIND_PREPARED: u8 = 1;

/// A column that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bind {
    column: &'static Column,
    /// The table has text here; a date is written as RFC 3339 then, an id with hyphens.
    is_text: bool,
}

/// How the table keeps the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdColumn {
    /// As a CQL uuid.
    Uuid,
    /// As text, in lower case and with hyphens.
    Text,
}

impl IdColumn {
    /// Of the table whose columns are `existing`.
    fn of(existing: &[ExistingColumn]) -> Self {
        let id = existing.iter().find(|column| column.name == "id");
        if id.is_some_and(|id| Dialect::Cassandra.is_text(&id.type_name)) { Self::Text } else { Self::Uuid }
    }

    /// The id as a value, and the token of its partition.
    pub(super) fn key(self, id: Uuid) -> (CqlValue, Murmur3Token) {
        let value = match self {
            Self::Uuid => id.into(),
            Self::Text => id.to_string().into(),
        };
        (value, self.token(id))
    }

    /// The token of the id's partition.
    fn token(self, id: Uuid) -> Murmur3Token {
        match self {
            Self::Uuid => Murmur3Token::generate(id.as_bytes()),
            Self::Text => Murmur3Token::generate(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes()),
        }
    }
}

/// A prepared statement, as requests name it.
#[derive(Debug)]
struct Statement {
    cql: String,
    id: Vec<u8>,
    /// Since protocol 5: which metadata of its result we know, though a write has none.
    result_metadata_id: Option<Vec<u8>>,
}

impl From<PreparedQuery> for Statement {
    fn from(prepared: PreparedQuery) -> Self {
        let bytes = |id: &CBytesShort| id.clone().into_bytes().unwrap_or_default();
        let result_metadata_id = prepared.result_metadata_id.load();
        let result_metadata_id = result_metadata_id.as_ref().map(|id| bytes(id));
        Self { id: bytes(&prepared.id), result_metadata_id, cql: prepared.query }
    }
}

/// The statements, prepared on one session.
#[derive(Debug)]
pub(super) struct Statements {
    /// How the table keeps the id.
    pub(super) id_column: IdColumn,
    /// Of every write.
    pub(super) consistency: CqlConsistency,
    insert: Statement,
    delete: Statement,
    binds: Vec<Bind>,
    times: WriteTimes,
    version: Version,
}

impl Statements {
    /// Prepares both for the table whose columns are `existing`. The caller has checked that it fits.
    pub(super) async fn prepare(
        connected: &Connected,
        config: &CassandraConfig,
        existing: &[ExistingColumn],
    ) -> Result<Self, CqlError> {
        let insert = connected.session.prepare(insert_cql(config)).await?;
        let delete = connected.session.prepare(delete_cql(config)).await?;
        Ok(Self::prepared(connected.version, config, existing, insert, delete))
    }

    /// With statements that were prepared as [`insert_cql`] and [`delete_cql`] have them.
    pub(super) fn prepared(
        version: Version,
        config: &CassandraConfig,
        existing: &[ExistingColumn],
        insert: PreparedQuery,
        delete: PreparedQuery,
    ) -> Self {
        Self {
            id_column: IdColumn::of(existing),
            consistency: consistency(config.consistency),
            insert: insert.into(),
            delete: delete.into(),
            binds: binds(&config.table.columns, existing),
            times: config.rewrite_at.map_or(WriteTimes::Own, WriteTimes::Rewrite),
            version,
        }
    }

    /// The token of the row that a change is about.
    pub(super) fn token(&self, change: &Change) -> Murmur3Token {
        self.id_column.token(match change {
            Change::Upsert(user) => user.id(),
            Change::Delete { id, .. } => *id,
        })
    }

    /// What a change counts in the size of a batch: at least its bytes in the request, and at least what Cassandra
    /// compares with its own limit (the values, and some bytes a cell).
    pub(super) fn bytes(&self, change: &Change) -> usize {
        match change {
            Change::Upsert(user) => {
                let values = self.binds.iter().map(|bind| CELL_BYTES + value_bytes(bind, user.value(bind.column)));
                values.sum::<usize>() + CELL_BYTES + size_of::<i64>() + self.insert.id.len()
            }
            Change::Delete { .. } => 2 * CELL_BYTES + size_of::<i64>() + ID_TEXT_BYTES + self.delete.id.len(),
        }
    }

    /// The request that makes these changes: a prepared statement for one, an unlogged batch of them for more.
    ///
    /// Every statement has its write time bound, so a second execution changes nothing. Two that are about one row and
    /// have the same write time are decided by their values, as if each had come alone.
    pub(super) fn request<'c>(&self, changes: impl ExactSizeIterator<Item = &'c Change> + Clone) -> Envelope {
        let mut body =
            Vec::with_capacity(FRAME_BYTES + changes.clone().map(|change| self.bytes(change)).sum::<usize>());
        let single = changes.len() == 1;
        if !single {
            body.push(BatchType::Unlogged.into());
            body.extend(u16::try_from(changes.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
        for change in changes {
            let statement = self.statement(change);
            if single {
                put_short_bytes(&mut body, &statement.id);
                if let Some(id) = &statement.result_metadata_id {
                    put_short_bytes(&mut body, id);
                }
                self.put_parameters(&mut body, QueryFlags::VALUE);
            } else {
                body.push(KIND_PREPARED);
                put_short_bytes(&mut body, &statement.id);
            }
            self.put_values(&mut body, change);
        }
        if !single {
            self.put_parameters(&mut body, QueryFlags::empty());
        }
        let opcode = if single { Opcode::Execute } else { Opcode::Batch };
        Envelope::new(self.version, Direction::Request, Flags::empty(), opcode, 0, body, None, Vec::new())
    }

    fn statement(&self, change: &Change) -> &Statement {
        match change {
            Change::Upsert(_) => &self.insert,
            Change::Delete { .. } => &self.delete,
        }
    }

    /// The consistency level, and flags that were a byte before protocol 5.
    fn put_parameters(&self, body: &mut Vec<u8>, flags: QueryFlags) {
        body.extend(i16::from(self.consistency).to_be_bytes());
        if self.version >= Version::V5 {
            body.extend(flags.bits().to_be_bytes());
        } else {
            body.push(flags.bits().to_be_bytes()[3]);
        }
    }

    /// The values of a change: of the insert the columns in order, then the write time in microseconds.
    fn put_values(&self, body: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Upsert(user) => {
                body.extend(u16::try_from(self.binds.len() + 1).unwrap_or(u16::MAX).to_be_bytes());
                for bind in &self.binds {
                    put_value(body, bind.is_text, user.value(bind.column));
                }
                put_bytes(body, &self.times.of(user.timestamp()).to_be_bytes());
            }
            Change::Delete { id, at } => {
                body.extend(2_u16.to_be_bytes());
                put_bytes(body, &self.times.of(*at).to_be_bytes());
                put_value(body, self.id_column == IdColumn::Text, Some(Value::Uuid(*id)));
            }
        }
    }

    /// Prepares a statement again on a node that has forgotten it.
    ///
    /// # Errors
    /// Why that failed (the table is gone, for example); or that the statement has become another one, since the table did.
    pub(super) async fn prepare_again(
        &self,
        session: &CqlSession,
        id: &CBytesShort,
        node: SocketAddr,
    ) -> Result<(), CqlError> {
        let forgotten = id.clone().into_bytes().unwrap_or_default();
        let Some(statement) = [&self.insert, &self.delete].into_iter().find(|known| known.id == forgotten) else {
            return Err(CqlError::General("a statement that nobody prepared".to_owned()));
        };
        let node = session.cluster_metadata().find_node_by_rpc_address(node);
        let plan = node.map(|node| QueryPlan::new(vec![node]));
        let prepared = session.prepare_raw_tw_with_query_plan(&statement.cql, None, false, false, false, plan).await?;
        if prepared.id != *id {
            return Err(CqlError::General("the statement means something else by now".to_owned()));
        }
        Ok(())
    }
}

/// A uuid as text.
const ID_TEXT_BYTES: usize = 36;

/// The longest date as RFC 3339, with room.
const DATE_TEXT_BYTES: usize = 40;

/// What a request has beside its statements.
const FRAME_BYTES: usize = 32;

/// The bytes of a value, or more.
fn value_bytes(bind: &Bind, value: Option<Value<'_>>) -> usize {
    match value {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Uuid(_)) => ID_TEXT_BYTES,
        Some(Value::Timestamp(_)) if bind.is_text => DATE_TEXT_BYTES,
        Some(Value::Timestamp(_) | Value::Double(_)) => size_of::<i64>(),
        Some(Value::Int(_)) => size_of::<i32>(),
        None => 0,
    }
}

/// A value of a record, as the column keeps it.
fn put_value(body: &mut Vec<u8>, is_text: bool, value: Option<Value<'_>>) {
    match value {
        Some(Value::Text(text)) => put_bytes(body, text.as_bytes()),
        Some(Value::Uuid(id)) if is_text => {
            put_bytes(body, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        }
        Some(Value::Uuid(id)) => put_bytes(body, id.as_bytes()),
        Some(Value::Timestamp(at)) if is_text => put_bytes(body, at.to_string().as_bytes()),
        Some(Value::Timestamp(at)) => put_bytes(body, &at.unix_ms().to_be_bytes()),
        Some(Value::Int(number)) => put_bytes(body, &number.to_be_bytes()),
        Some(Value::Double(number)) => put_bytes(body, &number.to_be_bytes()),
        // An optional column this record does not have: leave the cell as it is.
        None => body.extend(NOT_SET.to_be_bytes()),
    }
}

/// `[bytes]` of the protocol: a length of 32 bits, then so many.
fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
    body.extend(bytes);
}

/// `[short bytes]` of the protocol: a length of 16 bits, then so many.
fn put_short_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend(bytes);
}

fn insert_cql(config: &CassandraConfig) -> String {
    let columns = &config.table.columns;
    let marks = vec!["?"; columns.len()].join(", ");
    let table = quoted_table(config);
    format!("INSERT INTO {table} ({}) VALUES ({marks}) USING TIMESTAMP ?", columns.join(", "))
}

fn delete_cql(config: &CassandraConfig) -> String {
    format!("DELETE FROM {} USING TIMESTAMP ? WHERE id = ?", quoted_table(config))
}

fn binds(columns: &[&'static str], existing: &[ExistingColumn]) -> Vec<Bind> {
    let is_text =
        |name: &str| existing.iter().any(|column| column.name == name && Dialect::Cassandra.is_text(&column.type_name));
    let known = columns.iter().filter_map(|name| record::column(name));
    known.map(|column| Bind { column, is_text: is_text(column.name) }).collect()
}

/// The driver's name of a level.
pub(super) fn consistency(level: Consistency) -> CqlConsistency {
    match level {
        Consistency::One => CqlConsistency::One,
        Consistency::Two => CqlConsistency::Two,
        Consistency::Three => CqlConsistency::Three,
        Consistency::Quorum => CqlConsistency::Quorum,
        Consistency::All => CqlConsistency::All,
        Consistency::LocalQuorum => CqlConsistency::LocalQuorum,
        Consistency::EachQuorum => CqlConsistency::EachQuorum,
        Consistency::LocalOne => CqlConsistency::LocalOne,
    }
}

#[cfg(test)]
mod tests;
