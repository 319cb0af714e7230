//! What the pipeline counts while it works; read by progress, summaries and the metrics endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The media type of [`Metrics::encode`]'s text, for the `Content-Type` header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What every metric's name begins with.
const PREFIX: &str = "userpipe";
/// Bucket bounds of calls to a store or the API: a local write takes a millisecond, an API at its limits a minute.
const CALL_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Bucket bounds of a record's whole way: after an outage it may have waited for hours.
const WAY_SECONDS: [f64; 13] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0];

/// A counter that many tasks share; clones are the same counter.
#[derive(Clone, Debug, Default)]
pub struct Count(Counter);

impl Count {
    /// Adds `n` to the counter.
    pub fn add(&self, n: u64) {
        self.0.inc_by(n);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// How long something took, as a histogram in seconds; clones are the same histogram.
///
/// Our own, since `prometheus-client`'s can neither be read back nor given many observations under one lock.
#[derive(Clone, Debug)]
pub struct Durations(Arc<Mutex<Observed>>);

#[derive(Debug)]
struct Observed {
    /// The upper bounds in seconds, the last one infinite, and beside each the observations of its own bucket.
    buckets: Vec<(f64, u64)>,
    sum_seconds: f64,
}

impl Durations {
    fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let buckets = bounds.into_iter().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        Self(Arc::new(Mutex::new(Observed { buckets, sum_seconds: 0.0 })))
    }

    /// Adds one observation.
    pub fn observe(&self, took: Duration) {
        self.observe_all([took]);
    }

    /// Adds these observations; how many they were.
    pub fn observe_all(&self, took: impl IntoIterator<Item = Duration>) -> u64 {
        let mut observed = self.lock();
        let mut count = 0;
        for seconds in took.into_iter().map(|took| took.as_secs_f64()) {
            let bucket = observed.buckets.partition_point(|(bound, _)| *bound < seconds);
            if let Some((_, of_bucket)) = observed.buckets.get_mut(bucket) {
                *of_bucket += 1;
            }
            observed.sum_seconds += seconds;
            count += 1;
        }
        count
    }

    /// The upper bound of each bucket in seconds, the last one infinite, with the observations up to it.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        let up_to = |(bound, count): &(f64, u64)| {
            sum += count;
            (*bound, sum)
        };
        self.lock().buckets.iter().map(up_to).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let observed = self.lock();
        let count = observed.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(observed.sum_seconds, count, &observed.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// The stages of the pipeline that retry, and that can be in the way; in the order of a record's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Fetching users.
    Source,
    /// The outbox.
    Ledger,
    /// Sending to or reading from the bus.
    Bus,
    /// Asking for schemas.
    Registry,
    /// Writing rows.
    Sink,
    /// Writing dead letters.
    DeadLetters,
}

impl Stage {
    /// All of them.
    const ALL: [Self; 6] = [Self::Source, Self::Ledger, Self::Bus, Self::Registry, Self::Sink, Self::DeadLetters];

    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Ledger => "ledger",
            Self::Bus => "bus",
            Self::Registry => "registry",
            Self::Sink => "sink",
            Self::DeadLetters => "dead_letters",
        }
    }
}

impl EncodeLabelValue for Stage {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPartition {
    topic: String,
    partition: i32,
}

/// Everything one process counts. All are records unless the name says otherwise.
#[derive(Debug)]
pub struct Metrics {
    /// Users the source returned.
    pub fetched: Count,
    /// Users the formatter rejected, by name of the field in the log.
    pub rejected: Count,
    /// Users and records of persons who were purged, which went no further.
    pub suppressed: Count,
    /// Users and records that `--where` dropped, which went no further.
    pub filtered: Count,
    /// Records the bus acknowledged.
    pub produced: Count,
    /// Records polled from the bus.
    pub consumed: Count,
    /// Rows the sink made durable.
    pub written: Count,
    /// Records sent to the dead-letter topic.
    pub dead_lettered: Count,
    /// Slots of the schedule that came while a run was going, or while it was paused.
    pub skipped_slots: Count,
    /// Slots of the schedule that nobody was awake for.
    pub missed_slots: Count,
    /// Schedule ticks that failed.
    pub failed_runs: Count,
    /// What the source took for a page, its retries included.
    pub fetching: Durations,
    /// What the sink took for a batch, whatever became of it.
    pub writing: Durations,
    /// From a record's timestamp until it was written.
    pub latency: Durations,
    retries: Family<OfStage, Counter>,
    lag_total: Gauge,
    lag: Family<OfPartition, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let retries = Family::<OfStage, Counter>::default();
        // From the start, so that a rate over them has a zero to begin with.
        for stage in Stage::ALL {
            drop(retries.get_or_create(&OfStage { stage }));
        }
        Self {
            fetched: Count::default(),
            rejected: Count::default(),
            suppressed: Count::default(),
            filtered: Count::default(),
            produced: Count::default(),
            consumed: Count::default(),
            written: Count::default(),
            dead_lettered: Count::default(),
            skipped_slots: Count::default(),
            missed_slots: Count::default(),
            failed_runs: Count::default(),
            fetching: Durations::new(CALL_SECONDS),
            writing: Durations::new(CALL_SECONDS),
            latency: Durations::new(WAY_SECONDS),
            retries,
            lag_total: Gauge::default(),
            lag: Family::default(),
        }
    }
}

impl Metrics {
    /// The attempts that one stage repeated.
    pub fn retries_of(&self, stage: Stage) -> Count {
        Count(self.retries.get_or_create_owned(&OfStage { stage }))
    }

    /// Attempts repeated, at any stage.
    pub fn retries(&self) -> u64 {
        Stage::ALL.into_iter().map(|stage| self.retries_of(stage).get()).sum()
    }

    /// Sets the records between the group's position and the end of each partition of `topic`.
    pub fn set_lag(&self, topic: &str, partitions: &BTreeMap<i32, u64>) {
        for (partition, records) in partitions {
            let labels = OfPartition { topic: topic.to_owned(), partition: *partition };
            self.lag.get_or_create(&labels).set(records.cast_signed());
        }
        self.lag_total.set(partitions.values().sum::<u64>().cast_signed());
    }

    /// The records before the group, over all partitions.
    pub fn lag(&self) -> u64 {
        self.lag_total.get().cast_unsigned()
    }

    /// All of them in the text format that Prometheus scrapes ([`CONTENT_TYPE`]).
    ///
    /// # Errors
    /// None in practice: the text goes to memory.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        self.register(&mut registry);
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry)?;
        Ok(encoded)
    }

    /// Names them all; counters get their `_total` and histograms their unit from the encoder.
    fn register(&self, registry: &mut Registry) {
        let counters = [
            ("users_fetched", "Users the source returned", &self.fetched),
            ("users_rejected", "Users that lacked a field", &self.rejected),
            ("records_suppressed", "Users and records of purged persons, which went no further", &self.suppressed),
            ("records_filtered", "Users and records that --where dropped, which went no further", &self.filtered),
            ("records_produced", "Records the bus acknowledged", &self.produced),
            ("records_consumed", "Records polled from the bus", &self.consumed),
            ("rows_written", "Rows the sink made durable", &self.written),
            ("dead_letters", "Records sent to the dead-letter topic", &self.dead_lettered),
            ("slots_skipped", "Slots that came while a run was going, or the schedule paused", &self.skipped_slots),
            ("slots_missed", "Slots that nobody was awake for", &self.missed_slots),
            ("runs_failed", "Runs of the schedule that failed", &self.failed_runs),
        ];
        for (name, help, count) in counters {
            registry.register(name, help, count.0.clone());
        }
        registry.register("retries", "Attempts repeated", self.retries.clone());
        let lag = "Records between the group's position and the end of the partition";
        registry.register_with_unit("consumer_lag", lag, Unit::Other("records".to_owned()), self.lag.clone());
        let durations = [
            ("fetch_duration", "Time the source took for a page, retries included", &self.fetching),
            ("write_duration", "Time the sink took for a batch", &self.writing),
            ("end_to_end_latency", "Time from a record's timestamp until it was written", &self.latency),
        ];
        for (name, help, histogram) in durations {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_encoded_with_conventional_names_and_units() {
        let metrics = Metrics::default();
        metrics.fetched.add(3);
        metrics.retries_of(Stage::DeadLetters).add(2);
        metrics.writing.observe(Duration::from_millis(2));
        metrics.set_lag("a\"b", &BTreeMap::from([(0, 4), (1, 5)]));
        let text = metrics.encode().expect("it goes to memory");
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            "# TYPE userpipe_users_fetched counter",
            "userpipe_users_fetched_total 3",
            "userpipe_users_rejected_total 0",
            "userpipe_retries_total{stage=\"dead_letters\"} 2",
            "userpipe_retries_total{stage=\"source\"} 0",
            "# UNIT userpipe_write_duration_seconds seconds",
            "userpipe_write_duration_seconds_sum 0.002",
            "userpipe_write_duration_seconds_bucket{le=\"0.001\"} 0",
            "userpipe_write_duration_seconds_bucket{le=\"0.0025\"} 1",
            "userpipe_write_duration_seconds_bucket{le=\"+Inf\"} 1",
            "userpipe_end_to_end_latency_seconds_count 0",
            concat!("userpipe_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# EOF",
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{text}");
        }
        assert!(text.contains(r#"userpipe_consumer_lag_records{topic="a\"b",partition="1"} 5"#), "{text}");
        assert_eq!(lines.last(), Some(&"# EOF"));
    }

    #[test]
    fn what_is_read_back_is_what_is_scraped() {
        let metrics = Metrics::default();
        for ms in [1, 2, 2, 40_000] {
            metrics.writing.observe(Duration::from_millis(ms));
        }
        let buckets = metrics.writing.buckets();
        assert_eq!((buckets[0], buckets[1], buckets.last()), ((0.001, 1), (0.0025, 3), Some(&(f64::INFINITY, 4))));
        assert_eq!(buckets.len(), CALL_SECONDS.len() + 1);
        assert_eq!(metrics.latency.observe_all([0, 5_000_000].map(Duration::from_millis)), 2);
        let text = metrics.encode().expect("it goes to memory");
        for line in [
            "userpipe_write_duration_seconds_bucket{le=\"30.0\"} 3",
            "userpipe_write_duration_seconds_bucket{le=\"+Inf\"} 4",
            "userpipe_write_duration_seconds_sum 40.005",
            "userpipe_end_to_end_latency_seconds_sum 5000.0",
            "userpipe_end_to_end_latency_seconds_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn progress_reads_the_sums() {
        let metrics = Metrics::default();
        metrics.set_lag("t", &BTreeMap::from([(0, 4), (1, 5)]));
        metrics.set_lag("t", &BTreeMap::from([(0, 4), (1, 0)]));
        metrics.retries_of(Stage::Sink).add(1);
        metrics.retries_of(Stage::Bus).add(2);
        assert_eq!((metrics.lag(), metrics.retries()), (4, 3));
    }
}
