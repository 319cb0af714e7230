//! `trace`: every hop of one user, and a verdict.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Context;
use super::dead_letters::printable;
use crate::cli::TraceArgs;
use crate::error::{Error, Kind, Result};
use crate::inspect::trace::{self, BuriedLetter, Found, Stored, Trace, Verdict, What};
use crate::inspect::verify::{InSink, Place};
use crate::terminal::print;

pub(super) async fn run(args: &TraceArgs, context: &Context) -> Result<()> {
    let traced = tokio::select! {
        () = context.shutdown.cancelled() => {
            return Err(Error::new(Kind::Incomplete, "stopped before everything was looked at"));
        }
        traced = trace::trace(&context.stores, args.id) => traced?,
    };
    let shown = if args.json { format!("{}\n", object(&traced)) } else { text(&traced) };
    tokio::task::block_in_place(|| print(shown.as_bytes()))?;
    match traced.verdict {
        Verdict::Found(Place::Hole(hole)) => Err(Error::new(Kind::Hole, format!("user {} is lost", traced.id))
            .because(hole.meaning())
            .hint(hint(&traced))),
        Verdict::Unknown => Err(Error::new(Kind::Hole, format!("nothing knows user {}", traced.id))
            .because("it was never fetched, or has expired everywhere")
            .hint("check the id, and --topic, --table and --data-dir")),
        Verdict::Found(_) | Verdict::Rejected => Ok(()),
    }
}

fn hint(traced: &Trace) -> String {
    if traced.stored.is_empty() {
        "read the topic again: 'userpipe consume --from-beginning -e'".to_owned()
    } else {
        format!("send it again: userpipe produce --from-ledger --id {}", traced.id)
    }
}

/// The verdict in a word or two, the same for people and programs.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Found(Place::Sink) => "delivered",
        Verdict::Found(Place::DeadLetters | Place::Undecodable) => "dead letter",
        Verdict::Found(Place::Purged) => "purged",
        Verdict::Found(Place::Deleted) => "deleted",
        Verdict::Found(Place::InFlight) => "in flight",
        Verdict::Found(Place::Waiting) => "waiting",
        Verdict::Found(Place::Hole(_)) => "lost",
        Verdict::Rejected => "rejected",
        Verdict::Unknown => "unknown",
    }
}

/// Why, where a word is not enough.
fn reason(traced: &Trace) -> Option<String> {
    match traced.verdict {
        Verdict::Found(Place::Hole(hole)) => Some(hole.meaning().to_owned()),
        Verdict::Found(Place::DeadLetters | Place::Undecodable) => {
            traced.letters.last().and_then(|it| it.letter.reason.clone())
        }
        Verdict::Rejected => traced.rejections.last().map(|rejection| rejection.reason.clone()),
        Verdict::Found(_) | Verdict::Unknown => None,
    }
}

fn text(traced: &Trace) -> String {
    let mut text = String::new();
    let mut hop = |name: &str, line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12}  {}", printable(&line));
    };
    for rejection in &traced.rejections {
        hop("rejected", format!("{} by run {}: {}", rejection.at, rejection.run_id, rejection.reason));
    }
    for stored in &traced.stored {
        hop("ledger", ledger_line(stored));
    }
    if traced.stored.is_empty() {
        hop("ledger", if traced.has_ledger { "-" } else { "there is none" }.to_owned());
    }
    for found in &traced.records {
        hop("topic", record_line(found));
    }
    if traced.records.is_empty() {
        hop("topic", "-".to_owned());
    }
    for letter in &traced.letters {
        hop("dead letter", letter_line(letter));
    }
    hop(
        "sink",
        match traced.row {
            InSink::Nothing => "-".to_owned(),
            InSink::Untimed => "a row".to_owned(),
            InSink::Of(at) => format!("a row with the record of {at}"),
        },
    );
    if traced.is_purged {
        hop("purged", "the id is suppressed".to_owned());
    }
    let why = reason(traced).map_or_else(String::new, |why| format!(": {why}"));
    hop("verdict", format!("{}{why}", word(traced.verdict)));
    text
}

fn ledger_line(stored: &Stored) -> String {
    let Stored { row, run } = stored;
    let sent = row.published.map_or_else(
        || "never sent".to_owned(),
        |sent| format!("sent {} to {}:{}", sent.at, sent.partition, sent.offset),
    );
    let run = run
        .as_ref()
        .map_or_else(String::new, |run| format!(" ({}, started {}, {})", run.trigger, run.started_at, run.state));
    format!("stored {}, {sent}, by run {}{run}", row.stored_at, row.run_id)
}

fn record_line(found: &Found) -> String {
    let what = match found.what {
        What::User => "",
        What::Tombstone => ", a tombstone",
        What::Undecodable => ", which cannot be decoded",
    };
    let committed = if found.is_committed { "committed" } else { "in flight" };
    let dead = if found.is_dead { ", a dead letter" } else { "" };
    format!("{}:{}  record of {}{what}, {committed}{dead}", found.partition, found.offset, found.at)
}

fn letter_line(buried: &BuriedLetter) -> String {
    let letter = &buried.letter;
    let unknown = || "-".to_owned();
    let origin = letter.origin.as_ref().map_or_else(unknown, |it| format!("{}:{}", it.partition, it.offset));
    let attempts = letter.attempts.map_or_else(unknown, |attempts| attempts.to_string());
    let [stage, time, why] = [&letter.stage, &letter.time, &letter.reason].map(|it| it.clone().unwrap_or_else(unknown));
    let (partition, offset) = (letter.message.partition, letter.message.offset);
    let replayed = if buried.is_replayed { ", replayed" } else { "" };
    format!("{partition}:{offset}  of {origin}, {time}, {stage}, attempts {attempts}{replayed}: {why}")
}

fn object(traced: &Trace) -> Value {
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
    let rejections = traced.rejections.iter();
    let rejections = rejections.map(|it| json!({ "run": it.run_id, "at": it.at, "reason": it.reason }));
    json!({
        "id": traced.id,
        "verdict": word(traced.verdict),
        "reason": reason(traced),
        "ledger": traced.has_ledger.then(|| traced.stored.iter().map(stored).collect::<Vec<_>>()),
        "rejections": rejections.collect::<Vec<_>>(),
        "topic": traced.records.iter().map(found).collect::<Vec<_>>(),
        "dead_letters": traced.letters.iter().map(letter).collect::<Vec<_>>(),
        "sink": match traced.row {
            InSink::Nothing => Value::Null,
            InSink::Untimed => json!({ "timestamp": null }),
            InSink::Of(timestamp) => json!({ "timestamp": timestamp }),
        },
        "purged": traced.is_purged,
    })
}
