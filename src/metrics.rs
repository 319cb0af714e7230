//! What the pipeline counts while it works; read by progress, summaries and (later) the metrics endpoint.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge that many tasks share.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n` to the counter.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the value of a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything one process counts. All are records unless the name says otherwise.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Users the source returned.
    pub fetched: Count,
    /// Users the formatter rejected, by name of the field in the log.
    pub rejected: Count,
    /// Records the bus acknowledged.
    pub produced: Count,
    /// Records polled from the bus.
    pub consumed: Count,
    /// Rows the sink made durable.
    pub written: Count,
    /// Records sent to the dead-letter topic.
    pub dead_lettered: Count,
    /// Attempts repeated, at any stage.
    pub retries: Count,
    /// Schedule ticks that failed.
    pub failed_runs: Count,
    /// Records between the group's position and the end of its partitions; a gauge.
    pub lag: Count,
}
