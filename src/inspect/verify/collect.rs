//! Notes what the ledger, the dead letters and the topic hold, a page at a time.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use uuid::Uuid;

use super::cut::Ends;
use super::judge::Evidence;
use super::notes::{Fact, Fate, Notes, Origin, Seen, Undecodable};
use crate::bus::{AnyReader, Message, Offset, Partition, Progress, Reader, Survey, Watermarks};
use crate::encoding::{Codec, Prepared};
use crate::error::Result;
use crate::inspect::DeadLetter;
use crate::ledger::{AnyLedger, Archive, Row, Selection};
use crate::pipeline::Stores;
use crate::record::{Timestamp, User};
use crate::transform::{Transform, Verdict};

/// Ledger rows of one page.
const ROWS_PER_PAGE: usize = 5_000;

/// How records are read, and which of them are let through.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How records are read.
    pub codec: Codec,
    /// The filter of the consumers (`--where`).
    pub filter: Option<Arc<Transform>>,
}

impl Rules {
    /// Which of these messages the filter drops. One that it fails on is not dropped: its place is in the dead letters.
    pub(in crate::inspect) async fn drops(&self, codec: &Prepared<'_>, messages: &[Message]) -> Vec<bool> {
        let mut dropped = vec![false; messages.len()];
        let Some(filter) = &self.filter else { return dropped };
        let user = |(index, message): (usize, &Message)| {
            let value = message.value.as_ref()?;
            Some((index, codec.decode(value, message.timestamp).ok()?))
        };
        let (indexes, users): (Vec<usize>, Vec<User>) = messages.iter().enumerate().filter_map(user).unzip();
        for (index, verdict) in indexes.into_iter().zip(filter.apply_all(users).await) {
            dropped[index] = verdict == Ok(Verdict::Filtered);
        }
        dropped
    }

    /// The ids of which the filter drops every record that the ledger has.
    pub(in crate::inspect) async fn drops_whole(&self, stored: Vec<(Uuid, String)>) -> HashSet<Uuid> {
        let mut ids: HashSet<Uuid> = stored.iter().map(|(id, _)| *id).collect();
        let Some(filter) = &self.filter else { return HashSet::new() };
        let user = |(id, record): (Uuid, String)| {
            let user = self.codec.decode(&record.into(), Timestamp::now()).ok();
            if user.is_none() {
                ids.remove(&id);
            }
            Some((id, user?))
        };
        let (of, users): (Vec<Uuid>, Vec<User>) = stored.into_iter().filter_map(user).unzip();
        for (id, verdict) in of.into_iter().zip(filter.apply_all(users).await) {
            if verdict != Ok(Verdict::Filtered) {
                ids.remove(&id);
            }
        }
        ids
    }
}

/// What was found in the ledger.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The part of each partition where its rows are: from the smallest to behind the largest place.
    pub(super) ranges: BTreeMap<Partition, Watermarks>,
    /// Rows that wait in the outbox.
    pub(super) waiting: u64,
}

/// Notes the ledger's rows.
pub(super) async fn ledger(
    stores: &Stores,
    ledger: &AnyLedger,
    selection: Selection,
    at: Timestamp,
    survey: &Survey,
    notes: &mut Notes,
) -> Result<Ledger> {
    let ends: Ends = survey.iter().map(|(partition, progress)| (*partition, progress.marks.high)).collect();
    let mut ceilings = ends.clone();
    let (mut found, mut after) = (Ledger::default(), None);
    loop {
        let rows = ledger.rows(selection, after, ROWS_PER_PAGE).await?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = Some((last.run_id, last.id));
        // A row that is marked behind the end was sent since, or before the topic was recreated: the present end tells.
        if rows.iter().any(|row| is_behind(row, &ceilings)) {
            ceilings = stores.survey().await?.into_iter().map(|(p, progress)| (p, progress.marks.high)).collect();
        }
        let mut facts = Vec::with_capacity(rows.len());
        for row in &rows {
            let seen = if row.stored_at > at { Seen::Later } else { seen(row, survey, &ceilings) };
            if let (Seen::Placed, Some(published)) = (seen, row.published) {
                let (first, end) = (published.offset, published.offset + 1);
                let range = found.ranges.entry(published.partition).or_insert(Watermarks { low: first, high: end });
                *range = Watermarks { low: range.low.min(first), high: range.high.max(end) };
            }
            found.waiting += u64::from(seen == Seen::Waiting);
            facts.push(Fact {
                id: row.id,
                seen,
                partition: row.published.map(|published| published.partition),
                offset: row.published.map(|published| published.offset),
                at: None,
            });
        }
        notes.add(&facts).await?;
    }
}

fn is_behind(row: &Row, ceilings: &Ends) -> bool {
    row.published.is_some_and(|at| ceilings.get(&at.partition).is_some_and(|ceiling| at.offset >= *ceiling))
}

/// Where a ledger row is on the topic, whose part up to the cut is `survey` and which ends at `ceilings` now.
fn seen(row: &Row, survey: &Survey, ceilings: &Ends) -> Seen {
    let Some(published) = row.published else { return Seen::Waiting };
    let Some(Progress { marks, .. }) = survey.get(&published.partition) else { return Seen::Expired };
    match published.offset {
        offset if offset < marks.low => Seen::Expired,
        offset if offset < marks.high => Seen::Placed,
        offset if ceilings.get(&published.partition).is_some_and(|ceiling| offset < *ceiling) => Seen::Beyond,
        _ => Seen::Expired,
    }
}

/// Adds a ledger row to what is known of its id, given the topic as it was surveyed after the row was read.
pub(in crate::inspect) fn add_row(evidence: &mut Evidence, row: &Row, survey: &Survey) {
    match seen(row, survey, &Ends::new()) {
        Seen::Waiting => evidence.is_waiting = true,
        Seen::Placed => evidence.is_placed = true,
        _ => evidence.is_expired = true,
    }
}

/// Notes the dead letters of our topic, and those that do not say where they are from.
pub(super) async fn dead_letters(reader: &mut AnyReader, topic: &str, notes: &mut Notes) -> Result<()> {
    loop {
        let page = reader.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        let (mut facts, mut origins) = (Vec::new(), Vec::new());
        for letter in page.into_iter().map(DeadLetter::of) {
            let id = key_id(&letter.message);
            let seen = match &letter.origin {
                Some(origin) if origin.topic != topic => continue,
                Some(origin) => {
                    let digest = digest(&letter.message);
                    origins.push(Origin { partition: origin.partition, offset: origin.offset, digest });
                    Seen::Letter
                }
                None => Seen::UnplacedLetter,
            };
            facts.extend(id.map(|id| Fact { id, seen, partition: None, offset: None, at: None }));
        }
        notes.add(&facts).await?;
        notes.add_letters(&origins).await?;
    }
}

/// Notes the records of the topic, by how far the group is in it.
pub(super) async fn topic(reader: &mut AnyReader, rules: &Rules, survey: &Survey, notes: &mut Notes) -> Result<()> {
    loop {
        let page = reader.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        let codec = rules.codec.prepare(page.iter().filter_map(|message| message.value.as_deref())).await?;
        for part in page.chunk_by(|one, next| one.partition == next.partition) {
            let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
            records(part, first.offset, last.offset, (rules, &codec), survey, notes).await?;
        }
    }
}

/// Notes records of one partition.
async fn records(
    part: &[Message],
    first: Offset,
    last: Offset,
    (rules, codec): (&Rules, &Prepared<'_>),
    survey: &Survey,
    notes: &mut Notes,
) -> Result<()> {
    let Some(partition) = part.first().map(|message| message.partition) else { return Ok(()) };
    let letters = notes.letters(partition, first, last).await?;
    let committed = survey.get(&partition).map_or(0, Progress::committed_end);
    let (mut facts, mut undecodable) = (Vec::with_capacity(part.len()), Vec::new());
    let dropped = rules.drops(codec, part).await;
    for (message, is_dropped) in part.iter().zip(dropped) {
        let offset = message.offset;
        let is_dead = letters.get(&offset).is_some_and(|digests| digests.contains(&digest(message)));
        let fate = match (is_dead, offset < committed) {
            (true, _) => Fate::Dead,
            (false, true) => Fate::Lost,
            (false, false) => Fate::InFlight,
        };
        let fact = |id, seen, at| Fact { id, seen, partition: Some(partition), offset: Some(offset), at: Some(at) };
        match read(codec, message) {
            // Before it is committed, nothing has dropped it yet.
            Some(Content::User(id, at)) if is_dropped && fate == Fate::Lost => {
                facts.push(fact(id, Seen::Filtered, at));
            }
            Some(Content::User(id, at)) => facts.push(fact(id, seen_of(fate), at)),
            Some(Content::Tombstone(id)) => facts.push(fact(id, Seen::Tombstone, message.timestamp)),
            None => undecodable.push(Undecodable { id: key_id(message), partition, offset, fate }),
        }
    }
    notes.add(&facts).await?;
    notes.add_undecodable(&undecodable).await
}

/// What becomes of a record that can be decoded.
fn seen_of(fate: Fate) -> Seen {
    match fate {
        Fate::Dead => Seen::Dead,
        Fate::InFlight => Seen::InFlight,
        Fate::Lost => Seen::Owed,
    }
}

/// Notes the tombstones of a part of the topic that came after the cut.
pub(super) async fn late_tombstones(reader: &mut AnyReader, notes: &mut Notes) -> Result<()> {
    loop {
        let page = reader.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        let tombstones = page.iter().filter(|message| message.value.is_none());
        let found: Vec<_> = tombstones.filter_map(|message| Some((key_id(message)?, message.timestamp))).collect();
        notes.add_late(&found).await?;
    }
}

/// What a record says, where it can be decoded.
pub(in crate::inspect) enum Content {
    /// A user, and the time of the record.
    User(Uuid, Timestamp),
    /// The user is to be deleted.
    Tombstone(Uuid),
}

/// Reads a record as delivery does.
pub(in crate::inspect) fn read(codec: &Prepared<'_>, message: &Message) -> Option<Content> {
    let Some(value) = &message.value else { return key_id(message).map(Content::Tombstone) };
    let user = codec.decode(value, message.timestamp).ok()?;
    Some(Content::User(user.id(), user.timestamp()))
}

/// The key of a record, where it is an id.
pub(in crate::inspect) fn key_id(message: &Message) -> Option<Uuid> {
    Uuid::try_parse_ascii(message.key.as_deref()?).ok()
}

/// The same for a record and its dead letter, which carries key and value untouched. It need not last longer than a
/// process.
pub(in crate::inspect) fn digest(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&message.key, &message.value).hash(&mut hasher);
    hasher.finish()
}
