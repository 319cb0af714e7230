//! What one record costs on its way, without any I/O: format, encode, decode, `--where` and `--map`, and the hash that
//! chooses its partition.
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
use userpipe::transform::Transform;

/// Users a round: one default page.
const USERS: usize = 500;

fn page() -> Vec<Box<RawValue>> {
    users("bench", 1, USERS, &[], None).expect("synthetic users")
}

fn records() -> Vec<User> {
    let at = Timestamp::now();
    page().iter().map(|raw| format(raw, at).expect("a whole user")).collect()
}

fn api_to_record(criterion: &mut Criterion) {
    let (page, at) = (page(), Timestamp::now());
    let mut group = criterion.benchmark_group("api_to_record");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("format", |b| {
        b.iter(|| page.iter().flat_map(|raw| format(raw, at)).count());
    });
    group.bench_function("without_secrets", |b| {
        b.iter(|| page.iter().map(|raw| without_secrets(raw).get().len()).sum::<usize>());
    });
    group.bench_function("plain_value", |b| {
        b.iter(|| page.iter().filter(|raw| serde_json::from_str::<Value>(raw.get()).is_ok()).count());
    });
    group.finish();
}

fn wire(criterion: &mut Criterion) {
    let (records, codec, at) = (records(), Codec::default(), Timestamp::now());
    let values: Vec<Vec<u8>> = records.iter().map(|user| codec.encode(user)).collect();
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("encode", |b| {
        b.iter(|| records.iter().map(|user| codec.encode(user).len()).sum::<usize>());
    });
    group.bench_function("decode", |b| {
        b.iter(|| values.iter().filter(|value| codec.decode(value, at).is_ok()).count());
    });
    group.finish();
}

/// `--where` and `--map` on a record, beside the step before them: `none` is what a pipeline without them pays.
fn transform(criterion: &mut Criterion) {
    let records = records();
    let mut group = criterion.benchmark_group("transform");
    group.throughput(Throughput::Elements(USERS as u64));
    let expressions = [
        ("where", Some(r#".gender == "female""#), None),
        ("where_regex", Some(r#".email | test("^[a-m]")"#), None),
        ("map_identity", None, Some(".")),
        ("map", None, Some(r#".first_name |= ascii_upcase | .email |= sub("@.*"; "@example.com")"#)),
    ];
    for (name, filter, map) in expressions {
        let transform = Transform::compile(filter, map, With::default()).ok().flatten().expect("it compiles");
        group.bench_function(name, |b| {
            b.iter_batched(
                || records.clone(),
                |records| records.into_iter().filter_map(|user| transform.apply(user).ok()).count(),
                BatchSize::LargeInput,
            );
        });
    }
    group.bench_function("none", |b| {
        let transform: Option<Transform> = black_box(None);
        b.iter_batched(
            || records.clone(),
            |records| match &transform {
                Some(transform) => records.into_iter().filter_map(|user| transform.apply(user).ok()).count(),
                None => records.len(),
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let keys: Vec<String> = records().iter().map(|user| user.id.to_string()).collect();
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

criterion_group!(benches, api_to_record, wire, transform, keys);
criterion_main!(benches);
