//! A dead letter: the untouched record, and headers that say where it came from and why it is here.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::batch::Poison;
use crate::bus::{AnyProducer, Header, Outgoing, Producer, Sent};
use crate::pipeline::Stores;
use crate::record::Timestamp;

/// The longest reason a header carries, in bytes: a store may quote the whole value.
const REASON_BYTES_MAX: usize = 1_000;

/// The dead-letter topic, connected (and created) when the first record needs it: looking at somebody's topic leaves
/// nothing behind.
#[derive(Debug)]
pub struct DeadLetters {
    stores: Arc<Stores>,
    producer: OnceCell<AnyProducer>,
}

impl DeadLetters {
    /// Connects to nothing yet.
    pub fn new(stores: Arc<Stores>) -> Self {
        Self { stores, producer: OnceCell::new() }
    }

    /// As [`Producer::send`].
    pub(super) async fn send(&self, letters: &[Outgoing]) -> Sent {
        let topic = self.stores.dead_letter_topic();
        match self.producer.get_or_try_init(|| self.stores.producer(&topic)).await {
            Ok(producer) => producer.send(letters).await,
            Err(failure) => Sent { acks: vec![None; letters.len()], failure: Some(failure) },
        }
    }
}

/// The record as it goes to the dead-letter topic.
pub(super) fn of(topic: &str, poison: &Poison) -> Outgoing {
    let message = &poison.message;
    let mut headers = message.headers.clone();
    headers.extend([
        header("topic", topic.to_owned()),
        header("partition", message.partition.to_string()),
        header("offset", message.offset.to_string()),
        header("stage", poison.stage.to_owned()),
        header("error", shorten(&poison.reason)),
        header("attempts", poison.attempts.to_string()),
        header("time", Timestamp::now().to_string()),
    ]);
    Outgoing { key: message.key.clone(), value: message.value.clone(), headers, timestamp: message.timestamp }
}

fn header(name: &str, value: String) -> Header {
    (format!("userpipe.{name}"), Some(Bytes::from(value)))
}

fn shorten(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
