//! Which partition a record goes to, as Kafka's own Java client decides it, so that all clients agree.

use std::sync::atomic::{AtomicU32, Ordering};

use krafka::producer::murmur2;

use crate::bus::Partition;

/// Chooses partitions of a topic, whose number may grow.
#[derive(Debug)]
pub(super) struct Partitioner {
    partitions: AtomicU32,
    /// The keyless records' turn; it may wrap.
    turn: AtomicU32,
}

impl Partitioner {
    /// A partitioner over `partitions` partitions, at least one.
    pub(super) fn new(partitions: u32) -> Self {
        Self { partitions: AtomicU32::new(partitions.max(1)), turn: AtomicU32::new(0) }
    }

    /// How many there are to choose from.
    pub(super) fn partitions(&self) -> u32 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// There are more from now on.
    pub(super) fn widen(&self, partitions: u32) {
        self.partitions.fetch_max(partitions, Ordering::Relaxed);
    }

    /// The partition of a key: `toPositive(murmur2(key)) % partitions`, as in Java's `BuiltInPartitioner`.
    pub(super) fn of_key(&self, key: &[u8]) -> Partition {
        to_partition((murmur2(key) & 0x7fff_ffff) % self.partitions())
    }

    /// The next partition for keyless records; whole batches take turns, so that batches stay large (KIP-480).
    pub(super) fn next(&self) -> Partition {
        to_partition(self.turn.fetch_add(1, Ordering::Relaxed) % self.partitions())
    }
}

/// Partition counts are `i32` on the wire, so the number always fits.
fn to_partition(number: u32) -> Partition {
    Partition::try_from(number).unwrap_or(Partition::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_javas() {
        // the vectors of Kafka's UtilsTest.testMurmur2
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_key_always_goes_to_the_same_partition_and_within_range() {
        let partitioner = Partitioner::new(7);
        for n in 0..1_000 {
            let key = format!("user-{n}");
            let partition = partitioner.of_key(key.as_bytes());
            assert!((0..7).contains(&partition));
            assert_eq!(partition, partitioner.of_key(key.as_bytes()));
        }
    }

    #[test]
    fn keyless_batches_take_turns() {
        let partitioner = Partitioner::new(3);
        let turns: Vec<_> = (0..6).map(|_| partitioner.next()).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }
}
