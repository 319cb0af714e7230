//! Records that the harness makes itself: what goes in is known without asking the program.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use uuid::Uuid;

/// A record for the topic.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// The key, for a good record the id.
    pub(crate) key: Option<String>,
    /// The value; `None` is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

/// The present, as Kafka and the records have it. Not a time long past, which Kafka's retention would delete.
pub(crate) fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// An id and its record as JSON.
pub(crate) fn person(random: &mut ChaCha8Rng) -> (String, String) {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid().to_string();
    let name = &id[..8];
    let record = json!({
        "id": id, "first_name": "Søren", "last_name": name, "gender": "male", "email": format!("{name}@example.com"),
        "username": name, "phone": "07-1234", "address": "8542 Rua Sete, Oslo, Østfold, Norway", "post_code": "0378",
        "dob": "1948-04-30T01:13:18.467Z", "registered_date": "2010-01-01T00:00:00.001Z",
        "picture": "https://example.com/75.jpg", "timestamp": now().to_rfc3339_opts(SecondsFormat::Millis, true),
    });
    (id, record.to_string())
}

/// A good record.
pub(crate) fn letter(random: &mut ChaCha8Rng) -> Letter {
    let (id, record) = person(random);
    Letter { key: Some(id), value: Some(record.into_bytes()) }
}

/// The kinds of [`poison`].
pub(crate) const POISON_KINDS: usize = 10;

/// A record that can never be written, of the kind with this number.
pub(crate) fn poison(random: &mut ChaCha8Rng, kind: usize) -> Letter {
    let (id, record) = person(random);
    let with = |from: &str, to: &str| {
        assert!(record.contains(from), "{from} in {record}");
        record.replacen(from, to, 1).into_bytes()
    };
    let value = match kind % POISON_KINDS {
        0 => b"\xff\xfe not json".to_vec(),
        1 => [&[0, 0, 0, 0, 7], record.as_bytes()].concat(), // framed, and no registry is configured
        2 => with("\"Søren\"", "null"),
        3 => with("\"first_name\"", "\"forename\""),
        4 => with("\"male\"", "{\"is\":1}"),
        5 => with("1948-04-30T01:13:18.467Z", "1948-13-45"),
        6 => with(&id, "not-an-id"),
        7 => record.as_bytes()[..record.len() / 2].to_vec(),
        8 => Vec::new(),
        _ => return Letter { key: Some(format!("no-id-{}", Uuid::from_u128(random.next_u64().into()))), value: None },
    };
    Letter { key: Some(id), value: Some(value) }
}
