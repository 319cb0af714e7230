//! Rules of offsets that are not in the topic.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;
use userpipe::bus::{Consumer, Event, Message, Offset};
use userpipe::config::OutOfRange;
use userpipe::error::{Error, Kind};

use super::{Bus, SOON, after, assigned, close, event, is_committed, read, silent, store};

pub(crate) async fn an_offset_that_retention_removed_is_never_skipped_in_silence<B: Bus>(bus: &B) {
    for (policy, first) in [(OutOfRange::Error, None), (OutOfRange::Beginning, Some(50)), (OutOfRange::End, Some(100))]
    {
        let mut seat = bus.seat("retention", 1).await;
        bus.send(&seat.topic, 100).await;
        let mut member = bus.join(&seat).await.expect("joins");
        read(&mut member, 100).await;
        store(&mut member, &BTreeMap::from([(0, 10)])).await;
        close(member).await;
        bus.remove(&seat.topic, 0, 50).await;

        seat.settings.on_out_of_range = policy;
        let mut member = bus.join(&seat).await.expect("joins");
        match first {
            None => is_out_of_range(&ends(&mut member).await, 10..11),
            Some(first) => {
                assigned(&mut member, 1, SOON).await;
                is_committed(&mut member, first).await;
                bus.send(&seat.topic, 10).await;
                assert_eq!(read(&mut member, usize::try_from(110 - first).unwrap_or(0)).await[0].offset, first);
            }
        }
        close(member).await;
    }
}

pub(crate) async fn what_retention_removes_under_a_member_is_never_skipped_in_silence<B: Bus>(bus: &B) {
    // More than any member reads ahead while it is paused.
    let (all, low) = (20_010, 19_000);
    for (policy, first) in
        [(OutOfRange::Error, None), (OutOfRange::Beginning, Some(low)), (OutOfRange::End, Some(i64::from(all)))]
    {
        let mut seat = bus.seat("expired", 1).await;
        seat.settings.on_out_of_range = policy;
        bus.send(&seat.topic, 10).await;
        let mut member = bus.join(&seat).await.expect("joins");
        read(&mut member, 10).await;
        member.pause(true);
        // The fetch that waits for records has come back by then.
        silent(&mut member, Duration::from_secs(2)).await;
        bus.send(&seat.topic, usize::try_from(all - 10).unwrap_or(0)).await;
        bus.remove(&seat.topic, 0, low).await;
        member.pause(false);
        match first {
            None => is_out_of_range(&ends_after(&mut member, 10).await, 10..low),
            Some(first) => {
                is_moved_after(&mut member, 10).await;
                is_committed(&mut member, first).await;
                bus.send(&seat.topic, 10).await;
                let records = read(&mut member, usize::try_from(i64::from(all) + 10 - first).unwrap_or(0)).await;
                assert_eq!(records[0].offset, first);
                store(&mut member, &after(&records)).await;
            }
        }
        close(member).await;
    }
}

pub(crate) async fn a_topic_created_anew_is_never_read_from_the_middle<B: Bus>(bus: &B) {
    for policy in [OutOfRange::Error, OutOfRange::Beginning] {
        let mut seat = bus.seat("recreated", 1).await;
        seat.settings.on_out_of_range = policy;
        bus.send(&seat.topic, 100).await;
        let mut member = bus.join(&seat).await.expect("joins");
        read(&mut member, 100).await;
        store(&mut member, &BTreeMap::from([(0, 40)])).await;
        close(member).await;
        bus.delete(&seat.topic).await;
        bus.create(&seat.topic, 1).await;
        // 40 is in range again, where the bus is not to be deceived by that.
        let count = if B::KNOWS_TOPICS { 60 } else { 10 };
        bus.send(&seat.topic, count).await;
        let mut member = bus.join(&seat).await.expect("joins");
        let mut next = event(&mut member, SOON).await;
        if let Ok(Event::Assigned(_)) = next {
            next = event(&mut member, SOON).await;
        }
        match (next, policy) {
            // The broker has forgotten the offsets of the deleted topic, so this is like a new group.
            (Ok(Event::Records(records)), _) => assert_eq!(records[0].offset, 0),
            (Err(error), OutOfRange::Error) => is_out_of_range(&error, 40..41),
            (other, _) => panic!("unexpected {other:?}"),
        }
        close(member).await;
    }
}

pub(crate) async fn a_topic_created_anew_under_a_member_is_noticed<B: Bus>(bus: &B) {
    for policy in [OutOfRange::Error, OutOfRange::Beginning] {
        let mut seat = bus.seat("replaced", 1).await;
        seat.settings.on_out_of_range = policy;
        bus.send(&seat.topic, 50).await;
        let mut member = bus.join(&seat).await.expect("joins");
        let records = read(&mut member, 50).await;
        store(&mut member, &after(&records)).await;
        bus.delete(&seat.topic).await;
        bus.create(&seat.topic, 1).await;
        let count = if B::KNOWS_TOPICS { 70 } else { 10 };
        bus.send(&seat.topic, count).await;
        if policy == OutOfRange::Error {
            let error = ends(&mut member).await;
            assert_eq!(error.kind(), Kind::Failed, "{error}");
            assert!(error.to_string().contains("created anew"), "{error}");
        } else {
            is_moved(&mut member).await;
            let records = read(&mut member, count).await;
            assert_eq!(records[0].offset, 0);
            store(&mut member, &after(&records)).await;
        }
        close(member).await;
    }
}

/// Polls until it ends with an error; nothing is handed out before.
async fn ends(member: &mut impl Consumer) -> Error {
    ends_after(member, Offset::MAX).await
}

/// The same, where what was read ahead from this offset on may come before, without a gap.
async fn ends_after(member: &mut impl Consumer, mut next: Offset) -> Error {
    let deadline = Instant::now() + SOON * 2;
    loop {
        assert!(Instant::now() < deadline, "it goes on");
        match event(member, SOON).await {
            Ok(Event::Assigned(_) | Event::Lost(_) | Event::Revoked(..)) => {}
            // It may pass: brokers agree on a topic only after a while.
            Err(error) if error.kind() == Kind::Unreachable => {}
            Err(error) => return error,
            Ok(Event::Records(records)) => next = follow(&records, next),
        }
    }
}

/// The offset after records that begin with this one.
fn follow(records: &[Message], next: Offset) -> Offset {
    let offsets: Vec<_> = records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (next..).take(offsets.len()).collect::<Vec<_>>(), "skipped");
    next + Offset::try_from(offsets.len()).unwrap_or(0)
}

/// `offsets` are those that it may name.
fn is_out_of_range(error: &Error, offsets: Range<Offset>) {
    assert_eq!(error.kind(), Kind::Failed, "{error}");
    let text = error.to_string();
    let named = text.strip_prefix("offset ").and_then(|rest| rest.split_once(" is not in the topic"));
    let offset = named.and_then(|(offset, _)| offset.parse().ok());
    assert!(offset.is_some_and(|offset| offsets.contains(&offset)), "{error}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--on-out-of-range")), "{error:?}");
}

/// The partition is lost, or given away, and comes again.
async fn is_moved(member: &mut impl Consumer) {
    is_moved_after(member, Offset::MAX).await;
}

/// The same, where what was read ahead from this offset on may come before, without a gap.
async fn is_moved_after(member: &mut impl Consumer, mut next: Offset) {
    let mut gone = false;
    let deadline = Instant::now() + SOON * 2;
    while Instant::now() < deadline {
        match event(member, SOON).await {
            Ok(Event::Lost(_) | Event::Revoked(..)) => gone = true,
            Ok(Event::Assigned(_)) if gone => return,
            Ok(Event::Records(records)) if !gone => next = follow(&records, next),
            Err(error) if error.kind() == Kind::Unreachable => {}
            other => panic!("expected a loss and an assignment, got {other:?}"),
        }
    }
    panic!("the partition did not come again");
}
