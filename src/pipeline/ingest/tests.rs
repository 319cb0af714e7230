//! What the outbox does with a bus that fails for a while.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::bus::embedded::{self, EmbeddedProducer};
use crate::bus::{Outgoing, Sent};
use crate::config::{SourceConfig, SourceKind};
use crate::ledger::SqliteLedger;
use crate::sql::Sqlite;

/// A bus that is away for the first batch.
#[derive(Debug)]
struct AwayAtFirst(EmbeddedProducer, AtomicBool);

impl Producer for AwayAtFirst {
    async fn send(&self, records: &[Outgoing]) -> Sent {
        if self.1.swap(true, Ordering::SeqCst) {
            return self.0.send(records).await;
        }
        let failure = Some(Error::new(Kind::Unreachable, "the bus is away"));
        Sent { acks: vec![None; records.len()], failure }
    }
}

#[tokio::test]
async fn a_process_that_lives_on_sends_what_its_last_run_could_not() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    embedded::ensure_topic(&database, "t", 1).await?;
    let ingest = Arc::new(Ingest {
        ledger: SqliteLedger::new(database.clone(), "embedded/t".to_owned()),
        producer: AwayAtFirst(EmbeddedProducer::new(database, "t".to_owned()), AtomicBool::new(false)),
        codec: Codec::default(),
        transform: None,
        metrics: Arc::default(),
        health: Arc::default(),
        linger: Duration::ZERO,
        batch_records_max: 10,
        keep: None,
    });
    let config = SourceConfig {
        kind: SourceKind::Synthetic,
        api_url: String::new(),
        page_size: 10,
        seed: None,
        nationalities: Vec::new(),
        gender: None,
        connect_timeout: Duration::ZERO,
        request_timeout: Duration::ZERO,
        attempts_max: 1,
    };
    let mut source = AnySource::new(&config, 1)?;
    let plan =
        Plan { count: Some(5), stream_for: None, rate: None, page_size: 10, retries: 0, retry_delay: Duration::ZERO };
    let stop = CancellationToken::new();
    ingest.run(&mut source, plan, &stop).await.expect_err("the bus is away");
    ingest.ledger.renew().await?;
    assert_eq!(ingest.send_pending().await?.produced, 5, "its own claim is no reason to wait");
    assert_eq!(ingest.ledger.unsent().await?, 0);
    Ok(())
}
