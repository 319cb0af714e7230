//! The contract of [`Ledger`], which every implementation keeps: SQLite's among the hermetic tests, PostgreSQL's among
//! the live ones.

use std::collections::HashSet;

use userpipe::error::Result;
use userpipe::ledger::{Archive, Entry, Ledger, Mark, NewRun, Published, Refused, RunEnd, Selection};
use userpipe::record::Timestamp;
use uuid::Uuid;

fn entry(n: u128) -> Entry {
    Entry { id: Uuid::from_u128(n), record: format!("{{\"n\":{n}}}").into(), raw: None }
}

fn run(run_id: Uuid) -> NewRun {
    NewRun { run_id, trigger: "once", scheduled_for: None, seed: Some("abc".to_owned()) }
}

/// Two ledgers of one database, of two pipelines that it has not seen before.
pub(crate) async fn keeps_the_contract(ledger: &impl Ledger, other: &impl Ledger) -> Result<()> {
    let id = Uuid::now_v7();
    assert_eq!(ledger.next_page("abc").await?, Some(1));
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
    assert_eq!(ledger.next_page("abc").await?, Some(4));
    assert_eq!(ledger.next_page("xyz").await?, Some(1));
    Ok(())
}

/// Two archives of one database, of two pipelines that it has not seen before.
pub(crate) async fn keeps_the_contract_of_an_archive<L: Ledger + Archive>(ledger: &L, other: &L) -> Result<()> {
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let id = Uuid::from_u128;
    let mark = |n: u128| Mark { id: id(n), partition: 2, offset: i64::try_from(n).unwrap() };
    ledger.start_run(&run(first)).await?;
    ledger.start_run(&NewRun { seed: None, ..run(second) }).await?;
    ledger.store(first, &(0..30).map(entry).collect::<Vec<_>>()).await?;
    ledger.store(second, &(20..40).map(entry).collect::<Vec<_>>()).await?;
    ledger.mark(first, &(0..30).map(mark).collect::<Vec<_>>()).await?;
    let ids = async |selection| -> Result<Vec<(Uuid, Uuid)>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = ledger.rows(selection, after, 7).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some((last.run_id, last.id));
            all.extend(page.iter().map(|row| (row.run_id, row.id)));
        }
    };
    looks_at_what_is_stored(ledger, other, first, second, ids).await?;

    assert_eq!(ledger.requeue(Selection::Id(id(25))).await?, 1, "the other one waits already");
    let again = ledger.claim_pending(100).await?;
    assert_eq!(again.iter().map(|row| (row.run_id, row.id)).collect::<Vec<_>>(), [(first, id(25))]);
    ledger.mark(first, &[mark(25)]).await?;
    assert_eq!(other.requeue(Selection::All).await?, 0);

    assert_eq!(ledger.purge(id(25)).await?, 2);
    assert_eq!(ids(Selection::Id(id(25))).await?, []);
    assert_eq!(ledger.purge(id(25)).await?, 0, "a second time is no error");
    assert_eq!(ledger.suppressed().await?, HashSet::from([id(25)]));
    assert_eq!(ledger.suppressed_among(&[id(24), id(25)]).await?, HashSet::from([id(25)]));
    assert_eq!(other.suppressed_among(&[id(24), id(25)]).await?, HashSet::new());

    ledger.mark_replayed("t", &[(0, 1), (2, 3)]).await?;
    ledger.mark_replayed("t", &[(2, 3)]).await?;
    assert_eq!(ledger.replayed("t", &[(0, 1), (1, 1), (2, 3)]).await?, HashSet::from([(0, 1), (2, 3)]));
    assert_eq!(ledger.replayed("other", &[(0, 1)]).await?, HashSet::new());

    let later = Timestamp::saturating_from_unix_ms(Timestamp::now().unix_ms() + 1000);
    assert_eq!(ledger.prune(Timestamp::saturating_from_unix_ms(0)).await?, 0);
    assert_eq!(other.prune(later).await?, 0);
    ledger.finish_run(first, &RunEnd { next_page: Some(9), ..RunEnd::default() }).await?;
    ledger.finish_run(second, &RunEnd::default()).await?;
    assert_eq!(ledger.prune(later).await?, 29, "what was never sent stays");
    assert_eq!(ids(Selection::All).await?.len(), 19);
    assert!(ledger.run(first).await?.is_some(), "it knows where its seed goes on");
    assert!(ledger.run(second).await?.is_some(), "its users are still there");
    assert_eq!(ledger.next_page("abc").await?, Some(9));
    assert_eq!((ledger.rejections(id(50)).await?, ledger.replayed("t", &[(0, 1)]).await?), (vec![], HashSet::new()));
    Ok(())
}

async fn looks_at_what_is_stored<L: Ledger + Archive>(
    ledger: &L,
    other: &L,
    first: Uuid,
    second: Uuid,
    ids: impl AsyncFn(Selection) -> Result<Vec<(Uuid, Uuid)>>,
) -> Result<()> {
    let id = Uuid::from_u128;
    let all = ids(Selection::All).await?;
    assert!(all.len() == 50 && all.is_sorted(), "{all:?}");
    assert_eq!(ids(Selection::Run(second)).await?, (20..40).map(|n| (second, id(n))).collect::<Vec<_>>());
    assert_eq!(ids(Selection::Id(id(25))).await?, [(first, id(25)), (second, id(25))]);
    let far = Timestamp::saturating_from_unix_ms(i64::MAX);
    let waiting = async |selection, until| ledger.waiting(selection, until).await;
    assert_eq!((waiting(Selection::All, far).await?, waiting(Selection::Run(first), far).await?), (20, 0));
    assert_eq!(waiting(Selection::All, Timestamp::saturating_from_unix_ms(0)).await?, 0, "stored after this");
    let [sent, waiting] = &ledger.rows(Selection::Id(id(25)), None, 9).await?[..] else { panic!("two rows") };
    assert!(matches!(sent.published, Some(Published { partition: 2, offset: 25, .. })), "{sent:?}");
    assert_eq!(waiting.published, None);
    assert_eq!(ids(Selection::Since(sent.stored_at)).await?.len(), 50);
    let later = Timestamp::saturating_from_unix_ms(waiting.stored_at.unix_ms() + 1);
    assert_eq!(ids(Selection::Since(later)).await?, []);
    assert_eq!(other.rows(Selection::All, None, 9).await?, []);

    let mut of: Vec<Uuid> = ledger.records(&[id(5), id(25), id(99)]).await?.into_iter().map(|(id, _)| id).collect();
    of.sort_unstable();
    assert_eq!(of, [id(5), id(25), id(25)], "those of every run");
    assert_eq!(other.records(&[id(5)]).await?, []);

    let refused = |n| Refused { id: Some(id(n)), reason: "email: missing".to_owned(), raw: None };
    ledger.reject(first, &[refused(50), Refused { id: None, ..refused(51) }]).await?;
    let [rejection] = &ledger.rejections(id(50)).await?[..] else { panic!("one rejection") };
    assert_eq!((rejection.run_id, rejection.id, rejection.reason.as_str()), (first, Some(id(50)), "email: missing"));
    assert_eq!(other.rejections(id(50)).await?, []);

    let known = ledger.run(first).await?.unwrap();
    assert_eq!((known.trigger.as_str(), known.state.as_str(), known.attempts), ("once", "running", 1));
    assert_eq!((known.seed.as_deref(), known.finished_at), (Some("abc"), None));
    assert_eq!(other.run(first).await?, None);
    Ok(())
}
