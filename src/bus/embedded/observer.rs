//! The embedded bus, looked at from outside.

use std::collections::BTreeMap;

use super::group::first_at;
use super::watermarks;
use crate::bus::observer::{Committed, GroupView, Member, Observer};
use crate::bus::{Offset, Partition, Watermarks};
use crate::error::Result;
use crate::record::Timestamp;
use crate::sql::Sqlite;

/// Looks at topics and groups in the data file.
#[derive(Debug)]
pub struct EmbeddedObserver(Sqlite);

impl EmbeddedObserver {
    /// An observer of what is in this file.
    pub fn new(database: Sqlite) -> Self {
        Self(database)
    }

    async fn members(&self, topic: &str, group: &str) -> Result<Vec<Member>> {
        let rows: Vec<(String, Option<Partition>)> = sqlx::query_as(
            "SELECT m.member, l.partition FROM bus_members m
             LEFT JOIN bus_leases l ON l.group_name = m.group_name AND l.topic = m.topic AND l.member = m.member
             WHERE m.group_name = ? AND m.topic = ? AND m.expires_at_ms >= ? ORDER BY m.member, l.partition",
        )
        .bind(group)
        .bind(topic)
        .bind(Timestamp::now().unix_ms())
        .fetch_all(&self.0.reader)
        .await
        .map_err(self.0.failed("cannot read the members of the group"))?;
        let mut members: BTreeMap<String, Vec<Partition>> = BTreeMap::new();
        for (member, partition) in rows {
            members.entry(member).or_default().extend(partition);
        }
        Ok(members
            .into_iter()
            .map(|(name, partitions)| Member { name, client_id: None, host: None, partitions })
            .collect())
    }
}

impl Observer for EmbeddedObserver {
    async fn watermarks(&self, topic: &str) -> Result<BTreeMap<Partition, Watermarks>> {
        watermarks(&self.0, topic).await
    }

    async fn group(&self, topic: &str, group: &str) -> Result<GroupView> {
        let members = self.members(topic, group).await?;
        let rows: Vec<(Partition, Offset, String)> =
            sqlx::query_as("SELECT partition, offset, metadata FROM bus_offsets WHERE group_name = ? AND topic = ?")
                .bind(group)
                .bind(topic)
                .fetch_all(&self.0.reader)
                .await
                .map_err(self.0.failed("cannot read the group's offsets"))?;
        let committed = rows.into_iter().map(|(p, offset, metadata)| (p, Committed { offset, metadata })).collect();
        Ok(GroupView { members, committed })
    }

    async fn at_time(&self, topic: &str, at: Timestamp) -> Result<BTreeMap<Partition, Offset>> {
        let mut starts = BTreeMap::new();
        for (partition, marks) in watermarks(&self.0, topic).await? {
            let first = first_at(&self.0, topic, partition, at).await?;
            starts.insert(partition, first.unwrap_or(marks.high));
        }
        Ok(starts)
    }

    async fn newest(&self, topic: &str) -> Result<Option<Timestamp>> {
        // Of the last record of each partition, which the key finds at once; a search of all of them would not end.
        let newest: Option<i64> = sqlx::query_scalar(
            "SELECT max((SELECT r.timestamp_ms FROM bus_records r WHERE r.topic = p.topic AND r.partition = p.partition
                         ORDER BY r.offset DESC LIMIT 1))
             FROM bus_partitions p WHERE p.topic = ?",
        )
        .bind(topic)
        .fetch_one(&self.0.reader)
        .await
        .map_err(self.0.failed("cannot read the newest record"))?;
        Ok(newest.map(Timestamp::saturating_from_unix_ms))
    }
}
