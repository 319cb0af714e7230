//! Tables in PostgreSQL and SQLite: batched upserts, newest timestamp wins.
//!
//! What both share is here: ids are distinct within one statement, and a batch that the store refuses for its data
//! is split until the record that it will never take stands alone.

mod postgres;
mod sqlite;

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::{Change, Found, Outcome};
use crate::error::Result;
use crate::record::{self, Column, Timestamp};
use crate::retry::request_backoff;
use crate::sql::{Fault, error, sorted};

pub use postgres::{PostgresSink, additions_in_postgres, init_postgres, lacking_permissions};
pub use sqlite::{SqliteSink, additions_in_sqlite, init_sqlite};

/// Attempts at one look at a table; the delays between them double from the first one on.
const LOOKS_MAX: usize = 4;
const LOOK_DELAY_MIN: Duration = Duration::from_millis(200);
const LOOK_DELAY_MAX: Duration = Duration::from_secs(2);

/// A table that takes changes with distinct ids, all or none.
trait Table: Sync {
    fn apply(&self, changes: &[&Change]) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The rows with these ids, as [`super::Sink::find`] has them.
    fn look_up(&self, ids: &[Uuid]) -> impl Future<Output = Result<Found, sqlx::Error>> + Send;

    /// The table's name for messages.
    fn place(&self) -> &str;
}

/// Writes a batch to a table, one outcome a change.
async fn write(table: &impl Table, changes: &[Change]) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = changes.iter().map(|_| None).collect();
    for round in rounds(changes) {
        // Ranges still to write; the last one first, so that the batch is written in order.
        let mut ranges = vec![round.as_slice()];
        while let Some(range) = ranges.pop() {
            let part: Vec<&Change> = range.iter().map(|index| &changes[*index]).collect();
            match table.apply(&part).await {
                Ok(()) => range.iter().for_each(|index| outcomes[*index] = Some(Outcome::Written)),
                Err(cause) if Fault::of(&cause) == Fault::Data && range.len() > 1 => {
                    let (left, right) = range.split_at(range.len() / 2);
                    ranges.extend([right, left]);
                }
                Err(cause) => refuse(table.place(), &cause, range, &mut outcomes),
            }
        }
    }
    outcomes.into_iter().flatten().collect()
}

/// Looks for rows; a fault that may pass is tried again a few times.
async fn find(table: &impl Table, ids: &[Uuid]) -> Result<Found> {
    let mut delays = request_backoff(LOOK_DELAY_MIN, LOOK_DELAY_MAX, LOOKS_MAX);
    loop {
        let cause = match table.look_up(ids).await {
            Ok(found) => return Ok(found),
            Err(cause) => cause,
        };
        let delay = if Fault::of(&cause) == Fault::Passing { delays.next() } else { None };
        let Some(delay) = delay else {
            let is_refused = Fault::of(&cause) == Fault::Refused;
            let error = error("cannot read from", table.place(), cause);
            return Err(if is_refused { error.hint("grant the user SELECT") } else { error });
        };
        tokio::time::sleep(delay).await;
    }
}

/// A date that a table keeps as text; `None` where it is none of ours.
fn date(text: Option<String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

/// The outcome of a range that the store did not take.
fn refuse(place: &str, cause: &sqlx::Error, range: &[usize], outcomes: &mut [Option<Outcome>]) {
    for index in range {
        // sqlx's errors cannot be cloned; each record gets one of its own with the same words.
        let fault = Fault::of(cause);
        let sorted = sorted("cannot write", place, cause).because(words(cause));
        outcomes[*index] = Some(match fault {
            Fault::Data => Outcome::Poison(words(cause)),
            Fault::Passing | Fault::Disk => Outcome::Retry(sorted),
            Fault::Refused => Outcome::Blocked(sorted.hint("grant the user INSERT, UPDATE, SELECT and DELETE")),
            Fault::Schema => {
                Outcome::Blocked(sorted.hint("create it with 'userpipe init-schema' and the same options"))
            }
        });
    }
}

fn words(cause: &sqlx::Error) -> String {
    cause.as_database_error().map_or_else(|| cause.to_string(), |e| e.message().to_owned())
}

/// Indexes of the changes in rounds: within a round no id comes twice, and the rounds keep each id's order.
fn rounds(changes: &[Change]) -> Vec<Vec<usize>> {
    let mut seen: HashMap<Uuid, usize> = HashMap::with_capacity(changes.len());
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let id = match change {
            Change::Upsert(user) => user.id(),
            Change::Delete { id, .. } => *id,
        };
        let round = seen.entry(id).and_modify(|n| *n += 1).or_insert(0);
        if *round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*round].push(index);
    }
    rounds
}

/// ` ON CONFLICT …`: the newest timestamp wins; without a timestamp column the last write does. An optional column that the
/// record lacks keeps what the row has.
fn on_conflict(table: &str, columns: &[&str]) -> String {
    let update = |name: &&str| {
        if record::column(name).is_some_and(Column::is_optional) {
            format!("\"{name}\" = COALESCE(excluded.\"{name}\", {table}.\"{name}\")")
        } else {
            format!("\"{name}\" = excluded.\"{name}\"")
        }
    };
    let updates: Vec<String> = columns.iter().filter(|name| **name != "id").map(update).collect();
    if updates.is_empty() {
        return " ON CONFLICT (id) DO NOTHING".to_owned();
    }
    let newest = if columns.contains(&"timestamp") {
        format!(" WHERE {table}.\"timestamp\" IS NULL OR excluded.\"timestamp\" >= {table}.\"timestamp\"")
    } else {
        String::new()
    };
    format!(" ON CONFLICT (id) DO UPDATE SET {}{newest}", updates.join(", "))
}

/// The columns, quoted and separated.
fn column_list(columns: &[&str]) -> String {
    columns.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
