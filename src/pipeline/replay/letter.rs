//! What a dead letter says of itself, and the record that it was made of: the inverse of what delivery writes.

use bytes::Bytes;

use crate::bus::{Header, Message, Offset, Outgoing, Partition};
use crate::pipeline::deliver::headers;
use crate::record::Timestamp;

/// Where the record of a dead letter was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

/// A record of a dead-letter topic. Whatever its headers do not say, or not in our form, is `None`: another program may
/// have put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record itself, with its place in the dead-letter topic.
    pub message: Message,
    /// Where it was read.
    pub origin: Option<Origin>,
    /// Where it failed: `decode` or `sink`.
    pub stage: Option<String>,
    /// Why it could not be written.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: Option<u32>,
    /// When it was given up, in RFC 3339.
    pub time: Option<String>,
    /// How often the record had been replayed before it became this letter.
    pub replays: u32,
}

impl DeadLetter {
    /// Reads the headers.
    pub fn of(message: Message) -> Self {
        let origin = || {
            Some(Origin {
                topic: text(&message, headers::TOPIC)?,
                partition: text(&message, headers::PARTITION)?.parse().ok()?,
                offset: text(&message, headers::OFFSET)?.parse().ok()?,
            })
        };
        Self {
            origin: origin(),
            stage: text(&message, headers::STAGE),
            reason: text(&message, headers::ERROR),
            attempts: text(&message, headers::ATTEMPTS).and_then(|attempts| attempts.parse().ok()),
            time: text(&message, headers::TIME),
            replays: text(&message, headers::REPLAYS).and_then(|replays| replays.parse().ok()).unwrap_or(0),
            message,
        }
    }

    /// The record as it goes to its topic again: key, value and headers as they were, and one replay more in the header
    /// that counts them.
    pub fn again(&self, timestamp: Timestamp) -> Outgoing {
        let mut headers = self.own_headers();
        headers.retain(|(name, _)| name != headers::REPLAYS);
        let replays = self.replays.saturating_add(1).to_string();
        headers.push((headers::REPLAYS.to_owned(), Some(Bytes::from(replays))));
        let Message { key, value, .. } = self.message.clone();
        Outgoing { key, value, headers, timestamp }
    }

    /// The headers without those that delivery added: the last one of each name.
    fn own_headers(&self) -> Vec<Header> {
        let mut own = self.message.headers.clone();
        for name in headers::ALL {
            if let Some(added) = own.iter().rposition(|(header, _)| header == name) {
                own.remove(added);
            }
        }
        own
    }
}

/// The last header of this name: those before it are the record's own.
fn text(message: &Message, name: &str) -> Option<String> {
    let (_, value) = message.headers.iter().rfind(|(header, _)| header == name)?;
    value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::Timestamp;

    fn letter(pairs: &[(&str, Option<&'static str>)]) -> DeadLetter {
        let header = |(name, value): &(&str, Option<&'static str>)| ((*name).to_owned(), value.map(Bytes::from));
        let timestamp = Timestamp::from_unix_ms(0).expect("in range");
        let headers = pairs.iter().map(header).collect();
        DeadLetter::of(Message { partition: 0, offset: 5, timestamp, key: None, value: None, headers })
    }

    #[test]
    fn the_last_header_of_a_name_is_ours() {
        let twice = letter(&[
            ("userpipe.topic", Some("older")),
            ("userpipe.error", Some("older")),
            ("userpipe.topic", Some("t")),
            ("userpipe.partition", Some("2")),
            ("userpipe.offset", Some("7")),
            ("userpipe.stage", Some("sink")),
            ("userpipe.error", Some("too large")),
            ("userpipe.attempts", Some("3")),
            ("userpipe.time", Some("2026-01-01T00:00:00.000Z")),
        ]);
        assert_eq!(twice.origin, Some(Origin { topic: "t".to_owned(), partition: 2, offset: 7 }));
        assert_eq!((twice.stage.as_deref(), twice.reason.as_deref()), (Some("sink"), Some("too large")));
        assert_eq!((twice.attempts, twice.time.as_deref()), (Some(3), Some("2026-01-01T00:00:00.000Z")));
    }

    #[test]
    fn what_another_program_put_there_is_read_as_far_as_it_goes() {
        let foreign = letter(&[
            ("userpipe.topic", Some("t")),
            ("userpipe.partition", Some("two")),
            ("userpipe.offset", Some("7")),
            ("userpipe.error", None),
            ("userpipe.stage", Some("decode")),
        ]);
        assert_eq!((foreign.origin, foreign.reason, foreign.attempts), (None, None, None));
        assert_eq!(foreign.stage.as_deref(), Some("decode"));
    }
}
