//! Which rows share a batch: rows of the same replicas, up to a number of rows and of bytes. Pure.
//!
//! An unlogged batch is a way to send many statements in one request: its coordinator writes each row by itself. Where
//! that coordinator is a replica of every row, as here, no row costs a hop more than alone.

/// The most rows of a batch. With 50 a request's own cost is a few percent of what its rows cost; with 100 a batch of
/// ordinary rows would reach [`BYTES_MAX`].
pub(super) const ROWS_MAX: usize = 50;

/// The most bytes of a batch, as [`Statements::bytes`](super::statements::Statements::bytes) counts them.
///
/// Cassandra refuses a batch over `batch_size_fail_threshold`, 50 KiB unless configured otherwise; the count here is at
/// least the server's, and a fifth is left for versions that count more. Over `batch_size_warn_threshold`
/// (5 KiB by default) it logs a warning, which concerns batches that burden one coordinator with other nodes' rows.
pub(super) const BYTES_MAX: usize = 40 * 1024;

/// How far the bound on bytes may be lowered; it is only a first guess at what is refused, and rows are tried alone anyway.
const BYTES_MIN: usize = 2 * 1024;

/// Batches that share what may be in flight, at the least: with few rows in flight batches become small before they
/// become few.
const SHARES: usize = 4;

/// How large a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) rows_max: usize,
    pub(super) bytes_max: usize,
}

impl Bounds {
    /// Where so many rows may be in flight.
    pub(super) fn new(rows_in_flight_max: usize, bytes_max: usize) -> Self {
        Self { rows_max: (rows_in_flight_max / SHARES).clamp(1, ROWS_MAX), bytes_max }
    }

    /// The bound on bytes for the next batches, after one of so many was refused for its size.
    pub(super) fn bytes_after_refusal(refused_bytes: usize) -> usize {
        (refused_bytes / 2).max(BYTES_MIN)
    }
}

/// What is collected for one set of replicas.
#[derive(Default)]
struct Open {
    rows: Vec<usize>,
    bytes: usize,
}

/// Cuts rows, each given as (set of replicas, bytes), into batches of their indexes. Each row is in exactly one; a row
/// that is larger than the bound is alone in its; rows of one set stay in their order.
pub(super) fn cut(rows: impl Iterator<Item = (usize, usize)>, bounds: Bounds) -> Vec<Vec<usize>> {
    let mut full = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for (index, (set, bytes)) in rows.enumerate() {
        if set >= open.len() {
            open.resize_with(set + 1, Open::default);
        }
        let batch = &mut open[set];
        let fits = batch.rows.len() < bounds.rows_max && batch.bytes.saturating_add(bytes) <= bounds.bytes_max;
        if !fits && !batch.rows.is_empty() {
            full.push(std::mem::take(batch).rows);
        }
        if batch.rows.is_empty() {
            batch.rows.reserve_exact(bounds.rows_max);
        }
        batch.rows.push(index);
        batch.bytes = batch.bytes.saturating_add(bytes);
    }
    full.extend(open.into_iter().map(|batch| batch.rows).filter(|rows| !rows.is_empty()));
    full
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_rows_in_flight_make_small_batches() {
        for (in_flight, rows) in [(1, 1), (2, 1), (16, 4), (64, 16), (200, 50), (32_000, 50)] {
            assert_eq!(Bounds::new(in_flight, BYTES_MAX).rows_max, rows, "{in_flight}");
        }
    }

    #[test]
    fn a_refused_size_lowers_the_bound_and_not_to_nothing() {
        let bounds = [BYTES_MAX, 4096, 100].map(Bounds::bytes_after_refusal);
        assert_eq!(bounds, [BYTES_MAX / 2, 2048, BYTES_MIN]);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_batch_of_its_replicas_within_the_bounds_and_in_order(
            rows in prop::collection::vec((0_usize..5, 0_usize..2_000), 0..400),
            rows_max in 1_usize..60,
            bytes_max in 1_usize..10_000,
        ) {
            let batches = cut(rows.iter().copied(), Bounds { rows_max, bytes_max });
            let mut last = [None; 5];
            let mut seen = 0;
            for batch in &batches {
                let set = rows[batch[0]].0;
                let bytes: usize = batch.iter().map(|row| rows[*row].1).sum();
                prop_assert!(batch.len() <= rows_max);
                prop_assert!(bytes <= bytes_max || batch.len() == 1, "{} bytes", bytes);
                for row in batch {
                    prop_assert_eq!(rows[*row].0, set);
                    prop_assert!(last[set] < Some(*row), "rows of one set, so of one id, keep their order");
                    last[set] = Some(*row);
                    seen += 1;
                }
            }
            // Indexes rise within a set, so as many as there are rows means each once.
            prop_assert_eq!(seen, rows.len());
        }
    }
}
