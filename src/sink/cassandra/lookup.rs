//! Looking for rows: concurrent prepared reads by id, at the consistency of the writes.

use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::query::{PreparedQuery, QueryValues};
use cdrs_tokio::statement::StatementParamsBuilder;
use cdrs_tokio::types::ByName as _;
use futures::future::try_join_all;
use tokio::time::Instant;
use uuid::Uuid;

use super::balancing::noting_first_node;
use super::failure::{self, Class};
use super::link::{self, Live};
use super::session::CqlSession;
use super::{ATTEMPTS_MAX, CassandraSink, RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};
use crate::record::Timestamp;
use crate::retry;
use crate::sink::Found;
use crate::sink::schema::{Dialect, ExistingColumn};

/// How a table keeps the time of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeColumn {
    /// It is not written (`--columns`).
    None,
    /// As RFC 3339.
    Text,
    /// As a CQL timestamp.
    Timestamp,
}

impl TimeColumn {
    /// Of the table whose columns are `existing`, and of which `written` are written.
    pub(super) fn of(written: &[&str], existing: &[ExistingColumn]) -> Self {
        let found = existing.iter().find(|column| column.name == "timestamp");
        match found.filter(|_| written.contains(&"timestamp")) {
            None => Self::None,
            Some(column) if Dialect::Cassandra.is_text(&column.type_name) => Self::Text,
            Some(_) => Self::Timestamp,
        }
    }
}

/// The row of an id, if there is one, with the time of its record.
type Hit = Option<Option<Timestamp>>;

impl CassandraSink {
    /// As [`crate::sink::Sink::find`]: one read an id, a bounded number at once.
    pub(super) async fn look_up(&self, ids: &[Uuid]) -> Result<Found> {
        let rows = try_join_all(ids.iter().map(|id| self.look_up_one(*id))).await?;
        Ok(ids.iter().zip(rows).filter_map(|(id, row)| row.map(|time| (*id, time))).collect())
    }

    /// Tries a read until it is answered or refused, or attempts or time are used up.
    async fn look_up_one(&self, id: Uuid) -> Result<Hit> {
        let what = || format!("cannot read from {}", link::table(self.link.config()));
        let Ok(_permit) = self.reads_in_flight.acquire().await else {
            return Err(Error::new(Kind::Incomplete, "the Cassandra sink is closed"));
        };
        let limit = self.link.config().request_timeout;
        let deadline = Instant::now() + limit;
        let mut delays = retry::request_backoff(RETRY_DELAY_MIN, RETRY_DELAY_MAX, ATTEMPTS_MAX);
        loop {
            let live = self.link.current();
            let trying = tokio::time::timeout_at(deadline, read(&live, self.link.config(), id));
            let (answer, node) = noting_first_node(trying).await;
            let Ok(answer) = answer else {
                live.silent(node);
                let why = format!("no answer within {}", humantime::format_duration(limit));
                return Err(Error::new(Kind::Unreachable, what()).because(why));
            };
            let error = match answer {
                Ok(row) => {
                    live.answered(node);
                    return Ok(row);
                }
                Err(error) => error,
            };
            let may_pass = matches!(failure::classify(&error), Class::Busy | Class::Broken | Class::Unprepared);
            match delays.next().filter(|_| may_pass) {
                Some(delay) if Instant::now() + delay < deadline => tokio::time::sleep(delay).await,
                _ => return Err(failure::explain(what(), error)),
            }
        }
    }
}

/// Reads one row once.
async fn read(live: &Live, config: &CassandraConfig, id: Uuid) -> Result<Hit, CqlError> {
    let session = &live.connected.session;
    let prepared = live.select.get_or_try_init(|| prepare(session, config, live.time_column)).await?;
    let (key, token) = live.statements.id_column.key(id);
    let params = StatementParamsBuilder::new()
        .with_values(QueryValues::SimpleValues(vec![key]))
        .with_consistency(live.statements.consistency)
        .idempotent(true)
        .with_token(token)
        .build();
    let answer = session.exec_with_params(prepared, &params).await?;
    let rows = answer.response_body()?.into_rows().unwrap_or_default();
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(match live.time_column {
        TimeColumn::None => None,
        TimeColumn::Text => row.by_name::<String>("timestamp")?.and_then(|text| text.parse().ok()),
        TimeColumn::Timestamp => row.by_name::<i64>("timestamp")?.map(Timestamp::saturating_from_unix_ms),
    }))
}

/// Prepared when it is first needed: a role that only writes need not be able to read.
async fn prepare(
    session: &CqlSession,
    config: &CassandraConfig,
    time_column: TimeColumn,
) -> Result<PreparedQuery, CqlError> {
    let time = if time_column == TimeColumn::None { "" } else { ", timestamp" };
    session.prepare(format!("SELECT id{time} FROM {} WHERE id = ?", link::quoted_table(config))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_as_the_table_keeps_it_and_only_where_it_is_written() {
        let column = |type_name: &str| {
            [ExistingColumn { name: "timestamp".to_owned(), type_name: type_name.to_owned(), in_primary_key: false }]
        };
        let written = ["id", "timestamp"];
        assert_eq!(TimeColumn::of(&written, &column("timestamp")), TimeColumn::Timestamp);
        assert_eq!(TimeColumn::of(&written, &column("text")), TimeColumn::Text);
        assert_eq!(TimeColumn::of(&["id"], &column("timestamp")), TimeColumn::None);
    }
}
