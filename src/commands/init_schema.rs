//! `init-schema`: the topic, the keyspace and the tables of whatever is configured, and columns that were asked for since.

use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use crate::cli::InitSchemaArgs;
use crate::config::{BusConfig, Config, LedgerConfig, SinkConfig};
use crate::error::{Kind, Result};
use crate::ledger::AnyLedger;
use crate::record::column;
use crate::sink::schema::{Dialect, add_column, quoted};
use crate::sink::{Sink as _, cassandra, schema, sql};
use crate::terminal::print;

/// How often a service that is still starting is asked again.
const WAIT_POLL: Duration = Duration::from_secs(1);

pub(super) async fn run(args: InitSchemaArgs, context: &Context) -> Result<()> {
    if args.dry_run {
        let mut statements = statements(context.config());
        statements.extend(alterations(context).await?);
        return print(format!("{}\n", statements.join("\n\n")).as_bytes()).map(|_| ());
    }
    let give_up = Instant::now() + args.wait.unwrap_or_default();
    // The steps are idempotent, so waiting is doing them again from the start of the one that failed.
    for step in [Step::Bus, Step::Ledger, Step::Sink] {
        loop {
            let failed = match step.run(context).await {
                Ok(lines) => {
                    for line in lines {
                        print(format!("{line}\n").as_bytes())?;
                    }
                    break;
                }
                Err(error) => error,
            };
            if failed.kind() != Kind::Unreachable || Instant::now() >= give_up || context.shutdown.is_cancelled() {
                return Err(failed);
            }
            tracing::info!("waiting: {failed}");
            tokio::time::sleep(WAIT_POLL).await;
        }
    }
    Ok(())
}

/// What is prepared, in this order.
#[derive(Clone, Copy)]
enum Step {
    Bus,
    Ledger,
    Sink,
}

impl Step {
    async fn run(self, context: &Context) -> Result<Vec<String>> {
        let (stores, config) = (&context.stores, context.config());
        match self {
            Step::Bus => {
                let mut lines = Vec::new();
                for topic in [config.topic.clone(), stores.dead_letter_topic()] {
                    let created = stores.ensure_topic(&topic).await?;
                    lines.push(told("topic", &format!("{}/{topic}", config.bus), created));
                }
                Ok(lines)
            }
            Step::Ledger => Ok(match stores.ledger().await? {
                AnyLedger::Off => Vec::new(),
                AnyLedger::Sqlite(_) => vec!["the ledger's tables are ready in the data file".to_owned()],
                AnyLedger::Postgres(_) => vec!["the ledger's tables are ready in schema userpipe".to_owned()],
            }),
            Step::Sink => match &config.sink {
                SinkConfig::Cassandra(config) => cassandra::init_schema(config).await,
                SinkConfig::Postgres(pg, table) => sql::init_postgres(&stores.postgres(pg).await?, table).await,
                SinkConfig::Sqlite(path, table) => {
                    let added = sql::init_sqlite(&stores.sqlite(path).await?, table).await?;
                    let place = format!("table {}/{}", path.display(), table.table);
                    // Checked also where nothing was added.
                    stores.sink().await?.close().await?;
                    let ready = format!("{place} is ready");
                    let words = format!("{} to {place}", schema::added_words(&added));
                    Ok(if added.is_empty() { vec![ready] } else { vec![words, ready] })
                }
                SinkConfig::Stdout => Ok(Vec::new()),
            },
        }
    }
}

fn told(what: &str, name: &str, created: bool) -> String {
    if created { format!("created {what} {name}") } else { format!("{what} {name} is there") }
}

/// What a run without `--dry-run` would make sure of.
fn statements(config: &Config) -> Vec<String> {
    let mut statements = Vec::new();
    let partitions = match &config.bus {
        BusConfig::Kafka(kafka) => kafka.partitions,
        BusConfig::Embedded(embedded) => embedded.partitions,
    };
    for topic in [config.topic.clone(), crate::bus::dead_letter_topic(&config.topic)] {
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

/// The columns that a run without `--dry-run` would add to the sink's table as it is now. Only where some were asked for is
/// it looked at.
async fn alterations(context: &Context) -> Result<Vec<String>> {
    let sink = &context.config().sink;
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
                sql::additions_in_postgres(&context.stores.postgres(config).await?, table).await
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
