//! The arguments of the commands that prove where every user is.

use std::time::Duration;

use clap::Args;
use humantime::parse_duration;
use uuid::Uuid;

use super::args::parse_interval;
use super::transform::WhereArgs;

/// The arguments of `verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = VERIFY_HELP)]
pub struct VerifyArgs {
    /// Only the users of this run
    #[arg(long, value_name = "RUN_ID", conflicts_with_all = ["since", "all"])]
    pub run: Option<Uuid>,
    /// Only users stored within this time
    #[arg(long, value_name = "TIME", value_parser = parse_interval, conflicts_with = "all")]
    pub since: Option<Duration>,
    /// All stored users, and every record on the topic (the default)
    #[arg(long)]
    pub all: bool,
    /// How long what was sent before the start may take to be delivered
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub settle: Duration,
    /// Exit 11 also for ids on the topic that the ledger does not know
    #[arg(long)]
    pub strict: bool,
    /// Print JSON Lines: every difference, then the counts
    #[arg(long)]
    pub json: bool,
    /// Which records were let through.
    #[command(flatten)]
    pub filter: WhereArgs,
}

/// What the numbers of `verify` mean.
const VERIFY_HELP: &str = "\
Exit codes: 0 everything up to the start is accounted for, 11 something is not, 75 some is in flight or waits to be \
sent, 69, 77, 78 as ever.

ledger, bus: ids that were stored, ids on the topic. expired: no record on the topic any more. foreign: unknown to the \
ledger. copies: records that repeat another. undecodable: records without an id. Each id, and each undecodable record, \
is in one of: sink, dead letters, filtered (by --where), purged, deleted (by a newer tombstone), in flight, waiting, \
holes.

Holes are: missing (committed, in neither sink nor dead letters), stale (the sink has an older record), expired \
(before it was delivered), gone (removed from within the topic), undecodable (and not in the dead letters).";

/// The arguments of `trace`.
#[derive(Args, Clone, Debug)]
#[command(after_help = TRACE_HELP)]
pub struct TraceArgs {
    /// The user's id
    #[arg(value_name = "ID")]
    pub id: Uuid,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Which records were let through.
    #[command(flatten)]
    pub filter: WhereArgs,
}

/// What `trace` exits with.
const TRACE_HELP: &str = "\
Exit codes: 0 its whereabouts are known: delivered, filtered, dead letter, rejected, waiting, in flight, purged, deleted; \
11 it is lost, or nothing knows it; 69, 77, 78 as ever.

On the topic, the partition that the id belongs to is read, and the places that the ledger noted.";
