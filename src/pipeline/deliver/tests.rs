//! The loop of [`Deliver`] on a consumer that does what a real one rarely does.

use std::collections::VecDeque;

use clap::Parser;
use uuid::Uuid;

use super::*;
use crate::bus::{Offset, Watermarks};
use crate::cli::Cli;
use crate::config::Config;
use crate::pipeline::Stores;
use crate::record::Timestamp;

/// A consumer whose looks at the topic take longer than the interval between them.
struct SlowSurveys {
    events: VecDeque<Event>,
    committed: BTreeMap<Partition, Offset>,
}

impl Consumer for SlowSurveys {
    async fn poll(&mut self, wait: Duration) -> Result<Event> {
        if self.events.is_empty() {
            tokio::time::sleep(wait).await;
        }
        Ok(self.events.pop_front().unwrap_or(Event::Records(Vec::new())))
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, Offset>) -> Result<Commit> {
        self.committed.extend(offsets);
        Ok(Commit::Stored)
    }

    fn pause(&mut self, _: bool) {}

    async fn watermarks(&mut self) -> Result<BTreeMap<Partition, Watermarks>> {
        tokio::time::sleep(SURVEY_INTERVAL + Duration::from_millis(100)).await;
        Ok(BTreeMap::from([(0, Watermarks { low: 0, high: 1 })]))
    }

    async fn committed(&mut self) -> Result<BTreeMap<Partition, Offset>> {
        Ok(self.committed.clone())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn slow_surveys_do_not_keep_records_from_being_taken() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let arguments = ["userpipe".as_ref(), "--data-dir".as_ref(), directory.path().as_os_str(), "man".as_ref()];
    let cli = Cli::try_parse_from(arguments).expect("good arguments");
    let stores = Arc::new(Stores::new(Config::resolve(&cli.connections)?));
    let parts = Parts {
        sink: Arc::new(stores.sink().await?),
        dead_letters: DeadLetters::new(Arc::clone(&stores)),
        topic: "users_created".to_owned(),
        codec: Codec::default(),
        metrics: Arc::default(),
        health: Arc::default(),
        suppression: Suppression::none(),
        in_flight_records_max: 10,
        shutdown_timeout: Duration::from_secs(5),
    };
    let tombstone = Message {
        partition: 0,
        offset: 0,
        timestamp: Timestamp::now(),
        key: Some(Uuid::nil().to_string().into()),
        value: None,
        headers: Vec::new(),
    };
    let events = VecDeque::from([Event::Assigned(vec![0]), Event::Records(vec![tombstone])]);
    let (_goal, goal) = tokio::sync::watch::channel(Goal::Offsets(BTreeMap::from([(0, 1)])));
    let limits = Limits { goal, deadline: Some(Duration::from_secs(5)), ..Limits::none() };
    let deliver = Deliver::new(SlowSurveys { events, committed: BTreeMap::new() }, parts, limits);
    assert_eq!(deliver.run(&CancellationToken::new()).await?, End::Reached);
    Ok(())
}
