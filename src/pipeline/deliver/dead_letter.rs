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

/// The most headers of the record's own that its dead letter keeps, and the most bytes of them: names and values. The
/// record itself is still where it was read.
const OWN_HEADERS_MAX: usize = 1_000;
const OWN_HEADERS_BYTES_MAX: usize = 128 * 1024;

/// The headers that a dead letter has besides those of the record. They come last: the record may have some of the same
/// names, if it was a dead letter before.
pub mod headers {
    /// The topic it was read from.
    pub const TOPIC: &str = "userpipe.topic";
    /// The partition it was read from.
    pub const PARTITION: &str = "userpipe.partition";
    /// Its offset there.
    pub const OFFSET: &str = "userpipe.offset";
    /// Where it failed: `decode`, `transform` or `sink`.
    pub const STAGE: &str = "userpipe.stage";
    /// Why it can never be written, cut to a limit.
    pub const ERROR: &str = "userpipe.error";
    /// How often it was tried.
    pub const ATTEMPTS: &str = "userpipe.attempts";
    /// When it was given up, in RFC 3339.
    pub const TIME: &str = "userpipe.time";
    /// All of these.
    pub const ALL: [&str; 7] = [TOPIC, PARTITION, OFFSET, STAGE, ERROR, ATTEMPTS, TIME];
    /// How often the record was replayed: a header of its own, which a replay gives it.
    pub const REPLAYS: &str = "userpipe.replays";
}

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
}

impl Producer for DeadLetters {
    async fn send(&self, letters: &[Outgoing]) -> Sent {
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
    let mut all = own(&message.headers);
    all.extend([
        header(headers::TOPIC, topic.to_owned()),
        header(headers::PARTITION, message.partition.to_string()),
        header(headers::OFFSET, message.offset.to_string()),
        header(headers::STAGE, poison.stage.to_owned()),
        header(headers::ERROR, shorten(&poison.reason)),
        header(headers::ATTEMPTS, poison.attempts.to_string()),
        header(headers::TIME, Timestamp::now().to_string()),
    ]);
    Outgoing { key: message.key.clone(), value: message.value.clone(), headers: all, timestamp: message.timestamp }
}

/// The record's own headers, from the first one on as many as may be kept.
fn own(headers: &[Header]) -> Vec<Header> {
    let mut bytes = 0;
    let fits = |(name, value): &&Header| {
        bytes += name.len() + value.as_ref().map_or(0, Bytes::len);
        bytes <= OWN_HEADERS_BYTES_MAX
    };
    let kept: Vec<Header> = headers.iter().take(OWN_HEADERS_MAX).take_while(fits).cloned().collect();
    if kept.len() < headers.len() {
        tracing::warn!("a dead letter keeps {} of its record's {} headers", kept.len(), headers.len());
    }
    kept
}

fn header(name: &str, value: String) -> Header {
    (name.to_owned(), Some(Bytes::from(value)))
}

fn shorten(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_keeps_a_bounded_part_of_its_records_headers() {
        let named = |n: usize| header(&n.to_string(), String::new());
        assert_eq!(own(&[named(1), named(2)]), [named(1), named(2)]);
        let many: Vec<_> = (0..=OWN_HEADERS_MAX).map(named).collect();
        assert_eq!(own(&many), many[..OWN_HEADERS_MAX]);
        let large = header("large", "x".repeat(OWN_HEADERS_BYTES_MAX));
        assert_eq!(own(&[named(1), large, named(2)]), [named(1)], "in their order, up to the first that is too much");
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let cut = shorten(&"ж".repeat(REASON_BYTES_MAX));
        assert_eq!(cut.len(), REASON_BYTES_MAX);
        assert_eq!(shorten("short"), "short");
    }
}
