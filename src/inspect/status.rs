//! How the pipeline is now: the group and its lag, the topic, the dead letters, the outbox and the last runs.

use std::time::Duration;

use super::latency::Histogram;
use crate::bus::observer::{AnyObserver, Member, Observer};
use crate::bus::{Offset, Partition, Watermarks, dead_letter_topic};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::ledger::{AnyLedger, Archive, Ledger, Run};
use crate::pipeline::Stores;
use crate::record::Timestamp;

/// Runs that are shown.
const RUNS_MAX: usize = 5;

/// The part of the records that a latency is told for.
const P99: f64 = 0.99;

/// One partition and how far the group is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: Partition,
    /// What it holds and can be read.
    pub marks: Watermarks,
    /// The first record that the group has not processed.
    pub committed: Option<Offset>,
    /// Records that the group has before it.
    pub lag: i64,
    /// The member that has it.
    pub owner: Option<String>,
}

/// A look at everything.
#[derive(Clone, Debug)]
pub struct Status {
    /// When it was looked.
    pub at: Timestamp,
    /// The topic's partitions.
    pub partitions: Vec<PartitionStatus>,
    /// The group's live members.
    pub members: Vec<Member>,
    /// The identity of another sink that the group works for.
    pub another_sink: Option<String>,
    /// The latest timestamp on the topic.
    pub newest: Option<Timestamp>,
    /// Records on the dead-letter topic.
    pub dead_letters: i64,
    /// Users in the outbox that the bus has not acknowledged; `None` without a ledger.
    pub waiting: Option<u64>,
    /// The last runs, newest first.
    pub runs: Vec<Run>,
}

impl Status {
    /// The records that the group has before it, over all partitions.
    #[must_use]
    pub fn lag(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }

    /// The age of the newest record, by its timestamp; none where there is no record.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let ms = self.at.unix_ms() - self.newest?.unix_ms();
        Some(Duration::from_millis(ms.max(0).cast_unsigned()))
    }
}

/// Looks again and again, over the same connections.
#[derive(Debug)]
pub struct Watcher<'a> {
    stores: &'a Stores,
    observer: Option<AnyObserver>,
    ledger: Option<AnyLedger>,
}

impl<'a> Watcher<'a> {
    /// Has not connected to anything yet.
    pub fn new(stores: &'a Stores) -> Self {
        Self { stores, observer: None, ledger: None }
    }

    /// One look. What is not there yet is not made.
    ///
    /// # Errors
    /// [`Kind::Config`] where there is no topic; else whatever is in the way, and the next look connects anew.
    pub async fn look(&mut self) -> Result<Status> {
        let looked = self.try_to_look().await;
        if looked.is_err() {
            (self.observer, self.ledger) = (None, None);
        }
        looked
    }

    async fn try_to_look(&mut self) -> Result<Status> {
        self.stores.has_data()?;
        let topic = &self.stores.config.topic;
        let observer = match self.observer.take() {
            Some(observer) => observer,
            None => self.stores.observer().await?,
        };
        let observer = self.observer.insert(observer);
        let group = group(&*observer, &self.stores.config).await?;
        let newest = observer.newest(topic).await?;
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => self.stores.ledger_if_there().await?,
        };
        let waiting = if matches!(ledger, AnyLedger::Off) { None } else { Some(ledger.unsent().await?) };
        let runs = ledger.runs(None, RUNS_MAX).await?;
        // One that is not there may come.
        self.ledger = Some(ledger).filter(|ledger| !matches!(ledger, AnyLedger::Off));
        let GroupStatus { partitions, members, another_sink, dead_letters } = group;
        let at = Timestamp::now();
        Ok(Status { at, partitions, members, another_sink, newest, dead_letters, waiting, runs })
    }
}

/// The group and its topic, and how many dead letters there are.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// The topic's partitions.
    pub partitions: Vec<PartitionStatus>,
    /// The group's live members.
    pub members: Vec<Member>,
    /// The identity of another sink that the group works for.
    pub another_sink: Option<String>,
    /// Records on the dead-letter topic.
    pub dead_letters: i64,
}

/// Looks at the group of the configuration, its topic and that of its dead letters.
///
/// # Errors
/// [`Kind::Config`] where there is no topic, and those of the bus.
pub async fn group(observer: &impl Observer, config: &Config) -> Result<GroupStatus> {
    let (topic, group) = (&config.topic, &config.group);
    // What is committed comes first: a record that comes between the two is then before the group, not behind the end.
    let view = observer.group(topic, group).await?;
    let marks = observer.watermarks(topic).await?;
    if marks.is_empty() {
        return Err(no_topic(topic));
    }
    let letters = observer.watermarks(&dead_letter_topic(topic)).await?;
    let partition = |(partition, marks): (&Partition, &Watermarks)| PartitionStatus {
        partition: *partition,
        marks: *marks,
        committed: view.committed.get(partition).map(|committed| committed.offset),
        lag: view.lag(*partition, *marks),
        owner: view.owner(*partition).map(str::to_owned),
    };
    Ok(GroupStatus {
        partitions: marks.iter().map(partition).collect(),
        another_sink: view.another_sink(&config.sink_identity()).map(str::to_owned),
        members: view.members,
        dead_letters: letters.values().map(|marks| (marks.high - marks.low).max(0)).sum(),
    })
}

fn no_topic(topic: &str) -> Error {
    Error::new(Kind::Config, format!("there is no topic {topic}"))
        .hint("create it with 'userpipe init-schema', or check --topic")
}

/// The limits of a gate. It lets through on evidence only: without records there is no age, and without measurements no
/// latency, and neither is let through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gates {
    /// The most records that the group may have before it.
    pub lag_max: Option<u64>,
    /// The greatest age of the newest record.
    pub age_max: Option<Duration>,
    /// The longest end-to-end latency of 99 % of the records.
    pub p99_max: Option<Duration>,
}

impl Gates {
    /// Why it stays shut; nothing where it opens.
    #[must_use]
    pub fn reasons(&self, status: &Status, latency: Option<&Histogram>) -> Vec<String> {
        let mut reasons = Vec::new();
        let lag = status.lag().max(0).cast_unsigned();
        if let Some(most) = self.lag_max.filter(|most| lag > *most) {
            reasons.push(format!("lag {lag} is over {most}"));
        }
        if let Some(most) = self.age_max {
            match status.age() {
                Some(age) if age <= most => {}
                Some(age) => reasons.push(format!("the newest record is {} old, over {}", short(age), short(most))),
                None => reasons.push("the topic holds no record".to_owned()),
            }
        }
        if let Some(most) = self.p99_max {
            match latency.and_then(p99) {
                Some(seconds) if seconds <= most.as_secs_f64() => {}
                Some(seconds) => {
                    reasons.push(format!("p99 latency {} is over {}", seconds_words(seconds), short(most)));
                }
                None => reasons.push("no latency was measured yet".to_owned()),
            }
        }
        reasons
    }
}

/// The latency in seconds that 99 % of the records do not exceed.
#[must_use]
pub fn p99(latency: &Histogram) -> Option<f64> {
    latency.quantile(P99)
}

/// Seconds for a person; past the last bucket nobody knows how many.
#[must_use]
pub fn seconds_words(seconds: f64) -> String {
    match Duration::try_from_secs_f64((seconds * 1_000.0).round() / 1_000.0) {
        Ok(duration) => humantime::format_duration(duration).to_string(),
        Err(_) => "more than an hour".to_owned(),
    }
}

/// A duration to the second, and below one to the millisecond.
#[must_use]
pub fn short(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let rounded = if ms < 1_000 { Duration::from_millis(ms) } else { Duration::from_secs(ms / 1_000) };
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lag: i64, age_ms: Option<i64>) -> Status {
        let at = Timestamp::from_unix_ms(1_000_000).expect("in range");
        let marks = Watermarks { low: 0, high: lag };
        Status {
            at,
            partitions: vec![PartitionStatus { partition: 0, marks, committed: None, lag, owner: None }],
            members: Vec::new(),
            another_sink: None,
            newest: age_ms.and_then(|ms| Timestamp::from_unix_ms(1_000_000 - ms)),
            dead_letters: 0,
            waiting: None,
            runs: Vec::new(),
        }
    }

    #[test]
    fn a_gate_opens_up_to_its_limits() {
        let seconds = |n| Some(Duration::from_secs(n));
        let gates = Gates { lag_max: Some(100), age_max: seconds(300), p99_max: None };
        assert_eq!(gates.reasons(&status(100, Some(300_000)), None), Vec::<String>::new());
        assert_eq!(
            gates.reasons(&status(101, Some(300_001)), None),
            ["lag 101 is over 100", "the newest record is 5m old, over 5m"]
        );
        assert_eq!(Gates::default().reasons(&status(1_000_000, None), None), Vec::<String>::new());
    }

    #[test]
    fn without_evidence_it_stays_shut() {
        let second = Some(Duration::from_secs(1));
        let gates = Gates { lag_max: None, age_max: second, p99_max: second };
        let reasons = gates.reasons(&status(0, None), Some(&Histogram::default()));
        assert_eq!(reasons, ["the topic holds no record", "no latency was measured yet"]);
    }

    #[test]
    fn a_record_of_the_future_is_not_old() {
        assert_eq!(status(0, Some(-5_000)).age(), Some(Duration::ZERO));
    }
}
