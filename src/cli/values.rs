//! Values that are more than a word: rates and start offsets.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::bus::StartAt;
use crate::record::Timestamp;

/// Users per time: `10/s`, `600/m`, `2/h`; a bare number is per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// Users per second.
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// The time in which `count` users are due.
    pub fn time_for(self, count: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a rate is no exact science beyond 2^52 users")]
        Duration::from_secs_f64(count as f64 / self.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            other => return Err(format!("unknown unit `{other}`; write 10/s, 600/m or 2/h")),
        };
        match number.trim().parse::<f64>() {
            Ok(n) if n.is_finite() && n > 0.0 && n / seconds >= 1e-6 => Ok(Self(n / seconds)),
            _ => Err(format!("`{number}` is no positive number; write 10/s, 600/m or 2/h")),
        }
    }
}

/// Where to start reading, as `--offset` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartOffset(pub StartAt);

impl FromStr for StartOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "stored" => StartAt::Stored,
            "beginning" | "earliest" => StartAt::Beginning,
            "end" | "latest" => StartAt::End,
            _ => StartAt::Time(
                text.strip_prefix('@')
                    .ok_or("write beginning, end, stored or @TIME (@2026-11-21T14:00:00Z, or @ and milliseconds)")
                    .map(time_of)??,
            ),
        }))
    }
}

fn time_of(text: &str) -> Result<Timestamp, String> {
    match text.parse::<i64>() {
        Ok(ms) => Timestamp::from_unix_ms(ms).ok_or_else(|| format!("{ms} ms is outside the years 0 to 9999")),
        Err(_) => text.parse(),
    }
}

/// A cron expression: minute, hour, day of month, month, day of week.
#[derive(Clone, Debug)]
pub struct CronExpression(pub Cron);

impl FromStr for CronExpression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cron = Cron::from_str(text).map_err(|error| format!("{error}; write five fields, as in '0 6 * * *'"))?;
        // What never comes is a mistake (30 February), and would wait without a word.
        cron.find_next_occurrence(&jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), false)
            .map_err(|_| "there is no such time".to_owned())?;
        Ok(Self(cron))
    }
}

/// A time zone of the IANA database that the program brings along, so that its rules do not depend on the machine.
#[derive(Clone, Debug)]
pub struct Zone(pub TimeZone);

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let zone = TimeZoneDatabase::bundled().get(name);
        zone.map(Self).map_err(|_| "no time zone of the IANA database, as in Europe/Berlin".to_owned())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        assert_eq!("10/s".parse::<Rate>().map(Rate::per_second), Ok(10.0));
        assert_eq!("600/m".parse::<Rate>().map(Rate::per_second), Ok(10.0));
        assert_eq!("5".parse::<Rate>().map(Rate::per_second), Ok(5.0));
        assert_eq!("10/s".parse::<Rate>().map(|r| r.time_for(25)), Ok(Duration::from_millis(2500)));
        for bad in ["", "0/s", "-1/s", "x", "1/day", "inf", "NaN/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn offsets_are_words_or_times() {
        assert_eq!("beginning".parse(), Ok(StartOffset(StartAt::Beginning)));
        assert_eq!("latest".parse(), Ok(StartOffset(StartAt::End)));
        let at = Timestamp::from_unix_ms(1_700_000_000_000).expect("in range");
        assert_eq!("@1700000000000".parse(), Ok(StartOffset(StartAt::Time(at))));
        assert_eq!("@2023-11-14T22:13:20Z".parse(), Ok(StartOffset(StartAt::Time(at))));
        assert!("5".parse::<StartOffset>().is_err());
        assert!("@soon".parse::<StartOffset>().is_err());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in ["", "* * *", "61 * * * *", "0 0 30 2 *", "every minute"] {
            let refused = wrong.parse::<CronExpression>();
            assert!(refused.is_err(), "{wrong}: {refused:?}");
        }
        assert!("*/5 9-17 * * MON-FRI".parse::<CronExpression>().is_ok());
    }

    #[test]
    fn zones_are_known_by_their_names_of_today_and_of_old() {
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "US/Pacific", "EST5EDT", "Etc/GMT-14"] {
            assert_eq!(name.parse::<Zone>().map(|zone| zone.to_string()), Ok(name.to_owned()));
        }
        for wrong in ["", "Mars/Olympus", "CET-1CEST", "+02:00", "../etc/passwd"] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
        }
    }
}
