//! A point in time with millisecond precision, as the API, Kafka and Cassandra have it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

/// Milliseconds since the Unix epoch, UTC.
///
/// On the wire it is RFC 3339 with exactly three decimals: `2026-11-21T14:00:00.123Z`. When read, any RFC 3339
/// offset is accepted, and a date without a zone is UTC (decided in the design: demo producers send such dates).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z: what RFC 3339 can write.
const RANGE_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

impl Timestamp {
    /// From milliseconds since the epoch; `None` outside the years 0 to 9999.
    pub fn from_unix_ms(ms: i64) -> Option<Self> {
        RANGE_MS.contains(&ms).then_some(Self(ms))
    }

    /// From milliseconds since the epoch; the nearest end of the range for what lies outside of it.
    pub fn saturating_from_unix_ms(ms: i64) -> Self {
        Self(ms.clamp(*RANGE_MS.start(), *RANGE_MS.end()))
    }

    /// The present, truncated to milliseconds.
    pub fn now() -> Self {
        Self(unix_ms(OffsetDateTime::now_utc()))
    }

    /// This long before the present.
    pub fn ago(time: std::time::Duration) -> Self {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self::saturating_from_unix_ms(Self::now().0.saturating_sub(ms))
    }

    /// This long after this time.
    #[must_use]
    pub fn after(self, time: std::time::Duration) -> Self {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self::saturating_from_unix_ms(self.0.saturating_add(ms))
    }

    /// Milliseconds since the epoch.
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// Microseconds since the epoch: Cassandra's unit for `USING TIMESTAMP`.
    pub fn unix_us(self) -> i64 {
        self.0 * 1000
    }

    /// From the `time` crate's, truncated to milliseconds.
    pub fn from_datetime(at: OffsetDateTime) -> Self {
        Self::saturating_from_unix_ms(unix_ms(at))
    }

    /// As the `time` crate has it.
    pub fn to_datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

fn unix_ms(at: OffsetDateTime) -> i64 {
    at.unix_timestamp() * 1000 + i64::from(at.millisecond())
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| without_zone(text));
        // An offset can carry a date past the range, which `time` panics on when converted; milliseconds cannot.
        parsed
            .and_then(|at| Self::from_unix_ms(unix_ms(at)))
            .ok_or_else(|| format!("`{}` is no RFC 3339 date", shorten(text)))
    }
}

fn without_zone(text: &str) -> Option<OffsetDateTime> {
    let zoneless =
        format_description!("[year]-[month]-[day][first [T] [ ]][hour]:[minute]:[second][optional [.[subsecond]]]");
    let date_only = format_description!("[year]-[month]-[day]");
    PrimitiveDateTime::parse(text, zoneless)
        .or_else(|_| Date::parse(text, date_only).map(Date::midnight))
        .ok()
        .map(PrimitiveDateTime::assume_utc)
}

/// At most 40 characters of a bad value: enough to find it, not enough to flood a log.
fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.to_datetime();
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second, ms) = at.to_hms_milli();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", u8::from(month))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = super::Text::deserialize(deserializer)?;
        text.0.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_reads_what_producers_write() {
        let at = |text: &str| text.parse::<Timestamp>().map(|t| t.to_string());
        assert_eq!(at("1948-04-30T01:13:18.467Z").as_deref(), Ok("1948-04-30T01:13:18.467Z"));
        assert_eq!(at("2021-03-10T18:22:35Z").as_deref(), Ok("2021-03-10T18:22:35.000Z"));
        assert_eq!(at("2021-03-10T18:22:35+02:00").as_deref(), Ok("2021-03-10T16:22:35.000Z"));
        assert_eq!(at("2021-03-10T18:22:35.595123").as_deref(), Ok("2021-03-10T18:22:35.595Z"));
        assert_eq!(at("2021-03-10 18:22:35").as_deref(), Ok("2021-03-10T18:22:35.000Z"));
        assert_eq!(at(" 2021-03-10 ").as_deref(), Ok("2021-03-10T00:00:00.000Z"));
        assert_eq!(at("yesterday"), Err("`yesterday` is no RFC 3339 date".to_owned()));
        assert!(at("2021-13-10").is_err());
        assert!(at("").is_err());
    }

    #[test]
    fn the_range_is_what_rfc_3339_can_write() {
        assert_eq!(
            Timestamp::from_unix_ms(*RANGE_MS.end()).map(|t| t.to_string()).as_deref(),
            Some("9999-12-31T23:59:59.999Z")
        );
        assert_eq!(
            Timestamp::from_unix_ms(*RANGE_MS.start()).map(|t| t.to_string()).as_deref(),
            Some("0000-01-01T00:00:00.000Z")
        );
        assert_eq!(Timestamp::from_unix_ms(RANGE_MS.end() + 1), None);
        assert!("9999-12-31T23:59:59-01:00".parse::<Timestamp>().is_err());
    }

    proptest! {
        #[test]
        fn writing_and_reading_is_the_identity(ms in RANGE_MS) {
            let at = Timestamp::from_unix_ms(ms).ok_or(TestCaseError::reject("range"))?;
            prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        }
    }
}
