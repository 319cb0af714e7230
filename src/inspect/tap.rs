//! A sample of the records that pass on a topic, from now on.
//!
//! It joins no group, and what it reads is bounded by its rate and not by the traffic: every so often it looks at the ends
//! of the partitions, and reads as many of the newest records as the rate allows. The others are never fetched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bus::observer::{AnyObserver, Observer};
use crate::bus::{AnyReader, Message, Offset, Partition, Reader, Watermarks};
use crate::error::Result;
use crate::pipeline::Stores;

/// How often the ends are looked at.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The most records that one look brings.
const PAGE_RECORDS_MAX: u64 = 1_000;

/// A look ends with the page that reaches this size of keys and values.
const LOOK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How many records may be shown: a bucket that fills with the rate and holds what comes in a second.
#[derive(Debug)]
struct Allowance {
    per_second: f64,
    left: f64,
    since: Instant,
}

impl Allowance {
    fn new(per_second: f64) -> Self {
        Self { per_second, left: 1.0, since: Instant::now() }
    }

    /// What is allowed now, in whole records.
    fn refill(&mut self, now: Instant) -> u64 {
        let came = now.saturating_duration_since(self.since).as_secs_f64() * self.per_second;
        self.since = now;
        self.left = (self.left + came).min(self.per_second.max(1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and bounded")]
        let whole = self.left.floor() as u64;
        whole.min(PAGE_RECORDS_MAX)
    }

    fn take(&mut self, records: u64) {
        #[expect(clippy::cast_precision_loss, reason = "at most a page")]
        let taken = records as f64;
        self.left -= taken;
    }
}

/// Follows one topic.
#[derive(Debug)]
pub struct Tap<'a> {
    stores: &'a Stores,
    topic: String,
    connected: Option<(AnyObserver, AnyReader)>,
    /// Where the next look goes on; `None` before the first.
    seen: Option<BTreeMap<Partition, Offset>>,
    allowance: Allowance,
    passed: u64,
}

impl<'a> Tap<'a> {
    /// Begins at the end that the topic has now. A topic that is not there may come, and is then read from its first record.
    ///
    /// # Errors
    /// Whatever is in the way of the first look.
    pub async fn open(stores: &'a Stores, topic: String, per_second: f64) -> Result<Self> {
        let allowance = Allowance::new(per_second);
        let mut tap = Self { stores, topic, connected: None, seen: None, allowance, passed: 0 };
        tap.look(0).await?;
        Ok(tap)
    }

    /// Whether there was such a topic when it was last looked at.
    #[must_use]
    pub fn has_topic(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| !seen.is_empty())
    }

    /// The records that have passed since its start, shown or not. Transaction markers count.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Closes its connection.
    pub async fn close(self) {
        if let Some((_, reader)) = self.connected {
            reader.close().await;
        }
    }

    /// Looks once: the newest records that have come since, as many as the rate and `most` allow.
    ///
    /// # Errors
    /// Whatever is in the way; the next look connects anew and goes on.
    pub async fn next(&mut self, most: u64) -> Result<Vec<Message>> {
        let looked = self.look(most).await;
        if looked.is_err() {
            self.connected = None;
        }
        looked
    }

    async fn look(&mut self, most: u64) -> Result<Vec<Message>> {
        let (observer, reader) = match &mut self.connected {
            Some((observer, reader)) => (observer, reader),
            none => {
                let observer = self.stores.observer().await?;
                let reader = self.stores.reader_of(&self.topic, BTreeMap::new()).await?;
                let (observer, reader) = none.insert((observer, reader));
                (observer, reader)
            }
        };
        let marks = observer.watermarks(&self.topic).await?;
        let Some(seen) = &mut self.seen else {
            self.seen = Some(ends(&marks));
            return Ok(Vec::new());
        };
        let allowed = self.allowance.refill(Instant::now()).min(most);
        let came = new(seen, &marks);
        let whole: u64 = came.values().map(|range| width(*range)).sum();
        if allowed == 0 || whole == 0 {
            return Ok(Vec::new());
        }
        *seen = ends(&marks);
        self.passed += whole;
        reader.go_on(newest(&came, allowed));
        let (mut messages, mut bytes) = (Vec::new(), 0);
        loop {
            let page = reader.next().await?;
            if page.is_empty() {
                break;
            }
            bytes += page.iter().flat_map(|m| [&m.key, &m.value]).flatten().map(bytes::Bytes::len).sum::<usize>();
            messages.extend(page);
            if bytes >= LOOK_BYTES_MAX {
                break;
            }
        }
        messages.sort_by_key(|message| (message.timestamp.unix_ms(), message.partition, message.offset));
        self.allowance.take(messages.len() as u64);
        Ok(messages)
    }
}

fn ends(marks: &BTreeMap<Partition, Watermarks>) -> BTreeMap<Partition, Offset> {
    marks.iter().map(|(partition, marks)| (*partition, marks.high)).collect()
}

pub(super) fn width(range: Watermarks) -> u64 {
    (range.high - range.low).max(0).cast_unsigned()
}

/// What has come since; a partition that was not there before is new from its first record.
fn new(seen: &BTreeMap<Partition, Offset>, marks: &BTreeMap<Partition, Watermarks>) -> BTreeMap<Partition, Watermarks> {
    let since = |(partition, marks): (&Partition, &Watermarks)| {
        let low = seen.get(partition).copied().unwrap_or(marks.low).max(marks.low);
        (*partition, Watermarks { low, high: marks.high })
    };
    marks.iter().map(since).filter(|(_, range)| range.low < range.high).collect()
}

/// The newest of each range, `allowed` together: each partition's share is that of its records.
pub(super) fn newest(came: &BTreeMap<Partition, Watermarks>, allowed: u64) -> BTreeMap<Partition, Watermarks> {
    let (mut left, mut whole) = (allowed, came.values().map(|range| width(*range)).sum::<u64>());
    let mut chosen = BTreeMap::new();
    for (partition, range) in came {
        let there = width(*range);
        // What is left is shared among the rest, so that rounding loses nothing.
        let share = u128::from(left) * u128::from(there);
        let share = u64::try_from(share.div_ceil(u128::from(whole.max(1)))).unwrap_or(left).min(there).min(left);
        left -= share;
        whole -= there;
        if share > 0 {
            chosen.insert(*partition, Watermarks { low: range.high - share.cast_signed(), high: range.high });
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(Partition, Offset, Offset)]) -> BTreeMap<Partition, Watermarks> {
        list.iter().map(|(partition, low, high)| (*partition, Watermarks { low: *low, high: *high })).collect()
    }

    #[test]
    fn the_newest_are_taken_by_the_share_of_each_partition() {
        let came = ranges(&[(0, 0, 900), (1, 50, 150), (2, 7, 8)]);
        let chosen = newest(&came, 10);
        assert_eq!(chosen.values().map(|range| width(*range)).sum::<u64>(), 10);
        assert_eq!(chosen[&0], Watermarks { low: 891, high: 900 });
        assert_eq!(newest(&came, 5_000), came, "all of them where they are few");
        assert_eq!(newest(&came, 1), ranges(&[(0, 899, 900)]));
    }

    #[test]
    fn new_is_what_was_not_there_at_the_last_look() {
        let seen = BTreeMap::from([(0, 10), (1, 5)]);
        let marks = ranges(&[(0, 0, 12), (1, 8, 9), (2, 0, 3)]);
        assert_eq!(new(&seen, &marks), ranges(&[(0, 10, 12), (1, 8, 9), (2, 0, 3)]));
        assert_eq!(new(&ends(&marks), &marks), BTreeMap::new());
    }

    #[test]
    fn an_allowance_holds_a_second_at_the_most_and_always_one() {
        let mut allowance = Allowance::new(10.0);
        let start = allowance.since;
        assert_eq!(allowance.refill(start + Duration::from_millis(400)), 5);
        allowance.take(5);
        assert_eq!(allowance.refill(start + Duration::from_mins(1)), 10);
        let mut rare = Allowance::new(0.1);
        let start = rare.since;
        assert_eq!(rare.refill(start), 1);
        rare.take(1);
        assert_eq!(rare.refill(start + Duration::from_secs(9)), 0);
        assert_eq!(rare.refill(start + Duration::from_mins(2)), 1);
    }
}
