//! The schemas that values were written with: asked for once, and kept.
//!
//! What a registry gives for an id never changes, so a schema is kept until there is no room for it. That there is none
//! may change (a registry that is being restored), so it is remembered for a while only.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use apache_avro::Schema;
use futures::stream::{self, StreamExt as _};

use super::avro::Reader;
use super::registry::{Registered, Registry};
use crate::error::Result;

/// The most schemas that are kept; a topic has a few. The one that was not used for longest makes room.
const SCHEMAS_MAX: usize = 1_000;
/// The most ids that are remembered as missing.
const MISSING_MAX: usize = 10_000;
/// How long an id is remembered as missing.
const MISSING_FOR: Duration = Duration::from_mins(1);
/// The most questions to the registry at once.
const LOOKUPS_IN_FLIGHT_MAX: usize = 8;

/// What is known of a schema id.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// An Avro schema whose records can be users.
    Avro(Arc<Schema>),
    /// A JSON Schema.
    Json,
    /// A schema whose values can never be users, and why.
    Unusable(Arc<str>),
    /// The registry has no such schema.
    Missing,
}

/// The schemas of one registry.
#[derive(Debug)]
pub struct Schemas {
    registry: Arc<Registry>,
    reader: Reader,
    cache: Mutex<Cache>,
    /// Held while the registry is asked, so that batches which meet the same new schema ask once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Cache {
    schemas: HashMap<u32, Kept>,
    missing: HashMap<u32, Instant>,
    /// Counts the uses.
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    known: Known,
    used: u64,
}

impl Schemas {
    /// Of this registry; knows none yet.
    pub(super) fn new(registry: Arc<Registry>, reader: Reader) -> Self {
        Self { registry, reader, cache: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What is known of these ids, after the registry was asked for those that nothing was known of.
    ///
    /// # Errors
    /// Why the registry cannot be asked.
    pub(super) async fn find(&self, ids: BTreeSet<u32>) -> Result<HashMap<u32, Known>> {
        let mut found = HashMap::with_capacity(ids.len());
        let unknown = self.of_cache(ids, &mut found);
        if unknown.is_empty() {
            return Ok(found);
        }
        let _asking = self.asking.lock().await;
        let unknown = self.of_cache(unknown, &mut found);
        let lookups =
            unknown.into_iter().map(|id| async move { Ok::<_, crate::error::Error>((id, self.look_up(id).await?)) });
        let mut lookups = stream::iter(lookups).buffer_unordered(LOOKUPS_IN_FLIGHT_MAX);
        while let Some(looked_up) = lookups.next().await {
            let (id, known) = looked_up?;
            self.lock().insert(id, known.clone());
            found.insert(id, known);
        }
        Ok(found)
    }

    /// Adds what is known already; the other ids.
    fn of_cache(&self, ids: BTreeSet<u32>, found: &mut HashMap<u32, Known>) -> BTreeSet<u32> {
        let mut cache = self.lock();
        let mut unknown = BTreeSet::new();
        for id in ids {
            match cache.get(id) {
                Some(known) => drop(found.insert(id, known)),
                None => drop(unknown.insert(id)),
            }
        }
        unknown
    }

    async fn look_up(&self, id: u32) -> Result<Known> {
        Ok(match self.registry.by_id(id).await? {
            None => Known::Missing,
            Some(registered) => self.judge(&registered).unwrap_or_else(|reason| Known::Unusable(reason.into())),
        })
    }

    fn judge(&self, Registered { kind, schema, is_whole, .. }: &Registered) -> Result<Known, String> {
        match kind.as_str() {
            "AVRO" if *is_whole => self.reader.writer(schema).map(|schema| Known::Avro(Arc::new(schema))),
            "AVRO" => Err("it refers to other schemas, which is not read".to_owned()),
            "JSON" => Ok(Known::Json),
            kind => Err(format!("a schema of the kind {kind}, which is not read")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn get(&mut self, id: u32) -> Option<Known> {
        self.clock += 1;
        if let Some(kept) = self.schemas.get_mut(&id) {
            kept.used = self.clock;
            return Some(kept.known.clone());
        }
        let since = self.missing.get(&id)?;
        (since.elapsed() < MISSING_FOR).then_some(Known::Missing)
    }

    fn insert(&mut self, id: u32, known: Known) {
        self.clock += 1;
        if matches!(known, Known::Missing) {
            let now = Instant::now();
            if self.missing.len() >= MISSING_MAX {
                self.missing.retain(|_, since| now.duration_since(*since) < MISSING_FOR);
            }
            // What is not remembered is asked for again.
            if self.missing.len() < MISSING_MAX {
                self.missing.insert(id, now);
            }
            return;
        }
        self.missing.remove(&id);
        if self.schemas.len() >= SCHEMAS_MAX && !self.schemas.contains_key(&id) {
            let oldest = self.schemas.iter().min_by_key(|(_, kept)| kept.used).map(|(id, _)| *id);
            oldest.and_then(|oldest| self.schemas.remove(&oldest));
        }
        self.schemas.insert(id, Kept { known, used: self.clock });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_schema_makes_room_and_missing_ones_never_take_it() {
        let mut cache = Cache::default();
        let ids = || 0..u32::try_from(SCHEMAS_MAX).expect("small");
        ids().for_each(|id| cache.insert(id, Known::Json));
        assert!(matches!(cache.get(0), Some(Known::Json)), "used again");
        cache.insert(u32::MAX, Known::Json);
        assert_eq!(cache.schemas.len(), SCHEMAS_MAX);
        assert!(cache.get(1).is_none(), "the one that was used least");
        assert!(cache.get(0).is_some() && cache.get(u32::MAX).is_some());

        let more = u32::try_from(MISSING_MAX).expect("small") + 10;
        (0..more).for_each(|id| cache.insert(1_000_000 + id, Known::Missing));
        assert_eq!((cache.missing.len(), cache.schemas.len()), (MISSING_MAX, SCHEMAS_MAX));
        assert!(matches!(cache.get(1_000_000), Some(Known::Missing)));
        cache.insert(1_000_000, Known::Json);
        assert!(matches!(cache.get(1_000_000), Some(Known::Json)), "it came after all");
    }
}
