//! What one record costs on its way, without any I/O: format, encode, decode, and the hash that chooses its partition.
//!
//! Format, encode and decode come twice: with the 13 columns, and with all optional ones (`--with`) beside them.
//!
//! The users are synthetic, of all nationalities, in the shape and size of the API's own. `plain_value` is the yardstick: the
//! same bytes parsed to a `serde_json::Value` by somebody who does nothing with them.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use serde_json::value::RawValue;
use userpipe::encoding::Codec;
use userpipe::record::{Timestamp, User, With, format, without_secrets};
use userpipe::source::synthetic::users;

/// Users a round: one default page.
const USERS: usize = 500;

fn page() -> Vec<Box<RawValue>> {
    users("bench", 1, USERS, &[], None).expect("synthetic users")
}

fn records(with: &With) -> Vec<User> {
    let at = Timestamp::now();
    page().iter().map(|raw| format(raw, at, with).expect("a whole user")).collect()
}

fn api_to_record(criterion: &mut Criterion) {
    let (page, at) = (page(), Timestamp::now());
    let mut group = criterion.benchmark_group("api_to_record");
    group.throughput(Throughput::Elements(USERS as u64));
    for (name, with) in [("format", With::default()), ("format_with_all", With::all())] {
        group.bench_function(name, |b| {
            b.iter(|| page.iter().flat_map(|raw| format(raw, at, &with)).count());
        });
    }
    group.bench_function("without_secrets", |b| {
        b.iter(|| page.iter().map(|raw| without_secrets(raw).get().len()).sum::<usize>());
    });
    group.bench_function("plain_value", |b| {
        b.iter(|| page.iter().filter(|raw| serde_json::from_str::<Value>(raw.get()).is_ok()).count());
    });
    group.finish();
}

fn wire(criterion: &mut Criterion) {
    let at = Timestamp::now();
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(USERS as u64));
    for (suffix, with) in [("", With::default()), ("_with_all", With::all())] {
        let records = records(&with);
        let codec = Codec { with, ..Codec::default() };
        let values: Vec<Vec<u8>> = records.iter().map(|user| codec.encode(user)).collect();
        group.bench_function(format!("encode{suffix}"), |b| {
            b.iter(|| records.iter().map(|user| codec.encode(user).len()).sum::<usize>());
        });
        group.bench_function(format!("decode{suffix}"), |b| {
            b.iter(|| values.iter().filter(|value| codec.decode(value, at).is_ok()).count());
        });
    }
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let keys: Vec<String> = records(&With::default()).iter().map(|user| user.id.to_string()).collect();
    let mut group = criterion.benchmark_group("keys");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("murmur2", |b| {
        b.iter_batched(
            || &keys,
            |keys| {
                keys.iter()
                    .fold(0, |sum: u32, key| sum.wrapping_add(krafka::producer::murmur2(black_box(key.as_bytes()))))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, api_to_record, wire, keys);
criterion_main!(benches);
