//! Where a member begins to read a partition, and where it goes on when that place is not in the topic.
//!
//! krafka is told to reset nothing, and every position is set here before its first fetch. Left to itself it would move
//! a position past the end of the log to that end (it takes it for a truncation, KIP-320), and skip what a topic that
//! was created anew holds by then.
//!
//! Offsets say nothing of the topic they belong to, and a new topic of the same name may well be longer than the old
//! one was. So what is committed carries the topic's id beside the sink's identity.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use krafka::Kafka;
use krafka::consumer::{Consumer as Member, OffsetAndMetadata, TopicPartition};

use super::group::{self, Committed};
use super::topic::{self, TopicId};
use crate::bus::range::{self, Gone};
use crate::bus::{Offset, Partition, Watermarks, another_sinks_group, unknown_topic};
use crate::config::{KafkaConfig, OutOfRange};
use crate::error::{Kind, Result};

/// Between the sink's identity and the topic's id.
const TOPIC_ID: &str = " topic-id=";

/// What is committed beside an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    identity: String,
    /// `None` from brokers without topic ids, and in what older versions committed.
    topic_id: Option<String>,
}

impl Tag {
    pub(super) fn new(identity: &str, topic_id: TopicId) -> Self {
        let known = topic_id != TopicId::default();
        Self { identity: identity.to_owned(), topic_id: known.then(|| uuid::Uuid::from_bytes(topic_id).to_string()) }
    }

    pub(super) fn parse(metadata: &str) -> Self {
        match metadata.rsplit_once(TOPIC_ID) {
            Some((identity, id)) => Self { identity: identity.to_owned(), topic_id: Some(id.to_owned()) },
            None => Self { identity: metadata.to_owned(), topic_id: None },
        }
    }

    /// The sink that the offset is for; `None` for what is not ours.
    pub(super) fn identity(&self) -> Option<&str> {
        self.identity.starts_with(group::IDENTITY_PREFIX).then_some(&self.identity)
    }

    fn is_of_another_topic(&self, now: &Tag) -> bool {
        matches!((&self.topic_id, &now.topic_id), (Some(then), Some(now)) if then != now)
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.identity)?;
        self.topic_id.as_ref().map_or(Ok(()), |id| write!(f, "{TOPIC_ID}{id}"))
    }
}

/// Where a partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    /// The group has this offset, with our tag.
    pub(super) is_stored: bool,
}

/// Finds the places, on connections of its own.
pub(super) struct Begin {
    pub(super) config: KafkaConfig,
    pub(super) observer: Kafka,
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) identity: String,
    pub(super) on_out_of_range: OutOfRange,
    ids: Mutex<Ids>,
}

/// The topic that the positions are of, and the one before it, which brokers and caches may go on naming for a while.
#[derive(Clone, Copy, Default)]
struct Ids {
    known: TopicId,
    former: TopicId,
}

impl Begin {
    pub(super) fn new(
        (config, observer): (KafkaConfig, Kafka),
        (topic, group): (&str, &str),
        identity: &str,
        on_out_of_range: OutOfRange,
    ) -> Self {
        let (topic, group, identity) = (topic.to_owned(), group.to_owned(), identity.to_owned());
        Self { config, observer, topic, group, identity, on_out_of_range, ids: Mutex::default() }
    }

    /// What is committed beside each offset.
    pub(super) fn tag(&self) -> Tag {
        Tag::new(&self.identity, self.ids().known)
    }

    /// What a commit of these offsets says.
    pub(super) fn commits(&self, offsets: &BTreeMap<Partition, Offset>) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        let tag = self.tag().to_string();
        let commit = |(partition, offset): (&Partition, &Offset)| {
            let place = TopicPartition::new(self.topic.as_str(), *partition);
            (place, OffsetAndMetadata::with_metadata(*offset, tag.as_str()))
        };
        offsets.iter().map(commit).collect()
    }

    /// Whether this is another topic than the one the positions are of.
    pub(super) fn is_another(&self, topic_id: TopicId) -> bool {
        let Ids { known, former } = *self.ids();
        known != TopicId::default() && topic_id != TopicId::default() && known != topic_id && former != topic_id
    }

    /// Where to begin with partitions that were assigned: the committed offsets, else the beginning.
    ///
    /// Fails as `range::resolve`, for another sink's group, and where the cluster is away for longer than the connect
    /// timeout.
    pub(super) async fn places(&self, partitions: &[Partition]) -> Result<Vec<Place>> {
        let (topic_id, marks) = self.look(partitions).await?;
        let committed = group::committed(&self.config, &self.observer, &self.topic, &self.group).await?;
        let tag = Tag::new(&self.identity, topic_id);
        let recreated = self.is_another(topic_id);
        let mut places = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let marks = of(&marks, *partition);
            let place = match committed.get(partition) {
                Some(committed) => self.place(*partition, committed, &tag, recreated, marks)?,
                // The broker forgets what was committed for a topic that is deleted; we know that there was one.
                None if recreated => self.moved(*partition, Gone::Recreated, None, marks)?,
                None => Place { partition: *partition, offset: marks.low, is_stored: false },
            };
            places.push(place);
        }
        self.know(topic_id);
        Ok(places)
    }

    /// Where to go on with the partitions whose positions are not in the topic, or are of an earlier one; the others are
    /// left out.
    pub(super) async fn go_on(&self, positions: &BTreeMap<Partition, Offset>) -> Result<Vec<Place>> {
        let partitions: Vec<_> = positions.keys().copied().collect();
        let (topic_id, marks) = self.look(&partitions).await?;
        let recreated = self.is_another(topic_id);
        let mut places = Vec::new();
        for (partition, offset) in positions {
            let marks = of(&marks, *partition);
            let gone = if recreated { Some(Gone::Recreated) } else { range::check(*offset, marks) };
            if let Some(gone) = gone {
                places.push(self.moved(*partition, gone, Some(*offset), marks)?);
            }
        }
        self.know(topic_id);
        Ok(places)
    }

    fn place(
        &self,
        partition: Partition,
        committed: &Committed,
        tag: &Tag,
        recreated: bool,
        marks: Watermarks,
    ) -> Result<Place> {
        let theirs = Tag::parse(&committed.metadata);
        if let Some(other) = theirs.identity().filter(|other| *other != self.identity) {
            return Err(another_sinks_group(&self.group, other, &self.identity));
        }
        let gone = if recreated || theirs.is_of_another_topic(tag) {
            Some(Gone::Recreated)
        } else {
            range::check(committed.offset, marks)
        };
        match gone {
            Some(gone) => self.moved(partition, gone, Some(committed.offset), marks),
            None => Ok(Place { partition, offset: committed.offset, is_stored: theirs == *tag }),
        }
    }

    fn moved(&self, partition: Partition, gone: Gone, offset: Option<Offset>, marks: Watermarks) -> Result<Place> {
        let offset = range::resolve(self.on_out_of_range, gone, (&self.topic, partition), offset, marks)?;
        Ok(Place { partition, offset, is_stored: false })
    }

    async fn look(&self, partitions: &[Partition]) -> Result<(TopicId, BTreeMap<Partition, Watermarks>)> {
        let found = topic::find(&self.config, &self.observer, &self.topic).await?;
        // It was there when the member joined: it is being created anew, or a broker does not know of it yet.
        let found = found.ok_or_else(|| unknown_topic(&self.topic).with_kind(Kind::Unreachable))?;
        let marks = topic::watermarks_of(&self.config, &self.observer, &self.topic, partitions).await?;
        Ok((found.id, marks))
    }

    fn know(&self, topic_id: TopicId) {
        let mut ids = self.ids();
        if topic_id != ids.former && topic_id != ids.known {
            *ids = Ids { known: topic_id, former: ids.known };
        }
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the positions; the partitions that are no longer ours are left out.
pub(super) async fn seek(member: &Member, topic: &str, places: Vec<Place>) -> Vec<Place> {
    let mut set = Vec::with_capacity(places.len());
    for place in places {
        match member.seek(topic, place.partition, place.offset).await {
            Ok(()) => set.push(place),
            Err(error) => tracing::debug!(topic, place.partition, %error, "cannot set the position"),
        }
    }
    set
}

/// Partitions that were added since the watermarks were read begin at their beginning.
fn of(marks: &BTreeMap<Partition, Watermarks>, partition: Partition) -> Watermarks {
    marks.get(&partition).copied().unwrap_or(Watermarks { low: 0, high: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        for (identity, id) in [("userpipe:cassandra/a.b", [7; 16]), ("userpipe:sqlite//a topic-id=b/c", [0; 16])] {
            let tag = Tag::new(identity, id);
            if id != TopicId::default() {
                assert_eq!(Tag::parse(&tag.to_string()), tag);
            }
            assert_eq!(tag.identity(), Some(identity));
        }
        assert_eq!(Tag::parse("").identity(), None);
        assert_eq!(Tag::parse("userpipe:stdout").identity(), Some("userpipe:stdout"), "of before there was an id");
    }

    #[test]
    fn only_two_ids_that_differ_tell_two_topics() {
        let tag = |id| Tag::new("userpipe:x", [id; 16]);
        assert!(tag(1).is_of_another_topic(&tag(2)));
        assert!(!tag(1).is_of_another_topic(&tag(1)));
        assert!(!tag(0).is_of_another_topic(&tag(1)) && !tag(1).is_of_another_topic(&tag(0)));
    }
}
