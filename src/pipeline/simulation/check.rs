//! The invariants, by sets of ids and places.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::Row;
use uuid::Uuid;

use super::world::{Fate, World, lock};
use crate::bus::{Message, Offset, Partition, dead_letter_topic};
use crate::encoding::Codec;
use crate::error::Result;
use crate::pipeline::deliver::{Goal, headers};
use crate::record::Timestamp;

type Records = BTreeMap<(Partition, Offset), Message>;

/// A run that says it ended well has nothing unsent.
pub(super) async fn nothing_is_unsent(world: &World, who: &str) -> Result<()> {
    let unsent: Vec<String> = sqlx::query_scalar("SELECT id FROM outbox WHERE pipeline = ? AND published_at IS NULL")
        .bind(&world.pipeline)
        .fetch_all(&world.database.reader)
        .await
        .map_err(world.database.failed("cannot check"))?;
    // Another producing process may have stored them a moment ago.
    if world.shape.producers == 1 && !unsent.is_empty() {
        world.violated(format!("{who} left {} users unsent", unsent.len()));
    }
    Ok(())
}

/// A member that drained has committed all it was given.
pub(super) async fn is_committed(world: &World, given: &BTreeMap<Partition, Offset>) -> Result<()> {
    let committed = world.committed().await?;
    for (partition, end) in given.iter().filter(|(p, end)| committed.get(p).is_none_or(|done| done < end)) {
        world.violated(format!("drained, and partition {partition} is not committed up to {end}: {committed:?}"));
    }
    Ok(())
}

/// Everything that holds when the goal is reached.
pub(super) async fn everything(world: &World) -> Result<()> {
    let committed = world.committed().await?;
    let goal = world.goal.borrow().clone();
    match &goal {
        Goal::Offsets(ends) if ends.iter().all(|(p, end)| committed.get(p).copied().unwrap_or(0) >= *end) => {}
        goal => world.violated(format!("said to be at {goal:?}, and is at {committed:?}")),
    }
    let records = world.records(&world.topic).await?;
    let letters = world.records(&dead_letter_topic(&world.topic)).await?;
    ledger(world, &records).await?;
    fates(world, &records).await?;
    dead_letters(world, &records, &letters);
    rows(world, &records).await
}

/// Every user that the ledger has accepted is there, marked with a place where it is.
async fn ledger(world: &World, records: &Records) -> Result<()> {
    let rows = sqlx::query("SELECT id, partition, offset FROM outbox WHERE pipeline = ?")
        .bind(&world.pipeline)
        .fetch_all(&world.database.reader)
        .await
        .map_err(world.database.failed("cannot check"))?;
    let mut known = BTreeSet::new();
    for row in rows {
        let id: String = row.get(0);
        let place: (Option<Partition>, Option<Offset>) = (row.get(1), row.get(2));
        let (Some(partition), Some(offset)) = place else {
            world.violated(format!("{id} was accepted and never marked"));
            continue;
        };
        let there = records.get(&(partition, offset)).and_then(|record| record.key.as_deref());
        if there != Some(id.as_bytes()) {
            world.violated(format!("{id} is marked with {partition}:{offset}, where it is not"));
        }
        known.insert(id.parse::<Uuid>().unwrap());
    }
    for id in lock(&world.accepted).iter().filter(|id| !known.contains(id)) {
        world.violated(format!("{id} was accepted and is not in the ledger"));
    }
    Ok(())
}

/// Every record on the topic has met its fate.
async fn fates(world: &World, records: &Records) -> Result<()> {
    let stored = world.stored().await?;
    for (place, message) in records {
        let fate = world.fate(message);
        if !stored.has(*place, fate) {
            world.violated(format!("{place:?} is neither in the table nor a dead letter: {fate:?}"));
        }
    }
    Ok(())
}

/// Every dead letter was made of a record that can never be written, and is that record.
fn dead_letters(world: &World, records: &Records, letters: &Records) {
    for letter in letters.values() {
        let number = |name: &str| {
            let (_, value) = letter.headers.iter().rfind(|(header, _)| header == name)?;
            str::from_utf8(value.as_deref()?).ok()?.parse::<i64>().ok()
        };
        let place = number(headers::PARTITION).and_then(|p| Partition::try_from(p).ok()).zip(number(headers::OFFSET));
        let Some(record) = place.and_then(|place| records.get(&place)) else {
            world.violated(format!("a dead letter of no record: {letter:?}"));
            continue;
        };
        let own = letter.headers.get(..record.headers.len());
        if (&letter.key, &letter.value, own) != (&record.key, &record.value, Some(&record.headers)) {
            world.violated(format!("a dead letter that was altered: {letter:?} of {record:?}"));
        }
        if world.fate(record) != Fate::Letter {
            world.violated(format!("a dead letter of a good record: {record:?}"));
        }
    }
}

/// The table is what the newest record of each id says. The rows of others are those of an earlier schedule.
async fn rows(world: &World, records: &Records) -> Result<()> {
    let mut newest: HashMap<Uuid, (Timestamp, Option<&Message>)> = HashMap::new();
    for message in records.values() {
        let (id, at, row) = match world.fate(message) {
            Fate::Letter => continue,
            Fate::Gone(id, at) => (id, at, None),
            Fate::Row(id, at) => (id, at, Some(message)),
        };
        let known = newest.entry(id).or_insert((at, row));
        if at >= known.0 {
            *known = (at, row);
        }
    }
    let known: BTreeSet<Uuid> = newest.keys().copied().collect();
    let expected = newest.into_iter().filter_map(|(id, (at, message))| {
        let user = Codec::default().decode(message?.value.as_ref()?, at).ok()?;
        Some((id, (at, user.email().to_owned())))
    });
    let expected: HashMap<Uuid, (Timestamp, String)> = expected.collect();
    let rows = sqlx::query("SELECT id, timestamp, email FROM created_users")
        .fetch_all(&world.database.reader)
        .await
        .map_err(world.database.failed("cannot check"))?;
    let mut found = HashMap::new();
    for row in rows {
        let (id, at): (String, String) = (row.get(0), row.get(1));
        let id = id.parse::<Uuid>().unwrap();
        if !known.contains(&id) {
            continue;
        }
        let row = (at.parse::<Timestamp>().unwrap(), row.get::<String, _>(2));
        if found.insert(id, row).is_some() {
            world.violated(format!("{id} is in the table twice"));
        }
    }
    if found != expected {
        let differing = expected.iter().filter(|(id, row)| found.get(*id) != Some(*row));
        let first = differing.map(|(id, row)| format!("{id} should be {row:?}, is {:?}", found.get(id))).next();
        world.violated(format!("{} rows for {} ids; {first:?}", found.len(), expected.len()));
    }
    Ok(())
}
