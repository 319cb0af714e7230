//! What the contract does not see: files of an older userpipe, and what a person reads in the shell.

use std::collections::HashSet;

use super::*;
use crate::ledger::{Archive, Published, Selection};

const RUN: Uuid = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001);

fn entry(n: u128) -> Entry {
    Entry { id: Uuid::from_u128(n), record: format!("{{\"n\":{n}}}").into(), raw: None }
}

/// Rows of the outbox as version 1 had them: one that was sent, one that waits under a claim that has run out, and one
/// under a claim of a process that lives.
const OF_VERSION_1: &str = "
    INSERT INTO outbox (run_id, id, pipeline, record, raw, stored_at, claimed_by, claimed_until, published_at, partition,
                        offset)
    VALUES
    ('01980000-0000-7000-8000-000000000001', '00000000-0000-0000-0000-000000000001', 'p', '{\"n\":1}', '{\"raw\":1}',
     1000, 'a', 2000, 3000, 2, 7),
    ('01980000-0000-7000-8000-000000000001', '00000000-0000-0000-0000-0000000000ff', 'p', '{\"n\":255}', NULL,
     1001, 'a', 2000, NULL, NULL, NULL),
    ('01980000-0000-7000-8000-000000000001', '00000000-0000-0000-0000-000000000003', 'p', '{\"n\":3}', NULL,
     1002, 'b', 9000000000000, NULL, 2, 9)";

#[tokio::test]
async fn rows_of_version_1_are_carried_over_with_their_marks_and_claims() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("userpipe.db");
    crate::sql::write_version_1(&path, OF_VERSION_1).await;
    let database = Sqlite::open(&path).await?;
    let ledger = SqliteLedger::new(database.clone(), "p".to_owned());

    let rows = ledger.rows(Selection::All, None, 10).await?;
    let places: Vec<_> = rows.iter().map(|row| (row.id.as_u128(), row.stored_at.unix_ms(), row.published)).collect();
    let sent = Published { at: Timestamp::saturating_from_unix_ms(3000), partition: 2, offset: 7 };
    assert_eq!(places, [(1, 1000, Some(sent)), (3, 1002, None), (255, 1001, None)]);
    assert!(rows.iter().all(|row| row.run_id == RUN));
    assert_eq!(ledger.unsent().await?, 2);
    let pending = ledger.claim_pending(10).await?;
    assert_eq!(pending.iter().map(|row| (row.id.as_u128(), &*row.record)).collect::<Vec<_>>(), [(255, "{\"n\":255}")]);
    let raw: String = sqlx::query_scalar("SELECT raw FROM outbox WHERE id = '00000000-0000-0000-0000-000000000001'")
        .fetch_one(&database.reader)
        .await
        .expect("the view is there");
    assert_eq!(raw, "{\"raw\":1}");

    // The run goes on where it was: the same key is the same row.
    ledger.store(RUN, &[entry(1), entry(4)]).await?;
    assert_eq!((ledger.rows(Selection::All, None, 10).await?.len(), ledger.unsent().await?), (4, 4));
    Ok(())
}

#[tokio::test]
async fn the_view_shows_ids_as_text_and_who_waits() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    let ledger = SqliteLedger::new(database.clone(), "p".to_owned());
    ledger.store(RUN, &[entry(0xabcd), entry(2)]).await?;
    ledger.mark(RUN, &[Mark { id: Uuid::from_u128(2), partition: 1, offset: 5 }]).await?;
    let rows: Vec<(String, String, Option<i64>, Option<String>)> =
        sqlx::query_as("SELECT run_id, id, offset, claimed_by FROM outbox ORDER BY id")
            .fetch_all(&database.reader)
            .await
            .expect("the view is there");
    let row = |n: u128, offset, owner| (RUN.to_string(), Uuid::from_u128(n).to_string(), offset, owner);
    assert_eq!(rows, [row(2, Some(5), None), row(0xabcd, None, Some(ledger.owner.clone()))]);
    Ok(())
}

#[tokio::test]
async fn claims_that_are_over_do_not_pile_up() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    let ledger = SqliteLedger::new(database.clone(), "p".to_owned());
    for n in 0..20 {
        ledger.store(RUN, &[entry(n)]).await?;
        ledger.mark(RUN, &[Mark { id: Uuid::from_u128(n), partition: 0, offset: 0 }]).await?;
        ledger.requeue(Selection::Id(Uuid::from_u128(n))).await?;
        ledger.release().await?;
    }
    let claimed: HashSet<_> = ledger.claim_pending(100).await?.iter().map(|row| row.id.as_u128()).collect();
    assert_eq!(claimed, (0..20).collect());
    let claims: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox_claims").fetch_one(&database.reader).await.expect("readable");
    // Each of the requeued users had one, until all of them came under the claim of the process.
    assert!(claims <= 21, "{claims} claims");
    ledger.release().await?;
    ledger.store(RUN, &[entry(100)]).await?;
    let claims: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox_claims").fetch_one(&database.reader).await.expect("readable");
    assert_eq!(claims, 2, "the released one, which 20 users still wait under, and the new one");
    Ok(())
}
