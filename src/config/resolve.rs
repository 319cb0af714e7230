//! From arguments to one validated [`Config`]: which implementation serves each stage, and what is refused at once.

use std::path::Path;

use super::cassandra::cassandra;
use super::columns;
use super::postgres::postgres;
use super::{
    BusConfig, Config, EmbeddedBusConfig, KafkaConfig, KafkaSecurity, LedgerConfig, MemberConfig, PostgresConfig,
    RegistryConfig, Replication, SinkConfig, SourceConfig, SourceKind, TableConfig,
};
use crate::cli::{Connections, LedgerChoice, SinkKind, SourceArgs};
use crate::error::{Error, Kind, Result};
use crate::record::With;

/// The API's nationalities, upper case as its answers write them.
pub const NATIONALITIES: [&str; 21] = [
    "AU", "BR", "CA", "CH", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IN", "IR", "MX", "NL", "NO", "NZ", "RS", "TR",
    "UA", "US",
];

/// The file in the data directory.
const DATABASE_FILE: &str = "userpipe.db";
/// The embedded bus asks for the records of each partition by itself, which is no way to read thousands of them.
const EMBEDDED_PARTITIONS_MAX: i32 = 100;
/// Kafka's own limit for topic names.
const TOPIC_CHARACTERS_MAX: usize = 249;
/// Cassandra's limit for keyspace and table names; PostgreSQL's is 63.
const IDENTIFIER_CHARACTERS_MAX: usize = 48;

impl Config {
    /// Validates the connections and chooses the implementations. Touches no network.
    ///
    /// # Errors
    /// [`Kind::Config`], naming the option.
    pub fn resolve(from: &Connections) -> Result<Self> {
        let database = from.data_dir.join(DATABASE_FILE);
        let postgres = from.postgres.as_deref().map(|url| postgres(from, url)).transpose()?;
        let with = columns::with(&from.optional.with)?;
        let sink = sink(from, &database, postgres.as_ref(), &with)?;
        kafka_name("--topic", &from.topic)?;
        // Kafka's rule for these is that for topics.
        from.static_member.as_deref().map_or(Ok(()), |id| kafka_name("--static-member", id))?;
        let group = match &from.group {
            Some(group) if group.trim().is_empty() => return Err(bad("--group", "must not be empty")),
            Some(group) => group.clone(),
            None => default_group(&sink),
        };
        Ok(Self {
            bus: bus(from, &database)?,
            ledger: match (from.ledger, postgres) {
                (LedgerChoice::Off, _) => LedgerConfig::Off,
                (LedgerChoice::Auto, Some(postgres)) => LedgerConfig::Postgres(postgres),
                (LedgerChoice::Auto, None) => LedgerConfig::Sqlite(database),
            },
            sink,
            topic: from.topic.clone(),
            group,
            member: MemberConfig {
                protocol: from.group_protocol,
                static_id: from.static_member.clone(),
                on_out_of_range: from.on_out_of_range,
                session_timeout: None,
            },
            derive_id: from.derive_id,
            with,
            encoding: from.registry.encoding,
            registry: RegistryConfig::resolve(
                &from.registry,
                from.connect_timeout,
                from.security.allow_plaintext_credentials,
            )?,
            connect_timeout: from.connect_timeout,
            shutdown_timeout: from.shutdown_timeout,
            in_flight_records_max: from.in_flight.map(|records| records as usize),
        })
    }

    /// Whether bus and sink are both embedded or standard output, so that synthetic users can do no harm.
    pub fn is_embedded(&self) -> bool {
        matches!(self.bus, BusConfig::Embedded(_)) && matches!(self.sink, SinkConfig::Sqlite(..) | SinkConfig::Stdout)
    }
}

impl SourceConfig {
    /// Validates the source's arguments.
    ///
    /// # Errors
    /// [`Kind::Config`], naming the option.
    pub fn resolve(from: &SourceArgs, connections: &Connections) -> Result<Self> {
        let nationalities = from.nat.iter().map(|nat| nationality(nat)).collect::<Result<_>>()?;
        let url = reqwest::Url::parse(&from.api_url).map_err(|e| bad("--api-url", &e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("--api-url", "write an http:// or https:// URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("--api-url", "write it without user and password: every user of the machine can read it"));
        }
        if url.query().is_some() {
            return Err(bad("--api-url", "write it without ?parameters; they have flags of their own"));
        }
        if from.seed.as_deref().is_some_and(|seed| seed.trim().is_empty()) {
            return Err(bad("--seed", "must not be empty"));
        }
        Ok(Self {
            kind: from.source,
            api_url: from.api_url.clone(),
            page_size: from.results as usize,
            seed: from.seed.clone(),
            nationalities,
            gender: from.gender,
            connect_timeout: connections.connect_timeout,
            request_timeout: from.api_timeout,
            attempts_max: from.api_attempts as usize,
        })
    }

    /// Refuses `--source auto` where its fallback would put made-up users among real ones.
    pub fn refuse_auto_with_real_stores(&self, config: &Config) -> Result<()> {
        if self.kind == SourceKind::Auto && !config.is_embedded() {
            return Err(Error::new(Kind::Config, "--source auto is refused with a real bus or sink")
                .because("its fallback would mix synthetic users into real tables")
                .hint("say --source api or --source synthetic"));
        }
        Ok(())
    }
}

fn bus(from: &Connections, database: &Path) -> Result<BusConfig> {
    if from.brokers.is_empty() {
        if from.partitions > EMBEDDED_PARTITIONS_MAX {
            return Err(bad("--partitions", &format!("the embedded bus takes at most {EMBEDDED_PARTITIONS_MAX}")));
        }
        return Ok(BusConfig::Embedded(EmbeddedBusConfig { path: database.to_owned(), partitions: from.partitions }));
    }
    let brokers = addresses("--brokers", &from.brokers, 9092)?;
    Ok(BusConfig::Kafka(KafkaConfig {
        security: KafkaSecurity::resolve(&from.kafka, &brokers, from.security.allow_plaintext_credentials)?,
        brokers,
        partitions: from.partitions,
        replication_factor: from.replication_factor,
        compression: from.compression,
        batch_bytes_max: from.batch_bytes as usize,
        batch_records_max: from.batch_records as usize,
        delivery_timeout: from.delivery_timeout,
        connect_timeout: from.connect_timeout,
    }))
}

fn sink(from: &Connections, database: &Path, postgres: Option<&PostgresConfig>, with: &With) -> Result<SinkConfig> {
    let table = || {
        identifier("--table", &from.table)?;
        Ok::<_, Error>(TableConfig { table: from.table.clone(), columns: columns::written(&from.columns, with)? })
    };
    let chosen = from.sink.unwrap_or(match postgres {
        _ if !from.cassandra.is_empty() => SinkKind::Cassandra,
        Some(_) => SinkKind::Postgres,
        None => SinkKind::Sqlite,
    });
    Ok(match chosen {
        SinkKind::Cassandra if from.cassandra.is_empty() => {
            return Err(Error::new(Kind::Config, "--sink cassandra needs --cassandra HOST:PORT")
                .hint("add --cassandra localhost:9042, or leave --sink out to use the embedded one"));
        }
        SinkKind::Cassandra => SinkConfig::Cassandra(cassandra(from, table()?)?),
        SinkKind::Postgres => match postgres {
            Some(postgres) => SinkConfig::Postgres(postgres.clone(), table()?),
            None => {
                return Err(Error::new(Kind::Config, "--sink postgres needs --postgres URL")
                    .hint("add --postgres postgres://USER@HOST:PORT/DB, or leave --sink out to use the embedded one"));
            }
        },
        SinkKind::Sqlite => SinkConfig::Sqlite(database.to_owned(), table()?),
        SinkKind::Stdout => SinkConfig::Stdout,
    })
}

fn default_group(sink: &SinkConfig) -> String {
    match sink {
        SinkConfig::Cassandra(c) => format!("userpipe-cassandra-{}.{}", c.keyspace, c.table.table),
        SinkConfig::Postgres(_, table) => format!("userpipe-postgres-{}", table.table),
        SinkConfig::Sqlite(_, table) => format!("userpipe-sqlite-{}", table.table),
        SinkConfig::Stdout => "userpipe-stdout".to_owned(),
    }
}

fn nationality(text: &str) -> Result<String> {
    let upper = text.trim().to_ascii_uppercase();
    if NATIONALITIES.contains(&upper.as_str()) {
        return Ok(upper);
    }
    // The API drops the whole filter for one bad nationality, and says nothing.
    Err(bad("--nat", &format!("`{text}` is none of {}", NATIONALITIES.join(",").to_ascii_lowercase())))
}

pub(super) fn addresses(option: &str, given: &[String], default_port: u16) -> Result<Vec<String>> {
    given.iter().map(|text| address(option, text.trim(), default_port)).collect()
}

/// `host:port`, with the default port where none is given; IPv6 in brackets.
fn address(option: &str, text: &str, default_port: u16) -> Result<String> {
    let wrong = || bad(option, &format!("`{text}` is no HOST:PORT"));
    // The value is not shown: what is before the @ may be a password.
    if text.contains('@') {
        return Err(bad(option, "write HOST:PORT without user and password: every user of the machine can read it"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().map_err(|_| wrong())?),
        _ => (text, default_port),
    };
    let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || port == 0 || bare_ipv6 || host.contains(['/', ' ']) {
        return Err(wrong());
    }
    Ok(format!("{host}:{port}"))
}

pub(super) fn replication(text: &str) -> Result<Replication> {
    let wrong = || bad("--replication", &format!("`{text}`: write a factor (1), or dc1:3,dc2:2"));
    let factor = |text: &str| text.trim().parse::<u8>().ok().filter(|f| *f > 0).ok_or_else(wrong);
    if !text.contains(':') {
        return factor(text).map(Replication::Simple);
    }
    let factors = text.split(',').map(|part| {
        let (dc, n) = part.split_once(':').ok_or_else(wrong)?;
        let dc = dc.trim();
        let plain = !dc.is_empty() && dc.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if plain { Ok((dc.to_owned(), factor(n)?)) } else { Err(wrong()) }
    });
    factors.collect::<Result<Vec<_>>>().map(Replication::NetworkTopology)
}

pub(super) fn identifier(option: &str, name: &str) -> Result<()> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if starts && plain && name.len() <= IDENTIFIER_CHARACTERS_MAX {
        return Ok(());
    }
    Err(bad(option, &format!("`{name}`: lower-case letters, digits and _, at most {IDENTIFIER_CHARACTERS_MAX}")))
}

fn kafka_name(option: &str, name: &str) -> Result<()> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if plain && !name.is_empty() && name.len() <= TOPIC_CHARACTERS_MAX && !matches!(name, "." | "..") {
        return Ok(());
    }
    Err(bad(option, &format!("`{name}`: letters, digits, . _ and -, at most {TOPIC_CHARACTERS_MAX}")))
}

/// The error of one option, for [`super::columns`] too.
pub(super) fn bad(option: &str, why: &str) -> Error {
    Error::new(Kind::Config, format!("bad value of {option}"))
        .because(why.to_owned())
        .hint("'userpipe --help' says what it takes; a value comes from a flag, a USERPIPE_ variable or userpipe.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_default_port() {
        let one = |text: &str| address("--brokers", text, 9092).ok();
        assert_eq!(one("kafka").as_deref(), Some("kafka:9092"));
        assert_eq!(one("10.0.0.1:19092").as_deref(), Some("10.0.0.1:19092"));
        assert_eq!(one("[::1]:9093").as_deref(), Some("[::1]:9093"));
        assert_eq!(one("[::1]").as_deref(), Some("[::1]:9092"));
        for bad in ["", ":9092", "host:", "host:99999", "host:0", "::1", "http://host:1", "user@host"] {
            assert_eq!(one(bad), None, "{bad}");
        }
    }

    #[test]
    fn replication_is_a_factor_or_data_centres() {
        assert_eq!(replication("3").ok(), Some(Replication::Simple(3)));
        let two = vec![("dc1".to_owned(), 3), ("dc2".to_owned(), 2)];
        assert_eq!(replication("dc1:3,dc2:2").ok(), Some(Replication::NetworkTopology(two)));
        for bad in ["0", "x", "dc1:", "dc'1:3", ":3", "300"] {
            assert!(replication(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identifiers_and_topics_are_plain() {
        assert!(identifier("--table", "created_users").is_ok());
        assert!(identifier("--table", "users; DROP TABLE x").is_err());
        assert!(identifier("--table", "Users").is_err());
        assert!(kafka_name("--topic", "users_created.dead-letters").is_ok());
        assert!(kafka_name("--topic", "..").is_err());
        assert!(kafka_name("--static-member", "a b").is_err());
    }
}
