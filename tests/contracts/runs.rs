//! The contract of [`Runs`], which every ledger keeps.

use userpipe::error::Result;
use userpipe::ledger::{Archive, Claim, Entry, Ledger, LogLine, Mark, NewRun, RunEnd, Runs, SentRange, Unrun};
use userpipe::record::Timestamp;
use uuid::Uuid;

fn slot(n: i64) -> Timestamp {
    Timestamp::saturating_from_unix_ms(n * 60_000)
}

fn scheduled(n: i64) -> NewRun {
    NewRun { run_id: Uuid::now_v7(), trigger: "interval", scheduled_for: Some(slot(n)), seed: Some("abc".to_owned()) }
}

async fn state<L: Archive>(ledger: &L, run_id: Uuid) -> Result<(String, Option<String>)> {
    let run = ledger.run(run_id).await?.unwrap();
    Ok((run.state, run.error))
}

/// Two processes of one pipeline that the database has not seen before, and one of another.
pub(crate) async fn keeps_the_contract<L: Ledger + Archive + Runs>(ours: &L, theirs: &L, other: &L) -> Result<()> {
    assert_eq!(ours.last_slot().await?, None);
    let first = scheduled(1);
    assert_eq!(ours.claim_slot(&first).await?, Claim::Ours);
    assert_eq!(theirs.claim_slot(&scheduled(1)).await?, Claim::Taken);
    assert_eq!(other.claim_slot(&scheduled(1)).await?, Claim::Ours, "another pipeline has slots of its own");
    let second = scheduled(2);
    assert_eq!(theirs.claim_slot(&second).await?, Claim::Skipped("the run before was still going"));
    assert_eq!(state(ours, second.run_id).await?.0, "skipped");
    assert_eq!(theirs.take_over().await?, None, "it is alive");
    ours.finish_run(first.run_id, &RunEnd::default()).await?;

    a_dead_process_is_followed_by_another(ours, theirs).await?;
    a_schedule_is_paused_and_asked_for_a_run(ours, theirs).await?;

    theirs.note_unrun("interval", &[slot(5), slot(6), slot(3)], Unrun::Missed).await?;
    let states: Vec<_> = ours.runs(None, 3).await?.into_iter().map(|run| (run.scheduled_for, run.state)).collect();
    let missed = |n| (Some(slot(n)), "missed".to_owned());
    assert_eq!(states[..2], [missed(6), missed(5)], "and the slot that was run stays as it is");
    assert_eq!((ours.last_slot().await?, other.last_slot().await?), (Some(slot(6)), Some(slot(1))));

    let entry = |n: u128| Entry { id: Uuid::from_u128(n), record: "{}".into(), raw: None };
    ours.store(first.run_id, &(0..4).map(entry).collect::<Vec<_>>()).await?;
    let mark = |n: u8| Mark { id: Uuid::from_u128(n.into()), partition: i32::from(n) % 2, offset: n.into() };
    ours.mark(first.run_id, &[mark(0), mark(1), mark(2)]).await?;
    let range = |partition, first, last, records| SentRange { partition, first, last, records };
    assert_eq!(theirs.sent(first.run_id).await?, [range(0, 0, 2, 2), range(1, 1, 1, 1)]);

    let line = |n: i64| LogLine { at: slot(n), level: "WARN".to_owned(), text: format!("line {n}") };
    ours.append_log(first.run_id, &[line(2), line(1)]).await?;
    ours.append_log(first.run_id, &[line(3)]).await?;
    assert_eq!(theirs.log(first.run_id).await?, [line(2), line(1), line(3)]);
    assert_eq!(theirs.log(second.run_id).await?, []);
    Ok(())
}

async fn a_dead_process_is_followed_by_another<L: Ledger + Archive + Runs>(ours: &L, theirs: &L) -> Result<()> {
    let run = scheduled(3);
    assert_eq!(ours.claim_slot(&run).await?, Claim::Ours);
    ours.begin_attempt(run.run_id, 1, Some("xyz")).await?;
    ours.renew().await?;
    assert_eq!(theirs.take_over().await?, None, "renewed");
    // As when its process dies and the lease runs out.
    ours.release().await?;
    let orphan = theirs.take_over().await?.unwrap();
    assert_eq!((orphan.run_id, orphan.scheduled_for, orphan.attempts), (run.run_id, Some(slot(3)), 1));
    assert_eq!((orphan.seed.as_deref(), orphan.trigger.as_str()), (Some("xyz"), "interval"));
    assert_eq!(ours.take_over().await?, None, "it is theirs now");
    theirs.finish_run(run.run_id, &RunEnd::default()).await?;
    assert_eq!(state(ours, run.run_id).await?, ("success".to_owned(), None));

    let command = NewRun { run_id: Uuid::now_v7(), trigger: "once", scheduled_for: None, seed: None };
    ours.start_run(&command).await?;
    assert_eq!(theirs.take_over().await?, None);
    ours.release().await?;
    assert_eq!(theirs.take_over().await?, None, "nobody runs a command again");
    assert_eq!(state(ours, command.run_id).await?, ("failed".to_owned(), Some("its process died".to_owned())));
    Ok(())
}

async fn a_schedule_is_paused_and_asked_for_a_run<L: Ledger + Archive + Runs>(ours: &L, theirs: &L) -> Result<()> {
    assert_eq!(ours.paused_since().await?, None);
    assert!(ours.set_paused(true).await? && !theirs.set_paused(true).await?);
    assert!(theirs.paused_since().await?.is_some());
    assert_eq!(theirs.claim_slot(&scheduled(4)).await?, Claim::Skipped("the schedule is paused"));

    let asked = ours.request_run().await?;
    assert_eq!(state(ours, asked).await?.0, "requested");
    let orphan = theirs.take_over().await?.unwrap();
    assert_eq!((orphan.run_id, orphan.trigger.as_str(), orphan.attempts), (asked, "manual", 0));
    let next = ours.request_run().await?;
    assert_eq!(ours.take_over().await?, None, "one at a time");
    theirs.finish_run(asked, &RunEnd::default()).await?;
    assert_eq!(ours.take_over().await?.map(|orphan| orphan.run_id), Some(next));
    ours.finish_run(next, &RunEnd { error: Some("no".to_owned()), ..RunEnd::default() }).await?;
    assert_eq!(state(theirs, next).await?, ("failed".to_owned(), Some("no".to_owned())));
    assert!(theirs.set_paused(false).await? && !ours.set_paused(false).await?);
    assert_eq!(ours.paused_since().await?, None);
    Ok(())
}
