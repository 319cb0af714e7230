//! `--where` and `--map` on a batch: what is dropped is done, and what an expression fails on is poison.

use std::sync::Arc;

use super::batch::{Poison, Writer};
use crate::bus::{Message, Producer};
use crate::sink::{Change, Sink};
use crate::transform::{Transform, Verdict};

impl<S: Sink, D: Producer> Writer<S, D> {
    /// The messages and changes that are left to write, in their order. Tombstones are no records, and pass.
    pub(super) async fn transform(
        &self,
        transform: &Arc<Transform>,
        messages: Vec<Message>,
        changes: Vec<Change>,
        poison: &mut Vec<Poison>,
    ) -> (Vec<Message>, Vec<Change>) {
        let mut users = Vec::with_capacity(changes.len());
        let mut tombstone = |change| match change {
            Change::Upsert(user) => {
                users.push(user);
                None
            }
            delete @ Change::Delete { .. } => Some(delete),
        };
        let tombstones: Vec<Option<Change>> = changes.into_iter().map(&mut tombstone).collect();
        let mut verdicts = transform.apply_all(users).await.into_iter();
        let mut left = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        for (message, tombstone) in messages.into_iter().zip(tombstones) {
            let change = match tombstone {
                Some(delete) => delete,
                None => match verdicts.next() {
                    Some(Ok(Verdict::Keep(user))) => Change::Upsert(user),
                    Some(Ok(Verdict::Filtered)) => {
                        self.metrics.filtered.add(1);
                        continue;
                    }
                    Some(Err(reason)) => {
                        poison.push(Poison { message, stage: "transform", reason, attempts: 1 });
                        continue;
                    }
                    // There is a verdict for each user.
                    None => continue,
                },
            };
            left.0.push(message);
            left.1.push(change);
        }
        left
    }
}
