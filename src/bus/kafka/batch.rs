//! From the records of one send to batches: by partition, and no larger than the limits. Pure.

use std::collections::BTreeMap;

use crate::bus::partitioner::Partitioner;
use crate::bus::{Outgoing, Partition};

/// What a record costs in a batch beside its key, value and headers, at most: lengths, deltas and attributes.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// The most bytes in a batch that certainly leaves in one write: rskafka buffers 8 KiB and writes more than that apart
/// from its length. Nagle's algorithm, which rskafka leaves on, then holds the second write back until the first is
/// acknowledged, and on loopback that takes 40 ms.
const ONE_WRITE_BYTES_MAX: usize = 7 * 1024;

/// The most bytes for one partition that are sent in batches of one write. More fills whole segments, also when
/// compressed, and those are not held back.
const SMALL_LANE_BYTES_MAX: usize = 256 * 1024;

/// The most that travels in one batch; a single record may be larger and then travels alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes_max: usize,
    pub(super) records_max: usize,
}

/// Records that go to one partition in one request: each with its place in the send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) partition: Partition,
    pub(super) records: Vec<(usize, Outgoing)>,
}

impl Batch {
    /// Two halves, in order; the first is never empty, the second only for a single record.
    pub(super) fn split(mut self) -> (Self, Self) {
        let second = self.records.split_off(self.records.len().div_ceil(2));
        let partition = self.partition;
        (self, Self { partition, records: second })
    }
}

/// The batches of a send, by partition, in the order of the records.
pub(super) fn plan<'a>(
    records: impl Iterator<Item = (usize, &'a Outgoing)>,
    limits: Limits,
    partitioner: &Partitioner,
) -> BTreeMap<Partition, Vec<Batch>> {
    let mut lanes: BTreeMap<Partition, Lane> = BTreeMap::new();
    let mut keyless = Keyless { partition: None, left: 0 };
    for (place, record) in records {
        let partition = match &record.key {
            Some(key) => partitioner.of_key(key),
            None => keyless.partition(partitioner, limits.records_max),
        };
        lanes.entry(partition).or_default().push(partition, place, record.clone(), limits);
    }
    lanes.into_iter().map(|(partition, lane)| (partition, one_write_each(lane.batches, limits))).collect()
}

/// Cuts a lane that is small as a whole into batches of one write each.
fn one_write_each(batches: Vec<Batch>, limits: Limits) -> Vec<Batch> {
    let bytes: usize = batches.iter().flat_map(|b| &b.records).map(|(_, record)| size(record)).sum();
    if bytes > SMALL_LANE_BYTES_MAX {
        return batches;
    }
    let limits = Limits { bytes_max: limits.bytes_max.min(ONE_WRITE_BYTES_MAX), ..limits };
    let mut lane = Lane::default();
    for batch in batches {
        for (place, record) in batch.records {
            lane.push(batch.partition, place, record, limits);
        }
    }
    lane.batches
}

/// Where the keyless records go: to one partition for a whole batch, then to the next.
struct Keyless {
    partition: Option<Partition>,
    left: usize,
}

impl Keyless {
    fn partition(&mut self, partitioner: &Partitioner, records_max: usize) -> Partition {
        match self.partition {
            Some(partition) if self.left > 0 => {
                self.left -= 1;
                partition
            }
            _ => {
                let partition = partitioner.next();
                (self.partition, self.left) = (Some(partition), records_max.saturating_sub(1));
                partition
            }
        }
    }
}

#[derive(Default)]
struct Lane {
    batches: Vec<Batch>,
    /// Bytes in the last batch.
    bytes: usize,
}

impl Lane {
    fn push(&mut self, partition: Partition, place: usize, record: Outgoing, limits: Limits) {
        let size = size(&record);
        let fits = |batch: &Batch| {
            batch.records.len() < limits.records_max && self.bytes.saturating_add(size) <= limits.bytes_max
        };
        match self.batches.last_mut() {
            Some(last) if fits(last) => {
                last.records.push((place, record));
                self.bytes += size;
            }
            _ => {
                self.batches.push(Batch { partition, records: vec![(place, record)] });
                self.bytes = size;
            }
        }
    }
}

/// The bytes of a record in a batch, before compression and rounded up.
pub(super) fn size(record: &Outgoing) -> usize {
    let headers: usize =
        record.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, bytes::Bytes::len)).sum();
    let key = record.key.as_ref().map_or(0, bytes::Bytes::len);
    let value = record.value.as_ref().map_or(0, bytes::Bytes::len);
    key + value + headers + RECORD_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;
    use proptest::prelude::*;

    fn record(key: Option<&str>, value_bytes: usize) -> Outgoing {
        Outgoing {
            key: key.map(|k| bytes::Bytes::copy_from_slice(k.as_bytes())),
            value: Some(vec![b'x'; value_bytes].into()),
            headers: Vec::new(),
            timestamp: Timestamp::from_unix_ms(0).expect("the epoch is a time"),
        }
    }

    #[test]
    fn a_record_larger_than_the_limit_travels_alone() {
        let records = [record(Some("a"), 10), record(Some("a"), 5_000), record(Some("a"), 10)];
        let limits = Limits { bytes_max: 1_000, records_max: 100 };
        let lanes = plan(records.iter().enumerate(), limits, &Partitioner::new(1));
        let sizes: Vec<_> = lanes[&0].iter().map(|b| b.records.len()).collect();
        assert_eq!(sizes, [1, 1, 1]);
    }

    #[test]
    fn keyless_records_stay_together_for_a_batch_and_then_move_on() {
        let records = vec![record(None, 1); 25];
        let limits = Limits { bytes_max: 1_000_000, records_max: 10 };
        let lanes = plan(records.iter().enumerate(), limits, &Partitioner::new(3));
        let sizes: Vec<_> = lanes.values().map(|batches| batches[0].records.len()).collect();
        assert_eq!(sizes, [10, 10, 5]);
    }

    #[test]
    fn a_split_keeps_the_order_and_ends_at_one_record() {
        let records: Vec<_> = (0..3).map(|n| (n, record(None, n))).collect();
        let (first, second) = Batch { partition: 0, records }.split();
        let places = |b: &Batch| b.records.iter().map(|(place, _)| *place).collect::<Vec<_>>();
        assert_eq!((places(&first), places(&second)), (vec![0, 1], vec![2]));
        assert!(second.split().1.records.is_empty());
    }

    #[test]
    fn a_small_send_leaves_in_single_writes_and_a_large_one_in_full_batches() {
        let limits = Limits { bytes_max: 512 * 1024, records_max: 1_000 };
        let largest = |count: usize| {
            let records = vec![record(Some("a"), 500); count];
            let lanes = plan(records.iter().enumerate(), limits, &Partitioner::new(1));
            lanes[&0].iter().map(|b| b.records.len()).max()
        };
        assert_eq!((largest(300), largest(3_000)), (Some(13), Some(983)));
    }

    proptest! {
        #[test]
        fn every_record_is_in_one_batch_in_order_and_no_batch_is_over_the_limits(
            sizes in prop::collection::vec((0_usize..5, 0_usize..300), 0..200),
            bytes_max in 100_usize..2_000,
            records_max in 1_usize..50,
        ) {
            let records: Vec<_> = sizes.iter().map(|(key, size)| record(Some(&key.to_string()), *size)).collect();
            let limits = Limits { bytes_max, records_max };
            let lanes = plan(records.iter().enumerate(), limits, &Partitioner::new(4));
            let mut seen = Vec::new();
            for batches in lanes.values() {
                let mut last = None;
                for batch in batches {
                    prop_assert!(batch.records.len() <= records_max);
                    let bytes: usize = batch.records.iter().map(|(_, r)| size(r)).sum();
                    prop_assert!(bytes <= bytes_max || batch.records.len() == 1);
                    for (place, _) in &batch.records {
                        prop_assert!(last < Some(*place));
                        last = Some(*place);
                        seen.push(*place);
                    }
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..records.len()).collect::<Vec<_>>());
        }
    }
}
