//! What a write to Cassandra costs before any I/O: 500 changes are grouped by their replicas and bound into requests.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use userpipe::config::{CassandraConfig, Consistency, Replication, TableConfig};
use userpipe::record::{COLUMNS, OPTIONAL_COLUMNS, Timestamp, With, format};
use userpipe::sink::Change;
use userpipe::sink::cassandra::DryRun;
use userpipe::source::synthetic::users;

/// Changes a write: one default page.
const CHANGES: usize = 500;

fn changes(with: &With) -> Vec<Change> {
    let page = users("bench", 1, CHANGES, &[], None).expect("synthetic users");
    page.iter().map(|raw| Change::Upsert(format(raw, Timestamp::now(), with).expect("a whole user"))).collect()
}

fn dry_run(columns: Vec<&'static str>) -> DryRun {
    DryRun::new(&CassandraConfig {
        contact_points: Vec::new(),
        login: None,
        tls: None,
        plaintext_login_is_allowed: false,
        keyspace: "ks".to_owned(),
        table: TableConfig { table: "created_users".to_owned(), columns },
        local_dc: None,
        consistency: Consistency::LocalQuorum,
        replication: Replication::Simple(1),
        request_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        statements_in_flight_max: 1_600,
        rewrite_at: None,
    })
}

fn batching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batching");
    group.throughput(Throughput::Elements(CHANGES as u64));
    let thirteen = COLUMNS.iter().map(|column| column.name);
    let all = thirteen.clone().chain(OPTIONAL_COLUMNS.iter().map(|column| column.name));
    for (name, columns, with) in
        [("write", thirteen.collect(), With::default()), ("write_with_all", all.collect(), With::all())]
    {
        let (run, changes) = (dry_run(columns), changes(&with));
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
