//! `verify`: a table hop by hop, what differs by id, and an exit code that a smoke test can rely on.

use std::fmt::Write as _;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Context;
use crate::cli::VerifyArgs;
use crate::error::{Error, Kind, Result};
use crate::inspect::verify::{self, Counts, Difference, Options, Rank, Verified};
use crate::ledger::Selection;
use crate::record::Timestamp;
use crate::terminal::print;

/// Differences that a person is shown; a program is given all of them.
const DIFFERENCES_SHOWN_MAX: usize = 20;
/// Bytes of JSON Lines that are printed at once.
const PRINT_BYTES: usize = 64 * 1024;

pub(super) async fn run(args: &VerifyArgs, context: &Context) -> Result<()> {
    let options = Options { selection: selection(args), settle: args.settle, lists_foreign: args.strict };
    let verifying = verify::verify(&context.stores, options);
    let mut verified = tokio::select! {
        () = context.shutdown.cancelled() => {
            return Err(Error::new(Kind::Incomplete, "stopped before everything was looked at"));
        }
        verified = verifying => verified?,
    };
    let first = if args.json { print_json(&mut verified).await? } else { print_table(&mut verified).await? };
    judge(&verified.counts, args.strict, first)?;
    context.terminal.say(&summary(&verified.counts));
    Ok(())
}

fn selection(args: &VerifyArgs) -> Selection {
    match (args.run, args.since) {
        (Some(run_id), _) => Selection::Run(run_id),
        (None, Some(since)) => Selection::Since(Timestamp::ago(since)),
        (None, None) => Selection::All,
    }
}

/// The lines of the table: a name as a program reads it, and the count where there is one.
fn lines(counts: &Counts) -> [(&'static str, Option<u64>); 13] {
    [
        ("ledger", counts.ledger),
        ("bus", Some(counts.bus)),
        ("expired", counts.expired),
        ("foreign", counts.foreign),
        ("copies", Some(counts.copies)),
        ("undecodable", Some(counts.undecodable)),
        ("sink", Some(counts.sink)),
        ("dead_letters", Some(counts.dead_letters)),
        ("purged", Some(counts.purged)),
        ("deleted", Some(counts.deleted)),
        ("in_flight", Some(counts.in_flight)),
        ("waiting", Some(counts.waiting)),
        ("holes", Some(counts.holes)),
    ]
}

/// Prints for a person; the id or place of the first hole.
async fn print_table(verified: &mut Verified) -> Result<Option<Uuid>> {
    let mut text = String::new();
    for (name, count) in lines(&verified.counts) {
        let count = count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<12}  {count:>12}", name.replace('_', " "));
    }
    let (mut shown, mut first, mut rest) = (0, None, false);
    let taking = |difference: &Difference| {
        if shown == DIFFERENCES_SHOWN_MAX {
            rest = true;
            return Ok(false);
        }
        if difference.rank == Rank::Hole && first.is_none() {
            first = difference.id;
        }
        shown += 1;
        text.push_str(&line(difference));
        Ok(true)
    };
    verified.differences(taking).await?;
    if rest {
        let _ = writeln!(text, "the first {DIFFERENCES_SHOWN_MAX}; --json lists all");
    }
    tokio::task::block_in_place(|| print(text.as_bytes()))?;
    Ok(first)
}

fn line(difference: &Difference) -> String {
    let id = difference.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let place = difference.place.map_or_else(|| "-".to_owned(), |(partition, offset)| format!("{partition}:{offset}"));
    format!("{:<9}  {id:<36}  {place:>12}  {}\n", difference.rank.word(), difference.how)
}

/// Prints for a program: a line for each difference, then one with the counts; the id of the first hole.
async fn print_json(verified: &mut Verified) -> Result<Option<Uuid>> {
    let (mut text, mut first) = (String::new(), None);
    let taking = |difference: &Difference| {
        if difference.rank == Rank::Hole && first.is_none() {
            first = difference.id;
        }
        text.push_str(&object(difference).to_string());
        text.push('\n');
        if text.len() < PRINT_BYTES {
            return Ok(true);
        }
        tokio::task::block_in_place(|| print(std::mem::take(&mut text).as_bytes()))
    };
    verified.differences(taking).await?;
    let mut counts = json!({ "verified": verified.at.to_string() });
    for (name, count) in lines(&verified.counts) {
        counts[name] = json!(count);
    }
    let _ = writeln!(text, "{counts}");
    tokio::task::block_in_place(|| print(text.as_bytes()))?;
    Ok(first)
}

fn object(difference: &Difference) -> Value {
    let how = Some(difference.how.as_str()).filter(|how| !how.is_empty());
    json!({
        "difference": difference.rank.word().replace(' ', "_"),
        "how": how,
        "id": difference.id,
        "partition": difference.place.map(|(partition, _)| partition),
        "offset": difference.place.map(|(_, offset)| offset),
    })
}

/// The exit code: a hole before foreign ids, and those before what is still on its way.
fn judge(counts: &Counts, is_strict: bool, first: Option<Uuid>) -> Result<()> {
    if counts.holes > 0 {
        let hint = match first {
            Some(id) => format!("userpipe trace {id} tells where it was lost; produce --from-ledger sends users again"),
            None => {
                "the records above cannot be decoded: read them again with 'userpipe seek' and 'consume'".to_owned()
            }
        };
        return Err(Error::new(Kind::Hole, format!("{} unaccounted for", counts.holes)).hint(hint));
    }
    if let Some(foreign @ 1..) = counts.foreign.filter(|_| is_strict) {
        return Err(Error::new(Kind::Hole, format!("{foreign} on the topic are unknown to the ledger (--strict)"))
            .hint("another producer writes to this topic, or the ledger was cut back (--keep)"));
    }
    let hint = match (counts.in_flight, counts.waiting) {
        (0, 0) => return Ok(()),
        (_, 0) => "deliver them with 'userpipe consume -e', or give them time with --settle",
        (0, _) => "the next 'userpipe produce' or 'userpipe run' sends them",
        _ => "'userpipe run' sends and delivers them, or 'userpipe produce' and 'userpipe consume -e'",
    };
    let what =
        format!("nothing is lost, but {} are in flight and {} wait to be sent", counts.in_flight, counts.waiting);
    Err(Error::new(Kind::Incomplete, what).hint(hint))
}

fn summary(counts: &Counts) -> String {
    let others = [
        ("in the dead letters", counts.dead_letters),
        ("purged", counts.purged),
        ("deleted", counts.deleted),
        ("foreign", counts.foreign.unwrap_or(0)),
    ];
    let mut text = format!("nothing is lost: {} in the sink", counts.sink);
    for (name, count) in others.into_iter().filter(|(_, count)| *count > 0) {
        let _ = write!(text, ", {count} {name}");
    }
    text
}
