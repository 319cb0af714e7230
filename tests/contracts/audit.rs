//! The contract of [`Audit`], which every ledger keeps.

use userpipe::error::Result;
use userpipe::ledger::{Archive, Audit, Ledger, NewRun, RunEnd, Totals, Verification};
use userpipe::record::Timestamp;
use uuid::Uuid;

fn verification(minute: i64, holes: u64) -> Verification {
    let at = Timestamp::saturating_from_unix_ms(minute * 60_000);
    Verification { at, holes, foreign: 2, in_flight: 3, summary: format!("{holes} unaccounted for") }
}

/// Two pipelines that the database has not seen before.
pub(crate) async fn keeps_the_contract<L: Ledger + Archive + Audit>(ours: &L, other: &L) -> Result<()> {
    assert_eq!(ours.last_verification().await?, None);
    ours.remember(&verification(2, 7)).await?;
    ours.remember(&verification(1, 8)).await?;
    assert_eq!(ours.last_verification().await?, Some(verification(2, 7)), "an older one says nothing any more");
    ours.remember(&verification(3, 0)).await?;
    assert_eq!(ours.last_verification().await?, Some(verification(3, 0)));
    assert_eq!(other.last_verification().await?, None);

    assert_eq!(ours.totals().await?, Totals::default());
    let mut runs = Vec::new();
    for error in [None, Some("the API is away".to_owned())] {
        let run_id = Uuid::now_v7();
        ours.start_run(&NewRun { run_id, trigger: "once", scheduled_for: None, seed: None }).await?;
        ours.finish_run(run_id, &RunEnd { fetched: 10, produced: 8, rejected: 2, next_page: None, error }).await?;
        runs.push(run_id);
    }
    assert_eq!(ours.totals().await?, Totals { fetched: 20, rejected: 4, produced: 16, failed: 1 });
    assert_eq!(other.totals().await?, Totals::default());

    let ids = async |before, limit| {
        Ok::<_, userpipe::error::Error>(
            ours.runs(before, limit).await?.iter().map(|run| run.run_id).collect::<Vec<_>>(),
        )
    };
    assert_eq!(ids(None, 9).await?, [runs[1], runs[0]], "newest first");
    assert_eq!(ids(Some(runs[1]), 9).await?, [runs[0]]);
    assert!(ids(Some(runs[0]), 9).await?.is_empty());
    Ok(())
}
