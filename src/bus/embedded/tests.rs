//! What only the embedded bus can be asked; the contract it shares with Kafka is in `tests/`.

use bytes::Bytes;

use super::*;
use crate::bus::{Commit, Consumer, Event, Moved, Outgoing, Producer, Reset, StartAt};
use crate::config::MemberConfig;
use crate::record::Timestamp;
use std::time::Duration;

const IDENTITY: &str = "sink a";
const TICK: Duration = Duration::from_millis(50);

fn outgoing(n: u32) -> Outgoing {
    Outgoing {
        key: Some(Bytes::from(n.to_string())),
        value: Some(Bytes::from(format!("value {n}"))),
        headers: vec![("h".to_owned(), Some(Bytes::from_static(b"\xff"))), ("null".to_owned(), None)],
        timestamp: Timestamp::from_unix_ms(i64::from(n)).expect("in range"),
    }
}

async fn topic(partitions: Partition) -> Result<(tempfile::TempDir, Sqlite)> {
    let directory = tempfile::tempdir()?;
    let database = Sqlite::open(&directory.path().join("userpipe.db")).await?;
    assert!(ensure_topic(&database, "t", partitions).await?);
    assert!(!ensure_topic(&database, "t", 99).await?, "it is there already");
    Ok((directory, database))
}

async fn join(database: &Sqlite) -> Result<EmbeddedConsumer> {
    let settings = MemberConfig::default();
    EmbeddedConsumer::join(database.clone(), &settings, "t".to_owned(), "g".to_owned(), IDENTITY.to_owned()).await
}

/// Polls until `n` records have come.
async fn records(consumer: &mut EmbeddedConsumer, n: usize) -> Result<Vec<crate::bus::Message>> {
    let mut all = Vec::new();
    while all.len() < n {
        if let Event::Records(messages) = consumer.poll(TICK).await? {
            all.extend(messages);
        }
    }
    Ok(all)
}

#[tokio::test]
async fn records_come_back_as_they_were_sent_and_offsets_resume() -> Result<()> {
    let (_directory, database) = topic(3).await?;
    let producer = EmbeddedProducer::new(database.clone(), "t".to_owned());
    let sent: Vec<_> = (0..1500).map(outgoing).collect();
    let acks: Vec<_> = producer.send(&sent).await.acks.into_iter().flatten().collect();
    assert_eq!(acks.len(), sent.len());

    let mut consumer = join(&database).await?;
    let got = records(&mut consumer, sent.len()).await?;
    for (outgoing, ack) in sent.iter().zip(&acks) {
        let message = got.iter().find(|m| (m.partition, m.offset) == (ack.partition, ack.offset)).expect("acked");
        assert_eq!((&message.key, &message.value), (&outgoing.key, &outgoing.value));
        assert_eq!((&message.headers, message.timestamp), (&outgoing.headers, outgoing.timestamp));
    }
    assert_eq!(consumer.commit(&BTreeMap::from([(0, 5)])).await?, Commit::Stored);
    consumer.close().await?;

    let mut again = join(&database).await?;
    let got = records(&mut again, sent.len() - 5).await?;
    assert_eq!(got.iter().filter(|m| m.partition == 0).map(|m| m.offset).min(), Some(5));
    Ok(())
}

#[tokio::test]
async fn a_group_is_reset_only_without_members_and_belongs_to_one_sink() -> Result<()> {
    let (_directory, database) = topic(1).await?;
    let producer = EmbeddedProducer::new(database.clone(), "t".to_owned());
    producer.send(&(0..10).map(outgoing).collect::<Vec<_>>()).await;
    let mut consumer = join(&database).await?;
    records(&mut consumer, 10).await?;
    consumer.commit(&BTreeMap::from([(0, 10)])).await?;

    let refused =
        reset_group(&database, "t", "g", IDENTITY, StartAt::Beginning, TICK).await.expect_err("a live member");
    assert!(refused.to_string().contains("live members"), "{refused}");
    consumer.close().await?;
    let mut before = Some(10);
    for (to, after) in
        [(StartAt::Time(Timestamp::from_unix_ms(4).expect("in range")), 4), (StartAt::End, 10), (StartAt::Beginning, 0)]
    {
        let planned = plan_reset(&database, "t", "g", IDENTITY, to).await?;
        assert_eq!(committed(&database, "t", "g").await?.get(&0).copied(), before, "planning changes nothing");
        assert_eq!(planned, Reset::from([(0, Moved { before, after })]), "{to:?}");
        assert_eq!(reset_group(&database, "t", "g", IDENTITY, to, TICK).await?, planned);
        assert_eq!(committed(&database, "t", "g").await?, BTreeMap::from([(0, after)]), "{to:?}");
        before = Some(after);
    }
    let other = plan_reset(&database, "t", "g", "sink b", StartAt::End).await.expect_err("another sink's group");
    assert_eq!(other.kind(), crate::error::Kind::Config);
    let missing = plan_reset(&database, "nowhere", "g", IDENTITY, StartAt::End).await.expect_err("no topic");
    assert_eq!(missing.to_string(), "there is no topic nowhere");
    Ok(())
}
