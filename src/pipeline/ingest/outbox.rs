//! The transactional outbox: store, send, mark; and sending again what was never marked.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Accepted, Batch, Ingest, Report};
use crate::bus::{Ack, Outgoing, Producer};
use crate::encoding::Codec;
use crate::error::{Error, Kind, Result};
use crate::ledger::{Archive, CLAIM_LEASE, Entry, Ledger, Mark, Pending, RENEW_INTERVAL};
use crate::pipeline::health::{Severity, Stage};
use crate::record::{Timestamp, User, With};
use crate::retry::statement_backoff;
use crate::seam::Seam;

/// Rows claimed at once for sending again.
const CLAIM_ROWS_MAX: usize = 500;
/// Attempts at one ledger statement.
const LEDGER_ATTEMPTS_MAX: usize = 5;
/// How often a command that ends looks for rows whose owner has died.
const ORPHAN_POLL: Duration = Duration::from_millis(500);

impl<L: Ledger + Archive + 'static, P: Producer + 'static> Ingest<L, P> {
    /// Stores a batch, sends it, and marks what the bus has acknowledged. Who was purged is left out.
    pub(super) async fn publish(&self, run_id: Uuid, batch: Batch) -> Result<Vec<Ack>> {
        let Batch { mut accepted, refused } = batch;
        if !refused.is_empty() {
            self.patiently(|| self.ledger.reject(run_id, &refused)).await?;
        }
        let ids: Vec<Uuid> = accepted.iter().map(|one| one.user.id()).collect();
        let suppressed = self.patiently(|| self.ledger.suppressed_among(&ids)).await?;
        if !suppressed.is_empty() {
            tracing::info!("left out {} users who were purged", suppressed.len());
            self.metrics.suppressed.add(suppressed.len() as u64);
            accepted.retain(|one| !suppressed.contains(&one.user.id()));
        }
        if accepted.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = accepted.iter().map(|one| one.user.id()).collect();
        let outgoing: Vec<Outgoing> =
            accepted.iter().map(|one| outgoing(&self.codec, &one.user, one.user.timestamp())).collect();
        if self.ledger.stores_users() {
            let entries = entries(accepted);
            self.patiently(|| self.ledger.store(run_id, &entries)).await?;
        }
        Seam::AfterStore.pass();
        self.send(run_id, &ids, &outgoing).await
    }

    /// Sends the records of these ids, and marks what the bus has acknowledged.
    async fn send(&self, run_id: Uuid, ids: &[Uuid], outgoing: &[Outgoing]) -> Result<Vec<Ack>> {
        let sent = self.producer.send(outgoing).await;
        Seam::AfterAck.pass();
        let acks: Vec<Ack> = sent.acks.iter().copied().flatten().collect();
        self.metrics.produced.add(acks.len() as u64);
        let marked = if self.ledger.stores_users() {
            let marks = marks(ids, &sent.acks);
            self.patiently(|| self.ledger.mark(run_id, &marks)).await
        } else {
            Ok(())
        };
        Seam::AfterMark.pass();
        if let Some(failure) = sent.failure {
            self.health.report(Stage::Bus, Severity::Retrying, &failure);
            Err(failure)
        } else {
            self.health.clear(Stage::Bus);
            marked.map(|()| acks)
        }
    }

    /// A ledger that is away for a moment does not fail the run.
    pub(super) async fn patiently<T, F: Future<Output = Result<T>>>(&self, statement: impl Fn() -> F) -> Result<T> {
        let mut delays = statement_backoff(LEDGER_ATTEMPTS_MAX);
        loop {
            let error = match statement().await {
                Ok(done) => {
                    self.health.clear(Stage::Ledger);
                    return Ok(done);
                }
                Err(error) => error,
            };
            let delay = if error.kind() == Kind::Unreachable { delays.next() } else { None };
            let Some(delay) = delay else { return Err(error) };
            self.health.report(Stage::Ledger, Severity::Retrying, &error);
            self.metrics.retries_of(Stage::Ledger).add(1);
            tokio::time::sleep(delay).await;
        }
    }

    /// Sends what was stored and never marked, and is free to claim. Not while a run of this process is on its way.
    ///
    /// # Errors
    /// Of ledger or bus; the rows stay where they are.
    pub async fn send_pending(&self) -> Result<Report> {
        // What this process still claims is what an earlier run of it could not send. It renews its claims as long as it
        // lives, so without this nobody would send them before it ends.
        self.ledger.release().await?;
        let mut report = Report::default();
        loop {
            let pending = self.ledger.claim_pending(CLAIM_ROWS_MAX).await?;
            if pending.is_empty() {
                return Ok(report);
            }
            tracing::info!("sending {} stored users that were never acknowledged", pending.len());
            for (run_id, users) in by_run(&pending)? {
                // At the present: a topic's retention counts from a record's time, and these may be older than it.
                let now = Timestamp::now();
                let ids: Vec<Uuid> = users.iter().map(User::id).collect();
                let outgoing: Vec<Outgoing> = users.iter().map(|user| outgoing(&self.codec, user, now)).collect();
                report.acknowledged(&self.send(run_id, &ids, &outgoing).await?);
            }
        }
    }

    /// Before a command ends: waits (at most a lease and a little) for rows of processes that died, and sends them.
    ///
    /// # Errors
    /// As [`Ingest::send_pending`].
    pub async fn send_orphans(&self, shutdown: &CancellationToken) -> Result<Report> {
        let give_up = Instant::now() + CLAIM_LEASE + Duration::from_secs(1);
        let mut report = Report::default();
        let mut is_waiting = false;
        while Instant::now() < give_up && !shutdown.is_cancelled() {
            report.add(&self.send_pending().await?);
            let unsent = self.ledger.unsent().await?;
            if unsent == 0 {
                break;
            }
            if !is_waiting {
                tracing::info!(
                    "{unsent} stored users are claimed by another process; waiting for it, or for its lease to end"
                );
                is_waiting = true;
            }
            tokio::time::sleep(ORPHAN_POLL).await;
        }
        Ok(report)
    }
}

/// Renews this process's claims until the token is cancelled.
pub async fn keep_claims<L: Ledger, P: Producer>(ingest: Arc<Ingest<L, P>>, stop: CancellationToken) {
    let mut due = tokio::time::interval_at(Instant::now() + RENEW_INTERVAL, RENEW_INTERVAL);
    let mut renew = async || {
        due.tick().await;
        ingest.ledger.renew().await
    };
    loop {
        tokio::select! {
            // First, so that a ledger that was closed after the stop is no failure.
            biased;
            () = stop.cancelled() => return,
            renewed = renew() => {
                if let Err(error) = renewed {
                    // A lease that runs out lets another process send the rows too, which has no effect.
                    tracing::warn!("{error}");
                }
            }
        }
    }
}

/// What the ledger stores, in the order of its keys; of an id that comes twice in a batch, the newest record. A record there is
/// plain JSON, whatever goes to the bus.
fn entries(mut accepted: Vec<Accepted>) -> Vec<Entry> {
    // Of those with the same time the last one comes first then, and the first one of each id stays.
    accepted.reverse();
    accepted.sort_by_key(|one| (one.user.id(), Reverse(one.user.timestamp())));
    accepted.dedup_by_key(|one| one.user.id());
    let entry = |one: Accepted| Entry { id: one.user.id(), record: one.user.wire().into_owned(), raw: one.raw };
    accepted.into_iter().map(entry).collect()
}

/// What the ledger notes of acknowledgements, in the order of its keys. The same id twice in a batch is marked with its last
/// place, which is where its newest record is.
fn marks(ids: &[Uuid], acks: &[Option<Ack>]) -> Vec<Mark> {
    let mark = |(id, ack): (&Uuid, &Option<Ack>)| {
        let Ack { partition, offset } = (*ack)?;
        Some(Mark { id: *id, partition, offset })
    };
    let mut marks: Vec<Mark> = ids.iter().zip(acks).rev().filter_map(mark).collect();
    marks.sort_by_key(|mark| mark.id);
    marks.dedup_by_key(|mark| mark.id);
    marks
}

/// The record as it goes to the bus, keyed by id. Its time there is not the write time, which is in the value.
fn outgoing(codec: &Codec, user: &User, timestamp: Timestamp) -> Outgoing {
    Outgoing { key: Some(user.key()), value: Some(codec.encode(user)), headers: Vec::new(), timestamp }
}

/// The users of each run, with all that they were stored with: the optional columns that this process would add to a user
/// are not those that an earlier one has added.
fn by_run(pending: &[Pending]) -> Result<HashMap<Uuid, Vec<User>>> {
    let codec = Codec::new(false, With::all());
    let mut runs: HashMap<Uuid, Vec<User>> = HashMap::new();
    for row in pending {
        let user =
            codec.decode(&Bytes::copy_from_slice(row.record.as_bytes()), Timestamp::now()).map_err(|reason| {
                Error::new(Kind::Failed, "the ledger holds a record that is none")
                    .at(format!("run {} id {}", row.run_id, row.id))
                    .because(reason)
            })?;
        runs.entry(row.run_id).or_default().push(user);
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Codec;

    fn accepted(n: u128, username: &str, ms: i64) -> Accepted {
        let json = serde_json::json!({
            "id": Uuid::from_u128(n), "first_name": "A", "last_name": "B", "gender": "female", "email": "a@b.c",
            "username": username, "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378", "picture": "p",
            "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z",
        });
        let at = Timestamp::from_unix_ms(ms).expect("in range");
        Accepted { user: Codec::default().decode(&json.to_string().into(), at).expect("a user"), raw: None }
    }

    #[test]
    fn of_an_id_that_comes_twice_the_newest_record_is_stored_and_its_last_place_marked() {
        let all = [(3, "old", 1), (1, "new", 5), (2, "only", 1), (3, "same time", 2), (3, "last", 2), (1, "older", 4)];
        let all: Vec<Accepted> = all.into_iter().map(|(n, username, ms)| accepted(n, username, ms)).collect();
        let codec = Codec::default();
        let sent: Vec<Outgoing> = all.iter().map(|one| outgoing(&codec, &one.user, one.user.timestamp())).collect();
        let ids: Vec<Uuid> = all.iter().map(|one| one.user.id()).collect();
        let entries = entries(all);
        let stored: Vec<_> = entries.iter().map(|e| (e.id.as_u128(), e.record.as_bytes())).collect();
        let value = |place: usize| sent[place].value.as_ref().expect("a value");
        assert_eq!(stored, [(1, value(1)), (2, value(2)), (3, value(4))]);
        let mut acks: Vec<_> = (0..6).map(|offset| Some(Ack { partition: 0, offset })).collect();
        acks[2] = None;
        let places: Vec<_> = marks(&ids, &acks).iter().map(|mark| (mark.id.as_u128(), mark.offset)).collect();
        assert_eq!(places, [(1, 5), (3, 4)]);
    }
}
