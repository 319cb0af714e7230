//! A point in time with millisecond precision, as the API, Kafka and Cassandra have it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime};

/// Milliseconds since the Unix epoch, UTC.
///
/// On the wire it is RFC 3339 with exactly three decimals: `2026-11-21T14:00:00.123Z`. When read, any RFC 3339
/// offset is accepted, and a date without a zone is UTC (decided in the design: demo producers send such dates).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z: what RFC 3339 can write.
const RANGE_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Bytes of a date as we write it.
pub(super) const WRITTEN_BYTES: usize = 24;
const DAY_MS: i64 = 86_400_000;
/// The Julian day of 1970-01-01, from which the `time` crate counts.
const EPOCH_JULIAN_DAY: i32 = 2_440_588;

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
        if let Some(at) = as_written(text) {
            return Ok(at);
        }
        let text = text.trim();
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| without_zone(text));
        // An offset can carry a date past the range, which `time` panics on when converted; milliseconds cannot.
        parsed
            .and_then(|at| Self::from_unix_ms(unix_ms(at)))
            .ok_or_else(|| format!("`{}` is no RFC 3339 date", shorten(text)))
    }
}

/// Exactly what [`Timestamp`] writes, and the API: `YYYY-MM-DDTHH:MM:SS.mmmZ`. Nearly all dates are such, and the general
/// parser takes twice as long; whatever is not, leap seconds among it, is left to that.
pub(super) fn as_written(text: &str) -> Option<Timestamp> {
    let date: &[u8; WRITTEN_BYTES] = text.as_bytes().try_into().ok()?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', time @ ..] = date else { return None };
    let [h0, h1, b':', min0, min1, b':', s0, s1, b'.', ms0, ms1, ms2, b'Z'] = time else { return None };
    let month = Month::try_from(u8::try_from(number(&[*m0, *m1])?).ok()?).ok()?;
    let day = u8::try_from(number(&[*d0, *d1])?).ok()?;
    let date = Date::from_calendar_date(number(&[*y0, *y1, *y2, *y3])?, month, day).ok()?;
    let (hour, minute, second) = (number(&[*h0, *h1])?, number(&[*min0, *min1])?, number(&[*s0, *s1])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let ms = ((hour * 60 + minute) * 60 + second) * 1000 + number(&[*ms0, *ms1, *ms2])?;
    Some(Timestamp(i64::from(date.to_julian_day() - EPOCH_JULIAN_DAY) * DAY_MS + i64::from(ms)))
}

/// What these digits say; `None` where one is no digit.
fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i32::from(digit - b'0')))
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

impl Timestamp {
    /// As it is written. Digit by digit, since this is done three times a record, and `write!` with padding was half of what
    /// encoding one cost.
    pub(super) fn written(self) -> [u8; WRITTEN_BYTES] {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let day = i32::try_from(self.0.div_euclid(DAY_MS)).unwrap_or_default();
        let ms = u32::try_from(self.0.rem_euclid(DAY_MS)).unwrap_or_default();
        let date = Date::from_julian_day(EPOCH_JULIAN_DAY + day).unwrap_or(Date::MIN);
        let (year, month, day) = date.to_calendar_date();
        put(&mut text[..4], year.unsigned_abs());
        put(&mut text[5..7], u8::from(month).into());
        put(&mut text[8..10], day.into());
        put(&mut text[11..13], ms / 3_600_000);
        put(&mut text[14..16], ms / 60_000 % 60);
        put(&mut text[17..19], ms / 1000 % 60);
        put(&mut text[20..23], ms % 1000);
        text
    }
}

/// Writes a number with leading zeros, as many digits as there is room for.
fn put(room: &mut [u8], mut number: u32) {
    for place in room.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.written()).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.written()).map_err(S::Error::custom)?)
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

    /// How it is read where the fast path does not know better.
    fn by_the_general_parser(text: &str) -> Option<Timestamp> {
        OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|at| Timestamp::from_unix_ms(unix_ms(at)))
    }

    #[test]
    fn the_fast_way_of_reading_knows_the_calendar() {
        for text in [
            "1900-02-29T00:00:00.000Z",
            "2023-02-29T00:00:00.000Z",
            "2024-04-31T00:00:00.000Z",
            "2024-00-01T00:00:00.000Z",
            "2024-13-01T00:00:00.000Z",
            "2024-01-00T00:00:00.000Z",
            "2024-01-01T24:00:00.000Z",
            "2024-01-01T00:60:00.000Z",
            "2024-06-30T23:59:61.000Z",
            "2024-01-01T00:00:00.00:Z",
            "2024-01-01 00:00:00.000Z",
            "+024-01-01T00:00:00.000Z",
        ] {
            assert_eq!(as_written(text), None, "{text}");
            assert_eq!(text.parse().ok(), by_the_general_parser(text), "{text}");
        }
        for text in ["2000-02-29T00:00:00.000Z", "0000-02-29T23:59:59.999Z", "9999-12-31T23:59:59.999Z"] {
            assert_eq!(as_written(text), by_the_general_parser(text), "{text}");
            assert!(as_written(text).is_some(), "{text}");
        }
        // A leap second is the general parser's.
        assert_eq!(as_written("2016-12-31T23:59:60.000Z"), None);
        assert_eq!(
            "2016-12-31T23:59:60.000Z".parse::<Timestamp>().map(|at| at.to_string()).as_deref(),
            Ok("2016-12-31T23:59:59.999Z")
        );
    }

    proptest! {
        #[test]
        fn both_ways_of_reading_agree(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9][.][0-9]{3}Z") {
            let fast = as_written(&text);
            prop_assert_eq!(text.parse().ok(), by_the_general_parser(&text));
            prop_assert!(fast.is_none() || fast == by_the_general_parser(&text));
        }

        #[test]
        fn the_fast_way_of_reading_takes_nothing_that_the_general_one_refuses(
            at in 0_usize..24, byte in any::<u8>(), ms in RANGE_MS,
        ) {
            let mut text = Timestamp(ms).written();
            text[at] = byte;
            if let Ok(text) = std::str::from_utf8(&text) && let Some(read) = as_written(text) {
                prop_assert_eq!(Some(read), by_the_general_parser(text));
            }
        }

        #[test]
        fn it_is_written_as_the_calendar_says(ms in RANGE_MS) {
            let at = Timestamp(ms);
            let (year, month, day) = at.to_datetime().to_calendar_date();
            let (hour, minute, second, ms) = at.to_datetime().to_hms_milli();
            let month = u8::from(month);
            let expected = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
            prop_assert_eq!(at.to_string(), expected);
            prop_assert_eq!(serde_json::to_string(&at).ok(), Some(format!("\"{at}\"")));
        }

        #[test]
        fn writing_and_reading_is_the_identity(ms in RANGE_MS) {
            let at = Timestamp::from_unix_ms(ms).ok_or(TestCaseError::reject("range"))?;
            prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        }
    }
}
