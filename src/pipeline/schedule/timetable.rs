//! When a run is due: slots that belong to the clock and not to the process, so that a restart, a suspended machine or
//! the change to summer time does not shift them, and every process of a pipeline has the same ones.

use std::time::Duration;

use croner::Cron;
use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::record::Timestamp;

/// The slots of a schedule.
#[derive(Clone, Debug)]
pub enum Timetable {
    /// Every multiple of so many milliseconds since the Unix epoch.
    Interval(i64),
    /// By the wall clock of a time zone. A time that the change to summer time leaves out is the first one after it; of
    /// one that comes twice the first is meant.
    Cron(Box<Cron>, TimeZone),
}

impl Timetable {
    /// Slots at every multiple of `interval` (at least a millisecond).
    pub fn every(interval: Duration) -> Self {
        Self::Interval(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1))
    }

    /// What started a run of it, as the ledger has it.
    pub fn trigger(&self) -> &'static str {
        match self {
            Self::Interval(_) => "interval",
            Self::Cron(..) => "cron",
        }
    }

    /// The last slot at or before this time, where there is one.
    pub fn current(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Interval(ms) => Timestamp::from_unix_ms(now.unix_ms().div_euclid(*ms) * ms),
            Self::Cron(cron, zone) => timestamp(&cron.find_previous_occurrence(&date(now, zone), true).ok()?),
        }
    }

    /// The first slot after this time, where there is one.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Interval(ms) => Timestamp::from_unix_ms((after.unix_ms().div_euclid(*ms) + 1).saturating_mul(*ms)),
            Self::Cron(cron, zone) => timestamp(&cron.find_next_occurrence(&date(after, zone), false).ok()?),
        }
    }

    /// The newest `limit` slots between two times, neither included; oldest first.
    pub fn between(&self, after: Timestamp, before: Timestamp, limit: usize) -> Vec<Timestamp> {
        let just_before = |time: Timestamp| Timestamp::saturating_from_unix_ms(time.unix_ms() - 1);
        let mut slots: Vec<_> = std::iter::successors(self.current(just_before(before)), |slot| {
            self.current(just_before(*slot)).filter(|earlier| earlier < slot)
        })
        .take_while(|slot| *slot > after)
        .take(limit)
        .collect();
        slots.reverse();
        slots
    }
}

fn date(at: Timestamp, zone: &TimeZone) -> Zoned {
    jiff::Timestamp::from_millisecond(at.unix_ms()).unwrap_or(jiff::Timestamp::MIN).to_zoned(zone.clone())
}

fn timestamp(at: &Zoned) -> Option<Timestamp> {
    Timestamp::from_unix_ms(at.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a date")
    }

    fn cron(expression: &str, zone: &str) -> Timetable {
        let zone = TimeZoneDatabase::bundled().get(zone).expect("a zone");
        Timetable::Cron(Box::new(expression.parse().expect("an expression")), zone)
    }

    fn upcoming(table: &Timetable, from: &str, count: usize) -> Vec<String> {
        let first = table.next(at(from));
        std::iter::successors(first, |slot| table.next(*slot)).take(count).map(|slot| slot.to_string()).collect()
    }

    #[test]
    fn intervals_are_multiples_since_the_epoch() {
        let minutes = Timetable::every(Duration::from_mins(1));
        let time = |ms| Timestamp::from_unix_ms(ms).expect("in range");
        assert_eq!(minutes.current(time(1_234_567)), Some(time(1_200_000)));
        assert_eq!(minutes.current(time(1_200_000)), Some(time(1_200_000)));
        assert_eq!(minutes.next(time(1_200_000)), Some(time(1_260_000)));
        assert_eq!(minutes.between(time(1_080_000), time(1_260_000), 9), [time(1_140_000), time(1_200_000)]);
        assert_eq!(minutes.between(time(0), time(1_260_000), 2), [time(1_140_000), time(1_200_000)], "the newest");
        assert_eq!(minutes.between(time(1_200_000), time(1_260_000), 9), []);
    }

    #[test]
    fn cron_follows_the_wall_clock_through_the_changes_of_summer_time() {
        let daily = cron("0 6 * * *", "Europe/Berlin");
        let expected = ["2026-03-28T05:00:00.000Z", "2026-03-29T04:00:00.000Z", "2026-03-30T04:00:00.000Z"];
        assert_eq!(upcoming(&daily, "2026-03-27T12:00:00Z", 3), expected);
        assert_eq!(daily.current(at("2026-03-29T04:30:00Z")), Some(at("2026-03-29T04:00:00Z")));

        // 02:30 does not exist on 29 March, and comes twice on 25 October.
        let night = cron("30 2 * * *", "Europe/Berlin");
        let spring = upcoming(&night, "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring, ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"], "run once, a little later");
        let autumn = upcoming(&night, "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"], "run once");
    }
}
