//! `trace`: the way of one user, hop by hop, and where it ends. It judges by the rules of [`super::verify`].

use std::collections::{BTreeMap, BTreeSet, HashSet};

use uuid::Uuid;

use super::DeadLetter;
use super::verify::{Content, Evidence, Hole, InSink, Letter, Place, Slot, add_row, digest, key_id, read};
use crate::bus::{Message, Offset, Partition, Progress, Reader, Survey, Watermarks, partition_of};
use crate::encoding::{Codec, Prepared};
use crate::error::Result;
use crate::ledger::{AnyLedger, Archive, Rejection, Row, Run, Selection};
use crate::pipeline::Stores;
use crate::record::Timestamp;
use crate::sink::Sink;

/// Ledger rows of one page: one a run.
const ROWS_PER_PAGE: usize = 1_000;
/// Rows, records and dead letters that are told of one user; all of them are judged.
const TOLD_MAX: usize = 1_000;

/// Everything that was found of one user.
#[derive(Debug)]
pub struct Trace {
    /// The user's id.
    pub id: Uuid,
    /// Whether there is a ledger.
    pub has_ledger: bool,
    /// Its rows in the ledger, in the order of their runs.
    pub stored: Vec<Stored>,
    /// How often it was rejected, and why.
    pub rejections: Vec<Rejection>,
    /// Its records on the topic, in the order of the topic.
    pub records: Vec<Found>,
    /// Its dead letters.
    pub letters: Vec<BuriedLetter>,
    /// What the sink has of it.
    pub row: InSink,
    /// Whether it was purged.
    pub is_purged: bool,
    /// Where it is in the end.
    pub verdict: Verdict,
}

/// A row of the ledger with its run.
#[derive(Debug)]
pub struct Stored {
    /// The row.
    pub row: Row,
    /// Its run, if that is still recorded.
    pub run: Option<Run>,
}

/// A record of the user on the topic.
#[derive(Debug)]
pub struct Found {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// The record's own time; the bus's where it cannot be decoded.
    pub at: Timestamp,
    /// What it says.
    pub what: What,
    /// Whether the group has committed it.
    pub is_committed: bool,
    /// Whether it is in the dead letters.
    pub is_dead: bool,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The user.
    User,
    /// That the user is to be deleted.
    Tombstone,
    /// Nothing that can be decoded; its key is the id.
    Undecodable,
}

/// A dead letter of the user.
#[derive(Debug)]
pub struct BuriedLetter {
    /// The letter.
    pub letter: DeadLetter,
    /// Whether it was replayed.
    pub is_replayed: bool,
}

/// Where a user is in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In one of the places that `verify` knows.
    Found(Place),
    /// It was fetched, and rejected.
    Rejected,
    /// Nothing knows it: it was never fetched, or the ledger was cut back since.
    Unknown,
}

/// Tells everything of one user. Reads only: nothing is joined, committed or written.
///
/// # Errors
/// Whatever keeps a store from being read; [`Kind::Config`](crate::error::Kind::Config) for a sink that keeps no rows.
pub async fn trace(stores: &Stores, id: Uuid) -> Result<Trace> {
    let codec = stores.codec().await?;
    let sink = stores.sink_to_read().await?;
    let ledger = stores.ledger_if_there().await?;
    let mut evidence = Evidence::default();
    // In this order: what is marked is on the topic by then, and what is committed is in the sink by then.
    let rows = rows(&ledger, id).await?;
    let survey = stores.survey().await?;
    for row in &rows {
        add_row(&mut evidence, row, &survey);
    }
    let row = InSink::of(id, &sink.find(&[id]).await?);
    let is_purged = ledger.suppressed_among(&[id]).await?.contains(&id);
    let places = rows.iter().filter_map(|row| row.published.map(|at| (at.partition, at.offset))).collect();
    let mut topic = Topic { id, survey, places, records: Vec::new(), digests: BTreeMap::new() };
    topic.read(stores, &codec, &mut evidence).await?;
    let letters = topic.letters(stores, &ledger, &mut evidence).await?;
    topic.add_records(&mut evidence);
    let rejections = ledger.rejections(id).await?;

    let verdict = match topic.place(&evidence, row, is_purged, !letters.is_empty()) {
        Some(place) => Verdict::Found(place),
        None if !rejections.is_empty() => Verdict::Rejected,
        None => Verdict::Unknown,
    };
    let mut records = topic.records;
    records.truncate(TOLD_MAX);
    let has_ledger = !matches!(ledger, AnyLedger::Off);
    let kept = with_runs(&ledger, rows).await?;
    sink.close().await?;
    Ok(Trace { id, has_ledger, stored: kept, rejections, records, letters, row, is_purged, verdict })
}

/// The user's rows in every run.
async fn rows(ledger: &AnyLedger, id: Uuid) -> Result<Vec<Row>> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.rows(Selection::Id(id), after, ROWS_PER_PAGE).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = Some((last.run_id, last.id));
        rows.extend(page);
    }
}

/// The newest rows, with their runs.
async fn with_runs(ledger: &AnyLedger, mut rows: Vec<Row>) -> Result<Vec<Stored>> {
    let mut stored = Vec::new();
    for row in rows.split_off(rows.len().saturating_sub(TOLD_MAX)) {
        stored.push(Stored { run: ledger.run(row.run_id).await?, row });
    }
    Ok(stored)
}

/// The part of the topic where the user's records are.
struct Topic {
    id: Uuid,
    survey: Survey,
    /// The places that the ledger noted.
    places: BTreeSet<(Partition, Offset)>,
    records: Vec<Found>,
    /// Of the records that were found.
    digests: BTreeMap<(Partition, Offset), u64>,
}

impl Topic {
    /// Reads the partition that the id belongs to, and the places that the ledger noted in others: the number of
    /// partitions may have changed.
    async fn read(&mut self, stores: &Stores, codec: &Codec, evidence: &mut Evidence) -> Result<()> {
        // Up to the present end: a tombstone may have reached the sink since the survey.
        let marks: BTreeMap<_, _> = stores.survey().await?.into_iter().map(|(p, it)| (p, it.marks)).collect();
        let home = partition_of(self.id.to_string().as_bytes(), marks.len());
        let mut ranges: BTreeMap<Partition, Watermarks> =
            marks.get(&home).map(|all| (home, *all)).into_iter().collect();
        for (partition, offset) in &self.places {
            let Some(marks) = marks.get(partition).filter(|marks| (marks.low..marks.high).contains(offset)) else {
                continue;
            };
            let range = ranges.entry(*partition).or_insert(Watermarks { low: *offset, high: *offset });
            *range = Watermarks { low: range.low.max(marks.low).min(*offset), high: range.high.max(offset + 1) };
        }
        let mut reader = stores.reader_of(&stores.config.topic, ranges).await?;
        loop {
            let page = reader.next().await?;
            if page.is_empty() {
                return Ok(());
            }
            let codec = codec.prepare(page.iter().filter_map(|message| message.value.as_deref())).await?;
            for message in &page {
                self.look_at(message, &codec, evidence);
            }
        }
    }

    fn look_at(&mut self, message: &Message, codec: &Prepared<'_>, evidence: &mut Evidence) {
        let place = (message.partition, message.offset);
        let (what, at) = match read(codec, message) {
            Some(Content::User(id, at)) if id == self.id => (What::User, at),
            Some(Content::Tombstone(id)) if id == self.id => (What::Tombstone, message.timestamp),
            None if key_id(message) == Some(self.id) => (What::Undecodable, message.timestamp),
            _ => {
                if self.places.contains(&place) {
                    evidence.slot = evidence.slot.max(Slot::Taken);
                }
                return;
            }
        };
        let committed = self.survey.get(&place.0).map_or(0, Progress::committed_end);
        let is_committed = message.offset < committed;
        self.digests.insert(place, digest(message));
        self.records.push(Found { partition: place.0, offset: place.1, at, what, is_committed, is_dead: false });
    }

    /// The user's dead letters: of its records, with its key, or of the places that the ledger noted.
    async fn letters(
        &mut self,
        stores: &Stores,
        ledger: &AnyLedger,
        evidence: &mut Evidence,
    ) -> Result<Vec<BuriedLetter>> {
        let topic = stores.dead_letter_topic();
        let (mut reader, mut letters) = (stores.reader(&topic).await?, Vec::new());
        loop {
            let page = reader.next().await?;
            if page.is_empty() {
                return Ok(letters);
            }
            let mine: Vec<DeadLetter> = page.into_iter().map(DeadLetter::of).filter(|it| self.is_mine(it)).collect();
            let places: Vec<_> = mine.iter().map(|it| (it.message.partition, it.message.offset)).collect();
            let replayed = if places.is_empty() { HashSet::new() } else { ledger.replayed(&topic, &places).await? };
            for letter in mine {
                let of_ours = letter.origin.as_ref().filter(|origin| origin.topic == stores.config.topic);
                evidence.letter = evidence.letter.max(match (&letter.origin, of_ours) {
                    (_, Some(_)) => Letter::Placed,
                    (None, None) => Letter::Unplaced,
                    (Some(_), None) => continue,
                });
                if let Some(place) = of_ours.map(|origin| (origin.partition, origin.offset)) {
                    self.bury(place, digest(&letter.message));
                }
                let is_replayed = replayed.contains(&(letter.message.partition, letter.message.offset));
                if letters.len() < TOLD_MAX {
                    letters.push(BuriedLetter { letter, is_replayed });
                }
            }
        }
    }

    fn is_mine(&self, letter: &DeadLetter) -> bool {
        let is_known = |place: (Partition, Offset)| self.digests.get(&place) == Some(&digest(&letter.message));
        key_id(&letter.message) == Some(self.id)
            || letter.origin.as_ref().is_some_and(|origin| is_known((origin.partition, origin.offset)))
    }

    /// The record at this place is a dead letter, if it is the same record.
    fn bury(&mut self, place: (Partition, Offset), digest: u64) {
        if self.digests.get(&place) != Some(&digest) {
            return;
        }
        for record in self.records.iter_mut().filter(|record| (record.partition, record.offset) == place) {
            record.is_dead = true;
        }
    }

    /// Adds what the records say, once it is known which of them are dead letters.
    fn add_records(&self, evidence: &mut Evidence) {
        for record in &self.records {
            match record.what {
                What::Tombstone => evidence.deleted_at = evidence.deleted_at.max(Some(record.at)),
                What::Undecodable => evidence.slot = Slot::Undecodable,
                What::User => {
                    evidence.records += 1;
                    match (record.is_dead, record.is_committed) {
                        (true, _) => evidence.is_dead = true,
                        (false, true) => evidence.owed_at = evidence.owed_at.max(Some(record.at)),
                        (false, false) => evidence.is_in_flight = true,
                    }
                }
            }
        }
    }

    /// Where the user is; `None` where nothing knows it.
    fn place(&self, evidence: &Evidence, row: InSink, is_purged: bool, has_letters: bool) -> Option<Place> {
        let judged = (is_purged || evidence.is_expected()).then(|| evidence.judge(row, is_purged));
        match judged {
            Some(Place::Undecodable) => return self.undecodable(),
            Some(place) => return Some(place),
            None => {}
        }
        if row != InSink::Nothing {
            return Some(Place::Sink);
        }
        let rest = if evidence.deleted_at.is_some() { Some(Place::Deleted) } else { None };
        self.undecodable().or(has_letters.then_some(Place::DeadLetters)).or(rest)
    }

    /// Where the newest of its records that cannot be decoded is.
    fn undecodable(&self) -> Option<Place> {
        let newest = self.records.iter().rfind(|record| record.what == What::Undecodable)?;
        Some(match (newest.is_dead, newest.is_committed) {
            (true, _) => Place::DeadLetters,
            (false, true) => Place::Hole(Hole::Undecodable),
            (false, false) => Place::InFlight,
        })
    }
}
