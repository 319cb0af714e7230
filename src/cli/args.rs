//! The arguments of every command. Names are those of Kafka's and Cassandra's own tools where they have one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum, ValueHint};
use humantime::parse_duration;
use uuid::Uuid;

use super::columns::ColumnsArgs;
use super::dashboard::ListenArgs;
use super::kafka::KafkaArgs;
use super::registry::RegistryArgs;
use super::security::SecurityArgs;
use super::transform::{RewriteArgs, TransformArgs};
use super::values::{CronExpression, Rate, StartOffset, Zone};
use crate::config::{Compression, Consistency, Gender, GroupProtocol, OutOfRange, SourceKind};

/// Where everything is. Every command accepts all of these, and uses those it needs.
#[derive(Args, Clone, Debug)]
pub struct Connections {
    /// Configuration file [default: userpipe.toml in the current directory, where there is one]
    #[arg(long, global = true, env = "USERPIPE_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Directory of the embedded bus, ledger and sink (one SQLite file, userpipe.db)
    #[arg(long, global = true, env = "USERPIPE_DATA_DIR", value_name = "DIR", default_value = "./userpipe-data")]
    #[arg(help_heading = "Pipeline", value_hint = ValueHint::DirPath)]
    pub data_dir: PathBuf,
    /// Where rows go [default: the first of cassandra, postgres that is configured, else sqlite]
    #[arg(long, global = true, env = "USERPIPE_SINK", help_heading = "Pipeline", value_name = "SINK")]
    pub sink: Option<SinkKind>,
    /// Where users are stored before they are sent [default: PostgreSQL if configured, else SQLite]
    #[arg(long, global = true, env = "USERPIPE_LEDGER", help_heading = "Pipeline", value_name = "auto|off")]
    #[arg(default_value = "auto", hide_default_value = true, hide_possible_values = true)]
    pub ledger: LedgerChoice,
    /// Limit for reaching each dependency at start-up
    #[arg(long, global = true, env = "USERPIPE_CONNECT_TIMEOUT", help_heading = "Pipeline", value_name = "TIME")]
    #[arg(default_value = "30s", value_parser = parse_duration)]
    pub connect_timeout: Duration,
    /// Limit for finishing what is in flight after SIGINT or SIGTERM
    #[arg(long, global = true, env = "USERPIPE_SHUTDOWN_TIMEOUT", help_heading = "Pipeline", value_name = "TIME")]
    #[arg(default_value = "25s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,
    /// The most records that are polled and not yet committed (and at most 16 MiB of them; 48 for SQLite) [default: 10000;
    /// 60000 for SQLite]
    #[arg(long, global = true, env = "USERPIPE_IN_FLIGHT", help_heading = "Pipeline", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight: Option<u32>,

    /// Kafka bootstrap brokers, comma-separated [default: the embedded bus]
    #[arg(short, long, visible_alias = "bootstrap-server", global = true, env = "USERPIPE_BROKERS")]
    #[arg(help_heading = "Kafka", value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub brokers: Vec<String>,
    /// Topic
    #[arg(short, long, global = true, env = "USERPIPE_TOPIC", help_heading = "Kafka", default_value = "users_created")]
    pub topic: String,
    /// Consumer group [default: named after the sink]
    #[arg(short = 'G', long, global = true, env = "USERPIPE_GROUP", help_heading = "Kafka")]
    pub group: Option<String>,
    /// How the group's members are coordinated; auto is consumer (KIP-848) where the brokers have it
    #[arg(long, global = true, env = "USERPIPE_GROUP_PROTOCOL", help_heading = "Kafka", value_name = "PROTOCOL")]
    #[arg(default_value = "auto")]
    pub group_protocol: GroupProtocol,
    /// Name of this member that outlives restarts, so that it gets its own partitions back; one process each
    #[arg(long, global = true, env = "USERPIPE_STATIC_MEMBER", help_heading = "Kafka", value_name = "ID")]
    pub static_member: Option<String>,
    /// Where an offset is no longer in the topic: end with an error, or go on from there
    #[arg(long, global = true, env = "USERPIPE_ON_OUT_OF_RANGE", help_heading = "Kafka", value_name = "WHERE")]
    #[arg(default_value = "error")]
    pub on_out_of_range: OutOfRange,
    /// Partitions of a topic that is created
    #[arg(long, global = true, env = "USERPIPE_PARTITIONS", help_heading = "Kafka", value_name = "N")]
    #[arg(default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    /// Replication factor of a topic that is created [default: the broker's]
    #[arg(long, global = true, env = "USERPIPE_REPLICATION_FACTOR", help_heading = "Kafka", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i16).range(1..=100))]
    pub replication_factor: Option<i16>,
    /// Compression of produced batches
    #[arg(long, global = true, env = "USERPIPE_COMPRESSION", help_heading = "Kafka", value_name = "CODEC")]
    #[arg(default_value = "lz4")]
    pub compression: Compression,
    /// How long a produced batch waits to fill up while --input is being read
    #[arg(long, global = true, env = "USERPIPE_LINGER", help_heading = "Kafka", value_name = "TIME")]
    #[arg(default_value = "20ms", value_parser = parse_duration)]
    pub linger: Duration,
    /// The most bytes in one produced batch, before compression
    #[arg(long, global = true, env = "USERPIPE_BATCH_BYTES", help_heading = "Kafka", value_name = "BYTES")]
    #[arg(default_value_t = 900_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub batch_bytes: u32,
    /// The most records in one produced batch
    #[arg(long, global = true, env = "USERPIPE_BATCH_RECORDS", help_heading = "Kafka", value_name = "N")]
    #[arg(default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_records: u32,
    /// Limit for a record to be acknowledged, retries included
    #[arg(long, global = true, env = "USERPIPE_DELIVERY_TIMEOUT", help_heading = "Kafka", value_name = "TIME")]
    #[arg(default_value = "2m", value_parser = parse_duration)]
    pub delivery_timeout: Duration,
    /// Make an id from email and username for records that carry none
    #[arg(long, global = true, env = "USERPIPE_DERIVE_ID", help_heading = "Kafka", action = ArgAction::SetTrue)]
    pub derive_id: bool,
    /// Security, and client properties.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// Cassandra contact points, comma-separated [default: the embedded sink]
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA", help_heading = "Cassandra", value_name = "HOST:PORT,…")]
    #[arg(value_delimiter = ',')]
    pub cassandra: Vec<String>,
    /// User name; the password is `USERPIPE_CASSANDRA_PASSWORD` or --cassandra-password-file
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_USER", help_heading = "Cassandra", value_name = "USER")]
    pub cassandra_user: Option<String>,
    /// File with the password
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_PASSWORD_FILE", help_heading = "Cassandra")]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub cassandra_password_file: Option<PathBuf>,
    /// Keyspace
    #[arg(long, global = true, env = "USERPIPE_KEYSPACE", help_heading = "Cassandra", default_value = "spark_streams")]
    pub keyspace: String,
    /// Table, in whichever sink
    #[arg(long, global = true, env = "USERPIPE_TABLE", help_heading = "Pipeline", default_value = "created_users")]
    pub table: String,
    /// Columns to write, comma-separated, for a table that lacks some [default: all 13, and those of --with]
    #[arg(long, global = true, env = "USERPIPE_COLUMNS", help_heading = "Pipeline", value_name = "NAME,…")]
    #[arg(value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Columns beside the 13.
    #[command(flatten)]
    pub optional: ColumnsArgs,
    /// Only nodes of this data centre coordinate writes
    #[arg(long, global = true, env = "USERPIPE_LOCAL_DC", help_heading = "Cassandra", value_name = "DC")]
    pub local_dc: Option<String>,
    /// Consistency of every write
    #[arg(long, global = true, env = "USERPIPE_CONSISTENCY", help_heading = "Cassandra", value_name = "LEVEL")]
    #[arg(default_value = "local-quorum")]
    pub consistency: Consistency,
    /// Replication of a keyspace that init-schema creates: 1, or dc1:3,dc2:2
    #[arg(long, global = true, env = "USERPIPE_REPLICATION", help_heading = "Cassandra", default_value = "1")]
    pub replication: String,
    /// Limit for one statement
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_TIMEOUT", help_heading = "Cassandra", value_name = "TIME")]
    #[arg(default_value = "10s", value_parser = parse_duration)]
    pub cassandra_timeout: Duration,
    /// The most rows in flight, in batches of up to 50
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_IN_FLIGHT", help_heading = "Cassandra", value_name = "N")]
    #[arg(default_value_t = 1_600, value_parser = clap::value_parser!(u32).range(1..=32_000))]
    pub cassandra_in_flight: u32,

    /// PostgreSQL URL without a password, postgres://USER@HOST:PORT/DB [default: SQLite]
    ///
    /// The password is PGPASSWORD, --postgres-password-file, or PGPASSFILE.
    #[arg(long, global = true, env = "USERPIPE_POSTGRES", help_heading = "PostgreSQL", value_name = "URL")]
    pub postgres: Option<String>,
    /// File with the password
    #[arg(long, global = true, env = "USERPIPE_POSTGRES_PASSWORD_FILE", help_heading = "PostgreSQL")]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub postgres_password_file: Option<PathBuf>,

    /// Where schemas are.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How connections are secured.
    #[command(flatten)]
    pub security: SecurityArgs,
}

/// The kinds of sink, as `--sink` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SinkKind {
    /// A Cassandra table.
    Cassandra,
    /// A PostgreSQL table.
    Postgres,
    /// A table in the data directory's SQLite file.
    Sqlite,
    /// JSON Lines on standard output.
    Stdout,
}

/// Whether there is a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LedgerChoice {
    /// PostgreSQL if configured, else SQLite.
    Auto,
    /// No outbox.
    Off,
}

/// How to log.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// Log format on stderr
    #[arg(long, global = true, env = "USERPIPE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Say more; twice for the libraries' own logs
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// How lines on stderr are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where users come from.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// Users from the API, made here, or the API with a loud fallback
    #[arg(long, env = "USERPIPE_SOURCE", help_heading = "Source", default_value = "api", value_name = "SOURCE")]
    pub source: SourceKind,
    /// The API's whole endpoint
    #[arg(long, env = "USERPIPE_API_URL", help_heading = "Source", value_name = "URL")]
    #[arg(default_value = "https://randomuser.me/api/1.4/", value_hint = ValueHint::Url)]
    pub api_url: String,
    /// Users a page
    #[arg(long, env = "USERPIPE_RESULTS", help_heading = "Source", value_name = "N", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub results: u32,
    /// The API's seed, for the same users again [default: a new one each run]
    #[arg(long, env = "USERPIPE_SEED", help_heading = "Source")]
    pub seed: Option<String>,
    /// Nationalities, comma-separated: au,br,ca,ch,de,dk,es,fi,fr,gb,ie,in,ir,mx,nl,no,nz,rs,tr,ua,us
    #[arg(long, env = "USERPIPE_NAT", help_heading = "Source", value_name = "NAT,…", value_delimiter = ',')]
    pub nat: Vec<String>,
    /// Only this gender (the API ignores it where a seed is given)
    #[arg(long, env = "USERPIPE_GENDER", help_heading = "Source", value_name = "GENDER", conflicts_with = "seed")]
    pub gender: Option<Gender>,
    /// Limit for one answer of the API, headers and body
    #[arg(long, env = "USERPIPE_API_TIMEOUT", help_heading = "Source", value_name = "TIME")]
    #[arg(default_value = "30s", value_parser = parse_duration)]
    pub api_timeout: Duration,
    /// Attempts at one page before it counts as failed
    #[arg(long, env = "USERPIPE_API_ATTEMPTS", help_heading = "Source", value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    pub api_attempts: u32,
}

/// How much to ingest, and when.
#[derive(Args, Clone, Debug)]
pub struct IngestArgs {
    /// Users a run
    #[arg(short, long, env = "USERPIPE_COUNT", help_heading = "Schedule", value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// A run at every multiple of this time since the epoch; a run never overlaps the last
    #[arg(long, env = "USERPIPE_INTERVAL", help_heading = "Schedule", value_name = "TIME")]
    #[arg(value_parser = parse_interval, conflicts_with_all = ["once", "cron"])]
    pub interval: Option<Duration>,
    /// A run at these times, as in '0 6 * * *': minute, hour, day of month, month, day of week
    #[arg(long, env = "USERPIPE_CRON", help_heading = "Schedule", value_name = "EXPR", conflicts_with = "once")]
    pub cron: Option<CronExpression>,
    /// The time zone of --cron, as in Europe/Berlin
    #[arg(long, env = "USERPIPE_TIMEZONE", help_heading = "Schedule", value_name = "ZONE", default_value = "UTC")]
    pub timezone: Zone,
    /// Begin each run up to this time later, drawn anew for each
    #[arg(long, env = "USERPIPE_JITTER", help_heading = "Schedule", value_name = "TIME", default_value = "0s")]
    #[arg(value_parser = parse_duration)]
    pub jitter: Duration,
    /// Attempts after the first at a run that failed [default: 3 on a schedule, else 0]
    #[arg(long, env = "USERPIPE_RETRIES", help_heading = "Schedule", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=100))]
    pub retries: Option<u32>,
    /// The pause before each of them
    #[arg(long, env = "USERPIPE_RETRY_DELAY", help_heading = "Schedule", value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = parse_duration)]
    pub retry_delay: Duration,
    /// One run, then end
    #[arg(long, help_heading = "Schedule")]
    pub once: bool,
    /// Stream for this long instead of counting users
    #[arg(long = "for", help_heading = "Schedule", value_name = "TIME", value_parser = parse_interval)]
    #[arg(conflicts_with_all = ["count", "interval", "cron", "once"])]
    pub stream_for: Option<Duration>,
    /// Remove users that were sent, and runs, from the ledger when they are older [default: keep everything]
    #[arg(long, env = "USERPIPE_KEEP", help_heading = "Schedule", value_name = "TIME", value_parser = parse_interval)]
    pub keep: Option<Duration>,
    /// At most this many users: 10/s, 600/m, 2/h
    #[arg(long, env = "USERPIPE_RATE", help_heading = "Schedule", value_name = "N/s")]
    pub rate: Option<Rate>,
}

/// When delivery ends.
#[derive(Args, Clone, Copy, Debug)]
pub struct DeliverArgs {
    /// With -e, --once or --for: give up when nothing moved for this long, with the exit code of what is in the
    /// way [default: 2m]
    #[arg(long, help_heading = "End", value_name = "TIME", value_parser = parse_interval)]
    pub deadline: Option<Duration>,
}

/// How a command is watched while it works.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Serve the dashboard, /metrics, /healthz and /readyz on this address; port 0 takes a free one. Another one than
    /// loopback needs TLS, and the token for reading too
    #[arg(long, env = "USERPIPE_LISTEN", value_name = "ADDR", help_heading = "Dashboard")]
    pub listen: Option<SocketAddr>,
    /// Who may look and change.
    #[command(flatten)]
    pub access: ListenArgs,
    /// Serve /metrics, /healthz and /readyz on this address, to everybody who can reach it; port 0 takes a free one
    #[arg(long, env = "USERPIPE_HEALTH_LISTEN", value_name = "ADDR", help_heading = "Watch")]
    pub health_listen: Option<SocketAddr>,
}

/// The arguments of `fetch`.
#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// How many users
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Print the API's own objects, less their secrets
    #[arg(long, conflicts_with_all = ["where", "map"])]
    pub raw: bool,
    /// Which records are printed.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// Where users come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// The arguments of `produce`.
#[derive(Args, Clone, Debug)]
pub struct ProduceArgs {
    /// Read JSON Lines from this file (- is standard input): our records, or raw API users
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["count", "interval", "cron", "once", "stream_for", "source", "seed"])]
    #[arg(conflicts_with_all = ["nat", "gender"])]
    pub input: Option<PathBuf>,
    /// Send stored users again, where their records have expired: all of the ledger, or one of the selections below
    #[arg(long, help_heading = "Restore", conflicts_with_all = ["input", "count", "interval", "cron"])]
    #[arg(conflicts_with_all = ["once", "stream_for", "source", "seed", "nat", "gender"])]
    pub from_ledger: bool,
    /// Only those of this run
    #[arg(long, help_heading = "Restore", value_name = "RUN_ID", requires = "from_ledger")]
    #[arg(conflicts_with_all = ["since", "id"])]
    pub run: Option<Uuid>,
    /// Only those stored within this time
    #[arg(long, help_heading = "Restore", value_name = "TIME", value_parser = parse_interval)]
    #[arg(requires = "from_ledger", conflicts_with = "id")]
    pub since: Option<Duration>,
    /// Only this person
    #[arg(long, help_heading = "Restore", value_name = "ID", requires = "from_ledger")]
    pub id: Option<Uuid>,
    /// Which records go on.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// How much to ingest, and when.
    #[command(flatten)]
    pub ingest: IngestArgs,
    /// Where users come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How it is watched.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// The arguments of `consume`.
#[derive(Args, Clone, Debug)]
pub struct ConsumeArgs {
    /// Where to start: beginning, end, stored or @TIME; all but stored reset the group first
    #[arg(short, long, value_name = "OFFSET", default_value = "stored")]
    pub offset: StartOffset,
    /// Reset the group and read everything again (safe: writes are upserts)
    #[arg(long, conflicts_with = "offset")]
    pub from_beginning: bool,
    /// End after this many records
    #[arg(short, long, visible_alias = "max-messages", value_name = "N", help_heading = "End")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End when the group has committed everything that was in the topic at the start
    #[arg(short, long, help_heading = "End")]
    pub exit_at_end: bool,
    /// End when nothing came for this long (exit code 75 if -e's end was not reached)
    #[arg(long, value_name = "TIME", value_parser = parse_interval, help_heading = "End")]
    pub idle_timeout: Option<Duration>,
    /// Which records go on.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// Whether rows that are there change.
    #[command(flatten)]
    pub rewrite: RewriteArgs,
    /// When delivery ends.
    #[command(flatten)]
    pub deliver: DeliverArgs,
    /// How it is watched.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// The arguments of `init-schema`.
#[derive(Args, Clone, Copy, Debug)]
pub struct InitSchemaArgs {
    /// Print the statements and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait this long for services that are still starting
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

/// The arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// How much to ingest, and when.
    #[command(flatten)]
    pub ingest: IngestArgs,
    /// Ingest only; `consume` processes deliver
    #[arg(long)]
    pub no_deliver: bool,
    /// Which records go on.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// Where users come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// When delivery ends.
    #[command(flatten)]
    pub deliver: DeliverArgs,
    /// How it is watched.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// The arguments of `config`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ConfigArgs {
    /// As a JSON object
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `mock-api`.
#[derive(Args, Clone, Debug)]
pub struct MockApiArgs {
    /// Address to listen on; port 0 takes a free one. The first line on stdout is the URL
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Serve the recorded users of this directory's *.json files, joined in file-name order
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Seed of synthetic users for requests that name none
    #[arg(long, default_value = "userpipe")]
    pub seed: String,
    /// Fail on purpose; KIND alone fails every request, KIND:N the first N. May be given several times
    #[arg(long, value_name = "KIND[:N]")]
    pub fault: Vec<crate::mock_api::Fault>,
    /// Users per address and five minutes, as the API limits them
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub limit: u64,
}

/// The arguments of `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// A duration that is not zero: an interval or a limit of 0 is a mistake.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}
