//! The loop on a bus that misbehaves.

use bytes::Bytes;
use clap::Parser as _;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::bus::{Offset, Watermarks};
use crate::cli::Cli;
use crate::config::{Config, TableConfig};
use crate::pipeline::Stores;
use crate::record::{COLUMNS, Timestamp};
use crate::sink::sql::SqliteSink;
use crate::sql::Sqlite;

/// One record, and a broker that never answers a question about offsets.
#[derive(Debug, Default)]
struct Silent {
    handed_out: bool,
}

impl Consumer for Silent {
    async fn poll(&mut self, wait: Duration) -> Result<Event> {
        if self.handed_out {
            tokio::time::sleep(wait).await;
            return Ok(Event::Records(Vec::new()));
        }
        self.handed_out = true;
        let key = Some(Bytes::from(Uuid::from_u128(1).to_string()));
        let timestamp = Timestamp::now();
        Ok(Event::Records(vec![Message { partition: 0, offset: 0, timestamp, key, value: None, headers: Vec::new() }]))
    }

    async fn commit(&mut self, _: &BTreeMap<Partition, Offset>) -> Result<Commit> {
        Ok(Commit::Stored)
    }

    fn pause(&mut self, _: bool) {}

    async fn watermarks(&mut self) -> Result<BTreeMap<Partition, Watermarks>> {
        std::future::pending().await
    }

    async fn committed(&mut self) -> Result<BTreeMap<Partition, Offset>> {
        std::future::pending().await
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn surveys_that_are_never_answered_do_not_keep_it_from_polling() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    let table =
        TableConfig { table: "created_users".to_owned(), columns: COLUMNS.iter().map(|column| column.name).collect() };
    let connections = Cli::parse_from(["userpipe", "consume"]).connections;
    let parts = Parts {
        sink: Arc::new(AnySink::Sqlite(SqliteSink::open(database, table).await?)),
        dead_letters: DeadLetters::new(Arc::new(Stores::new(Config::resolve(&connections)?))),
        topic: "t".to_owned(),
        codec: Codec::default(),
        metrics: Arc::default(),
        health: Arc::default(),
        in_flight_records_max: 10,
        shutdown_timeout: Duration::from_secs(1),
    };
    let (_goal, goal) = watch::channel(Goal::Offsets(BTreeMap::from([(0, 1)])));
    let limits = Limits { goal, deadline: Some(5 * SURVEY_TIMEOUT), ..Limits::none() };
    let end = Deliver::new(Silent::default(), parts, limits).run(&CancellationToken::new()).await?;
    assert_eq!(end, End::Reached);
    Ok(())
}
