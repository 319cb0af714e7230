//! The users that came last, from the topic's tail, and their rows in the sink.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::Mutex;
use uuid::Uuid;

use super::scan;
use super::verify::key_id;
use crate::bus::observer::Observer;
use crate::bus::{Reader, Watermarks, partition_of};
use crate::error::Result;
use crate::ledger::{AnyLedger, Archive, Selection};
use crate::pipeline::Stores;
use crate::record::{Timestamp, User};
use crate::sink::{AnySink, Found, Sink};

/// Records of a partition that are searched for one user, the newest of them.
const SEARCHED_MAX: i64 = 20_000;
/// Records that are read for one user that is shown: some are copies, and some cannot be decoded.
const RECORDS_PER_USER: u64 = 2;

/// A user as the topic has it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The user.
    pub user: User,
    /// The record's time on the bus.
    pub at: Timestamp,
}

/// The users of the newest records, each once, newest first.
///
/// # Errors
/// Those of the bus, and of the schema registry.
pub async fn newest(stores: &Stores, limit: usize) -> Result<Vec<Sent>> {
    let count = (limit as u64).saturating_mul(RECORDS_PER_USER);
    let (_, messages) = scan::tail(stores, &stores.config.topic, count).await?;
    let codec = stores.codec().await?;
    let codec = codec.prepare(messages.iter().filter_map(|message| message.value.as_deref())).await?;
    let mut seen = HashSet::new();
    let sent = messages.into_iter().filter_map(|message| {
        let user = codec.decode(message.value.as_ref()?, message.timestamp).ok()?;
        seen.insert(user.id()).then_some(Sent { user, at: message.timestamp })
    });
    Ok(sent.take(limit).collect())
}

/// The newest record of a user among the newest of its partition.
///
/// # Errors
/// Those of the bus, and of the schema registry.
pub async fn find(stores: &Stores, id: Uuid) -> Result<Option<Sent>> {
    let topic = &stores.config.topic;
    let marks = stores.observer().await?.watermarks(topic).await?;
    let home = partition_of(id.to_string().as_bytes(), marks.len());
    let Some(marks) = marks.get(&home) else { return Ok(None) };
    let range = Watermarks { low: marks.low.max(marks.high - SEARCHED_MAX), high: marks.high };
    let mut reader = stores.reader_of(topic, BTreeMap::from([(home, range)])).await?;
    let codec = stores.codec().await?;
    let mut found = None;
    loop {
        let page = reader.next().await?;
        if page.is_empty() {
            return Ok(found);
        }
        let of_id = page.into_iter().filter(|message| key_id(message) == Some(id));
        for message in of_id {
            let codec = codec.prepare(message.value.as_deref()).await?;
            let user = message.value.as_ref().and_then(|value| codec.decode(value, message.timestamp).ok());
            found = user.map(|user| Sent { user, at: message.timestamp });
        }
    }
}

/// Whether the ledger has stored this user; `None` without a ledger.
///
/// # Errors
/// Those of the ledger.
pub async fn is_stored(ledger: &AnyLedger, id: Uuid) -> Result<Option<bool>> {
    match ledger {
        AnyLedger::Off => Ok(None),
        ledger => Ok(Some(!ledger.rows(Selection::Id(id), None, 1).await?.is_empty())),
    }
}

/// Reads rows back from the sink over one connection, which is made when it is first needed and anew after a failure.
#[derive(Debug, Default)]
pub struct Rows(Mutex<Option<AnySink>>);

impl Rows {
    /// Which of these ids have a row.
    ///
    /// # Errors
    /// Those of the sink; [`Kind::Config`](crate::error::Kind::Config) for one that keeps no rows.
    pub async fn find(&self, stores: &Stores, ids: &[Uuid]) -> Result<Found> {
        let mut sink = self.0.lock().await;
        let open = match sink.take() {
            Some(open) => open,
            None => Box::pin(stores.sink_to_read()).await?,
        };
        // It is put back only after it has answered: who is given up meanwhile leaves nothing half-read behind.
        let found = open.find(ids).await?;
        *sink = Some(open);
        Ok(found)
    }

    /// Disconnects.
    ///
    /// # Errors
    /// Those of the sink.
    pub async fn close(&self) -> Result<()> {
        match self.0.lock().await.take() {
            Some(sink) => sink.close().await,
            None => Ok(()),
        }
    }
}
