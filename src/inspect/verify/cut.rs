//! The cut: what was stored and sent before a moment, and waiting until the group has passed it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::{Offset, Partition, Progress, Survey};
use crate::error::Result;
use crate::ledger::{AnyLedger, Archive, Selection};
use crate::pipeline::Stores;
use crate::record::Timestamp;

/// How often it is looked whether the cut was passed.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The end of what is looked at in each partition: the offset after the last record.
pub(super) type Ends = BTreeMap<Partition, Offset>;

impl Progress {
    /// The first offset that the group has not committed. Offsets behind the end are those of a topic that was there
    /// before this one, so nothing of this one is committed then.
    pub(in crate::inspect) fn committed_end(&self) -> Offset {
        self.committed.filter(|committed| *committed <= self.marks.high).unwrap_or(self.marks.low)
    }
}

/// Waits until what was stored up to `at` is marked as sent, or the time is over.
pub(super) async fn await_outbox(
    ledger: &AnyLedger,
    selection: Selection,
    at: Timestamp,
    give_up: Instant,
) -> Result<()> {
    let mut is_told = false;
    loop {
        let waiting = ledger.waiting(selection, at).await?;
        if waiting == 0 || !pause(give_up).await {
            return Ok(());
        }
        if !is_told {
            tracing::info!("waiting for {waiting} stored users to be sent");
            is_told = true;
        }
    }
}

/// Waits until the group has committed everything before the ends, or the time is over; how far it is then.
pub(super) async fn await_group(stores: &Stores, ends: &Ends, give_up: Instant) -> Result<Survey> {
    let mut is_told = false;
    loop {
        let survey = stores.survey().await?;
        let left = lag(&survey, ends);
        if left == 0 || !pause(give_up).await {
            return Ok(survey);
        }
        if !is_told {
            tracing::info!("waiting for group {} to commit {left} records", stores.config.group);
            is_told = true;
        }
    }
}

/// How many offsets before the ends the group has not committed.
fn lag(survey: &Survey, ends: &Ends) -> i64 {
    let left = |(partition, end): (&Partition, &Offset)| {
        let progress = survey.get(partition)?;
        Some((end - progress.committed_end().max(progress.marks.low)).max(0))
    };
    ends.iter().filter_map(left).sum()
}

/// False when the time is over.
async fn pause(give_up: Instant) -> bool {
    if Instant::now() >= give_up {
        return false;
    }
    tokio::time::sleep_until(give_up.min(Instant::now() + LOOK_INTERVAL)).await;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Watermarks;

    #[test]
    fn only_what_is_there_and_before_the_end_is_waited_for() {
        let progress = |low, high, committed| Progress { marks: Watermarks { low, high }, committed };
        let left = |progress, end| lag(&BTreeMap::from([(0, progress)]), &BTreeMap::from([(0, end)]));
        assert_eq!(left(progress(0, 10, None), 7), 7);
        assert_eq!(left(progress(0, 10, Some(4)), 7), 3);
        assert_eq!(left(progress(0, 10, Some(9)), 7), 0);
        assert_eq!(left(progress(5, 10, Some(2)), 7), 2, "what has expired never comes");
        assert_eq!(left(progress(0, 10, Some(11)), 7), 7, "of the topic that was there before");
    }
}
