//! The ledger as a backup: sent again on request, and cut back where a limit is set.

use super::{Ingest, Report};
use crate::error::{Error, Kind, Result};
use crate::ledger::{Archive, Selection};
use crate::record::Timestamp;

impl Ingest {
    /// Sends stored users again. Who dies meanwhile has lost nothing: they wait in the outbox for the next run.
    ///
    /// # Errors
    /// [`Kind::Failed`] where one run or person is asked for and unknown, and those
    /// of ledger and bus.
    pub async fn restore(&self, selection: Selection) -> Result<Report> {
        let count = self.ledger.requeue(selection).await?;
        let unknown = match selection {
            Selection::Run(run_id) => Some(format!("the ledger holds no users of run {run_id}")),
            Selection::Id(id) => Some(format!("the ledger holds no user {id}")),
            Selection::All | Selection::Since(_) => None,
        };
        if let Some(unknown) = unknown.filter(|_| count == 0)
            && self.ledger.rows(selection, None, 1).await?.is_empty()
        {
            return Err(Error::new(Kind::Failed, unknown).hint("check the id, --topic and where the ledger is"));
        }
        tracing::info!("sending {count} stored users again");
        self.send_pending().await
    }

    /// Removes from the ledger what is older than its limit, where there is one.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn prune(&self) -> Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let before = Timestamp::ago(keep);
        let removed = self.ledger.prune(before).await?;
        if removed > 0 {
            tracing::info!("removed {removed} users from the ledger that were stored before {before}");
        }
        Ok(())
    }
}
