//! The loop of [`Deliver`] on a consumer that does what a real one rarely does.

use std::collections::VecDeque;

use clap::Parser;
use uuid::Uuid;

use super::*;
use crate::bus::{Offset, Watermarks};
use crate::cli::Cli;
use crate::config::Config;
use crate::encoding::Codec;
use crate::pipeline::Stores;
use crate::pipeline::suppression::Suppression;
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

/// A delivery to a new SQLite file.
async fn deliver(events: Vec<Event>, limits: Limits) -> Result<(tempfile::TempDir, Deliver<SlowSurveys>)> {
    let directory = tempfile::tempdir()?;
    let arguments = ["userpipe".as_ref(), "--data-dir".as_ref(), directory.path().as_os_str(), "man".as_ref()];
    let cli = Cli::try_parse_from(arguments).expect("good arguments");
    let stores = Arc::new(Stores::new(Config::resolve(&cli.connections)?));
    let parts = Parts {
        sink: Arc::new(stores.sink().await?),
        dead_letters: DeadLetters::new(Arc::clone(&stores)),
        topic: "users_created".to_owned(),
        codec: Codec::default(),
        transform: None,
        metrics: Arc::default(),
        health: Arc::default(),
        suppression: Suppression::none(),
        in_flight_records_max: Some(10),
        shutdown_timeout: Duration::from_secs(5),
    };
    let consumer = SlowSurveys { events: events.into(), committed: BTreeMap::new() };
    Ok((directory, Deliver::new(consumer, parts, limits)))
}

fn tombstone() -> Message {
    Message {
        partition: 0,
        offset: 0,
        timestamp: Timestamp::now(),
        key: Some(Uuid::nil().to_string().into()),
        value: None,
        headers: Vec::new(),
    }
}

#[tokio::test]
async fn slow_surveys_do_not_keep_records_from_being_taken() -> Result<()> {
    let (_goal, goal) = tokio::sync::watch::channel(Goal::Offsets(BTreeMap::from([(0, 1)])));
    let limits = Limits { goal, deadline: Some(Duration::from_secs(5)), ..Limits::none() };
    let events = vec![Event::Assigned(vec![0]), Event::Records(vec![tombstone()])];
    let (_directory, deliver) = deliver(events, limits).await?;
    assert_eq!(deliver.run(&CancellationToken::new()).await?, End::Reached);
    Ok(())
}

/// Regression: the drain of a partition that was lost meanwhile went on, and at its end dropped the records that had come
/// when the partition was assigned again.
#[tokio::test]
async fn a_drain_ends_with_the_loss_of_its_partitions() -> Result<()> {
    let (_directory, mut deliver) = deliver(Vec::new(), Limits::none()).await?;
    let (release, mut released) = Release::new();
    deliver.handle(Event::Assigned(vec![0, 1]));
    deliver.handle(Event::Records(vec![tombstone()]));
    deliver.start_batches();
    deliver.handle(Event::Revoked(vec![0, 1], release));
    deliver.handle(Event::Lost(vec![0]));
    assert!(released.try_recv().is_err_and(|e| e == tokio::sync::oneshot::error::TryRecvError::Empty), "1 is left");
    deliver.handle(Event::Lost(vec![1]));
    assert!(released.try_recv().is_err_and(|e| e == tokio::sync::oneshot::error::TryRecvError::Closed));
    deliver.handle(Event::Assigned(vec![0]));
    deliver.handle(Event::Records(vec![tombstone()]));
    deliver.release_revoked().await?;
    assert!(deliver.tracker.is_busy(0), "what came again is to be delivered");
    Ok(())
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_as_records_are() -> Result<()> {
    let (_directory, mut deliver) = deliver(Vec::new(), Limits::none()).await?;
    let large = bytes::Bytes::from(vec![b'x'; deliver.in_flight_max.bytes / 4 + 1]);
    let records = |count: i64| (0..count).map(|offset| Message { offset, value: Some(large.clone()), ..tombstone() });
    deliver.handle(Event::Records(records(3).collect()));
    assert!(deliver.has_room(), "three of ten records, and three quarters of the bytes");
    deliver.handle(Event::Records(records(1).collect()));
    assert!(!deliver.has_room(), "four of ten records, and all of the bytes");
    deliver.drop_queued(&[0]);
    assert!(deliver.has_room());
    assert_eq!((deliver.in_flight_records, deliver.in_flight_bytes), (0, 0));
    Ok(())
}

#[tokio::test]
async fn what_the_sink_does_not_take_at_once_waits_on_the_bus() -> Result<()> {
    let (_directory, mut deliver) = deliver(Vec::new(), Limits::none()).await?;
    deliver.in_flight_max.records = usize::MAX;
    let sink = &deliver.writer.sink;
    let waiting_max = sink.batches_in_flight_max() * sink.batch_in_order_max().expect("it needs the order");
    let partitions = i32::try_from(sink.batches_in_flight_max()).expect("few");
    let places = (0..).flat_map(move |offset| (0..partitions).map(move |partition| (partition, offset)));
    let batch =
        |n| places.clone().map(|(partition, offset)| Message { partition, offset, ..tombstone() }).take(n).collect();
    deliver.handle(Event::Records(batch(waiting_max)));
    assert!(!deliver.has_room(), "as much waits as is taken at once");
    deliver.start_batches();
    assert!(deliver.has_room(), "it is being written");
    deliver.handle(Event::Records(batch(waiting_max - 1)));
    assert!(deliver.has_room(), "one more would be too much");
    deliver.handle(Event::Records(batch(1)));
    assert!(!deliver.has_room());
    Ok(())
}

/// A delete leaves no trace in an SQLite table: an older record that is written beside it would bring the row back.
#[tokio::test]
async fn records_of_a_partition_are_written_in_their_order_where_the_sink_needs_it() -> Result<()> {
    let (_directory, mut deliver) = deliver(Vec::new(), Limits::none()).await?;
    let record = |partition, offset| Message { partition, offset, ..tombstone() };
    for offset in 0..3 {
        deliver.handle(Event::Records(vec![record(0, offset), record(1, offset)]));
    }
    deliver.start_batches();
    let records: Vec<usize> = deliver.running.values().map(|batch| batch.records).collect();
    assert_eq!(records, [3, 3], "one batch of each partition");
    deliver.handle(Event::Records(vec![record(0, 3)]));
    assert!(deliver.next_batch().is_none(), "it waits for those before it");
    while let Some(done) = deliver.writes.join_next_with_id().await {
        deliver.finished(done)?;
    }
    assert_eq!(deliver.tracker.to_commit(), BTreeMap::from([(0, 3), (1, 3)]), "every one of the batches is done");
    assert_eq!(deliver.next_batch().map(|batch| batch.messages.len()), Some(1));
    let max = deliver.writer.sink.batch_in_order_max().expect("it needs the order");
    let many = i64::try_from(max).expect("small");
    deliver.handle(Event::Records((0..many * 2).map(|offset| record(2, 10 + offset)).collect()));
    assert_eq!(deliver.next_batch().map(|batch| batch.messages.len()), Some(max), "bounded");
    Ok(())
}
