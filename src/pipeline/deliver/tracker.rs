//! Which offsets may be committed: only the contiguous prefix of each partition that is durable.

use std::collections::{BTreeMap, VecDeque};

use crate::bus::{Offset, Partition};

/// A batch that was begun, to be named when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    partition: Partition,
    number: u64,
}

/// Batches in progress, per partition, in the order of the topic.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    partitions: BTreeMap<Partition, Progress>,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Progress {
    batches: VecDeque<Batch>,
    /// The offset after the durable prefix.
    durable: Option<Offset>,
    committed: Option<Offset>,
}

#[derive(Debug)]
struct Batch {
    number: u64,
    next_offset: Offset,
    done: bool,
}

impl Tracker {
    /// Begins a batch whose last record is before `next_offset`. Batches of a partition begin in offset order.
    pub(super) fn begin(&mut self, partition: Partition, next_offset: Offset) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        let progress = self.partitions.entry(partition).or_default();
        progress.batches.push_back(Batch { number, next_offset, done: false });
        Ticket { partition, number }
    }

    /// A batch is durable. A ticket of a partition that was forgotten meanwhile has no effect.
    pub(super) fn done(&mut self, ticket: Ticket) {
        let Some(progress) = self.partitions.get_mut(&ticket.partition) else { return };
        if let Some(batch) = progress.batches.iter_mut().find(|batch| batch.number == ticket.number) {
            batch.done = true;
        }
        while progress.batches.front().is_some_and(|batch| batch.done) {
            progress.durable = progress.batches.pop_front().map(|batch| batch.next_offset);
        }
    }

    /// The durable offsets that are not committed yet.
    pub(super) fn to_commit(&self) -> BTreeMap<Partition, Offset> {
        let due = |progress: &Progress| progress.durable.filter(|durable| progress.committed != Some(*durable));
        self.partitions.iter().filter_map(|(p, progress)| Some((*p, due(progress)?))).collect()
    }

    /// These offsets are committed.
    pub(super) fn committed(&mut self, offsets: &BTreeMap<Partition, Offset>) {
        for (partition, offset) in offsets {
            if let Some(progress) = self.partitions.get_mut(partition) {
                progress.committed = Some(*offset);
            }
        }
    }

    /// The partition is no longer ours: nothing of it will be committed.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }

    /// Whether a batch of this partition is not done.
    pub(super) fn is_busy(&self, partition: Partition) -> bool {
        self.partitions.get(&partition).is_some_and(|progress| !progress.batches.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_holds_back_what_is_behind_it() {
        let mut tracker = Tracker::default();
        let first = tracker.begin(0, 10);
        let second = tracker.begin(0, 20);
        let other = tracker.begin(1, 7);
        tracker.done(second);
        assert!(tracker.to_commit().is_empty());
        tracker.done(other);
        assert_eq!(tracker.to_commit(), BTreeMap::from([(1, 7)]));
        tracker.done(first);
        let due = tracker.to_commit();
        assert_eq!(due, BTreeMap::from([(0, 20), (1, 7)]));
        tracker.committed(&due);
        assert!(tracker.to_commit().is_empty());
    }

    #[test]
    fn a_forgotten_partition_commits_nothing() {
        let mut tracker = Tracker::default();
        let ticket = tracker.begin(0, 10);
        tracker.forget(0);
        let again = tracker.begin(0, 10);
        tracker.done(ticket);
        assert!(tracker.to_commit().is_empty(), "the old owner's batch says nothing about the new one's");
        assert!(tracker.is_busy(0));
        tracker.done(again);
        assert_eq!(tracker.to_commit(), BTreeMap::from([(0, 10)]));
    }

    proptest! {
        #[test]
        fn only_the_contiguous_prefix_is_ever_due(order in Just((0..20_i64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut tracker = Tracker::default();
            let tickets: Vec<_> = (0..20).map(|n| tracker.begin(0, (n + 1) * 10)).collect();
            let mut done = [false; 20];
            for index in order {
                let index = usize::try_from(index).unwrap_or_default();
                tracker.done(tickets[index]);
                done[index] = true;
                let prefix = done.iter().take_while(|d| **d).count();
                let due = tracker.to_commit().get(&0).copied();
                prop_assert_eq!(due, (prefix > 0).then(|| i64::try_from(prefix).unwrap_or_default() * 10));
            }
        }
    }
}
