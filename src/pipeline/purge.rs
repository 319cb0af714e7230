//! Purging a person: out of ledger, bus and sink, and kept from coming back.

use bytes::Bytes;
use uuid::Uuid;

use crate::bus::{Ack, Outgoing, Producer};
use crate::config::SinkConfig;
use crate::error::{Error, Kind, Result};
use crate::ledger::{AnyLedger, Archive, Selection};
use crate::pipeline::Stores;
use crate::record::Timestamp;
use crate::sink::{Change, Outcome, Sink};

/// Rows of one person that are counted at once: one a run.
const ROWS_PAGE: usize = 1_000;

/// What a purge did, or would do.
#[derive(Debug)]
pub struct Purged {
    /// The person.
    pub id: Uuid,
    /// Stored users removed from the ledger.
    pub ledger_rows: u64,
    /// What the topic and the dead-letter topic hold of the person.
    pub topics: Vec<Copies>,
    /// Where the tombstone is; `None` before it is sent.
    pub tombstone: Option<Ack>,
    /// Whether there is a sink to delete from: standard output is none.
    pub has_sink: bool,
}

/// What one topic holds of a person.
#[derive(Debug)]
pub struct Copies {
    /// The topic.
    pub topic: String,
    /// Records with the person's key and a value.
    pub records: u64,
    /// What becomes of them.
    pub fate: Fate,
}

/// What becomes of records that hold something of a purged person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They were erased, or would be: the bus is ours.
    Erased,
    /// Kafka removes them by this time, as its retention says.
    StayUntil(Timestamp),
    /// Kafka's compaction removes them some time after the tombstone.
    StayUntilCompaction,
    /// Kafka keeps them until somebody deletes them.
    StayForEver,
}

/// Looks what there is of a person. Changes nothing.
///
/// # Errors
/// Those of ledger and bus.
pub async fn plan(stores: &Stores, ledger: &AnyLedger, id: Uuid) -> Result<Purged> {
    let mut ledger_rows = 0;
    let mut after = None;
    loop {
        let rows = ledger.rows(Selection::Id(id), after, ROWS_PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = Some((last.run_id, last.id));
        ledger_rows += rows.len() as u64;
    }
    let mut topics = Vec::new();
    for topic in [stores.config.topic.clone(), stores.dead_letter_topic()] {
        topics.push(copies(stores, topic, &id.to_string()).await?);
    }
    let has_sink = !matches!(stores.config.sink, SinkConfig::Stdout);
    Ok(Purged { id, ledger_rows, topics, tombstone: None, has_sink })
}

async fn copies(stores: &Stores, topic: String, key: &str) -> Result<Copies> {
    let (records, retention) = stores.copies(&topic, key.as_bytes()).await?;
    let fate = match (stores.can_erase(), retention.is_compacted, retention.time) {
        (true, ..) => Fate::Erased,
        // From now on: the newest may be of this moment.
        (false, _, Some(time)) => Fate::StayUntil(Timestamp::now().after(time)),
        (false, true, None) => Fate::StayUntilCompaction,
        (false, false, None) => Fate::StayForEver,
    };
    Ok(Copies { topic, records, fate })
}

/// Purges a person. Every step may be repeated, so after a failure the same command finishes the work: the id is
/// suppressed first, so that nothing brings the person back meanwhile.
///
/// # Errors
/// Those of ledger, bus and sink.
pub async fn purge(stores: &Stores, ledger: &AnyLedger, plan: Purged) -> Result<Purged> {
    let id = plan.id;
    let key = id.to_string();
    let ledger_rows = ledger.purge(id).await?;
    for copies in &plan.topics {
        stores.erase(&copies.topic, key.as_bytes()).await?;
    }
    let at = Timestamp::now();
    let tombstone = Outgoing { key: Some(Bytes::from(key)), value: None, headers: Vec::new(), timestamp: at };
    let sent = stores.producer(&stores.config.topic).await?.send(&[tombstone]).await;
    if let Some(failure) = sent.failure {
        return Err(failure);
    }
    if plan.has_sink {
        let sink = stores.sink().await?;
        let deleted = sink.write(&[Change::Delete { id, at }]).await;
        sink.close().await?;
        for outcome in deleted {
            match outcome {
                Outcome::Written | Outcome::Closed => {}
                Outcome::Poison(reason) => {
                    return Err(Error::new(Kind::Failed, "the sink refuses to delete a row").because(reason));
                }
                Outcome::Retry(error) | Outcome::Blocked(error) => return Err(error),
            }
        }
    }
    Ok(Purged { ledger_rows, tombstone: sent.acks.first().copied().flatten(), ..plan })
}
