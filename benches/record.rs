//! What one record costs on its way, without any I/O: parse, format, encode, decode, `--where` and `--map`, and the hash that
//! chooses its partition.
//!
//! Format, encode and decode come twice: with the 13 columns, and with all optional ones (`--with`) beside them.
//!
//! The users are synthetic, of all nationalities, in the shape and size of the API's own. The group `page` is fetch as a
//! whole, from the bytes of one answer of the API to its records, beside its yardstick `plain_value`: the same bytes parsed to
//! a `serde_json::Value` by somebody who does nothing with it. Both free what they made. What of the answer is compared with
//! the question is in `page`, as it is in a source.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

mod fixtures;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use userpipe::encoding::Codec;
use userpipe::record::{Timestamp, User, With, format, without_secrets};
use userpipe::source::random_user::users_of_page;
use userpipe::transform::Transform;

use fixtures::{USERS, at, body, codec_of_a_registry, raw_users, records};

/// From the bytes of an answer to its records.
fn records_of(body: &Bytes, at: Timestamp, with: &With) -> Vec<User> {
    let users = users_of_page(body.clone(), USERS).expect("a good answer");
    users.iter().filter_map(|raw| format(raw, at, with).ok()).collect()
}

/// Fetch, all of it but the network, and the yardstick.
fn whole_page(criterion: &mut Criterion) {
    let (body, at) = (body(), at());
    assert_eq!(records_of(&body, at, &With::all()).len(), USERS, "every user becomes a record");
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Elements(USERS as u64));
    for (name, with) in [("to_records", With::default()), ("to_records_with_all", With::all())] {
        group.bench_function(name, |b| b.iter(|| records_of(black_box(&body), at, &with)));
    }
    group.bench_function("plain_value", |b| b.iter(|| serde_json::from_slice::<Value>(black_box(&body)).ok()));
    group.finish();
}

/// The first part of fetch: an answer is checked, and cut into its users.
fn parse(criterion: &mut Criterion) {
    let body = body();
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("page", |b| b.iter(|| users_of_page(black_box(&body).clone(), USERS).ok()));
    group.finish();
}

/// The second part: a user becomes a record. And what the ledger pays for its backup of it.
fn format_users(criterion: &mut Criterion) {
    let (page, at) = (raw_users(), at());
    let mut group = criterion.benchmark_group("format");
    group.throughput(Throughput::Elements(USERS as u64));
    for (name, with) in [("format", With::default()), ("format_with_all", With::all())] {
        group.bench_function(name, |b| {
            b.iter(|| page.iter().flat_map(|raw| format(raw, at, &with)).count());
        });
    }
    group.bench_function("without_secrets", |b| {
        b.iter(|| page.iter().map(|raw| without_secrets(raw).get().len()).sum::<usize>());
    });
    group.finish();
}

fn wire(criterion: &mut Criterion) {
    let at = at();
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(USERS as u64));
    for (suffix, with) in [("", With::default()), ("_with_all", With::all())] {
        let records = records(&with);
        let codec = Codec::new(false, with);
        let values: Vec<Bytes> = records.iter().map(|user| codec.encode(user)).collect();
        group.bench_function(format!("encode{suffix}"), |b| {
            b.iter(|| records.iter().map(|user| codec.encode(user).len()).sum::<usize>());
        });
        group.bench_function(format!("decode{suffix}"), |b| {
            b.iter(|| values.iter().filter(|value| codec.decode(value, at).is_ok()).count());
        });
    }
    group.finish();
}

/// The same with Avro under a registered schema.
fn avro(criterion: &mut Criterion) {
    let (records, at) = (records(&With::default()), at());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let codec = runtime.block_on(codec_of_a_registry());
    let values: Vec<Bytes> = records.iter().map(|user| codec.encode(user)).collect();
    let codec = &codec;
    let prepared = runtime.block_on(codec.prepare(values.iter().map(|value| &**value))).expect("the registry answers");
    assert!(values.iter().all(|value| prepared.decode(value, at).is_ok()), "it is read");
    let mut group = criterion.benchmark_group("avro");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("encode", |b| {
        b.iter(|| records.iter().map(|user| codec.encode(user).len()).sum::<usize>());
    });
    group.bench_function("decode", |b| {
        b.iter(|| values.iter().filter(|value| prepared.decode(value, at).is_ok()).count());
    });
    group.finish();
}

/// `--where` and `--map` on a record, beside the step before them: `none` is what a pipeline without them pays.
fn transform(criterion: &mut Criterion) {
    let records = records(&With::default());
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
    let keys: Vec<String> = records(&With::default()).iter().map(|user| user.id().to_string()).collect();
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

criterion_group!(benches, whole_page, parse, format_users, wire, avro, transform, keys);
criterion_main!(benches);
