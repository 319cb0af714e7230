//! The contract of [`Consumer`], rule by rule as `src/bus/mod.rs` states it, which the members of every bus keep: those
//! of Kafka among the live tests, under both group protocols; those of Kafka against krafka's broker in memory, where
//! faults come on request; and those of the embedded bus.

#![allow(clippy::print_stderr, reason = "how long a rebalance takes is told beside the test's own output")]

#[path = "consumer/naming.rs"]
pub(crate) mod naming;
#[path = "consumer/range.rs"]
pub(crate) mod range;
#[path = "consumer/sharing.rs"]
pub(crate) mod sharing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use userpipe::bus::{Commit, Consumer, Event, Message, Offset, Partition, Release, Reset, StartAt};
use userpipe::config::MemberConfig;
use userpipe::error::{Error, Kind, Result};

/// How long anything may take that needs nobody's session to end.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// One poll.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// The sink of these groups, and another one.
pub(crate) const IDENTITY: &str = "userpipe:test";
pub(crate) const ANOTHER: &str = "userpipe:another";

/// A place in a group.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) identity: &'static str,
    pub(crate) settings: MemberConfig,
}

/// A bus under test.
pub(crate) trait Bus {
    type Member: Consumer;
    /// Whether a deleted topic's offsets are told from those of the next topic of that name, in range or not.
    const KNOWS_TOPICS: bool = true;

    /// How its members join; sessions are short.
    fn settings(&self) -> MemberConfig;
    /// How long a member that died holds its partitions.
    fn session(&self) -> Duration;
    /// A name that no other test has.
    fn name(&self, what: &str) -> String;
    async fn create(&self, topic: &str, partitions: i32);
    /// Deletes it, and waits until that is known.
    async fn delete(&self, topic: &str);
    /// Sends records with keys of their own.
    async fn send(&self, topic: &str, count: usize);
    /// Retention removes what is before the offset.
    async fn remove(&self, topic: &str, partition: Partition, before: Offset);
    async fn join(&self, seat: &Seat) -> Result<Self::Member>;
    async fn reset(&self, seat: &Seat, to: StartAt, wait: Duration) -> Result<Reset>;

    /// A seat in a new group on a new topic.
    async fn seat(&self, what: &str, partitions: i32) -> Seat {
        let seat =
            Seat { topic: self.name(what), group: self.name("group"), identity: IDENTITY, settings: self.settings() };
        self.create(&seat.topic, partitions).await;
        seat
    }
}

/// A test of each rule on one bus, named after the rule.
macro_rules! keeps {
    (@one { $($attributes:tt)* } $bus:expr, $group:ident $rule:ident) => {
        $($attributes)*
        async fn $rule() {
            contract::$group::$rule(&$bus).await;
        }
    };
    (@group $attributes:tt $bus:expr, $group:ident { $($rule:ident)+ }) => {
        $( keeps!(@one $attributes $bus, $group $rule); )+
    };
    ($attributes:tt $bus:expr; $($group:ident { $($rule:ident),+ $(,)? })+) => {
        $( keeps!(@group $attributes $bus, $group { $($rule)+ }); )+
    };
}

/// The next event that is not an empty poll.
pub(crate) async fn event(member: &mut impl Consumer, limit: Duration) -> Result<Event> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match member.poll(TICK).await {
            Ok(Event::Records(records)) if records.is_empty() => {}
            other => return other,
        }
    }
    Err(Error::new(Kind::Incomplete, "no event came"))
}

/// Waits for `count` partitions; records in between are dropped.
pub(crate) async fn assigned(member: &mut impl Consumer, count: usize, limit: Duration) -> BTreeSet<Partition> {
    let mut have = BTreeSet::new();
    while have.len() < count {
        match event(member, limit).await {
            Ok(Event::Assigned(partitions)) => have.extend(partitions),
            Ok(Event::Records(_)) => {}
            other => panic!("{} of {count} partitions, then {other:?}", have.len()),
        }
    }
    have
}

/// Reads `count` records; partitions may come in between.
pub(crate) async fn read(member: &mut impl Consumer, count: usize) -> Vec<Message> {
    let mut all = Vec::new();
    while all.len() < count {
        match event(member, SOON).await {
            Ok(Event::Records(records)) => all.extend(records),
            Ok(Event::Assigned(_)) => {}
            other => panic!("{} of {count} records, then {other:?}", all.len()),
        }
    }
    assert_eq!(all.len(), count, "more than there should be");
    all
}

pub(crate) async fn revoked(member: &mut impl Consumer) -> (Vec<Partition>, Release) {
    loop {
        match event(member, SOON).await {
            Ok(Event::Revoked(partitions, release)) => return (partitions, release),
            Ok(Event::Records(_)) => {}
            other => panic!("expected a revocation, got {other:?}"),
        }
    }
}

pub(crate) async fn silent(member: &mut impl Consumer, time: Duration) {
    match event(member, time).await {
        Err(error) if error.kind() == Kind::Incomplete => {}
        other => panic!("expected nothing, got {other:?}"),
    }
}

/// Does the work while a member goes on being polled, which sees no event but those expected.
pub(crate) async fn meanwhile<T>(
    member: &mut impl Consumer,
    expected: fn(&Event) -> bool,
    work: impl Future<Output = T>,
) -> T {
    let polling = async {
        loop {
            let event = member.poll(TICK).await.expect("a poll");
            assert!(expected(&event), "unexpected {event:?}");
        }
    };
    tokio::select! {
        done = work => done,
        never = polling => never,
    }
}

/// Nothing happens to the member.
pub(crate) fn only_records(event: &Event) -> bool {
    matches!(event, Event::Records(_))
}

/// The offsets after these records.
pub(crate) fn after(records: &[Message]) -> BTreeMap<Partition, Offset> {
    let mut next = BTreeMap::new();
    for record in records {
        let slot = next.entry(record.partition).or_insert(0);
        *slot = (*slot).max(record.offset + 1);
    }
    next
}

pub(crate) async fn store(member: &mut impl Consumer, offsets: &BTreeMap<Partition, Offset>) {
    assert_eq!(member.commit(offsets).await.expect("a commit"), Commit::Stored);
}

pub(crate) async fn close(member: impl Consumer) {
    member.close().await.expect("it leaves");
}

/// At least one record, however they are divided.
pub(crate) async fn read_some(member: &mut impl Consumer) -> Vec<Message> {
    loop {
        match event(member, SOON).await {
            Ok(Event::Records(records)) => return records,
            Ok(_) => {}
            Err(error) => panic!("no records: {error}"),
        }
    }
}

/// The group has this offset of partition 0, before any record is read.
pub(crate) async fn is_committed(member: &mut impl Consumer, offset: Offset) {
    let begin = Instant::now();
    while member.committed().await.expect("offsets").get(&0) != Some(&offset) {
        assert!(begin.elapsed() < SOON, "never committed {offset}");
        tokio::time::sleep(TICK).await;
    }
}
