//! When to try again: backoff as pure policy, and deadlines around every call that leaves the process.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::error::{Error, Kind, Result};

/// The first delay of a stream, and its ceiling.
const STREAM: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// The first delay of a statement, and its ceiling.
const STATEMENT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Both of them in this crate's own tests: the simulation has tens of thousands of faults, and the time between two
/// attempts is none of what it asks about.
const UNDER_TEST: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// The delays between attempts at something a stream depends on: 200 ms rising to 10 s, with jitter, without end.
pub fn stream_backoff() -> ExponentialBackoff {
    endless_backoff(if cfg!(test) { UNDER_TEST } else { STREAM })
}

/// The delays between `attempts_max` attempts at one statement of a store that may be away for a moment: 200 ms,
/// doubling, at most 5 s, with jitter.
pub fn statement_backoff(attempts_max: usize) -> ExponentialBackoff {
    let (first, ceiling) = if cfg!(test) { UNDER_TEST } else { STATEMENT };
    request_backoff(first, ceiling, attempts_max)
}

fn endless_backoff((first, ceiling): (Duration, Duration)) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(ceiling)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The delays between `attempts_max` attempts at one request: from `first`, doubling, at most `ceiling`, with jitter.
pub fn request_backoff(first: Duration, ceiling: Duration, attempts_max: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(ceiling)
        .with_factor(2.0)
        .with_jitter()
        .with_max_times(attempts_max.saturating_sub(1))
        .build()
}

/// Runs `call` for at most `limit`; an answer that does not come is [`Kind::Unreachable`], named by `what`.
pub async fn deadline<T>(limit: Duration, what: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(Kind::Unreachable, what.to_owned())
            .because(format!("no answer within {}", humantime::format_duration(limit)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_never_runs_out_of_delays_and_never_waits_much_longer_than_the_ceiling() {
        let delays: Vec<_> = endless_backoff(STREAM).take(100).collect();
        assert_eq!(delays.len(), 100);
        // backon adds up to one delay of jitter on top of the ceiling
        assert!(delays.iter().all(|d| *d <= Duration::from_secs(20)), "{delays:?}");
    }

    #[test]
    fn a_request_has_one_delay_less_than_attempts() {
        assert_eq!(request_backoff(Duration::from_millis(1), Duration::from_secs(1), 4).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_answers_ends_at_its_deadline() {
        let error = deadline(Duration::from_secs(5), "cannot ask", std::future::pending::<Result<()>>())
            .await
            .expect_err("it never answers");
        assert_eq!(error.to_string(), "cannot ask: no answer within 5s");
        assert_eq!(error.kind(), Kind::Unreachable);
    }
}
