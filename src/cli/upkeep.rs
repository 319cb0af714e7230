//! The arguments of the commands that put a pipeline right by hand: `seek`, `runs`, `purge`, `dead-letters`.

use std::time::Duration;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::args::parse_interval;
use super::values::StartOffset;
use crate::bus::StartAt;

/// The arguments of `seek`.
#[derive(Args, Clone, Copy, Debug)]
pub struct SeekArgs {
    /// Where the group goes on: beginning, end or @TIME
    #[arg(long, value_name = "OFFSET", value_parser = parse_target)]
    pub to: StartOffset,
    /// Print the old and new offsets and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON Lines
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `runs`.
#[derive(Args, Clone, Copy, Debug)]
pub struct RunsArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: RunsAction,
}

/// What can be done with runs.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum RunsAction {
    /// Print the last runs, newest first
    List(RunsListArgs),
    /// Print everything that is known of a run: attempts, counts, offsets, log
    Show(RunsShowArgs),
    /// Ask the running schedule for a run now, and print its id
    Trigger(RunsTriggerArgs),
    /// Skip the slots from now on, in whichever process the schedule runs
    Pause,
    /// Go on with the next slot
    Resume,
}

/// The arguments of `runs list`.
#[derive(Args, Clone, Copy, Debug)]
pub struct RunsListArgs {
    /// At most this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print JSON Lines
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `runs show`.
#[derive(Args, Clone, Copy, Debug)]
pub struct RunsShowArgs {
    /// The run; the last one if left out
    #[arg(value_name = "RUN_ID")]
    pub run: Option<Uuid>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `runs trigger`.
#[derive(Args, Clone, Copy, Debug)]
pub struct RunsTriggerArgs {
    /// Wait until it has ended: exit 0 for success, 1 for a failure, 75 if it has not ended within this time
    #[arg(long, value_name = "TIME", value_parser = parse_interval, num_args = 0..=1, default_missing_value = "10m")]
    pub wait: Option<Duration>,
}

/// The arguments of `purge`.
#[derive(Args, Clone, Debug)]
pub struct PurgeArgs {
    /// The person's id; may be given several times
    #[arg(long, value_name = "ID", required = true)]
    pub id: Vec<Uuid>,
    /// Print what is there and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON Lines
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `dead-letters`.
#[derive(Args, Clone, Debug)]
pub struct DeadLettersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: DeadLettersAction,
}

/// What can be done with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLettersAction {
    /// Print the dead letters that are there now, a line each: key, partition:offset, stage, time, replays, reason
    ///
    /// Replays: how often the record was sent again before it came here, with a + where it was sent again from here.
    List(ListArgs),
    /// Send dead letters to the topic again, as they were, after what was in their way was mended
    ///
    /// Needs the ledger, which remembers what was replayed: a second replay sends nothing twice. A record that was
    /// replayed three times and came back is refused.
    Replay(ReplayArgs),
}

/// The arguments of `dead-letters list`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ListArgs {
    /// Print JSON Lines, with the whole records
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `dead-letters replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Only records with this key, which is a person's id. May be given several times
    #[arg(long, value_name = "ID")]
    pub id: Vec<String>,
    /// Only those whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print what would be sent and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON Lines
    #[arg(long)]
    pub json: bool,
}

/// A place to move to; `stored` is none.
fn parse_target(text: &str) -> Result<StartOffset, String> {
    match text.parse()? {
        StartOffset(StartAt::Stored) => Err("that is where it is; write beginning, end or @TIME".to_owned()),
        target => Ok(target),
    }
}
