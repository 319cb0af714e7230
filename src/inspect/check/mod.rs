//! What `check` looks at: each thing that the configuration uses, whether it can be reached, and whether it fits.
//!
//! - `bus`: Kafka, its listeners, the topics and the group; the embedded bus
//! - `sink`: Cassandra with its login, replication and table; the tables of the other sinks
//! - `postgres`: the server, and the ledger's tables
//! - `registry`: the Schema Registry and the subject of the topic
//! - `disk`: the data directory and its file
//! - `clock`: how far other clocks are from this one
//!
//! Changes nothing, and leaves nothing behind. What needs something that is red already is left out.

mod bus;
mod clock;
mod disk;
mod postgres;
mod registry;
mod replication;
mod sink;

use std::time::Duration;

use crate::config::{BusConfig, Config, LedgerConfig, PostgresConfig, SinkConfig, SourceConfig, SourceKind};
use crate::error::{Error, Kind};
use crate::pipeline::Stores;
use crate::record::Timestamp;
use crate::source::RandomUser;

/// The longest that one step may take: what takes longer to answer is not well.
const STEP_MAX: Duration = Duration::from_secs(10);

/// The limit for the API's answer.
const API_MAX: Duration = Duration::from_secs(5);

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The pipeline works, and somebody should look all the same.
    Warn,
    /// The pipeline cannot work like this.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, in a word or two.
    pub what: &'static str,
    /// Where it is: an address, a path, a name.
    pub place: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found there.
    pub found: String,
    /// What mends it.
    pub fix: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, place: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what, place: place.into(), verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    fn warn(what: &'static str, place: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, fix: Some(fix.into()), ..Self::ok(what, place, found) }
    }

    fn fail(what: &'static str, place: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, fix: Some(fix.into()), ..Self::ok(what, place, found) }
    }

    /// An error with its hint.
    fn error(what: &'static str, place: impl Into<String>, error: &Error) -> Self {
        let fix = error.hint_text().unwrap_or("look at what the dependency itself says of it, in its log").to_owned();
        Self::fail(what, place, error.to_string(), fix)
    }

    /// The error of a command that ends because of it.
    #[must_use]
    pub fn into_error(self) -> Error {
        let error = Error::new(Kind::Unhealthy, format!("{} {}: {}", self.what, self.place, self.found));
        match self.fix {
            Some(fix) => error.hint(fix),
            None => error,
        }
    }
}

/// Looks at everything that the configuration uses. Takes a few times [`STEP_MAX`] at the most.
///
/// The API is looked at where there is a source, and never fails: a pipeline that only delivers does not need it.
pub async fn all(config: &Config, source: Option<&SourceConfig>) -> Vec<Finding> {
    let stores = Stores::new(limited(config));
    let local = disk::findings(&stores).await;
    let is_readable = is_good(&local);
    let reached = postgres(&stores);
    let on_bus = async { if is_readable || !is_embedded(config) { bus::findings(&stores).await } else { Vec::new() } };
    let on_sink = async {
        match &config.sink {
            // Its table needs the server.
            SinkConfig::Postgres(..) => {
                let mut findings = reached.await;
                if is_good(&findings) {
                    findings.extend(sink::findings(&stores).await);
                }
                findings
            }
            SinkConfig::Sqlite(..) if !is_readable => reached.await,
            _ => {
                let (reached, on_sink) = tokio::join!(reached, sink::findings(&stores));
                [reached, on_sink].concat()
            }
        }
    };
    let (on_bus, on_sink, on_api, on_registry) =
        tokio::join!(on_bus, on_sink, api(source), registry::findings(&stores));
    stores.close().await;
    [local, on_api, on_bus, on_registry, on_sink].concat()
}

async fn postgres(stores: &Stores) -> Vec<Finding> {
    match postgres_of(&stores.config) {
        Some(config) => postgres::findings(stores, config).await,
        None => Vec::new(),
    }
}

fn is_good(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Fail)
}

/// Looks at the bus and the sink alone, more leniently: where a process works, one broker that is away for a while is
/// nothing that a restart of the process would mend.
pub async fn bus_and_sink(config: &Config) -> Vec<Finding> {
    let local = disk::data_file(config).await;
    if let Some(red) = local.filter(|finding| finding.verdict == Verdict::Fail) {
        return vec![red];
    }
    let stores = Stores::new(limited(config));
    let (on_bus, on_sink) = tokio::join!(bus::findings(&stores), sink::findings(&stores));
    stores.close().await;
    let mut findings = [on_bus, on_sink].concat();
    let is_listener = |finding: &Finding| finding.what == bus::LISTENER;
    if findings.iter().any(|finding| is_listener(finding) && finding.verdict == Verdict::Ok) {
        findings.iter_mut().filter(|finding| is_listener(finding)).for_each(|listener| listener.verdict = Verdict::Ok);
    }
    findings
}

fn is_embedded(config: &Config) -> bool {
    matches!(config.bus, BusConfig::Embedded(_))
}

fn postgres_of(config: &Config) -> Option<&PostgresConfig> {
    match (&config.ledger, &config.sink) {
        (LedgerConfig::Postgres(postgres), _) | (_, SinkConfig::Postgres(postgres, _)) => Some(postgres),
        _ => None,
    }
}

/// The same configuration with less patience.
fn limited(config: &Config) -> Config {
    let limit = config.connect_timeout.min(STEP_MAX);
    let mut config = Config { connect_timeout: limit, ..config.clone() };
    if let BusConfig::Kafka(kafka) = &mut config.bus {
        kafka.connect_timeout = limit;
    }
    if let LedgerConfig::Postgres(postgres) = &mut config.ledger {
        postgres.connect_timeout = limit;
    }
    if let Some(registry) = &mut config.registry {
        registry.request_timeout = registry.request_timeout.min(limit);
    }
    match &mut config.sink {
        SinkConfig::Cassandra(cassandra) => {
            cassandra.connect_timeout = limit;
            cassandra.request_timeout = cassandra.request_timeout.min(limit);
        }
        SinkConfig::Postgres(postgres, _) => postgres.connect_timeout = limit,
        SinkConfig::Sqlite(..) | SinkConfig::Stdout => {}
    }
    config
}

/// One request for one user.
async fn api(source: Option<&SourceConfig>) -> Vec<Finding> {
    const WHAT: &str = "api";
    let Some(source) = source.filter(|source| source.kind != SourceKind::Synthetic) else { return Vec::new() };
    let place = source.host();
    let source = SourceConfig { request_timeout: source.request_timeout.min(API_MAX), ..source.clone() };
    let warn = |error: &Error| Finding { verdict: Verdict::Warn, ..Finding::error(WHAT, place.clone(), error) };
    let api = match RandomUser::new(&source, 1) {
        Ok(api) => api,
        Err(error) => return vec![warn(&error)],
    };
    let asked = Timestamp::now();
    match api.probe().await {
        Ok(date) => {
            let mut findings = vec![Finding::ok(WHAT, place.clone(), "answered with a user")];
            if let Some(date) = date {
                // A date is cut to its second.
                let told = (date.unix_ms(), date.unix_ms() + 999);
                let skew = clock::least_skew_ms((asked.unix_ms(), Timestamp::now().unix_ms()), told);
                findings.push(clock::finding(format!("api {place}"), skew));
            }
            findings
        }
        Err(error) => vec![warn(&error)],
    }
}
