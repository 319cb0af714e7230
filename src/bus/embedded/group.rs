//! Consumer groups of the embedded bus: members with an expiry, and one lease a partition.
//!
//! A member renews its expiry with every heartbeat. Each partition belongs to one live member by its place in the
//! sorted list of members; the holder of a lease gives it up only after it has drained, as with Kafka. A lease has a
//! name of its own: one that was away and came back is another, so that nothing of before is committed under it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{Row, Sqlite as Dialect, Transaction};

use super::{committed, watermarks};
use crate::bus::{Moved, Offset, Partition, Reset, StartAt, another_sinks_group, unknown_topic};
use crate::config::MemberConfig;
use crate::error::{Error, Kind, Result};
use crate::record::Timestamp;
use crate::sql::Sqlite;

/// A member that was not heard of for this long is dead.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a member says that it lives, within one session.
const HEARTBEATS_PER_SESSION: u32 = 10;
/// How often a waiting reset looks again.
const RESET_POLL: Duration = Duration::from_millis(250);

/// One member's place in its group.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) database: Sqlite,
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) session: Duration,
    /// Its id in the group: other at each start, behind its name where it has one.
    pub(super) member: String,
    static_id: Option<String>,
}

/// What a heartbeat found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heartbeat {
    /// Our name, where another process has taken it.
    pub(super) replaced: Option<String>,
    /// Partitions that this member holds, with the names of their leases.
    pub(super) held: BTreeMap<Partition, String>,
    /// Those of them that another member is waiting for.
    pub(super) unwanted: BTreeSet<Partition>,
}

impl Membership {
    pub(super) fn new(database: Sqlite, group: String, topic: String, settings: &MemberConfig) -> Self {
        let process = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7());
        let member = settings.static_id.as_deref().map_or_else(|| process.clone(), |id| name(id) + &process);
        let session = settings.session_timeout.unwrap_or(SESSION_TIMEOUT);
        Self { database, group, topic, session, member, static_id: settings.static_id.clone() }
    }

    pub(super) fn heartbeat_interval(&self) -> Duration {
        self.session / HEARTBEATS_PER_SESSION
    }

    /// Makes a static member's name ours, with the leases that it has: the process before us has ended, or will find
    /// itself replaced with its next heartbeat.
    pub(super) async fn take_name(&self) -> Result<()> {
        let Some(id) = &self.static_id else { return Ok(()) };
        let failed = || self.database.failed("cannot join the consumer group");
        let mut transaction = self.database.begin().await.map_err(failed())?;
        sqlx::query("DELETE FROM bus_members WHERE group_name = ? AND topic = ? AND substr(member, 1, ?) = ?")
            .bind(&self.group)
            .bind(&self.topic)
            .bind(length(&name(id)))
            .bind(name(id))
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        sqlx::query(
            "UPDATE bus_leases SET member = ?, lease = ? || '/' || partition
             WHERE group_name = ? AND topic = ? AND substr(member, 1, ?) = ?",
        )
        .bind(&self.member)
        .bind(new_lease())
        .bind(&self.group)
        .bind(&self.topic)
        .bind(length(&name(id)))
        .bind(name(id))
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
        self.renew(&mut transaction).await.map_err(failed())?;
        transaction.commit().await.map_err(failed())
    }

    /// Whether another process has our name.
    async fn is_replaced(&self, transaction: &mut Transaction<'_, Dialect>, id: &str) -> Result<bool, sqlx::Error> {
        let others: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM bus_members
             WHERE group_name = ? AND topic = ? AND substr(member, 1, ?) = ? AND member <> ?",
        )
        .bind(&self.group)
        .bind(&self.topic)
        .bind(length(&name(id)))
        .bind(name(id))
        .bind(&self.member)
        .fetch_one(&mut **transaction)
        .await?;
        Ok(others > 0)
    }

    /// Begins the session anew.
    async fn renew(&self, transaction: &mut Transaction<'_, Dialect>) -> Result<(), sqlx::Error> {
        let session_ms = i64::try_from(self.session.as_millis()).unwrap_or(i64::MAX / 2);
        sqlx::query(
            "INSERT INTO bus_members (group_name, topic, member, expires_at_ms) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET expires_at_ms = excluded.expires_at_ms",
        )
        .bind(&self.group)
        .bind(&self.topic)
        .bind(&self.member)
        .bind(Timestamp::now().unix_ms() + session_ms)
        .execute(&mut **transaction)
        .await
        .map(|_| ())
    }

    /// Renews this member, takes the free partitions that are its share, and tells what it holds.
    pub(super) async fn heartbeat(&self) -> Result<Heartbeat> {
        let failed = || self.database.failed("cannot keep the place in the consumer group");
        let mut transaction = self.database.begin().await.map_err(failed())?;
        let beat = self.beat(&mut transaction).await.map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        Ok(beat)
    }

    async fn beat(&self, transaction: &mut Transaction<'_, Dialect>) -> Result<Heartbeat, sqlx::Error> {
        if let Some(id) = &self.static_id
            && self.is_replaced(transaction, id).await?
        {
            return Ok(Heartbeat { replaced: Some(id.clone()), ..Heartbeat::default() });
        }
        self.renew(transaction).await?;
        expire(transaction, &self.group, &self.topic, Timestamp::now().unix_ms()).await?;
        let members: Vec<String> =
            sqlx::query_scalar("SELECT member FROM bus_members WHERE group_name = ? AND topic = ? ORDER BY member")
                .bind(&self.group)
                .bind(&self.topic)
                .fetch_all(&mut **transaction)
                .await?;
        let leases = self.leases(transaction).await?;
        let mut beat = Heartbeat::default();
        for (index, (partition, holder)) in leases.into_iter().enumerate() {
            let ours = members.get(index % members.len().max(1)).is_some_and(|m| *m == self.member);
            match holder {
                None if ours => {
                    beat.held.insert(partition, self.take(transaction, partition).await?);
                }
                Some((holder, lease)) if holder == self.member => {
                    beat.held.insert(partition, lease);
                    if !ours {
                        beat.unwanted.insert(partition);
                    }
                }
                _ => {}
            }
        }
        Ok(beat)
    }

    /// Every partition of the topic with the member that holds its lease, and the lease's name.
    async fn leases(
        &self,
        transaction: &mut Transaction<'_, Dialect>,
    ) -> Result<BTreeMap<Partition, Option<(String, String)>>, sqlx::Error> {
        sqlx::query(
            "SELECT p.partition, l.member, l.lease FROM bus_partitions p
             LEFT JOIN bus_leases l ON l.topic = p.topic AND l.partition = p.partition AND l.group_name = ?
             WHERE p.topic = ?",
        )
        .bind(&self.group)
        .bind(&self.topic)
        .fetch_all(&mut **transaction)
        .await?
        .iter()
        .map(|row| {
            let holder: Option<String> = row.try_get(1)?;
            let holder = holder.map(|member| Ok::<_, sqlx::Error>((member, row.try_get(2)?))).transpose()?;
            Ok((row.try_get(0)?, holder))
        })
        .collect()
    }

    /// Takes a free partition: the lease's name.
    async fn take(
        &self,
        transaction: &mut Transaction<'_, Dialect>,
        partition: Partition,
    ) -> Result<String, sqlx::Error> {
        let lease = new_lease();
        sqlx::query("INSERT INTO bus_leases (group_name, topic, partition, member, lease) VALUES (?, ?, ?, ?, ?)")
            .bind(&self.group)
            .bind(&self.topic)
            .bind(partition)
            .bind(&self.member)
            .bind(&lease)
            .execute(&mut **transaction)
            .await?;
        Ok(lease)
    }

    /// Gives up leases, so that the members that wait for them can take them.
    pub(super) async fn release(&self, partitions: &[Partition]) -> Result<()> {
        for partition in partitions {
            sqlx::query("DELETE FROM bus_leases WHERE group_name = ? AND topic = ? AND partition = ? AND member = ?")
                .bind(&self.group)
                .bind(&self.topic)
                .bind(partition)
                .bind(&self.member)
                .execute(&self.database.writer)
                .await
                .map_err(self.database.failed("cannot release a partition"))?;
        }
        Ok(())
    }

    /// Leaves the group: the others take over with their next heartbeat. A static member keeps its place for a session.
    pub(super) async fn leave(&self) -> Result<()> {
        let failed = || self.database.failed("cannot leave the consumer group");
        let mut transaction = self.database.begin().await.map_err(failed())?;
        if let Some(id) = &self.static_id {
            if !self.is_replaced(&mut transaction, id).await.map_err(failed())? {
                self.renew(&mut transaction).await.map_err(failed())?;
            }
            return transaction.commit().await.map_err(failed());
        }
        for statement in [
            "DELETE FROM bus_leases WHERE group_name = ? AND topic = ? AND member = ?",
            "DELETE FROM bus_members WHERE group_name = ? AND topic = ? AND member = ?",
        ] {
            sqlx::query(statement)
                .bind(&self.group)
                .bind(&self.topic)
                .bind(&self.member)
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }

    /// Stores offsets if this member still holds these leases; false if it holds not all of them.
    pub(super) async fn commit(
        &self,
        offsets: &BTreeMap<Partition, Offset>,
        leases: &BTreeMap<Partition, String>,
        identity: &str,
    ) -> Result<bool> {
        let failed = || self.database.failed("cannot commit offsets");
        let mut transaction = self.database.begin().await.map_err(failed())?;
        for (partition, offset) in offsets {
            let stored = sqlx::query(
                "INSERT INTO bus_offsets (group_name, topic, partition, offset, metadata)
                 SELECT group_name, topic, partition, ?, ? FROM bus_leases
                 WHERE group_name = ? AND topic = ? AND partition = ? AND lease = ?
                 ON CONFLICT DO UPDATE SET offset = excluded.offset, metadata = excluded.metadata",
            )
            .bind(offset)
            .bind(identity)
            .bind(&self.group)
            .bind(&self.topic)
            .bind(partition)
            .bind(leases.get(partition))
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
            if stored.rows_affected() == 0 {
                // Dropping the transaction rolls back: all or none.
                return Ok(false);
            }
        }
        transaction.commit().await.map_err(failed())?;
        Ok(true)
    }
}

/// A name that no lease had before.
fn new_lease() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// What the ids of a static member begin with; its name has neither of the signs.
fn name(id: &str) -> String {
    format!("static:{id}#")
}

/// As SQLite counts; names are ASCII.
fn length(name: &str) -> i64 {
    i64::try_from(name.len()).unwrap_or(i64::MAX)
}

/// Removes members that were not heard of, and the leases of members that are gone.
async fn expire(
    transaction: &mut Transaction<'_, Dialect>,
    group: &str,
    topic: &str,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM bus_members WHERE group_name = ? AND topic = ? AND expires_at_ms < ?")
        .bind(group)
        .bind(topic)
        .bind(now_ms)
        .execute(&mut **transaction)
        .await?;
    sqlx::query(
        "DELETE FROM bus_leases WHERE group_name = ?1 AND topic = ?2 AND member NOT IN
             (SELECT member FROM bus_members WHERE group_name = ?1 AND topic = ?2)",
    )
    .bind(group)
    .bind(topic)
    .execute(&mut **transaction)
    .await
    .map(|_| ())
}

/// Refuses a group that works for another sink.
pub(super) async fn refuse_another_sinks_group(
    database: &Sqlite,
    topic: &str,
    group: &str,
    identity: &str,
) -> Result<()> {
    let other: Option<String> = sqlx::query_scalar(
        "SELECT metadata FROM bus_offsets WHERE group_name = ? AND topic = ? AND metadata NOT IN ('', ?) LIMIT 1",
    )
    .bind(group)
    .bind(topic)
    .bind(identity)
    .fetch_optional(&database.reader)
    .await
    .map_err(database.failed("cannot read the group's offsets"))?;
    match other {
        None => Ok(()),
        Some(other) => Err(another_sinks_group(group, &other, identity)),
    }
}

/// Where a reset would move the group's committed offsets on every partition of the topic. Changes nothing.
///
/// # Errors
/// [`Kind::Config`] when there is no such topic, or when the offsets were committed for another sink than `identity`.
pub async fn plan_reset(database: &Sqlite, topic: &str, group: &str, identity: &str, to: StartAt) -> Result<Reset> {
    refuse_another_sinks_group(database, topic, group, identity).await?;
    let marks = watermarks(database, topic).await?;
    if marks.is_empty() {
        return Err(unknown_topic(topic));
    }
    let committed = committed(database, topic, group).await?;
    let mut planned = Reset::new();
    for (partition, marks) in marks {
        let before = committed.get(&partition).copied();
        let after = match to {
            StartAt::Stored => before.unwrap_or(marks.low),
            StartAt::Beginning => marks.low,
            StartAt::End => marks.high,
            StartAt::Time(at) => first_at(database, topic, partition, at).await?.unwrap_or(marks.high),
        };
        planned.insert(partition, Moved { before, after });
    }
    Ok(planned)
}

/// Commits what was planned for the group of the sink `identity`, waiting at most `wait` for members that died to expire.
///
/// # Errors
/// [`Kind::Failed`] as soon as a member is seen to live: it joins, or renews its session.
pub async fn apply_reset(
    database: &Sqlite,
    topic: &str,
    group: &str,
    identity: &str,
    planned: &Reset,
    wait: Duration,
) -> Result<()> {
    let give_up = tokio::time::Instant::now() + wait;
    let mut known = BTreeMap::new();
    loop {
        let members = try_apply(database, topic, group, identity, planned).await?;
        if members.is_empty() {
            return Ok(());
        }
        // Only a live member renews its session, or joins.
        let lives = |(member, expires): (&String, &i64)| known.get(member) != Some(expires);
        if (!known.is_empty() && members.iter().any(lives)) || tokio::time::Instant::now() >= give_up {
            return Err(Error::new(Kind::Failed, format!("cannot reset group {group} while it has live members"))
                .hint("stop the other consumers of this group first, or read with another --group"));
        }
        known = members;
        tokio::time::sleep(RESET_POLL).await;
    }
}

/// [`plan_reset`] and [`apply_reset`] in one; [`StartAt::Stored`] changes nothing.
///
/// # Errors
/// As theirs.
pub async fn reset_group(
    database: &Sqlite,
    topic: &str,
    group: &str,
    identity: &str,
    to: StartAt,
    wait: Duration,
) -> Result<Reset> {
    let planned = plan_reset(database, topic, group, identity, to).await?;
    if to != StartAt::Stored {
        apply_reset(database, topic, group, identity, &planned, wait).await?;
    }
    Ok(planned)
}

/// One attempt; the members that are in its way, with the ends of their sessions.
async fn try_apply(
    database: &Sqlite,
    topic: &str,
    group: &str,
    identity: &str,
    planned: &Reset,
) -> Result<BTreeMap<String, i64>> {
    let failed = || database.failed("cannot reset the group's offsets");
    let mut transaction = database.begin().await.map_err(failed())?;
    expire(&mut transaction, group, topic, Timestamp::now().unix_ms()).await.map_err(failed())?;
    let members: Vec<(String, i64)> =
        sqlx::query_as("SELECT member, expires_at_ms FROM bus_members WHERE group_name = ? AND topic = ?")
            .bind(group)
            .bind(topic)
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed())?;
    if members.is_empty() {
        for (partition, moved) in planned {
            sqlx::query(
                "INSERT INTO bus_offsets (group_name, topic, partition, offset, metadata) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET offset = excluded.offset, metadata = excluded.metadata",
            )
            .bind(group)
            .bind(topic)
            .bind(partition)
            .bind(moved.after)
            .bind(identity)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
    }
    transaction.commit().await.map_err(failed())?;
    Ok(members.into_iter().collect())
}

/// The offset of the first record at or after a time, where there is one.
pub(super) async fn first_at(
    database: &Sqlite,
    topic: &str,
    partition: Partition,
    at: Timestamp,
) -> Result<Option<Offset>> {
    sqlx::query_scalar("SELECT min(offset) FROM bus_records WHERE topic = ? AND partition = ? AND timestamp_ms >= ?")
        .bind(topic)
        .bind(partition)
        .bind(at.unix_ms())
        .fetch_one(&database.reader)
        .await
        .map_err(database.failed("cannot find the time in the topic"))
}
