//! A sample a second of what this process counts. It costs a few atomic reads, and goes on with nobody watching.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::time::MissedTickBehavior;

use super::answer::Answer;
use super::history::{History, Rate, STEP_MS, Sample};
use super::{App, Shared, locked};
use crate::inspect::latency::Histogram;
use crate::record::Timestamp;

/// Rates are those of so many milliseconds.
const WINDOW_MS: i64 = 5_000;
/// Latencies are those of so many samples: a minute.
const LATENCY_SAMPLES_MAX: usize = 60;

/// What was sampled.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    history: History,
    pub(super) fetched: Rate,
    pub(super) produced: Rate,
    pub(super) written: Rate,
    pub(super) dead_lettered: Rate,
    /// The latency histogram of each of the last samples, oldest first.
    buckets: VecDeque<Vec<(f64, u64)>>,
}

/// Latency from a record's timestamp until it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) samples: u64,
}

impl Sampled {
    /// Of the last minute, or of the whole process where nothing was written within it.
    pub(super) fn latency(&self) -> Option<Latency> {
        let (first, last) = (self.buckets.front()?, self.buckets.back()?);
        let recent: Vec<_> = last.iter().zip(first).map(|((bound, now), (_, then))| (*bound, now - then)).collect();
        of(&recent).or_else(|| of(last))
    }

    /// Of the last minute alone.
    fn recent_p99_ms(&self) -> Option<f64> {
        let (first, last) = (self.buckets.front()?, self.buckets.back()?);
        let recent: Vec<_> = last.iter().zip(first).map(|((bound, now), (_, then))| (*bound, now - then)).collect();
        of(&recent).map(|latency| latency.p99_ms)
    }
}

/// The latency of a histogram; past its last finite bound nobody knows how long, and that bound is told.
fn of(buckets: &[(f64, u64)]) -> Option<Latency> {
    let longest = buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).fold(0.0, f64::max);
    let histogram = Histogram::of(buckets);
    let ms = |q| histogram.quantile(q).map(|seconds| (seconds.min(longest) * 1_000.0).round());
    let samples = buckets.last().map_or(0, |(_, count)| *count);
    Some(Latency { p50_ms: ms(0.5)?, p99_ms: ms(0.99)?, samples })
}

/// Samples until the dashboard ends.
pub(super) async fn keep(app: Shared) {
    let mut due = tokio::time::interval(Duration::from_millis(STEP_MS));
    due.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = due.tick() => sample(&app),
        }
    }
}

fn sample(app: &App) {
    let (process, at) = (&app.process, Timestamp::now().unix_ms());
    let metrics = &process.metrics;
    let (outside, lag) = locked(&app.seen).rates();
    let mut sampled = locked(&app.sampled);
    sampled.fetched.note(at, metrics.fetched.get(), WINDOW_MS);
    sampled.produced.note(at, metrics.produced.get(), WINDOW_MS);
    sampled.written.note(at, metrics.written.get(), WINDOW_MS);
    sampled.dead_lettered.note(at, metrics.dead_lettered.get(), WINDOW_MS);
    sampled.buckets.push_back(metrics.latency.buckets());
    if sampled.buckets.len() > LATENCY_SAMPLES_MAX {
        sampled.buckets.pop_front();
    }
    let own = |is_ours: bool, rate: &Rate, outside: Option<f64>| if is_ours { rate.per_second() } else { outside };
    let (ingests, delivers) = (process.ingests(), process.delivers);
    let sample = Sample {
        at,
        fetched: own(ingests, &sampled.fetched, outside.fetched),
        produced: own(ingests, &sampled.produced, outside.produced),
        written: own(delivers, &sampled.written, outside.committed),
        dead_lettered: own(delivers, &sampled.dead_lettered, outside.dead_lettered),
        lag,
        p99_ms: sampled.recent_p99_ms(),
    };
    sampled.history.add(sample);
    drop(sampled);
    app.ticks.send_modify(|ticks| *ticks += 1);
}

/// `GET /api/history`
pub(super) async fn history(State(app): State<Shared>) -> Answer {
    app.asked();
    Ok(Json(locked(&app.sampled).history.document()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_that_of_the_last_minute_else_of_all() {
        let bucket = |counts: [u64; 3]| vec![(0.1, counts[0]), (1.0, counts[1]), (f64::INFINITY, counts[2])];
        let mut sampled = Sampled::default();
        assert_eq!(sampled.latency(), None);
        sampled.buckets.push_back(bucket([0, 0, 0]));
        assert_eq!(sampled.latency(), None, "nothing was written");
        sampled.buckets.push_back(bucket([100, 100, 100]));
        assert_eq!(sampled.latency(), Some(Latency { p50_ms: 50.0, p99_ms: 99.0, samples: 100 }));
        sampled.buckets.pop_front();
        assert_eq!(sampled.recent_p99_ms(), None);
        assert_eq!(sampled.latency().map(|it| it.samples), Some(100));
        sampled.buckets.push_back(bucket([100, 100, 110]));
        assert_eq!(sampled.recent_p99_ms(), Some(1_000.0), "longer than the last bound");
    }
}
