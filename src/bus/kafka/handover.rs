//! What the pump and the consumer's handle share: events, records on their way, and which partitions are ours.
//!
//! One lock guards all of it, and that is what makes the contract's order exact: taking partitions away removes their
//! waiting records and queues the event in one step, so no record of them can be handed out after the event. The
//! removed records were never handed out and never committed; the next owner reads them again.
//!
//! Events overtake records. That is safe in both directions: an `Assigned` before records of other partitions changes
//! nothing, and a `Revoked` or `Lost` has already removed the records it concerns. It is needed, since a paused
//! consumer gets no records but must still give partitions away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::room::Room;
use crate::bus::{Event, Message, Offset, Partition, Release};
use crate::error::{Error, Result};

/// How a partition is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ownership {
    /// Until further notice.
    Held,
    /// Until its release: it may be committed, nothing more is read.
    Draining,
}

/// The state between pump and handle.
#[derive(Debug, Default)]
pub(super) struct Handover {
    state: Mutex<State>,
    /// Something may be there to take.
    arrived: Notify,
    /// The pump is to look again.
    woken: Notify,
    /// The handle wants to leave.
    pub(super) closing: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// Bounded: partitions that were not announced yet are taken back instead of being announced and taken away.
    events: VecDeque<Event>,
    failure: Option<Error>,
    records: VecDeque<Vec<Message>>,
    records_len: usize,
    bytes: usize,
    owned: BTreeMap<Partition, Ownership>,
    /// Where krafka reads on; every record before it was offered.
    positions: BTreeMap<Partition, Offset>,
    /// The offset after the last record handed out.
    handed_out: BTreeMap<Partition, Offset>,
    /// What the group is known to have committed since the partition was assigned.
    stored: BTreeMap<Partition, Offset>,
    /// A failure that no poll mends was kept: the pump is done.
    halted: bool,
    paused: bool,
    room: Room,
}

impl Handover {
    /// The next thing to hand out: an event, else a failure, else records unless paused.
    pub(super) fn take(&self) -> Option<Result<Event>> {
        self.lock().take()
    }

    /// Resolves when something may have arrived since the future was made.
    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Whether the pump is to stop fetching, since enough is waiting; asked by the pump before each poll. A handle that is
    /// paused takes nothing, so that is where a pause comes to by itself, and a short one costs no fetch.
    pub(super) fn hold(&self) -> bool {
        self.lock().room.hold()
    }

    /// Whether the pump has stopped and there is room again; true once for each time.
    pub(super) fn has_room_again(&self) -> bool {
        self.lock().room.is_there_again()
    }

    /// Stops or goes on handing out records.
    pub(super) fn pause(&self, paused: bool) {
        let changed = std::mem::replace(&mut self.lock().paused, paused) != paused;
        if changed {
            self.arrived.notify_one();
        }
    }

    /// Ends the pump's rest.
    pub(super) fn look_again(&self) {
        self.woken.notify_one();
    }

    /// Resolves when the pump is to look again.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Whether all of these are ours to commit, as they were when the handle last heard of them: one that was lost and
    /// came back in the meantime may have been committed further by another member.
    pub(super) fn owns<'a>(&self, mut partitions: impl Iterator<Item = &'a Partition>) -> bool {
        let state = self.lock();
        let is_news = |partition: &Partition| {
            let of = |event: &Event| matches!(event, Event::Assigned(p) | Event::Lost(p) if p.contains(partition));
            state.events.iter().any(of)
        };
        partitions.all(|p| state.owned.contains_key(p) && !is_news(p))
    }

    /// Queues the records of a poll and notes where krafka reads on; those of partitions that are not held are dropped.
    pub(super) fn offer(&self, records: Vec<Message>, positions: BTreeMap<Partition, Offset>) {
        let arrived = !records.is_empty();
        let mut state = self.lock();
        state.positions = positions;
        state.offer(records);
        drop(state);
        if arrived {
            self.arrived.notify_one();
        }
    }

    /// The offsets to store for a commit: where everything handed out of a partition is done and nothing waits,
    /// krafka's own position, which is past what is no record. A transaction ends with a marker that takes an offset;
    /// a group that only stored record offsets would never reach the end of such a partition.
    pub(super) fn past_markers(&self, offsets: &BTreeMap<Partition, Offset>) -> BTreeMap<Partition, Offset> {
        let state = self.lock();
        let past = |(partition, offset): (&Partition, &Offset)| match state.positions.get(partition) {
            Some(position) if state.handed_out.get(partition) == Some(offset) && !state.waits(*partition) => {
                (*partition, *position.max(offset))
            }
            _ => (*partition, *offset),
        };
        offsets.iter().map(past).collect()
    }

    /// These offsets are committed.
    pub(super) fn stored(&self, offsets: &BTreeMap<Partition, Offset>) {
        let mut state = self.lock();
        let owned: Vec<_> = offsets.iter().filter(|(p, _)| state.owned.contains_key(p)).collect();
        state.stored.extend(owned);
    }

    /// Where reading stands in partitions that have come to their end, when all that was handed out of them is committed
    /// and this is not: what lies between is no record (the markers and leftovers of transactions), or was there before
    /// the group's first offset. A group that only stored record offsets would keep a lag for ever.
    pub(super) fn unstored(&self) -> BTreeMap<Partition, Offset> {
        let state = self.lock();
        let is_due = |partition: &Partition, position: Offset| {
            let stored = state.stored.get(partition).copied();
            state.owned.get(partition) == Some(&Ownership::Held)
                && stored.is_none_or(|stored| stored < position)
                && state.handed_out.get(partition).is_none_or(|handed| Some(*handed) <= stored)
                && !state.waits(*partition)
        };
        state.positions.iter().filter(|(p, position)| is_due(p, **position)).map(|(p, o)| (*p, *o)).collect()
    }

    /// Keeps a failure that ends this member; nothing more is polled.
    pub(super) fn halt(&self, error: Error) {
        self.lock().halted = true;
        self.fail(error);
    }

    /// Whether this member has ended but for its close.
    pub(super) fn is_halted(&self) -> bool {
        self.lock().halted
    }

    /// Keeps the latest failure for the handle.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failure = Some(error);
        self.arrived.notify_one();
    }

    /// These are ours now.
    pub(super) fn assign(&self, partitions: Vec<Partition>) {
        if partitions.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.owned.extend(partitions.iter().map(|p| (*p, Ownership::Held)));
        state.events.push_back(Event::Assigned(partitions));
        drop(state);
        self.arrived.notify_one();
    }

    /// Asks the handle to finish with these. The receiver resolves when it has; `None` where it never saw them.
    pub(super) fn revoke(&self, partitions: &[Partition]) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        let seen = state.withdraw(partitions);
        if seen.is_empty() {
            return None;
        }
        state.owned.extend(seen.iter().map(|p| (*p, Ownership::Draining)));
        let (release, released) = Release::new();
        state.events.push_back(Event::Revoked(seen, release));
        drop(state);
        self.arrived.notify_one();
        Some(released)
    }

    /// Revoked partitions are given away: their release was dropped.
    pub(super) fn released(&self, partitions: &[Partition]) {
        let mut state = self.lock();
        state.owned.retain(|p, _| !partitions.contains(p));
    }

    /// These are gone, whatever the handle still does with them: fenced, or not released in time.
    pub(super) fn lose(&self, partitions: &[Partition]) {
        let mut state = self.lock();
        let seen = state.withdraw(partitions);
        state.owned.retain(|p, _| !partitions.contains(p));
        // A revocation that was not even handed out is overtaken by the loss.
        state
            .events
            .retain(|event| !matches!(event, Event::Revoked(revoked, _) if revoked.iter().all(|p| seen.contains(p))));
        if seen.is_empty() {
            return;
        }
        state.events.push_back(Event::Lost(seen));
        drop(state);
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and the state is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<Result<Event>> {
        if let Some(event) = self.events.pop_front() {
            return Some(Ok(event));
        }
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        if self.paused {
            return None;
        }
        let records = self.records.pop_front()?;
        self.records_len -= records.len();
        self.bytes -= records.iter().map(Message::size).sum::<usize>();
        let last_of_each_run = records.chunk_by(|a, b| a.partition == b.partition).filter_map(<[_]>::last);
        self.handed_out.extend(last_of_each_run.map(|record| (record.partition, record.offset + 1)));
        self.measure();
        Some(Ok(Event::Records(records)))
    }

    /// Whether records of this partition are yet to be handed out.
    fn waits(&self, partition: Partition) -> bool {
        self.records.iter().flatten().any(|record| record.partition == partition)
    }

    fn offer(&mut self, mut records: Vec<Message>) {
        records.retain(|record| self.owned.get(&record.partition) == Some(&Ownership::Held));
        if records.is_empty() {
            return;
        }
        self.records_len += records.len();
        self.bytes += records.iter().map(Message::size).sum::<usize>();
        self.records.push_back(records);
        self.measure();
    }

    /// Removes the waiting records of these partitions and takes back their announcement; those that the handle has
    /// been told of are returned.
    fn withdraw(&mut self, partitions: &[Partition]) -> Vec<Partition> {
        let mut unseen = BTreeSet::new();
        for event in &mut self.events {
            if let Event::Assigned(assigned) = event {
                unseen.extend(assigned.iter().copied().filter(|p| partitions.contains(p)));
                assigned.retain(|p| !partitions.contains(p));
            }
        }
        self.events.retain(|event| !matches!(event, Event::Assigned(assigned) if assigned.is_empty()));
        for batch in &mut self.records {
            batch.retain(|record| !partitions.contains(&record.partition));
        }
        self.records.retain(|batch| !batch.is_empty());
        self.records_len = self.records.iter().map(Vec::len).sum();
        self.bytes = self.records.iter().flatten().map(Message::size).sum();
        self.measure();
        self.owned.retain(|p, _| !unseen.contains(p));
        self.handed_out.retain(|p, _| !partitions.contains(p));
        self.stored.retain(|p, _| !partitions.contains(p));
        partitions.iter().copied().filter(|p| self.owned.contains_key(p)).collect()
    }

    fn measure(&mut self) {
        self.room.measure(self.records_len, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::kafka::room::{BYTES_MAX, RECORDS_MAX};
    use crate::record::Timestamp;

    fn record(partition: Partition, offset: i64) -> Message {
        let timestamp = Timestamp::from_unix_ms(0).expect("the epoch is a time");
        Message { partition, offset, timestamp, key: None, value: None, headers: Vec::new() }
    }

    fn offer(handover: &Handover, records: Vec<Message>) {
        handover.offer(records, BTreeMap::new());
    }

    fn taken(handover: &Handover) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(next) = handover.take() {
            all.push(match next {
                Ok(Event::Assigned(p)) => format!("assigned {p:?}"),
                Ok(Event::Revoked(p, _)) => format!("revoked {p:?}"),
                Ok(Event::Lost(p)) => format!("lost {p:?}"),
                Ok(Event::Records(r)) => {
                    format!("records {:?}", r.iter().map(|r| (r.partition, r.offset)).collect::<Vec<_>>())
                }
                Err(error) => format!("error {error}"),
            });
        }
        all
    }

    #[test]
    fn no_record_of_a_revoked_partition_comes_after_its_event() {
        let handover = Handover::default();
        handover.assign(vec![0, 1]);
        assert_eq!(taken(&handover), ["assigned [0, 1]"]);
        offer(&handover, vec![record(0, 7), record(1, 3), record(0, 8)]);
        let mut released = handover.revoke(&[0]).expect("the handle knows 0");
        offer(&handover, vec![record(0, 9), record(1, 4)]);
        assert!(released.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        assert_eq!(taken(&handover), ["revoked [0]", "records [(1, 3)]", "records [(1, 4)]"]);
        assert!(released.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed), "released by its drop");
    }

    #[test]
    fn a_draining_partition_may_be_committed_until_it_is_released() {
        let handover = Handover::default();
        handover.assign(vec![0, 1]);
        taken(&handover);
        let _released = handover.revoke(&[1]);
        assert!(handover.owns([0, 1].iter()));
        handover.released(&[1]);
        assert!(handover.owns([0].iter()) && !handover.owns([1].iter()));
        assert!(taken(&handover).iter().all(|e| !e.starts_with("lost")), "a release in time is no loss");
    }

    #[test]
    fn a_partition_not_released_in_time_is_lost_and_no_longer_committed() {
        let handover = Handover::default();
        handover.assign(vec![0]);
        taken(&handover);
        let _released = handover.revoke(&[0]);
        let _unreleased = handover.take();
        handover.lose(&[0]);
        assert_eq!(taken(&handover), ["lost [0]"]);
        assert!(!handover.owns([0].iter()));
    }

    /// Regression: a commit that was tried again while its partition was lost and assigned anew went through.
    #[test]
    fn a_commit_of_before_a_loss_is_not_one_of_the_next_assignment() {
        let handover = Handover::default();
        handover.assign(vec![0, 1]);
        taken(&handover);
        handover.lose(&[0]);
        handover.assign(vec![0]);
        assert!(!handover.owns([0].iter()) && handover.owns([1].iter()));
        assert_eq!(taken(&handover), ["lost [0]", "assigned [0]"]);
        assert!(handover.owns([0].iter()), "the handle knows");
    }

    #[test]
    fn what_was_never_announced_is_taken_back_without_a_word() {
        let handover = Handover::default();
        for _ in 0..1_000 {
            handover.assign(vec![0, 1]);
            assert!(handover.revoke(&[0, 1]).is_none(), "nobody has to finish anything");
        }
        assert_eq!(taken(&handover), Vec::<String>::new());
        assert!(!handover.owns([0].iter()));
    }

    #[test]
    fn a_paused_handle_still_gives_partitions_away() {
        let handover = Handover::default();
        handover.assign(vec![0, 1]);
        taken(&handover);
        offer(&handover, vec![record(0, 1), record(1, 1)]);
        handover.pause(true);
        assert!(taken(&handover).is_empty());
        handover.lose(&[0]);
        assert_eq!(taken(&handover), ["lost [0]"]);
        handover.pause(false);
        assert_eq!(taken(&handover), ["records [(1, 1)]"]);
    }

    #[test]
    fn the_pump_holds_at_the_limit_and_goes_on_at_half_of_it() {
        let handover = Handover::default();
        handover.assign(vec![0]);
        taken(&handover);
        let quarter = RECORDS_MAX / 4;
        for _ in 0..4 {
            assert!(!handover.hold());
            offer(&handover, (0..quarter).map(|_| record(0, 0)).collect());
        }
        assert!(handover.hold());
        handover.take();
        assert!(handover.hold() && !handover.has_room_again(), "three quarters are not yet half");
        handover.take();
        assert!(handover.has_room_again() && !handover.has_room_again(), "it is told once");
        assert!(!handover.hold());
    }

    /// Regression: each pause and its end woke the pump, and with it went the fetch in flight and the broker's session;
    /// at full speed most fetches were sent twice.
    #[test]
    fn a_pause_wakes_nobody_that_fetches_and_ends_in_a_hold() {
        let handover = Handover::default();
        handover.assign(vec![0]);
        taken(&handover);
        handover.pause(true);
        assert!(!handover.hold(), "there is room");
        offer(&handover, (0..RECORDS_MAX).map(|_| record(0, 0)).collect());
        handover.pause(false);
        assert!(!handover.has_room_again(), "the pump fetches still");
        handover.pause(true);
        assert!(handover.hold());
        handover.pause(false);
        assert_eq!(taken(&handover).len(), 1);
        assert!(handover.has_room_again());
    }

    #[test]
    fn bytes_count_as_well() {
        let handover = Handover::default();
        handover.assign(vec![0]);
        let large = Message { value: Some(vec![0; BYTES_MAX].into()), ..record(0, 0) };
        offer(&handover, vec![large]);
        assert!(handover.hold());
        taken(&handover);
        assert!(!handover.hold());
    }

    #[test]
    fn a_commit_goes_past_markers_only_when_all_before_them_is_done() {
        let handover = Handover::default();
        handover.assign(vec![0]);
        taken(&handover);
        let asked = |offset| handover.past_markers(&BTreeMap::from([(0, offset)]))[&0];
        handover.offer(vec![record(0, 1), record(0, 2)], BTreeMap::from([(0, 4)]));
        assert_eq!(asked(3), 3, "nothing was handed out yet");
        handover.take();
        assert_eq!((asked(2), asked(3)), (2, 4));
        handover.offer(vec![record(0, 4)], BTreeMap::from([(0, 6)]));
        assert_eq!(asked(3), 3, "record 4 waits");
        handover.take();
        assert_eq!((asked(3), asked(5)), (3, 6));
        handover.offer(Vec::new(), BTreeMap::from([(0, 9)]));
        assert_eq!(asked(5), 9, "an aborted transaction leaves no records");
    }

    #[test]
    fn a_position_is_stored_when_nothing_but_markers_is_left() {
        let handover = Handover::default();
        let due = || handover.unstored().into_iter().collect::<Vec<_>>();
        let at = |offset| BTreeMap::from([(0, offset)]);
        handover.offer(Vec::new(), at(7));
        assert_eq!(due(), [], "it is not ours");
        handover.assign(vec![0]);
        assert_eq!(due(), [(0, 7)], "the group has no offset yet");
        handover.stored(&at(7));
        assert_eq!(due(), []);
        handover.offer(vec![record(0, 7)], at(9));
        assert_eq!(due(), [], "a record waits");
        taken(&handover);
        assert_eq!(due(), [], "it was handed out and is not committed");
        handover.stored(&at(8));
        assert_eq!(due(), [(0, 9)], "a marker is at 8");
        let _released = handover.revoke(&[0]);
        assert_eq!(due(), [], "nobody but the handle commits what drains");
    }
}
