//! `init-schema`: the topic, the keyspace and the tables of whatever is configured, and columns that were asked for since.

use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use crate::cli::InitSchemaArgs;
use crate::config::SinkConfig;
use crate::error::{Kind, Result};
use crate::inspect::schema;
use crate::ledger::AnyLedger;
use crate::sink::schema::added_words;
use crate::sink::{Sink as _, cassandra, sql};
use crate::terminal::print;

/// How often a service that is still starting is asked again.
const WAIT_POLL: Duration = Duration::from_secs(1);

pub(super) async fn run(args: InitSchemaArgs, context: &Context) -> Result<()> {
    if args.dry_run {
        let mut statements = schema::statements(context.config());
        statements.extend(schema::alterations(&context.stores).await?);
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
                    let words = format!("{} to {place}", added_words(&added));
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
