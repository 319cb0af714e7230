//! The records of a topic from somewhere on, those that match; and the newest ones.

use std::collections::BTreeMap;

use super::tap::{newest, width};
use crate::bus::observer::Observer;
use crate::bus::{AnyReader, Message, Offset, Partition, Reader, Watermarks};
use crate::error::{Error, Kind, Result};
use crate::pipeline::Stores;
use crate::record::Timestamp;

/// Where a scan begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the first record there is.
    Beginning,
    /// With the first record at or after this time, in each partition.
    Time(Timestamp),
    /// With this offset, in each partition.
    Offset(Offset),
    /// So many records before the end, shared among the partitions by what they hold.
    Newest(u64),
}

impl std::str::FromStr for From {
    type Err = Error;

    /// Reads `beginning`, `@TIME`, `OFFSET` or `-N`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::new(Kind::Usage, "bad place to scan from").hint("write beginning, @TIME, OFFSET or -N");
        if text == "beginning" {
            return Ok(Self::Beginning);
        }
        if let Some(time) = text.strip_prefix('@') {
            return time.parse().map(Self::Time).map_err(|_| wrong());
        }
        if let Some(count) = text.strip_prefix('-') {
            return count.parse().map(Self::Newest).map_err(|_| wrong());
        }
        text.parse().ok().filter(|offset| *offset >= 0).map(Self::Offset).ok_or_else(wrong)
    }
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// The topic.
    pub topic: String,
    /// Where it begins.
    pub from: From,
    /// Only this partition.
    pub partition: Option<Partition>,
    /// Only records with this key; ASCII case is ignored.
    pub key: Option<String>,
    /// Only records that hold this text in key, value or headers; case is ignored.
    pub text: Option<String>,
}

impl Query {
    fn matches(&self, message: &Message) -> bool {
        let has_key = |key: &String| message.key.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(key.as_bytes()));
        let has_text = |text: &String| {
            let text = text.to_lowercase();
            let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase().contains(&text);
            let of_headers = message.headers.iter().filter_map(|(_, value)| value.as_deref());
            [&message.key, &message.value].into_iter().flatten().map(AsRef::as_ref).chain(of_headers).any(holds)
        };
        self.key.as_ref().is_none_or(has_key) && self.text.as_ref().is_none_or(has_text)
    }
}

/// A scan on its way.
#[derive(Debug)]
pub struct Scan {
    query: Query,
    reader: AnyReader,
    /// Offsets between the beginning and the end that the topic had at the start.
    pub total: u64,
    /// Records that were looked at.
    pub scanned: u64,
}

impl Scan {
    /// Begins, up to the end that the topic has now.
    ///
    /// # Errors
    /// [`Kind::Config`] where there is no such topic, and those of the bus.
    pub async fn begin(stores: &Stores, query: Query) -> Result<Self> {
        let observer = stores.observer().await?;
        let mut ranges = observer.watermarks(&query.topic).await?;
        if ranges.is_empty() {
            return Err(Error::new(Kind::Config, format!("there is no topic {}", query.topic)));
        }
        ranges.retain(|partition, _| query.partition.is_none_or(|only| only == *partition));
        match query.from {
            From::Beginning => {}
            From::Time(at) => {
                let starts = observer.at_time(&query.topic, at).await?;
                raise(&mut ranges, |partition| starts.get(&partition).copied());
            }
            From::Offset(offset) => raise(&mut ranges, |_| Some(offset)),
            From::Newest(count) => ranges = newest(&ranges, count),
        }
        let total = ranges.values().map(|range| width(*range)).sum();
        let reader = stores.reader_of(&query.topic, ranges).await?;
        Ok(Self { query, reader, total, scanned: 0 })
    }

    /// Those of the next page that match; `None` at the end.
    ///
    /// # Errors
    /// Those of the bus.
    pub async fn next(&mut self) -> Result<Option<Vec<Message>>> {
        let page = self.reader.next().await?;
        if page.is_empty() {
            return Ok(None);
        }
        self.scanned += page.len() as u64;
        Ok(Some(page.into_iter().filter(|message| self.query.matches(message)).collect()))
    }

    /// Ends it before its end.
    pub async fn close(self) {
        self.reader.close().await;
    }
}

fn raise(ranges: &mut BTreeMap<Partition, Watermarks>, start: impl Fn(Partition) -> Option<Offset>) {
    for (partition, range) in ranges.iter_mut() {
        if let Some(start) = start(*partition) {
            range.low = start.clamp(range.low, range.high.max(range.low));
        }
    }
}

/// The newest records of a topic, newest first by their time, and how many the topic holds; nothing where there is none.
///
/// # Errors
/// Those of the bus.
pub async fn tail(stores: &Stores, topic: &str, count: u64) -> Result<(u64, Vec<Message>)> {
    let marks = stores.observer().await?.watermarks(topic).await?;
    let held = marks.values().map(|range| width(*range)).sum();
    let chosen = newest(&marks, count);
    let mut messages = if chosen.is_empty() { Vec::new() } else { read(stores, topic, chosen).await? };
    messages.sort_by_key(|message| std::cmp::Reverse((message.timestamp.unix_ms(), message.offset, message.partition)));
    Ok((held, messages))
}

/// These ranges of a topic, in the order of the topic. The ranges bound what is held.
///
/// # Errors
/// Those of the bus.
pub async fn read(stores: &Stores, topic: &str, ranges: BTreeMap<Partition, Watermarks>) -> Result<Vec<Message>> {
    let (mut reader, mut messages) = (stores.reader_of(topic, ranges).await?, Vec::new());
    loop {
        let page = reader.next().await?;
        if page.is_empty() {
            return Ok(messages);
        }
        messages.extend(page);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = |text: &str| text.parse::<From>().ok();
        assert_eq!(place("beginning"), Some(From::Beginning));
        assert_eq!(place("-25"), Some(From::Newest(25)));
        assert_eq!(place("7"), Some(From::Offset(7)));
        assert_eq!(place("@1970-01-01T00:00:01.000Z"), Timestamp::from_unix_ms(1_000).map(From::Time));
        for bad in ["", "end", "-x", "@", "@noon", "1.5"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_record_matches_by_key_and_by_text_in_any_case() {
        let query = |key: Option<&str>, text: Option<&str>| Query {
            topic: "t".to_owned(),
            from: From::Beginning,
            partition: None,
            key: key.map(str::to_owned),
            text: text.map(str::to_owned),
        };
        let message = Message {
            partition: 0,
            offset: 0,
            timestamp: Timestamp::saturating_from_unix_ms(0),
            key: Some(Bytes::from_static(b"AB-1")),
            value: Some(Bytes::from("{\"city\": \"Zürich\"}")),
            headers: vec![("h".to_owned(), Some(Bytes::from_static(b"because")))],
        };
        for (key, text, is_match) in [
            (None, None, true),
            (Some("ab-1"), None, true),
            (Some("ab"), None, false),
            (None, Some("ZÜRICH"), true),
            (None, Some("Because"), true),
            (Some("ab-1"), Some("Bern"), false),
        ] {
            assert_eq!(query(key, text).matches(&message), is_match, "{key:?} {text:?}");
        }
    }

    #[test]
    fn a_start_stays_within_what_is_there() {
        let mut ranges = BTreeMap::from([(0, Watermarks { low: 5, high: 9 }), (1, Watermarks { low: 0, high: 3 })]);
        raise(&mut ranges, |_| Some(4));
        assert_eq!((ranges[&0].low, ranges[&1].low), (5, 3));
    }
}
