//! How many users to ask for next, and when.

use tokio::time::Instant;

use super::Plan;

/// The pace of one run.
#[derive(Debug)]
pub(super) struct Pace {
    plan: Plan,
    started: Instant,
    fetched: u64,
}

impl Pace {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, started: Instant::now(), fetched: 0 }
    }

    /// These many users came.
    pub(super) fn fetched(&mut self, count: usize) {
        self.fetched += count as u64;
    }

    /// Waits until more users are due and says how many to ask for; `None` when the run is over.
    pub(super) async fn next(&self) -> Option<usize> {
        let left = match self.plan.count {
            Some(count) => count.saturating_sub(self.fetched),
            None => u64::MAX,
        };
        if left == 0 {
            return None;
        }
        let end = self.plan.stream_for.map(|time| self.started + time);
        if let Some(rate) = self.plan.rate {
            let due = self.started + rate.time_for(self.fetched);
            if end.is_some_and(|end| due >= end) {
                return None;
            }
            tokio::time::sleep_until(due).await;
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return None;
        }
        let page = self.plan.page_size.min(usize::try_from(left).unwrap_or(usize::MAX));
        Some(page.min(self.due_in_a_second()))
    }

    /// With a rate, one page is at most a second's worth, so that users come evenly.
    fn due_in_a_second(&self) -> usize {
        match self.plan.rate {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and small")]
            Some(rate) => (rate.per_second().ceil() as usize).max(1),
            None => usize::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn plan(count: Option<u64>, seconds: Option<u64>, rate: Option<&str>) -> Plan {
        Plan {
            count,
            stream_for: seconds.map(Duration::from_secs),
            rate: rate.and_then(|text| text.parse().ok()),
            page_size: 500,
            retries: 0,
            retry_delay: Duration::ZERO,
        }
    }

    async fn pages(plan: Plan) -> (Vec<usize>, Duration) {
        let mut pace = Pace::new(plan);
        let started = Instant::now();
        let mut pages = Vec::new();
        while let Some(page) = pace.next().await {
            pace.fetched(page);
            pages.push(page);
        }
        (pages, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_comes_in_pages() {
        assert_eq!(pages(plan(Some(1200), None, None)).await, (vec![500, 500, 200], Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_spreads_them() {
        let (pages, took) = pages(plan(Some(35), None, Some("10/s"))).await;
        assert_eq!((pages, took.as_secs()), (vec![10, 10, 10, 5], 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_time() {
        let (pages, took) = pages(plan(None, Some(60), Some("30/m"))).await;
        assert_eq!(
            (pages.len(), took.as_secs()),
            (30, 58),
            "one every two seconds, the last before the minute is over"
        );
    }
}
