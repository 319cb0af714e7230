//! Our schema's place in the registry: the subject of the topic's values, by Confluent's `TopicNameStrategy`.

use std::sync::Arc;

use schema_registry_converter::schema_registry_common::SubjectNameStrategy;

use super::registry::{Compatibility, Registry};
use super::{Format, avro, difference, json_schema};
use crate::config::Encoding;
use crate::error::{Error, Kind, Result};
use crate::record::With;

/// The most fields that an error names.
const FIELDS_TOLD_MAX: usize = 20;

/// The subject of a topic's values, and our schema for it.
#[derive(Debug)]
pub struct Subject {
    registry: Arc<Registry>,
    name: String,
    encoding: Encoding,
    with: With,
    schema: serde_json::Value,
}

/// How our schema stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is a version of the subject.
    Registered {
        /// The schema's id.
        id: u32,
        /// The version in the subject.
        version: Option<u32>,
    },
    /// The subject has no version yet.
    New,
    /// It may be the subject's next version.
    Compatible,
    /// The registry would refuse it.
    Incompatible {
        /// The registry's words; may be empty.
        reason: String,
        /// What differs from the latest version, one line a field.
        differs: Vec<String>,
    },
}

impl Subject {
    /// Of the values of `topic`; `None` for plain JSON, which has no schema.
    pub fn of(registry: Arc<Registry>, topic: &str, encoding: Encoding, with: &With) -> Option<Self> {
        let schema = schema(encoding, with)?;
        // It fails for records of no name alone, which this strategy does not ask for.
        let name = SubjectNameStrategy::TopicNameStrategy(topic.to_owned(), false).get_subject().ok()?;
        Some(Self { registry, name, encoding, with: with.clone(), schema })
    }

    /// The name that `TopicNameStrategy` gives it: the topic and `-value`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks how our schema stands. Changes nothing.
    ///
    /// # Errors
    /// Those of the registry.
    pub async fn look(&self) -> Result<Standing> {
        let schema = self.schema.to_string();
        if let Some(found) = self.registry.find(&self.name, self.encoding, &schema).await?
            && let Some(id) = found.id
        {
            return Ok(Standing::Registered { id, version: found.version });
        }
        Ok(match self.registry.compatibility(&self.name, self.encoding, &schema).await? {
            Compatibility::NoSubject => Standing::New,
            Compatibility::Compatible => Standing::Compatible,
            Compatibility::Incompatible(reason) => self.incompatible(reason).await?,
        })
    }

    async fn incompatible(&self, reason: String) -> Result<Standing> {
        let latest = self.registry.latest(&self.name).await?;
        let differs = latest.map(|latest| difference::between(self.encoding, &latest.schema, &self.schema.to_string()));
        Ok(Standing::Incompatible { reason, differs: differs.unwrap_or_default() })
    }

    /// Makes sure that our schema is in the registry, and gives its id: looked up, or checked and then registered.
    ///
    /// # Errors
    /// Those of the registry; [`Kind::Config`] where it is not compatible, or not there and not to be registered.
    pub async fn ensure(&self, may_register: bool) -> Result<u32> {
        match self.look().await? {
            Standing::Registered { id, .. } => Ok(id),
            Standing::Incompatible { reason, differs } => Err(self.refused(&reason, &differs)),
            Standing::New | Standing::Compatible if !may_register => {
                Err(Error::new(Kind::Config, format!("the schema is not registered under {}", self.name))
                    .at(self.registry.url())
                    .hint("leave --no-register out, or register it first: userpipe schema register"))
            }
            Standing::New | Standing::Compatible => {
                let id = self.registry.register(&self.name, self.encoding, &self.schema.to_string()).await;
                // The latest version alone was compared; the registry may compare all of them.
                let id = id.map_err(|error| match error.kind() {
                    Kind::Config => error.hint("'userpipe schema check' tells what differs"),
                    _ => error,
                })?;
                tracing::info!("registered the schema of {} as id {id}", self.name);
                Ok(id)
            }
        }
    }

    /// Makes sure that our schema is in the registry, and gives the format of values under it.
    ///
    /// # Errors
    /// As [`Subject::ensure`].
    pub async fn format(&self, may_register: bool) -> Result<Format> {
        let id = self.ensure(may_register).await?;
        Ok(match self.encoding {
            Encoding::Json => Format::Json,
            Encoding::JsonSchema => Format::JsonSchema(id),
            Encoding::Avro => avro::Writer::new(id, &self.with)
                .map(Format::Avro)
                .ok_or_else(|| Error::new(Kind::Failed, "the derived Avro schema cannot be read"))?,
        })
    }

    /// The error of a schema that the registry would refuse.
    pub fn refused(&self, reason: &str, differs: &[String]) -> Error {
        let mut told = differs.iter().take(FIELDS_TOLD_MAX).cloned().collect::<Vec<_>>().join(", ");
        if differs.len() > FIELDS_TOLD_MAX {
            told.push_str(", …");
        }
        let words = if reason.is_empty() { "the registry gives no reason" } else { reason };
        let cause = if told.is_empty() { words.to_owned() } else { format!("{words} ({told})") };
        Error::new(Kind::Config, format!("the schema is not compatible with the latest one of {}", self.name))
            .at(self.registry.url())
            .because(cause)
            .hint("send to a topic of its own, or change the subject's schema or compatibility in the registry")
    }
}

/// The schema of our values in an encoding; `None` for plain JSON.
pub fn schema(encoding: Encoding, with: &With) -> Option<serde_json::Value> {
    match encoding {
        Encoding::Json => None,
        Encoding::Avro => Some(avro::schema(with)),
        Encoding::JsonSchema => Some(json_schema::schema(with)),
    }
}
