//! The command line: arguments and help, nothing else. What they mean together is decided in [`crate::config`].

mod args;
mod audit;
mod columns;
mod dashboard;
mod kafka;
mod registry;
mod schema;
mod security;
mod shipping;
mod transform;
mod upkeep;
mod values;
mod watching;

pub use args::{
    CompletionsArgs, ConfigArgs, Connections, ConsumeArgs, DeliverArgs, FetchArgs, IngestArgs, InitSchemaArgs,
    LedgerChoice, LogFormat, MockApiArgs, OutputArgs, ProduceArgs, RunArgs, SinkKind, SourceArgs, WatchArgs,
};
pub use audit::{TraceArgs, VerifyArgs};
pub use dashboard::{DashboardArgs, ListenArgs};
pub use kafka::{KafkaArgs, Property};
pub use registry::RegistryArgs;
pub use schema::{SchemaAction, SchemaArgs, SchemaReportArgs};
pub use security::SecurityArgs;
pub use shipping::ManArgs;
pub use transform::{RewriteArgs, TransformArgs, WhereArgs};
pub use upkeep::{
    DeadLettersAction, DeadLettersArgs, ListArgs, PurgeArgs, ReplayArgs, RunsAction, RunsArgs, RunsListArgs,
    RunsShowArgs, RunsTriggerArgs, SeekArgs,
};
pub use values::{CronExpression, Rate, StartOffset, Zone};
pub use watching::{CheckArgs, Hop, StatusArgs, TapArgs};

use clap::{Parser, Subcommand};

/// Exit codes and where to read on; below the help of the program itself.
const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 10 unhealthy, 11 verify or trace found a hole, 65 bad input data, \
69 a dependency cannot be reached, 74 local I/O, 75 stopped before the drain was complete, 77 credentials refused, 78 bad configuration.

Try:  userpipe run --once --source synthetic    (nothing to install: SQLite in ./userpipe-data)
      userpipe run --interval 1m --brokers localhost:9092 --cassandra localhost:9042";

/// Random User API → Kafka → Cassandra in one binary, with an embedded default for each part.
#[derive(Debug, Parser)]
#[command(name = "userpipe", version, about, after_help = AFTER_HELP, max_term_width = 110)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// The connections, which every command accepts.
    #[command(flatten)]
    pub connections: Connections,
    /// How to log.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done, one subcommand each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch users and print them as JSON Lines
    Fetch(FetchArgs),
    /// Fetch users (or read them with --input) and send them to the bus
    Produce(ProduceArgs),
    /// Write the bus's records to the sink, as a member of a consumer group
    Consume(ConsumeArgs),
    /// Prepare the topic, the keyspace and the tables
    InitSchema(InitSchemaArgs),
    /// The whole pipeline in one process: fetch on a schedule, produce, consume
    Run(RunArgs),
    /// Look at the runs of the schedule, ask for one, pause and resume
    Runs(RunsArgs),
    /// Look at records that could not be written, and send them again
    DeadLetters(DeadLettersArgs),
    /// Move the group's committed offsets, after printing the old and the new ones
    Seek(SeekArgs),
    /// Delete a person from ledger, bus and sink, and keep the id from ever coming back
    Purge(PurgeArgs),
    /// Prove that every stored user is in the sink or in the dead letters, hop by hop
    Verify(VerifyArgs),
    /// Tell the way of one user, and where it ends
    Trace(TraceArgs),
    /// Show, check and register the schema of the topic's values (--encoding avro or json-schema)
    Schema(SchemaArgs),
    /// Print the effective configuration with the origin of each value
    Config(ConfigArgs),
    /// Look at every dependency, and print what is wrong with it and what mends it; exit 10 if anything is red
    Check(CheckArgs),
    /// Show the group's lag, the topic, the dead letters, the outbox and the last runs; --max-… make it a gate
    Status(StatusArgs),
    /// Print a sample of the records that pass, as JSON Lines, until Ctrl-C
    Tap(TapArgs),
    /// Serve one page about the pipeline: runs, messages, partitions, dead letters, users
    Dashboard(DashboardArgs),
    /// Exit 0 if the configured bus and sink can be reached and fit, else 10 with the reason
    Health,
    /// Serve the Random User API's rules and faults, for tests and for trying things out
    MockApi(MockApiArgs),
    /// Print a shell completion script
    Completions(CompletionsArgs),
    /// Print the man page
    Man(ManArgs),
}

impl Command {
    /// Whether it serves the dashboard while it works.
    pub fn serves_dashboard(&self) -> bool {
        match self {
            Self::Dashboard(_) => true,
            Self::Run(RunArgs { watch, .. })
            | Self::Produce(ProduceArgs { watch, .. })
            | Self::Consume(ConsumeArgs { watch, .. }) => watch.listen.is_some(),
            _ => false,
        }
    }
}
