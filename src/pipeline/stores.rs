//! Opens what the configuration chose: each store once a process, shared by the stages that use it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::bus::observer::{self, AnyObserver};
use crate::bus::{
    self, AnyConsumer, AnyProducer, AnyReader, Message, Partition, Reader, Reset, Retention, StartAt, Survey,
    Watermarks, embedded, kafka,
};
use crate::config::{BusConfig, Config, KafkaConfig, LedgerConfig, PostgresConfig, SinkConfig};
use crate::encoding::Codec;
use crate::encoding::registry::Registry;
use crate::encoding::subject::Subject;
use crate::error::{Kind, Result};
use crate::ledger::{AnyLedger, PostgresLedger, SqliteLedger};
use crate::retry::deadline;
use crate::sink::cassandra::CassandraSink;
use crate::sink::sql::{PostgresSink, SqliteSink};
use crate::sink::{AnySink, StdoutSink};
use crate::sql::{Postgres, Sqlite};

/// How long a reset waits for members that died: longer than a session.
const RESET_WAIT: Duration = Duration::from_mins(1);

/// Limit for closing: with the drain's 25 s it stays below the 30 s that orchestrators give.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The stores of one process, opened when they are first asked for.
#[derive(Debug)]
pub struct Stores {
    /// What was chosen.
    pub config: Config,
    sqlite: OnceCell<Sqlite>,
    postgres: OnceCell<Postgres>,
    registry: OnceCell<Arc<Registry>>,
    codec: OnceCell<Codec>,
}

impl Stores {
    /// Opens nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            sqlite: OnceCell::new(),
            postgres: OnceCell::new(),
            registry: OnceCell::new(),
            codec: OnceCell::new(),
        }
    }

    /// The embedded file. There is one in a configuration, whichever stages use it.
    pub async fn sqlite(&self, path: &Path) -> Result<Sqlite> {
        let opening = || deadline(self.config.connect_timeout, "cannot open the data file", Sqlite::open(path));
        self.sqlite.get_or_try_init(opening).await.cloned()
    }

    /// PostgreSQL. There is one in a configuration, whichever stages use it.
    pub async fn postgres(&self, config: &PostgresConfig) -> Result<Postgres> {
        self.postgres.get_or_try_init(|| Postgres::connect(config)).await.cloned()
    }

    /// The client of the Schema Registry, where one is configured. Asks it nothing.
    ///
    /// # Errors
    /// [`Kind::Config`] for TLS files that cannot be used.
    pub async fn registry(&self) -> Result<Option<Arc<Registry>>> {
        let Some(config) = &self.config.registry else { return Ok(None) };
        let opening = async || Registry::new(config).map(Arc::new);
        self.registry.get_or_try_init(opening).await.cloned().map(Some)
    }

    /// The subject of the topic's values, where they have a schema.
    ///
    /// # Errors
    /// As [`Stores::registry`].
    pub async fn subject(&self) -> Result<Option<Subject>> {
        let Config { topic, encoding, with, .. } = &self.config;
        Ok(self.registry().await?.and_then(|registry| Subject::of(registry, topic, *encoding, with)))
    }

    /// Reads every encoding, and writes plain JSON. What it learns of schemas, all of its clones know.
    ///
    /// # Errors
    /// As [`Stores::registry`].
    pub async fn codec(&self) -> Result<Codec> {
        let making = async || {
            let codec = Codec::new(self.config.derive_id, self.config.with.clone());
            Ok(match self.registry().await? {
                Some(registry) => codec.reading(registry),
                None => codec,
            })
        };
        self.codec.get_or_try_init(making).await.cloned()
    }

    /// As [`Stores::codec`], for reading that goes on: a registry that is away will be waited for, and one that refuses us
    /// is told of at once.
    ///
    /// # Errors
    /// [`Kind::Refused`] and [`Kind::Config`], which no waiting mends.
    pub async fn codec_to_read(&self) -> Result<Codec> {
        if let Some(registry) = self.registry().await?
            && let Err(error) = registry.ping().await
        {
            if matches!(error.kind(), Kind::Refused | Kind::Config) {
                return Err(error);
            }
            tracing::warn!("{error}; it is asked again for the first schema that is not known");
        }
        self.codec().await
    }

    /// Also writes as configured, under a schema that the registry has.
    ///
    /// # Errors
    /// Those of the registry; [`Kind::Config`] for a schema that it does not take.
    pub async fn codec_to_write(&self) -> Result<Codec> {
        let codec = self.codec().await?;
        let may_register = self.config.registry.as_ref().is_some_and(|registry| registry.may_register);
        Ok(match self.subject().await? {
            Some(subject) => codec.writing(subject.format(may_register).await?),
            None => codec,
        })
    }

    /// Makes sure that a topic is there; true if it was created.
    pub async fn ensure_topic(&self, topic: &str) -> Result<bool> {
        match &self.config.bus {
            BusConfig::Embedded(config) => {
                embedded::ensure_topic(&self.sqlite(&config.path).await?, topic, config.partitions).await
            }
            BusConfig::Kafka(config) => {
                Ok(matches!(kafka::ensure_topic(config, topic).await?, kafka::Ensured::Created { .. }))
            }
        }
    }

    /// A producer to a topic, which is created if it is missing.
    pub async fn producer(&self, topic: &str) -> Result<AnyProducer> {
        self.ensure_topic(topic).await?;
        Ok(match &self.config.bus {
            BusConfig::Embedded(config) => {
                let database = self.sqlite(&config.path).await?;
                AnyProducer::Embedded(embedded::EmbeddedProducer::new(database, topic.to_owned()))
            }
            BusConfig::Kafka(config) => AnyProducer::Kafka(kafka::KafkaProducer::connect(config, topic).await?),
        })
    }

    /// A member of the group; anything but [`StartAt::Stored`] resets the group's offsets first.
    ///
    /// # Errors
    /// While the group has live members a reset is refused.
    pub async fn consumer(&self, start: StartAt) -> Result<AnyConsumer> {
        let Config { topic, group, member, .. } = &self.config;
        let identity = self.config.sink_identity();
        match &self.config.bus {
            BusConfig::Embedded(config) => {
                let database = self.sqlite(&config.path).await?;
                embedded::ensure_topic(&database, topic, config.partitions).await?;
                if start != StartAt::Stored {
                    let reset = embedded::reset_group(&database, topic, group, &identity, start, RESET_WAIT).await?;
                    tracing::debug!(?reset, "moved the group");
                }
                let joined = embedded::EmbeddedConsumer::join(database, member, topic.clone(), group.clone(), identity);
                Ok(AnyConsumer::Embedded(Box::new(joined.await?)))
            }
            BusConfig::Kafka(config) => {
                if start != StartAt::Stored {
                    let reset = kafka::reset_group(&self.group(config, &identity), start, RESET_WAIT).await?;
                    tracing::debug!(?reset, "moved the group");
                }
                let joined = kafka::KafkaConsumer::join(config, member, topic, group, &identity).await?;
                Ok(AnyConsumer::Kafka(joined))
            }
        }
    }

    /// Where a reset would move the group's committed offsets. Changes nothing.
    ///
    /// # Errors
    /// [`Kind::Config`] for a missing topic, or a group of another sink.
    pub async fn plan_reset(&self, to: StartAt) -> Result<Reset> {
        let Config { topic, group, .. } = &self.config;
        let identity = self.config.sink_identity();
        match &self.config.bus {
            BusConfig::Embedded(config) => {
                embedded::plan_reset(&self.sqlite(&config.path).await?, topic, group, &identity, to).await
            }
            BusConfig::Kafka(config) => kafka::plan_reset(&self.group(config, &identity), to).await,
        }
    }

    /// Moves the group's committed offsets as planned.
    ///
    /// # Errors
    /// While the group has live members it is refused.
    pub async fn apply_reset(&self, planned: &Reset) -> Result<()> {
        let Config { topic, group, .. } = &self.config;
        let identity = self.config.sink_identity();
        match &self.config.bus {
            BusConfig::Embedded(config) => {
                let database = self.sqlite(&config.path).await?;
                embedded::apply_reset(&database, topic, group, &identity, planned, RESET_WAIT).await
            }
            BusConfig::Kafka(config) => kafka::apply_reset(&self.group(config, &identity), planned, RESET_WAIT).await,
        }
    }

    fn group<'a>(&'a self, config: &'a KafkaConfig, identity: &'a str) -> kafka::Group<'a> {
        let Config { topic, group, member, .. } = &self.config;
        kafka::Group { config, settings: member, topic, name: group, identity }
    }

    /// Reads a topic from its first record to the end that it has now. One that is not there is empty.
    pub async fn reader(&self, topic: &str) -> Result<AnyReader> {
        let ranges = match &self.config.bus {
            BusConfig::Embedded(config) => embedded::watermarks(&self.sqlite(&config.path).await?, topic).await?,
            BusConfig::Kafka(config) => kafka::describe_topic(config, topic).await?.unwrap_or_default(),
        };
        self.reader_of(topic, ranges).await
    }

    /// Reads these ranges of a topic.
    pub async fn reader_of(&self, topic: &str, ranges: BTreeMap<Partition, Watermarks>) -> Result<AnyReader> {
        Ok(match &self.config.bus {
            BusConfig::Embedded(config) => {
                let database = self.sqlite(&config.path).await?;
                AnyReader::Embedded(embedded::EmbeddedReader::new(database, topic.to_owned(), ranges))
            }
            BusConfig::Kafka(config) => {
                AnyReader::Kafka(Box::new(kafka::KafkaReader::connect(config, topic, ranges).await?))
            }
        })
    }

    /// Looks at topics and groups from outside, over a connection of its own.
    pub async fn observer(&self) -> Result<AnyObserver> {
        Ok(match &self.config.bus {
            BusConfig::Embedded(config) => {
                AnyObserver::Embedded(embedded::EmbeddedObserver::new(self.sqlite(&config.path).await?))
            }
            BusConfig::Kafka(config) => AnyObserver::Kafka(Box::new(kafka::KafkaObserver::connect(config).await?)),
        })
    }

    /// How far the group is in the topic. Changes nothing.
    ///
    /// # Errors
    /// [`Kind::Config`] for a missing topic, or a group of another sink.
    pub async fn survey(&self) -> Result<Survey> {
        let Config { topic, group, .. } = &self.config;
        observer::survey(&self.observer().await?, topic, group, &self.config.sink_identity()).await
    }

    /// The sink, connected and its table checked.
    pub async fn sink(&self) -> Result<AnySink> {
        Ok(match &self.config.sink {
            SinkConfig::Cassandra(config) => {
                AnySink::Cassandra(Box::new(CassandraSink::connect(config.clone()).await?))
            }
            SinkConfig::Postgres(config, table) => {
                AnySink::Postgres(PostgresSink::open(self.postgres(config).await?, table).await?)
            }
            SinkConfig::Sqlite(path, table) => {
                AnySink::Sqlite(SqliteSink::open(self.sqlite(path).await?, table.clone()).await?)
            }
            SinkConfig::Stdout => AnySink::Stdout(StdoutSink),
        })
    }

    /// The sink, to be read: as [`Stores::sink`], but a table that is missing is not created.
    ///
    /// # Errors
    /// [`Kind::Config`] for a table that is missing or does not fit.
    pub async fn sink_to_read(&self) -> Result<AnySink> {
        if let SinkConfig::Sqlite(path, table) = &self.config.sink {
            return Ok(AnySink::Sqlite(SqliteSink::open_existing(self.sqlite(path).await?, table.clone()).await?));
        }
        self.sink().await
    }

    /// The ledger of this pipeline, with its tables.
    pub async fn ledger(&self) -> Result<AnyLedger> {
        Ok(match &self.config.ledger {
            LedgerConfig::Off => AnyLedger::Off,
            LedgerConfig::Sqlite(path) => {
                AnyLedger::Sqlite(SqliteLedger::new(self.sqlite(path).await?, self.pipeline().await?))
            }
            LedgerConfig::Postgres(config) => {
                let database = self.postgres(config).await?;
                database.migrate().await?;
                AnyLedger::Postgres(PostgresLedger::new(database, self.pipeline().await?))
            }
        })
    }

    /// The ledger of this pipeline where there is one already: who only looks leaves nothing behind.
    pub async fn ledger_if_there(&self) -> Result<AnyLedger> {
        let is_there = match &self.config.ledger {
            LedgerConfig::Off => false,
            LedgerConfig::Sqlite(path) => path.exists(),
            LedgerConfig::Postgres(config) => self.postgres(config).await?.has_ledger().await?,
        };
        if is_there { self.ledger().await } else { Ok(AnyLedger::Off) }
    }

    /// How many records on the topic have this key and hold something, and how long the topic keeps them; no records
    /// where there is no such topic.
    pub async fn copies(&self, topic: &str, key: &[u8]) -> Result<(u64, Retention)> {
        let (mut reader, mut copies) = (self.reader(topic).await?, 0);
        loop {
            let page = reader.next().await?;
            if page.is_empty() {
                break;
            }
            let is_copy = |message: &&Message| message.value.is_some() && message.key.as_deref() == Some(key);
            copies += page.iter().filter(is_copy).count() as u64;
        }
        let retention = match &self.config.bus {
            BusConfig::Kafka(config) if copies > 0 => kafka::retention(config, topic).await?,
            BusConfig::Kafka(_) | BusConfig::Embedded(_) => Retention { time: None, is_compacted: false },
        };
        Ok((copies, retention))
    }

    /// Whether the bus is ours, so that single records can be erased from it.
    pub fn can_erase(&self) -> bool {
        matches!(self.config.bus, BusConfig::Embedded(_))
    }

    /// Erases what records of this key hold, where that can be done: how many held something.
    pub async fn erase(&self, topic: &str, key: &[u8]) -> Result<u64> {
        match &self.config.bus {
            BusConfig::Embedded(config) => embedded::erase(&self.sqlite(&config.path).await?, topic, key).await,
            BusConfig::Kafka(_) => Ok(0),
        }
    }

    /// The pipeline's identity: the bus (Kafka's cluster id, or embedded) and the topic.
    async fn pipeline(&self) -> Result<String> {
        Ok(match &self.config.bus {
            BusConfig::Embedded(_) => format!("embedded/{}", self.config.topic),
            BusConfig::Kafka(config) => format!("{}/{}", kafka::cluster_id(config).await?, self.config.topic),
        })
    }

    /// Closes what was opened. A connection that is still busy ends with the process.
    pub async fn close(&self) {
        let closing = async {
            if let Some(sqlite) = self.sqlite.get() {
                sqlite.close().await;
            }
            if let Some(postgres) = self.postgres.get() {
                postgres.pool.close().await;
            }
        };
        if tokio::time::timeout(CLOSE_MAX, closing).await.is_err() {
            tracing::debug!("the stores did not close within {CLOSE_MAX:?}");
        }
    }

    /// The name of the dead-letter topic.
    pub fn dead_letter_topic(&self) -> String {
        bus::dead_letter_topic(&self.config.topic)
    }
}
