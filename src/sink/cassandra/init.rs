//! Makes keyspace and table where they are missing, adds optional columns to a table, and refuses one that does not fit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalog::Catalog;
use super::{link, session};
use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};
use crate::record::Column;
use crate::sink::schema::{self, Dialect};

/// How long the nodes may take to agree on a new schema.
const AGREEMENT_WAIT: Duration = Duration::from_secs(30);

/// The statements [`init_schema`] executes where keyspace and table are missing, without semicolons.
pub fn init_statements(config: &CassandraConfig) -> Vec<String> {
    vec![
        schema::create_keyspace(&config.keyspace, &config.replication),
        schema::create_table(&config.keyspace, &config.table),
    ]
}

/// Makes the configured keyspace and table where they are missing, and adds the optional columns that a table lacks. What
/// else is there is left as it is; running it again changes nothing.
///
/// Returns what it did, one line each.
///
/// # Errors
/// As [`CassandraSink::connect`](super::CassandraSink::connect); [`Kind::Config`] for a table that is there and does
/// not fit, and [`Kind::Refused`] where the role may not create.
pub async fn init_schema(config: &CassandraConfig) -> Result<Vec<String>> {
    let connected = session::connect(config).await?;
    let catalog = Catalog::new(&connected, config);
    let mut done = Vec::new();

    if let Some(replication) = catalog.keyspace().await? {
        done.push(format!("keyspace {} is there ({})", config.keyspace, replication_words(&replication)));
    } else {
        catalog.execute(&schema::create_keyspace(&config.keyspace, &config.replication)).await?;
        agree(&catalog).await?;
        let replication = catalog.keyspace().await?.unwrap_or_default();
        done.push(format!("created keyspace {} ({})", config.keyspace, replication_words(&replication)));
    }

    let table = link::table(config);
    let mut there = catalog.columns().await?;
    let is_new = there.is_empty();
    if is_new {
        catalog.execute(&schema::create_table(&config.keyspace, &config.table)).await?;
        agree(&catalog).await?;
        done.push(format!("created table {table}"));
        // Another process may have created it first, with other columns.
        there = catalog.columns().await?;
    }
    let lacking = schema::additions(Dialect::Cassandra, &table, &there, &config.table.columns)?;
    for column in &lacking {
        add(&catalog, config, column).await?;
    }
    if !lacking.is_empty() {
        done.push(format!("{} to table {table}", schema::added_words(&lacking)));
    } else if !is_new {
        done.push(format!("table {table} is there and matches"));
    }
    Ok(done)
}

/// Adds a column, unless another process does so meanwhile.
async fn add(catalog: &Catalog<'_>, config: &CassandraConfig, column: &Column) -> Result<()> {
    // Without IF NOT EXISTS, which Cassandra has since 4.1.
    let added = catalog.execute(&schema::add_column(Dialect::Cassandra, &link::quoted_table(config), column)).await;
    agree(catalog).await?;
    match added {
        Err(error) if !schema::has(&catalog.columns().await?, column) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The optional columns that [`init_schema`] would add to a table that is there. Changes nothing.
///
/// # Errors
/// As [`init_schema`].
pub async fn additions(config: &CassandraConfig) -> Result<Vec<&'static Column>> {
    let connected = session::connect(config).await?;
    let there = Catalog::new(&connected, config).columns().await?;
    if there.is_empty() {
        return Ok(Vec::new());
    }
    schema::additions(Dialect::Cassandra, &link::table(config), &there, &config.table.columns)
}

async fn agree(catalog: &Catalog<'_>) -> Result<()> {
    if catalog.agreement(AGREEMENT_WAIT).await? {
        return Ok(());
    }
    let limit = humantime::format_duration(AGREEMENT_WAIT);
    Err(Error::new(Kind::Unreachable, "Cassandra's nodes do not agree on the schema")
        .because(format!("still different after {limit}"))
        .hint("see which node lags: nodetool describecluster; then run init-schema again"))
}

/// `SimpleStrategy, factor 1` or `NetworkTopologyStrategy, dc1: 3, dc2: 2`.
fn replication_words(replication: &BTreeMap<String, String>) -> String {
    let class = replication.get("class").map_or("no strategy", |class| class.rsplit('.').next().unwrap_or(class));
    let mut words = vec![class.to_owned()];
    for (name, value) in replication.iter().filter(|(name, _)| *name != "class") {
        words.push(if name == "replication_factor" { format!("factor {value}") } else { format!("{name}: {value}") });
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_reads_as_people_say_it() {
        let words = |pairs: &[(&str, &str)]| {
            replication_words(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let simple = [("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "1")];
        assert_eq!(words(&simple), "SimpleStrategy, factor 1");
        let topology = [("class", "NetworkTopologyStrategy"), ("dc2", "2"), ("dc1", "3")];
        assert_eq!(words(&topology), "NetworkTopologyStrategy, dc1: 3, dc2: 2");
    }
}
