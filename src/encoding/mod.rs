//! Between a [`User`] and the bytes of a Kafka record.
//!
//! The contract: encoding never fails, and decoding either gives the same user back or says in one line why the
//! bytes can never be a user. Such a record is poison and goes to the dead letters.

mod json;

use crate::record::{Timestamp, User, With};

/// How records are written, and how strictly they are read.
#[derive(Clone, Debug, Default)]
pub struct Codec {
    /// Makes an id from e-mail and username for records that carry none (`--derive-id`).
    pub derive_id: bool,
    /// The optional columns that are read; others are left out.
    pub with: With,
}

impl Codec {
    /// The record's value: one JSON object with the 13 fields, UTF-8, no line break.
    pub fn encode(&self, user: &User) -> Vec<u8> {
        json::encode(user)
    }

    /// Reads a value; `sent_at` is the bus record's own time and stands in for a missing `timestamp`.
    ///
    /// # Errors
    /// The reason why the value is poison, naming the field.
    pub fn decode(&self, value: &[u8], sent_at: Timestamp) -> Result<User, String> {
        // The Confluent wire format starts with a zero byte, which no JSON does.
        if value.first() == Some(&0) {
            return Err("framed with a schema id, but no schema registry is configured".to_owned());
        }
        json::decode(value, sent_at, self)
    }
}
