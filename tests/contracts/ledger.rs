//! The contract of [`Ledger`], which every implementation keeps: SQLite's among the hermetic tests, PostgreSQL's among
//! the live ones.

use userpipe::error::Result;
use userpipe::ledger::{Entry, Ledger, Mark, NewRun, RunEnd};
use uuid::Uuid;

fn entry(n: u128) -> Entry {
    Entry { id: Uuid::from_u128(n), record: format!("{{\"n\":{n}}}"), raw: None }
}

fn run(run_id: Uuid) -> NewRun {
    NewRun { run_id, trigger: "once", scheduled_for: None, seed: Some("abc".to_owned()) }
}

/// Two ledgers of one database, of two pipelines that it has not seen before.
pub(crate) async fn keeps_the_contract(ledger: &impl Ledger, other: &impl Ledger) -> Result<()> {
    let id = Uuid::now_v7();
    assert_eq!(ledger.next_page("abc").await?, 1);
    ledger.start_run(&run(id)).await?;
    ledger.store(id, &(0..1200).map(entry).collect::<Vec<_>>()).await?;
    assert!(ledger.claim_pending(10).await?.is_empty(), "the storing process still holds the lease");

    let mark = |n: u128| Mark { id: Uuid::from_u128(n), partition: 1, offset: 7 };
    ledger.mark(id, &(0..1000).map(mark).collect::<Vec<_>>()).await?;
    other.release().await?;
    assert!(ledger.claim_pending(10).await?.is_empty(), "only its own claims are another's to release");
    ledger.release().await?;
    assert_eq!((ledger.unsent().await?, other.unsent().await?), (200, 0));
    assert!(other.claim_pending(10).await?.is_empty(), "another pipeline's rows are none of its business");
    let first = ledger.claim_pending(150).await?;
    let second = ledger.claim_pending(150).await?;
    assert_eq!((first.len(), second.len()), (150, 50), "what was never marked, each row once");
    assert!(first.iter().chain(&second).all(|p| p.id >= Uuid::from_u128(1000) && p.run_id == id));
    assert!(ledger.claim_pending(1).await?.is_empty());

    ledger.mark(id, &(1000..1200).map(mark).collect::<Vec<_>>()).await?;
    ledger.store(id, &[entry(5)]).await?;
    ledger.release().await?;
    ledger.renew().await?;
    assert!(ledger.claim_pending(10).await?.is_empty(), "renewed");
    ledger.release().await?;
    let again = ledger.claim_pending(10).await?;
    assert_eq!(again.iter().map(|p| p.id).collect::<Vec<_>>(), [Uuid::from_u128(5)], "stored again, sent again");

    ledger.finish_run(id, &RunEnd { fetched: 1200, next_page: Some(4), ..RunEnd::default() }).await?;
    assert_eq!(ledger.next_page("abc").await?, 4);
    assert_eq!(ledger.next_page("xyz").await?, 1);
    Ok(())
}
