//! Where one id is, judged by everything that was found of it. Pure: the rules of `verify` and `trace` in one place.

use uuid::Uuid;

use crate::record::Timestamp;
use crate::sink::Found;

/// What was found of one id, from the ledger to the dead letters.
#[expect(clippy::struct_excessive_bools, reason = "observations of several rows, any of which may hold together")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// A ledger row that was never marked as sent.
    pub is_waiting: bool,
    /// A ledger row whose place on the topic is among those that were read.
    pub is_placed: bool,
    /// A ledger row whose place is on the topic no more.
    pub is_expired: bool,
    /// A ledger row that was sent after the cut.
    pub is_beyond: bool,
    /// A ledger row that was stored after the cut: the id is known, and nothing is expected of it.
    pub is_later: bool,
    /// Records of the id on the topic, up to the cut.
    pub records: u64,
    /// Those of them that repeat another: the same id and the same time.
    pub copies: u64,
    /// The newest time of the records that the group has committed and that are no dead letters: what the sink owes.
    pub owed_at: Option<Timestamp>,
    /// Some of its records are dead letters.
    pub is_dead: bool,
    /// The group has not committed all of its records.
    pub is_in_flight: bool,
    /// The filter drops some of its records that the group has committed.
    pub is_filtered: bool,
    /// The newest tombstone of the id.
    pub deleted_at: Option<Timestamp>,
    /// A dead letter has the id as its key.
    pub letter: Letter,
    /// What is in its place on the topic, where none of its records is on the topic.
    pub slot: Slot,
}

/// A dead letter with the id as its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Letter {
    /// There is none.
    #[default]
    None,
    /// Of a record of our topic.
    Placed,
    /// It does not say which record it is of.
    Unplaced,
}

/// What is in the place of a record that is not on the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Nothing.
    #[default]
    Empty,
    /// Another record, or none that was left in time: the topic was recreated or cut since.
    Taken,
    /// The record of this id, which cannot be decoded.
    Undecodable,
}

/// What the sink has of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InSink {
    /// No row.
    Nothing,
    /// A row that does not tell the time of its record.
    Untimed,
    /// A row with the record of this time.
    Of(Timestamp),
}

impl InSink {
    /// What was found of this id.
    pub fn of(id: Uuid, found: &Found) -> Self {
        found.get(&id).map_or(Self::Nothing, |time| time.map_or(Self::Untimed, Self::Of))
    }
}

/// Where an id is in the end. Every id is in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the sink, as new as the newest record that the group has committed.
    Sink,
    /// In the dead letters.
    DeadLetters,
    /// The filter dropped it.
    Filtered,
    /// It was purged.
    Purged,
    /// A newer tombstone deleted it.
    Deleted,
    /// On the topic, where the group has not committed it yet.
    InFlight,
    /// In the outbox, never acknowledged.
    Waiting,
    /// Its record cannot be decoded; where that is, is told of the record.
    Undecodable,
    /// Nowhere.
    Hole(Hole),
}

/// How an id was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hole {
    /// The group has committed its record, and neither the sink nor the dead letters have it.
    Missing,
    /// The sink has an older record of it than the group has committed.
    Stale,
    /// The topic no longer has its record, and neither the sink nor the dead letters have it.
    Expired,
    /// Its record is not on the topic, although nothing around it has expired.
    Gone,
    /// Its record cannot be decoded, the group has committed it, and it is not in the dead letters.
    Undecodable,
}

impl Hole {
    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::Undecodable => "undecodable",
        }
    }

    /// What it means, for a person.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Missing => "its record is committed, and neither in the sink nor in the dead letters",
            Self::Stale => "the sink has an older record than the one that is committed",
            Self::Expired => {
                "its record has expired from the topic, and is neither in the sink nor in the dead letters"
            }
            Self::Gone => "its record is not on the topic, although nothing around it has expired",
            Self::Undecodable => "its record cannot be decoded, is committed, and is not in the dead letters",
        }
    }
}

impl Evidence {
    /// Whether the ledger stored it before the cut.
    pub fn is_stored(&self) -> bool {
        self.is_waiting || self.is_placed || self.is_expired || self.is_beyond
    }

    /// Whether the ledger knows it at all.
    pub fn is_known(&self) -> bool {
        self.is_stored() || self.is_later
    }

    /// Whether something is expected of it: it was stored before the cut, or is on the topic before its end.
    pub fn is_expected(&self) -> bool {
        self.is_stored() || self.records > 0
    }

    /// Whether none of its records is on the topic any more, and that is as it should be.
    pub fn is_gone_by_expiry(&self) -> bool {
        let was_replaced = self.is_placed && self.slot == Slot::Taken;
        self.records == 0 && (self.is_expired || was_replaced)
    }

    /// Judges, given what the sink has.
    pub fn judge(&self, row: InSink, is_purged: bool) -> Place {
        if is_purged {
            return Place::Purged;
        }
        let is_absent = self.is_placed && self.records == 0;
        if is_absent && self.slot == Slot::Undecodable {
            return Place::Undecodable;
        }
        let is_lost_on_bus = is_absent && self.slot == Slot::Empty && self.deleted_at.is_none();
        if row != InSink::Nothing {
            if is_lost_on_bus {
                return Place::Hole(Hole::Gone);
            }
            let is_stale = matches!((row, self.owed_at), (InSink::Of(has), Some(owed)) if has < owed);
            if !is_stale {
                return self.on_its_way().unwrap_or(Place::Sink);
            }
            let was_deleted = self.deleted_at >= self.owed_at;
            return if was_deleted { Place::Deleted } else { Place::Hole(Hole::Stale) };
        }
        if let Some(owed_at) = self.owed_at {
            return match self.letter {
                _ if self.deleted_at.is_some_and(|at| at >= owed_at) => Place::Deleted,
                Letter::Unplaced => Place::DeadLetters,
                Letter::None | Letter::Placed => Place::Hole(Hole::Missing),
            };
        }
        if is_lost_on_bus {
            return Place::Hole(Hole::Gone);
        }
        if let Some(place) = self.on_its_way() {
            return place;
        }
        if self.is_dead || self.letter != Letter::None {
            return Place::DeadLetters;
        }
        if self.is_filtered {
            return Place::Filtered;
        }
        if self.deleted_at.is_some() { Place::Deleted } else { Place::Hole(Hole::Expired) }
    }

    /// Something of it is still to come.
    fn on_its_way(&self) -> Option<Place> {
        if self.is_in_flight || self.is_beyond {
            Some(Place::InFlight)
        } else {
            self.is_waiting.then_some(Place::Waiting)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms).expect("in range")
    }

    /// A user of the ledger whose record the group has committed.
    fn delivered() -> Evidence {
        Evidence { is_placed: true, records: 1, owed_at: Some(at(5)), ..Evidence::default() }
    }

    #[test]
    fn what_is_committed_is_in_the_sink_or_explained() {
        let row = |ms| InSink::Of(at(ms));
        assert_eq!(delivered().judge(row(5), false), Place::Sink);
        assert_eq!(delivered().judge(row(9), false), Place::Sink, "a newer one came from elsewhere");
        assert_eq!(delivered().judge(InSink::Untimed, false), Place::Sink, "the table keeps no time");
        assert_eq!(delivered().judge(row(4), false), Place::Hole(Hole::Stale));
        assert_eq!(delivered().judge(InSink::Nothing, false), Place::Hole(Hole::Missing));
        assert_eq!(delivered().judge(InSink::Nothing, true), Place::Purged);
        let deleted = |ms| Evidence { deleted_at: Some(at(ms)), ..delivered() };
        assert_eq!(deleted(5).judge(InSink::Nothing, false), Place::Deleted);
        assert_eq!(
            deleted(4).judge(InSink::Nothing, false),
            Place::Hole(Hole::Missing),
            "written again after the tombstone"
        );
        assert_eq!(deleted(6).judge(row(4), false), Place::Deleted, "an older record came back after it");
    }

    #[test]
    fn a_dead_letter_excuses_its_own_record_and_no_other() {
        let dead = Evidence { owed_at: None, is_dead: true, letter: Letter::Placed, ..delivered() };
        assert_eq!(dead.judge(InSink::Nothing, false), Place::DeadLetters);
        assert_eq!(dead.judge(InSink::Of(at(1)), false), Place::Sink, "an earlier record of it was written");
        let also_lost = Evidence { owed_at: Some(at(5)), records: 2, ..dead };
        assert_eq!(also_lost.judge(InSink::Nothing, false), Place::Hole(Hole::Missing));
        let unplaced = Evidence { letter: Letter::Unplaced, ..delivered() };
        assert_eq!(unplaced.judge(InSink::Nothing, false), Place::DeadLetters);
    }

    #[test]
    fn what_the_filter_drops_is_owed_by_nobody_and_excuses_no_other_record() {
        let filtered = Evidence { owed_at: None, is_filtered: true, ..delivered() };
        assert_eq!(filtered.judge(InSink::Nothing, false), Place::Filtered);
        assert_eq!(filtered.judge(InSink::Of(at(1)), false), Place::Sink, "an earlier record was let through");
        assert_eq!(Evidence { is_dead: true, ..filtered }.judge(InSink::Nothing, false), Place::DeadLetters);
        assert_eq!(Evidence { is_in_flight: true, ..filtered }.judge(InSink::Nothing, false), Place::InFlight);
        let also_lost = Evidence { owed_at: Some(at(5)), records: 2, ..filtered };
        assert_eq!(also_lost.judge(InSink::Nothing, false), Place::Hole(Hole::Missing));
    }

    #[test]
    fn what_is_to_come_is_no_hole_but_a_committed_record_of_it_may_be() {
        let in_flight = Evidence { owed_at: None, is_in_flight: true, ..delivered() };
        assert_eq!(in_flight.judge(InSink::Nothing, false), Place::InFlight);
        assert_eq!(in_flight.judge(InSink::Of(at(5)), false), Place::InFlight);
        let with_a_lost_one = Evidence { records: 2, owed_at: Some(at(5)), ..in_flight };
        assert_eq!(with_a_lost_one.judge(InSink::Nothing, false), Place::Hole(Hole::Missing));
        let waiting = Evidence { is_waiting: true, ..Evidence::default() };
        assert_eq!(waiting.judge(InSink::Nothing, false), Place::Waiting);
        let beyond = Evidence { is_beyond: true, ..Evidence::default() };
        assert_eq!(beyond.judge(InSink::Nothing, false), Place::InFlight);
        assert_eq!(
            Evidence { is_waiting: true, ..delivered() }.judge(InSink::Untimed, false),
            Place::Waiting,
            "another run"
        );
    }

    #[test]
    fn a_record_that_has_expired_is_looked_for_in_the_sink_alone() {
        let expired = Evidence { is_expired: true, ..Evidence::default() };
        assert!(expired.is_gone_by_expiry());
        assert_eq!(expired.judge(InSink::Of(at(1)), false), Place::Sink);
        assert_eq!(expired.judge(InSink::Nothing, false), Place::Hole(Hole::Expired));
        assert_eq!(Evidence { letter: Letter::Placed, ..expired }.judge(InSink::Nothing, false), Place::DeadLetters);
        assert_eq!(Evidence { deleted_at: Some(at(0)), ..expired }.judge(InSink::Nothing, false), Place::Deleted);
    }

    #[test]
    fn a_place_on_the_topic_without_its_record_is_explained_by_what_is_there() {
        let absent = Evidence { is_placed: true, ..Evidence::default() };
        assert_eq!(absent.judge(InSink::Nothing, false), Place::Hole(Hole::Gone));
        assert_eq!(absent.judge(InSink::Untimed, false), Place::Hole(Hole::Gone), "the bus has lost it all the same");
        let recreated = Evidence { slot: Slot::Taken, ..absent };
        assert!(recreated.is_gone_by_expiry());
        assert_eq!(recreated.judge(InSink::Untimed, false), Place::Sink);
        assert_eq!(recreated.judge(InSink::Nothing, false), Place::Hole(Hole::Expired));
        let broken = Evidence { slot: Slot::Undecodable, ..absent };
        assert_eq!(broken.judge(InSink::Nothing, false), Place::Undecodable);
        let compacted = Evidence { deleted_at: Some(at(3)), ..absent };
        assert_eq!(compacted.judge(InSink::Nothing, false), Place::Deleted, "only its tombstone is left");
    }

    #[test]
    fn nothing_is_expected_of_what_was_stored_after_the_cut() {
        let later = Evidence { is_later: true, ..Evidence::default() };
        assert!(later.is_known() && !later.is_expected());
        assert!(Evidence { records: 1, ..later }.is_expected(), "on the topic it is");
        assert!(!Evidence { records: 1, ..Evidence::default() }.is_known(), "foreign");
    }
}
