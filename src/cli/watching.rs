//! The arguments of the commands that watch a pipeline from outside: `check`, `status`, `tap`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use humantime::parse_duration;

use super::args::{SourceArgs, parse_interval};
use super::values::Rate;

/// The arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Look again until nothing is red, for this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Print JSON Lines
    #[arg(long)]
    pub json: bool,
    /// Where users come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// The arguments of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Look again every second, until Ctrl-C
    #[arg(long, conflicts_with_all = ["max_lag", "max_age", "max_p99"])]
    pub watch: bool,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    /// Exit 10 if the group has more records than this before it
    #[arg(long, value_name = "N", help_heading = "Gate")]
    pub max_lag: Option<u64>,
    /// Exit 10 if the newest record on the topic, by its timestamp, is older than this, or there is none
    #[arg(long, value_name = "TIME", help_heading = "Gate", value_parser = parse_interval)]
    pub max_age: Option<Duration>,
    /// Exit 10 if 1 % of the records took longer than this until they were written, as --metrics counts them, or nothing
    /// was measured
    #[arg(long, value_name = "TIME", help_heading = "Gate", value_parser = parse_interval, requires = "metrics")]
    pub max_p99: Option<Duration>,
    /// /metrics of a process that delivers (--health-listen); may be given several times
    #[arg(long, env = "USERPIPE_STATUS_METRICS", value_name = "URL", help_heading = "Gate", value_delimiter = ',')]
    pub metrics: Vec<String>,
}

/// The arguments of `tap`.
#[derive(Args, Clone, Copy, Debug)]
pub struct TapArgs {
    /// Which topic: the pipeline's, or that of its dead letters
    #[arg(long, value_name = "HOP", default_value = "bus")]
    pub hop: Hop,
    /// Show at most this many of the records that pass, the newest of them
    #[arg(long, value_name = "N/s", default_value = "10/s")]
    pub rate: Rate,
    /// End after this many were shown
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Where records can be watched on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hop {
    /// The topic between ingest and delivery.
    Bus,
    /// The topic of what could not be delivered.
    DeadLetters,
}
