//! Offsets that are not in the topic: what becomes of them is decided here, for both buses, and never in silence.

use super::{Offset, Partition, Watermarks};
use crate::config::OutOfRange;
use crate::error::{Error, Kind, Result};

/// Why an offset is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It is not between the watermarks.
    OutOfRange,
    /// It is of an earlier topic with this name, so whether it is in range says nothing.
    Recreated,
}

/// Whether an offset can be gone on from.
pub(super) fn check(offset: Offset, marks: Watermarks) -> Option<Gone> {
    (!(marks.low..=marks.high).contains(&offset)).then_some(Gone::OutOfRange)
}

/// Where to go on instead of at `offset`, as the policy says; the move is told as a warning. An offset that went with its
/// topic is `None`.
///
/// # Errors
/// [`Kind::Failed`] where the policy is to end.
pub(super) fn resolve(
    policy: OutOfRange,
    gone: Gone,
    (topic, partition): (&str, Partition),
    offset: Option<Offset>,
    marks: Watermarks,
) -> Result<Offset> {
    let old = offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string());
    let new = match policy {
        OutOfRange::Beginning => marks.low,
        OutOfRange::End => marks.high,
        OutOfRange::Error => return Err(error(gone, (topic, partition), &old, offset < Some(marks.low), marks)),
    };
    let why = match gone {
        Gone::OutOfRange => "the offset is not in the topic",
        Gone::Recreated => "the topic was deleted and created anew",
    };
    tracing::warn!(topic, partition, old, new, "{why}, going on at the {}", place(policy));
    Ok(new)
}

fn place(policy: OutOfRange) -> &'static str {
    if policy == OutOfRange::End { "end" } else { "beginning" }
}

fn error(gone: Gone, (topic, partition): (&str, Partition), old: &str, is_early: bool, marks: Watermarks) -> Error {
    let Watermarks { low, high } = marks;
    let because = match gone {
        Gone::Recreated => "the topic was deleted and created anew",
        Gone::OutOfRange if is_early => "retention has removed records that were not consumed",
        Gone::OutOfRange => "the topic is shorter: it was created anew, or has lost records",
    };
    Error::new(Kind::Failed, format!("offset {old} is not in the topic"))
        .at(format!("{topic} partition {partition} ({low}..{high})"))
        .because(because)
        .hint("go on with --on-out-of-range beginning or end, or move the group: 'userpipe seek --to beginning'")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Watermarks = Watermarks { low: 10, high: 20 };

    #[test]
    fn an_offset_is_in_range_from_the_first_record_to_the_end() {
        for (offset, gone) in [(9, true), (10, false), (20, false), (21, true)] {
            assert_eq!(check(offset, MARKS).is_some(), gone, "{offset}");
        }
    }

    #[test]
    fn the_policy_decides_where_it_goes_on() {
        let at = |policy, offset| resolve(policy, Gone::OutOfRange, ("t", 3), Some(offset), MARKS);
        assert_eq!(at(OutOfRange::Beginning, 5).ok(), Some(10));
        assert_eq!(at(OutOfRange::End, 50).ok(), Some(20));
        let error = at(OutOfRange::Error, 5).expect_err("it ends");
        assert_eq!(
            error.to_string(),
            "offset 5 is not in the topic at t partition 3 (10..20): retention has removed records that were not consumed"
        );
        assert!(error.hint_text().is_some_and(|hint| hint.contains("--on-out-of-range")));
        let error = resolve(OutOfRange::Error, Gone::Recreated, ("t", 3), Some(12), MARKS).expect_err("it ends");
        assert!(error.to_string().contains("created anew"), "{error}");
    }
}
