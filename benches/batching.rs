//! What a write to Cassandra costs before any I/O: 500 changes are grouped by their replicas and bound into requests.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

mod fixtures;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use userpipe::record::With;

use fixtures::{USERS, changes, dry_run};

fn batching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batching");
    group.throughput(Throughput::Elements(USERS as u64));
    for (name, with) in [("write", With::default()), ("write_with_all", With::all())] {
        let (run, changes) = (dry_run(&with), changes(&with));
        group.bench_function(name, |b| b.iter(|| run.write(black_box(&changes))));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = batching
}
criterion_main!(benches);
