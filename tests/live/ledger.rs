//! The ledger in PostgreSQL.

#[path = "../contracts/audit.rs"]
mod audit;
#[path = "../contracts/ledger.rs"]
mod contract;
#[path = "../contracts/runs.rs"]
mod runs;

use std::time::Duration;

use userpipe::config::{PostgresConfig, SslMode};
use userpipe::error::Result;
use userpipe::ledger::PostgresLedger;
use userpipe::secret::Secret;
use userpipe::sql::Postgres;
use userpipe::tls::TlsFiles;
use uuid::Uuid;

use crate::services;

/// Ledgers of pipelines that the database has not seen before.
async fn ledgers<const N: usize>(pipelines: [&str; N]) -> Result<[PostgresLedger; N]> {
    let services::Postgres { url, password } = services::postgres();
    let config = PostgresConfig {
        url,
        password: Some(Secret::new(password)),
        ssl_mode: SslMode::Prefer,
        tls: TlsFiles { ca: None, identity: None, ca_setting: "sslrootcert" },
        connect_timeout: Duration::from_secs(10),
    };
    let database = Postgres::connect(&config).await?;
    database.migrate().await?;
    let test = Uuid::now_v7();
    Ok(pipelines.map(|pipeline| PostgresLedger::new(database.clone(), format!("{pipeline}/{test}"))))
}

#[tokio::test]
#[ignore = "needs live services: make test"]
async fn postgres_keeps_the_contract_of_a_ledger() -> Result<()> {
    let [ledger, other] = ledgers(["a", "b"]).await?;
    contract::keeps_the_contract(&ledger, &other).await
}

#[tokio::test]
#[ignore = "needs live services: make test"]
async fn postgres_keeps_the_contract_of_an_archive() -> Result<()> {
    let [ledger, other] = ledgers(["a", "b"]).await?;
    contract::keeps_the_contract_of_an_archive(&ledger, &other).await
}

#[tokio::test]
#[ignore = "needs live services: make test"]
async fn postgres_keeps_the_contract_of_runs() -> Result<()> {
    let [ours, theirs, other] = ledgers(["a", "a", "b"]).await?;
    runs::keeps_the_contract(&ours, &theirs, &other).await
}

#[tokio::test]
#[ignore = "needs live services: make test"]
async fn postgres_keeps_the_contract_of_an_audit() -> Result<()> {
    let [ledger, other] = ledgers(["a", "b"]).await?;
    audit::keeps_the_contract(&ledger, &other).await
}
