//! The ledger, the producers and the sink with faults: the embedded ones inside, and a seeded plan around them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

use super::plan::{Dice, Fault, Place};
use super::world::{Process, lock};
use crate::bus::embedded::EmbeddedProducer;
use crate::bus::{Outgoing, Producer, Sent};
use crate::error::{Error, Kind, Result};
use crate::ledger::{
    Archive, Claim, Entry, Ledger, LogLine, Mark, NewRun, Orphan, Pending, Refused, Rejection, Row, Run, RunEnd, Runs,
    Selection, SentRange, SqliteLedger, Unrun,
};
use crate::record::Timestamp;
use crate::sink::sql::SqliteSink;
use crate::sink::{Change, Found, Outcome, Sink};

/// A store with faults.
#[derive(Debug)]
pub(super) struct Faulty<T> {
    inner: T,
    place: Place,
    process: Process,
    dice: Dice,
    /// Records of this process that are durable.
    durable: Arc<AtomicI64>,
}

/// The store is away for now.
pub(super) fn away(place: Place) -> Error {
    Error::new(Kind::Unreachable, format!("simulated: {place:?} failed"))
}

/// A call with a fault around it. A crash or a stall does not come back from here.
pub(super) async fn suffer<T>(
    process: &Process,
    fault: Option<Fault>,
    place: Place,
    effect: impl Future<Output = Result<T>>,
) -> Result<T> {
    match fault {
        Some(Fault::Before) => Err(away(place)),
        Some(Fault::After) => effect.await.and(Err(away(place))),
        Some(Fault::CrashAfter) => {
            let _ = effect.await;
            process.crash().await
        }
        _ => effect.await,
    }
}

impl<T> Faulty<T> {
    pub(super) fn new(inner: T, place: Place, process: &Process, durable: &Arc<AtomicI64>) -> Self {
        let dice = process.dice(place);
        Self { inner, place, process: process.clone(), dice, durable: Arc::clone(durable) }
    }

    async fn call<R>(&self, place: Place, effect: impl Future<Output = Result<R>>) -> Result<R> {
        let fault = self.process.fault(&self.dice, place).await;
        suffer(&self.process, fault, place, effect).await
    }
}

impl Ledger for Faulty<SqliteLedger> {
    async fn start_run(&self, run: &NewRun) -> Result<()> {
        self.call(Place::Ledger, self.inner.start_run(run)).await
    }

    async fn finish_run(&self, run_id: Uuid, end: &RunEnd) -> Result<()> {
        self.call(Place::Ledger, self.inner.finish_run(run_id, end)).await
    }

    async fn next_page(&self, seed: &str) -> Result<Option<u64>> {
        self.call(Place::Ledger, self.inner.next_page(seed)).await
    }

    async fn store(&self, run_id: Uuid, entries: &[Entry]) -> Result<()> {
        let effect = async {
            self.inner.store(run_id, entries).await?;
            lock(&self.process.world.accepted).extend(entries.iter().map(|entry| entry.id));
            Ok(())
        };
        self.call(Place::Store, effect).await
    }

    async fn reject(&self, run_id: Uuid, refused: &[Refused]) -> Result<()> {
        self.call(Place::Ledger, self.inner.reject(run_id, refused)).await
    }

    async fn mark(&self, run_id: Uuid, marks: &[Mark]) -> Result<()> {
        {
            let sent = lock(&self.process.world.sent);
            for mark in marks.iter().filter(|mark| sent.get(&(mark.partition, mark.offset)) != Some(&mark.id)) {
                self.process.world.violated(format!("marked before it was acknowledged there: {mark:?}"));
            }
        }
        self.call(Place::Mark, self.inner.mark(run_id, marks)).await
    }

    async fn claim_pending(&self, limit: usize) -> Result<Vec<Pending>> {
        let effect = async {
            let pending = self.inner.claim_pending(limit).await?;
            // What a process has stored that died before it heard of it.
            lock(&self.process.world.accepted).extend(pending.iter().map(|row| row.id));
            Ok(pending)
        };
        self.call(Place::Ledger, effect).await
    }

    async fn renew(&self) -> Result<()> {
        self.call(Place::Ledger, self.inner.renew()).await
    }

    async fn release(&self) -> Result<()> {
        self.call(Place::Ledger, self.inner.release()).await
    }

    async fn unsent(&self) -> Result<u64> {
        self.call(Place::Ledger, self.inner.unsent()).await
    }
}

impl Runs for Faulty<SqliteLedger> {
    async fn claim_slot(&self, run: &NewRun) -> Result<Claim> {
        self.call(Place::Ledger, self.inner.claim_slot(run)).await
    }

    async fn take_over(&self) -> Result<Option<Orphan>> {
        self.call(Place::Ledger, self.inner.take_over()).await
    }

    async fn note_unrun(&self, trigger: &str, slots: &[Timestamp], why: Unrun) -> Result<()> {
        self.call(Place::Ledger, self.inner.note_unrun(trigger, slots, why)).await
    }

    async fn last_slot(&self) -> Result<Option<Timestamp>> {
        self.call(Place::Ledger, self.inner.last_slot()).await
    }

    async fn begin_attempt(&self, run_id: Uuid, attempt: u32, seed: Option<&str>) -> Result<()> {
        self.call(Place::Ledger, self.inner.begin_attempt(run_id, attempt, seed)).await
    }

    async fn request_run(&self) -> Result<Uuid> {
        self.call(Place::Ledger, self.inner.request_run()).await
    }

    async fn set_paused(&self, paused: bool) -> Result<bool> {
        self.call(Place::Ledger, self.inner.set_paused(paused)).await
    }

    async fn paused_since(&self) -> Result<Option<Timestamp>> {
        self.call(Place::Ledger, self.inner.paused_since()).await
    }

    async fn sent(&self, run_id: Uuid) -> Result<Vec<SentRange>> {
        self.call(Place::Ledger, self.inner.sent(run_id)).await
    }

    async fn append_log(&self, run_id: Uuid, lines: &[LogLine]) -> Result<()> {
        self.call(Place::Ledger, self.inner.append_log(run_id, lines)).await
    }

    async fn log(&self, run_id: Uuid) -> Result<Vec<LogLine>> {
        self.call(Place::Ledger, self.inner.log(run_id)).await
    }
}

impl Archive for Faulty<SqliteLedger> {
    async fn rows(&self, selection: Selection, after: Option<(Uuid, Uuid)>, limit: usize) -> Result<Vec<Row>> {
        self.call(Place::Ledger, self.inner.rows(selection, after, limit)).await
    }

    async fn run(&self, run_id: Uuid) -> Result<Option<Run>> {
        self.call(Place::Ledger, self.inner.run(run_id)).await
    }

    async fn runs(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Run>> {
        self.call(Place::Ledger, self.inner.runs(before, limit)).await
    }

    async fn waiting(&self, selection: Selection, until: Timestamp) -> Result<u64> {
        self.call(Place::Ledger, self.inner.waiting(selection, until)).await
    }

    async fn records(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>> {
        self.call(Place::Ledger, self.inner.records(ids)).await
    }

    async fn rejections(&self, id: Uuid) -> Result<Vec<Rejection>> {
        self.call(Place::Ledger, self.inner.rejections(id)).await
    }

    async fn requeue(&self, selection: Selection) -> Result<u64> {
        self.call(Place::Ledger, self.inner.requeue(selection)).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        self.call(Place::Ledger, self.inner.prune(before)).await
    }

    async fn purge(&self, id: Uuid) -> Result<u64> {
        self.call(Place::Ledger, self.inner.purge(id)).await
    }

    async fn suppressed(&self) -> Result<HashSet<Uuid>> {
        self.call(Place::Ledger, self.inner.suppressed()).await
    }

    async fn suppressed_among(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>> {
        self.call(Place::Ledger, self.inner.suppressed_among(ids)).await
    }

    async fn replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<HashSet<(i32, i64)>> {
        self.call(Place::Ledger, self.inner.replayed(topic, places)).await
    }

    async fn mark_replayed(&self, topic: &str, places: &[(i32, i64)]) -> Result<()> {
        self.call(Place::Ledger, self.inner.mark_replayed(topic, places)).await
    }
}

/// What a fault does to one record of many.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Done,
    NotDone,
    /// Done, and its answer is lost.
    Lost,
}

impl<T> Faulty<T> {
    fn share(&self, fault: Option<Fault>) -> Share {
        match fault {
            Some(Fault::Before | Fault::Blocked) => Share::NotDone,
            Some(Fault::After) => Share::Lost,
            Some(Fault::Part) => self.dice.pick(&[Share::Done, Share::NotDone, Share::Lost]),
            _ => Share::Done,
        }
    }
}

impl Producer for Faulty<EmbeddedProducer> {
    async fn send(&self, records: &[Outgoing]) -> Sent {
        if self.place == Place::Send {
            let accepted = lock(&self.process.world.accepted);
            for id in records.iter().map(id).filter(|id| !accepted.contains(id)) {
                self.process.world.violated(format!("sent before it was stored: {id}"));
            }
        }
        let fault = self.process.fault(&self.dice, self.place).await;
        let shares: Vec<Share> = records.iter().map(|_| self.share(fault)).collect();
        let wanted = records.iter().zip(&shares).filter(|(_, share)| **share != Share::NotDone);
        let wanted: Vec<Outgoing> = wanted.map(|(record, _)| record.clone()).collect();
        let sent = self.inner.send(&wanted).await;
        self.process.world.sent_more.notify_waiters();
        if self.place == Place::Send {
            let acks = wanted.iter().zip(&sent.acks).filter_map(|(record, ack)| Some((id(record), (*ack)?)));
            let acks = acks.map(|(id, ack)| ((ack.partition, ack.offset), id));
            lock(&self.process.world.sent).extend(acks);
        }
        if fault == Some(Fault::CrashAfter) {
            self.process.crash().await;
        }
        let mut inner = sent.acks.into_iter();
        let acks: Vec<_> = shares
            .into_iter()
            .map(|share| match share {
                Share::NotDone => None,
                Share::Lost => inner.next().flatten().and(None),
                Share::Done => inner.next().flatten(),
            })
            .collect();
        let acknowledged = acks.iter().flatten().count();
        self.durable.fetch_add(i64::try_from(acknowledged).unwrap(), Ordering::SeqCst);
        let failure = (acknowledged < acks.len()).then(|| sent.failure.unwrap_or_else(|| away(self.place)));
        Sent { acks, failure }
    }
}

fn id(record: &Outgoing) -> Uuid {
    Uuid::try_parse_ascii(record.key.as_deref().unwrap_or_default()).unwrap_or_default()
}

impl Faulty<SqliteSink> {
    /// Writes what no later delete hides: SQLite forgets deletes, and Cassandra does not.
    async fn apply(&self, changes: Vec<Change>) -> Vec<Outcome> {
        let mut gone = self.process.world.gone.lock().await;
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(changes.len());
        let mut visible = Vec::with_capacity(changes.len());
        for change in changes {
            outcomes.push(is_hidden(&mut gone, &change).then_some(Outcome::Written));
            if outcomes.last().is_some_and(Option::is_none) {
                visible.push(change);
            }
        }
        let mut written = self.inner.write(&visible).await.into_iter();
        outcomes.into_iter().filter_map(|outcome| outcome.or_else(|| written.next())).collect()
    }
}

fn is_hidden(gone: &mut HashMap<Uuid, Timestamp>, change: &Change) -> bool {
    match change {
        Change::Upsert(user) => gone.get(&user.id()).is_some_and(|at| *at >= user.timestamp()),
        Change::Delete { id, at } => {
            let newest = gone.entry(*id).or_insert(*at);
            *newest = (*newest).max(*at);
            false
        }
    }
}

impl Sink for Faulty<SqliteSink> {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        let fault = self.process.fault(&self.dice, Place::Write).await;
        let is_refused = |change: &Change| match change {
            Change::Upsert(user) => self.process.world.is_refused(user.id()),
            Change::Delete { .. } => false,
        };
        let shares: Vec<Share> = changes.iter().map(|_| self.share(fault)).collect();
        let attempted = changes.iter().zip(&shares);
        let attempted = attempted.filter(|(change, share)| **share != Share::NotDone && !is_refused(change));
        let mut applied = self.apply(attempted.map(|(change, _)| change.clone()).collect()).await.into_iter();
        if fault == Some(Fault::CrashAfter) {
            self.process.crash().await;
        }
        let outcome = |(change, share): (&Change, Share)| match share {
            Share::NotDone if fault == Some(Fault::Blocked) => Outcome::Blocked(away(self.place)),
            Share::NotDone => Outcome::Retry(away(self.place)),
            _ if is_refused(change) => Outcome::Poison("refused".to_owned()),
            Share::Lost => {
                let _ = applied.next();
                Outcome::Retry(away(self.place))
            }
            Share::Done => applied.next().unwrap_or(Outcome::Closed),
        };
        let outcomes: Vec<Outcome> = changes.iter().zip(shares).map(outcome).collect();
        let written = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Written)).count();
        self.durable.fetch_add(i64::try_from(written).unwrap(), Ordering::SeqCst);
        outcomes
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Found> {
        self.inner.find(ids).await
    }

    fn batches_in_flight_max(&self) -> usize {
        self.process.world.shape.batches_max
    }

    fn batch_in_order_max(&self) -> Option<usize> {
        self.process.world.shape.batch_in_order_max
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
