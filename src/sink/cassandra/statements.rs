//! The two statements of the sink, prepared: an insert of the configured columns and a delete, both with a write time.

use cdrs_tokio::cluster::Murmur3Token;
use cdrs_tokio::consistency::Consistency as CqlConsistency;
use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::query::{PreparedQuery, QueryValues};
use cdrs_tokio::statement::{StatementParams, StatementParamsBuilder};
use cdrs_tokio::types::value::Value as CqlValue;
use uuid::Uuid;

use super::link::quoted_table;
use super::session::CqlSession;
use super::write_time::WriteTimes;
use crate::config::{CassandraConfig, Consistency};
use crate::record::{User, Value};
use crate::sink::Change;
use crate::sink::schema::{Dialect, ExistingColumn};

/// A column that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bind {
    name: &'static str,
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
        match self {
            Self::Uuid => (id.into(), Murmur3Token::generate(id.as_bytes())),
            Self::Text => {
                let text = id.to_string();
                let token = Murmur3Token::generate(text.as_bytes());
                (text.into(), token)
            }
        }
    }
}

/// The statements, prepared on one session.
#[derive(Debug)]
pub(super) struct Statements {
    /// How the table keeps the id.
    pub(super) id_column: IdColumn,
    insert: PreparedQuery,
    delete: PreparedQuery,
    binds: Vec<Bind>,
    consistency: CqlConsistency,
    times: WriteTimes,
}

impl Statements {
    /// Prepares both for the table whose columns are `existing`. The caller has checked that it fits.
    pub(super) async fn prepare(
        session: &CqlSession,
        config: &CassandraConfig,
        existing: &[ExistingColumn],
    ) -> Result<Self, CqlError> {
        Ok(Self {
            id_column: IdColumn::of(existing),
            insert: session.prepare(insert_cql(config)).await?,
            delete: session.prepare(delete_cql(config)).await?,
            binds: binds(&config.table.columns, existing),
            consistency: consistency(config.consistency),
            times: config.rewrite_at.map_or(WriteTimes::Own, WriteTimes::Rewrite),
        })
    }

    /// The prepared statement for a change, with its values.
    ///
    /// This pair is the unit of work: what a batch of several changes would be built from.
    pub(super) fn bind(&self, change: &Change) -> (&PreparedQuery, StatementParams) {
        let (prepared, token, values) = match change {
            Change::Upsert(user) => {
                (&self.insert, self.id_column.key(user.id).1, insert_values(&self.binds, user, self.times))
            }
            Change::Delete { id, at } => {
                let (key, token) = self.id_column.key(*id);
                (&self.delete, token, vec![self.times.of(*at).into(), key])
            }
        };
        let params = StatementParamsBuilder::new()
            .with_values(QueryValues::SimpleValues(values))
            .with_consistency(self.consistency)
            // The write time is bound, so a second execution changes nothing.
            .idempotent(true)
            .with_token(token)
            .build();
        (prepared, params)
    }

    /// Prepares the change's statement again, for the answer: the driver does so by itself when a node has forgotten
    /// the statement, but keeps to itself why that failed.
    pub(super) async fn prepare_again(&self, session: &CqlSession, change: &Change) -> Result<(), CqlError> {
        let prepared = match change {
            Change::Upsert(_) => &self.insert,
            Change::Delete { .. } => &self.delete,
        };
        session.prepare(&prepared.query).await.map(drop)
    }
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
    columns.iter().map(|name| Bind { name, is_text: is_text(name) }).collect()
}

/// The values of the insert: the columns in order, then the write time in microseconds.
fn insert_values(binds: &[Bind], user: &User, times: WriteTimes) -> Vec<CqlValue> {
    let mut values = Vec::with_capacity(binds.len() + 1);
    for bind in binds {
        values.push(match user.value(bind.name) {
            Some(Value::Uuid(id)) if bind.is_text => id.to_string().into(),
            Some(Value::Uuid(id)) => id.into(),
            Some(Value::Text(text)) => text.into(),
            Some(Value::Timestamp(at)) if bind.is_text => at.to_string().into(),
            Some(Value::Timestamp(at)) => at.unix_ms().into(),
            Some(Value::Int(number)) => number.into(),
            Some(Value::Double(number)) => number.into(),
            // An optional column this record does not have: leave the cell as it is.
            None => CqlValue::NotSet,
        });
    }
    values.push(times.of(user.timestamp).into());
    values
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
mod tests {
    use super::*;
    use crate::record::{COLUMNS, Extras, Timestamp};

    fn user() -> User {
        User {
            id: Uuid::from_u128(7),
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
            gender: "female".to_owned(),
            email: "ada@example.com".to_owned(),
            username: "ada".to_owned(),
            phone: "07-1234".to_owned(),
            address: "1 Main, Oslo, Oslo, Norway".to_owned(),
            post_code: "0378".to_owned(),
            dob: Timestamp::from_unix_ms(-1).expect("in range"),
            registered_date: Timestamp::from_unix_ms(0).expect("in range"),
            picture: "https://example.com/1.jpg".to_owned(),
            timestamp: Timestamp::from_unix_ms(1_700_000_000_123).expect("in range"),
            extras: None,
        }
    }

    fn existing(name: &str, type_name: &str) -> ExistingColumn {
        ExistingColumn { name: name.to_owned(), type_name: type_name.to_owned(), in_primary_key: name == "id" }
    }

    #[test]
    fn every_column_is_bound_in_order_and_the_write_time_last() {
        let names: Vec<_> = COLUMNS.iter().map(|c| c.name).collect();
        let values = insert_values(&binds(&names, &[]), &user(), WriteTimes::Own);
        assert_eq!(values.len(), COLUMNS.len() + 1);
        assert_eq!(values[0], CqlValue::from(Uuid::from_u128(7)));
        assert_eq!(values[8], CqlValue::from("0378"));
        assert_eq!(values[9], CqlValue::from(-1_i64));
        assert_eq!(values[12], CqlValue::from(1_700_000_000_123_i64));
        assert_eq!(values[13], CqlValue::from(1_700_000_000_123_000_i64));
    }

    #[test]
    fn a_date_becomes_text_where_the_table_has_text() {
        let table = [existing("id", "uuid"), existing("dob", "text"), existing("timestamp", "timestamp")];
        let values = insert_values(&binds(&["id", "dob", "timestamp"], &table), &user(), WriteTimes::Own);
        assert_eq!(values[0], CqlValue::from(Uuid::from_u128(7)));
        assert_eq!(values[1], CqlValue::from("1969-12-31T23:59:59.999Z"));
        assert_eq!(values[2], CqlValue::from(1_700_000_000_123_i64));
    }

    #[test]
    fn an_id_becomes_text_where_the_table_has_text() {
        let table = [existing("id", "text"), existing("email", "text")];
        assert_eq!((IdColumn::of(&table), IdColumn::of(&[existing("id", "uuid")])), (IdColumn::Text, IdColumn::Uuid));
        let text = CqlValue::from("00000000-0000-0000-0000-000000000007");
        assert_eq!(insert_values(&binds(&["id", "email"], &table), &user(), WriteTimes::Own)[0], text);
        assert_eq!(IdColumn::Text.key(Uuid::from_u128(7)).0, text);
    }

    #[test]
    fn an_optional_column_that_the_record_lacks_leaves_its_cell() {
        let extras = Extras { age: Some(36), latitude: Some(59.9), ..Extras::default() };
        let user = User { extras: Some(Box::new(extras)), ..user() };
        let values = insert_values(&binds(&["id", "age", "country", "latitude"], &[]), &user, WriteTimes::Own);
        assert_eq!(values[1..4], [CqlValue::from(36_i32), CqlValue::NotSet, CqlValue::from(59.9_f64)]);
    }
}
