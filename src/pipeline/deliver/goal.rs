//! When delivery ends: a count, an end offset whoever commits it, silence, or no progress.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::bus::{Offset, Partition};
use crate::error::{Error, Kind, Result};
use crate::pipeline::health::Health;

/// Where delivery is to get to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// No end, or none known yet.
    #[default]
    Open,
    /// The group's committed offsets have reached these.
    Offsets(BTreeMap<Partition, Offset>),
}

/// Why delivery ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The goal's offsets are committed.
    Reached,
    /// This member has taken its count.
    Counted,
    /// Nothing came for the idle timeout.
    Idle,
    /// A signal.
    Stopped,
    /// The sink's reader went away.
    Closed,
}

/// The limits a person has set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The goal; `run --once` learns it after its ingest.
    pub goal: watch::Receiver<Goal>,
    /// Records this member takes at the most.
    pub count: Option<u64>,
    /// End when nothing came for so long.
    pub idle_timeout: Option<Duration>,
    /// With a goal: give up when nothing moves for so long.
    pub deadline: Option<Duration>,
}

impl Limits {
    /// No limits: a stream.
    pub fn none() -> Self {
        Self { goal: watch::channel(Goal::Open).1, count: None, idle_timeout: None, deadline: None }
    }
}

/// How far the group is, and when something last moved.
#[derive(Debug)]
pub(super) struct Watch {
    goal: watch::Receiver<Goal>,
    committed: BTreeMap<Partition, Offset>,
    last_move: Instant,
}

impl Watch {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { goal: limits.goal.clone(), committed: BTreeMap::new(), last_move: Instant::now() }
    }

    /// Records came, or became durable.
    pub(super) fn moved(&mut self) {
        self.last_move = Instant::now();
    }

    /// The group has committed these offsets, whichever member did.
    pub(super) fn committed(&mut self, offsets: &BTreeMap<Partition, Offset>) {
        for (partition, offset) in offsets {
            if self.committed.insert(*partition, *offset) != Some(*offset) {
                self.moved();
            }
        }
    }

    /// Whether to end now, and why.
    pub(super) fn end(&self, limits: &Limits, taken: u64, is_idle: bool, health: &Health) -> Result<Option<End>> {
        let missing = self.missing(&BTreeMap::new());
        if missing == Some(0) {
            return Ok(Some(End::Reached));
        }
        if is_idle && limits.count.is_some_and(|count| taken >= count) {
            return Ok(Some(End::Counted));
        }
        let still = self.last_move.elapsed();
        if is_idle && limits.idle_timeout.is_some_and(|limit| still >= limit) {
            return match missing {
                Some(records) => Err(not_reached(records, health, "nothing came within --idle-timeout")),
                None => Ok(Some(End::Idle)),
            };
        }
        match (missing, limits.deadline) {
            (Some(records), Some(deadline)) if still >= deadline => {
                Err(not_reached(records, health, "nothing moved within --deadline"))
            }
            _ => Ok(None),
        }
    }

    /// Whether committing these offsets is all that is left to do.
    pub(super) fn is_reached_with(&self, offsets: &BTreeMap<Partition, Offset>) -> bool {
        self.missing(offsets) == Some(0)
    }

    /// Offsets between the group and its goal, as if `offsets` were committed too; `None` without a goal.
    fn missing(&self, offsets: &BTreeMap<Partition, Offset>) -> Option<u64> {
        let reached = |p: &Partition| {
            let at = |map: &BTreeMap<Partition, Offset>| map.get(p).copied().unwrap_or(0);
            at(&self.committed).max(at(offsets))
        };
        match &*self.goal.borrow() {
            Goal::Open => None,
            Goal::Offsets(ends) => Some(ends.iter().map(|(p, end)| (end - reached(p)).max(0).cast_unsigned()).sum()),
        }
    }
}

/// What is in the way decides the exit code; without an obstacle it is [`Kind::Incomplete`].
fn not_reached(records: u64, health: &Health, why: &str) -> Error {
    match health.obstacle() {
        Some(obstacle) => obstacle,
        None => Error::new(Kind::Incomplete, format!("the end was not reached: {records} records to go"))
            .because(why.to_owned())
            .hint("another consumer of the group may hold what is left; start again to go on where the group is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(goal: Goal) -> (watch::Sender<Goal>, Limits) {
        let (sender, receiver) = watch::channel(goal);
        let limits = Limits {
            goal: receiver,
            count: Some(10),
            idle_timeout: Some(Duration::from_secs(5)),
            deadline: Some(Duration::from_mins(1)),
        };
        (sender, limits)
    }

    #[tokio::test(start_paused = true)]
    async fn the_goal_is_reached_by_whoever_commits() {
        let (sender, limits) = limits(Goal::Open);
        let mut watch = Watch::new(&limits);
        let health = Health::default();
        let end = |watch: &Watch, idle| watch.end(&limits, 0, idle, &health).map_err(|e| e.kind());
        assert_eq!(end(&watch, true), Ok(None));
        sender.send_replace(Goal::Offsets(BTreeMap::from([(0, 3), (1, 4)])));
        watch.committed(&BTreeMap::from([(0, 3)]));
        assert_eq!(end(&watch, false), Ok(None));
        assert!(!watch.is_reached_with(&BTreeMap::from([(1, 3)])));
        assert!(watch.is_reached_with(&BTreeMap::from([(1, 4)])), "one commit away");
        watch.committed(&BTreeMap::from([(1, 9)]));
        assert_eq!(end(&watch, false), Ok(Some(End::Reached)));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_is_75_before_the_goal() {
        let (sender, limits) = limits(Goal::Open);
        let watch = Watch::new(&limits);
        let health = Health::default();
        let end = |idle| watch.end(&limits, 0, idle, &health).map_err(|e| e.kind());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(end(false), Ok(None), "work in flight is no silence");
        assert_eq!(end(true), Ok(Some(End::Idle)));
        sender.send_replace(Goal::Offsets(BTreeMap::from([(0, 3)])));
        assert_eq!(end(true), Err(Kind::Incomplete));
        tokio::time::advance(Duration::from_secs(55)).await;
        let down = Error::new(Kind::Unreachable, "no sink");
        health.report(crate::pipeline::health::Stage::Sink, crate::pipeline::health::Severity::Retrying, &down);
        assert_eq!(end(false), Err(Kind::Unreachable), "what is in the way is the reason");
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_ends_when_the_last_of_them_is_committed() {
        let (_sender, limits) = limits(Goal::Open);
        let watch = Watch::new(&limits);
        let health = Health::default();
        assert_eq!(watch.end(&limits, 10, false, &health).map_err(|e| e.kind()), Ok(None));
        assert_eq!(watch.end(&limits, 10, true, &health).map_err(|e| e.kind()), Ok(Some(End::Counted)));
    }
}
