//! One validated configuration, built once: flags over environment over `userpipe.toml` over defaults.
//!
//! - [`crate::cli`] declares the flags; `file` turns `userpipe.toml` into their defaults before clap parses, so
//!   that every value is parsed and refused in one place, whatever its origin
//! - `columns`: which columns a record has, and which are written
//! - `load` parses everything, and tells the origin of each value
//! - `resolve` chooses the implementations: the real one where it is configured, the embedded one where not
//! - `registry`: the Schema Registry
//! - `kafka_properties` reads `-X` and `-F`; [`kafka_security`] is what they mean together
//! - `secrets` reads passwords, which never come as arguments
//! - `transform` compiles `--where` and `--map`

mod cassandra;
mod columns;
mod dashboard;
mod file;
mod kafka_properties;
pub mod kafka_security;
mod load;
mod plaintext;
mod postgres;
mod registry;
mod resolve;
mod secrets;
mod transform;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use dashboard::DashboardConfig;
pub use file::{File, KEYS_NOT_IN_FILE};
pub use kafka_security::KafkaSecurity;
pub use load::{Loaded, Setting, Stop, load};
pub use registry::{Encoding, RegistryConfig, RegistryLogin};
pub use resolve::NATIONALITIES;
pub use transform::{filter, transform};

use crate::error::{Error, Kind, Result};
use crate::record::{Column, Timestamp, With};
use crate::secret::Secret;
use crate::tls::TlsFiles;

/// The pipeline's connections, whatever the command does with them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where records go between ingest and delivery.
    pub bus: BusConfig,
    /// Where users are stored before they are sent.
    pub ledger: LedgerConfig,
    /// Where rows go.
    pub sink: SinkConfig,
    /// The topic on either bus.
    pub topic: String,
    /// The consumer group; named after the sink unless given.
    pub group: String,
    /// How this process is a member of the group.
    pub member: MemberConfig,
    /// How records are read and written.
    pub derive_id: bool,
    /// The optional columns of the record (`--with`).
    pub with: With,
    /// How values are written to the topic.
    pub encoding: Encoding,
    /// Where schemas are.
    pub registry: Option<RegistryConfig>,
    /// Limit for reaching a dependency at start-up.
    pub connect_timeout: Duration,
    /// Limit for the drain after a signal.
    pub shutdown_timeout: Duration,
    /// The most records that are polled and not yet committed; `None` is what the sink makes the most of.
    pub in_flight_records_max: Option<usize>,
}

/// The bus that was chosen.
#[derive(Clone, Debug)]
pub enum BusConfig {
    /// Real brokers.
    Kafka(KafkaConfig),
    /// The SQLite file at this path.
    Embedded(EmbeddedBusConfig),
}

/// The embedded bus.
#[derive(Clone, Debug)]
pub struct EmbeddedBusConfig {
    /// The SQLite file.
    pub path: PathBuf,
    /// Partitions of a topic that is created.
    pub partitions: i32,
}

/// Kafka, as producer and consumer need it.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Bootstrap addresses, `host:port`.
    pub brokers: Vec<String>,
    /// TLS and login.
    pub security: KafkaSecurity,
    /// Partitions of a topic that is created.
    pub partitions: i32,
    /// Replication factor of a topic that is created; `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Compression of produced batches.
    pub compression: Compression,
    /// The most bytes of keys and values in one produced batch, before compression.
    pub batch_bytes_max: usize,
    /// The most records in one produced batch.
    pub batch_records_max: usize,
    /// Limit for one record to be acknowledged, retries included.
    pub delivery_timeout: Duration,
    /// Limit for connecting and for the first metadata.
    pub connect_timeout: Duration,
}

/// How a process is a member of its consumer group, on either bus.
#[derive(Clone, Debug, Default)]
pub struct MemberConfig {
    /// The protocol between members and coordinator; the embedded bus has one of its own.
    pub protocol: GroupProtocol,
    /// The name that a member keeps over restarts (KIP-345), so that it gets its own partitions back.
    pub static_id: Option<String>,
    /// What to do where an offset is not in the topic.
    pub on_out_of_range: OutOfRange,
    /// A member that was not heard of for this long is out of its group; `None` is the bus's own limit. Kafka's
    /// consumer protocol takes it from the broker.
    pub session_timeout: Option<Duration>,
}

/// The protocol between the members of a group and its coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupProtocol {
    /// The consumer protocol where the cluster has it, else the classic one.
    #[default]
    Auto,
    /// `JoinGroup` and `SyncGroup`, which every broker has.
    Classic,
    /// KIP-848, of Kafka 4 and later.
    Consumer,
}

/// What a member does where the offset to go on from is not in the topic: retention has removed it, or the topic was
/// deleted and created anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutOfRange {
    /// Ends with an error.
    #[default]
    Error,
    /// Goes on from the first record there is, and says so.
    Beginning,
    /// Goes on with what comes from now on, and says so.
    End,
}

/// Compression of produced batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// No compression.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// The ledger that was chosen.
#[derive(Clone, Debug)]
pub enum LedgerConfig {
    /// No outbox (`--ledger off`).
    Off,
    /// The SQLite file at this path.
    Sqlite(PathBuf),
    /// PostgreSQL.
    Postgres(PostgresConfig),
}

/// The sink that was chosen.
#[derive(Clone, Debug)]
pub enum SinkConfig {
    /// A Cassandra table.
    Cassandra(CassandraConfig),
    /// A PostgreSQL table.
    Postgres(PostgresConfig, TableConfig),
    /// A table in the SQLite file at this path.
    Sqlite(PathBuf, TableConfig),
    /// JSON Lines on standard output.
    Stdout,
}

/// A table and which columns are written to it.
#[derive(Clone, Debug)]
pub struct TableConfig {
    /// The table's name, an identifier that needs no quotes.
    pub table: String,
    /// The columns that are written; `id` is always the first. All 13 and those of `--with`, unless `--columns` says less.
    pub columns: Vec<&'static str>,
}

impl TableConfig {
    /// The optional ones of the columns, as `--with` takes them; `None` where there are none.
    pub fn with(&self) -> Option<String> {
        let is_optional = |name: &&&str| crate::record::column(name).is_some_and(Column::is_optional);
        let names: Vec<&str> = self.columns.iter().filter(is_optional).copied().collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

/// A Cassandra cluster and how it is written to.
#[derive(Clone, Debug)]
pub struct CassandraConfig {
    /// Contact points, `host:port`.
    pub contact_points: Vec<String>,
    /// User and password, where it asks for them.
    pub login: Option<(String, Secret)>,
    /// TLS, and with which files; `None` is plain TCP.
    pub tls: Option<TlsFiles>,
    /// Whether the login may go to other machines over plain TCP.
    pub plaintext_login_is_allowed: bool,
    /// The keyspace, an identifier that needs no quotes.
    pub keyspace: String,
    /// The table.
    pub table: TableConfig,
    /// Only nodes of this data centre coordinate; all of them when `None`.
    pub local_dc: Option<String>,
    /// Consistency of every write.
    pub consistency: Consistency,
    /// Replication of a keyspace that `init-schema` creates.
    pub replication: Replication,
    /// Limit for one statement.
    pub request_timeout: Duration,
    /// Limit for connecting.
    pub connect_timeout: Duration,
    /// The most rows in flight, each a statement by itself or in a batch.
    pub statements_in_flight_max: usize,
    /// The present of a replay that changes rows (`consume --rewrite`), for the write times.
    pub rewrite_at: Option<Timestamp>,
}

/// Consistency of Cassandra writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Consistency {
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// A majority of all replicas.
    Quorum,
    /// All replicas.
    All,
    /// A majority of the replicas in the local data centre.
    LocalQuorum,
    /// A majority in every data centre.
    EachQuorum,
    /// One replica in the local data centre.
    LocalOne,
}

/// Replication of a keyspace: `1` is `SimpleStrategy`, `dc1:3,dc2:2` is `NetworkTopologyStrategy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// `SimpleStrategy` with this factor.
    Simple(u8),
    /// `NetworkTopologyStrategy` with a factor for each data centre.
    NetworkTopology(Vec<(String, u8)>),
}

/// A PostgreSQL server, for the ledger and for the sink.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// The connection URL, without a password.
    pub url: String,
    /// The password, from `PGPASSWORD` or a file.
    pub password: Option<Secret>,
    /// How the connection is encrypted, and what of the server is checked.
    pub ssl_mode: SslMode,
    /// The files that are named for it, in the URL or the environment.
    pub tls: TlsFiles,
    /// Limit for connecting.
    pub connect_timeout: Duration,
}

/// `sslmode`, as libpq has it. `allow` is left out: it would encrypt only where the server insists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// In clear text.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the server's certificate is of a trusted authority.
    VerifyCa,
    /// That, and its certificate is for its name.
    VerifyFull,
}

/// Where users come from.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Which source.
    pub kind: SourceKind,
    /// The whole endpoint of the API.
    pub api_url: String,
    /// Users a page, 1 to 5000.
    pub page_size: usize,
    /// The API's seed; a new one each run when `None`.
    pub seed: Option<String>,
    /// Nationalities, upper case, from the API's 21.
    pub nationalities: Vec<String>,
    /// `female` or `male` only.
    pub gender: Option<Gender>,
    /// Limit for connecting to the API.
    pub connect_timeout: Duration,
    /// Limit for one answer, headers and body.
    pub request_timeout: Duration,
    /// Attempts at one page.
    pub attempts_max: usize,
}

/// The kinds of source, as `--source` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceKind {
    /// The Random User API.
    Api,
    /// Users made here, without a network.
    Synthetic,
    /// The API, else (said loudly) synthetic users; refused with a real bus or sink.
    Auto,
}

/// A gender as the API knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Gender {
    /// `female`
    Female,
    /// `male`
    Male,
}

impl Gender {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Gender::Female => "female",
            Gender::Male => "male",
        }
    }
}

impl Config {
    /// The sink's name in the metadata of committed offsets. A table beside the offsets in one file needs no path, so
    /// that the data directory can be moved, or mounted somewhere else.
    pub fn sink_identity(&self) -> String {
        match (&self.bus, &self.sink) {
            (BusConfig::Embedded(_), SinkConfig::Sqlite(_, table)) => format!("userpipe:sqlite/{}", table.table),
            (_, sink) => sink.identity(),
        }
    }
}

impl SinkConfig {
    /// The sink's name in the metadata of committed offsets: the same from whichever machine it is written, and
    /// without secrets.
    pub fn identity(&self) -> String {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        match self {
            SinkConfig::Cassandra(c) => format!("userpipe:cassandra/{}.{}", c.keyspace, c.table.table),
            SinkConfig::Postgres(pg, table) => format!("userpipe:{}/{}", pg.url, table.table),
            SinkConfig::Sqlite(path, table) => format!("userpipe:sqlite/{}/{}", absolute(path).display(), table.table),
            SinkConfig::Stdout => "userpipe:stdout".to_owned(),
        }
    }
}

impl fmt::Display for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusConfig::Kafka(kafka) => {
                write!(f, "kafka {}", kafka.brokers.join(","))?;
                let is_open = kafka.security.tls.is_none() && kafka.security.sasl.is_none();
                if is_open { Ok(()) } else { write!(f, " ({})", kafka.security) }
            }
            BusConfig::Embedded(embedded) => write!(f, "embedded {}", embedded.path.display()),
        }
    }
}

impl SourceConfig {
    /// The API's host, with its port where that is not the scheme's own; empty for what is no URL.
    pub fn host(&self) -> String {
        let url = reqwest::Url::parse(&self.api_url).ok();
        let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
        let port = url.as_ref().and_then(reqwest::Url::port);
        port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// What stands at the head of the drawn path.
impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SourceKind::Api => write!(f, "api {}", self.host()),
            SourceKind::Synthetic => f.write_str("synthetic"),
            SourceKind::Auto => f.write_str("auto"),
        }
    }
}

impl LedgerConfig {
    /// Refuses to go on without a ledger; `what` says what it is needed for.
    ///
    /// # Errors
    /// [`Kind::Config`] with `--ledger off`.
    pub fn required(&self, what: &str) -> Result<()> {
        match self {
            LedgerConfig::Off => {
                Err(Error::new(Kind::Config, what).because("--ledger is off").hint("leave --ledger out"))
            }
            LedgerConfig::Sqlite(_) | LedgerConfig::Postgres(_) => Ok(()),
        }
    }
}

impl fmt::Display for LedgerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerConfig::Off => f.write_str("off"),
            LedgerConfig::Sqlite(path) => write!(f, "sqlite {}", path.display()),
            LedgerConfig::Postgres(pg) => write!(f, "postgres {}", pg.url),
        }
    }
}

impl fmt::Display for SinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinkConfig::Cassandra(c) => {
                write!(f, "cassandra {}/{}.{}", c.contact_points.join(","), c.keyspace, c.table.table)
            }
            SinkConfig::Postgres(pg, table) => write!(f, "postgres {}/{}", pg.url, table.table),
            SinkConfig::Sqlite(path, table) => write!(f, "sqlite {}/{}", path.display(), table.table),
            SinkConfig::Stdout => f.write_str("stdout"),
        }
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Replication::Simple(factor) => write!(f, "{factor}"),
            Replication::NetworkTopology(factors) => {
                let parts: Vec<_> = factors.iter().map(|(dc, factor)| format!("{dc}:{factor}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}
