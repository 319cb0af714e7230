//! A member of a group on the embedded bus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::group::{HEARTBEAT_INTERVAL, Membership, SESSION_TIMEOUT, refuse_another_sinks_group};
use super::{committed, watermarks};
use crate::bus::{Commit, Consumer, Event, Header, Message, Offset, Partition, Release, Watermarks};
use crate::error::{Error, Kind, Result};
use crate::record::Timestamp;
use crate::sql::Sqlite;

/// The most records one poll hands out, over all partitions.
const POLL_RECORDS_MAX: i64 = 2_000;
/// How often an idle consumer looks for records; the look is one indexed read.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// A consumer of one topic.
#[derive(Debug)]
pub struct EmbeddedConsumer {
    membership: Membership,
    identity: String,
    positions: BTreeMap<Partition, Offset>,
    /// Partitions that others wait for, until deliver drops its release.
    draining: Vec<(Vec<Partition>, oneshot::Receiver<()>)>,
    next_heartbeat: Instant,
    last_heartbeat: Instant,
    next_first: usize,
    paused: bool,
}

impl EmbeddedConsumer {
    /// A member that joins with its first poll. `identity` names the sink that the group belongs to.
    ///
    /// # Errors
    /// [`Kind::Config`] when the group's offsets were committed for another sink.
    pub async fn join(database: Sqlite, topic: String, group: String, identity: String) -> Result<Self> {
        refuse_another_sinks_group(&database, &topic, &group, &identity).await?;
        let member = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7());
        Ok(Self {
            membership: Membership { database, group, topic, member },
            identity,
            positions: BTreeMap::new(),
            draining: Vec::new(),
            next_heartbeat: Instant::now(),
            last_heartbeat: Instant::now(),
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
        self.release_drained().await?;
        if Instant::now() < self.next_heartbeat {
            return Ok(None);
        }
        let beat = self.membership.heartbeat().await?;
        let silent = self.last_heartbeat.elapsed();
        self.last_heartbeat = Instant::now();
        self.next_heartbeat = self.last_heartbeat + HEARTBEAT_INTERVAL;

        let draining: BTreeSet<Partition> = self.draining.iter().flat_map(|(p, _)| p.iter().copied()).collect();
        // After a silence longer than the session a lease may have been away and come back: read it anew.
        let expired = silent > SESSION_TIMEOUT;
        let lost: Vec<Partition> =
            self.positions.keys().copied().filter(|p| expired || !beat.held.contains(p)).collect();
        if !lost.is_empty() {
            self.forget(&lost);
            self.next_heartbeat = self.last_heartbeat;
            return Ok(Some(Event::Lost(lost)));
        }
        let unwanted: Vec<Partition> = beat.unwanted.difference(&draining).copied().collect();
        if !unwanted.is_empty() {
            self.forget(&unwanted);
            let (release, released) = Release::new();
            self.draining.push((unwanted.clone(), released));
            return Ok(Some(Event::Revoked(unwanted, release)));
        }
        let known: BTreeSet<Partition> = self.positions.keys().copied().chain(draining).collect();
        let assigned: Vec<Partition> = beat.held.difference(&known).copied().collect();
        if assigned.is_empty() {
            return Ok(None);
        }
        self.start(&assigned).await?;
        Ok(Some(Event::Assigned(assigned)))
    }

    /// Gives up the leases whose drain is over.
    async fn release_drained(&mut self) -> Result<()> {
        let is_done = |released: &mut oneshot::Receiver<()>| {
            !matches!(released.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        };
        while let Some(index) = self.draining.iter_mut().position(|(_, released)| is_done(released)) {
            self.membership.release(&self.draining[index].0).await?;
            self.draining.remove(index);
        }
        Ok(())
    }

    fn forget(&mut self, partitions: &[Partition]) {
        self.positions.retain(|p, _| !partitions.contains(p));
    }

    /// Sets the positions of new partitions: the committed offsets, else the beginning.
    async fn start(&mut self, partitions: &[Partition]) -> Result<()> {
        let at = &self.membership;
        let committed = committed(&at.database, &at.topic, &at.group).await?;
        let marks = watermarks(&at.database, &at.topic).await?;
        for partition in partitions {
            let marks = marks.get(partition).copied().unwrap_or(Watermarks { low: 0, high: 0 });
            let position = committed.get(partition).copied().unwrap_or(marks.low);
            if !(marks.low..=marks.high).contains(&position) {
                return Err(Error::new(Kind::Failed, format!("the committed offset {position} is out of range"))
                    .at(format!("{} partition {partition} ({}..{})", at.topic, marks.low, marks.high))
                    .hint("the topic was recreated or expired: choose '--from-beginning' or '-o end'"));
            }
            self.positions.insert(*partition, position);
        }
        Ok(())
    }

    /// Records from the positions on, starting with another partition each time so that none starves.
    async fn fetch(&mut self) -> Result<Vec<Message>> {
        let partitions: Vec<(Partition, Offset)> = self.positions.iter().map(|(p, o)| (*p, *o)).collect();
        let mut messages = Vec::new();
        for index in 0..partitions.len() {
            let (partition, position) = partitions[(self.next_first + index) % partitions.len()];
            let room = POLL_RECORDS_MAX - i64::try_from(messages.len()).unwrap_or(POLL_RECORDS_MAX);
            if room > 0 {
                messages.extend(self.read(partition, position, room).await?);
            }
        }
        self.next_first = self.next_first.wrapping_add(1);
        Ok(messages)
    }

    async fn read(&self, partition: Partition, from: Offset, limit: i64) -> Result<Vec<Message>> {
        let failed = || self.membership.database.failed("cannot read from the embedded bus");
        let rows = sqlx::query(
            "SELECT offset, timestamp_ms, key, value, headers FROM bus_records
             WHERE topic = ? AND partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
        )
        .bind(&self.membership.topic)
        .bind(partition)
        .bind(from)
        .bind(limit)
        .fetch_all(&self.membership.database.reader)
        .await
        .map_err(failed())?;
        rows.iter().map(|row| message(partition, row)).collect::<Result<_, _>>().map_err(failed())
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
        let stored = self.membership.commit(offsets, &self.identity).await?;
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
