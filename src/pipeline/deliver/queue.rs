//! Batches that wait for their turn. Pure.

use std::collections::VecDeque;

use super::tracker::Ticket;
use crate::bus::{Message, Partition};

/// Records of one partition that wait.
#[derive(Debug)]
pub(super) struct Queued {
    /// In the order of the records; more than one where batches were put together.
    pub(super) tickets: Vec<Ticket>,
    pub(super) partition: Partition,
    pub(super) messages: Vec<Message>,
}

/// All that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Queued>);

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.0.push_back(queued);
    }

    /// The one that came first.
    pub(super) fn next(&mut self) -> Option<Queued> {
        self.0.pop_front()
    }

    /// For a sink that needs the order: the first one of a partition that is free, together with what waits behind it of the
    /// same partition, up to so many records.
    pub(super) fn next_in_order(&mut self, records_max: usize, is_free: impl Fn(Partition) -> bool) -> Option<Queued> {
        let mut index = self.0.iter().position(|queued| is_free(queued.partition))?;
        let mut batch = self.0.remove(index)?;
        while let Some(queued) = self.0.get(index) {
            if queued.partition != batch.partition {
                index += 1;
                continue;
            }
            if batch.messages.len() + queued.messages.len() > records_max {
                break;
            }
            let Queued { tickets, messages, .. } = self.0.remove(index)?;
            batch.tickets.extend(tickets);
            batch.messages.extend(messages);
        }
        Some(batch)
    }

    /// Takes out those of these partitions.
    pub(super) fn remove(&mut self, partitions: &[Partition]) -> Vec<Queued> {
        let all = std::mem::take(&mut self.0);
        let (removed, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|queued| partitions.contains(&queued.partition));
        self.0 = kept.into();
        removed
    }
}

/// Bytes of records.
pub(super) fn size(messages: &[Message]) -> usize {
    messages.iter().map(Message::size).sum()
}
