//! The persons who were purged, as delivery knows them: read from the ledger at the start and now and then.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use crate::error::Result;
use crate::ledger::{AnyLedger, Archive};

/// How often the ledger is asked. A purge also sends a tombstone, so what this catches late is only a replay.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// The ids that delivery leaves out; clones see the same.
#[derive(Clone, Debug)]
pub struct Suppression(watch::Receiver<HashSet<Uuid>>);

impl Suppression {
    /// Leaves out nobody.
    pub fn none() -> Self {
        Self(watch::channel(HashSet::new()).1)
    }

    /// Reads the ids, and again from time to time, for as long as somebody holds the result. A ledger that goes away
    /// later leaves what was known: delivery needs it for nothing else.
    ///
    /// # Errors
    /// Those of the first reading.
    pub async fn of(ledger: AnyLedger) -> Result<Self> {
        let (sender, receiver) = watch::channel(ledger.suppressed().await?);
        if !matches!(ledger, AnyLedger::Off) {
            tokio::spawn(refresh(ledger, sender));
        }
        Ok(Self(receiver))
    }

    /// Whether the person was purged.
    pub fn holds(&self, id: &Uuid) -> bool {
        self.0.borrow().contains(id)
    }
}

async fn refresh(ledger: AnyLedger, ids: watch::Sender<HashSet<Uuid>>) {
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = ids.closed() => return,
            () = tokio::time::sleep(REFRESH_INTERVAL) => {}
        }
        match ledger.suppressed().await {
            Ok(now) => {
                is_failing = false;
                ids.send_replace(now);
            }
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::warn!("{error}; going on with the purged persons that are known");
            }
            Err(_) => {}
        }
    }
}
