//! The statements that prepare topic, ledger and sink as they are configured.

use crate::bus::dead_letter_topic;
use crate::config::{BusConfig, Config, LedgerConfig, SinkConfig};
use crate::sink::{cassandra, schema};

/// What `init-schema` makes sure of, one statement or remark each.
#[must_use]
pub fn statements(config: &Config) -> Vec<String> {
    let mut statements = Vec::new();
    let partitions = match &config.bus {
        BusConfig::Kafka(kafka) => kafka.partitions,
        BusConfig::Embedded(embedded) => embedded.partitions,
    };
    for topic in [config.topic.clone(), dead_letter_topic(&config.topic)] {
        statements.push(format!("-- {}: topic {topic} with {partitions} partitions, if it is missing", config.bus));
    }
    match &config.ledger {
        LedgerConfig::Off => {}
        LedgerConfig::Sqlite(path) => {
            statements.push(format!("-- sqlite {}: the ledger's tables (migrations)", path.display()));
        }
        LedgerConfig::Postgres(postgres) => {
            statements
                .push(format!("-- postgres {}: the ledger's tables in schema userpipe (migrations)", postgres.url));
        }
    }
    match &config.sink {
        SinkConfig::Cassandra(config) => {
            statements.extend(cassandra::init_statements(config).into_iter().map(|cql| format!("{cql};")));
        }
        SinkConfig::Postgres(_, table) => statements.push(format!("{};", schema::create_table_postgres(&table.table))),
        SinkConfig::Sqlite(_, table) => statements.push(format!("{};", schema::create_table_sqlite(&table.table))),
        SinkConfig::Stdout => {}
    }
    statements
}
