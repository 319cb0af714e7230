//! Between a [`User`] and the bytes of a Kafka record.
//!
//! The contract: encoding never fails, and decoding either gives the same user back or says in one line why the
//! bytes can never be a user. Such a record is poison and goes to the dead letters.
//!
//! - `json`: plain JSON, which every reader understands
//! - `avro`, `json_schema`: the schemas derived from [`crate::record`], and values under them
//! - [`registry`]: the Schema Registry's API
//! - `schemas`: the schemas that values were written with, by their ids
//! - [`subject`]: our schema's place in the registry: looked up, checked, registered
//! - `difference`: what differs between two schemas, field by field
//!
//! A value under a schema has Confluent's wire format: a zero byte, the schema's id in four bytes (big-endian), and what
//! the schema describes. Whatever a [`Codec`] writes, it reads all of them.

mod avro;
mod difference;
mod json;
mod json_schema;
pub mod registry;
mod schemas;
pub mod subject;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use schema_registry_converter::schema_registry_common::get_payload;
use uuid::Uuid;

use crate::error::Result;
use crate::record::{Timestamp, User, With};

pub use schemas::Schemas;

use schemas::Known;

/// Magic byte and schema id.
const FRAME_BYTES: usize = 5;

/// How values are written, and how strictly they are read.
#[derive(Clone, Debug, Default)]
pub struct Codec {
    /// Makes an id from e-mail and username for records that carry none (`--derive-id`).
    pub derive_id: bool,
    /// The optional columns that are read; others are left out.
    pub with: With,
    writes: Format,
    schemas: Option<Arc<Schemas>>,
}

/// How values are written.
#[derive(Clone, Debug, Default)]
pub enum Format {
    /// Plain JSON.
    #[default]
    Json,
    /// Avro under this schema.
    Avro(Arc<avro::Writer>),
    /// JSON under the JSON Schema of this id.
    JsonSchema(u32),
}

impl Codec {
    /// Plain JSON with these settings.
    pub fn new(derive_id: bool, with: With) -> Self {
        Self { derive_id, with, ..Self::default() }
    }

    /// Also reads what was written under a schema of this registry.
    #[must_use]
    pub fn reading(mut self, registry: Arc<registry::Registry>) -> Self {
        let reader = avro::Reader::new(self.derive_id, &self.with);
        self.schemas = Some(Arc::new(Schemas::new(registry, reader)));
        self
    }

    /// Writes in this format from now on.
    #[must_use]
    pub fn writing(mut self, format: Format) -> Self {
        self.writes = format;
        self
    }

    /// The record's value: an object with the 13 fields and the optional ones it has.
    pub fn encode(&self, user: &User) -> Bytes {
        match &self.writes {
            Format::Json => json::encode(user),
            Format::Avro(writer) => writer.encode(user),
            Format::JsonSchema(id) => get_payload(*id, json::encode(user).into()).into(),
        }
    }

    /// Makes ready to decode these values: looks up the schemas that they were written with and that are not known yet.
    /// Takes nothing but their schema ids from them.
    ///
    /// # Errors
    /// While the registry cannot be asked; what it does not have is no error here, and poison in [`Prepared::decode`].
    pub async fn prepare<'v>(&self, values: impl IntoIterator<Item = &'v [u8]>) -> Result<Prepared<'_>> {
        let Some(schemas) = &self.schemas else { return Ok(self.unprepared()) };
        let ids = values.into_iter().filter_map(|value| framed(value)?.ok()).map(|(id, _)| id).collect();
        Ok(Prepared { codec: self, known: schemas.find(ids).await? })
    }

    /// Reads a value that needs no schema; `sent_at` is the bus record's own time and stands in for a missing `timestamp`.
    ///
    /// # Errors
    /// The reason why the value is poison, naming the field.
    pub fn decode(&self, value: &Bytes, sent_at: Timestamp) -> Result<User, String> {
        self.unprepared().decode(value, sent_at)
    }

    /// Reads a value in exactly the form in which plain JSON is written, without a copy; for all else that costs next to
    /// nothing, and is `None`.
    pub fn decode_own(&self, value: &Bytes) -> Option<User> {
        if self.with.is_empty() { User::of_wire(value) } else { None }
    }

    /// With no schema at all: every value under one is poison.
    pub fn unprepared(&self) -> Prepared<'_> {
        Prepared { codec: self, known: HashMap::new() }
    }
}

/// A [`Codec`] with the schemas of some values: it keeps them, however many others are looked up meanwhile.
#[derive(Debug)]
pub struct Prepared<'c> {
    codec: &'c Codec,
    known: HashMap<u32, Known>,
}

impl Prepared<'_> {
    /// The user of a value that was written under a schema, and the schema's id.
    pub fn under_schema(&self, value: &Bytes, sent_at: Timestamp) -> Option<(u32, User)> {
        let (id, _) = framed(value)?.ok()?;
        self.decode(value, sent_at).ok().map(|user| (id, user))
    }

    /// Reads one of the values that were prepared for; `sent_at` is the bus record's own time and stands in for a missing
    /// `timestamp`.
    ///
    /// # Errors
    /// The reason why the value is poison, naming the field, and the schema id where there is one.
    pub fn decode(&self, value: &Bytes, sent_at: Timestamp) -> Result<User, String> {
        let Some(framed) = framed(value) else { return json::decode(value, sent_at, self.codec) };
        let (id, body) = framed?;
        let of_schema = |reason: String| format!("schema id {id}: {reason}");
        match (self.known.get(&id), &self.codec.schemas) {
            (Some(Known::Avro(writer)), Some(schemas)) => {
                schemas.reader().decode(writer, body, sent_at).map_err(of_schema)
            }
            (Some(Known::Json), _) => json::decode(&value.slice_ref(body), sent_at, self.codec).map_err(of_schema),
            (Some(Known::Unusable(reason)), _) => Err(of_schema(reason.to_string())),
            (Some(Known::Missing), _) => Err(of_schema("the schema registry has no such schema".to_owned())),
            (_, None) => Err(of_schema("no schema registry is configured".to_owned())),
            (_, Some(_)) => Err(of_schema("it was not looked up".to_owned())),
        }
    }
}

/// The schema id of a value in Confluent's wire format, and what follows it. No JSON starts with a zero byte.
fn framed(value: &[u8]) -> Option<Result<(u32, &[u8]), String>> {
    if value.first() != Some(&0) {
        return None;
    }
    let split = value.split_first_chunk::<FRAME_BYTES>();
    let framed = split.map(|([_, id @ ..], body)| (u32::from_be_bytes(*id), body));
    Some(framed.ok_or_else(|| "a zero byte without the schema id that should follow it".to_owned()))
}

/// For producers that send no id (`--derive-id`): the same person gets the same id.
fn derived_id(email: &str, username: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{email}\u{1f}{username}").as_bytes())
}

#[cfg(test)]
mod tests;
