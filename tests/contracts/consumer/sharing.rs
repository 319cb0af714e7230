//! Rules of sharing a topic: where members begin, and how partitions go from one to another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use userpipe::bus::{Commit, Consumer, Event};

use super::{
    Bus, SOON, Seat, TICK, after, assigned, close, event, meanwhile, only_records, read, read_some, revoked, silent,
    store,
};

pub(crate) async fn the_next_member_goes_on_where_the_last_one_committed<B: Bus>(bus: &B) {
    let seat = bus.seat("resume", 1).await;
    bus.send(&seat.topic, 100).await;
    let mut first = bus.join(&seat).await.expect("joins");
    match event(&mut first, SOON).await {
        Ok(Event::Assigned(partitions)) => assert_eq!(partitions, [0]),
        other => panic!("partitions come before records: {other:?}"),
    }
    let offsets: Vec<_> = read(&mut first, 100).await.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    store(&mut first, &BTreeMap::from([(0, 40)])).await;
    assert_eq!(first.committed().await.expect("offsets"), BTreeMap::from([(0, 40)]));
    let marks: Vec<_> = first.watermarks().await.expect("marks").into_values().map(|m| (m.low, m.high)).collect();
    assert_eq!(marks, [(0, 100)]);
    close(first).await;

    let mut second = bus.join(&seat).await.expect("joins");
    assert_eq!(read(&mut second, 60).await[0].offset, 40);
    let foreign = BTreeMap::from([(5, 1)]);
    assert_eq!(second.commit(&foreign).await.expect("an answer"), Commit::Fenced, "partition 5 was never ours");
    close(second).await;
}

pub(crate) async fn a_cancelled_poll_loses_nothing<B: Bus>(bus: &B) {
    let seat = bus.seat("cancelled", 2).await;
    bus.send(&seat.topic, 100).await;
    let mut member = bus.join(&seat).await.expect("joins");
    let (mut places, begin, mut polls) = (BTreeSet::new(), Instant::now(), 0);
    while places.len() < 100 && begin.elapsed() < SOON {
        polls += 1;
        if let Ok(Ok(Event::Records(records))) =
            timeout(Duration::from_millis(polls % 5), member.poll(Duration::from_secs(1))).await
        {
            for record in records {
                assert!(places.insert((record.partition, record.offset)), "twice: {record:?}");
            }
        }
    }
    assert_eq!(places.len(), 100);
    close(member).await;
}

pub(crate) async fn a_share_goes_to_another_member_only_after_its_release<B: Bus>(bus: &B) {
    let seat = bus.seat("share", 2).await;
    bus.send(&seat.topic, 20).await;
    let mut first = bus.join(&seat).await.expect("joins");
    let records = read(&mut first, 20).await;
    let mut second = bus.join(&seat).await.expect("joins");
    silent(&mut second, TICK).await;
    let (share, release) = revoked(&mut first).await;
    assert_eq!(share.len(), 1);
    meanwhile(&mut first, only_records, silent(&mut second, Duration::from_secs(2))).await;
    store(&mut first, &after(&records)).await;
    drop(release);
    let taken = meanwhile(&mut first, only_records, assigned(&mut second, 1, SOON)).await;
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), share);
    let lost = BTreeMap::from([(share[0], 1)]);
    assert_eq!(first.commit(&lost).await.expect("an answer"), Commit::Fenced, "given away");
    bus.send(&seat.topic, 20).await;
    let again = read_some(&mut second).await;
    assert!(again.iter().all(|r| share.contains(&r.partition) && r.offset >= after(&records)[&r.partition]));
    close(first).await;
    close(second).await;
}

pub(crate) async fn closing_hands_over_at_once<B: Bus>(bus: &B) {
    let seat = bus.seat("close", 4).await;
    let (mut first, mut second) = two_members(bus, &seat).await;
    let begin = Instant::now();
    let mine = async { assigned(&mut second, 2, SOON).await };
    let leaving = async {
        // The other still has its events.
        let _ = first.poll(TICK).await;
        close(first).await;
    };
    tokio::join!(mine, leaving);
    let took = begin.elapsed();
    eprintln!("{}: the partitions of a member that closed were taken over after {took:?}", std::any::type_name::<B>());
    assert!(took < bus.session().min(Duration::from_secs(6)), "{took:?}");
    close(second).await;
}

pub(crate) async fn what_is_not_released_in_time_is_lost<B: Bus>(bus: &B) {
    let seat = bus.seat("unreleased", 2).await;
    bus.send(&seat.topic, 20).await;
    let mut first = bus.join(&seat).await.expect("joins");
    read(&mut first, 20).await;
    let mut second = bus.join(&seat).await.expect("joins");
    silent(&mut second, TICK).await;
    let (share, kept) = revoked(&mut first).await;
    let begin = Instant::now();
    let offset = BTreeMap::from([(share[0], 1)]);
    store(&mut first, &offset).await;
    let losing = async {
        loop {
            match event(&mut first, bus.session() * 3 + SOON * 3).await {
                Ok(Event::Lost(lost)) => break assert_eq!(lost, share),
                Ok(Event::Records(_)) => {}
                other => panic!("expected a loss, got {other:?}"),
            }
        }
    };
    let stays = |event: &Event| matches!(event, Event::Records(_));
    meanwhile(&mut second, stays, losing).await;
    assert!(begin.elapsed() >= bus.session(), "{:?}", begin.elapsed());
    assert_eq!(first.commit(&offset).await.expect("an answer"), Commit::Fenced);
    let taken = meanwhile(&mut first, only_records, assigned(&mut second, 1, SOON)).await;
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), share);
    drop(kept);
    close(first).await;
    close(second).await;
}

/// Two members that share four partitions, both settled.
async fn two_members<B: Bus>(bus: &B, seat: &Seat) -> (B::Member, B::Member) {
    let mut first = bus.join(seat).await.expect("joins");
    assigned(&mut first, 4, SOON).await;
    let mut second = bus.join(seat).await.expect("joins");
    // Each revocation is answered at once.
    meanwhile(&mut first, |event| !matches!(event, Event::Lost(_)), assigned(&mut second, 2, SOON)).await;
    (first, second)
}

pub(crate) async fn a_member_that_dies_is_taken_over_after_its_session<B: Bus>(bus: &B) {
    let seat = bus.seat("dies", 4).await;
    bus.send(&seat.topic, 40).await;
    let (first, mut second) = two_members(bus, &seat).await;
    drop(first);
    let begin = Instant::now();
    assigned(&mut second, 2, bus.session() + SOON).await;
    let took = begin.elapsed();
    eprintln!("{}: a member that died was taken over after {took:?}", std::any::type_name::<B>());
    assert!(took < bus.session() + Duration::from_secs(8), "{took:?} with a session of {:?}", bus.session());
    close(second).await;
}

pub(crate) async fn a_paused_member_stays_longer_than_a_session<B: Bus>(bus: &B) {
    let seat = bus.seat("paused", 2).await;
    bus.send(&seat.topic, 100).await;
    let mut member = bus.join(&seat).await.expect("joins");
    let before = read(&mut member, 100).await;
    member.pause(true);
    bus.send(&seat.topic, 9_000).await;
    silent(&mut member, bus.session() * 5 / 2).await;
    store(&mut member, &after(&before)).await;
    member.pause(false);
    let rest = read(&mut member, 9_000).await;
    store(&mut member, &after(&rest)).await;
    close(member).await;
}
