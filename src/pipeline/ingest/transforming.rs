//! `--where` and `--map` before anything is stored: what is dropped is no business of the ledger's, and what an expression
//! fails on is rejected.

use super::{Accepted, Batch, Ingest, Report};
use crate::bus::Producer;
use crate::ledger::{Archive, Ledger, Refused, Runs};
use crate::transform::Verdict;

impl<L: Ledger + Archive + Runs + 'static, P: Producer + 'static> Ingest<L, P> {
    /// The batch with what is left of it.
    pub(super) async fn transform(&self, batch: Batch, report: &mut Report) -> Batch {
        let Some(transform) = self.transform.as_ref().filter(|_| !batch.accepted.is_empty()) else { return batch };
        let Batch { accepted, mut refused } = batch;
        let (mut users, mut rest) = (Vec::with_capacity(accepted.len()), Vec::with_capacity(accepted.len()));
        for one in accepted {
            rest.push((one.user.id(), one.raw));
            users.push(one.user);
        }
        let mut accepted = Vec::with_capacity(users.len());
        for (verdict, (id, raw)) in transform.apply_all(users).await.into_iter().zip(rest) {
            match verdict {
                Ok(Verdict::Keep(user)) => accepted.push(Accepted { user, raw }),
                Ok(Verdict::Filtered) => {
                    report.filtered += 1;
                    self.metrics.filtered.add(1);
                }
                Err(reason) => {
                    self.tell_rejection(&format!("{id}: {reason}"), report);
                    refused.push(Refused { id: Some(id), reason, raw });
                }
            }
        }
        Batch { accepted, refused }
    }
}
