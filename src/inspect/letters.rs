//! The newest dead letters, why they are dead, and whether they were replayed.

use std::collections::{BTreeMap, HashSet};

use super::scan;
use crate::bus::observer::Observer;
use crate::bus::{Offset, Partition, Reader, Watermarks};
use crate::error::Result;
use crate::ledger::{AnyLedger, Archive};
use crate::pipeline::Stores;
use crate::pipeline::replay::{DeadLetter, place};

/// Reasons that are told apart; those after them are counted together.
const REASONS_MAX: usize = 50;
/// Characters of a reason that tell it from others.
const REASON_CHARACTERS_MAX: usize = 300;
/// What the rest of the reasons is called.
const OTHER_REASONS: &str = "other reasons";

/// How often a stage gave a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Where they failed, where that is known.
    pub stage: Option<String>,
    /// Why.
    pub reason: String,
    /// How many of the letters that were looked at.
    pub count: u64,
}

/// The newest letters.
#[derive(Debug)]
pub struct Letters {
    /// Records on the dead-letter topic.
    pub total: u64,
    /// Their reasons, the most frequent first.
    pub reasons: Vec<Reason>,
    /// Themselves, newest first.
    pub letters: Vec<DeadLetter>,
    /// Which of them were replayed; `None` where nobody knows.
    pub replayed: Option<HashSet<(Partition, Offset)>>,
}

/// Looks at the newest `count` letters. Without a topic there are none.
///
/// # Errors
/// Those of the bus; a ledger that cannot be asked leaves unknown what was replayed.
pub async fn newest(stores: &Stores, ledger: &AnyLedger, count: u64) -> Result<Letters> {
    let topic = stores.dead_letter_topic();
    let (total, messages) = scan::tail(stores, &topic, count).await?;
    let letters: Vec<DeadLetter> = messages.into_iter().map(DeadLetter::of).collect();
    let places: Vec<_> = letters.iter().map(place).collect();
    let replayed = match ledger {
        AnyLedger::Off => None,
        ledger => ledger.replayed(&topic, &places).await.ok(),
    };
    Ok(Letters { total, reasons: reasons(&letters), letters, replayed })
}

fn reasons(letters: &[DeadLetter]) -> Vec<Reason> {
    let mut counts: BTreeMap<(Option<String>, String), u64> = BTreeMap::new();
    for letter in letters {
        let reason = letter.reason.as_deref().unwrap_or("no reason given");
        let key = (letter.stage.clone(), reason.chars().take(REASON_CHARACTERS_MAX).collect());
        let is_full = counts.len() >= REASONS_MAX && !counts.contains_key(&key);
        let key = if is_full { (None, OTHER_REASONS.to_owned()) } else { key };
        *counts.entry(key).or_default() += 1;
    }
    let reason = |((stage, reason), count)| Reason { stage, reason, count };
    let mut reasons: Vec<_> = counts.into_iter().map(reason).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    reasons
}

/// The letters at these places; those that are not there any more are left out.
///
/// # Errors
/// Those of the bus.
pub async fn at(stores: &Stores, places: &[(Partition, Offset)]) -> Result<Vec<DeadLetter>> {
    let topic = stores.dead_letter_topic();
    let marks = stores.observer().await?.watermarks(&topic).await?;
    let is_there = |(partition, offset): &&(Partition, Offset)| {
        marks.get(partition).is_some_and(|marks| (marks.low..marks.high).contains(offset))
    };
    let (mut reader, mut letters) = (stores.reader_of(&topic, BTreeMap::new()).await?, Vec::new());
    for (partition, offset) in places.iter().filter(is_there) {
        let range = Watermarks { low: *offset, high: offset + 1 };
        reader.go_on(BTreeMap::from([(*partition, range)]));
        letters.extend(reader.next().await?.into_iter().map(DeadLetter::of));
    }
    reader.close().await;
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::bus::Message;
    use crate::record::Timestamp;

    fn letter(reason: &str) -> DeadLetter {
        let header = ("userpipe.error".to_owned(), Some(Bytes::from(reason.to_owned())));
        let timestamp = Timestamp::saturating_from_unix_ms(0);
        DeadLetter::of(Message { partition: 0, offset: 0, timestamp, key: None, value: None, headers: vec![header] })
    }

    #[test]
    fn the_histogram_of_reasons_is_bounded() {
        let mut letters: Vec<_> = (0..REASONS_MAX + 20).map(|n| letter(&format!("reason {n:03}"))).collect();
        letters.extend((0..40).map(|_| letter("reason 000")));
        let reasons = reasons(&letters);
        assert_eq!((reasons.len(), reasons[0].count, reasons[0].reason.as_str()), (REASONS_MAX + 1, 41, "reason 000"));
        assert_eq!((reasons[1].count, reasons[1].reason.as_str()), (20, OTHER_REASONS));
    }
}
