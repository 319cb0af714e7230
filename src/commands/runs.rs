//! `runs`: what the schedule did, and what it is to do. All of it goes through the ledger, so it works from any machine
//! that reaches it.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::Context;
use crate::cli::{RunsAction, RunsArgs, RunsListArgs, RunsShowArgs, RunsTriggerArgs};
use crate::error::{Error, Kind, Result};
use crate::ledger::{AnyLedger, Archive, LogLine, Run, Runs, SentRange};
use crate::terminal::print;

/// How often `trigger --wait` asks how its run is.
const ASK_AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn run(args: RunsArgs, context: &Context) -> Result<()> {
    context.config().ledger.required("runs are kept in the ledger")?;
    let ledger = match args.action {
        RunsAction::List(_) | RunsAction::Show(_) => context.stores.ledger_if_there().await?,
        RunsAction::Trigger(_) | RunsAction::Pause | RunsAction::Resume => context.stores.ledger().await?,
    };
    match args.action {
        RunsAction::List(args) => list(args, &ledger, context).await,
        RunsAction::Show(args) => show(args, &ledger).await,
        RunsAction::Trigger(args) => trigger(args, &ledger, context).await,
        RunsAction::Pause => pause(true, &ledger, context).await,
        RunsAction::Resume => pause(false, &ledger, context).await,
    }
}

async fn list(args: RunsListArgs, ledger: &AnyLedger, context: &Context) -> Result<()> {
    let runs = ledger.runs(None, args.limit as usize).await?;
    let mut shown = String::new();
    if !args.json && !runs.is_empty() {
        shown.push_str(HEADINGS);
    }
    let shown_run = |run: &Run| if args.json { format!("{}\n", run.document()) } else { line(run) };
    shown.extend(runs.iter().map(shown_run));
    tokio::task::block_in_place(|| print(shown.as_bytes()))?;
    if let Some(since) = ledger.paused_since().await? {
        context.terminal.say(&format!("the schedule is paused since {since}; 'userpipe runs resume' goes on"));
    } else if runs.is_empty() {
        context.terminal.say(&format!("no runs yet of {}", context.bus_and_topic()));
    }
    Ok(())
}

const HEADINGS: &str = "run                                   state      trigger   slot or start             took  \
    tries  fetched  rejected  produced  error\n";

fn line(run: &Run) -> String {
    let took = run.took().map_or_else(|| "-".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()));
    format!(
        "{}  {:<9}  {:<8}  {}  {took:>8}  {:>5}  {:>7}  {:>8}  {:>8}  {}\n",
        run.run_id,
        run.state,
        run.trigger,
        run.scheduled_for.unwrap_or(run.started_at),
        run.attempts,
        run.fetched,
        run.rejected,
        run.produced,
        run.error.as_deref().unwrap_or("-"),
    )
}

async fn show(args: RunsShowArgs, ledger: &AnyLedger) -> Result<()> {
    let run = match args.run {
        Some(run_id) => ledger.run(run_id).await?,
        None => ledger.runs(None, 1).await?.into_iter().next(),
    };
    let run = run.ok_or_else(|| {
        let what = args.run.map_or_else(|| "the ledger has no runs yet".to_owned(), |id| format!("no run {id}"));
        Error::new(Kind::Failed, what)
            .hint("list them with 'userpipe runs list'; check --topic and where the ledger is")
    })?;
    let (sent, log) = (ledger.sent(run.run_id).await?, ledger.log(run.run_id).await?);
    let shown = if args.json { format!("{}\n", whole(&run, &sent, &log)) } else { page(&run, &sent, &log) };
    tokio::task::block_in_place(|| print(shown.as_bytes())).map(|_| ())
}

fn whole(run: &Run, sent: &[SentRange], log: &[LogLine]) -> Value {
    let mut object = run.document();
    let range = |range: &SentRange| {
        let SentRange { partition, first, last, records } = range;
        json!({ "partition": partition, "first": first, "last": last, "records": records })
    };
    let line = |line: &LogLine| json!({ "at": line.at.to_string(), "level": line.level, "text": line.text });
    object["stored"] = sent.iter().map(|range| range.records).sum::<u64>().into();
    object["sent"] = sent.iter().map(range).collect();
    object["log"] = log.iter().map(line).collect();
    object
}

/// What is known of a run, for a person.
fn page(run: &Run, sent: &[SentRange], log: &[LogLine]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut page = String::new();
    let rows = [
        ("run", run.run_id.to_string()),
        ("state", run.state.clone()),
        ("trigger", run.trigger.clone()),
        ("slot", or_dash(run.scheduled_for.map(|at| at.to_string()))),
        ("started", run.started_at.to_string()),
        ("finished", or_dash(run.finished_at.map(|at| at.to_string()))),
        ("took", or_dash(run.took().map(|took| humantime::format_duration(took).to_string()))),
        ("attempts", run.attempts.to_string()),
        ("seed", or_dash(run.seed.clone())),
        ("fetched", run.fetched.to_string()),
        ("rejected", run.rejected.to_string()),
        ("produced", run.produced.to_string()),
        ("error", or_dash(run.error.clone())),
    ];
    // Writing to a string cannot fail.
    for (name, value) in rows {
        let _ = writeln!(page, "{name:<9} {value}");
    }
    for SentRange { partition, first, last, records } in sent {
        let _ = writeln!(page, "{:<9} partition {partition}: {records} records at {first}..{last}", "sent");
    }
    for line in log {
        let _ = writeln!(page, "{:<9} {} {:<5} {}", "log", line.at, line.level, line.text);
    }
    page
}

async fn trigger(args: RunsTriggerArgs, ledger: &AnyLedger, context: &Context) -> Result<()> {
    let run_id = ledger.request_run().await?;
    tokio::task::block_in_place(|| print(format!("{run_id}\n").as_bytes()))?;
    let Some(limit) = args.wait else {
        context
            .terminal
            .say("a running schedule takes it within a second or two; 'userpipe runs show' tells how it is");
        return Ok(());
    };
    let give_up = Instant::now() + limit;
    loop {
        let run = ledger.run(run_id).await?;
        match run.as_ref().map(|run| run.state.as_str()) {
            Some("success") => return Ok(()),
            Some("requested" | "running") if Instant::now() < give_up && !context.shutdown.is_cancelled() => {}
            Some("requested") => {
                return Err(Error::new(Kind::Incomplete, format!("nobody has taken run {run_id} yet"))
                    .hint("start a schedule of this pipeline: userpipe run --interval 1m"));
            }
            Some("running") => return Err(Error::new(Kind::Incomplete, format!("run {run_id} is still going"))),
            _ => return Err(failed(run_id, run.and_then(|run| run.error))),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn failed(run_id: Uuid, reason: Option<String>) -> Error {
    let error = Error::new(Kind::Failed, format!("run {run_id} failed"));
    let error = match reason {
        Some(reason) => error.because(reason),
        None => error,
    };
    error.hint(format!("its log: userpipe runs show {run_id}"))
}

async fn pause(paused: bool, ledger: &AnyLedger, context: &Context) -> Result<()> {
    let is_changed = ledger.set_paused(paused).await?;
    context.terminal.say(match (paused, is_changed) {
        (true, true) => "paused: slots are skipped until 'userpipe runs resume'",
        (true, false) => "it was paused already",
        (false, true) => "resumed: the next slot is run",
        (false, false) => "it was not paused",
    });
    Ok(())
}
