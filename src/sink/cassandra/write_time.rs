//! The write time of a change, in microseconds: Cassandra keeps the cell with the higher one.

use crate::record::Timestamp;

/// What the age of a record counts in a rewrite. A record of last year is written eight minutes before the present, and two
/// records of one person that are 66 ms apart still have write times of their own.
const AGE_DIVISOR: i64 = 65_536;

/// How write times are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteTimes {
    /// The record's own time: a replay changes no cell.
    Own,
    /// The present (this one), so that a replay through other expressions changes the cells that are there.
    ///
    /// With the present alone the record that comes last would win, whichever that is. So the order of the records' own
    /// times is kept: each is written before the present by a small part of its age. That is still later than every
    /// earlier write of it, an earlier rewrite too, and earlier than every record that is fetched from now on.
    Rewrite(Timestamp),
}

impl WriteTimes {
    /// The write time of a record, or of a tombstone, of this time.
    pub(super) fn of(self, own: Timestamp) -> i64 {
        let own_us = own.unix_us();
        match self {
            Self::Own => own_us,
            Self::Rewrite(present) => {
                let age_us = present.unix_us().saturating_sub(own_us);
                // One that is ahead of the clock has to win against itself.
                if age_us > 0 { present.unix_us() - age_us / AGE_DIVISOR } else { own_us.saturating_add(1) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms).expect("in range")
    }

    #[test]
    fn a_rewrite_is_of_the_present() {
        let present = at(1_790_000_000_000);
        let a_year_before = at(1_790_000_000_000 - 365 * 86_400_000);
        let written = WriteTimes::Rewrite(present).of(a_year_before);
        let minutes_before = (present.unix_us() - written) / 60_000_000;
        assert_eq!((minutes_before, WriteTimes::Own.of(present)), (8, present.unix_us()));
    }

    proptest! {
        #[test]
        fn a_rewrite_wins_against_what_was_written_and_the_newest_record_among_the_rewritten(
            own in 0_i64..1_800_000_000_000, newer_by in 66_i64..1_000_000_000, earlier in 0_i64..1_000_000_000,
        ) {
            let present = 1_795_000_000_000;
            let rewrite = WriteTimes::Rewrite(at(present));
            let written = rewrite.of(at(own));
            prop_assert!(written > WriteTimes::Own.of(at(own)));
            prop_assert!(written < rewrite.of(at(own + newer_by)));
            if own < present - earlier {
                let before = WriteTimes::Rewrite(at(present - earlier - 1)).of(at(own));
                prop_assert!(written > before, "an earlier rewrite");
            }
        }
    }
}
