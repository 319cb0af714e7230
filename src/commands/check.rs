//! `check`: every dependency that the configuration uses, what was found of it, and what mends it.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::Context;
use super::dead_letters::printable;
use super::work::source_config;
use crate::cli::{CheckArgs, Connections};
use crate::error::{Error, Kind, Result};
use crate::inspect::check::{self, Finding, Verdict};
use crate::terminal::{self, print};

/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Wider cells do not widen their column.
const CELL_CHARACTERS_MAX: usize = 60;

pub(super) async fn run(args: &CheckArgs, connections: &Connections, context: &Context) -> Result<()> {
    let source = source_config(&args.source, connections, context.config())?;
    let give_up = Instant::now() + args.wait.unwrap_or_default();
    let mut told = String::new();
    let findings = loop {
        let findings = tokio::select! {
            findings = check::all(context.config(), Some(&source)) => findings,
            () = context.shutdown.cancelled() => return Err(stopped()),
        };
        let Some(red) = reds(&findings).next().filter(|_| Instant::now() + LOOK_AGAIN < give_up) else {
            break findings;
        };
        let waiting = format!("waiting for {} {}: {}", red.what, red.place, red.found);
        if waiting != told {
            tracing::info!("{}", printable(&waiting));
            told = waiting;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = context.shutdown.cancelled() => return Err(stopped()),
        }
    };
    let (_, is_coloured) = terminal::stdout_is_drawn();
    let shown = if args.json { lines(&findings) } else { table(&findings, is_coloured) };
    tokio::task::block_in_place(|| print(shown.as_bytes()))?;
    match reds(&findings).count() {
        0 => Ok(()),
        1 => Err(Error::new(Kind::Unhealthy, format!("1 of {} checks failed", findings.len()))),
        red => Err(Error::new(Kind::Unhealthy, format!("{red} of {} checks failed", findings.len()))),
    }
}

fn stopped() -> Error {
    Error::new(Kind::Incomplete, "stopped before everything was looked at")
}

fn reds(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.verdict == Verdict::Fail)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    }
}

fn table(findings: &[Finding], is_coloured: bool) -> String {
    let widest = |cell: fn(&Finding) -> &str| {
        let widths = findings.iter().map(|finding| cell(finding).chars().count());
        widths.filter(|width| *width <= CELL_CHARACTERS_MAX).max().unwrap_or_default()
    };
    let (what_width, place_width) = (widest(|finding| finding.what), widest(|finding| &finding.place));
    let mut table = String::new();
    for Finding { what, place, verdict, found, fix } in findings {
        let (colour, plain) = match verdict {
            _ if !is_coloured => ("", ""),
            Verdict::Ok => ("\x1b[32m", "\x1b[0m"),
            Verdict::Warn => ("\x1b[33m", "\x1b[0m"),
            Verdict::Fail => ("\x1b[31m", "\x1b[0m"),
        };
        let (place, found) = (printable(place), printable(found));
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{colour}{:<4}{plain}  {what:<what_width$}  {place:<place_width$}  {found}",
            word(*verdict)
        );
        if let Some(fix) = fix {
            let _ = writeln!(table, "      {:<what_width$}  fix: {}", "", printable(fix));
        }
    }
    table
}

fn lines(findings: &[Finding]) -> String {
    let line = |Finding { what, place, verdict, found, fix }: &Finding| {
        let verdict = word(*verdict);
        format!("{}\n", json!({ "check": what, "where": place, "verdict": verdict, "found": found, "fix": fix }))
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: Verdict, fix: Option<&str>) -> Finding {
        Finding {
            what: "topic",
            place: "t".to_owned(),
            verdict,
            found: "is\x1b[2Jgone".to_owned(),
            fix: fix.map(str::to_owned),
        }
    }

    #[test]
    fn a_fix_stands_below_what_it_mends_and_a_stranger_cannot_command_the_terminal() {
        let findings = [finding(Verdict::Ok, None), finding(Verdict::Fail, Some("make it"))];
        let shown = table(&findings, false);
        let expected =
            "ok    topic  t  is\u{fffd}[2Jgone\nfail  topic  t  is\u{fffd}[2Jgone\n             fix: make it\n";
        assert_eq!(shown, expected);
        let coloured = table(&findings, true);
        assert!(coloured.contains("\x1b[31mfail\x1b[0m") && !coloured.contains("\x1b[2J"), "{coloured:?}");
    }
}
