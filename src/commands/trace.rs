//! `trace`: every hop of one user, and a verdict.

use std::fmt::Write as _;

use super::Context;
use super::dead_letters::printable;
use crate::cli::TraceArgs;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::inspect::trace::{self, BuriedLetter, Found, Stored, Trace, Verdict, What};
use crate::inspect::verify::{InSink, Place, Rules};
use crate::terminal::print;

pub(super) async fn run(args: &TraceArgs, context: &Context) -> Result<()> {
    let filter = config::filter(args.filter.where_.as_deref(), &context.config().with)?;
    let rules = Rules { codec: context.stores.codec().await?, filter };
    let traced = tokio::select! {
        () = context.shutdown.cancelled() => {
            return Err(Error::new(Kind::Incomplete, "stopped before everything was looked at"));
        }
        traced = trace::trace(&context.stores, rules, args.id) => traced?,
    };
    let shown = if args.json { format!("{}\n", traced.document()) } else { text(&traced) };
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
    let why = traced.reason().map_or_else(String::new, |why| format!(": {why}"));
    hop("verdict", format!("{}{why}", traced.verdict.word()));
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
    let filtered = if found.is_filtered { ", dropped by --where" } else { "" };
    format!("{}:{}  record of {}{what}, {committed}{dead}{filtered}", found.partition, found.offset, found.at)
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
