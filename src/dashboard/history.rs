//! The last quarter of an hour, a sample a second, in a ring.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Milliseconds between two samples.
pub(super) const STEP_MS: u64 = 1_000;
/// Samples that are kept: 15 minutes of them.
const SAMPLES_MAX: usize = 900;

/// What was so at one time. Rates are a second; what nobody knows is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Milliseconds since the Unix epoch.
    pub(super) at: i64,
    pub(super) fetched: Option<f64>,
    pub(super) produced: Option<f64>,
    pub(super) written: Option<f64>,
    pub(super) dead_lettered: Option<f64>,
    /// Records before the group.
    pub(super) lag: Option<i64>,
    pub(super) p99_ms: Option<f64>,
}

/// The samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Sample>);

impl History {
    /// Adds a sample, and forgets the oldest where there are too many.
    pub(super) fn add(&mut self, sample: Sample) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// As columns, for charts.
    pub(super) fn document(&self) -> Value {
        let column = |of: fn(&Sample) -> Option<f64>| -> Value { self.0.iter().map(of).map(|it| json!(it)).collect() };
        json!({
            "step_ms": STEP_MS,
            "at": self.0.iter().map(|sample| sample.at).collect::<Vec<_>>(),
            "series": {
                "fetched": column(|sample| sample.fetched),
                "produced": column(|sample| sample.produced),
                "written": column(|sample| sample.written),
                "dead_lettered": column(|sample| sample.dead_lettered),
                "lag": self.0.iter().map(|sample| json!(sample.lag)).collect::<Vec<_>>(),
                "p99_ms": column(|sample| sample.p99_ms),
            },
        })
    }
}

/// A counter's increase a second over the last few samples.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(i64, u64)>);

impl Rate {
    /// Notes the counter at a time in milliseconds, and forgets what is older than `window_ms`.
    pub(super) fn note(&mut self, at: i64, count: u64, window_ms: i64) {
        self.0.push_back((at, count));
        while self.0.len() > 2 && self.0.get(1).is_some_and(|(second, _)| at - second >= window_ms) {
            self.0.pop_front();
        }
    }

    /// The increase a second; `None` before there are two looks at it. A counter that went back has none.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = (self.0.front()?, self.0.back()?);
        let ms = last_at - first_at;
        #[expect(clippy::cast_precision_loss, reason = "a rate for show")]
        (ms > 0).then(|| last.saturating_sub(*first) as f64 * 1_000.0 / ms as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_a_quarter_of_an_hour() {
        let mut history = History::default();
        for at in 0..2_000 {
            history.add(Sample { at, lag: Some(at), ..Sample::default() });
        }
        let document = history.document();
        let at = document["at"].as_array().expect("an array");
        assert_eq!((at.len(), at.first(), at.last()), (SAMPLES_MAX, Some(&json!(1_100)), Some(&json!(1_999))));
        for series in ["fetched", "produced", "written", "dead_lettered", "lag", "p99_ms"] {
            assert_eq!(document["series"][series].as_array().map(Vec::len), Some(SAMPLES_MAX), "{series}");
        }
        assert_eq!((&document["series"]["lag"][0], &document["series"]["p99_ms"][0]), (&json!(1_100), &Value::Null));
    }

    #[test]
    fn a_rate_is_that_of_its_window() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        rate.note(0, 0, 5_000);
        assert_eq!(rate.per_second(), None, "one look tells nothing");
        for second in 1..=20 {
            rate.note(second * 1_000, if second < 10 { 0 } else { 100 * (second - 9).unsigned_abs() }, 5_000);
        }
        assert_eq!(rate.per_second(), Some(100.0));
        assert!(rate.0.len() <= 6);
        rate.note(21_000, 0, 5_000);
        assert_eq!(rate.per_second(), Some(0.0), "begun anew");
    }
}
