//! The ledger in PostgreSQL.

#[path = "../contracts/ledger.rs"]
mod contract;

use std::time::Duration;

use userpipe::config::PostgresConfig;
use userpipe::error::Result;
use userpipe::ledger::PostgresLedger;
use userpipe::secret::Secret;
use userpipe::sql::Postgres;
use uuid::Uuid;

use crate::services;

#[tokio::test]
#[ignore = "needs live services: make test"]
async fn postgres_keeps_the_contract_of_a_ledger() -> Result<()> {
    let services::Postgres { url, password } = services::postgres();
    let config =
        PostgresConfig { url, password: Some(Secret::new(password)), connect_timeout: Duration::from_secs(10) };
    let database = Postgres::connect(&config).await?;
    database.migrate().await?;
    let test = Uuid::now_v7();
    let ledger = |pipeline: &str| PostgresLedger::new(database.clone(), format!("{pipeline}/{test}"));
    contract::keeps_the_contract(&ledger("a"), &ledger("b")).await
}
