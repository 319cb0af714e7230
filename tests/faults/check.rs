//! The invariants, by id set.
//!
//! - (a) every id that was accepted is in the sink or in the dead letters, and what the ledger marks is where it says
//! - (b) no id is in the sink twice
//! - (c) what is committed is durable
//! - (d) a command that ended with 0 left nothing behind: each case says so with `expect_code(0)` before its check
//! - (e) memory stays bounded
//! - (f) no secret is in any output

use std::collections::{BTreeMap, BTreeSet};

use crate::bus::Placed;
use crate::stores::Stored;
use crate::world::World;

/// The most memory a process of a debug build may ever have: its own 40 MiB, and 10,000 records in flight.
const RESIDENT_BYTES_MAX: u64 = 128 << 20;

/// What is where, at one moment.
struct Picture {
    committed: BTreeMap<i32, i64>,
    sink: Vec<String>,
    rows: BTreeSet<String>,
    topic: Vec<Placed>,
    /// Places on the topic whose record is a dead letter.
    dead: BTreeSet<(i32, i64)>,
    letters: Vec<Placed>,
}

impl Picture {
    /// Reads what is committed first: what is durable can only have become more since.
    fn take(world: &World) -> Self {
        let bus = world.bus();
        let committed = bus.committed(&world.group, &world.topic);
        let sink = world.sink.ids(&world.handle());
        let letters = bus.read(&format!("{}.dead-letters", world.topic));
        let topic = bus.read(&world.topic);
        Self {
            committed,
            rows: sink.iter().cloned().collect(),
            sink,
            topic,
            dead: letters.iter().map(place_of).collect(),
            letters,
        }
    }

    /// Every dead letter is the untouched record, and says why it is one.
    fn check_letters(&self, topic: &str) {
        let source: BTreeMap<_, _> = self.topic.iter().map(|r| ((r.partition, r.offset), r)).collect();
        for letter in &self.letters {
            assert_eq!(letter.header("userpipe.topic"), Some(topic), "{letter:?}");
            assert!(letter.header("userpipe.error").is_some_and(|reason| !reason.is_empty()), "{letter:?}");
            let record = source[&place_of(letter)];
            assert!(letter.key == record.key && letter.value == record.value, "{letter:?} was {record:?}");
        }
    }

    /// Whether the sink or the dead letters have a record. A tombstone leaves nothing in the sink.
    fn has(&self, record: &Placed) -> bool {
        let is_written = record.key.as_ref().is_some_and(|key| self.rows.contains(key) == record.value.is_some());
        is_written || self.dead.contains(&(record.partition, record.offset))
    }
}

/// The place on the topic that a dead letter names.
fn place_of(letter: &Placed) -> (i32, i64) {
    let number = |name: &str| letter.header(name).and_then(|text| text.parse::<i64>().ok());
    let partition = number("userpipe.partition").and_then(|n| i32::try_from(n).ok());
    (partition.expect("a dead letter names its partition"), number("userpipe.offset").expect("and its offset"))
}

impl World {
    /// (c): every record below the committed offsets is in the sink or in the dead letters. For the moment after a kill.
    pub(crate) fn check_committed(&self) {
        let picture = Picture::take(self);
        let is_behind = |record: &&Placed| picture.committed.get(&record.partition).is_some_and(|o| record.offset < *o);
        let ahead: Vec<_> = picture.topic.iter().filter(is_behind).filter(|record| !picture.has(record)).collect();
        self.tally().lost = ahead.len();
        assert!(ahead.is_empty(), "{} records are committed and nowhere, as {:?}", ahead.len(), ahead.first());
    }

    /// All invariants, once everything should have arrived; `dead` records became dead letters.
    pub(crate) fn check(&mut self, dead: usize) {
        let picture = Picture::take(self);
        let stored = if self.is_topic_replaced { Vec::new() } else { self.ledger.rows(&self.topic, &self.handle()) };
        let accepted: BTreeSet<&String> = self.sent.iter().chain(stored.iter().map(|row| &row.id)).collect();
        let dead_ids: BTreeSet<&String> = picture.letters.iter().filter_map(|letter| letter.key.as_ref()).collect();
        let mut lost: BTreeSet<String> = accepted
            .iter()
            .filter(|id| !picture.rows.contains(**id) && !dead_ids.contains(*id))
            .map(|id| (*id).clone())
            .collect();
        for record in picture.topic.iter().filter(|record| !picture.has(record)) {
            lost.insert(record.key.clone().unwrap_or_else(|| format!("{record:?}")));
        }
        let keys: BTreeSet<_> = picture.topic.iter().filter_map(|record| record.key.as_ref()).collect();
        let (lost_count, doubled) = (lost.len(), picture.sink.len() - picture.rows.len());
        {
            let mut tally = self.tally();
            tally.records = keys.iter().chain(&accepted).collect::<BTreeSet<_>>().len();
            tally.lost = lost_count;
            tally.doubled = doubled;
            tally.copies = picture.topic.len() - keys.len();
            tally.resident_bytes = self.resident_bytes();
        }
        assert_eq!(lost_count, 0, "lost, as {:?}", lost.first());
        assert_eq!(doubled, 0, "ids that are in the sink twice");
        assert_eq!(picture.dead.len(), dead, "records that became dead letters ({} letters)", picture.letters.len());
        picture.check_letters(&self.topic);
        self.check_committed();
        Self::check_marks(&picture.topic, &stored);
        self.check_outputs();
        let most = self.resident_bytes();
        assert!(most < RESIDENT_BYTES_MAX, "a process had {} MiB", most >> 20);
    }

    /// Every row of the outbox is marked, and the topic has the user where the mark says.
    fn check_marks(topic: &[Placed], stored: &[Stored]) {
        let places: BTreeMap<_, _> =
            topic.iter().map(|record| ((record.partition, record.offset), record.key.as_deref())).collect();
        for row in stored {
            let place = row.place.unwrap_or_else(|| panic!("{} was never marked", row.id));
            assert_eq!(places.get(&place).copied().flatten(), Some(row.id.as_str()), "at {place:?}");
        }
    }

    /// (f)
    fn check_outputs(&self) {
        for secret in &self.secrets {
            let telling = self.outputs.iter().find(|output| output.contains(secret));
            assert!(telling.is_none(), "a secret was printed: {telling:?}");
        }
    }
}
