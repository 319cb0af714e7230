//! A trace for programs: the words of its verdict, and the whole of it as JSON.

use serde_json::{Value, json};

use super::{BuriedLetter, Found, Stored, Trace, Verdict, What};
use crate::inspect::verify::{InSink, Place};

impl Verdict {
    /// In a word or two, the same for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Found(Place::Sink) => "delivered",
            Verdict::Found(Place::DeadLetters | Place::Undecodable) => "dead letter",
            Verdict::Found(Place::Filtered) => "filtered",
            Verdict::Found(Place::Purged) => "purged",
            Verdict::Found(Place::Deleted) => "deleted",
            Verdict::Found(Place::InFlight) => "in flight",
            Verdict::Found(Place::Waiting) => "waiting",
            Verdict::Found(Place::Hole(_)) => "lost",
            Verdict::Rejected => "rejected",
            Verdict::Unknown => "unknown",
        }
    }
}

impl Trace {
    /// Why, where a word is not enough.
    pub fn reason(&self) -> Option<String> {
        match self.verdict {
            Verdict::Found(Place::Hole(hole)) => Some(hole.meaning().to_owned()),
            Verdict::Found(Place::DeadLetters | Place::Undecodable) => {
                self.letters.last().and_then(|it| it.letter.reason.clone())
            }
            Verdict::Rejected => self.rejections.last().map(|rejection| rejection.reason.clone()),
            Verdict::Found(_) | Verdict::Unknown => None,
        }
    }

    /// As one JSON object: what `trace --json` prints.
    pub fn document(&self) -> Value {
        let stored = |Stored { row, run }: &Stored| {
            json!({
                "run": row.run_id,
                "trigger": run.as_ref().map(|run| &run.trigger),
                "run_started_at": run.as_ref().map(|run| run.started_at),
                "run_state": run.as_ref().map(|run| &run.state),
                "run_attempts": run.as_ref().map(|run| run.attempts),
                "stored_at": row.stored_at,
                "sent_at": row.published.map(|sent| sent.at),
                "partition": row.published.map(|sent| sent.partition),
                "offset": row.published.map(|sent| sent.offset),
            })
        };
        let found = |found: &Found| {
            json!({
                "partition": found.partition,
                "offset": found.offset,
                "timestamp": found.at,
                "kind": match found.what {
                    What::User => "user",
                    What::Tombstone => "tombstone",
                    What::Undecodable => "undecodable",
                },
                "committed": found.is_committed,
                "dead_letter": found.is_dead,
                "filtered": found.is_filtered,
            })
        };
        let letter = |BuriedLetter { letter, is_replayed }: &BuriedLetter| {
            json!({
                "partition": letter.message.partition,
                "offset": letter.message.offset,
                "source_partition": letter.origin.as_ref().map(|origin| origin.partition),
                "source_offset": letter.origin.as_ref().map(|origin| origin.offset),
                "stage": letter.stage,
                "error": letter.reason,
                "attempts": letter.attempts,
                "time": letter.time,
                "replayed": is_replayed,
            })
        };
        let rejections = self.rejections.iter();
        let rejections = rejections.map(|it| json!({ "run": it.run_id, "at": it.at, "reason": it.reason }));
        json!({
            "id": self.id,
            "verdict": self.verdict.word(),
            "reason": self.reason(),
            "ledger": self.has_ledger.then(|| self.stored.iter().map(stored).collect::<Vec<_>>()),
            "rejections": rejections.collect::<Vec<_>>(),
            "topic": self.records.iter().map(found).collect::<Vec<_>>(),
            "dead_letters": self.letters.iter().map(letter).collect::<Vec<_>>(),
            "sink": match self.row {
                InSink::Nothing => Value::Null,
                InSink::Untimed => json!({ "timestamp": null }),
                InSink::Of(timestamp) => json!({ "timestamp": timestamp }),
            },
            "purged": self.is_purged,
        })
    }
}
