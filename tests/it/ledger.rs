//! The ledger in the data file.

#[path = "../contracts/audit.rs"]
mod audit;
#[path = "../contracts/ledger.rs"]
mod contract;
#[path = "../contracts/runs.rs"]
mod runs;

use userpipe::error::Result;
use userpipe::ledger::SqliteLedger;
use userpipe::sql::Sqlite;

#[tokio::test]
async fn sqlite_keeps_the_contract_of_a_ledger() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    let ledger = |pipeline: &str| SqliteLedger::new(database.clone(), pipeline.to_owned());
    contract::keeps_the_contract(&ledger("embedded/a"), &ledger("embedded/b")).await
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_an_archive() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    let ledger = |pipeline: &str| SqliteLedger::new(database.clone(), pipeline.to_owned());
    contract::keeps_the_contract_of_an_archive(&ledger("embedded/a"), &ledger("embedded/b")).await
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_runs() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    let process = |pipeline: &str| SqliteLedger::new(database.clone(), pipeline.to_owned());
    runs::keeps_the_contract(&process("embedded/a"), &process("embedded/a"), &process("embedded/b")).await
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_an_audit() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    let ledger = |pipeline: &str| SqliteLedger::new(database.clone(), pipeline.to_owned());
    audit::keeps_the_contract(&ledger("embedded/a"), &ledger("embedded/b")).await
}
