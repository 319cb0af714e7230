//! How far another clock is from this one. A record's timestamp is its write time, so a clock that is off decides which of
//! two records of a person stays, and one that is a day ahead makes dead letters.

use std::time::Duration;

use super::Finding;

/// A difference that is worth a look.
const WARN_MS: u64 = 1_000;

/// A difference that nobody wants.
const FAIL_MS: u64 = 60_000;

const FIX: &str = "set this machine's clock, or that one's, by NTP (timedatectl status; chronyc tracking)";

/// The least difference that explains what another clock told between two looks at this one: its time was between `told.0`
/// and `told.1`, and it was asked between `asked.0` and `asked.1`. Positive where it is ahead. In milliseconds.
pub(super) fn least_skew_ms(asked: (i64, i64), told: (i64, i64)) -> i64 {
    if told.0 > asked.1 {
        told.0 - asked.1
    } else if told.1 < asked.0 {
        told.1 - asked.0
    } else {
        0
    }
}

/// The finding about a clock that is `skew_ms` ahead of this one.
pub(super) fn finding(place: impl Into<String>, skew_ms: i64) -> Finding {
    const WHAT: &str = "clock";
    let size = skew_ms.unsigned_abs();
    let words = || {
        let size = humantime::format_duration(Duration::from_millis(size));
        format!("{size} {} this machine's", if skew_ms > 0 { "ahead of" } else { "behind" })
    };
    match size {
        0..=WARN_MS => Finding::ok(WHAT, place, "agrees with this machine's within a second"),
        _ if size <= FAIL_MS => Finding::warn(WHAT, place, words(), FIX),
        _ => Finding::fail(WHAT, place, words(), FIX),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn the_time_of_the_question_explains_what_it_can() {
        assert_eq!(least_skew_ms((1_000, 1_500), (1_200, 1_200)), 0);
        assert_eq!(least_skew_ms((1_000, 1_500), (1_600, 1_600)), 100);
        assert_eq!(least_skew_ms((1_000, 1_500), (700, 700)), -300);
        assert_eq!(least_skew_ms((5_400, 5_500), (5_000, 5_999)), 0, "a date that is cut to its second");
        assert_eq!(least_skew_ms((7_400, 7_500), (5_000, 5_999)), -1_401);
    }

    #[test]
    fn a_second_is_nothing_and_a_minute_is_too_much() {
        for (skew, verdict) in [
            (0, Verdict::Ok),
            (-1_000, Verdict::Ok),
            (1_001, Verdict::Warn),
            (-60_000, Verdict::Warn),
            (60_001, Verdict::Fail),
            (i64::MIN, Verdict::Fail),
        ] {
            assert_eq!(finding("there", skew).verdict, verdict, "{skew}");
        }
        assert_eq!(finding("there", -61_000).found, "1m 1s behind this machine's");
    }
}
