//! Rules of names: static members, the sink that a group works for, and moving it from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use userpipe::bus::{Commit, Consumer, Event, Moved, Reset, StartAt};
use userpipe::config::MemberConfig;
use userpipe::error::Kind;

use super::{
    ANOTHER, Bus, IDENTITY, SOON, Seat, TICK, assigned, close, event, is_committed, meanwhile, only_records, read,
    revoked, silent, store,
};

pub(crate) async fn a_static_member_that_returns_gets_its_own_back<B: Bus>(bus: &B) {
    let seat = bus.seat("static", 4).await;
    let named = |id: &str| {
        let settings = MemberConfig { static_id: Some(id.to_owned()), ..seat.settings.clone() };
        Seat { settings, ..seat.clone() }
    };
    let mut first = bus.join(&named("one")).await.expect("joins");
    assigned(&mut first, 4, SOON).await;
    let mut second = bus.join(&named("two")).await.expect("joins");
    let (own, release) = revoked(&mut first).await;
    drop(release);
    meanwhile(&mut first, only_records, assigned(&mut second, own.len(), SOON)).await;
    close(second).await;
    silent(&mut first, bus.session() / 3).await;
    let begin = Instant::now();
    let mut back = bus.join(&named("two")).await.expect("joins again");
    // Nobody else is disturbed.
    let returned = meanwhile(&mut first, only_records, assigned(&mut back, own.len(), SOON)).await;
    eprintln!("{}: a static member was back after {:?}", std::any::type_name::<B>(), begin.elapsed());
    assert_eq!(returned, own.into_iter().collect());
    close(first).await;
    close(back).await;
}

pub(crate) async fn two_live_processes_of_one_name_end_in_an_error<B: Bus>(bus: &B) {
    let mut seat = bus.seat("twice", 1).await;
    seat.settings.static_id = Some("one".to_owned());
    bus.send(&seat.topic, 10).await;
    let mut first = bus.join(&seat).await.expect("joins");
    read(&mut first, 10).await;
    // Which of the two it is differs: the newcomer waits for a session, or takes the name.
    let limit = bus.session() * 3 + SOON;
    let error = match bus.join(&seat).await {
        Err(error) => {
            store(&mut first, &BTreeMap::from([(0, 10)])).await;
            close(first).await;
            error
        }
        Ok(mut second) => {
            let ending = async {
                loop {
                    match event(&mut first, limit).await {
                        Ok(Event::Lost(_) | Event::Records(_)) => {}
                        Ok(other) => panic!("unexpected {other:?}"),
                        Err(error) => break error,
                    }
                }
            };
            // The name is not fought for.
            let stays = |event: &Event| matches!(event, Event::Records(_) | Event::Assigned(_));
            let error = meanwhile(&mut second, stays, ending).await;
            assert_eq!(first.commit(&BTreeMap::from([(0, 3)])).await.expect("an answer"), Commit::Fenced);
            silent_but_records(&mut second, bus.session()).await;
            store(&mut second, &BTreeMap::from([(0, 10)])).await;
            // The one that lost its name leaves nobody's place.
            close(first).await;
            silent_but_records(&mut second, Duration::from_secs(1)).await;
            close(second).await;
            error
        }
    };
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(error.to_string().contains("another live process is member one"), "{error}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--static-member")));
}

async fn silent_but_records(member: &mut impl Consumer, time: Duration) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        match member.poll(TICK).await {
            Ok(Event::Records(_) | Event::Assigned(_)) => {}
            other => panic!("expected nothing but records, got {other:?}"),
        }
    }
}

pub(crate) async fn a_group_is_reset_only_without_live_members<B: Bus>(bus: &B) {
    const NO_WAIT: Duration = Duration::from_millis(600);
    let seat = bus.seat("reset", 1).await;
    bus.send(&seat.topic, 100).await;
    let mut member = bus.join(&seat).await.expect("joins");
    read(&mut member, 100).await;
    store(&mut member, &BTreeMap::from([(0, 70)])).await;
    let resetting = bus.reset(&seat, StartAt::Beginning, Duration::from_secs(2));
    let error = meanwhile(&mut member, only_records, resetting).await.expect_err("it lives");
    assert!(error.to_string().contains("live members"), "{error}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--group")), "{error:?}");
    close(member).await;

    let mut before = 70;
    for (to, after) in [(StartAt::Stored, 70), (StartAt::End, 100), (StartAt::Beginning, 0)] {
        let done = bus.reset(&seat, to, NO_WAIT).await.expect("resets");
        assert_eq!(done, Reset::from([(0, Moved { before: Some(before), after })]), "{to:?}");
        before = after;
    }
    let mut member = bus.join(&seat).await.expect("joins");
    assert_eq!(read(&mut member, 100).await[0].offset, 0);
    // No goodbye: it is waited for.
    drop(member);
    bus.reset(&seat, StartAt::End, bus.session() + SOON).await.expect("resets when the session is over");
}

pub(crate) async fn a_group_belongs_to_one_sink_from_the_first_on<B: Bus>(bus: &B) {
    let seat = bus.seat("identity", 1).await;
    let other = Seat { identity: ANOTHER, ..seat.clone() };
    bus.send(&seat.topic, 10).await;
    let mut member = bus.join(&seat).await.expect("joins");
    assigned(&mut member, 1, SOON).await;
    is_committed(&mut member, 0).await;
    close(member).await;
    // It never committed a record, and the group is its sink's all the same.
    let error = bus.join(&other).await.err().expect("another sink is refused");
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(error.to_string().contains(IDENTITY), "{error}");
    let error = bus.reset(&other, StartAt::End, Duration::ZERO).await.expect_err("another sink is refused");
    assert_eq!(error.kind(), Kind::Config, "{error}");

    let fresh = Seat { group: bus.name("group"), ..seat.clone() };
    bus.reset(&fresh, StartAt::End, SOON).await.expect("resets");
    let late = Seat { identity: ANOTHER, ..fresh.clone() };
    assert_eq!(bus.join(&late).await.err().expect("refused").kind(), Kind::Config, "a reset takes the group too");
    close(bus.join(&fresh).await.expect("its own sink may")).await;
}
