//! `verify`: whether every user that was stored, and every record that was sent, is accounted for.
//!
//! It takes a cut first: the time, and (once everything stored before it is sent) the end of the topic. Then it follows
//! the ids hop by hop, ledger → topic → sink or dead letters, while records flow on:
//!
//! 1. [`cut`]: waits, no longer than it may, until the outbox is sent and the group has committed everything up to the cut
//! 2. [`collect`]: notes ledger, dead letters and topic in a throwaway database ([`notes`])
//! 3. [`judge`]: judges every id, with the row that the sink has; what looks lost is looked at once more
//!
//! What is behind the group's committed offsets is in flight, and what was never acknowledged waits: both are no holes,
//! and neither is complete. What is committed has to be in the sink, in the dead letters, purged, or deleted since.

mod collect;
mod cut;
mod judge;
mod notes;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::{Survey, Watermarks};
use crate::encoding::Codec;
use crate::error::{Error, Kind, Result};
use crate::ledger::{AnyLedger, Archive, Selection};
use crate::pipeline::Stores;
use crate::record::Timestamp;
use crate::sink::{AnySink, Sink};
use notes::{Noted, Notes};

pub use judge::{Evidence, Hole, InSink, Letter, Place, Slot};
pub use notes::{Difference, Rank};

pub(super) use collect::{Content, add_row, digest, key_id, read};

/// Ids that the sink is asked for at once.
const IDS_PER_PAGE: i64 = 2_000;
/// Differences that are read at once.
const DIFFERENCES_PER_PAGE: i64 = 1_000;

/// What to verify.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which of the stored users; of all, records of other producers are verified too.
    pub selection: Selection,
    /// How long the group may take to pass the cut.
    pub settle: Duration,
    /// Whether ids that the ledger does not know are listed.
    pub lists_foreign: bool,
}

/// What was found, hop by hop. Each id is in one place, so the places add up to the ids and the undecodable records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ids that the ledger had stored at the cut; `None` without a ledger.
    pub ledger: Option<u64>,
    /// Ids on the topic up to the cut.
    pub bus: u64,
    /// Ids of the ledger whose records are on the topic no more; `None` without a ledger.
    pub expired: Option<u64>,
    /// Ids on the topic that the ledger does not know; `None` where that was not asked.
    pub foreign: Option<u64>,
    /// Records on the topic that repeat another: the same id and the same time.
    pub copies: u64,
    /// Records on the topic that cannot be decoded.
    pub undecodable: u64,
    /// Ids in the sink.
    pub sink: u64,
    /// Ids and undecodable records in the dead letters.
    pub dead_letters: u64,
    /// Ids that were purged.
    pub purged: u64,
    /// Ids that a newer tombstone deleted.
    pub deleted: u64,
    /// Ids and undecodable records that the group has not committed.
    pub in_flight: u64,
    /// Ids that wait in the outbox.
    pub waiting: u64,
    /// Ids and undecodable records that are nowhere.
    pub holes: u64,
}

/// What was found, and what is not where it should be in the end.
#[derive(Debug)]
pub struct Verified {
    /// When the cut was taken.
    pub at: Timestamp,
    /// What was found.
    pub counts: Counts,
    notes: Notes,
}

impl Verified {
    /// Hands out the differences, those that matter most first, until `take` has enough.
    ///
    /// # Errors
    /// Of the temporary file, and of `take`.
    pub async fn differences(&mut self, mut take: impl FnMut(&Difference) -> Result<bool>) -> Result<()> {
        for rank in Rank::ALL {
            let mut after = 0;
            loop {
                let page = self.notes.differences(rank, after, DIFFERENCES_PER_PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                after = *last;
                for (_, difference) in &page {
                    if !take(difference)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Verifies. Reads only: nothing is joined, committed or written.
///
/// # Errors
/// Whatever keeps a store from being read; [`Kind::Config`] for a sink that keeps no rows.
pub async fn verify(stores: &Stores, options: Options) -> Result<Verified> {
    let codec = stores.codec().await?;
    let sink = stores.sink_to_read().await?;
    // Whether it can be read at all, before anything is waited for.
    sink.find(&[]).await?;
    let ledger = stores.ledger_if_there().await?;
    if matches!(ledger, AnyLedger::Off) && options.selection != Selection::All {
        return Err(Error::new(Kind::Config, "there is no ledger to select users from")
            .hint("leave --run and --since out, to begin at the topic"));
    }
    let verified = Verifier { stores, ledger, sink: &sink, codec, options }.run().await;
    let closed = sink.close().await;
    let verified = verified?;
    closed.map(|()| verified)
}

struct Verifier<'a> {
    stores: &'a Stores,
    ledger: AnyLedger,
    sink: &'a AnySink,
    codec: Codec,
    options: Options,
}

impl Verifier<'_> {
    async fn run(&self) -> Result<Verified> {
        let mut notes = Notes::begin().await?;
        let (at, give_up) = (Timestamp::now(), Instant::now() + self.options.settle);
        let (at_cut, placed) = self.read_ledger(at, give_up, &mut notes).await?;
        tracing::debug!("read the ledger");
        let ranges = if self.is_all() { at_cut.iter().map(|(p, it)| (*p, it.marks)).collect() } else { placed };
        let ends = ranges.iter().map(|(partition, range)| (*partition, range.high)).collect();
        let survey = cut::await_group(self.stores, &ends, give_up).await?;

        // What the group has committed by now is durable by now: whatever is looked at from here on has to show it.
        let mut letters = self.stores.reader(&self.stores.dead_letter_topic()).await?;
        collect::dead_letters(&mut letters, &self.stores.config.topic, &mut notes).await?;
        tracing::debug!("read the dead letters");
        let mut topic = self.stores.reader_of(&self.stores.config.topic, readable(&ranges, &survey)).await?;
        collect::topic(&mut topic, &self.codec, &survey, &mut notes).await?;
        tracing::debug!("read the topic");
        let present = self.stores.survey().await?;
        notes.gather(&present.iter().map(|(partition, it)| (*partition, it.marks.low)).collect()).await?;

        tracing::debug!("gathered what belongs to each id");
        let mut counts = self.judge_all(&mut notes).await?;
        self.judge_suspects(&ranges, &mut notes, &mut counts).await?;
        let fates = notes.judge_undecodable(!self.is_all()).await?;
        counts.undecodable = fates.dead + fates.in_flight + fates.lost;
        counts.dead_letters += fates.dead;
        counts.in_flight += fates.in_flight;
        counts.holes += fates.lost;
        notes.finish().await?;
        Ok(Verified { at, counts, notes })
    }

    /// Notes the ledger's rows; the topic at the cut, and where the rows are in it.
    ///
    /// What was stored before the cut and is sent by then is before the ends of the topic, which are taken next. The
    /// ledger is read after that, so it knows every record of ours before them. A row is stored a moment before it can
    /// be seen: where the ledger shows one that still waits, all of this is done again, for as long as there is time.
    async fn read_ledger(&self, at: Timestamp, give_up: Instant, notes: &mut Notes) -> Result<(Survey, Ranges)> {
        let selection = self.options.selection;
        loop {
            cut::await_outbox(&self.ledger, selection, at, give_up).await?;
            let survey = self.stores.survey().await?;
            let found = collect::ledger(self.stores, &self.ledger, selection, at, &survey, notes).await?;
            if found.waiting == 0 || Instant::now() >= give_up {
                return Ok((survey, found.ranges));
            }
            notes.clear().await?;
        }
    }

    fn is_all(&self) -> bool {
        self.options.selection == Selection::All
    }

    fn has_ledger(&self) -> bool {
        !matches!(self.ledger, AnyLedger::Off)
    }

    /// Counts and judges every id; what looks like a hole is only suspected.
    async fn judge_all(&self, notes: &mut Notes) -> Result<Counts> {
        let count = |is_counted: bool| is_counted.then_some(0);
        let mut counts = Counts {
            ledger: count(self.has_ledger()),
            expired: count(self.has_ledger()),
            foreign: count(self.has_ledger() && self.is_all()),
            ..Counts::default()
        };
        let mut after = 0;
        loop {
            let page = notes.page(after, IDS_PER_PAGE, false).await?;
            let Some(last) = page.last() else { return Ok(counts) };
            after = last.row;
            let (mut suspects, mut differences) = (Vec::new(), Vec::new());
            for (noted, place) in self.judge_page(page).await? {
                // A purge leaves nothing in the ledger that would know the id.
                let is_foreign = !noted.evidence.is_known() && place != Place::Purged;
                counts.hops(&noted.evidence, is_foreign);
                if self.options.lists_foreign && counts.foreign.is_some() && is_foreign {
                    differences.push((Rank::Foreign, "", noted.id));
                }
                match place {
                    Place::Hole(_) => suspects.push(noted.row),
                    place => counts.place(place, &noted, &mut differences),
                }
            }
            notes.suspect(&suspects).await?;
            notes.add_differences(&differences).await?;
        }
    }

    /// Looks at the suspects once more: since the cut, a tombstone or a purge may have reached the sink.
    async fn judge_suspects(&self, ranges: &Ranges, notes: &mut Notes, counts: &mut Counts) -> Result<()> {
        if notes.page(0, 1, true).await?.is_empty() {
            return Ok(());
        }
        let behind = |(partition, it): (&i32, &crate::bus::Progress)| {
            let from = ranges.get(partition).map_or(it.marks.low, |range| range.high);
            (*partition, Watermarks { low: from.max(it.marks.low), high: it.marks.high })
        };
        let survey = self.stores.survey().await?;
        let tail = survey.iter().map(behind).collect();
        let mut reader = self.stores.reader_of(&self.stores.config.topic, tail).await?;
        collect::late_tombstones(&mut reader, notes).await?;
        let mut after = 0;
        loop {
            let page = notes.page(after, IDS_PER_PAGE, true).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.row;
            let mut differences = Vec::new();
            for (noted, place) in self.judge_page(page).await? {
                counts.place(place, &noted, &mut differences);
            }
            notes.add_differences(&differences).await?;
        }
    }

    /// Judges the ids of a page of which something is expected.
    async fn judge_page(&self, page: Vec<Noted>) -> Result<Vec<(Noted, Place)>> {
        let is_asked = |noted: &Noted| {
            if self.is_all() { noted.evidence.is_expected() } else { noted.evidence.is_stored() }
        };
        let page: Vec<Noted> = page.into_iter().filter(is_asked).collect();
        let ids: Vec<_> = page.iter().map(|noted| noted.id).collect();
        let rows = self.sink.find(&ids).await?;
        // After the sink was asked: a purge notes the id before it deletes the row.
        let purged = self.ledger.suppressed_among(&ids).await?;
        let judged = page.into_iter().map(|noted| {
            let place = noted.evidence.judge(InSink::of(noted.id, &rows), purged.contains(&noted.id));
            (noted, place)
        });
        Ok(judged.collect())
    }
}

type Ranges = BTreeMap<crate::bus::Partition, Watermarks>;

/// The ranges without what has expired meanwhile.
fn readable(ranges: &Ranges, survey: &Survey) -> Ranges {
    let left = |(partition, range): (&i32, &Watermarks)| {
        let low = survey.get(partition)?.marks.low;
        Some((*partition, Watermarks { low: range.low.max(low), ..*range }))
    };
    ranges.iter().filter_map(left).collect()
}

impl Counts {
    /// Counts an id of which something is expected, in the hops before the sink.
    fn hops(&mut self, evidence: &Evidence, is_foreign: bool) {
        let add = |count: &mut Option<u64>, is_one: bool| {
            if let Some(count) = count {
                *count += u64::from(is_one);
            }
        };
        add(&mut self.ledger, evidence.is_stored());
        add(&mut self.expired, evidence.is_gone_by_expiry());
        add(&mut self.foreign, is_foreign);
        self.bus += u64::from(evidence.records > 0);
        self.copies += evidence.copies;
    }

    /// Counts an id in its place, and notes it where that is not the last one.
    fn place(&mut self, place: Place, noted: &Noted, differences: &mut Vec<(Rank, &'static str, uuid::Uuid)>) {
        let (count, rank, how) = match place {
            Place::Sink => (&mut self.sink, None, ""),
            Place::DeadLetters => (&mut self.dead_letters, None, ""),
            Place::Purged => (&mut self.purged, None, ""),
            Place::Deleted => (&mut self.deleted, None, ""),
            Place::InFlight => (&mut self.in_flight, Some(Rank::InFlight), ""),
            Place::Waiting => (&mut self.waiting, Some(Rank::Waiting), ""),
            Place::Hole(hole) => (&mut self.holes, Some(Rank::Hole), hole.word()),
            // Counted and noted with its record.
            Place::Undecodable => return,
        };
        *count += 1;
        differences.extend(rank.map(|rank| (rank, how, noted.id)));
    }
}
