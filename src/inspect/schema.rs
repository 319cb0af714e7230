//! The statements that prepare topic, ledger and sink as they are configured.

use crate::bus::dead_letter_topic;
use crate::config::{BusConfig, Config, LedgerConfig, SinkConfig};
use crate::error::{Kind, Result};
use crate::pipeline::Stores;
use crate::record::column;
use crate::sink::schema::{self, Dialect, add_column, quoted};
use crate::sink::{cassandra, sql};

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
        SinkConfig::Postgres(_, table) => statements.push(format!("{};", schema::create_table_postgres(table))),
        SinkConfig::Sqlite(_, table) => statements.push(format!("{};", schema::create_table_sqlite(table))),
        SinkConfig::Stdout => {}
    }
    statements
}

/// The columns that `init-schema` would add to the sink's table as it is now. Only where some were asked for is
/// it looked at.
///
/// # Errors
/// Those of the sink but that it cannot be reached; [`Kind::Config`] where the table cannot be made to fit.
pub async fn alterations(stores: &Stores) -> Result<Vec<String>> {
    let sink = &stores.config.sink;
    let (dialect, name, table) = match sink {
        SinkConfig::Cassandra(config) => {
            (Dialect::Cassandra, format!("{}.{}", quoted(&config.keyspace), quoted(&config.table.table)), &config.table)
        }
        SinkConfig::Postgres(_, table) => (Dialect::Postgres, quoted(&table.table), table),
        SinkConfig::Sqlite(_, table) => (Dialect::Sqlite, quoted(&table.table), table),
        SinkConfig::Stdout => return Ok(Vec::new()),
    };
    if table.with().is_none() {
        return Ok(Vec::new());
    }
    let looking = async {
        match sink {
            SinkConfig::Cassandra(config) => cassandra::additions(config).await,
            SinkConfig::Postgres(config, table) => {
                sql::additions_in_postgres(&stores.postgres(config).await?, table).await
            }
            SinkConfig::Sqlite(path, table) => sql::additions_in_sqlite(path, table).await,
            SinkConfig::Stdout => Ok(Vec::new()),
        }
    };
    match looking.await {
        Ok(lacking) => Ok(lacking.iter().map(|column| format!("{};", add_column(dialect, &name, column))).collect()),
        Err(error) if error.kind() == Kind::Unreachable => {
            tracing::warn!("{error}");
            let optional = table.columns.iter().filter_map(|name| column(name)).filter(|column| column.is_optional());
            let note = format!("-- where {name} is there already, for each of these that it lacks:");
            let statements = optional.map(|column| format!("-- {};", add_column(dialect, &name, column)));
            Ok(vec![std::iter::once(note).chain(statements).collect::<Vec<_>>().join("\n")])
        }
        Err(error) => Err(error),
    }
}
