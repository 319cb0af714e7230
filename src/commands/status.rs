//! `status`: the group and its lag, the topic, the dead letters, the outbox and the last runs; with limits, a gate.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use super::dead_letters::printable;
use crate::cli::StatusArgs;
use crate::error::{Error, Kind, Result};
use crate::inspect::latency::{self, Histogram};
use crate::inspect::status::{Gates, Status, Watcher, p99, seconds_words, short};
use crate::ledger::Run;
use crate::record::Timestamp;
use crate::terminal::{self, print};

/// How often `--watch` looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// To the top left; each line then erases what was right of it, and the end what was below.
const TOP: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

pub(super) async fn run(args: &StatusArgs, context: &Context) -> Result<()> {
    let mut watcher = Watcher::new(&context.stores);
    let watching = async {
        if args.watch { watch(args, &mut watcher, context).await } else { once(args, &mut watcher, context).await }
    };
    tokio::select! {
        done = watching => done,
        () = context.shutdown.cancelled() => Ok(()),
    }
}

async fn look(args: &StatusArgs, watcher: &mut Watcher<'_>) -> Result<(Status, Option<Histogram>)> {
    let latency = if args.metrics.is_empty() { None } else { Some(latency::scrape(&args.metrics).await?) };
    Ok((watcher.look().await?, latency))
}

async fn once(args: &StatusArgs, watcher: &mut Watcher<'_>, context: &Context) -> Result<()> {
    // Whatever is wrong, the answer to the question is no; how the question was put is another matter.
    let unhealthy = |error: Error| match error.kind() {
        Kind::Usage => error,
        _ => error.with_kind(Kind::Unhealthy),
    };
    let (status, latency) = look(args, watcher).await.map_err(unhealthy)?;
    let shown = show(args, &status, latency.as_ref(), context);
    tokio::task::block_in_place(|| print(shown.as_bytes()))?;
    let gates = Gates { lag_max: args.max_lag, age_max: args.max_age, p99_max: args.max_p99 };
    let reasons = gates.reasons(&status, latency.as_ref());
    if reasons.is_empty() { Ok(()) } else { Err(Error::new(Kind::Unhealthy, reasons.join("; "))) }
}

/// Until the reader goes. What is in the way is shown in its place: an outage is what somebody watches for.
async fn watch(args: &StatusArgs, watcher: &mut Watcher<'_>, context: &Context) -> Result<()> {
    let (is_terminal, _) = terminal::stdout_is_drawn();
    let mut due = tokio::time::interval(LOOK_INTERVAL);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let shown = match look(args, watcher).await {
            Ok((status, latency)) => show(args, &status, latency.as_ref(), context),
            Err(error) if error.kind() == Kind::Usage => return Err(error),
            Err(error) if args.json => {
                format!("{}\n", json!({ "at": Timestamp::now().to_string(), "error": error.to_string() }))
            }
            Err(error) => format!("{}  {}\n", Timestamp::now(), printable(&error.to_string())),
        };
        let shown = match (is_terminal, args.json) {
            (_, true) => shown,
            (true, false) => frame(&shown),
            (false, false) => format!("{shown}\n"),
        };
        if !tokio::task::block_in_place(|| print(shown.as_bytes()))? {
            return Ok(());
        }
    }
}

/// The text in place of the one before, without a moment in which the screen is empty.
fn frame(text: &str) -> String {
    let mut frame = TOP.to_owned();
    for line in text.lines() {
        frame.push_str(line);
        frame.push_str(REST_OF_LINE);
        frame.push_str("\r\n");
    }
    frame.push_str(REST_OF_SCREEN);
    frame
}

fn show(args: &StatusArgs, status: &Status, latency: Option<&Histogram>, context: &Context) -> String {
    if args.json {
        return format!("{}\n", object(status, latency, &context.config().topic, &context.config().group));
    }
    text(status, latency, &context.bus_and_topic(), &context.config().group)
}

fn text(status: &Status, latency: Option<&Histogram>, topic: &str, group: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "topic  {}", printable(topic));
    let members = match status.members.len() {
        0 => "no members".to_owned(),
        1 => "1 member".to_owned(),
        n => format!("{n} members"),
    };
    let _ = writeln!(text, "group  {}, {members}", printable(group));
    if let Some(other) = &status.another_sink {
        let _ = writeln!(text, "       its offsets were committed for another sink, {}", printable(other));
    }
    let _ =
        writeln!(text, "\n{:>9}  {:>10}  {:>10}  {:>10}  {:>8}  owner", "partition", "low", "high", "committed", "lag");
    for of in &status.partitions {
        let committed = of.committed.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let owner = of.owner.as_deref().map_or_else(|| "-".to_owned(), printable);
        let (low, high) = (of.marks.low, of.marks.high);
        let _ = writeln!(text, "{:>9}  {low:>10}  {high:>10}  {committed:>10}  {:>8}  {owner}", of.partition, of.lag);
    }
    let age = status.age().map_or_else(|| "none".to_owned(), |age| format!("{} ago", short(age)));
    let _ = write!(text, "\nlag {} · newest record {age} · dead letters {}", status.lag(), status.dead_letters);
    if let Some(waiting) = status.waiting {
        let _ = write!(text, " · outbox {waiting} waiting");
    }
    if let Some(latency) = latency {
        let p99 = p99(latency).map_or_else(|| "not measured yet".to_owned(), seconds_words);
        let _ = write!(text, " · p99 latency {p99}");
    }
    text.push('\n');
    if !status.runs.is_empty() {
        text.push_str("\nlast runs\n");
        status.runs.iter().for_each(|run| text.push_str(&run_line(run)));
    }
    text
}

fn run_line(run: &Run) -> String {
    let took = run.finished_at.map_or_else(String::new, |end| {
        let ms = (end.unix_ms() - run.started_at.unix_ms()).max(0).cast_unsigned();
        format!(", took {}", humantime::format_duration(Duration::from_millis(ms)))
    });
    let error = run.error.as_deref().map_or_else(String::new, |error| format!(": {}", printable(error)));
    format!(
        "  {}  {:<9} {:<8} fetched {}, produced {}, rejected {}{took}{error}\n",
        run.started_at, run.state, run.trigger, run.fetched, run.produced, run.rejected
    )
}

fn object(status: &Status, latency: Option<&Histogram>, topic: &str, group: &str) -> Value {
    let time = |time: &Option<Timestamp>| time.map(|time| time.to_string());
    let members: Vec<_> =
        status.members.iter().map(|member| json!({ "name": member.name, "partitions": member.partitions })).collect();
    let partition = |of: &crate::inspect::status::PartitionStatus| {
        json!({
            "partition": of.partition, "low": of.marks.low, "high": of.marks.high, "committed": of.committed,
            "lag": of.lag, "owner": of.owner,
        })
    };
    let run = |run: &Run| {
        json!({
            "run_id": run.run_id, "trigger": run.trigger, "state": run.state,
            "started_at": run.started_at.to_string(), "finished_at": time(&run.finished_at),
            "fetched": run.fetched, "produced": run.produced, "rejected": run.rejected, "error": run.error,
        })
    };
    let mut object = json!({
        "at": status.at.to_string(),
        "topic": topic,
        "group": group,
        "another_sink": status.another_sink,
        "members": members,
        "partitions": status.partitions.iter().map(partition).collect::<Vec<_>>(),
        "lag": status.lag(),
        "newest": time(&status.newest),
        "age_seconds": status.age().map(|age| age.as_secs_f64()),
        "dead_letters": status.dead_letters,
        "outbox_waiting": status.waiting,
        "runs": status.runs.iter().map(run).collect::<Vec<_>>(),
    });
    if let Some(latency) = latency {
        // JSON has no infinity; null is "not measured, or past every bound".
        object["p99_seconds"] = json!(p99(latency));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_erases_what_was_there() {
        assert_eq!(frame("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }
}
