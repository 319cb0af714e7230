//! When a run is due: slots at multiples of the interval since the Unix epoch, by the wall clock.
//!
//! Slots belong to the clock and not to the process, so a restart or a suspended machine does not shift them, and a
//! stepped clock changes at most one wait.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::record::Timestamp;

/// The clock is looked at again at least this often while waiting, so that a step is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The slots of one interval.
#[derive(Debug)]
pub struct Slots {
    interval_ms: i64,
    last: Option<i64>,
}

impl Slots {
    /// Slots at every multiple of `interval` (at least a millisecond).
    pub fn new(interval: Duration) -> Self {
        Self { interval_ms: i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1), last: None }
    }

    /// Waits for the next slot and takes it: the current one first, then one at a time, never one twice. Slots that
    /// passed while a run was busy are skipped. `None` when `shutdown` is cancelled.
    pub async fn next(&mut self, shutdown: &CancellationToken) -> Option<Timestamp> {
        loop {
            if shutdown.is_cancelled() {
                return None;
            }
            let now = Timestamp::now().unix_ms();
            match self.due(now) {
                Ok(slot) => {
                    self.last = Some(slot);
                    return Timestamp::from_unix_ms(slot);
                }
                Err(wait) => tokio::select! {
                    () = shutdown.cancelled() => return None,
                    () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
                },
            }
        }
    }

    /// The slot that is due at `now_ms`, or how long until the next one.
    fn due(&self, now_ms: i64) -> Result<i64, Duration> {
        let current = now_ms.div_euclid(self.interval_ms) * self.interval_ms;
        match self.last {
            // A clock that was set back would otherwise stop the schedule for as long.
            Some(last) if current <= last && last - current <= self.interval_ms => {
                let wait = (last + self.interval_ms - now_ms).max(0);
                Err(Duration::from_millis(wait.cast_unsigned()))
            }
            _ => Ok(current),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(last: Option<i64>) -> Slots {
        Slots { interval_ms: 60_000, last }
    }

    #[test]
    fn slots_are_multiples_of_the_interval() {
        assert_eq!(slots(None).due(1_234_567), Ok(1_200_000), "the current one is taken at the start");
        assert_eq!(slots(Some(1_200_000)).due(1_234_567), Err(Duration::from_millis(25_433)));
        assert_eq!(slots(Some(1_200_000)).due(1_260_000), Ok(1_260_000));
        assert_eq!(slots(Some(1_200_000)).due(1_500_001), Ok(1_500_000), "those that passed are skipped");
    }

    #[test]
    fn a_stepped_clock_neither_stops_it_nor_fires_a_slot_twice() {
        assert_eq!(
            slots(Some(7_200_000)).due(3_600_500),
            Ok(3_600_000),
            "an hour back: the schedule follows the clock"
        );
        assert!(slots(Some(1_260_000)).due(1_259_999).is_err(), "a millisecond back is no new slot");
        assert_eq!(slots(Some(1_200_000)).due(4_800_000), Ok(4_800_000), "an hour ahead");
    }

    #[tokio::test]
    async fn waiting_ends_with_the_shutdown() {
        let mut slots = Slots::new(Duration::from_hours(1));
        let shutdown = CancellationToken::new();
        assert!(slots.next(&shutdown).await.is_some());
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { slots.next(&shutdown).await }
        });
        shutdown.cancel();
        assert_eq!(waiting.await.ok().flatten(), None);
    }
}
