//! A member of a group on the embedded bus.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::group::{Membership, refuse_another_sinks_group};
use super::{committed, watermarks};
use crate::bus::{
    Commit, Consumer, Event, Header, Message, Offset, Partition, Release, Watermarks, range, static_member_taken,
};
use crate::config::{MemberConfig, OutOfRange};
use crate::error::Result;
use crate::record::Timestamp;
use crate::sql::Sqlite;

/// The most records one poll hands out, over all partitions.
const POLL_RECORDS_MAX: i64 = 2_000;
/// A poll ends with the record that reaches this size, in each partition.
const POLL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often an idle consumer looks for records; the look is one indexed read.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// A drain that takes longer than so many sessions is given up.
const DRAIN_SESSIONS_MAX: u32 = 6;

/// Partitions that were revoked.
#[derive(Debug)]
struct Draining {
    partitions: Vec<Partition>,
    released: oneshot::Receiver<()>,
    give_up: Instant,
}

/// A consumer of one topic.
#[derive(Debug)]
pub struct EmbeddedConsumer {
    membership: Membership,
    identity: String,
    on_out_of_range: OutOfRange,
    positions: BTreeMap<Partition, Offset>,
    /// The leases under which it was assigned what it reads and drains.
    leases: BTreeMap<Partition, String>,
    /// Partitions that were lost and are ours again at once, which the next poll says.
    moved: VecDeque<Vec<Partition>>,
    /// A read has found a hole at a position.
    has_gap: bool,
    /// Partitions that others wait for, until deliver drops its release.
    draining: Vec<Draining>,
    next_heartbeat: Instant,
    next_first: usize,
    paused: bool,
}

impl EmbeddedConsumer {
    /// A member that joins with its first poll; a static one takes its name, and what it had, at once. `identity` names
    /// the sink that the group belongs to.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when the group's offsets were committed for another sink.
    pub async fn join(
        database: Sqlite,
        settings: &MemberConfig,
        topic: String,
        group: String,
        identity: String,
    ) -> Result<Self> {
        refuse_another_sinks_group(&database, &topic, &group, &identity).await?;
        let membership = Membership::new(database, group, topic, settings);
        membership.take_name().await?;
        Ok(Self {
            membership,
            identity,
            on_out_of_range: settings.on_out_of_range,
            positions: BTreeMap::new(),
            leases: BTreeMap::new(),
            moved: VecDeque::new(),
            has_gap: false,
            draining: Vec::new(),
            next_heartbeat: Instant::now(),
            next_first: 0,
            paused: false,
        })
    }

    /// The name of this member, for tests that let its session run out.
    #[cfg(test)]
    pub(crate) fn member(&self) -> &str {
        &self.membership.member
    }

    /// Keeps the place in the group; an event if that changed what is owned.
    async fn keep_place(&mut self) -> Result<Option<Event>> {
        if let Some(partitions) = self.moved.pop_front() {
            return Ok(Some(Event::Assigned(partitions)));
        }
        if let Some(lost) = self.release_drained().await? {
            return Ok(Some(lost));
        }
        if Instant::now() < self.next_heartbeat && !self.has_gap {
            return Ok(None);
        }
        let beat = self.membership.heartbeat().await?;
        let now = Instant::now();
        self.next_heartbeat = now + self.membership.heartbeat_interval();

        let draining: BTreeSet<Partition> = self.draining.iter().flat_map(|d| d.partitions.iter().copied()).collect();
        // A lease of another name was away meanwhile, and somebody else's.
        let is_lost = |p: &Partition| beat.held.get(p).is_none_or(|lease| self.leases.get(p) != Some(lease));
        let lost: Vec<Partition> = self.positions.keys().copied().filter(is_lost).collect();
        if !lost.is_empty() {
            self.forget(&lost);
            self.leases.retain(|p, _| !lost.contains(p));
            self.next_heartbeat = now;
            return Ok(Some(Event::Lost(lost)));
        }
        if let Some(id) = beat.replaced {
            self.next_heartbeat = now;
            return Err(static_member_taken(&self.membership.group, &id));
        }
        let unwanted: Vec<Partition> = beat.unwanted.difference(&draining).copied().collect();
        if !unwanted.is_empty() {
            self.forget(&unwanted);
            let (release, released) = Release::new();
            let give_up = Instant::now() + self.membership.session * DRAIN_SESSIONS_MAX;
            self.draining.push(Draining { partitions: unwanted.clone(), released, give_up });
            return Ok(Some(Event::Revoked(unwanted, release)));
        }
        let known: BTreeSet<Partition> = self.positions.keys().copied().chain(draining).collect();
        let assigned: BTreeMap<Partition, String> =
            beat.held.into_iter().filter(|(partition, _)| !known.contains(partition)).collect();
        if !assigned.is_empty() {
            let partitions = assigned.keys().copied().collect();
            self.start(assigned).await?;
            return Ok(Some(Event::Assigned(partitions)));
        }
        self.go_on().await
    }

    /// Gives up the leases whose drain is over; a loss where it takes too long.
    async fn release_drained(&mut self) -> Result<Option<Event>> {
        let now = Instant::now();
        let is_released =
            |draining: &mut Draining| !matches!(draining.released.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        while let Some(index) = self.draining.iter_mut().position(|d| is_released(d) || now >= d.give_up) {
            self.membership.release(&self.draining[index].partitions).await?;
            let mut draining = self.draining.remove(index);
            self.leases.retain(|p, _| !draining.partitions.contains(p));
            if !is_released(&mut draining) {
                let partitions = draining.partitions;
                tracing::warn!(?partitions, "not drained in time, giving the partitions up");
                return Ok(Some(Event::Lost(partitions)));
            }
        }
        Ok(None)
    }

    fn forget(&mut self, partitions: &[Partition]) {
        self.positions.retain(|p, _| !partitions.contains(p));
    }

    /// Sets the positions of new partitions: the committed offsets, else the beginning. The group has them before the
    /// first record is read, so that it belongs to this sink from now on.
    async fn start(&mut self, leases: BTreeMap<Partition, String>) -> Result<()> {
        let at = &self.membership;
        refuse_another_sinks_group(&at.database, &at.topic, &at.group, &self.identity).await?;
        let committed = committed(&at.database, &at.topic, &at.group).await?;
        let marks = watermarks(&at.database, &at.topic).await?;
        let mut positions = BTreeMap::new();
        for partition in leases.keys() {
            let marks = marks.get(partition).copied().unwrap_or(Watermarks { low: 0, high: 0 });
            let offset = committed.get(partition).copied().unwrap_or(marks.low);
            let position = self.in_range(*partition, offset, marks)?.unwrap_or(offset);
            positions.insert(*partition, position);
        }
        // Where the lease is gone again, the next heartbeat tells.
        at.commit(&positions, &leases, &self.identity).await?;
        self.positions.extend(positions);
        self.leases.extend(leases);
        Ok(())
    }

    /// Moves positions that are not in the topic any more to where the policy says; the partitions are lost and assigned
    /// again, so that nothing of before is committed.
    async fn go_on(&mut self) -> Result<Option<Event>> {
        let at = &self.membership;
        let marks = watermarks(&at.database, &at.topic).await?;
        let mut moved = BTreeMap::new();
        for (partition, offset) in &self.positions {
            let Some(marks) = marks.get(partition) else { continue };
            if let Some(new) = self.in_range(*partition, *offset, *marks)? {
                moved.insert(*partition, new);
            }
        }
        if !moved.is_empty() {
            at.commit(&moved, &self.leases, &self.identity).await?;
        }
        self.has_gap = false;
        if moved.is_empty() {
            return Ok(None);
        }
        let partitions: Vec<Partition> = moved.keys().copied().collect();
        self.positions.extend(moved);
        self.moved.push_back(partitions.clone());
        Ok(Some(Event::Lost(partitions)))
    }

    /// Where to go on instead of at an offset that is not in the topic; `None` for one that is.
    fn in_range(&self, partition: Partition, offset: Offset, marks: Watermarks) -> Result<Option<Offset>> {
        let place = (self.membership.topic.as_str(), partition);
        let resolve = |gone| range::resolve(self.on_out_of_range, gone, place, Some(offset), marks);
        range::check(offset, marks).map(resolve).transpose()
    }

    /// Records from the positions on, starting with another partition each time so that none starves.
    async fn fetch(&mut self) -> Result<Vec<Message>> {
        let partitions: Vec<(Partition, Offset)> = self.positions.iter().map(|(p, o)| (*p, *o)).collect();
        let mut messages = Vec::new();
        for index in 0..partitions.len() {
            let (partition, position) = partitions[(self.next_first + index) % partitions.len()];
            let room = POLL_RECORDS_MAX - i64::try_from(messages.len()).unwrap_or(POLL_RECORDS_MAX);
            if room > 0 {
                let read = self.read(partition, position, room).await?;
                // Offsets are dense, so the records at the position were removed.
                if read.first().is_some_and(|first| first.offset > position) {
                    self.has_gap = true;
                } else {
                    messages.extend(read);
                }
            }
        }
        self.next_first = self.next_first.wrapping_add(1);
        Ok(messages)
    }

    async fn read(&self, partition: Partition, from: Offset, limit: i64) -> Result<Vec<Message>> {
        let failed = || self.membership.database.failed("cannot read from the embedded bus");
        let mut rows = sqlx::query(
            "SELECT offset, timestamp_ms, key, value, headers FROM bus_records
             WHERE topic = ? AND partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
        )
        .bind(&self.membership.topic)
        .bind(partition)
        .bind(from)
        .bind(limit)
        .fetch(&self.membership.database.reader);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while bytes < POLL_BYTES_MAX
            && let Some(row) = rows.try_next().await.map_err(failed())?
        {
            let message = message(partition, &row).map_err(failed())?;
            bytes += message.size();
            messages.push(message);
        }
        Ok(messages)
    }
}

impl Consumer for EmbeddedConsumer {
    async fn poll(&mut self, wait: Duration) -> Result<Event> {
        let give_up = Instant::now() + wait;
        loop {
            if let Some(event) = self.keep_place().await? {
                return Ok(event);
            }
            if !self.paused {
                let messages = self.fetch().await?;
                if !messages.is_empty() {
                    // No await between here and the return: a cancelled poll has moved no position.
                    for message in &messages {
                        self.positions.insert(message.partition, message.offset + 1);
                    }
                    return Ok(Event::Records(messages));
                }
            }
            if Instant::now() >= give_up {
                return Ok(Event::Records(Vec::new()));
            }
            tokio::time::sleep_until((Instant::now() + IDLE_POLL).min(give_up)).await;
        }
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, Offset>) -> Result<Commit> {
        let stored = self.membership.commit(offsets, &self.leases, &self.identity).await?;
        Ok(if stored { Commit::Stored } else { Commit::Fenced })
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    async fn watermarks(&mut self) -> Result<BTreeMap<Partition, Watermarks>> {
        watermarks(&self.membership.database, &self.membership.topic).await
    }

    async fn committed(&mut self) -> Result<BTreeMap<Partition, Offset>> {
        committed(&self.membership.database, &self.membership.topic, &self.membership.group).await
    }

    async fn close(self) -> Result<()> {
        self.membership.leave().await
    }
}

/// A row of offset, time, key, value and headers.
pub(super) fn message(partition: Partition, row: &SqliteRow) -> Result<Message, sqlx::Error> {
    let bytes = |index| Ok::<_, sqlx::Error>(row.try_get::<Option<Vec<u8>>, _>(index)?.map(Bytes::from));
    let ms: i64 = row.try_get(1)?;
    Ok(Message {
        partition,
        offset: row.try_get(0)?,
        timestamp: Timestamp::from_unix_ms(ms).ok_or_else(|| sqlx::Error::Decode("timestamp out of range".into()))?,
        key: bytes(2)?,
        value: bytes(3)?,
        headers: headers_from_json(row.try_get(4)?)?,
    })
}

fn headers_from_json(json: Option<String>) -> Result<Vec<Header>, sqlx::Error> {
    let Some(json) = json else { return Ok(Vec::new()) };
    let headers: Vec<(String, Option<Vec<u8>>)> =
        serde_json::from_str(&json).map_err(|e| sqlx::Error::Decode(e.into()))?;
    Ok(headers.into_iter().map(|(name, value)| (name, value.map(Bytes::from))).collect())
}
