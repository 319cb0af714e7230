//! Which partition a record goes to: Java's murmur2, so that other clients agree.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Partition;

/// Chooses partitions as Kafka's Java client does for keyed records; keyless ones go round.
#[derive(Debug, Default)]
pub(super) struct Partitioner {
    next_keyless: AtomicU32,
}

impl Partitioner {
    /// The partition of a record with this key, among `count` (1 or more).
    pub(super) fn choose(&self, key: Option<&[u8]>, count: Partition) -> Partition {
        let count = count.max(1).cast_unsigned();
        let hash = match key {
            // "toPositive": the sign bit is masked, as in org.apache.kafka.common.utils.Utils
            Some(key) => krafka::producer::murmur2(key) & 0x7fff_ffff,
            None => self.next_keyless.fetch_add(1, Ordering::Relaxed),
        };
        (hash % count).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        // From Kafka's own UtilsTest.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(krafka::producer::murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn keys_stay_and_keyless_records_go_round() {
        let partitioner = Partitioner::default();
        let partitions: Vec<_> = (0..4).map(|_| partitioner.choose(None, 3)).collect();
        assert_eq!(partitions, [0, 1, 2, 0]);
        assert_eq!(partitioner.choose(Some(b"abc"), 6), partitioner.choose(Some(b"abc"), 6));
        assert_eq!(partitioner.choose(Some(b"abc"), 6), 479_470_107 % 6);
    }
}
