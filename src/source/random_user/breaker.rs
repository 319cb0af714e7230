//! The circuit breaker: after too many failed pages in a row the API is left alone for a while.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

/// Counts failed pages and closes the way for a while. After the pause one page is let through; if that fails too,
/// the next pause begins.
#[derive(Debug)]
pub(super) struct Breaker {
    failed_max: u32,
    pause: Duration,
    failed: u32,
    closed_until: Option<Instant>,
    last_error: String,
}

impl Breaker {
    pub(super) fn new(failed_max: u32, pause: Duration) -> Self {
        Self { failed_max, pause, failed: 0, closed_until: None, last_error: String::new() }
    }

    /// Whether a page may be asked for now.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] during a pause, with the last failure and when the pause ends.
    pub(super) fn admit(&self) -> Result<()> {
        let left = self.closed_until.map_or(Duration::ZERO, |until| until.duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(());
        }
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Err(Error::new(Kind::Unreachable, format!("not asking the API for another {seconds}s"))
            .because(format!("{} pages in a row failed, the last: {}", self.failed, self.last_error))
            .hint("wait, or use --source synthetic"))
    }

    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
        self.closed_until = None;
    }

    pub(super) fn failed(&mut self, error: &Error) {
        self.failed = self.failed.saturating_add(1);
        if self.failed >= self.failed_max {
            self.last_error = error.to_string();
            self.closed_until = Some(Instant::now() + self.pause);
            tracing::warn!(
                "{} pages in a row failed: not asking the API for {}",
                self.failed,
                humantime::format_duration(self.pause)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_its_limit_and_lets_one_page_through_after_the_pause() {
        let mut breaker = Breaker::new(3, Duration::from_mins(1));
        let error = Error::new(Kind::Unreachable, "status 502");
        breaker.failed(&error);
        breaker.failed(&error);
        assert!(breaker.admit().is_ok());
        breaker.failed(&error);
        let refused = breaker.admit().expect_err("three failures");
        assert_eq!(
            refused.to_string(),
            "not asking the API for another 60s: 3 pages in a row failed, the last: status 502"
        );
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(breaker.admit().is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admit().is_ok(), "the pause is over");
        breaker.failed(&error);
        assert!(breaker.admit().is_err(), "one more failure is enough now");
        breaker.succeeded();
        breaker.failed(&error);
        assert!(breaker.admit().is_ok(), "a success starts the count again");
    }
}
