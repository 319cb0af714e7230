//! What a person sees: log lines, progress and summaries on stderr, data on stdout.
//!
//! Progress bars are drawn only on a terminal; elsewhere a plain line says the same every so often.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{LogFormat, OutputArgs};
use crate::error::{Error, Kind, Result, STDOUT_HINT};
use crate::metrics::Metrics;
use crate::run_log::RunLogLayer;

/// How often the bar is redrawn.
const BAR_INTERVAL: Duration = Duration::from_millis(125);
/// How often a plain line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The process's terminal. Clones share it.
#[derive(Clone, Debug)]
pub struct Terminal {
    bars: MultiProgress,
    output: OutputArgs,
}

impl Terminal {
    /// Starts logging as the arguments say.
    pub fn start(output: OutputArgs) -> Self {
        let terminal = Self { bars: MultiProgress::new(), output };
        let default = match (output.quiet, output.verbose) {
            (true, _) => "error",
            (false, 0) => "userpipe=info,error",
            (false, 1) => "userpipe=debug,warn",
            (false, _) => "debug",
        };
        // The libraries log expected failures (a broker that is down) as errors of their own; ours say them once.
        let quiet_libraries = if output.verbose == 0 { ",rskafka=off,krafka=off,cdrs_tokio=off,sqlx=off" } else { "" };
        let filter = std::env::var("USERPIPE_LOG").unwrap_or_else(|_| format!("{default}{quiet_libraries}"));
        let lines = tracing_subscriber::fmt::layer().with_target(output.verbose > 1).with_writer(terminal.clone());
        let lines = match output.log_format {
            LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        // What a run says is on record, however quiet the terminal is.
        let of_runs = RunLogLayer.with_filter(Targets::new().with_target("userpipe", LevelFilter::INFO));
        let lines = lines.with_filter(levels(&filter));
        tracing_subscriber::registry().with(lines).with(of_runs).init();
        terminal
    }

    /// A line for the person: the path at the start, a summary at the end. Nothing with `--quiet`.
    pub fn say(&self, line: &str) {
        if self.output.quiet {
            return;
        }
        match self.output.log_format {
            LogFormat::Text => self.line(line),
            LogFormat::Json => tracing::info!("{line}"),
        }
    }

    /// An expected failure, and what to try.
    pub fn fail(&self, error: &Error) {
        match self.output.log_format {
            LogFormat::Text => self.line(&error.report()),
            LogFormat::Json => {
                tracing::error!(exit_code = error.kind().exit_code(), hint = error.hint_text(), "{error}");
            }
        }
    }

    fn line(&self, line: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = self.bars.suspend(|| writeln!(io::stderr(), "{line}"));
    }

    /// Shows progress until the token is cancelled: towards `total` records where that is known.
    pub async fn show_progress(self, metrics: Arc<Metrics>, total: Option<u64>, stop: CancellationToken) {
        if self.output.quiet {
            return;
        }
        let is_drawn = io::stderr().is_terminal() && self.output.log_format == LogFormat::Text;
        let bar = is_drawn.then(|| self.bars.add(bar(total)));
        let mut due = tokio::time::interval(if bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL });
        due.tick().await;
        let mut speed = Speed::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = due.tick() => {
                    let text = speed.describe(&metrics);
                    if let Some(bar) = &bar {
                        bar.set_position(done(&metrics));
                        bar.set_message(text);
                        bar.tick();
                    } else {
                        tracing::info!("{text}");
                    }
                }
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

/// The level of each target, as `TARGET=LEVEL,…` says. What cannot be read of it is told and left out; of nothing, only errors
/// are logged. No span is asked for by its fields: the regular expressions for that are half a megabyte of the program.
fn levels(filter: &str) -> Targets {
    let is_read = |part: &&str| match part.parse::<Targets>() {
        Ok(_) => true,
        Err(error) => {
            let _ = writeln!(io::stderr(), "ignoring `{part}`: {error}");
            false
        }
    };
    let parts: Vec<_> = filter.split(',').map(str::trim).filter(|part| !part.is_empty()).filter(is_read).collect();
    let only_errors = Targets::new().with_default(LevelFilter::ERROR);
    if parts.is_empty() { only_errors } else { parts.join(",").parse().unwrap_or(only_errors) }
}

/// A bar towards a total, or a spinner for a stream without end.
fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:24.cyan} {pos}/{len} · {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner:.cyan} {elapsed_precise} · {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The records that are through: written where this process delivers, else produced.
fn done(metrics: &Metrics) -> u64 {
    if metrics.consumed.get() > 0 {
        metrics.written.get() + metrics.dead_lettered.get() + metrics.filtered.get()
    } else {
        metrics.produced.get()
    }
}

/// The rate over the last few looks.
#[derive(Debug)]
struct Speed {
    since: Instant,
    records: u64,
    per_second: f64,
}

impl Default for Speed {
    fn default() -> Self {
        Self { since: Instant::now(), records: 0, per_second: 0.0 }
    }
}

impl Speed {
    fn describe(&mut self, metrics: &Metrics) -> String {
        let records = done(metrics);
        let elapsed = self.since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            #[expect(clippy::cast_precision_loss, reason = "a rate for show")]
            let now = records.saturating_sub(self.records) as f64 / elapsed.as_secs_f64();
            *self = Self { since: Instant::now(), records, per_second: now };
        }
        let mut text = counts(metrics);
        let _ = write!(text, " · {:.0}/s", self.per_second);
        let lag = metrics.lag();
        if lag > 0 {
            let _ = write!(text, " · lag {lag}");
            if self.per_second >= 1.0 {
                #[expect(clippy::cast_precision_loss, reason = "an estimate for show")]
                let seconds = (lag as f64 / self.per_second).ceil();
                let _ = write!(text, ", ETA {seconds:.0}s");
            }
        }
        text
    }
}

/// `fetched 200 · produced 200 · written 180`, with what else became of records only where something did.
pub fn counts(metrics: &Metrics) -> String {
    let always =
        [("fetched", metrics.fetched.get()), ("produced", metrics.produced.get()), ("written", metrics.written.get())];
    let wrong = [
        ("filtered", metrics.filtered.get()),
        ("rejected", metrics.rejected.get()),
        ("dead letters", metrics.dead_lettered.get()),
        ("retries", metrics.retries()),
        ("failed runs", metrics.failed_runs.get()),
    ];
    let shown = always.iter().chain(&wrong).filter(|(_, count)| *count > 0);
    let text = shown.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(" · ");
    if text.is_empty() { "nothing yet".to_owned() } else { text }
}

/// Whether standard output is a terminal that may be coloured and redrawn (`NO_COLOR`, <https://no-color.org>, keeps it
/// from the first).
pub fn stdout_is_drawn() -> (bool, bool) {
    let is_terminal = io::stdout().is_terminal();
    let is_coloured = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    (is_terminal, is_coloured)
}

/// Prints data on standard output; false when the reader has gone, which is no error.
///
/// # Errors
/// [`Kind::LocalIo`] for anything else, a full disk for example.
pub fn print(data: &[u8]) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::new(Kind::LocalIo, "cannot write to standard output").because(e).hint(STDOUT_HINT)),
    }
}

/// Log lines go through the bars, so that neither overwrites the other.
impl<'a> MakeWriter<'a> for Terminal {
    type Writer = &'a Terminal;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Terminal {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().write_all(data))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an `EnvFilter` reads them.
    #[test]
    fn levels_are_those_of_the_longest_target() {
        use tracing::Level;
        let of = |filter: &str, target: &str, level: Level| levels(filter).would_enable(target, &level);
        let usual = "userpipe=info,error,rskafka=off";
        assert!(of(usual, "userpipe::bus", Level::INFO) && !of(usual, "userpipe::bus", Level::DEBUG));
        assert!(of(usual, "hyper", Level::ERROR) && !of(usual, "hyper", Level::WARN));
        assert!(!of(usual, "rskafka::client", Level::ERROR));
        assert_eq!(levels("userpipe=debug").default_level(), None, "what is not named is silent");
        for nothing in ["", " ,", "userpipe=loud", "a=b=c"] {
            assert_eq!(levels(nothing).default_level(), Some(LevelFilter::ERROR), "{nothing}");
        }
        assert!(of("userpipe=loud, DEBUG", "sqlx", Level::DEBUG), "the rest is still read");
    }

    #[test]
    fn only_what_happened_is_shown() {
        let metrics = Metrics::default();
        assert_eq!(counts(&metrics), "nothing yet");
        metrics.fetched.add(5);
        metrics.dead_lettered.add(2);
        assert_eq!(counts(&metrics), "fetched 5 · dead letters 2");
    }
}
